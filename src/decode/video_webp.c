/* SPDX-License-Identifier: Apache-2.0 */
/* decode/video_webp: libwebp's animation decoder gives whole canvases one after another; going back means again from
 * the first. */
#include "decode/video_webp.h"

#include <string.h>

#include <webp/demux.h>

#include "decode/pixels.h"

struct tkr_webp {
    WebPAnimDecoder *decoder;
    size_t n_pixels;
    size_t next; /* frame that comes next */
};

bool tkr_webp_is(const uint8_t *bytes, size_t n_bytes) {
    return n_bytes >= 12 && memcmp(bytes, "RIFF", 4) == 0 && memcmp(bytes + 8, "WEBP", 4) == 0;
}

void tkr_webp_close(tkr_webp **out) {
    if (!out || !*out) return;
    WebPAnimDecoderDelete((*out)->decoder);
    tkr_free(*out);
    *out = NULL;
}

/* Durations stand in the frames' heads: nothing is decoded. A frame of no time is shown for 1 ms. */
static tkr_status read_times(tkr_buf *times, double *seconds, const WebPDemuxer *demuxer, tkr_error *error) {
    WebPIterator frame = {0};
    bool good = true;
    *seconds = 0;
    for (int more = WebPDemuxGetFrame(demuxer, 1, &frame); more; more = WebPDemuxNextFrame(&frame)) {
        good = good && tkr_buf_append(times, seconds, sizeof *seconds);
        *seconds += frame.duration > 0 ? frame.duration / 1000.0 : 1e-3;
        if (frame.frame_num == frame.num_frames) break;
    }
    WebPDemuxReleaseIterator(&frame);
    return good ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "no memory for the times of an animation");
}

static tkr_status check_size(const WebPAnimInfo *info, const tkr_video_options *options, tkr_error *error) {
    if (info->canvas_width == 0 || info->canvas_height == 0 || info->frame_count == 0)
        return TKR_FAIL(error, FORMAT, "damaged WebP: no frame");
    if (info->canvas_width > options->max_pixels / info->canvas_height)
        return TKR_FAIL(error, LIMIT, "the animation's frames are %u x %u: more than %zu pixels", info->canvas_width,
                        info->canvas_height, options->max_pixels);
    if (info->frame_count > options->max_frames)
        return TKR_FAIL(error, LIMIT, "the animation has more than %zu frames", options->max_frames);
    return TKR_OK;
}

/* Before anything is allocated for its canvas. */
static tkr_status look(WebPAnimInfo *info, tkr_buf *times, double *seconds, const WebPData *data,
                       const tkr_video_options *options, tkr_error *error) {
    WebPDemuxer *demuxer = WebPDemux(data); /* refuses a file that is cut */
    if (!demuxer) return TKR_FAIL(error, FORMAT, "damaged WebP: its chunks aren't whole");
    info->canvas_width = WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_WIDTH);
    info->canvas_height = WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_HEIGHT);
    info->frame_count = WebPDemuxGetI(demuxer, WEBP_FF_FRAME_COUNT);
    tkr_status status = check_size(info, options, error);
    if (status == TKR_OK) status = read_times(times, seconds, demuxer, error);
    WebPDemuxDelete(demuxer);
    return status;
}

tkr_status tkr_webp_open(tkr_webp **out, tkr_buf *times, tkr_video_info *info, const uint8_t *bytes, size_t n_bytes,
                         const tkr_video_options *options, tkr_error *error) {
    const WebPData data = {.bytes = bytes, .size = n_bytes};
    WebPAnimDecoderOptions how;
    WebPAnimInfo size = {0};
    double seconds = 0;
    *out = NULL;
    const tkr_status status = look(&size, times, &seconds, &data, options, error);
    if (status != TKR_OK) return status;
    tkr_webp *webp = tkr_calloc(1, sizeof *webp);
    if (!webp || !WebPAnimDecoderOptionsInit(&how)) {
        tkr_free(webp);
        return TKR_FAIL(error, NO_MEMORY, "no memory to open an animation");
    }
    how.color_mode = MODE_RGBA;
    how.use_threads = 0;
    webp->n_pixels = (size_t)size.canvas_width * size.canvas_height;
    webp->decoder = WebPAnimDecoderNew(&data, &how);
    const size_t n = times->size / sizeof(double);
    if (!webp->decoder || n == 0) {
        tkr_webp_close(&webp);
        return TKR_FAIL(error, FORMAT, "damaged WebP: its frames can't be read");
    }
    *info = (tkr_video_info){.n_frames = n,
                             .fps = (double)n / seconds,
                             .seconds = seconds,
                             .width = size.canvas_width,
                             .height = size.canvas_height};
    *out = webp;
    return TKR_OK;
}

tkr_status tkr_webp_frame(uint8_t *rgb, tkr_webp *w, size_t index, tkr_error *error) {
    uint8_t *canvas = NULL;
    int end_ms = 0;
    if (index < w->next) {
        WebPAnimDecoderReset(w->decoder);
        w->next = 0;
    }
    do {
        if (!WebPAnimDecoderGetNext(w->decoder, &canvas, &end_ms))
            return TKR_FAIL(error, FORMAT, "frame %zu can't be decoded: the animation is damaged there", index);
    } while (w->next++ < index);
    tkr_rgb_from_rgbx(rgb, canvas, w->n_pixels);
    return TKR_OK;
}
