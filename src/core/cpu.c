/* SPDX-License-Identifier: Apache-2.0 */
/* core/cpu: names of the feature levels and the cap on them. Knows no instruction set; the probes are one file each. */
#include "core/cpu.h"

#include <stdio.h>
#include <string.h>

#include "core/machine.h"

#define LEVEL_AVX2 TKR_CPU_AVX2
#define LEVEL_AVX512 (LEVEL_AVX2 | TKR_CPU_AVX512)
#define LEVEL_VNNI (LEVEL_AVX512 | TKR_CPU_VNNI | TKR_CPU_AVX512BF16 | TKR_CPU_SLOW_BF16)
#define LEVEL_AMX (LEVEL_VNNI | TKR_CPU_AMX_BF16 | TKR_CPU_AMX_INT8)
#define LEVEL_NEON TKR_CPU_NEON
#define LEVEL_DOTPROD (LEVEL_NEON | TKR_CPU_DOTPROD)
#define LEVEL_I8MM (LEVEL_DOTPROD | TKR_CPU_I8MM)
#define LEVEL_ARM_BF16 (LEVEL_I8MM | TKR_CPU_ARM_BF16)

static const struct {
    const char *word;
    tkr_cpu_flags allowed, needed;
} caps[] = {
    {"generic", 0, 0},
    {"avx2", LEVEL_AVX2, TKR_CPU_AVX2},
    {"avx512", LEVEL_AVX512, TKR_CPU_AVX512},
    {"vnni", LEVEL_VNNI, TKR_CPU_VNNI},
    {"amx", LEVEL_AMX, TKR_CPU_AMX_BF16 | TKR_CPU_AMX_INT8},
    {"neon", LEVEL_NEON, TKR_CPU_NEON},
    {"dotprod", LEVEL_DOTPROD, TKR_CPU_DOTPROD},
    {"i8mm", LEVEL_I8MM, TKR_CPU_I8MM},
    {"arm-bf16", LEVEL_ARM_BF16, TKR_CPU_ARM_BF16},
};
#define N_CAPS (sizeof caps / sizeof caps[0])
#define CAP_WORDS "generic, avx2, avx512, vnni, amx, neon, dotprod, i8mm, arm-bf16"

bool tkr_cpu_cap_parse(tkr_cpu_flags *allowed, tkr_cpu_flags *needed, const char *cap) {
    if (!cap || !*cap) {
        *allowed = LEVEL_AMX | LEVEL_ARM_BF16;
        *needed = 0;
        return true;
    }
    for (size_t i = 0; i < N_CAPS; i++) {
        if (strcmp(cap, caps[i].word) == 0) {
            *allowed = caps[i].allowed;
            *needed = caps[i].needed;
            return true;
        }
    }
    return false;
}

tkr_status tkr_cpu_detect(tkr_cpu_flags *flags, const char *cap, tkr_error *error) {
    tkr_cpu_flags allowed, needed;
    if (!tkr_cpu_cap_parse(&allowed, &needed, cap)) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "CPU level \"%s\" is unknown, expected one of: " CAP_WORDS, cap);
    }
    const tkr_cpu_flags found = tkr_cpu_probe(allowed);
    if ((found & needed) != needed) {
        char have[160];
        tkr_cpu_flags_text(have, sizeof have, found);
        return TKR_FAIL(error, INVALID_ARGUMENT, "CPU level \"%s\" asked for, but this machine has only: %s", cap,
                        *have ? have : "generic");
    }
    *flags = found;
    return TKR_OK;
}

void tkr_cpu_flags_text(char *out, size_t size, tkr_cpu_flags flags) {
    static const struct {
        tkr_cpu_flags flag;
        const char *text;
    } names[] = {
#define TKR_X(name, bit, text) {TKR_CPU_##name, text},
        TKR_CPU_LIST(TKR_X)
#undef TKR_X
    };
    if (size == 0) return;
    out[0] = '\0';
    size_t used = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (!(flags & names[i].flag)) continue;
        const int n = snprintf(out + used, size - used, "%s%s", used ? " " : "", names[i].text);
        if (n < 0 || (size_t)n >= size - used) { /* no half words */
            out[used] = '\0';
            return;
        }
        used += (size_t)n;
    }
}

#if !defined(__x86_64__) && !defined(__aarch64__)
tkr_cpu_flags tkr_cpu_probe(tkr_cpu_flags wanted) { return wanted & 0; }
void tkr_cpu_brand(char *out, size_t size) {
    if (size > 0) out[0] = '\0';
}
#endif
