# SPDX-License-Identifier: Apache-2.0
# The demo model (share/demo) lies below share/tkr-embed, beside the program in the build folder as in an installation:
# ../share/tkr-embed/demo from the installed program, share/tkr-embed/demo from the one in the build folder.
set(TKR_DEMO ${PROJECT_BINARY_DIR}/share/tkr-embed/demo)
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/share/tkr-embed)
if(NOT EXISTS ${TKR_DEMO})
    file(CREATE_LINK ${PROJECT_SOURCE_DIR}/share/demo ${TKR_DEMO} SYMBOLIC COPY_ON_ERROR)
endif()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/share/demo DESTINATION ${CMAKE_INSTALL_DATADIR}/tkr-embed)
