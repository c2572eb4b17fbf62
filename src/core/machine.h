/* SPDX-License-Identifier: Apache-2.0 */
/* core/machine: private to core and its tests: the probes behind cpu.h, with the places they look at as arguments. */
#ifndef TKR_CORE_MACHINE_H
#define TKR_CORE_MACHINE_H

#include <stddef.h>

#include "core/cpu.h"

/* Features of this CPU that are in `wanted`. AMX permission is asked of the kernel only when AMX is wanted: it is
 * irrevocable and makes alternative signal stacks bigger. Defined once per instruction set. */
tkr_cpu_flags tkr_cpu_probe(tkr_cpu_flags wanted);
/* The CPU's own name for itself, "" when it has none. */
void tkr_cpu_brand(char *out, size_t size);

/* "avx512" -> the flags that this cap lets through (*allowed) and those it needs (*needed). false: no such word. */
bool tkr_cpu_cap_parse(tkr_cpu_flags *allowed, tkr_cpu_flags *needed, const char *cap);

/* CPUs that this process may be scheduled on, at least 1. */
unsigned tkr_affinity_count(void);

/* tkr_machine_read with /proc and /sys below `root` ("" in production) and a given affinity (0: unknown). */
void tkr_machine_read_root(tkr_machine *machine, const char *root, unsigned affinity);
/* CPUs in a kernel list such as "0-3,8,10-11"; 0 when it is not one. */
unsigned tkr_cpu_list_count(const char *list);

#endif
