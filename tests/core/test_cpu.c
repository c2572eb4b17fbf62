/* SPDX-License-Identifier: Apache-2.0 */
/* CPU levels and their caps; threads and memory from made-up /proc and /sys trees (cgroup v1, v2, none). */
#define _XOPEN_SOURCE 700
#include "core/cpu.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/machine.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* ---- made-up trees ---- */

typedef struct entry {
    const char *path, *text;
} entry;

static char root[64];

static int make_root(void **state) {
    (void)state;
    strcpy(root, "/tmp/tkr-test-cpu-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place) {
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

static int remove_root(void **state) {
    (void)state;
    return nftw(root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void put(const char *path, const char *text) {
    char full[512];
    snprintf(full, sizeof full, "%s%s", root, path);
    *strrchr(full, '/') = '\0';
    assert_int_equal(tkr_mkdirs(full, NULL), TKR_OK);
    full[strlen(full)] = '/';
    assert_int_equal(tkr_file_write_atomic(full, text, strlen(text), NULL), TKR_OK);
}

static tkr_machine read_tree(const entry *entries, size_t n, unsigned affinity) {
    for (size_t i = 0; i < n; i++) put(entries[i].path, entries[i].text);
    tkr_machine machine;
    memset(&machine, 0xff, sizeof machine);
    tkr_machine_read_root(&machine, root, affinity);
    return machine;
}
#define READ_TREE(entries, affinity) read_tree(entries, sizeof(entries) / sizeof(entries)[0], affinity)

#define MEMINFO \
    { "/proc/meminfo", "MemTotal:       16777216 kB\nMemFree:         1000000 kB\nMemAvailable:    8388608 kB\n" }
#define ONLINE \
    { "/sys/devices/system/cpu/online", "0-7\n" }
#define V2_MOUNT                                                                                                   \
    {                                                                                                              \
        "/proc/self/mountinfo", "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"                                   \
                                "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n" \
    }

static void test_no_cgroups(void **state) {
    (void)state;
    const entry tree[] = {MEMINFO, ONLINE};
    const tkr_machine m = READ_TREE(tree, 0);
    assert_int_equal(m.n_online, 8);
    assert_int_equal(m.n_threads, 8);
    assert_true(m.cgroup_cpus == 0);
    assert_int_equal(m.memory_total, 16 * GIB);
    assert_int_equal(m.memory, 16 * GIB);
    assert_int_equal(m.memory_available, 8 * GIB);
}

static void test_affinity(void **state) {
    (void)state;
    const entry tree[] = {MEMINFO, ONLINE};
    assert_int_equal(READ_TREE(tree, 3).n_threads, 3);
    assert_int_equal(READ_TREE(tree, 100).n_threads, 8);
    assert_int_equal(READ_TREE(tree, 1).n_threads, 1);
}

static void test_v2_whole_path(void **state) {
    (void)state;
    /* The group itself has no limit; its parent gives 2.5 CPUs, the one above 2 GiB, of which 1.5 GiB are in use, 0.5
     * of that cache. Files beside the path must not count. */
    const entry tree[] = {
        MEMINFO,
        ONLINE,
        V2_MOUNT,
        {"/proc/self/cgroup", "0::/a/b/c\n"},
        {"/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n"},
        {"/sys/fs/cgroup/a/b/c/memory.max", "max\n"},
        {"/sys/fs/cgroup/a/b/c/cpuset.cpus.effective", "0-2,5-7\n"},
        {"/sys/fs/cgroup/a/b/cpu.max", "250000 100000\n"},
        {"/sys/fs/cgroup/a/cpu.max", "600000 100000\n"},
        {"/sys/fs/cgroup/a/memory.max", "2147483648\n"},
        {"/sys/fs/cgroup/a/memory.current", "1610612736\n"},
        {"/sys/fs/cgroup/a/memory.stat", "anon 1073741824\nfile 1\ninactive_file 536870912\n"},
        {"/sys/fs/cgroup/other/cpu.max", "1000 100000\n"},
        {"/sys/fs/cgroup/other/memory.max", "1048576\n"},
    };
    const tkr_machine m = READ_TREE(tree, 8);
    assert_true(m.cgroup_cpus == 2.5);
    assert_int_equal(m.n_threads, 3);
    assert_int_equal(m.memory, 2 * GIB);
    assert_int_equal(m.memory_available, 1 * GIB);
    assert_int_equal(m.memory_total, 16 * GIB);
}

static void test_v2_container_root(void **state) {
    (void)state;
    /* Inside a container with its own namespace: the group is "/", the limits are at the mount point. */
    const entry tree[] = {
        MEMINFO,
        ONLINE,
        V2_MOUNT,
        {"/proc/self/cgroup", "0::/\n"},
        {"/sys/fs/cgroup/cpu.max", "50000 100000\n"},
        {"/sys/fs/cgroup/memory.max", "536870912\n"},
        {"/sys/fs/cgroup/memory.current", "999999999999\n"},
    };
    const tkr_machine m = READ_TREE(tree, 8);
    assert_true(m.cgroup_cpus == 0.5);
    assert_int_equal(m.n_threads, 1);
    assert_int_equal(m.memory, 512 * MIB);
    assert_int_equal(m.memory_available, 0);
}

static void test_v2_cpuset(void **state) {
    (void)state;
    const entry tree[] = {
        MEMINFO,
        ONLINE,
        V2_MOUNT,
        {"/proc/self/cgroup", "0::/x/../..\n"}, /* out of sight: only the mount point counts */
        {"/sys/fs/cgroup/cpuset.cpus.effective", "1,3-4\n"},
    };
    const tkr_machine m = READ_TREE(tree, 0);
    assert_int_equal(m.n_threads, 3);
    assert_int_equal(m.memory, 16 * GIB);
}

#define V1_MOUNTS                                                                                   \
    {                                                                                               \
        "/proc/self/mountinfo",                                                                     \
            "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"                            \
            "32 31 0:29 /docker/abc /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" \
            "33 31 0:31 /docker/abc /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"           \
            "34 31 0:32 /docker/abc /sys/fs/cgroup/my\\040memory rw - cgroup cgroup rw,memory\n"    \
            "35 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"                         \
    }

static void test_v1_docker(void **state) {
    (void)state;
    const entry tree[] = {
        MEMINFO,
        ONLINE,
        V1_MOUNTS,
        {"/proc/self/cgroup",
         "9:name=systemd:/\n4:memory:/docker/abc/sub\n3:cpuset:/docker/abc\n2:cpu,cpuacct:/docker/abc\n0::/\n"},
        {"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "400000\n"},
        {"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"},
        {"/sys/fs/cgroup/cpuset/cpuset.cpus", "0-6\n"},
        {"/sys/fs/cgroup/my memory/memory.limit_in_bytes", "4294967296\n"},
        {"/sys/fs/cgroup/my memory/memory.usage_in_bytes", "2147483648\n"},
        {"/sys/fs/cgroup/my memory/memory.stat", "cache 5\ninactive_file 7\ntotal_inactive_file 1073741824\n"},
        {"/sys/fs/cgroup/my memory/sub/memory.limit_in_bytes", "9223372036854771712\n"},
    };
    const tkr_machine m = READ_TREE(tree, 8);
    assert_true(m.cgroup_cpus == 4.0);
    assert_int_equal(m.n_threads, 4);
    assert_int_equal(m.memory, 4 * GIB);
    assert_int_equal(m.memory_available, 3 * GIB);
}

static void test_v1_unlimited(void **state) {
    (void)state;
    const entry tree[] = {
        MEMINFO,
        ONLINE,
        V1_MOUNTS,
        {"/proc/self/cgroup", "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n"},
        {"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"},
        {"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"},
        {"/sys/fs/cgroup/my memory/memory.limit_in_bytes", "9223372036854771712\n"},
    };
    const tkr_machine m = READ_TREE(tree, 8);
    assert_true(m.cgroup_cpus == 0);
    assert_int_equal(m.n_threads, 8);
    assert_int_equal(m.memory, 16 * GIB);
}

static void test_broken_files(void **state) {
    (void)state;
    const entry tree[] = {
        {"/proc/meminfo", "MemTotal:\nMemAvailable: x\n"},
        {"/sys/devices/system/cpu/online", "nonsense\n"},
        {"/proc/self/mountinfo",
         "30 23\n\n - cgroup2\n30 23 0:26 / /sys/fs/cgroup - cgroup2 cgroup2 rw\nx - cgroup2 a b\n"},
        {"/proc/self/cgroup", "\n:\n0:\n0::/\n"},
        {"/sys/fs/cgroup/cpu.max", "0 0\n"},
        {"/sys/fs/cgroup/memory.max", "-5\n"},
    };
    const tkr_machine m = READ_TREE(tree, 0);
    assert_true(m.n_threads >= 1);
    assert_true(m.cgroup_cpus == 0);
    assert_true(m.memory > 0);
    assert_int_equal(m.memory, m.memory_total);
}

static void test_caches(void **state) {
    (void)state;
    const entry tree[] = {
        {"/sys/devices/system/cpu/cpu0/cache/index0/type", "Data\n"},
        {"/sys/devices/system/cpu/cpu0/cache/index0/level", "1\n"},
        {"/sys/devices/system/cpu/cpu0/cache/index0/size", "48K\n"},
        {"/sys/devices/system/cpu/cpu0/cache/index1/type", "Instruction\n"},
        {"/sys/devices/system/cpu/cpu0/cache/index1/level", "1\n"},
        {"/sys/devices/system/cpu/cpu0/cache/index1/size", "32K\n"},
        {"/sys/devices/system/cpu/cpu0/cache/index2/type", "Unified\n"},
        {"/sys/devices/system/cpu/cpu0/cache/index2/level", "2\n"},
        {"/sys/devices/system/cpu/cpu0/cache/index2/size", "2048K\n"},
        {"/sys/devices/system/cpu/cpu0/cache/index3/type", "Unified\n"},
        {"/sys/devices/system/cpu/cpu0/cache/index3/level", "3\n"},
        {"/sys/devices/system/cpu/cpu0/cache/index3/size", "105M\n"},
    };
    const tkr_machine m = READ_TREE(tree, 0);
    assert_int_equal(m.l1d, 48 << 10);
    assert_int_equal(m.l2, 2 * MIB);
    assert_int_equal(m.l3, 105 * MIB);
}

static void test_cpu_lists(void **state) {
    (void)state;
    assert_int_equal(tkr_cpu_list_count("0\n"), 1);
    assert_int_equal(tkr_cpu_list_count("0-3,8,10-11\n"), 7);
    assert_int_equal(tkr_cpu_list_count(""), 0);
    assert_int_equal(tkr_cpu_list_count("\n"), 0);
    assert_int_equal(tkr_cpu_list_count("3-1\n"), 0);
    assert_int_equal(tkr_cpu_list_count("0-99999999999999999999\n"), 0);
}

/* ---- this machine ---- */

static void test_this_machine(void **state) {
    (void)state;
    tkr_machine m;
    tkr_machine_read(&m);
    assert_true(m.n_threads >= 1 && m.n_threads <= m.n_online);
    assert_true(m.memory >= 64 * MIB && m.memory <= m.memory_total);
    assert_true(m.memory_available <= m.memory_total);
    assert_true(strlen(m.cpu_name) < sizeof m.cpu_name);
    assert_true(tkr_affinity_count() >= 1);
    const uint64_t before = tkr_rss_anon();
    assert_true(before > 0);
    const size_t size = 32u << 20;
    char *block = tkr_malloc(size);
    assert_non_null(block);
    memset(block, 1, size);
    __asm__ volatile("" : : "r"(block) : "memory");
    assert_true(tkr_rss_anon() >= before + size * 3 / 4);
    tkr_free(block);
}

/* ---- levels ---- */

static void test_caps(void **state) {
    (void)state;
    tkr_cpu_flags allowed, needed;
    assert_true(tkr_cpu_cap_parse(&allowed, &needed, "avx512"));
    assert_int_equal(allowed, TKR_CPU_AVX2 | TKR_CPU_AVX512);
    assert_int_equal(needed, TKR_CPU_AVX512);
    assert_true(tkr_cpu_cap_parse(&allowed, &needed, "vnni"));
    assert_int_equal(allowed & (TKR_CPU_AMX_BF16 | TKR_CPU_AMX_INT8), 0);
    assert_true(allowed & TKR_CPU_VNNI && allowed & TKR_CPU_AVX512BF16 && allowed & TKR_CPU_SLOW_BF16);
    assert_true(tkr_cpu_cap_parse(&allowed, &needed, "i8mm"));
    assert_int_equal(allowed, TKR_CPU_NEON | TKR_CPU_DOTPROD | TKR_CPU_I8MM);
    assert_true(tkr_cpu_cap_parse(&allowed, &needed, ""));
    assert_int_equal(needed, 0);
    assert_int_equal(allowed, (1u << 11) - 1);
    assert_false(tkr_cpu_cap_parse(&allowed, &needed, "AVX2"));
}

static void test_detect(void **state) {
    (void)state;
    tkr_error error;
    tkr_cpu_flags all = 0, flags = 0;
    assert_int_equal(tkr_cpu_detect(&all, NULL, &error), TKR_OK);
    assert_int_equal(tkr_cpu_detect(&flags, "", &error), TKR_OK);
    assert_int_equal(flags, all);
    assert_int_equal(tkr_cpu_detect(&flags, "generic", &error), TKR_OK);
    assert_int_equal(flags, 0);
    static const char *const words[] = {"avx2", "avx512", "vnni", "amx", "neon", "dotprod", "i8mm", "arm-bf16"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        tkr_cpu_flags allowed, needed;
        assert_true(tkr_cpu_cap_parse(&allowed, &needed, words[i]));
        const tkr_status status = tkr_cpu_detect(&flags, words[i], &error);
        if ((all & needed) == needed) {
            assert_int_equal(status, TKR_OK);
            assert_int_equal(flags, all & allowed);
        } else {
            assert_int_equal(status, TKR_INVALID_ARGUMENT);
            assert_non_null(strstr(error.message, words[i]));
        }
    }
    flags = 77;
    assert_int_equal(tkr_cpu_detect(&flags, "sse9", &error), TKR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "\"sse9\" is unknown, expected one of: generic, avx2"));
    assert_int_equal(flags, 77);
#if defined(__x86_64__) && defined(__GNUC__)
    assert_int_equal((all & TKR_CPU_AVX2) != 0, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
    assert_int_equal((all & TKR_CPU_AVX512) != 0,
                     __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl"));
    assert_int_equal((all & TKR_CPU_VNNI) != 0, __builtin_cpu_supports("avx512vnni") != 0);
#endif
}

static void test_flags_text(void **state) {
    (void)state;
    char text[64];
    tkr_cpu_flags_text(text, sizeof text, TKR_CPU_AVX2 | TKR_CPU_VNNI | TKR_CPU_AMX_INT8);
    assert_string_equal(text, "avx2 vnni amx-int8");
    tkr_cpu_flags_text(text, 8, TKR_CPU_AVX2 | TKR_CPU_VNNI);
    assert_string_equal(text, "avx2");
    tkr_cpu_flags_text(text, sizeof text, 0);
    assert_string_equal(text, "");
}

int main(void) {
#define IN_TREE(test) cmocka_unit_test_setup_teardown(test, make_root, remove_root)
    const struct CMUnitTest tests[] = {
        IN_TREE(test_no_cgroups),
        IN_TREE(test_affinity),
        IN_TREE(test_v2_whole_path),
        IN_TREE(test_v2_container_root),
        IN_TREE(test_v2_cpuset),
        IN_TREE(test_v1_docker),
        IN_TREE(test_v1_unlimited),
        IN_TREE(test_broken_files),
        IN_TREE(test_caches),
        cmocka_unit_test(test_cpu_lists),
        cmocka_unit_test(test_this_machine),
        cmocka_unit_test(test_caps),
        cmocka_unit_test(test_detect),
        cmocka_unit_test(test_flags_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
