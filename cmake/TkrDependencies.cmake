# SPDX-License-Identifier: Apache-2.0
# Libraries from the system, found through pkg-config; scripts/deps installs them on Debian and Ubuntu.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(TKR_JANSSON REQUIRED IMPORTED_TARGET jansson>=2.13)
pkg_check_modules(TKR_PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8>=10.38)
pkg_check_modules(TKR_CURL REQUIRED IMPORTED_TARGET libcurl>=7.74)
pkg_check_modules(TKR_NETTLE REQUIRED IMPORTED_TARGET nettle>=3.7)
pkg_check_modules(TKR_ZLIB REQUIRED IMPORTED_TARGET zlib)
if(TKR_BUILD_TESTS)
    pkg_check_modules(TKR_CMOCKA REQUIRED IMPORTED_TARGET cmocka)
    find_package(Python3 3.9 REQUIRED COMPONENTS Interpreter)
endif()
