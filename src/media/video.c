/* SPDX-License-Identifier: Apache-2.0 */
/* media/video: qwen_vl_utils/vision_process.py (smart_nframes, fetch_video) and transformers' video processors of
 * Qwen2-VL and Qwen3-VL (sample_frames), number for number. */
#include "media/video.h"

#include <math.h>

#include "core/error.h"

enum { LEAST_TOKENS = 128, MOST_TOKENS = 768 };
/* Beyond it neither a float nor memory tells frames apart. */
#define MOST_FRAMES ((size_t)1 << 31)

static double at_most(double a, double b) { return a < b ? a : b; }
static double at_least(double a, double b) { return a > b ? a : b; }
static double floor_even(double n) { return floor(n / TKR_VIDEO_PAIR) * TKR_VIDEO_PAIR; }

/* How many; not yet checked against the rule's least. */
static double count_frames(const tkr_video_sampling *s) {
    const double total = (double)s->total_frames, wanted = total / s->video_fps * s->fps;
    const double least = (double)s->min_frames, most = (double)s->max_frames;
    switch (s->rule) {
    case TKR_VIDEO_UTILS:
        if (s->n_frames) return rint((double)s->n_frames / TKR_VIDEO_PAIR) * TKR_VIDEO_PAIR;
        return floor_even(
            at_most(at_most(at_least(wanted, ceil(least / TKR_VIDEO_PAIR) * TKR_VIDEO_PAIR), floor_even(most)), total));
    case TKR_VIDEO_QWEN2_VL:
        return floor_even(at_most(at_most(at_least(wanted, least), floor_even(at_most(most, total))), total));
    default: return at_most(at_most(at_least(floor(wanted), least), most), total);
    }
}

/* torch.linspace of float32: from the nearer end. */
static size_t spread_float(size_t i, size_t n, size_t last) {
    const float end = (float)last, step = end / (float)(n - 1);
    const float at = i < n / 2 ? step * (float)i : end - step * (float)(n - 1 - i);
    return (size_t)rintf(at);
}

/* numpy.linspace, whose last value is exact. */
static double spread(size_t i, size_t n, size_t last) {
    return i + 1 == n && n > 1 ? (double)last : (double)i * ((double)last / (double)(n - 1));
}

static size_t frame_at(const tkr_video_sampling *s, size_t i, size_t n) {
    if (n == 1) return 0;
    switch (s->rule) {
    case TKR_VIDEO_UTILS: return spread_float(i, n, s->total_frames - 1);
    case TKR_VIDEO_QWEN2_VL: /* torch.arange of float32, whose steps are double */
        return (size_t)(float)((double)i * ((double)s->total_frames / (double)n));
    default: return (size_t)rint(spread(i, n, s->total_frames - 1));
    }
}

tkr_status tkr_video_sample(tkr_buf *indices, const tkr_video_sampling *s, tkr_error *error) {
    const double least = s->rule == TKR_VIDEO_QWEN3_VL ? 1 : TKR_VIDEO_PAIR;
    if (!(s->video_fps > 0) || !(s->fps > 0 || s->n_frames) || s->total_frames > MOST_FRAMES)
        return TKR_FAIL(error, INVALID_ARGUMENT,
                        "%zu frames at %g a second, %g a second wanted: rates must be above 0, frames at most 2^31",
                        s->total_frames, s->video_fps, s->fps);
    const double wanted = count_frames(s);
    if (wanted < least || wanted > (double)s->total_frames)
        return TKR_FAIL(error, LIMIT, "the video has %zu frames; the model's rule takes %g of it, and %g at least",
                        s->total_frames, wanted, least);
    const size_t n = (size_t)wanted;
    for (size_t i = 0; i < n; i++) {
        const size_t at = frame_at(s, i, n);
        if (!tkr_buf_append(indices, &at, sizeof at)) {
            indices->failed = false;
            return TKR_FAIL(error, NO_MEMORY, "no memory for a list of %zu frames", n);
        }
    }
    return TKR_OK;
}

size_t tkr_video_thinned(size_t i, size_t n, size_t max_frames) {
    return n <= max_frames || max_frames < 2 ? i : (size_t)spread(i, max_frames, n - 1);
}

double tkr_video_time(size_t i, const size_t *indices, size_t n, double video_fps) {
    const size_t first = i * TKR_VIDEO_PAIR, second = first + 1 < n ? first + 1 : n - 1;
    return ((double)indices[first] / video_fps + (double)indices[second] / video_fps) / 2;
}

void tkr_video_limits(tkr_smart_resize_options *limits, const tkr_video_size *size) {
    const double token = (double)(size->factor * size->factor);
    const double least = size->min_pixels ? (double)size->min_pixels : LEAST_TOKENS * token;
    const double share = size->total_pixels / (double)size->n_frames * TKR_VIDEO_PAIR;
    double most = at_least(at_most(MOST_TOKENS * token, share), floor(least * 1.05));
    if (size->max_pixels) most = at_most(most, (double)size->max_pixels);
    *limits = (tkr_smart_resize_options){.factor = size->factor,
                                         .min_pixels = (size_t)least,
                                         .max_pixels = (size_t)most,
                                         .max_fraction = most - floor(most),
                                         .at_least_factor = true};
}
