/* SPDX-License-Identifier: Apache-2.0 */
/* x86/gemm_q8_amx: int8 GEMM by tdpbusd, u8 rows (asymmetric) x s8 weights, exact s32 sums: the bits of q8/vnni. */
#include "kernels/x86/amx.h"
#include "kernels/x86/avx512.h"
#include "kernels/x86/pack_s8.h"

#define TKR_AMX_DP(c, a, b) _tile_dpbusd(c, a, b)
TKR_AMX_DEFINE_BLOCKS
TKR_AMX_DEFINE_PEAK

static void pack_panel(void *panel, float *scale, int32_t *sum, const float *w, size_t ld, size_t n_cols, size_t k,
                       size_t k_padded) {
    tkr_s8_scales(scale, w, ld, n_cols, TKR_AMX_NR, k);
    memset(sum, 0, TKR_AMX_NR * sizeof *sum);
    char *tile = panel;
    for (size_t d = 0; d < k_padded; d += 64) {
        for (size_t j = 0; j < TKR_AMX_NR; j += 16) {
            __m512i r[16];
            tkr_load_block_s8(r, w, ld, n_cols, k, j, d, scale, sum);
            tkr_put_block(tile, 64, 16, r);
            tile += TKR_AMX_TILE;
        }
    }
}

static void panel(const tkr_gemm_args *args) { tkr_amx_panel(args, args->k_padded, block_32, block_16, true); }

static size_t scratch_bytes(size_t k_padded) { return tkr_amx_scratch(k_padded); }

const tkr_gemm tkr_gemm_q8_amx = {
    .name = "q8/amx",
    .nr = TKR_AMX_NR,
    .mr = TKR_AMX_MR,
    .k_align = 64,
    .act_bytes = 1,
    .weight_bits = 8,
    .integer = true,
    .pack_rows = tkr_pack_rows_u8_avx512,
    .pack_panel = pack_panel,
    .panel = panel,
    .scratch_bytes = scratch_bytes,
};

double tkr_peak_q8_amx(size_t iterations) {
    tkr_amx_enter();
    peak_loop(iterations);
    return 6.0 * 16 * 16 * 64 * 2 * (double)iterations;
}
