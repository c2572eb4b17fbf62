/* SPDX-License-Identifier: Apache-2.0 */
/* x86/gemm_bf16_amx: bf16 GEMM by tdpbf16ps; the tile configuration of a thread; the overlay of the AMX rung. */
#include "kernels/x86/amx.h"
#include "kernels/x86/avx512.h"
#include "kernels/x86/pack_bf16.h"
#include "kernels/x86/x86.h"

#define TKR_AMX_DP(c, a, b) _tile_dpbf16ps(c, a, b)
TKR_AMX_DEFINE_BLOCKS
TKR_AMX_DEFINE_PEAK

static void pack_panel(void *panel, float *scale, int32_t *sum, const float *w, size_t ld, size_t n_cols, size_t k,
                       size_t k_padded) {
    (void)scale;
    (void)sum;
    char *tile = panel;
    for (size_t d = 0; d < k_padded; d += 32) {
        for (size_t j = 0; j < TKR_AMX_NR; j += 16) {
            __m512i r[16];
            tkr_load_block_bf16(r, w, ld, n_cols, k, j, d);
            tkr_put_block(tile, 64, 16, r);
            tile += TKR_AMX_TILE;
        }
    }
}

static void panel(const tkr_gemm_args *args) { tkr_amx_panel(args, args->k_padded * 2, block_32, block_16, false); }

static size_t scratch_bytes(size_t k_padded) { return tkr_amx_scratch(k_padded * 2); }

const tkr_gemm tkr_gemm_bf16_amx = {
    .name = "bf16/amx",
    .nr = TKR_AMX_NR,
    .mr = TKR_AMX_MR,
    .k_align = 32,
    .act_bytes = 2,
    .weight_bits = 16,
    .pack_rows = tkr_pack_rows_bf16_avx512bf16,
    .pack_panel = pack_panel,
    .panel = panel,
    .scratch_bytes = scratch_bytes,
};

void tkr_amx_enter(void) {
    struct {
        uint8_t palette, start_row, zero[14];
        uint16_t row_bytes[16]; /* of the eight tiles; the rest must be 0 */
        uint8_t rows[16];
    } config = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        config.row_bytes[i] = 64;
        config.rows[i] = 16;
    }
    /* gcc 12 thinks that the instruction reads only the first bytes, and would drop the others */
    __asm__ volatile("" : : "r"(&config) : "memory");
    _tile_loadconfig(&config);
}

void tkr_amx_leave(void) { _tile_release(); }

static double peak(size_t iterations) {
    tkr_amx_enter();
    peak_loop(iterations);
    return 6.0 * 16 * 16 * 32 * 2 * (double)iterations;
}

void tkr_kernels_overlay_amx(tkr_kernels *k, tkr_cpu_flags flags) {
    /* the packers and epilogues around the tiles are AVX-512 code */
    const tkr_cpu_flags needed = TKR_CPU_AVX512 | TKR_CPU_VNNI | TKR_CPU_AVX512BF16;
    if (!(flags & (TKR_CPU_AMX_BF16 | TKR_CPU_AMX_INT8)) || (flags & needed) != needed) {
        return;
    }
    k->rung = "amx";
    k->thread_enter = tkr_amx_enter;
    k->thread_leave = tkr_amx_leave;
    if (flags & TKR_CPU_AMX_BF16) {
        k->gemm[TKR_GEMM_BF16] = &tkr_gemm_bf16_amx;
        k->q8_fine = &tkr_gemm_bf16_amx; /* half the rate of int8 tiles; 16-bit vectors would be far slower */
        k->peak[TKR_GEMM_BF16] = peak;
        k->bf16_is_fast = true;
    }
    if (flags & TKR_CPU_AMX_INT8) {
        k->gemm[TKR_GEMM_Q8] = &tkr_gemm_q8_amx;
        k->peak[TKR_GEMM_Q8] = tkr_peak_q8_amx;
        k->peak[TKR_GEMM_Q4] = tkr_peak_q8_amx;
    }
}
