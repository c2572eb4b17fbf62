/* SPDX-License-Identifier: Apache-2.0 */
/* engine/device_peak: the matrix products that a device gives through its own operations, since nothing else of it is
 * visible from here. */
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "engine/device.h"

#define CHAIN 8
#define ROUNDS 3
#define LONG_ENOUGH 0.05 /* seconds of a chain: larger matrices would tell no more */

/* A chain of products x = x w', [n, n] each, of which one row is read: seconds, 0 after a failure. */
static double time_chain(const tkr_ops *ops, tkr_run *run, const tkr_weight *weight, const float *values, size_t n,
                         float *row) {
    const tkr_run_options options = {.chunk_rows = n};
    const tkr_linear_options plain = {.activation = TKR_ACT_NONE};
    const double start = tkr_now();
    ops->run_begin(run, &options);
    tkr_tensor *x = ops->input(run, values, n, n);
    for (int i = 0; i < CHAIN && x; i++) {
        tkr_tensor *y = ops->apply(run, x, weight, &plain);
        ops->release(run, &x);
        x = y;
    }
    tkr_tensor *view = x ? ops->view(run, x, 0, 1) : NULL;
    const bool done = view && ops->read(run, row, view) == TKR_OK;
    ops->release(run, &view);
    ops->release(run, &x);
    return done ? tkr_now() - start : 0;
}

/* Operations per second with matrices [n, n]; *seconds is what the best chain took. */
static double rate_of(double *seconds, const tkr_device *device, tkr_gemm_mode mode, const float *values, size_t n,
                      float *row) {
    tkr_weight *weight = NULL;
    tkr_run *run = NULL;
    const tkr_source part = {"matrix", {.data = values, .dtype = TKR_DTYPE_F32, .rows = n, .cols = n}};
    const tkr_linear_spec spec = {
        .parts = &part, .n_parts = 1, .shape = {.rows = n, .cols = n, .mode = mode, .group = 64}};
    *seconds = 0;
    if (device->ops->linear(&weight, device->backend, &spec, NULL) == TKR_OK &&
        device->ops->run_create(&run, device->backend, NULL) == TKR_OK) {
        double got = time_chain(device->ops, run, weight, values, n, row); /* compiles */
        for (int i = 0; i < ROUNDS && got > 0 && *seconds < LONG_ENOUGH * ROUNDS; i++) {
            got = time_chain(device->ops, run, weight, values, n, row);
            if (got > 0 && (*seconds == 0 || got < *seconds)) *seconds = got;
        }
    }
    if (run) device->ops->run_free(&run);
    if (weight) device->ops->weight_free(&weight);
    return *seconds > 0 ? 2.0 * CHAIN * (double)n * (double)n * (double)n / *seconds : 0;
}

double tkr_device_peak(const tkr_device *device, tkr_gemm_mode mode) {
    static const size_t sizes[] = {256, 1024, 4096};
    const size_t most = sizes[sizeof sizes / sizeof *sizes - 1], bytes = (most + 1) * most * sizeof(float);
    float *values = tkr_aligned_alloc(bytes);
    double best = 0, seconds = 0;
    if (!values) return 0;
    /* Small enough for a chain of products to stay finite. */
    for (size_t i = 0; i < most * most; i++) values[i] = ((float)(i * 2654435761u % 17) - 8.0f) / 1024.0f;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes && seconds < LONG_ENOUGH; i++) {
        const double rate = rate_of(&seconds, device, mode, values, sizes[i], values + most * most);
        if (rate <= 0) break;
        best = rate > best ? rate : best;
    }
    tkr_aligned_free(values, bytes);
    return best;
}
