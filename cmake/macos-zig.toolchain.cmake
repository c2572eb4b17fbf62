# SPDX-License-Identifier: Apache-2.0
# Cross build for macOS on arm64 from any system, by the compiler and the headers in the Python package ziglang: proves
# that every file compiles and links there, and no more. scripts/check-macos prepares what it needs; TKR_MACOS_ROOT is
# the folder where that lies.
set(CMAKE_SYSTEM_NAME Darwin)
set(CMAKE_SYSTEM_PROCESSOR arm64)
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES TKR_MACOS_ROOT TKR_MLX_ROOT)
set(CMAKE_C_COMPILER ${TKR_MACOS_ROOT}/bin/cc)
set(CMAKE_CXX_COMPILER ${TKR_MACOS_ROOT}/bin/c++)
set(CMAKE_AR ${TKR_MACOS_ROOT}/bin/ar CACHE FILEPATH "")
set(CMAKE_RANLIB ${TKR_MACOS_ROOT}/bin/ranlib CACHE FILEPATH "")
set(CMAKE_INSTALL_NAME_TOOL true CACHE FILEPATH "")
set(ENV{PKG_CONFIG_LIBDIR} ${TKR_MACOS_ROOT}/pkgconfig)
set(ENV{PKG_CONFIG_PATH} "")
set(CMAKE_FIND_ROOT_PATH ${TKR_MACOS_ROOT} ${TKR_MLX_ROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
