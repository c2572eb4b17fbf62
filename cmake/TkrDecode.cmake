# SPDX-License-Identifier: Apache-2.0
# tkr-decode: the program that decodes untrusted bytes; the only target that links codecs. It lies beside tkr-embed in
# the build folder and in libexec/tkr-embed when installed.
pkg_check_modules(TKR_JPEG REQUIRED IMPORTED_TARGET libjpeg)
pkg_check_modules(TKR_PNG REQUIRED IMPORTED_TARGET libpng>=1.6)
pkg_check_modules(TKR_WEBP REQUIRED IMPORTED_TARGET libwebp>=1.0 libwebpdemux)
pkg_check_modules(TKR_TIFF REQUIRED IMPORTED_TARGET libtiff-4)
if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
    pkg_check_modules(TKR_SECCOMP REQUIRED IMPORTED_TARGET libseccomp>=2.5)
endif()

# Apart from main, so that tests, the fuzz target and the benchmark can call the readers in process.
file(GLOB decode_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/decode/*.c)
set(decode_main ${PROJECT_SOURCE_DIR}/src/decode/main.c)
list(REMOVE_ITEM decode_sources ${decode_main})
add_library(tkr_room_decode STATIC ${decode_sources})
target_link_libraries(tkr_room_decode PRIVATE tkr_flags PUBLIC tkr_room_core
    PkgConfig::TKR_JPEG PkgConfig::TKR_PNG PkgConfig::TKR_WEBP PkgConfig::TKR_TIFF)
if(TARGET PkgConfig::TKR_SECCOMP)
    target_link_libraries(tkr_room_decode PUBLIC PkgConfig::TKR_SECCOMP)
endif()

add_executable(tkr-decode ${decode_main})
target_link_libraries(tkr-decode PRIVATE tkr_flags tkr_room_decode)
target_link_options(tkr-decode PRIVATE ${TKR_LINK_LEAN} $<$<NOT:$<BOOL:${APPLE}>>:LINKER:-z,now,-z,relro>)
set(TKR_DECODE ${PROJECT_BINARY_DIR}/tkr-decode)
set_target_properties(tkr-decode PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
if(TARGET tkr-embed)
    add_dependencies(tkr-embed tkr-decode)
endif()
install(TARGETS tkr-decode RUNTIME DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/tkr-embed)
