# SPDX-License-Identifier: Apache-2.0
# tkr-decode and tkr-decode-video: the programs that decode untrusted bytes; the only targets that link codecs. They lie
# beside tkr-embed in the build folder and in libexec/tkr-embed when installed.
pkg_check_modules(TKR_JPEG REQUIRED IMPORTED_TARGET libjpeg)
pkg_check_modules(TKR_PNG REQUIRED IMPORTED_TARGET libpng>=1.6)
pkg_check_modules(TKR_WEBP REQUIRED IMPORTED_TARGET libwebp>=1.0 libwebpdemux)
pkg_check_modules(TKR_TIFF REQUIRED IMPORTED_TARGET libtiff-4)
set(TKR_FFMPEG_NEEDED REQUIRED)
if(CMAKE_CROSSCOMPILING) # the sysroots leave it out, with the hundred libraries behind it
    set(TKR_FFMPEG_NEEDED "")
endif()
pkg_check_modules(TKR_FFMPEG ${TKR_FFMPEG_NEEDED} IMPORTED_TARGET libavformat>=58 libavcodec>=58 libavutil libswscale)
if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
    pkg_check_modules(TKR_SECCOMP REQUIRED IMPORTED_TARGET libseccomp>=2.5)
endif()

# Apart from main, so that tests, the fuzz target and the benchmark can call the readers in process.
file(GLOB decode_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/decode/*.c)
set(decode_main ${PROJECT_SOURCE_DIR}/src/decode/main.c)
set(decode_video_main ${PROJECT_SOURCE_DIR}/src/decode/video_main.c)
file(GLOB decode_video_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/decode/video*.c)
list(REMOVE_ITEM decode_sources ${decode_main} ${decode_video_sources})
list(REMOVE_ITEM decode_video_sources ${decode_video_main})
add_library(tkr_room_decode STATIC ${decode_sources})
target_link_libraries(tkr_room_decode PRIVATE tkr_flags PUBLIC tkr_room_core
    PkgConfig::TKR_JPEG PkgConfig::TKR_PNG PkgConfig::TKR_WEBP PkgConfig::TKR_TIFF)
if(TARGET PkgConfig::TKR_SECCOMP)
    target_link_libraries(tkr_room_decode PUBLIC PkgConfig::TKR_SECCOMP)
endif()

# A program that tkr-embed starts.
function(tkr_decoder program main)
    add_executable(${program} ${main})
    target_link_libraries(${program} PRIVATE tkr_flags ${ARGN})
    target_link_options(${program} PRIVATE ${TKR_LINK_LEAN} $<$<NOT:$<BOOL:${APPLE}>>:LINKER:-z,now,-z,relro>)
    set_target_properties(${program} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
    if(TARGET tkr-embed)
        add_dependencies(tkr-embed ${program})
    endif()
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/tkr-embed)
endfunction()

tkr_decoder(tkr-decode ${decode_main} tkr_room_decode)
if(TKR_FFMPEG_FOUND) # apart: loading FFmpeg's libraries takes longer than a picture to decode
    add_library(tkr_room_decode_video STATIC ${decode_video_sources})
    target_link_libraries(tkr_room_decode_video PRIVATE tkr_flags PUBLIC tkr_room_decode PkgConfig::TKR_FFMPEG)
    tkr_decoder(tkr-decode-video ${decode_video_main} tkr_room_decode_video)
endif()
set(TKR_DECODE ${PROJECT_BINARY_DIR}/tkr-decode)
