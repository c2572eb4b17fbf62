/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media/processor: from RGB pixels to the rows of patches that a vision tower reads, by what a checkpoint's
 * preprocessor_config.json (or processor_config.json) says. Pillow-backed processors are the reference.
 */
#ifndef TKR_MEDIA_PROCESSOR_H
#define TKR_MEDIA_PROCESSOR_H

#include "media/resize.h"

/* How the family turns a picture into a grid; the registry row of an architecture names it. */
typedef enum tkr_processor_family {
    TKR_PROCESSOR_FIXED,   /* SigLIP, CLIP: resize (exact or shortest edge + centre crop), one square */
    TKR_PROCESSOR_QWEN2,   /* Qwen2-VL, ColQwen2.5: smart_resize of the transformers processor */
    TKR_PROCESSOR_OPS,     /* Ops-MM's fetch_image before it: ratio clamped, limits of the recipe */
    TKR_PROCESSOR_QWEN3_VL /* qwen-vl-utils' fetch_image, factor 32, alpha on white, no further resize */
} tkr_processor_family;

typedef struct tkr_processor tkr_processor; /* immutable, shared by threads */

typedef struct tkr_processor_options {
    const char *folder; /* of the checkpoint */
    tkr_processor_family family;
    size_t patch_size, temporal_patch_size,
        merge_size;             /* of the model's vision_config; temporal and merge 1 for FIXED */
    size_t image_size;          /* of the model's vision_config, FIXED only */
    const tkr_kernels *kernels; /* copied; NULL: plain C */
    bool torchvision;           /* arithmetic of the torchvision-backed processor in place of the Pillow-backed one */
} tkr_processor_options;

/* Reads processor_config.json where it holds an image_processor, else preprocessor_config.json; missing file, unknown
 * processor type or a value that contradicts the model: an error that names it. Returns a processor. */
tkr_status tkr_processor_load(tkr_processor **processor, const tkr_processor_options *options, tkr_error *error);
void tkr_processor_free(tkr_processor **processor);

/* Of one picture; zero-initialise. */
typedef struct tkr_process_options {
    size_t min_pixels, max_pixels; /* 0: the family's; where one alone would cross it, it gives way */
    bool hub_limits;               /* Qwen3-VL: the checkpoint's own processor and limits in place of fetch_image */
    bool interpolate;              /* SigLIP: keep this size instead of the model's square (interpolate_pos_encoding) */
    size_t width, height;          /* with `interpolate`: multiples of patch_size; 0: image_size */
    size_t video_frames;   /* Qwen3-VL: the picture is two frames of a video of so many; 0: it is none. min_pixels and
                            * max_pixels are the frames' */
    bool video_list;       /* the video was given as pictures, which fetch_image resizes first */
    bool horizontal_first; /* order of the resize passes of Pillow up to 12 */
    tkr_pool *pool;        /* its threads share the work on one picture; NULL: the caller's alone */
} tkr_process_options;

/* How to decode a picture for it; options NULL: none. */
tkr_alpha tkr_processor_alpha(const tkr_processor *processor, const tkr_process_options *options);

/* Rows for the vision tower. Columns are in the order (channel, temporal, y, x). Rows: row-major for FIXED; for the
 * Qwen families blocks of merge_size x merge_size patches, row-major inside and among each other. */
typedef struct tkr_patches {
    size_t t, h, w;       /* grid, in patches */
    size_t n_cols;        /* channels * temporal_patch_size * patch_size^2 */
    float *rows;          /* [t * h * w, n_cols], owned */
    size_t width, height; /* pixels after the resize */
} tkr_patches;
void tkr_patches_free(tkr_patches *patches);

/* Grid of a picture of this size without touching pixels: for plans and limits; options NULL: none. */
tkr_status tkr_processor_grid(size_t *t, size_t *h, size_t *w, const tkr_processor *processor, size_t width,
                              size_t height, const tkr_process_options *options, tkr_error *error);
/* Fills *patches (freed with tkr_patches_free); the image is borrowed. */
tkr_status tkr_processor_apply(tkr_patches *patches, const tkr_processor *processor, const tkr_image *image,
                               const tkr_process_options *options, tkr_error *error);

/* The same for a temporal patch of two frames of the same size, where options->video_frames is set. */
tkr_status tkr_processor_apply_pair(tkr_patches *patches, const tkr_processor *processor,
                                    const tkr_image *const frames[2], const tkr_process_options *options,
                                    tkr_error *error);

/* smart_resize of transformers, or of qwen-vl-utils: fills the pixel size of the result, with Python's round (half to
 * even). Sides are below 2^31. qwen-vl-utils' rule makes a side 0 in a few extreme cases, which this function tells as
 * it is. A picture whose sides differ by a factor over 200: TKR_LIMIT. */
typedef struct tkr_smart_resize_options {
    size_t factor, min_pixels, max_pixels;
    double max_fraction;  /* below 1, added to max_pixels: of a budget shared among frames */
    bool at_least_factor; /* qwen-vl-utils: the first rounding gives at least `factor`, scaling down may give 0 */
    bool clamp_ratio;     /* Ops-MM: any ratio is taken; the longer side of the result is cut to 200 times the other */
} tkr_smart_resize_options;
tkr_status tkr_smart_resize(size_t *new_width, size_t *new_height, size_t width, size_t height,
                            const tkr_smart_resize_options *options, tkr_error *error);

#endif
