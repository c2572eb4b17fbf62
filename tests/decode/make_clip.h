/* SPDX-License-Identifier: Apache-2.0 */
/* Small videos made by FFmpeg's libraries in memory: frames of one gray level each, at any times, with rotation. */
#ifndef TKR_TEST_DECODE_MAKE_CLIP_H
#define TKR_TEST_DECODE_MAKE_CLIP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>

typedef struct clip_recipe {
    const char *format, *codec; /* "mp4", "mpeg4" */
    int width, height;
    size_t n_frames;
    const int *times_ms; /* [n_frames]; NULL: 40 ms apart */
    int gop, b_frames;
    int rotation; /* degrees clockwise */
    int split;    /* the right half is black */
} clip_recipe;

/* The gray level of a frame: far enough from its neighbours to tell after lossy coding. */
static inline int level_of(size_t i) { return 40 + (int)(i * 37 % 180); }

static inline void fill_frame(AVFrame *frame, const clip_recipe *r, size_t i) {
    assert_true(av_frame_make_writable(frame) >= 0);
    for (int y = 0; y < r->height; y++)
        for (int x = 0; x < r->width; x++)
            frame->data[0][y * frame->linesize[0] + x] = (uint8_t)(r->split && 2 * x >= r->width ? 16 : level_of(i));
    for (int plane = 1; plane < 3; plane++)
        for (int y = 0; y < (r->height + 1) / 2; y++)
            memset(frame->data[plane] + y * frame->linesize[plane], 128, (size_t)(r->width + 1) / 2);
    frame->pts = r->times_ms ? r->times_ms[i] : (int)i;
}

static inline void drain(AVFormatContext *format, AVCodecContext *encoder, AVPacket *packet) {
    while (avcodec_receive_packet(encoder, packet) == 0) {
        packet->duration =
            encoder->time_base.den == 25 ? 1 : 40; /* else an mp4's edit list ends before the last frame */
        av_packet_rescale_ts(packet, encoder->time_base, format->streams[0]->time_base);
        packet->stream_index = 0;
        assert_true(av_interleaved_write_frame(format, packet) >= 0);
    }
}

static inline AVCodecContext *open_encoder(AVFormatContext *format, const clip_recipe *r) {
    const AVCodec *codec = avcodec_find_encoder_by_name(r->codec);
    if (!codec) fail_msg("FFmpeg has no encoder %s", r->codec);
    AVCodecContext *encoder = avcodec_alloc_context3(codec);
    encoder->width = r->width;
    encoder->height = r->height;
    encoder->pix_fmt = strcmp(r->codec, "mjpeg") == 0 ? AV_PIX_FMT_YUVJ420P : AV_PIX_FMT_YUV420P;
    encoder->time_base = r->times_ms ? (AVRational){1, 1000} : (AVRational){1, 25}; /* mpeg2video knows few rates */
    encoder->gop_size = r->gop;
    encoder->max_b_frames = r->b_frames;
    encoder->thread_count = 1;
    encoder->flags |= AV_CODEC_FLAG_QSCALE;
    encoder->global_quality = 2 * FF_QP2LAMBDA;
    if (format->oformat->flags & AVFMT_GLOBALHEADER) encoder->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    assert_true(avcodec_open2(encoder, codec, NULL) >= 0);
    return encoder;
}

/* Returns the file, [*n] bytes, to be freed with av_free. */
static inline uint8_t *make_clip(size_t *n, const clip_recipe *r) {
    AVFormatContext *format = NULL;
    uint8_t *bytes = NULL;
    assert_true(avformat_alloc_output_context2(&format, NULL, r->format, NULL) >= 0);
    assert_true(avio_open_dyn_buf(&format->pb) >= 0);
    AVStream *stream = avformat_new_stream(format, NULL);
    AVCodecContext *encoder = open_encoder(format, r);
    stream->time_base = encoder->time_base;
    assert_true(avcodec_parameters_from_context(stream->codecpar, encoder) >= 0);
    if (r->rotation) {
        int32_t *matrix = (int32_t *)(void *)av_stream_new_side_data(stream, AV_PKT_DATA_DISPLAYMATRIX, 36);
        av_display_rotation_set(matrix, r->rotation);
    }
    AVPacket *packet = av_packet_alloc();
    AVFrame *frame = av_frame_alloc();
    frame->format = encoder->pix_fmt;
    frame->width = r->width;
    frame->height = r->height;
    frame->quality = encoder->global_quality;
    assert_true(av_frame_get_buffer(frame, 0) >= 0);
    assert_true(avformat_write_header(format, NULL) >= 0);
    for (size_t i = 0; i < r->n_frames; i++) {
        fill_frame(frame, r, i);
        assert_int_equal(avcodec_send_frame(encoder, frame), 0);
        drain(format, encoder, packet);
    }
    (void)avcodec_send_frame(encoder, NULL);
    drain(format, encoder, packet);
    assert_true(av_write_trailer(format) >= 0);
    *n = (size_t)avio_close_dyn_buf(format->pb, &bytes);
    av_frame_free(&frame);
    av_packet_free(&packet);
    avcodec_free_context(&encoder);
    avformat_free_context(format);
    return bytes;
}

#endif
