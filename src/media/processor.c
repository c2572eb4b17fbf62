/* SPDX-License-Identifier: Apache-2.0 */
/* media/processor: size and grid of a picture by family, then resize, crop and rows of patches. */
#include "media/processor.h"

#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "media/processor_internal.h"
#include "media/video.h"

/* Sizes that a picture goes through. */
typedef struct layout {
    size_t n_resizes;
    size_t width[2], height[2]; /* after each resize */
    tkr_filter filter[2];       /* of each resize */
    bool torchvision;           /* all resizes, but for the last one of a video's frames */
    bool in_float;              /* that one: tkr_resize_float */
    bool crop;                  /* to crop_width x crop_height, after the resizes */
    size_t crop_width, crop_height;
    size_t out_width, out_height; /* in the end */
    size_t h, w;                  /* grid, in patches */
} layout;

static const tkr_process_options no_options;

tkr_alpha tkr_processor_alpha(const tkr_processor *processor, const tkr_process_options *options) {
    const tkr_process_options *o = options ? options : &no_options;
    return processor->family == TKR_PROCESSOR_QWEN3_VL && !o->hub_limits ? TKR_ALPHA_WHITE : TKR_ALPHA_DROP;
}

static void add_resize(layout *l, size_t width, size_t height) {
    l->width[l->n_resizes] = width;
    l->height[l->n_resizes] = height;
    l->n_resizes++;
    l->out_width = width;
    l->out_height = height;
}

/* ---- FIXED ---- */

/* The shorter side becomes p->shortest, the longer one is cut off to an integer, as transformers does
 * (get_resize_output_image_size; with a longest edge get_size_with_aspect_ratio). */
static void add_shortest(layout *l, const tkr_processor *p, size_t width, size_t height) {
    const bool tall = width <= height;
    const size_t shorter = tall ? width : height, longer = tall ? height : width;
    double target = (double)p->shortest;
    size_t side = p->shortest;
    if (p->longest && (double)longer / (double)shorter * target > (double)p->longest) {
        target = (double)p->longest * (double)shorter / (double)longer;
        side = (size_t)rint(target);
    }
    size_t other = (size_t)(target * (double)longer / (double)shorter);
    if (p->longest && shorter == side) other = longer;
    add_resize(l, tall ? side : other, tall ? other : side);
}

static tkr_status fixed_layout(layout *l, const tkr_processor *p, size_t width, size_t height,
                               const tkr_process_options *o, tkr_error *error) {
    if (o->interpolate) {
        const size_t w = o->width ? o->width : p->image_size, h = o->height ? o->height : p->image_size;
        if (w % p->patch_size != 0 || h % p->patch_size != 0)
            return TKR_FAIL(error, INVALID_ARGUMENT, "a size of %zu x %zu pixels is no multiple of the patch size %zu",
                            w, h, p->patch_size);
        add_resize(l, w, h);
        return TKR_OK;
    }
    if (p->shortest) {
        add_shortest(l, p, width, height);
    } else if (p->width) {
        add_resize(l, p->width, p->height);
    }
    if (p->crop) {
        l->crop = true;
        l->crop_width = l->crop_height = l->out_width = l->out_height = p->image_size;
    }
    return TKR_OK;
}

/* ---- Qwen ---- */

/* Limits in tokens of factor x factor pixels: Ops-MM-embedding's fetch_image, Qwen3-VL-Embedding's. */
enum { OPS_LEAST = 256, OPS_MOST = 1280, QWEN3_LEAST = 4, QWEN3_MOST = 1800 };

static tkr_status qwen_layout(layout *l, const tkr_processor *p, size_t width, size_t height,
                              const tkr_process_options *o, tkr_error *error) {
    const size_t factor = p->patch_size * p->merge_size, area = factor * factor;
    const bool recipe = p->family == TKR_PROCESSOR_OPS;
    const bool ops = recipe && !p->torchvision; /* with torchvision it is used without its fetch_image, as by mteb */
    const bool qwen3 = p->family == TKR_PROCESSOR_QWEN3_VL && !o->hub_limits;
    size_t least = recipe ? OPS_LEAST * area : qwen3 ? QWEN3_LEAST * area : p->min_pixels;
    size_t most = recipe ? OPS_MOST * area : qwen3 ? QWEN3_MOST * area : p->max_pixels;
    if (o->min_pixels) {
        least = o->min_pixels;
        most = most < least ? least : most;
    }
    if (o->max_pixels) {
        most = o->max_pixels;
        least = least > most && !o->min_pixels ? area : least; /* one token */
    }
    if (least > most)
        return TKR_FAIL(error, INVALID_ARGUMENT, "min_pixels %zu is more than max_pixels %zu", least, most);
    tkr_smart_resize_options limits = {
        .factor = factor, .min_pixels = least, .max_pixels = most, .at_least_factor = ops || qwen3, .clamp_ratio = ops};
    size_t w = 0, h = 0;
    if (ops || qwen3) { /* Pillow's default: fetch_image doesn't know the file */
        l->filter[0] = TKR_FILTER_BICUBIC;
        l->torchvision = false;
    }
    tkr_status status = tkr_smart_resize(&w, &h, width, height, &limits, error);
    if (status != TKR_OK) return status;
    if (w == 0 || h == 0)
        return TKR_FAIL(error, LIMIT, "a picture of %zu x %zu pixels does not fit into max_pixels %zu", width, height,
                        most);
    add_resize(l, w, h);
    if (ops) { /* the processor behind it has the same limits, but the rule of transformers */
        limits.at_least_factor = limits.clamp_ratio = false;
        status = tkr_smart_resize(&w, &h, l->out_width, l->out_height, &limits, error);
        if (status == TKR_OK && (w != l->out_width || h != l->out_height)) add_resize(l, w, h);
    }
    return status;
}

/* Tokens of all frames together: what qwen-vl-utils takes of a file (128,000 tokens, nine tenths of them), and what
 * Qwen3-VL-Embedding sets for a list of frames. Of one frame of a list in fetch_image: qwen-vl-utils' own limit. */
enum { VIDEO_TOKENS = 115200, LIST_TOKENS = 7680, FRAME_TOKENS = 16384 };

static tkr_status video_layout(layout *l, const tkr_processor *p, size_t width, size_t height,
                               const tkr_process_options *o, tkr_error *error) {
    const size_t factor = p->patch_size * p->merge_size, area = factor * factor;
    const tkr_video_size size = {.factor = factor,
                                 .n_frames = o->video_frames,
                                 .total_pixels = (double)((o->video_list ? LIST_TOKENS : VIDEO_TOKENS) * area),
                                 .min_pixels = o->min_pixels,
                                 .max_pixels = o->max_pixels};
    const tkr_smart_resize_options fetch = {.factor = factor,
                                            .min_pixels = o->min_pixels ? o->min_pixels : QWEN3_LEAST * area,
                                            .max_pixels = o->max_pixels ? o->max_pixels : FRAME_TOKENS * area,
                                            .at_least_factor = true};
    tkr_smart_resize_options limits;
    size_t w = width, h = height;
    tkr_status status = TKR_OK;
    if (p->family != TKR_PROCESSOR_QWEN3_VL || o->hub_limits)
        return TKR_FAIL(error, INVALID_ARGUMENT, "a video was given, but this model's processor knows pictures only");
    tkr_video_limits(&limits, &size);
    l->filter[0] = TKR_FILTER_BICUBIC;
    l->torchvision = false;
    if (o->video_list) {
        status = tkr_smart_resize(&w, &h, width, height, &fetch, error);
        if (status != TKR_OK) return status;
        add_resize(l, w, h);
    }
    status = tkr_smart_resize(&w, &h, w, h, &limits, error);
    if (status != TKR_OK) return status;
    l->in_float = true;
    add_resize(l, w, h);
    return TKR_OK;
}

/* ---- layout ---- */

static tkr_status make_layout(layout *l, const tkr_processor *p, size_t width, size_t height,
                              const tkr_process_options *o, tkr_error *error) {
    /* sizes below are checked against this: nothing overflows */
    if (width == 0 || height == 0 || width > TKR_MAX_PIXELS || height > TKR_MAX_PIXELS)
        return TKR_FAIL(error, LIMIT, "a picture of %zu x %zu pixels: sides must be 1 to %d", width, height,
                        TKR_MAX_PIXELS);
    if (o->min_pixels > TKR_MAX_PIXELS || o->width > TKR_MAX_PIXELS || o->height > TKR_MAX_PIXELS)
        return TKR_FAIL(error, INVALID_ARGUMENT, "a picture may have %d pixels at most", TKR_MAX_PIXELS);
    *l = (layout){
        .filter = {p->filter, p->filter}, .torchvision = p->torchvision, .out_width = width, .out_height = height};
    tkr_status status = o->video_frames                    ? video_layout(l, p, width, height, o, error)
                        : p->family == TKR_PROCESSOR_FIXED ? fixed_layout(l, p, width, height, o, error)
                                                           : qwen_layout(l, p, width, height, o, error);
    if (status != TKR_OK) return status;
    for (size_t i = 0; i < l->n_resizes; i++) {
        size_t pixels;
        if (!tkr_mul_size(&pixels, l->width[i], l->height[i]) || pixels > TKR_MAX_PIXELS)
            return TKR_FAIL(
                error, LIMIT,
                "a picture of %zu x %zu pixels would be resized to %zu x %zu; at most %d pixels are allowed", width,
                height, l->width[i], l->height[i], TKR_MAX_PIXELS);
        if (pixels == 0)
            return TKR_FAIL(error, LIMIT, "a picture of %zu x %zu pixels would be resized to nothing", width, height);
    }
    l->w = l->out_width / p->patch_size; /* what is left over is not looked at, as by a convolution */
    l->h = l->out_height / p->patch_size;
    return TKR_OK;
}

tkr_status tkr_processor_grid(size_t *t, size_t *h, size_t *w, const tkr_processor *processor, size_t width,
                              size_t height, const tkr_process_options *options, tkr_error *error) {
    layout l = {0};
    tkr_status status = make_layout(&l, processor, width, height, options ? options : &no_options, error);
    if (status != TKR_OK) return status;
    *t = 1;
    *h = l.h;
    *w = l.w;
    return TKR_OK;
}

/* ---- pixels ---- */

/* The middle of `in`; black around it where it is smaller. Both sides of transformers' center_crop. */
static tkr_status crop_middle(tkr_image *out, const tkr_image *in, const layout *l, tkr_error *error) {
    const size_t width = l->crop_width, height = l->crop_height, more = l->torchvision ? 0 : 1;
    const size_t left = in->width > width ? (in->width - width) / 2 : 0;
    const size_t top = in->height > height ? (in->height - height) / 2 : 0;
    const size_t n_cols = in->width > width ? width : in->width, n_rows = in->height > height ? height : in->height;
    const size_t x = (width - n_cols + more) / 2, y = (height - n_rows + more) / 2; /* Pillow's: rounded up */
    *out = (tkr_image){.width = width, .height = height, .rgb = tkr_calloc(width * height, 3)};
    if (!out->rgb) return TKR_FAIL(error, NO_MEMORY, "crop to %zu x %zu pixels: out of memory", width, height);
    for (size_t r = 0; r < n_rows; r++) {
        memcpy(out->rgb + ((y + r) * width + x) * 3, in->rgb + ((top + r) * in->width + left) * 3, n_cols * 3);
    }
    return TKR_OK;
}

/* Resizes and crop; *out owns its pixels, or shares those of `in` where nothing is to be done. */
static tkr_status transform(tkr_image *out, const tkr_processor *p, const tkr_image *in, const layout *l,
                            const tkr_process_options *o, tkr_error *error) {
    tkr_image now = *in, next;
    tkr_status status = TKR_OK;
    for (size_t i = 0; status == TKR_OK && i < l->n_resizes + l->crop; i++) {
        if (i == l->n_resizes) {
            status = crop_middle(&next, &now, l, error);
        } else if (now.width == l->width[i] && now.height == l->height[i]) {
            continue;
        } else if (l->in_float && i + 1 == l->n_resizes) {
            status = tkr_resize_float(&next, &now, l->width[i], l->height[i], o->pool, error);
        } else {
            const tkr_resize_options options = {.width = l->width[i],
                                                .height = l->height[i],
                                                .filter = l->filter[i],
                                                .torchvision = l->torchvision,
                                                .horizontal_first = o->horizontal_first,
                                                .kernels = &p->kernels,
                                                .pool = o->pool};
            status = tkr_resize(&next, &now, &options, error);
        }
        if (now.rgb != in->rgb) tkr_image_free(&now);
        now = status == TKR_OK ? next : (tkr_image){0};
    }
    *out = now;
    return status;
}

/* ---- patches ---- */

typedef struct patch_job {
    float *rows;
    const tkr_processor *p;
    const uint8_t *rgb, *second; /* the second frame of a pair; NULL: the first again */
    size_t stride;               /* bytes */
    size_t h, w;                 /* grid */
} patch_job;

/* One frame of a patch; `row` and its next channel are `channel` values apart. */
static void write_frame(float *row, const patch_job *job, const uint8_t *in, size_t channel) {
    const size_t side = job->p->patch_size;
    const float *red = job->p->table[0], *green = job->p->table[1], *blue = job->p->table[2];
    float *r = row, *g = row + channel, *b = row + 2 * channel;
    for (size_t y = 0; y < side; y++, in += job->stride) {
        for (size_t x = 0; x < side; x++) {
            *r++ = red[in[3 * x]];
            *g++ = green[in[3 * x + 1]];
            *b++ = blue[in[3 * x + 2]];
        }
    }
}

/* One patch: columns (channel, temporal, y, x); a picture is the same in all frames. */
static void write_patch(float *row, const patch_job *job, size_t gy, size_t gx) {
    const size_t side = job->p->patch_size, area = side * side, frames = job->p->temporal_patch_size;
    const size_t at = gy * side * job->stride + gx * side * 3;
    write_frame(row, job, job->rgb + at, frames * area);
    if (job->second) {
        write_frame(row + area, job, job->second + at, frames * area);
        return;
    }
    for (size_t c = 0; c < 3; c++, row += frames * area) {
        for (size_t t = 1; t < frames; t++) {
            memcpy(row + t * area, row, area * sizeof *row);
        }
    }
}

/* The share of one worker: rows of blocks of merge_size x merge_size patches. */
static void write_share(void *arg, unsigned worker, unsigned n_workers) {
    const patch_job *job = arg;
    const size_t m = job->p->merge_size, n = job->h / m;
    const size_t n_cols = 3 * job->p->temporal_patch_size * job->p->patch_size * job->p->patch_size;
    for (size_t by = n * worker / n_workers; by < n * (worker + 1) / n_workers; by++) {
        float *row = job->rows + by * m * job->w * n_cols;
        for (size_t bx = 0; bx < job->w / m; bx++) {
            for (size_t i = 0; i < m * m; i++, row += n_cols) {
                write_patch(row, job, by * m + i / m, bx * m + i % m);
            }
        }
    }
}

static size_t rows_bytes(const tkr_patches *patches) {
    return patches->t * patches->h * patches->w * patches->n_cols * sizeof(float);
}

void tkr_patches_free(tkr_patches *patches) {
    tkr_aligned_free(patches->rows, rows_bytes(patches));
    *patches = (tkr_patches){0};
}

/* `second` NULL: a picture. */
static tkr_status make_patches(tkr_patches *patches, const tkr_processor *p, const tkr_image *first,
                               const tkr_image *second, const tkr_process_options *o, tkr_error *error) {
    const size_t side = p->patch_size;
    layout l = {0};
    tkr_image pixels = {0}, more = {0};
    *patches = (tkr_patches){0};
    tkr_status status = make_layout(&l, p, first->width, first->height, o, error);
    if (status == TKR_OK) status = transform(&pixels, p, first, &l, o, error);
    if (status == TKR_OK && second) status = transform(&more, p, second, &l, o, error);
    if (status == TKR_OK) {
        *patches = (tkr_patches){.t = 1,
                                 .h = l.h,
                                 .w = l.w,
                                 .n_cols = 3 * p->temporal_patch_size * side * side,
                                 .width = l.out_width,
                                 .height = l.out_height};
        patches->rows = tkr_aligned_alloc(rows_bytes(patches)); /* at most 2^28 pixels times 12 temporal_patch_size */
        if (!patches->rows) status = TKR_FAIL(error, NO_MEMORY, "rows of %zu patches: out of memory", l.h * l.w);
    }
    if (status == TKR_OK) {
        patch_job job = {.rows = patches->rows,
                         .p = p,
                         .rgb = pixels.rgb,
                         .second = more.rgb,
                         .stride = pixels.width * 3,
                         .h = l.h,
                         .w = l.w};
        if (!o->pool)
            write_share(&job, 0, 1);
        else if (tkr_pool_run(o->pool, write_share, &job) != TKR_OK)
            status = TKR_FAIL(error, BUSY, "patches: the thread pool is in use");
    }
    if (pixels.rgb != first->rgb) tkr_image_free(&pixels);
    if (second && more.rgb != second->rgb) tkr_image_free(&more);
    if (status != TKR_OK) tkr_patches_free(patches);
    return status;
}

tkr_status tkr_processor_apply(tkr_patches *patches, const tkr_processor *processor, const tkr_image *image,
                               const tkr_process_options *options, tkr_error *error) {
    return make_patches(patches, processor, image, NULL, options ? options : &no_options, error);
}

tkr_status tkr_processor_apply_pair(tkr_patches *patches, const tkr_processor *processor,
                                    const tkr_image *const frames[2], const tkr_process_options *options,
                                    tkr_error *error) {
    *patches = (tkr_patches){0};
    if (frames[0]->width != frames[1]->width || frames[0]->height != frames[1]->height ||
        processor->temporal_patch_size != TKR_VIDEO_PAIR)
        return TKR_FAIL(error, INVALID_ARGUMENT,
                        "frames of %zu x %zu and of %zu x %zu pixels can't be one patch of %zu", frames[0]->width,
                        frames[0]->height, frames[1]->width, frames[1]->height, processor->temporal_patch_size);
    return make_patches(patches, processor, frames[0], frames[1], options, error);
}
