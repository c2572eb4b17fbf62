/* SPDX-License-Identifier: Apache-2.0 */
/* decode/video_rgb: libswscale with fixed flags; the colour matrix and range that a frame states, else BT.601 limited,
 * as FFmpeg takes it. */
#include "decode/video_rgb.h"

#include <string.h>

#include <libavutil/imgutils.h>
#include <libavutil/pixdesc.h>

#include "core/mem.h"

void tkr_rgb_converter_free(tkr_rgb_converter *converter) {
    sws_freeContext(converter->context);
    tkr_free(converter->turned);
    *converter = (tkr_rgb_converter){0};
}

/* The J formats are others with full range by another name, which libswscale would warn about. */
static enum AVPixelFormat plain_format(enum AVPixelFormat format, bool *full) {
    switch (format) {
    case AV_PIX_FMT_YUVJ420P: *full = true; return AV_PIX_FMT_YUV420P;
    case AV_PIX_FMT_YUVJ422P: *full = true; return AV_PIX_FMT_YUV422P;
    case AV_PIX_FMT_YUVJ444P: *full = true; return AV_PIX_FMT_YUV444P;
    case AV_PIX_FMT_YUVJ440P: *full = true; return AV_PIX_FMT_YUV440P;
    case AV_PIX_FMT_YUVJ411P: *full = true; return AV_PIX_FMT_YUV411P;
    default: return format;
    }
}

static tkr_status prepare(tkr_rgb_converter *c, const AVFrame *frame, tkr_error *error) {
    bool full = frame->color_range == AVCOL_RANGE_JPEG;
    const enum AVPixelFormat format = plain_format((enum AVPixelFormat)frame->format, &full);
    c->context = sws_getCachedContext(c->context, frame->width, frame->height, format, frame->width, frame->height,
                                      AV_PIX_FMT_RGB24, TKR_VIDEO_SWS_FLAGS, NULL, NULL, NULL);
    if (!c->context) {
        const char *name = av_get_pix_fmt_name(format);
        return TKR_FAIL(error, UNSUPPORTED, "frames of pixel format %s can't be converted to RGB",
                        name ? name : "unknown");
    }
    /* formats that aren't YUV refuse it, and need none */
    (void)sws_setColorspaceDetails(c->context, sws_getCoefficients((int)frame->colorspace), full,
                                   sws_getCoefficients(SWS_CS_DEFAULT), 1, 0, 1 << 16, 1 << 16);
    return TKR_OK;
}

static tkr_status convert(uint8_t *rgb, tkr_rgb_converter *c, const AVFrame *frame, tkr_error *error) {
    uint8_t *const planes[4] = {rgb};
    const int strides[4] = {frame->width * 3};
    const int n =
        sws_scale(c->context, (const uint8_t *const *)frame->data, frame->linesize, 0, frame->height, planes, strides);
    return n == frame->height ? TKR_OK : TKR_FAIL(error, FORMAT, "a frame can't be converted to RGB");
}

/* `from` is [height, width, 3]. */
static void turn(uint8_t *to, const uint8_t *from, size_t width, size_t height, unsigned quarters) {
    const size_t n = width * height;
    if (quarters == 2) {
        for (size_t i = 0; i < n; i++) memcpy(to + 3 * (n - 1 - i), from + 3 * i, 3);
        return;
    }
    for (size_t y = 0; y < height; y++) {
        for (size_t x = 0; x < width; x++, from += 3) {
            const size_t row = quarters == 1 ? x : width - 1 - x, column = quarters == 1 ? height - 1 - y : y;
            memcpy(to + 3 * (row * height + column), from, 3);
        }
    }
}

tkr_status tkr_rgb_from_frame(uint8_t *rgb, size_t *width, size_t *height, tkr_rgb_converter *c, const AVFrame *frame,
                              unsigned quarters, size_t max_pixels, tkr_error *error) {
    if (frame->width <= 0 || frame->height <= 0)
        return TKR_FAIL(error, FORMAT, "a frame of %d x %d pixels", frame->width, frame->height);
    const size_t w = (size_t)frame->width, h = (size_t)frame->height;
    if (w > max_pixels / h)
        return TKR_FAIL(error, LIMIT, "a frame of %zu x %zu: more than %zu pixels", w, h, max_pixels);
    *width = quarters % 2 ? h : w;
    *height = quarters % 2 ? w : h;
    tkr_status status = prepare(c, frame, error);
    if (status != TKR_OK || quarters == 0) return status == TKR_OK ? convert(rgb, c, frame, error) : status;
    if (c->room < w * h * 3) {
        tkr_free(c->turned);
        c->turned = tkr_malloc(w * h * 3);
        c->room = c->turned ? w * h * 3 : 0;
        if (!c->turned) return TKR_FAIL(error, NO_MEMORY, "no memory to turn a frame of %zu x %zu", w, h);
    }
    status = convert(c->turned, c, frame, error);
    if (status == TKR_OK) turn(rgb, c->turned, w, h, quarters);
    return status;
}
