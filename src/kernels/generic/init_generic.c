/* SPDX-License-Identifier: Apache-2.0 */
/* generic/init: the bottom rung's table and its roofline probes. */
#include "kernels/generic/generic.h"

/* Eight independent chains, enough to hide the latency of a scalar multiply-add. */
#define CHAINS(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)

static double peak_float(size_t iterations) {
#define DECLARE(n)                            \
    volatile float seed##n = 1.0f + (float)n; \
    float s##n = seed##n;
#define STEP(n) s##n = s##n * x + y;
#define SINK(n) seed##n = s##n;
    volatile float vx = 0.5f, vy = 0.25f;
    float x = vx, y = vy;
    CHAINS(DECLARE)
    for (size_t i = 0; i < iterations; i++) {
        CHAINS(STEP)
    }
    CHAINS(SINK)
    return 16.0 * (double)iterations;
#undef DECLARE
#undef STEP
#undef SINK
}

static double peak_int(size_t iterations) {
#define DECLARE(n)                      \
    volatile uint32_t seed##n = 1u + n; \
    uint32_t s##n = seed##n;
#define STEP(n) s##n = s##n * x + y;
#define SINK(n) seed##n = s##n;
    volatile uint32_t vx = 3, vy = 5;
    uint32_t x = vx, y = vy;
    CHAINS(DECLARE)
    for (size_t i = 0; i < iterations; i++) {
        CHAINS(STEP)
    }
    CHAINS(SINK)
    return 16.0 * (double)iterations;
#undef DECLARE
#undef STEP
#undef SINK
}

void tkr_kernels_init_generic(tkr_kernels *kernels) {
    kernels->rung = "generic";
    kernels->gemm[TKR_GEMM_F32] = &tkr_gemm_f32_generic;
    kernels->gemm[TKR_GEMM_BF16] = &tkr_gemm_bf16_generic;
    kernels->gemm[TKR_GEMM_Q8] = &tkr_gemm_q8_generic;
    kernels->gemm[TKR_GEMM_Q4] = &tkr_gemm_q4_generic;
    kernels->q8_fine = &tkr_gemm_s16_generic;
    for (int mode = 0; mode < TKR_GEMM_MODES; mode++) {
        kernels->attention[mode] = &tkr_attention_generic;
    }
    kernels->layer_norm = tkr_layer_norm_generic;
    kernels->rms_norm = tkr_rms_norm_generic;
    kernels->gate = tkr_gate_generic;
    kernels->rotate = tkr_rotate_generic;
    kernels->activate = tkr_activate_generic;
    kernels->axpy = tkr_axpy_generic;
    kernels->resample_x = tkr_resample_x_generic;
    kernels->resample_y = tkr_resample_y_generic;
    kernels->peak[TKR_GEMM_F32] = peak_float;
    kernels->peak[TKR_GEMM_BF16] = peak_float;
    kernels->peak[TKR_GEMM_Q8] = peak_int;
    kernels->peak[TKR_GEMM_Q4] = peak_int;
    kernels->bf16_is_fast = false;
}
