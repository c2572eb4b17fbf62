/* SPDX-License-Identifier: Apache-2.0 */
/* core/machine on macOS, by sysctl and mach; there are no control groups and no affinity masks. */
#include "core/machine.h"

typedef int tkr_machine_apple_unused; /* a file may not be empty */

#ifdef __APPLE__
#include <mach/mach.h>
#include <string.h>
#include <sys/sysctl.h>
#include <unistd.h>

static uint64_t read_sysctl(const char *name) {
    uint64_t value = 0; /* little-endian: 4-byte values land in the low half */
    size_t size = sizeof value;
    return sysctlbyname(name, &value, &size, NULL, 0) == 0 ? value : 0;
}

static uint64_t free_memory(void) {
    vm_statistics64_data_t vm;
    mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
    if (host_statistics64(mach_host_self(), HOST_VM_INFO64, (host_info64_t)&vm, &count) != KERN_SUCCESS) return 0;
    const uint64_t pages = (uint64_t)vm.free_count + vm.inactive_count + vm.purgeable_count;
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

unsigned tkr_affinity_count(void) {
    const uint64_t n = read_sysctl("hw.activecpu");
    return n > 0 && n < 4096 ? (unsigned)n : 1;
}

/* `root` has no meaning here: nothing is read from files. */
void tkr_machine_read_root(tkr_machine *machine, const char *root, unsigned affinity) {
    (void)root;
    memset(machine, 0, sizeof *machine);
    tkr_cpu_brand(machine->cpu_name, sizeof machine->cpu_name);
    machine->n_online = tkr_affinity_count();
    /* Efficiency cores would make the equal shares of the others wait. */
    const uint64_t fast = read_sysctl("hw.perflevel0.logicalcpu");
    machine->n_threads = fast > 0 && fast < machine->n_online ? (unsigned)fast : machine->n_online;
    if (affinity != 0 && affinity < machine->n_threads) machine->n_threads = affinity;
    machine->memory_total = read_sysctl("hw.memsize");
    machine->memory = machine->memory_total;
    const uint64_t available = free_memory();
    machine->memory_available = available ? available : machine->memory_total;
    machine->l1d = read_sysctl("hw.perflevel0.l1dcachesize");
    machine->l2 = read_sysctl("hw.perflevel0.l2cachesize");
    if (machine->l1d == 0) machine->l1d = read_sysctl("hw.l1dcachesize");
    if (machine->l2 == 0) machine->l2 = read_sysctl("hw.l2cachesize");
    machine->l3 = read_sysctl("hw.l3cachesize");
}

void tkr_machine_read(tkr_machine *machine) { tkr_machine_read_root(machine, "", 0); }

uint64_t tkr_rss_anon(void) {
    task_vm_info_data_t info;
    mach_msg_type_number_t count = TASK_VM_INFO_COUNT;
    if (task_info(mach_task_self(), TASK_VM_INFO, (task_info_t)&info, &count) != KERN_SUCCESS) return 0;
    return info.internal + info.compressed;
}
#endif
