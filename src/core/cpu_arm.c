/* SPDX-License-Identifier: Apache-2.0 */
/* core/cpu on arm64: the kernel's hwcaps on Linux, sysctl on macOS. */
#include "core/machine.h"

typedef int tkr_cpu_arm_unused; /* a file may not be empty */

#if defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>

static bool has(const char *name) {
    int value = 0;
    size_t size = sizeof value;
    return sysctlbyname(name, &value, &size, NULL, 0) == 0 && value == 1;
}

tkr_cpu_flags tkr_cpu_probe(tkr_cpu_flags wanted) {
    tkr_cpu_flags flags = TKR_CPU_NEON;
    if (has("hw.optional.arm.FEAT_DotProd")) flags |= TKR_CPU_DOTPROD;
    if (has("hw.optional.arm.FEAT_I8MM")) flags |= TKR_CPU_I8MM;
    if (has("hw.optional.arm.FEAT_BF16")) flags |= TKR_CPU_ARM_BF16;
    return flags & wanted;
}

void tkr_cpu_brand(char *out, size_t size) {
    if (size == 0 || sysctlbyname("machdep.cpu.brand_string", out, &size, NULL, 0) == 0) return;
    out[0] = '\0';
}
#elif defined(__aarch64__)
#include <stdio.h>
#include <sys/auxv.h>

/* Bits of AT_HWCAP and AT_HWCAP2, part of the kernel's ABI; older headers lack the newer names. */
#define CAP_ASIMD (1ul << 1)
#define CAP_ASIMDDP (1ul << 20)
#define CAP2_I8MM (1ul << 13)
#define CAP2_BF16 (1ul << 14)

tkr_cpu_flags tkr_cpu_probe(tkr_cpu_flags wanted) {
    const unsigned long cap = getauxval(AT_HWCAP), cap2 = getauxval(AT_HWCAP2);
    if (!(cap & CAP_ASIMD)) return 0;
    tkr_cpu_flags flags = TKR_CPU_NEON;
    if (cap & CAP_ASIMDDP) flags |= TKR_CPU_DOTPROD;
    if (cap2 & CAP2_I8MM) flags |= TKR_CPU_I8MM;
    if (cap2 & CAP2_BF16) flags |= TKR_CPU_ARM_BF16;
    return flags & wanted;
}

/* arm64 CPUs carry numbers, not names: implementer and part as the kernel's cpuinfo prints them. */
void tkr_cpu_brand(char *out, size_t size) {
    unsigned long midr = 0;
    if (getauxval(AT_HWCAP) & (1ul << 11)) __asm__("mrs %0, midr_el1" : "=r"(midr)); /* HWCAP_CPUID: emulated for us */
    if (size == 0) return;
    out[0] = '\0';
    if (midr) snprintf(out, size, "arm64, implementer 0x%02lx part 0x%03lx", midr >> 24 & 0xff, midr >> 4 & 0xfff);
}
#endif
