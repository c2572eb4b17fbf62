# SPDX-License-Identifier: Apache-2.0
# -DTKR_MLX=ON: the module libtkr-mlx.so, the one part in C++ (C++20), which the library loads on demand. MLX comes from
# the wheel that scripts/mlx-env installs; another place is named by -DTKR_MLX_ROOT=... (the folder that holds
# share/cmake/MLX) or CMAKE_PREFIX_PATH. Without the option nothing here happens and no C++ compiler is needed.
option(TKR_MLX "Build the MLX module (Apple and NVIDIA GPUs)" OFF)
if(NOT TKR_MLX)
    return()
endif()

enable_language(CXX)
set(TKR_MLX_ROOT "" CACHE PATH "The folder of MLX's wheel that holds share/cmake/MLX; empty: build/mlx-venv")
if(TKR_MLX_ROOT)
    list(PREPEND CMAKE_PREFIX_PATH ${TKR_MLX_ROOT})
else()
    file(GLOB wheels ${PROJECT_SOURCE_DIR}/build/mlx-venv/lib/python3*/site-packages/mlx)
    list(PREPEND CMAKE_PREFIX_PATH ${wheels})
endif()
find_package(MLX CONFIG)
if(NOT MLX_FOUND)
    message(FATAL_ERROR
        "TKR_MLX is ON, and MLX was not found. Run scripts/mlx-env, or name its folder: -DTKR_MLX_ROOT=...")
endif()

set(origin "$ORIGIN")
if(APPLE) # the wheel names frameworks where its builder had Xcode; libmlx.dylib itself knows where they are
    set_target_properties(mlx PROPERTIES INTERFACE_LINK_LIBRARIES "")
    set(origin "@loader_path")
endif()

file(GLOB mlx_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/ops/mlx/*.cpp)
add_library(tkr_mlx MODULE ${mlx_sources})
set_target_properties(tkr_mlx PROPERTIES
    OUTPUT_NAME tkr-mlx
    CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON CXX_EXTENSIONS OFF
    CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}
    BUILD_RPATH "${MLX_LIBRARY_DIRS}" INSTALL_RPATH "${origin};${MLX_LIBRARY_DIRS}")
target_include_directories(tkr_mlx PRIVATE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
target_include_directories(tkr_mlx SYSTEM PRIVATE ${MLX_INCLUDE_DIRS})
target_compile_options(tkr_mlx PRIVATE -Wall -Wextra -Wshadow -ffp-contract=off $<$<BOOL:${TKR_WERROR}>:-Werror>)
target_link_libraries(tkr_mlx PRIVATE tkr_room_quant tkr_room_core mlx)
# One symbol leaves the module: not what the archives define, which the program that loads it has itself, nor templates
# of MLX.
if(APPLE)
    target_link_options(tkr_mlx PRIVATE LINKER:-exported_symbol,_tkr_mlx_entry)
else()
    file(WRITE ${PROJECT_BINARY_DIR}/tkr_mlx.map "{ global: tkr_mlx_entry; local: *; };\n")
    target_link_options(tkr_mlx PRIVATE LINKER:--version-script=${PROJECT_BINARY_DIR}/tkr_mlx.map
        LINKER:--as-needed LINKER:--no-undefined)
endif()
install(TARGETS tkr_mlx LIBRARY DESTINATION lib/tkr-embed) # where core/module.c looks

# tests/<room>/mlx_*.c and mlx_*.py: the module beside the CPU backend, and behind engine and program. Built by the
# target mlx_tests, run by `ctest -L mlx`.
if(TKR_BUILD_TESTS)
    add_custom_target(mlx_tests DEPENDS tkr_mlx tkr-embed)
    function(tkr_mlx_test name room)
        tkr_register(${name} "mlx;${room}" ${ARGN})
        set_property(TEST ${name} APPEND PROPERTY ENVIRONMENT "TKR_MLX_MODULE=$<TARGET_FILE:tkr_mlx>")
    endfunction()
    foreach(room IN LISTS TKR_ROOMS ITEMS cli)
        file(GLOB sources CONFIGURE_DEPENDS ${TKR_TEST_DIR}/${room}/mlx_*.c)
        foreach(source IN LISTS sources)
            cmake_path(GET source STEM name)
            set(target test_${room}_${name})
            add_executable(${target} ${source})
            target_link_libraries(${target} PRIVATE tkr_room_${room})
            tkr_test_program(${target})
            add_dependencies(mlx_tests ${target})
            tkr_mlx_test(${target} ${room} ${target})
        endforeach()
        file(GLOB scripts CONFIGURE_DEPENDS ${TKR_TEST_DIR}/${room}/mlx_*.py)
        foreach(script IN LISTS scripts)
            cmake_path(GET script STEM name)
            tkr_mlx_test(test_${room}_${name}_py ${room} ${Python3_EXECUTABLE} ${script})
        endforeach()
    endforeach()
endif()
