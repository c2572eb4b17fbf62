# SPDX-License-Identifier: Apache-2.0
# tests/fuzz/fuzz_*.c become libFuzzer programs in build/fuzz/fuzz, all behind the target fuzz_targets; the rooms are
# built with coverage.
if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "TKR_BUILD_FUZZ needs clang: cmake --preset fuzz")
endif()
target_compile_options(tkr_flags INTERFACE -fsanitize=fuzzer-no-link)
# No file reaches the kernels before it has been checked, and instrumented they take as long to compile as all the rest.
target_compile_options(tkr_room_kernels PRIVATE -O1 -fno-sanitize=all)
add_custom_target(fuzz_targets)
file(GLOB fuzz_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/fuzz/fuzz_*.c)
# libFuzzer has no header that would declare its entry points.
set_source_files_properties(${fuzz_sources} PROPERTIES COMPILE_OPTIONS -Wno-missing-prototypes)
foreach(source IN LISTS fuzz_sources)
    cmake_path(GET source STEM target)
    add_executable(${target} ${source})
    target_link_libraries(${target} PRIVATE tkr_flags tkr_room_engine)
    if(target MATCHES "^fuzz_decode")
        target_link_libraries(${target} PRIVATE tkr_room_decode)
    endif()
    if(target MATCHES "^fuzz_(http|multipart|settings|web_socket|ws|yaml)")
        target_link_libraries(${target} PRIVATE tkr_room_server)
        target_compile_definitions(${target} PRIVATE TKR_TEST_DIR="${PROJECT_SOURCE_DIR}/tests")
    endif()
    target_link_options(${target} PRIVATE -fsanitize=fuzzer)
    set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/fuzz)
    add_dependencies(fuzz_targets ${target})
endforeach()
