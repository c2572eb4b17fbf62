# SPDX-License-Identifier: Apache-2.0
# Language, warnings, optimisation and sanitizers that every own target shares: the interface target tkr_flags.
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)

# Line tables are enough to read a profile or a backtrace; assertions are for Debug.
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g1 -DNDEBUG")
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Debug or RelWithDebInfo" FORCE)
endif()

string(TOLOWER "${CMAKE_SYSTEM_PROCESSOR}" processor)
if(processor MATCHES "^(x86_64|amd64)$" AND CMAKE_SIZEOF_VOID_P EQUAL 8)
    set(TKR_ARCH x86)
elseif(processor MATCHES "^(aarch64|arm64)$")
    set(TKR_ARCH arm)
else()
    set(TKR_ARCH generic)
endif()

# Libraries that nothing needs aren't loaded; names that nothing defines are errors (on macOS as it is).
if(APPLE)
    set(TKR_LINK_LEAN LINKER:-dead_strip_dylibs)
    set(TKR_LINK_COMPLETE "")
else()
    set(TKR_LINK_LEAN LINKER:--as-needed LINKER:-O1)
    set(TKR_LINK_COMPLETE LINKER:--no-undefined)
endif()

add_library(tkr_flags INTERFACE)
target_compile_options(tkr_flags INTERFACE
    -Wall -Wextra -Wconversion -Wshadow -Wundef -Wvla -Wmissing-prototypes -Wstrict-prototypes
    $<$<BOOL:${TKR_WERROR}>:-Werror>
    # A product and a sum are two roundings everywhere: the bits must not depend on what the compiler fuses.
    -ffp-contract=off -fno-fast-math)
target_include_directories(tkr_flags INTERFACE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)

if(TKR_SANITIZE)
    target_compile_definitions(tkr_flags INTERFACE TKR_SANITIZED=1)
    target_compile_options(tkr_flags INTERFACE -fsanitize=${TKR_SANITIZE} -fno-omit-frame-pointer -g)
    target_link_options(tkr_flags INTERFACE -fsanitize=${TKR_SANITIZE})
    if(TKR_SANITIZE MATCHES "undefined")
        target_compile_options(tkr_flags INTERFACE -fno-sanitize-recover=undefined)
        target_link_options(tkr_flags INTERFACE -fno-sanitize-recover=undefined)
    endif()
endif()
