# SPDX-License-Identifier: Apache-2.0
# tests/<room>/test_*.c become cmocka programs on the room and the rooms it may know; test_*.py and test_*.sh run as
# they are. long_* files of the same kinds belong to `make test-long`: ctest -C Long.
set(TKR_TEST_DIR ${PROJECT_SOURCE_DIR}/tests)

# Links a test program: own flags, cmocka, and where its data and the program are.
function(tkr_test_program target)
    target_link_libraries(${target} PRIVATE tkr_flags PkgConfig::TKR_CMOCKA)
    target_compile_definitions(${target} PRIVATE
        TKR_TEST_DIR="${TKR_TEST_DIR}" TKR_BINARY="${TKR_BINARY}" TKR_BUILD_DIR="${PROJECT_BINARY_DIR}")
    set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
endfunction()

# Labels a test and gives it what every test sees.
function(tkr_test_properties name labels)
    set_tests_properties(${name} PROPERTIES LABELS "${labels}" TIMEOUT 300 ENVIRONMENT
        "TKR_BINARY=${TKR_BINARY};TKR_DECODE=${TKR_DECODE};TKR_TEST_DIR=${TKR_TEST_DIR};\
TKR_BUILD_DIR=${PROJECT_BINARY_DIR};\
TKR_SOURCE_DIR=${PROJECT_SOURCE_DIR};PYTHONDONTWRITEBYTECODE=1;TSAN_OPTIONS=halt_on_error=1;\
ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1;UBSAN_OPTIONS=print_stacktrace=1")
endfunction()

# tkr_register(name labels command...) adds a test; a long one runs with `ctest -C Long` only.
function(tkr_register name labels)
    if(name MATCHES "^long_")
        add_test(NAME ${name} COMMAND ${ARGN} CONFIGURATIONS Long)
        tkr_test_properties(${name} long)
        set_tests_properties(${name} PROPERTIES TIMEOUT 14400)
    else()
        add_test(NAME ${name} COMMAND ${ARGN})
        tkr_test_properties(${name} "${labels}")
    endif()
endfunction()

foreach(room IN LISTS TKR_ROOMS ITEMS server cli decode)
    set(label unit)
    if(room STREQUAL "cli")
        set(label cli)
    endif()
    file(GLOB sources CONFIGURE_DEPENDS ${TKR_TEST_DIR}/${room}/test_*.c ${TKR_TEST_DIR}/${room}/long_*.c)
    foreach(source IN LISTS sources)
        cmake_path(GET source STEM name)
        set(decodes OFF) # needs tkr-decode; an emulator neither starts programs nor confines them
        if(name MATCHES "jail|^test_(vision|video|demo|documents|documents_fault)$")
            set(decodes ON)
        endif()
        if(CMAKE_CROSSCOMPILING AND (decodes OR (room STREQUAL "decode" AND name MATCHES "video")))
            continue()
        endif()
        string(REGEX REPLACE "^(test|long)_" "\\1_${room}_" target ${name})
        add_executable(${target} ${source})
        target_link_libraries(${target} PRIVATE tkr_room_${room})
        if(decodes)
            add_dependencies(${target} tkr-decode tkr-decode-video)
            if(TARGET tkr-decode-document)
                add_dependencies(${target} tkr-decode-document)
            endif()
        endif()
        if(name MATCHES "^test_video" AND room STREQUAL "decode")
            target_link_libraries(${target} PRIVATE tkr_room_decode_video tkr_room_media)
        endif()
        tkr_test_program(${target})
        tkr_register(${target} "${label};${room}" ${target})
    endforeach()
endforeach()

# A program that tests run beside the real ones; it lies where the tests do.
function(tkr_test_helper target source room)
    add_executable(${target} ${TKR_TEST_DIR}/${source})
    target_link_libraries(${target} PRIVATE tkr_flags ${room})
    set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
endfunction()

# What stands in for tkr-decode where the host must bear a hostile one.
tkr_test_helper(fake_decoder media/fake_decoder.c tkr_room_core)
if(TARGET test_media_jail_hostile)
    add_dependencies(test_media_jail_hostile fake_decoder)
    add_dependencies(test_media_jail_stop fake_decoder)
endif()
tkr_test_helper(fake_decoder-document media/fake_decoder.c tkr_room_core)
if(TARGET test_media_document_answers)
    add_dependencies(test_media_document_answers fake_decoder-document)
endif()

# What the jail reads in documents, driven by tests/media/test_documents.py.
if(TARGET tkr-decode-document)
    tkr_test_helper(document_dump media/document_dump.c tkr_room_media)
    add_dependencies(document_dump tkr-decode-document)
endif()

# Frames that the jail decodes, driven by tests/media/test_video_formats.py and scripts/bench-video.
if(TARGET tkr-decode-video)
    tkr_test_helper(video_dump media/video_dump.c tkr_room_media)
    add_dependencies(video_dump tkr-decode-video)
endif()

# The server's transport alone, driven by tests/server/test_transport.py.
tkr_test_helper(echo_app server/echo_app.c tkr_room_server)

# What a stranger sends the server, with some damage: the fuzz targets without libFuzzer, each on its seeds.
foreach(name IN ITEMS http_head http_chunk http_body http_handlers multipart settings_yaml ws)
    set(source ${TKR_TEST_DIR}/fuzz/fuzz_${name}.c)
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS -Wno-missing-prototypes)
    add_executable(test_fuzz_${name} ${source} ${TKR_TEST_DIR}/fuzz/replay.c)
    target_link_libraries(test_fuzz_${name} PRIVATE tkr_room_server)
    tkr_test_program(test_fuzz_${name})
    tkr_register(test_fuzz_${name} "unit;fuzz" test_fuzz_${name} ${TKR_TEST_DIR}/fuzz/corpus/${name})
endforeach()

# What stands in for libtkr-mlx.so where its errors are tested.
add_library(fake_mlx_module MODULE ${TKR_TEST_DIR}/engine/fake_mlx_module.c)
target_link_libraries(fake_mlx_module PRIVATE tkr_flags tkr_room_ops)
set_target_properties(fake_mlx_module PROPERTIES
    PREFIX "" SUFFIX .so LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
foreach(test IN ITEMS test_engine_device test_engine_fault)
    add_dependencies(${test} fake_mlx_module)
endforeach()

if(NOT CMAKE_CROSSCOMPILING) # scripts start the program by themselves
    set(patterns ${TKR_TEST_DIR}/*/test_*.py ${TKR_TEST_DIR}/*/test_*.sh)
    list(APPEND patterns ${TKR_TEST_DIR}/*/long_*.py ${TKR_TEST_DIR}/*/long_*.sh)
    file(GLOB scripts CONFIGURE_DEPENDS ${patterns})
    foreach(script IN LISTS scripts)
        cmake_path(GET script STEM name)
        cmake_path(GET script EXTENSION extension)
        cmake_path(GET script PARENT_PATH folder)
        cmake_path(GET folder FILENAME room)
        string(REGEX REPLACE "^(test|long)_" "\\1_${room}_" target ${name})
        if(extension STREQUAL ".py")
            tkr_register(${target}_py ${room} ${Python3_EXECUTABLE} ${script})
        else()
            tkr_register(${target}_sh ${room} bash ${script})
        endif()
    endforeach()
    set_tests_properties(test_server_clients_py PROPERTIES TIMEOUT 900) # may have to install them first
    set_property(TEST test_media_documents_py APPEND PROPERTY LABELS unit) # changed documents, for sanitizers, too
endif()

# Builds of kernels that this machine can't run itself (emulated tiles, qemu).
if(EXISTS ${TKR_TEST_DIR}/kernels/CMakeLists.txt)
    add_subdirectory(${TKR_TEST_DIR}/kernels ${PROJECT_BINARY_DIR}/tests/kernels)
endif()

# Measuring programs of one room, tests/bench/bench_*.c: built so that they don't rot, run by hand.
file(GLOB sources CONFIGURE_DEPENDS ${TKR_TEST_DIR}/bench/bench_*.c)
foreach(source IN LISTS sources)
    cmake_path(GET source STEM target)
    add_executable(${target} ${source})
    target_link_libraries(${target} PRIVATE tkr_flags tkr_room_engine)
    set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
endforeach()
if(TARGET bench_jail) # compares with decoding in its own process
    target_link_libraries(bench_jail PRIVATE tkr_room_decode)
    target_compile_definitions(bench_jail PRIVATE TKR_BUILD_DIR="${PROJECT_BINARY_DIR}")
    add_dependencies(bench_jail tkr-decode)
endif()
