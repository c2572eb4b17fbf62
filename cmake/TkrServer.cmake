# SPDX-License-Identifier: Apache-2.0
# The server: src/server on the library. Not part of libtkr: its libraries are the program's only.
pkg_check_modules(TKR_UV REQUIRED IMPORTED_TARGET libuv>=1.42)
pkg_check_modules(TKR_SSL REQUIRED IMPORTED_TARGET openssl>=3.0)
pkg_check_modules(TKR_YAML REQUIRED IMPORTED_TARGET yaml-0.1)
pkg_check_modules(TKR_ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(TKR_HIREDIS REQUIRED IMPORTED_TARGET hiredis)
find_library(TKR_WSLAY wslay REQUIRED) # Debian's has no pkg-config file
find_path(TKR_WSLAY_INCLUDE wslay/wslay.h REQUIRED)

file(GLOB server_sources CONFIGURE_DEPENDS
    ${PROJECT_SOURCE_DIR}/src/server/*.c ${PROJECT_SOURCE_DIR}/src/server/routes/*.c)
if(NOT server_sources)
    file(WRITE ${PROJECT_BINARY_DIR}/empty/server.c "typedef int tkr_server_is_empty;\n")
    set(server_sources ${PROJECT_BINARY_DIR}/empty/server.c)
endif()
# The page at "/" is compiled in.
set(TKR_PAGE ${PROJECT_SOURCE_DIR}/src/server/web/page.html)
set(TKR_PAGE_SOURCE ${PROJECT_BINARY_DIR}/generated/page.c)
add_custom_command(OUTPUT ${TKR_PAGE_SOURCE} VERBATIM
    DEPENDS ${TKR_PAGE} ${PROJECT_SOURCE_DIR}/cmake/embed_file.cmake
    COMMAND ${CMAKE_COMMAND} -DFROM=${TKR_PAGE} -DTO=${TKR_PAGE_SOURCE} -DNAME=tkr_page_html
        -P ${PROJECT_SOURCE_DIR}/cmake/embed_file.cmake)
add_library(tkr_room_server STATIC ${server_sources} ${TKR_PAGE_SOURCE})
target_include_directories(tkr_room_server SYSTEM PRIVATE ${TKR_WSLAY_INCLUDE})
target_link_libraries(tkr_room_server PRIVATE tkr_flags
    PUBLIC tkr_room_engine PkgConfig::TKR_UV PkgConfig::TKR_SSL PkgConfig::TKR_YAML PkgConfig::TKR_ZSTD
    PkgConfig::TKR_HIREDIS PkgConfig::TKR_NETTLE PkgConfig::TKR_ZLIB PkgConfig::TKR_CURL ${TKR_WSLAY})
