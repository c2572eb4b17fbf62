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
# tkr-decode-document: the same for documents, a program of its own, so that pictures don't wait for its hundred
# libraries and poppler's licence (GPL) is that of one program.
pkg_check_modules(TKR_POPPLER REQUIRED IMPORTED_TARGET poppler-glib>=20.12 cairo)
pkg_check_modules(TKR_ARCHIVE REQUIRED IMPORTED_TARGET libarchive>=3.4)
pkg_check_modules(TKR_XML REQUIRED IMPORTED_TARGET libxml-2.0>=2.9.10)
pkg_check_modules(TKR_ICU REQUIRED IMPORTED_TARGET icu-uc icu-i18n)
file(GLOB document_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/decode/document/*.c)
set(document_main ${PROJECT_SOURCE_DIR}/src/decode/document/main.c)
list(REMOVE_ITEM document_sources ${document_main})
add_library(tkr_room_document STATIC ${document_sources})
target_link_libraries(tkr_room_document PRIVATE tkr_flags PUBLIC tkr_room_core
    PkgConfig::TKR_POPPLER PkgConfig::TKR_ARCHIVE PkgConfig::TKR_XML PkgConfig::TKR_ICU)
add_executable(tkr-decode-document ${document_main})
target_link_libraries(tkr-decode-document PRIVATE tkr_flags tkr_room_document tkr_room_decode)
target_link_options(tkr-decode-document PRIVATE ${TKR_LINK_LEAN} $<$<NOT:$<BOOL:${APPLE}>>:LINKER:-z,now,-z,relro>)
set_target_properties(tkr-decode-document PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
if(TARGET tkr-embed)
    add_dependencies(tkr-embed tkr-decode-document)
endif()
install(TARGETS tkr-decode tkr-decode-document RUNTIME DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/tkr-embed)
