/* SPDX-License-Identifier: Apache-2.0 */
/* The shared kernel checks over every arm64 rung, cross-compiled for qemu-user (-cpu max has all of them). Argument:
 * the rung. */
#include "../check_attention.h"
#include "../check_gemm.h"
#include "../check_gemm_q4.h"
#include "../check_resample.h"
#include "../check_rows.h"

typedef struct rung {
    const char *name;
    tkr_cpu_flags flags;
    int gemms; /* formats that it adds to the rung before */
    bool fast_bf16;
} rung;

static const rung rungs[] = {
    {"neon", TKR_CPU_NEON, 2, false},
    {"dotprod", TKR_CPU_NEON | TKR_CPU_DOTPROD, 2, false},
    {"i8mm", TKR_CPU_NEON | TKR_CPU_DOTPROD | TKR_CPU_I8MM, 1, false},
    {"arm-bf16", TKR_CPU_NEON | TKR_CPU_DOTPROD | TKR_CPU_I8MM | TKR_CPU_ARM_BF16, 1, true},
};

static void check_rung(const tkr_kernels *below, const tkr_kernels *k, const rung *r) {
    int gemms = 0;
    for (int mode = 0; mode < TKR_GEMM_MODES; mode++) {
        if (k->gemm[mode] != below->gemm[mode]) {
            print_message("  %s\n", k->gemm[mode]->name);
            mode == TKR_GEMM_Q4 ? check_gemm_q4(k->gemm[mode]) : check_gemm(k->gemm[mode], (tkr_gemm_mode)mode);
            gemms++;
        }
        const double one = k->peak[mode](1);
        assert_true(one > 0 && k->peak[mode](9) == 9 * one);
    }
    assert_int_equal(gemms, r->gemms);
    assert_true(k->bf16_is_fast == r->fast_bf16);
    if (k->attention[TKR_GEMM_F32] != below->attention[TKR_GEMM_F32]) {
        print_message("  %s attention, rows, resampling\n", k->attention[TKR_GEMM_F32]->name);
        check_attention(k->attention[TKR_GEMM_F32], 1e-6);
        check_rows_kernels(k);
        check_resample_kernels(k);
    }
}

int main(int argc, char **argv) {
    tkr_kernels below, kernels;
    int n = 0;
    tkr_kernels_init(&below, 0);
    for (size_t i = 0; i < sizeof rungs / sizeof *rungs; i++) {
        tkr_kernels_init(&kernels, rungs[i].flags);
        if (argc < 2 || strcmp(argv[1], rungs[i].name) == 0) {
            print_message("rung %s\n", rungs[i].name);
            check_rung(&below, &kernels, &rungs[i]);
            n++;
        }
        below = kernels;
    }
    assert_true(n > 0);
    print_message("passed\n");
    return 0;
}
