# SPDX-License-Identifier: Apache-2.0
# The program tkr-embed: src/cli on the static library, so that it starts without loading libtkr.so.
file(GLOB cli_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/cli/*.c)
set(main_source ${PROJECT_SOURCE_DIR}/src/cli/main.c)
list(REMOVE_ITEM cli_sources ${main_source})
if(NOT cli_sources)
    file(WRITE ${PROJECT_BINARY_DIR}/empty/cli.c "typedef int tkr_cli_is_empty;\n")
    set(cli_sources ${PROJECT_BINARY_DIR}/empty/cli.c)
endif()
add_library(tkr_room_cli STATIC ${cli_sources}) # apart from main, so that tests can call it
target_link_libraries(tkr_room_cli PRIVATE tkr_flags PUBLIC tkr_room_server)

set(TKR_BINARY ${PROJECT_BINARY_DIR}/tkr-embed)
if(EXISTS ${main_source})
    add_executable(tkr-embed ${main_source})
    target_link_libraries(tkr-embed PRIVATE tkr_flags tkr_room_cli)
    target_link_options(tkr-embed PRIVATE ${TKR_LINK_LEAN})
    set_target_properties(tkr-embed PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
endif()
