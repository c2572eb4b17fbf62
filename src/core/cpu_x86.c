/* SPDX-License-Identifier: Apache-2.0 */
/* core/cpu on x86-64: cpuid, XCR0 and the kernel's permission for AMX tiles. */
#ifdef __linux__
#define _GNU_SOURCE 1
#endif
#include "core/machine.h"

typedef int tkr_cpu_x86_unused; /* a file may not be empty */

#if defined(__x86_64__)
#include <cpuid.h>
#include <string.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define BIT(word, n) (((word) >> (n)) & 1u)
#define XCR0_AVX 0x6u      /* SSE and AVX state */
#define XCR0_AVX512 0xe6u  /* + opmask, upper halves, upper registers */
#define XCR0_TILE 0x60000u /* tile configuration and data */

typedef struct regs {
    unsigned a, b, c, d;
} regs;

static regs cpuid(unsigned leaf, unsigned sub) {
    regs r = {0, 0, 0, 0};
    /* __get_cpuid_count refuses leaves beyond what the CPU has, whose content would be another leaf's. */
    __get_cpuid_count(leaf, sub, &r.a, &r.b, &r.c, &r.d);
    return r;
}

static uint64_t read_xcr0(void) {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

#ifdef __linux__
static bool permit_tiles(void) {
    enum { REQ_XCOMP_PERM = 0x1023, XFEATURE_TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQ_XCOMP_PERM, XFEATURE_TILE_DATA) == 0;
}
#else
static bool permit_tiles(void) { return false; }
#endif

/* vdpbf16ps runs at half the rate of f32 FMA on Sapphire and Emerald Rapids. */
static bool bf16_is_slow(regs leaf0, regs leaf1) {
    if (leaf0.b != signature_INTEL_ebx || leaf0.c != signature_INTEL_ecx || leaf0.d != signature_INTEL_edx)
        return false;
    const unsigned family = leaf1.a >> 8 & 15u;
    const unsigned model = (leaf1.a >> 4 & 15u) | (leaf1.a >> 12 & 0xf0u);
    return family == 6 && (model == 143 || model == 207);
}

static tkr_cpu_flags avx512_levels(tkr_cpu_flags wanted, uint64_t xcr0) {
    const regs leaf7 = cpuid(7, 0);
    const regs leaf71 = leaf7.a >= 1 ? cpuid(7, 1) : (regs){0, 0, 0, 0};
    tkr_cpu_flags flags = 0;
    const unsigned base = BIT(leaf7.b, 16) & BIT(leaf7.b, 17) & BIT(leaf7.b, 28) & BIT(leaf7.b, 30) & BIT(leaf7.b, 31);
    if (!base || (xcr0 & XCR0_AVX512) != XCR0_AVX512) return 0;
    flags |= TKR_CPU_AVX512;
    if (BIT(leaf7.c, 11)) flags |= TKR_CPU_VNNI;
    if (BIT(leaf71.a, 5)) flags |= TKR_CPU_AVX512BF16;
    if (BIT(leaf71.a, 5) && bf16_is_slow(cpuid(0, 0), cpuid(1, 0))) flags |= TKR_CPU_SLOW_BF16;
    const bool tiles = BIT(leaf7.d, 24) && (xcr0 & XCR0_TILE) == XCR0_TILE;
    if (tiles && (wanted & (TKR_CPU_AMX_BF16 | TKR_CPU_AMX_INT8)) && permit_tiles()) {
        if (BIT(leaf7.d, 22)) flags |= TKR_CPU_AMX_BF16;
        if (BIT(leaf7.d, 25)) flags |= TKR_CPU_AMX_INT8;
    }
    return flags;
}

tkr_cpu_flags tkr_cpu_probe(tkr_cpu_flags wanted) {
    const regs leaf1 = cpuid(1, 0), leaf7 = cpuid(7, 0);
    const unsigned base =
        BIT(leaf1.c, 12) & BIT(leaf1.c, 27) & BIT(leaf1.c, 28) & BIT(leaf1.c, 29); /* FMA OSXSAVE AVX F16C */
    if (!base || !BIT(leaf7.b, 5) || !BIT(leaf7.b, 8)) return 0;                   /* AVX2 BMI2 */
    const uint64_t xcr0 = read_xcr0();
    if ((xcr0 & XCR0_AVX) != XCR0_AVX) return 0;
    return (TKR_CPU_AVX2 | avx512_levels(wanted, xcr0)) & wanted;
}

void tkr_cpu_brand(char *out, size_t size) {
    char text[49];
    memset(text, 0, sizeof text);
    for (unsigned i = 0; i < 3; i++) {
        const regs r = cpuid(0x80000002u + i, 0);
        memcpy(text + (size_t)i * 16, &r, 16);
    }
    const char *from = text;
    while (*from == ' ') from++;
    size_t n = strlen(from);
    while (n > 0 && from[n - 1] == ' ') n--;
    if (size == 0) return;
    if (n > size - 1) n = size - 1;
    memcpy(out, from, n);
    out[n] = '\0';
}
#endif
