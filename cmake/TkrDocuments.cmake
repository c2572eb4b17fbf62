# SPDX-License-Identifier: Apache-2.0
# tkr-decode-document: what tkr-decode is to pictures. A program of its own, so that pictures don't wait for its hundred
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
tkr_decoder(tkr-decode-document ${document_main} tkr_room_document tkr_room_decode)
