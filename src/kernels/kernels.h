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
    TKR_ACT_SILU
} tkr_activation;

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
    const void *b;         /* packed panel */
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
    void *scratch; /* gemm->scratch_bytes(k_padded), 64-byte aligned, one a thread */
} tkr_gemm_args;

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
    uint16_t weight_bits; /* bits of one packed weight: 32, 16, 8 */
    bool integer;         /* uses a_quant, b_scale, b_sum */
    bool rows_in_place;   /* f32 rows are used as they are when k == k_padded: pack_rows may be left out */
    /* Encodes n_rows f32 rows of k values (row stride ld floats) to dst; pads with the code of 0. Per row only. */
    tkr_pack_rows_fn *pack_rows;
    /* Packs n_cols (1..nr) rows of W (f32, row stride ld floats) to one panel of nr * k_padded * weight_bits / 8 bytes,
     * missing columns and k as zeros; integer kernels write scale and sum (nr each), others leave them alone. */
    tkr_pack_panel_fn *pack_panel;
    tkr_gemm_panel_fn *panel;
    size_t (*scratch_bytes)(size_t k_padded); /* NULL: none */
} tkr_gemm;

/* ---- attention: one head of one sequence ------------------------------------------------------------------------ */

typedef struct tkr_attention_args {
    const float *q, *k, *v;     /* first element of this head; [n, head_dim] each */
    size_t q_stride, kv_stride; /* floats between tokens */
    float *out;
    size_t out_stride;         /* floats between tokens */
    size_t n_tokens, head_dim; /* queries and keys are the same tokens; head_dim multiple of 4, at most 256 */
    float scale;               /* of the logits, > 0; 1/sqrt(head_dim) as a rule */
    size_t window;             /* 0: all keys; else |i - j| <= window */
    bool causal;               /* keys j <= i only */
    void *scratch;             /* scratch_bytes(n_tokens, head_dim), 64-byte aligned, one a thread */
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
/* x = act(x), n values */
#define TKR_DECL_ACTIVATE(name) void name(float *x, size_t n, tkr_activation activation)
typedef TKR_DECL_ACTIVATE(tkr_activate_fn);
/* acc += x * weight, n values (mul then add is not allowed to be split differently by n: one fma per element) */
#define TKR_DECL_AXPY(name) void name(float *acc, const float *x, float weight, size_t n)
typedef TKR_DECL_AXPY(tkr_axpy_fn);

/* ---- roofline probes -------------------------------------------------------------------------------------------- */
/* Runs `iterations` of independent multiply-accumulates from registers; returns the operations done (2 per MAC). */
typedef double tkr_peak_fn(size_t iterations);

typedef enum tkr_gemm_mode { TKR_GEMM_F32, TKR_GEMM_BF16, TKR_GEMM_Q8, TKR_GEMM_MODES } tkr_gemm_mode;

/* The table of one rung. */
typedef struct tkr_kernels {
    const char *rung; /* "generic", "avx2", "avx512", "vnni", "amx", "neon", "i8mm" */
    const tkr_gemm *gemm[TKR_GEMM_MODES];
    const tkr_gemm *q8_fine; /* in q8, for layers whose inputs lose too much to 8 bits; at least as fine as bf16 */
    const tkr_attention *attention[TKR_GEMM_MODES]; /* f32 for f32; may be bf16 inside for the others */
    tkr_layer_norm_fn *layer_norm;
    tkr_activate_fn *activate;
    tkr_axpy_fn *axpy;
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
