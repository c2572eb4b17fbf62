/* SPDX-License-Identifier: Apache-2.0 */
/* core/cpu: what this process may use: instruction sets (cpuid, XCR0, AMX permission; hwcaps on arm64), threads,
 * memory. */
#ifndef TKR_CORE_CPU_H
#define TKR_CORE_CPU_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

/* Feature levels, one bit each; every level says all that its kernels need. X(name, bit, text) */
#define TKR_CPU_LIST(X)                                                                                      \
    X(AVX2, 0, "avx2")           /* AVX2, FMA, F16C, BMI2 */                                                 \
    X(AVX512, 1, "avx512")       /* F, BW, CD, DQ, VL */                                                     \
    X(VNNI, 2, "vnni")           /* AVX512_VNNI */                                                           \
    X(AVX512BF16, 3, "bf16")     /* AVX512_BF16 */                                                           \
    X(SLOW_BF16, 4, "slow-bf16") /* quirk: vdpbf16ps is slower than f32 FMA (Intel before Granite Rapids) */ \
    X(AMX_BF16, 5, "amx-bf16")   /* AMX tiles usable (kernel permission granted) */                          \
    X(AMX_INT8, 6, "amx-int8")                                                                               \
    X(NEON, 7, "neon")                                                                                       \
    X(DOTPROD, 8, "dotprod")                                                                                 \
    X(I8MM, 9, "i8mm")                                                                                       \
    X(ARM_BF16, 10, "arm-bf16")

typedef uint32_t tkr_cpu_flags;
enum {
#define TKR_X(name, bit, text) TKR_CPU_##name = 1u << (bit),
    TKR_CPU_LIST(TKR_X)
#undef TKR_X
};

/* What the CPU and kernel give, capped by `cap`: NULL or "" no cap; "generic" none; "avx2"; "avx512" (no VNNI, no
 * bf16); "vnni" (with AVX512 VNNI and BF16, no AMX); "amx"; "neon", "dotprod", "i8mm", "arm-bf16". TKR_INVALID_ARGUMENT
 * for another word (message lists the words) or for a level that this CPU lacks. */
tkr_status tkr_cpu_detect(tkr_cpu_flags *flags, const char *cap, tkr_error *error);
/* Writes "avx2 avx512 ..." into out. */
void tkr_cpu_flags_text(char *out, size_t size, tkr_cpu_flags flags);

typedef struct tkr_machine {
    char cpu_name[64];
    unsigned n_threads; /* min of affinity, cpuset and cgroup quota (rounded up), at least 1 */
    unsigned n_online;
    double cgroup_cpus; /* quota / period, 0 when there is none */
    uint64_t memory;    /* bytes this process may use: min of MemTotal and cgroup memory.max (v1 too) along the path */
    uint64_t memory_total;
    uint64_t memory_available; /* MemAvailable, capped by what the cgroup has left */
    uint64_t l1d, l2, l3;      /* bytes, 0 when unknown */
} tkr_machine;
void tkr_machine_read(tkr_machine *machine);
/* RssAnon of this process in bytes, 0 when unknown. */
uint64_t tkr_rss_anon(void);

#endif
