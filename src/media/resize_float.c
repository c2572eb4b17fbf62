/* SPDX-License-Identifier: Apache-2.0 */
/* media/resize_float: torchvision's antialiased bicubic resize of tensors that it takes to be no bytes: in float32,
 * columns first, clamped and rounded half to even at the end. Frames of videos go through it. */
#include <math.h>

#include "core/mem.h"
#include "media/resize.h"

/* What one output value is made of: weights [n] of the inputs from `first` on. */
typedef struct taps {
    size_t *first, *n;
    float *weights; /* [size_out, most] */
    size_t most;
} taps;

static void free_taps(taps *t) {
    tkr_free(t->first);
    tkr_free(t->n);
    tkr_free(t->weights);
}

/* Keys' cubic with a = -0.5. */
static float cubic(float x) {
    const float a = -0.5f;
    x = fabsf(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/* aten's compute_indices_min_size_weights_aa. */
static void fill_taps(taps *t, size_t in, size_t out) {
    const float scale = (float)in / (float)out, wide = scale >= 1 ? scale : 1, support = 2 * wide, narrow = 1 / wide;
    for (size_t i = 0; i < out; i++) {
        const float center = scale * ((float)i + 0.5f);
        const long low = (long)(center - support + 0.5f), high = (long)(center + support + 0.5f);
        const size_t first = low > 0 ? (size_t)low : 0, end = (size_t)high < in ? (size_t)high : in;
        float *w = t->weights + i * t->most, sum = 0;
        for (size_t j = 0; j < end - first; j++) {
            w[j] = cubic(((float)(j + first) - center + 0.5f) * narrow);
            sum += w[j];
        }
        for (size_t j = 0; j < end - first; j++) w[j] /= sum;
        t->first[i] = first;
        t->n[i] = end - first;
    }
}

/* False: no memory. */
static bool make_taps(taps *t, size_t in, size_t out) {
    const float scale = (float)in / (float)out;
    size_t n = 0;
    t->most = (size_t)ceilf(2 * (scale >= 1 ? scale : 1)) * 2 + 1;
    if (tkr_mul_size(&n, out, t->most) && n <= SIZE_MAX / sizeof *t->weights) {
        t->first = tkr_malloc(out * sizeof *t->first);
        t->n = tkr_malloc(out * sizeof *t->n);
        t->weights = tkr_malloc(n * sizeof *t->weights);
    }
    if (!t->first || !t->n || !t->weights) return false;
    fill_taps(t, in, out);
    return true;
}

typedef struct resize_job {
    const tkr_image *in;
    tkr_image *out;
    taps across, down;
    float *middle; /* [in->height, out->width, 3] */
} resize_job;

static void share_across(void *arg, unsigned worker, unsigned n_workers) {
    const resize_job *job = arg;
    const size_t width = job->out->width, rows = job->in->height;
    for (size_t y = rows * worker / n_workers; y < rows * (worker + 1) / n_workers; y++) {
        const uint8_t *in = job->in->rgb + y * job->in->width * 3;
        float *out = job->middle + y * width * 3;
        for (size_t x = 0; x < width; x++, out += 3) {
            const float *w = job->across.weights + x * job->across.most;
            const uint8_t *from = in + job->across.first[x] * 3;
            float r = 0, g = 0, b = 0;
            for (size_t j = 0; j < job->across.n[x]; j++, from += 3) {
                r += w[j] * (float)from[0];
                g += w[j] * (float)from[1];
                b += w[j] * (float)from[2];
            }
            out[0] = r;
            out[1] = g;
            out[2] = b;
        }
    }
}

static void share_down(void *arg, unsigned worker, unsigned n_workers) {
    const resize_job *job = arg;
    const size_t stride = job->out->width * 3, rows = job->out->height;
    for (size_t y = rows * worker / n_workers; y < rows * (worker + 1) / n_workers; y++) {
        const float *w = job->down.weights + y * job->down.most;
        const float *from = job->middle + job->down.first[y] * stride;
        uint8_t *out = job->out->rgb + y * stride;
        for (size_t x = 0; x < stride; x++) {
            float sum = 0;
            for (size_t j = 0; j < job->down.n[y]; j++) sum += w[j] * from[j * stride + x];
            sum = sum < 0 ? 0 : sum > 255 ? 255 : sum;
            out[x] = (uint8_t)rintf(sum);
        }
    }
}

static tkr_status run(tkr_pool *pool, tkr_pool_fn fn, resize_job *job, tkr_error *error) {
    if (!pool) {
        fn(job, 0, 1);
        return TKR_OK;
    }
    if (tkr_pool_run(pool, fn, job) == TKR_OK) return TKR_OK;
    return TKR_FAIL(error, BUSY, "resize: the thread pool is in use");
}

tkr_status tkr_resize_float(tkr_image *out, const tkr_image *in, size_t width, size_t height, tkr_pool *pool,
                            tkr_error *error) {
    resize_job job = {.in = in, .out = out};
    size_t n = 0, n_out = 0;
    *out = (tkr_image){.width = width, .height = height};
    if (tkr_mul_size(&n, in->height, width) && tkr_mul_size(&n, n, 3 * sizeof *job.middle) &&
        tkr_mul_size(&n_out, width, height) && tkr_mul_size(&n_out, n_out, 3)) {
        job.middle = tkr_malloc(n);
        out->rgb = tkr_malloc(n_out);
    }
    tkr_status status = TKR_OK;
    if (job.middle && out->rgb && make_taps(&job.across, in->width, width) &&
        make_taps(&job.down, in->height, height)) {
        status = run(pool, share_across, &job, error);
        if (status == TKR_OK) status = run(pool, share_down, &job, error);
    } else {
        status = TKR_FAIL(error, NO_MEMORY, "no memory to resize a frame to %zu x %zu", width, height);
    }
    free_taps(&job.across);
    free_taps(&job.down);
    tkr_free(job.middle);
    if (status != TKR_OK) tkr_image_free(out);
    return status;
}
