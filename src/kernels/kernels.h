/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels: raw-pointer compute functions behind one table. generic/ is the normative plain C; x86/ and arm/ overlay it,
 * one family a file. Nothing here allocates, fails or knows a model.
 *
 * Determinism: every output element is one accumulator chain over ascending k, whatever the number of rows in the call,
 * so a row's bits depend on that row and the weights only.
 */
#ifndef TKR_KERNELS_KERNELS_H
#define TKR_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/cpu.h"

/* ---- GEMM: C[m, n] = epilogue(A[m, k] . W[n, k]) --------------------------------------------------------------- */

typedef enum tkr_activation {
    TKR_ACT_NONE,
    TKR_ACT_GELU_ERF,
    TKR_ACT_GELU_TANH,
    TKR_ACT_RELU,
    TKR_ACT_TANH,
    TKR_ACT_SILU,
    TKR_ACT_QUICK_GELU /* x * sigmoid(1.702 x) */
} tkr_activation;

/* How the scales and biases of a grouped panel are stored. */
typedef enum tkr_scale_kind { TKR_SCALE_F32, TKR_SCALE_F16, TKR_SCALE_BF16 } tkr_scale_kind;

/* How the rows of A were encoded by pack_rows: value = scale * (q - zero). Floating formats leave both unused. */
typedef struct tkr_row_quant {
    float scale;
    int32_t zero;
} tkr_row_quant;

/* One panel: all rows of A against the nr columns of one packed panel. */
typedef struct tkr_gemm_args {
    const void *a;                /* [n_rows] rows in the kernel's activation format, zero-padded to k_padded values */
    size_t a_stride;              /* bytes between rows, a multiple of 4 */
    const tkr_row_quant *a_quant; /* [n_rows], for integer kernels */
    size_t n_rows;
    const void *b;         /* packed panel; where the next one follows at once, it may be prefetched */
    size_t k_padded;       /* multiple of the kernel's k_align */
    const float *b_scale;  /* [nr] per column, integer kernels */
    const int32_t *b_sum;  /* [nr] sum of the column's integer weights, integer kernels */
    const float *bias;     /* [nr] zero-padded, or NULL */
    const float *residual; /* [n_rows, ld_residual] added after the activation, or NULL; may alias c */
    size_t ld_residual;    /* floats */
    float *c;              /* [n_rows, ldc] */
    size_t ldc;            /* floats */
    size_t n_cols;         /* valid columns of this panel, 1..nr; nothing is written beyond */
    tkr_activation activation;
    void *scratch;             /* gemm->scratch_bytes(k_padded), 64-byte aligned, one a thread */
    size_t group;              /* grouped kernels: k values that share a scale, as packed */
    tkr_scale_kind scale_kind; /* grouped kernels: as packed */
} tkr_gemm_args;

/* Grouped kernels: packs n_cols (1..nr) rows of codes (0..15, row stride k) with scale and bias [n_cols, n_groups],
 * where n_groups = ceil(k / group), to one panel; value = scale * code + bias. Missing columns count as zeros, missing
 * k as activations of zero. */
typedef struct tkr_codes {
    const uint8_t *codes;       /* [n_cols, k] */
    const float *scale, *bias;  /* [n_cols, n_groups] */
    size_t n_cols, k, k_padded; /* k_padded: multiple of k_align */
    size_t group;               /* 32, 64 or 128 */
    tkr_scale_kind scale_kind;  /* scale and bias are exact in it */
} tkr_codes;
#define TKR_DECL_PACK_CODES(name) void name(void *panel, const tkr_codes *codes)
typedef TKR_DECL_PACK_CODES(tkr_pack_codes_fn);

#define TKR_DECL_PACK_ROWS(name)                                                                              \
    void name(void *dst, size_t dst_stride, tkr_row_quant *quant, const float *src, size_t ld, size_t n_rows, \
              size_t k, size_t k_padded)
#define TKR_DECL_PACK_PANEL(name)                                                                          \
    void name(void *panel, float *scale, int32_t *sum, const float *w, size_t ld, size_t n_cols, size_t k, \
              size_t k_padded)
#define TKR_DECL_GEMM_PANEL(name) void name(const tkr_gemm_args *args)
typedef TKR_DECL_PACK_ROWS(tkr_pack_rows_fn);
typedef TKR_DECL_PACK_PANEL(tkr_pack_panel_fn);
typedef TKR_DECL_GEMM_PANEL(tkr_gemm_panel_fn);

typedef struct tkr_gemm {
    const char *name;     /* "f32/avx2" */
    uint16_t nr;          /* columns of a panel, multiple of 16, at most 64 */
    uint16_t mr;          /* rows of a register tile (blocking hint) */
    uint16_t k_align;     /* k is padded to a multiple of this */
    uint16_t act_bytes;   /* bytes of one activation value: 4 f32, 2 bf16 or s16, 1 u8 */
    uint16_t weight_bits; /* bits of one packed weight: 32, 16, 8, 4 */
    bool integer;         /* uses a_quant, b_scale, b_sum */
    bool rows_in_place;   /* f32 rows are used as they are when k == k_padded: pack_rows may be left out */
    /* Encodes n_rows f32 rows of k values (row stride ld floats) to dst; pads with the code of 0. Per row only. */
    tkr_pack_rows_fn *pack_rows;
    /* Packs n_cols (1..nr) rows of W (f32, row stride ld floats) to one panel of nr * k_padded * weight_bits / 8 bytes,
     * or what panel_bytes says, missing columns and k as zeros; integer kernels write scale and sum (nr each), others
     * leave them alone. */
    tkr_pack_panel_fn *pack_panel;
    tkr_gemm_panel_fn *panel;
    size_t (*scratch_bytes)(size_t k_padded); /* NULL: none */
    /* Grouped kernels (4-bit codes with a scale and a bias for each group of k); NULL in all others. They use
     * pack_codes in place of pack_panel; their rows hold s8 (or wider) codes with a scale, and the sum, of each 32
     * values: the kernel's own layout of row_bytes(k_padded), a_quant unused. Any group of 32, 64, 128 and any scale
     * kind. */
    tkr_pack_codes_fn *pack_codes;
    /* NULL: by act_bytes and weight_bits. AVX2's q8 has both, too, since its rows and panels hold scales of their own
     * (generic/gemm_q8_blocks.h); it ignores group and scale_kind. */
    size_t (*row_bytes)(size_t k_padded);                                            /* of one packed row of A */
    size_t (*panel_bytes)(size_t k_padded, size_t group, tkr_scale_kind scale_kind); /* multiple of 64 */
} tkr_gemm;

/* ---- attention: one head of one sequence ------------------------------------------------------------------------ */

/* The bits of an output row depend on its query, its place in the sequence and the keys that it sees only: a call for
 * some of the queries gives the rows of a call for all. Keys that no query of the call sees cost nothing, beyond the
 * rest of a panel; what is packed with them must be finite. */

typedef struct tkr_attention_args {
    const float *q;             /* [n_queries, head_dim], first element of this head */
    const float *k, *v;         /* [n_tokens, head_dim] */
    size_t q_stride, kv_stride; /* floats between tokens */
    float *out;                 /* [n_queries, head_dim], apart from q, k and v */
    size_t out_stride;          /* floats between tokens */
    size_t n_tokens, head_dim;  /* n_tokens: keys of the sequence; head_dim multiple of 4, at most 256 */
    /* Query row i is token first_query + i of the sequence. n_queries 0: all n_tokens. */
    size_t first_query, n_queries;
    float scale;   /* of the logits, > 0; 1/sqrt(head_dim) as a rule */
    size_t window; /* 0: all keys; else |i - j| <= window, i and j counted in the sequence */
    bool causal;   /* keys j <= i only */
    /* NULL, or a bias of the scaled logits by distance: relative[j - i], from -(n_tokens - 1) to n_tokens - 1. */
    const float *relative;
    /* Query heads that share k and v, which are packed once for all: head h is at q + h * head_dim and
     * out + h * head_dim; relative is the same for them. 0: one. */
    size_t n_heads_shared;
    void *scratch; /* scratch_bytes(n_tokens, head_dim), linear in n_tokens, 64-byte aligned, one a thread */
} tkr_attention_args;
#define TKR_DECL_ATTENTION(name) void name(const tkr_attention_args *args)
typedef TKR_DECL_ATTENTION(tkr_attention_fn);
typedef struct tkr_attention {
    const char *name;
    tkr_attention_fn *head;
    size_t (*scratch_bytes)(size_t n_tokens, size_t head_dim);
} tkr_attention;

/* ---- rows ------------------------------------------------------------------------------------------------------- */

/* dst = (x - mean) / sqrt(var + eps) * gain + shift, per row, biased variance; dst may be src. shift NULL: 0. */
#define TKR_DECL_LAYER_NORM(name) \
    void name(float *dst, const float *src, const float *gain, const float *shift, float eps, size_t n_rows, size_t dim)
typedef TKR_DECL_LAYER_NORM(tkr_layer_norm_fn);
/* dst = x / sqrt(mean(x^2) + eps) * gain, per row; dst may be src. */
#define TKR_DECL_RMS_NORM(name) \
    void name(float *dst, const float *src, const float *gain, float eps, size_t n_rows, size_t dim)
typedef TKR_DECL_RMS_NORM(tkr_rms_norm_fn);
/* dst[r, i] = act(src[r, i]) * src[r, up + i], i < n; row strides in floats. The gated half of an MLP.
 * dst may be src, with ld_dst <= ld_src. */
#define TKR_DECL_GATE(name)                                                                                   \
    void name(float *dst, size_t ld_dst, const float *src, size_t ld_src, size_t up, size_t n_rows, size_t n, \
              tkr_activation activation)
typedef TKR_DECL_GATE(tkr_gate_fn);
/* One row of heads in place: each head of head_dim values is first normalised like TKR_DECL_RMS_NORM when gain isn't
 * NULL, then its first 2 * half values are rotated as half-split pairs (i, i + half) by the angles whose cosines are
 * angles[0..half) and sines angles[half..2 half). half 0: no rotation. */
#define TKR_DECL_ROTATE(name)                                                                                 \
    void name(float *row, size_t n_heads, size_t head_dim, const float *gain, float eps, const float *angles, \
              size_t half)
typedef TKR_DECL_ROTATE(tkr_rotate_fn);
/* x = act(x), n values */
#define TKR_DECL_ACTIVATE(name) void name(float *x, size_t n, tkr_activation activation)
typedef TKR_DECL_ACTIVATE(tkr_activate_fn);
/* acc += x * weight, n values (mul then add is not allowed to be split differently by n: one fma per element) */
#define TKR_DECL_AXPY(name) void name(float *acc, const float *x, float weight, size_t n)
typedef TKR_DECL_AXPY(tkr_axpy_fn);

/* ---- resampling of 8-bit pixels --------------------------------------------------------------------------------- */

/* The windows of one axis: output i is the sum of the n_taps[i] inputs from first[i] on, each times its weight, which
 * is high * 2^15 + low in units of 2^-22, 0 <= low < 2^15. Weights beyond n_taps, up to ld, are zeros. */
typedef struct tkr_windows {
    const int32_t *first, *n_taps; /* [n] */
    const int16_t *low, *high;     /* [n, ld] */
    size_t n, ld;                  /* ld: multiple of 8 */
    bool padded;                   /* first[i] + n_taps[i], rounded up to 8 taps, lies inside of the axis */
} tkr_windows;
/* One pass: out = clamp((sum + 2^21) >> 22, 0, 255), sums modulo 2^32: the same bytes in every rung.
 * resample_x: n_rows rows of RGB pixels to as many of windows->n pixels. resample_y: windows->n rows of row_bytes. */
typedef struct tkr_resample_args {
    uint8_t *out;
    const uint8_t *in;
    size_t out_stride, in_stride; /* bytes between rows */
    const tkr_windows *windows;
    size_t n_rows;    /* resample_x */
    size_t row_bytes; /* resample_y */
} tkr_resample_args;
#define TKR_DECL_RESAMPLE(name) void name(const tkr_resample_args *args)
typedef TKR_DECL_RESAMPLE(tkr_resample_fn);

/* ---- roofline probes -------------------------------------------------------------------------------------------- */
/* Runs `iterations` of independent multiply-accumulates from registers; returns the operations done (2 per MAC). */
typedef double tkr_peak_fn(size_t iterations);

/* Q4: grouped 4-bit weights; its peak is that of Q8, whose multiply instructions it uses. */
typedef enum tkr_gemm_mode { TKR_GEMM_F32, TKR_GEMM_BF16, TKR_GEMM_Q8, TKR_GEMM_Q4, TKR_GEMM_MODES } tkr_gemm_mode;

/* The table of one rung. */
typedef struct tkr_kernels {
    const char *rung; /* "generic", "avx2", "avx512", "vnni", "amx", "neon", "i8mm" */
    const tkr_gemm *gemm[TKR_GEMM_MODES];
    const tkr_gemm *q8_fine; /* in q8, for layers whose inputs lose too much to 8 bits; at least as fine as bf16 */
    const tkr_attention *attention[TKR_GEMM_MODES]; /* f32 for f32; may be bf16 inside for the others */
    tkr_layer_norm_fn *layer_norm;
    tkr_rms_norm_fn *rms_norm;
    tkr_gate_fn *gate;
    tkr_rotate_fn *rotate;
    tkr_activate_fn *activate;
    tkr_axpy_fn *axpy;
    tkr_resample_fn *resample_x, *resample_y;
    tkr_peak_fn *peak[TKR_GEMM_MODES];
    void (*thread_enter)(void); /* NULL, or what tkr_kernels_thread_enter runs */
    void (*thread_leave)(void); /* NULL, or what tkr_kernels_thread_leave runs */
    bool bf16_is_fast;          /* bf16 multiplies faster than f32 here: what precision auto asks */
} tkr_kernels;

/* Fills the table for what `flags` allows: generic first, then each rung overlays what it has. */
void tkr_kernels_init(tkr_kernels *kernels, tkr_cpu_flags flags);
void tkr_kernels_init_generic(tkr_kernels *kernels);
void tkr_kernels_init_x86(tkr_kernels *kernels, tkr_cpu_flags flags); /* defined on x86-64 only */
void tkr_kernels_init_arm(tkr_kernels *kernels, tkr_cpu_flags flags); /* defined on arm64 only */

/* Per thread, before the first kernel call of a rung that needs it (AMX tile configuration); cheap to repeat. */
void tkr_kernels_thread_enter(const tkr_kernels *kernels);
void tkr_kernels_thread_leave(const tkr_kernels *kernels);

#endif
