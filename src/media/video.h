/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media/video: which frames of a video a model sees, when they are and how large: the arithmetic of the references,
 * rounding included. Pure functions; refuses a video that has too few frames for the rule.
 */
#ifndef TKR_MEDIA_VIDEO_H
#define TKR_MEDIA_VIDEO_H

#include "core/mem.h"
#include "media/processor.h"

/* Frames that one temporal patch takes. */
#define TKR_VIDEO_PAIR 2

typedef enum tkr_video_rule {
    TKR_VIDEO_UTILS = 0,    /* qwen-vl-utils: an even number of frames, evenly spread, first and last included */
    TKR_VIDEO_QWEN2_VL = 1, /* transformers' Qwen2VLVideoProcessor: an even number, steps from the first, cut off */
    TKR_VIDEO_QWEN3_VL = 2 /* transformers' Qwen3VLVideoProcessor: any number, evenly spread, first and last included */
} tkr_video_rule;

typedef struct tkr_video_sampling {
    tkr_video_rule rule;
    size_t total_frames;
    double video_fps; /* of the video; above 0 */
    double fps;       /* wanted, above 0 */
    size_t min_frames, max_frames;
    size_t n_frames; /* UTILS: so many, rounded to an even number, in place of fps and its limits; 0: by fps */
} tkr_video_sampling;

/* Appends the indices of the frames (size_t) in ascending order. TKR_LIMIT: the video has too few. */
tkr_status tkr_video_sample(tkr_buf *indices, const tkr_video_sampling *sampling, tkr_error *error);

/* A list of n frames is thinned to max_frames, first and last included: which one comes at `i`, below max_frames. */
size_t tkr_video_thinned(size_t i, size_t n, size_t max_frames);

/* Seconds of temporal patch `i` of the frames with these indices: the mean of its two frames; the last one counts twice
 * where their number is odd. */
double tkr_video_time(size_t i, const size_t *indices, size_t n, double video_fps);

/* The size of n frames by qwen-vl-utils' fetch_video: each has 128 to 768 tokens, fewer where together they would cross
 * total_pixels. `factor`: pixels of a token's side. */
typedef struct tkr_video_size {
    size_t factor, n_frames;
    double total_pixels;
    size_t min_pixels, max_pixels; /* of a frame; min 0: 128 tokens; max only lowers the rule's */
} tkr_video_size;
void tkr_video_limits(tkr_smart_resize_options *limits, const tkr_video_size *size);

#endif
