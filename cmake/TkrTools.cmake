# SPDX-License-Identifier: Apache-2.0
# Programs for developers and tests, in build/tools; not installed.
file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tools/make_checkpoint/*.c)
add_executable(make_checkpoint ${sources})
target_link_libraries(make_checkpoint PRIVATE tkr_flags tkr_room_quant)
target_compile_options(make_checkpoint PRIVATE -O2)
target_compile_definitions(make_checkpoint PRIVATE TKR_TEST_DIR="${TKR_TEST_DIR}")
set_target_properties(make_checkpoint PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tools)
