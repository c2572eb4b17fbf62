/* SPDX-License-Identifier: Apache-2.0 */
/* decode/webp: libwebp: the still picture, or the first frame on its canvas. */
#include <string.h>

#include <webp/decode.h>
#include <webp/demux.h>

#include "core/mem.h"
#include "decode/decode.h"
#include "decode/pixels.h"

/* Where the first frame lies on the canvas. */
typedef struct place {
    size_t x, y, width, height;
} place;

/* Also of pictures without alpha: their rows go straight to the result. */
static tkr_status decode_rgb(tkr_decoding *d, const WebPIterator *frame, const place *at, tkr_error *error) {
    const size_t stride = d->width * 3, first = at->y * stride + at->x * 3;
    const size_t room = (at->height - 1) * stride + at->width * 3;
    if (stride > INT32_MAX) return TKR_FAIL(error, LIMIT, "the WebP picture is too wide");
    if (!WebPDecodeRGBInto(frame->fragment.bytes, frame->fragment.size, d->out + first, room, (int)stride)) {
        return TKR_FAIL(error, FORMAT, "damaged WebP data");
    }
    return TKR_OK;
}

static tkr_status decode_on_white(tkr_decoding *d, const WebPIterator *frame, const place *at, tkr_error *error) {
    tkr_status status;
    const size_t stride = at->width * 4;
    uint8_t *rgba = tkr_decode_alloc(&status, at->height, stride, error);
    if (!rgba) return status;
    if (WebPDecodeRGBAInto(frame->fragment.bytes, frame->fragment.size, rgba, stride * at->height, (int)stride)) {
        for (size_t y = 0; y < at->height; y++) {
            uint8_t *out = d->out + ((at->y + y) * d->width + at->x) * 3;
            tkr_rgb_from_rgba_on_white(out, rgba + y * stride, at->width);
        }
    } else {
        status = TKR_FAIL(error, FORMAT, "damaged WebP data");
    }
    tkr_free(rgba);
    return status;
}

static tkr_status decode_frame(tkr_decoding *d, const WebPDemuxer *demuxer, const WebPIterator *frame,
                               tkr_error *error) {
    int width = 0, height = 0;
    tkr_status status = tkr_decode_size(d, WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_WIDTH),
                                        WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_HEIGHT), error);
    if (status != TKR_OK) return status;
    const bool on_white = d->on_white && (WebPDemuxGetI(demuxer, WEBP_FF_FORMAT_FLAGS) & ALPHA_FLAG) != 0;
    if (frame->width <= 0 || frame->height <= 0 || frame->x_offset < 0 || frame->y_offset < 0 ||
        !WebPGetInfo(frame->fragment.bytes, frame->fragment.size, &width, &height) || width != frame->width ||
        height != frame->height) {
        return TKR_FAIL(error, FORMAT, "damaged WebP: the first frame contradicts itself about its size");
    }
    const place at = {.x = (size_t)frame->x_offset,
                      .y = (size_t)frame->y_offset,
                      .width = (size_t)frame->width,
                      .height = (size_t)frame->height};
    if (at.x + at.width > d->width || at.y + at.height > d->height) {
        return TKR_FAIL(error, FORMAT, "damaged WebP: the first frame lies outside of the canvas");
    }
    if (at.width != d->width || at.height != d->height) { /* the canvas is transparent black */
        memset(d->out, on_white ? 255 : 0, d->width * d->height * 3);
    }
    return on_white ? decode_on_white(d, frame, &at, error) : decode_rgb(d, frame, &at, error);
}

tkr_status tkr_decode_webp(tkr_decoding *d, tkr_error *error) {
    const WebPData data = {.bytes = d->bytes, .size = d->n_bytes};
    WebPIterator frame;
    WebPDemuxer *demuxer = WebPDemux(&data); /* refuses a file that is cut */
    if (!demuxer) return TKR_FAIL(error, FORMAT, "damaged WebP: its chunks aren't whole");
    tkr_status status;
    if (WebPDemuxGetFrame(demuxer, 1, &frame)) {
        status = decode_frame(d, demuxer, &frame, error);
        WebPDemuxReleaseIterator(&frame);
    } else {
        status = TKR_FAIL(error, FORMAT, "damaged WebP: no frame");
    }
    WebPDemuxDelete(demuxer);
    return status;
}
