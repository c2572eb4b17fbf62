/* SPDX-License-Identifier: Apache-2.0 */
/* media/resize: Pillow's arithmetic (python-pillow, src/libImaging/Resample.c and Geometry.c): weights in double,
 * rounded to 22 fractional bits, one pass an axis with 8-bit values in between. Refuses sizes of 0. */
#include "media/resize.h"

#include <math.h>
#include <string.h>

#include "core/mem.h"

#define PI 3.14159265358979323846
#define FRACTION_BITS 22
#define MAX_SIDE ((size_t)INT32_MAX / 4)

/* ---- filters ---- */

static double sinc(double x) { return x == 0.0 ? 1.0 : sin(x * PI) / (x * PI); }

static double filter_at(tkr_filter filter, double x) {
    const double a = -0.5, d = fabs(x);
    switch (filter) {
    case TKR_FILTER_BOX: return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
    case TKR_FILTER_BILINEAR: return d < 1.0 ? 1.0 - d : 0.0;
    case TKR_FILTER_BICUBIC:
        if (d < 1.0) return ((a + 2.0) * d - (a + 3.0)) * d * d + 1;
        return d < 2.0 ? (((d - 5) * d + 8) * d - 4) * a : 0.0;
    case TKR_FILTER_LANCZOS: return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0;
    case TKR_FILTER_NEAREST: break; /* has no weights */
    }
    return 0.0;
}

static double filter_support(tkr_filter filter) {
    switch (filter) {
    case TKR_FILTER_BOX: return 0.5;
    case TKR_FILTER_BICUBIC: return 2.0;
    case TKR_FILTER_LANCZOS: return 3.0;
    case TKR_FILTER_BILINEAR:
    case TKR_FILTER_NEAREST: break;
    }
    return 1.0;
}

/* ---- windows of an axis ---- */

typedef struct axis {
    tkr_windows windows;
    void *block; /* of all its arrays */
} axis;

static void axis_free(axis *a) {
    tkr_free(a->block);
    *a = (axis){0};
}

/* Arrays for n_out windows of up to n_taps taps, zeroed; *first .. *high point into them. */
static bool axis_alloc(axis *a, size_t n_out, size_t n_taps) {
    size_t n, size;
    a->windows.n = n_out;
    a->windows.ld = tkr_align_up(n_taps, 8);
    if (!tkr_mul_size(&n, n_out, a->windows.ld + 2) || !tkr_mul_size(&size, n, 2 * sizeof(int16_t))) return false;
    a->block = tkr_calloc(1, size);
    if (!a->block) return false;
    int32_t *first = a->block;
    int16_t *low = (int16_t *)(void *)(first + 2 * n_out);
    a->windows.first = first;
    a->windows.n_taps = first + n_out;
    a->windows.low = low;
    a->windows.high = low + n_out * a->windows.ld;
    return true;
}

/* Moves the window to the left until its taps, rounded up to 8, end inside of the axis; weights of 0 come in front. */
static size_t make_room(int64_t *first, int64_t n_taps, int64_t n_in) {
    const int64_t padded = (n_taps + 7) / 8 * 8, beyond = *first + padded - n_in;
    if (beyond <= 0 || padded > n_in) return 0;
    *first -= beyond;
    return (size_t)beyond;
}

/* The weights of window i in double, normalised; fills where it begins and returns how many there are. */
static size_t weigh(double *weights, int64_t *first, size_t i, size_t n_in, size_t n_out, tkr_filter filter) {
    const double scale = (double)n_in / (double)n_out, stretch = scale < 1.0 ? 1.0 : scale, shrink = 1.0 / stretch;
    const double support = filter_support(filter) * stretch, center = ((double)i + 0.5) * scale;
    int64_t begin = (int64_t)(center - support + 0.5), end = (int64_t)(center + support + 0.5);
    double sum = 0.0;
    begin = begin < 0 ? 0 : begin;
    end = end > (int64_t)n_in ? (int64_t)n_in : end;
    const size_t n = (size_t)(end - begin);
    for (size_t t = 0; t < n; t++) {
        weights[t] = filter_at(filter, ((double)t + (double)begin - center + 0.5) * shrink);
        sum += weights[t];
    }
    for (size_t t = 0; sum != 0.0 && t < n; t++) {
        weights[t] /= sum;
    }
    *first = begin;
    return n;
}

/* torchvision (ATen, UpSampleKernel.cpp) keeps weights in 16 bits, with as many fractional bits as the largest of the
 * axis leaves room for. Rounded to these and written with 22 bits, they give its sums, shifted: the same bytes. */
static int torchvision_bits(double *weights, size_t n_in, size_t n_out, tkr_filter filter) {
    double most = 0.0;
    int bits = 0;
    for (size_t i = 0; i < n_out; i++) {
        int64_t first;
        const size_t n = weigh(weights, &first, i, n_in, n_out, filter);
        for (size_t t = 0; t < n; t++) {
            most = weights[t] > most ? weights[t] : most;
        }
    }
    while (bits < FRACTION_BITS && (int32_t)(0.5 + most * (1 << (bits + 1))) < 1 << 15) {
        bits++;
    }
    return bits;
}

/* The windows of n_in values that become n_out. `pad`: with room for loads of 8 taps, where the axis is long enough. */
static bool axis_build(axis *a, size_t n_in, size_t n_out, const tkr_resize_options *options, bool pad) {
    const double scale = (double)n_in / (double)n_out, stretch = scale < 1.0 ? 1.0 : scale;
    const size_t most = (size_t)ceil(filter_support(options->filter) * stretch) * 2 + 1;
    double *weights = tkr_malloc(most * sizeof *weights);
    if (!weights || !axis_alloc(a, n_out, most)) {
        tkr_free(weights);
        return false;
    }
    const int bits = options->torchvision ? torchvision_bits(weights, n_in, n_out, options->filter) : FRACTION_BITS;
    int32_t *first = a->block, *n_taps = first + n_out;
    int16_t *low = (int16_t *)(void *)(first + 2 * n_out), *high = low + n_out * a->windows.ld;
    a->windows.padded = pad;
    for (size_t i = 0; i < n_out; i++, low += a->windows.ld, high += a->windows.ld) {
        int64_t begin;
        const size_t n = weigh(weights, &begin, i, n_in, n_out, options->filter);
        const size_t front = pad ? make_room(&begin, (int64_t)n, (int64_t)n_in) : 0;
        for (size_t t = 0; t < n; t++) {
            const int32_t fixed =
                (int32_t)((weights[t] < 0 ? -0.5 : 0.5) + weights[t] * (1 << bits)) * (1 << (FRACTION_BITS - bits));
            low[front + t] = (int16_t)(fixed & 0x7fff);
            high[front + t] = (int16_t)(fixed >> 15);
        }
        first[i] = (int32_t)begin;
        n_taps[i] = (int32_t)(n + front);
        a->windows.padded = a->windows.padded && (size_t)begin + tkr_align_up(n + front, 8) <= n_in;
    }
    tkr_free(weights);
    return true;
}

/* ---- passes ---- */

typedef struct pass {
    tkr_resample_fn *kernel;
    tkr_resample_args args;
    bool along_x;
} pass;

/* The share of one worker: input rows of a horizontal pass, output rows of a vertical one. */
static void run_share(void *arg, unsigned worker, unsigned n_workers) {
    const pass *p = arg;
    const size_t n = p->along_x ? p->args.n_rows : p->args.windows->n;
    const size_t begin = n * worker / n_workers, end = n * (worker + 1) / n_workers;
    tkr_resample_args args = p->args;
    tkr_windows windows = *args.windows;
    args.out += begin * args.out_stride;
    if (p->along_x) {
        args.in += begin * args.in_stride;
        args.n_rows = end - begin;
    } else {
        windows.first += begin;
        windows.n_taps += begin;
        windows.low += begin * windows.ld;
        windows.high += begin * windows.ld;
        windows.n = end - begin;
        args.windows = &windows;
    }
    if (end > begin) p->kernel(&args);
}

static bool new_pixels(tkr_image *image, size_t width, size_t height) {
    size_t row, size;
    *image = (tkr_image){.width = width, .height = height};
    if (!tkr_mul_size(&row, width, 3) || !tkr_mul_size(&size, row, height)) return false;
    image->rgb = tkr_malloc(size);
    return image->rgb != NULL;
}

/* One axis of `in`, to a new picture. */
static tkr_status one_pass(tkr_image *out, const tkr_image *in, size_t n_out, bool along_x,
                           const tkr_resize_options *options, tkr_error *error) {
    tkr_kernels plain;
    axis windows = {0};
    const tkr_kernels *kernels = options->kernels;
    tkr_status status = TKR_OK;
    if (!kernels) {
        tkr_kernels_init(&plain, 0);
        kernels = &plain;
    }
    if (!axis_build(&windows, along_x ? in->width : in->height, n_out, options, along_x) ||
        !new_pixels(out, along_x ? n_out : in->width, along_x ? in->height : n_out)) {
        axis_free(&windows);
        return TKR_FAIL(error, NO_MEMORY, "resize of a picture of %zu x %zu pixels: out of memory", in->width,
                        in->height);
    }
    pass p = {.kernel = along_x ? kernels->resample_x : kernels->resample_y,
              .args = {.out = out->rgb,
                       .in = in->rgb,
                       .out_stride = out->width * 3,
                       .in_stride = in->width * 3,
                       .windows = &windows.windows,
                       .n_rows = in->height,
                       .row_bytes = in->width * 3},
              .along_x = along_x};
    if (options->pool) {
        status = tkr_pool_run(options->pool, run_share, &p);
        if (status != TKR_OK) status = tkr_error_set(error, TKR_HERE, status, "resize: the thread pool is in use");
    } else {
        run_share(&p, 0, 1);
    }
    axis_free(&windows);
    if (status != TKR_OK) tkr_image_free(out);
    return status;
}

/* ---- nearest ---- */

/* Input index of each of n_out outputs; positions add up as Pillow's do. */
static int32_t *nearest_index(size_t n_in, size_t n_out) {
    size_t size;
    int32_t *index = tkr_mul_size(&size, n_out, sizeof *index) ? tkr_malloc(size) : NULL;
    const double step = (double)n_in / (double)n_out;
    double at = step * 0.5;
    for (size_t i = 0; index && i < n_out; i++) {
        index[i] = (int32_t)(at < (double)n_in ? at : (double)n_in - 1);
        at += step;
    }
    return index;
}

static tkr_status nearest(tkr_image *out, const tkr_image *in, size_t width, size_t height, tkr_error *error) {
    int32_t *columns = nearest_index(in->width, width), *rows = nearest_index(in->height, height);
    const bool ready = columns && rows && new_pixels(out, width, height);
    for (size_t y = 0; ready && y < height; y++) {
        const uint8_t *from = in->rgb + (size_t)rows[y] * in->width * 3;
        uint8_t *to = out->rgb + y * width * 3;
        for (size_t x = 0; x < width; x++, to += 3) {
            memcpy(to, from + 3 * (size_t)columns[x], 3);
        }
    }
    tkr_free(columns);
    tkr_free(rows);
    return ready ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "resize to %zu x %zu pixels: out of memory", width, height);
}

/* ---- resize ---- */

static tkr_status copy(tkr_image *out, const tkr_image *in, tkr_error *error) {
    if (!new_pixels(out, in->width, in->height))
        return TKR_FAIL(error, NO_MEMORY, "copy of a picture of %zu x %zu pixels: out of memory", in->width,
                        in->height);
    memcpy(out->rgb, in->rgb, in->width * in->height * 3);
    return TKR_OK;
}

static bool side_is_good(size_t side) { return side > 0 && side <= MAX_SIDE; }

tkr_status tkr_resize(tkr_image *out, const tkr_image *in, const tkr_resize_options *options, tkr_error *error) {
    const size_t width = options->width, height = options->height;
    tkr_image between = {0};
    *out = (tkr_image){0};
    if (!side_is_good(width) || !side_is_good(height) || !side_is_good(in->width) || !side_is_good(in->height))
        return TKR_FAIL(error, LIMIT, "resize of %zu x %zu to %zu x %zu pixels: sides must be 1 to %zu", in->width,
                        in->height, width, height, MAX_SIDE);
    if (options->torchvision && options->filter != TKR_FILTER_BILINEAR && options->filter != TKR_FILTER_BICUBIC)
        return TKR_FAIL(error, UNSUPPORTED,
                        "resize by torchvision's arithmetic: filter %d; supported: 2 bilinear, 3 "
                        "bicubic",
                        (int)options->filter);
    if (width == in->width && height == in->height) return copy(out, in, error);
    if (options->filter == TKR_FILTER_NEAREST) return nearest(out, in, width, height, error);
    if (height == in->height) return one_pass(out, in, width, true, options, error);
    if (width == in->width) return one_pass(out, in, height, false, options, error);
    /* Pillow 13; found by experiment on random sizes (tests/golden/images/README.md) */
    const int64_t lost_height = (int64_t)in->height - (int64_t)height, lost_width = (int64_t)in->width - (int64_t)width;
    const bool along_x =
        options->horizontal_first || options->torchvision || lost_height <= 0 || lost_height <= 2 * lost_width;
    tkr_status status = one_pass(&between, in, along_x ? width : height, along_x, options, error);
    if (status == TKR_OK) status = one_pass(out, &between, along_x ? height : width, !along_x, options, error);
    tkr_image_free(&between);
    return status;
}
