/* SPDX-License-Identifier: Apache-2.0 */
/* decode/video_source: bytes in memory as a demuxer reads them, with nothing else that it could open. */
#ifndef TKR_DECODE_VIDEO_SOURCE_H
#define TKR_DECODE_VIDEO_SOURCE_H

#include <libavformat/avformat.h>

#include "core/error.h"

typedef struct tkr_video_source {
    const uint8_t *bytes; /* [size], borrowed */
    size_t size, at;
    AVFormatContext *format; /* open, all streams but `stream` discarded */
    AVStream *stream;        /* the video */
} tkr_video_source;

/* bytes and size are filled in. Opens it from the beginning; an open one is closed before. */
tkr_status tkr_video_source_open(tkr_video_source *source, tkr_error *error);
void tkr_video_source_close(tkr_video_source *source);

#endif
