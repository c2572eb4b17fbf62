/* SPDX-License-Identifier: Apache-2.0 */
/* core/relax: a breath of a thread that waits awake: to the CPU, which gives its other thread the
 * units meanwhile. */
#ifndef TKR_CORE_RELAX_H
#define TKR_CORE_RELAX_H

#if defined(__x86_64__)
#define TKR_RELAX() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define TKR_RELAX() __asm__ volatile("isb" ::: "memory") /* `yield` does nothing on most cores */
#else
#define TKR_RELAX() ((void)0)
#endif

#endif
