/* SPDX-License-Identifier: Apache-2.0 */
/* x86/simd: the one place that brings in x86 intrinsics. Tests put a plain-C model in their place (the macro names the
 * header), so that a kernel's source is exercised where its instructions are missing. */
#ifndef TKR_KERNELS_X86_SIMD_H
#define TKR_KERNELS_X86_SIMD_H

#ifdef TKR_EMULATE_SIMD
#include TKR_EMULATE_SIMD
#else
#include <immintrin.h>
/* The bf16 types are vectors of their own; these only rename the bits. */
#define TKR_AS_BF16(x) ((__m512bh)(x))
#define TKR_FROM_BF16(x) ((__m512i)(x))
#endif

#define TKR_INLINE static inline __attribute__((always_inline))

#endif
