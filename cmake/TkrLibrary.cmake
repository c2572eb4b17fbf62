# SPDX-License-Identifier: Apache-2.0
# One static archive a room, linked to the rooms that it may know; libtkr.so and libtkr.a are made of their objects.
# Everything is compiled once, position independent and hidden; only TKR_API functions leave libtkr.so.

# room: the rooms it may know (docs/design.md; the same table as scripts/check-includes)
set(TKR_ROOM_core_KNOWS "")
set(TKR_ROOM_quant_KNOWS core)
set(TKR_ROOM_kernels_KNOWS core quant)
set(TKR_ROOM_formats_KNOWS core quant)
set(TKR_ROOM_tokenizer_KNOWS core)
set(TKR_ROOM_hub_KNOWS core)
set(TKR_ROOM_media_KNOWS core kernels)
set(TKR_ROOM_ops_KNOWS core quant kernels)
set(TKR_ROOM_models_KNOWS core quant ops formats)
set(TKR_ROOM_engine_KNOWS core quant kernels formats tokenizer hub media ops models)
set(TKR_ROOMS core quant kernels formats tokenizer hub media ops models engine)

# Instruction sets of kernel files by their suffix, <family>_<isa>.c. The CPU is asked at run time which may be called.
set(avx512 -mavx512f -mavx512bw -mavx512cd -mavx512dq -mavx512vl -mavx2 -mfma -mf16c -mbmi2)
set(TKR_ISA_x86_avx2 -mavx2 -mfma -mf16c -mbmi2)
set(TKR_ISA_x86_avx512 ${avx512})
set(TKR_ISA_x86_vnni ${avx512} -mavx512vnni)
set(TKR_ISA_x86_avx512bf16 ${avx512} -mavx512bf16)
set(TKR_ISA_x86_amx ${avx512} -mavx512vnni -mavx512bf16 -mamx-tile -mamx-int8 -mamx-bf16)
set(TKR_ISA_arm_neon "")
set(TKR_ISA_arm_dotprod -march=armv8.2-a+dotprod)
set(TKR_ISA_arm_i8mm -march=armv8.6-a+i8mm)
set(TKR_ISA_arm_bf16 -march=armv8.6-a+bf16)
set(TKR_KERNEL_OPTIONS -O3 -fno-math-errno)
if(TKR_SANITIZE) # half of that build's time would go into kernels
    set(TKR_KERNEL_OPTIONS -O1 -fno-math-errno)
endif()

# Sets `variable` to the compile options of a kernel file.
function(tkr_kernel_options variable file)
    set(options ${TKR_KERNEL_OPTIONS})
    if(file MATCHES "/(x86|arm)/[^/]*_([a-z0-9]+)\\.c$")
        list(APPEND options ${TKR_ISA_${CMAKE_MATCH_1}_${CMAKE_MATCH_2}})
    endif()
    set(${variable} ${options} PARENT_SCOPE)
endfunction()

function(tkr_add_room room)
    set(folder ${PROJECT_SOURCE_DIR}/src/${room})
    set(patterns ${folder}/*.c)
    if(room STREQUAL "kernels")
        list(APPEND patterns ${folder}/generic/*.c)
        if(NOT TKR_ARCH STREQUAL "generic")
            list(APPEND patterns ${folder}/${TKR_ARCH}/*.c)
        endif()
    elseif(room STREQUAL "ops")
        list(APPEND patterns ${folder}/cpu/*.c)
    endif()
    file(GLOB sources CONFIGURE_DEPENDS ${patterns})
    if(NOT sources)
        file(WRITE ${PROJECT_BINARY_DIR}/empty/${room}.c "typedef int tkr_${room}_is_empty;\n")
        set(sources ${PROJECT_BINARY_DIR}/empty/${room}.c)
    endif()
    if(room STREQUAL "kernels" OR room STREQUAL "quant") # quant's row loops are written for the vectoriser of -O3
        foreach(source IN LISTS sources)
            tkr_kernel_options(options ${source})
            set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${options}")
        endforeach()
    endif()
    add_library(tkr_room_${room} STATIC ${sources})
    target_link_libraries(tkr_room_${room} PRIVATE tkr_flags PUBLIC Threads::Threads m)
    foreach(known IN LISTS TKR_ROOM_${room}_KNOWS)
        target_link_libraries(tkr_room_${room} PUBLIC tkr_room_${known})
    endforeach()
endfunction()

foreach(room IN LISTS TKR_ROOMS)
    tkr_add_room(${room})
    list(APPEND TKR_OBJECTS $<TARGET_OBJECTS:tkr_room_${room}>)
endforeach()

# Named TKR_*: the installed package finds them under the same names.
set(TKR_SYSTEM_LIBRARIES
    PkgConfig::TKR_JANSSON PkgConfig::TKR_PCRE2 PkgConfig::TKR_CURL PkgConfig::TKR_NETTLE PkgConfig::TKR_ZLIB
    Threads::Threads m ${CMAKE_DL_LIBS})
target_link_libraries(tkr_room_core PUBLIC
    PkgConfig::TKR_JANSSON PkgConfig::TKR_NETTLE PkgConfig::TKR_ZLIB ${CMAKE_DL_LIBS})
target_link_libraries(tkr_room_tokenizer PUBLIC PkgConfig::TKR_PCRE2)
target_link_libraries(tkr_room_hub PUBLIC PkgConfig::TKR_CURL)

add_library(tkr_shared SHARED ${TKR_OBJECTS})
add_library(tkr_static STATIC ${TKR_OBJECTS})
foreach(target IN ITEMS tkr_shared tkr_static)
    set_target_properties(${target} PROPERTIES OUTPUT_NAME tkr LINKER_LANGUAGE C)
    target_include_directories(${target} INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>)
    target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:tkr_flags>)
endforeach()
set_target_properties(tkr_shared PROPERTIES
    EXPORT_NAME tkr VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
target_link_libraries(tkr_shared PRIVATE $<BUILD_INTERFACE:${TKR_SYSTEM_LIBRARIES}>)
target_link_libraries(tkr_static PRIVATE ${TKR_SYSTEM_LIBRARIES})
target_link_options(tkr_shared PRIVATE ${TKR_LINK_LEAN})
if(NOT (TKR_SANITIZE AND CMAKE_C_COMPILER_ID MATCHES "Clang")) # clang leaves the sanitizer's runtime to the program
    target_link_options(tkr_shared PRIVATE ${TKR_LINK_COMPLETE})
endif()
add_library(tkr::tkr ALIAS tkr_shared)
add_library(tkr::tkr_static ALIAS tkr_static)
