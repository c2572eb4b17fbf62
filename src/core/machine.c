/* SPDX-License-Identifier: Apache-2.0 */
/* core/machine on Linux: threads, memory and caches from affinity, cgroups (v1 and v2), /proc and /sys. Unknown is 0.
 */
#ifdef __linux__
#define _GNU_SOURCE 1
#endif
#include "core/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

unsigned tkr_cpu_list_count(const char *list) {
    unsigned long count = 0;
    for (const char *at = list; *at >= '0' && *at <= '9';) {
        char *end;
        const unsigned long first = strtoul(at, &end, 10);
        unsigned long last = first;
        if (*end == '-') last = strtoul(end + 1, &end, 10);
        if (last < first || last > 1u << 20) return 0;
        count += last - first + 1;
        at = *end == ',' ? end + 1 : end;
    }
    return count > 1u << 20 ? 0 : (unsigned)count;
}

#ifdef __linux__
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#define PATH_SIZE 4352u /* the kernel's longest path and a file name */
#define TEXT_SIZE 8192u

/* These are not files but questions to the kernel, and no answer is an answer: hence not through core/file. */
static bool read_text(char text[TEXT_SIZE], const char *root, const char *path) {
    char full[PATH_SIZE];
    const int n = snprintf(full, sizeof full, "%s%s", root, path);
    if (n < 0 || (size_t)n >= sizeof full) return false;
    const int fd = open(full, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    size_t used = 0;
    for (ssize_t got; used < TEXT_SIZE - 1 && (got = read(fd, text + used, TEXT_SIZE - 1 - used)) > 0;)
        used += (size_t)got;
    close(fd);
    text[used] = '\0';
    return used > 0;
}

/* Calls fn with each line; lines over TEXT_SIZE are left out. Stops when fn returns false. */
static void each_line(const char *root, const char *path, bool (*fn)(void *user, char *line), void *user) {
    char full[PATH_SIZE], text[TEXT_SIZE];
    const int n = snprintf(full, sizeof full, "%s%s", root, path);
    if (n < 0 || (size_t)n >= sizeof full) return;
    const int fd = open(full, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    size_t used = 0;
    bool more = true, too_long = false;
    while (more) {
        const ssize_t got = read(fd, text + used, sizeof text - 1 - used);
        if (got <= 0) break;
        used += (size_t)got;
        char *start = text;
        for (char *end; more && (end = memchr(start, '\n', used - (size_t)(start - text))); start = end + 1) {
            *end = '\0';
            if (!too_long) more = fn(user, start);
            too_long = false;
        }
        used -= (size_t)(start - text);
        memmove(text, start, used);
        if (used == sizeof text - 1) {
            used = 0;
            too_long = true;
        }
    }
    if (more && used > 0 && !too_long) {
        text[used] = '\0';
        fn(user, text);
    }
    close(fd);
}

/* The number at the start of a file, false when there is none ("max"). */
static bool parse_u64(uint64_t *out, const char *text) {
    if (*text < '0' || *text > '9') return false;
    char *end;
    *out = strtoull(text, &end, 10);
    return true;
}

/* "Name:   123 kB" and "name 123": the number behind `name` at the start of a line. */
static bool find_u64(uint64_t *out, const char *text, const char *name) {
    const size_t n = strlen(name);
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        if (strncmp(line, name, n) != 0) continue;
        const char *at = line + n;
        if (*at == ':')
            at++;
        else if (*at != ' ')
            continue;
        while (*at == ' ' || *at == '\t') at++;
        return parse_u64(out, at);
    }
    return false;
}

/* ---- control groups -------------------------------------------------------------------------------------------- */

typedef enum group_kind { GROUP_V2, GROUP_CPU, GROUP_CPUSET, GROUP_MEMORY, GROUP_KINDS } group_kind;

/* Where one hierarchy is mounted and which group of it this process is in. */
typedef struct group {
    bool in, mounted;
    char path[1024];  /* of the group in its hierarchy, from /proc/self/cgroup */
    char mount[1024]; /* mount point */
    char top[1024];   /* path of the group that the mount point shows */
} group;

typedef struct limits {
    double cpus;           /* 0: none */
    unsigned cpuset;       /* 0: unknown */
    uint64_t memory, left; /* UINT64_MAX: none */
} limits;

static const char *const controller[GROUP_KINDS] = {"", "cpu", "cpuset", "memory"};

static bool has_word(const char *list, const char *word) {
    const size_t n = strlen(word);
    for (const char *at = list; *at; at += strcspn(at, ","), at += *at == ',') {
        if (strncmp(at, word, n) == 0 && (at[n] == ',' || at[n] == '\0')) return true;
    }
    return false;
}

static bool copy_text(char out[1024], const char *text) {
    const size_t n = strlen(text);
    if (n >= 1024) return false;
    memcpy(out, text, n + 1);
    return true;
}

/* "4:memory,hugetlb:/docker/abc" (v1) or "0::/user.slice" (v2) */
static bool on_cgroup_line(void *user, char *line) {
    group *groups = user;
    char *list = strchr(line, ':');
    if (!list) return true;
    char *path = strchr(++list, ':');
    if (!path) return true;
    *path++ = '\0';
    for (int kind = 0; kind < GROUP_KINDS; kind++) {
        const bool match = kind == GROUP_V2 ? *list == '\0' : has_word(list, controller[kind]);
        if (match) groups[kind].in = copy_text(groups[kind].path, path);
    }
    return true;
}

/* Undoes mountinfo's octal escapes (\040 is a space) in place. */
static void unescape(char *text) {
    char *to = text;
    for (const char *at = text; *at; to++) {
        if (at[0] == '\\' && at[1] >= '0' && at[1] <= '3' && at[2] >= '0' && at[2] <= '7' && at[3] >= '0' &&
            at[3] <= '7') {
            *to = (char)((at[1] - '0') << 6 | (at[2] - '0') << 3 | (at[3] - '0'));
            at += 4;
        } else {
            *to = *at++;
        }
    }
    *to = '\0';
}

/* "36 35 0:31 TOP MOUNT options... - TYPE source SUPER_OPTIONS" */
static bool on_mount_line(void *user, char *line) {
    group *groups = user;
    char *tail = strstr(line, " - ");
    if (!tail) return true;
    *tail = '\0';
    tail += 3;
    const bool v2 = strncmp(tail, "cgroup2 ", 8) == 0;
    if (!v2 && strncmp(tail, "cgroup ", 7) != 0) return true;
    const char *options = strrchr(tail, ' ');
    char *save = NULL, *field = strtok_r(line, " ", &save), *top = NULL, *mount = NULL;
    for (int i = 0; field && i < 5; i++, field = strtok_r(NULL, " ", &save)) {
        if (i == 3) top = field;
        if (i == 4) mount = field;
    }
    if (!mount || !top || !options) return true;
    unescape(top);
    unescape(mount);
    for (int kind = 0; kind < GROUP_KINDS; kind++) {
        const bool match = kind == GROUP_V2 ? v2 : !v2 && has_word(options + 1, controller[kind]);
        group *g = &groups[kind];
        if (match && !g->mounted) g->mounted = copy_text(g->top, top) && copy_text(g->mount, mount);
    }
    return true;
}

static void limit_memory(limits *out, uint64_t limit, uint64_t used, uint64_t reclaimable) {
    used -= reclaimable < used ? reclaimable : used; /* page cache goes when memory is asked for */
    const uint64_t left = limit > used ? limit - used : 0;
    if (limit < out->memory) out->memory = limit;
    if (left < out->left) out->left = left;
}

static void limit_cpus(limits *out, double quota, double period) {
    if (quota <= 0 || period <= 0) return;
    if (out->cpus == 0 || quota / period < out->cpus) out->cpus = quota / period;
}

/* Reads `name` in the group directory `dir`. */
static bool read_in(char text[TEXT_SIZE], const char *root, const char *dir, const char *name) {
    char path[PATH_SIZE];
    const int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    return n > 0 && (size_t)n < sizeof path && read_text(text, root, path);
}

static void read_v2(limits *out, const char *root, const char *dir) {
    char text[TEXT_SIZE];
    uint64_t quota, period, limit, used = 0, cache = 0;
    if (read_in(text, root, dir, "cpu.max") && parse_u64(&quota, text)) {
        const char *second = strchr(text, ' ');
        if (second && parse_u64(&period, second + 1)) limit_cpus(out, (double)quota, (double)period);
    }
    if (read_in(text, root, dir, "memory.max") && parse_u64(&limit, text)) {
        if (read_in(text, root, dir, "memory.current")) parse_u64(&used, text);
        if (read_in(text, root, dir, "memory.stat")) find_u64(&cache, text, "inactive_file");
        limit_memory(out, limit, used, cache);
    }
    if (out->cpuset == 0 && read_in(text, root, dir, "cpuset.cpus.effective")) out->cpuset = tkr_cpu_list_count(text);
}

static void read_v1(limits *out, group_kind kind, const char *root, const char *dir) {
    char text[TEXT_SIZE];
    uint64_t quota, period, limit, used = 0, cache = 0;
    if (kind == GROUP_CPU && read_in(text, root, dir, "cpu.cfs_quota_us") && parse_u64(&quota, text) &&
        read_in(text, root, dir, "cpu.cfs_period_us") && parse_u64(&period, text)) {
        limit_cpus(out, (double)quota, (double)period);
    }
    /* "No limit" is the largest multiple of the page size that fits; MemTotal decides there. */
    if (kind == GROUP_MEMORY && read_in(text, root, dir, "memory.limit_in_bytes") && parse_u64(&limit, text) &&
        limit < UINT64_C(1) << 62) {
        if (read_in(text, root, dir, "memory.usage_in_bytes")) parse_u64(&used, text);
        if (read_in(text, root, dir, "memory.stat")) find_u64(&cache, text, "total_inactive_file");
        limit_memory(out, limit, used, cache);
    }
    if (kind == GROUP_CPUSET && out->cpuset == 0 &&
        (read_in(text, root, dir, "cpuset.effective_cpus") || read_in(text, root, dir, "cpuset.cpus"))) {
        out->cpuset = tkr_cpu_list_count(text);
    }
}

/* From the process's own group up to the mount point: every group on the way limits it. */
static void walk_group(limits *out, group_kind kind, const group *g, const char *root) {
    char dir[2048];
    const char *below = "";
    const size_t n_top = strcmp(g->top, "/") == 0 ? 0 : strlen(g->top);
    /* A path outside of the mounted part (namespaces, "/../x") can't be seen: the mount point is the nearest known. */
    if (strncmp(g->path, g->top, n_top) == 0 && (g->path[n_top] == '/' || g->path[n_top] == '\0') &&
        !strstr(g->path, "/..")) {
        below = g->path + n_top;
    }
    const int n = snprintf(dir, sizeof dir, "%s%s", g->mount, strcmp(below, "/") == 0 ? "" : below);
    if (n < 0 || (size_t)n >= sizeof dir) return;
    const size_t n_mount = strlen(g->mount);
    for (;;) {
        if (kind == GROUP_V2)
            read_v2(out, root, dir);
        else
            read_v1(out, kind, root, dir);
        if (strlen(dir) <= n_mount) return;
        *strrchr(dir, '/') = '\0';
    }
}

static limits read_limits(const char *root) {
    limits out = {0, 0, UINT64_MAX, UINT64_MAX};
    group groups[GROUP_KINDS];
    memset(groups, 0, sizeof groups);
    each_line(root, "/proc/self/cgroup", on_cgroup_line, groups);
    each_line(root, "/proc/self/mountinfo", on_mount_line, groups);
    for (int kind = 0; kind < GROUP_KINDS; kind++) {
        if (groups[kind].in && groups[kind].mounted) walk_group(&out, (group_kind)kind, &groups[kind], root);
    }
    return out;
}

/* ---- machine --------------------------------------------------------------------------------------------------- */

static void read_caches(tkr_machine *machine, const char *root) {
    char path[96], text[TEXT_SIZE];
    for (int i = 0; i < 8; i++) {
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/type", i);
        if (!read_text(text, root, path)) return;
        if (strncmp(text, "Instruction", 11) == 0) continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/level", i);
        if (!read_text(text, root, path)) return;
        const char level = text[0];
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", i);
        uint64_t size;
        if (!read_text(text, root, path) || !parse_u64(&size, text)) return;
        if (strchr(text, 'K'))
            size <<= 10;
        else if (strchr(text, 'M'))
            size <<= 20;
        if (level == '1') machine->l1d = size;
        if (level == '2') machine->l2 = size;
        if (level == '3') machine->l3 = size;
    }
}

static uint64_t positive(long value) { return value > 0 ? (uint64_t)value : 0; }

static void read_memory(tkr_machine *machine, const char *root, const limits *limit) {
    char text[TEXT_SIZE];
    uint64_t total = 0, available = 0;
    if (read_text(text, root, "/proc/meminfo")) {
        find_u64(&total, text, "MemTotal");
        find_u64(&available, text, "MemAvailable");
    }
    machine->memory_total = total ? total * 1024 : positive(sysconf(_SC_PHYS_PAGES)) * positive(sysconf(_SC_PAGESIZE));
    machine->memory_available = available ? available * 1024 : machine->memory_total;
    machine->memory = machine->memory_total < limit->memory ? machine->memory_total : limit->memory;
    if (limit->left < machine->memory_available) machine->memory_available = limit->left;
}

void tkr_machine_read_root(tkr_machine *machine, const char *root, unsigned affinity) {
    char text[TEXT_SIZE];
    memset(machine, 0, sizeof *machine);
    tkr_cpu_brand(machine->cpu_name, sizeof machine->cpu_name);
    const limits limit = read_limits(root);
    if (read_text(text, root, "/sys/devices/system/cpu/online")) machine->n_online = tkr_cpu_list_count(text);
    if (machine->n_online == 0) machine->n_online = (unsigned)positive(sysconf(_SC_NPROCESSORS_ONLN));
    unsigned n = machine->n_online;
    if (affinity != 0 && affinity < n) n = affinity;
    if (limit.cpuset != 0 && limit.cpuset < n) n = limit.cpuset;
    machine->cgroup_cpus = limit.cpus;
    if (limit.cpus > 0 && limit.cpus < n) {
        n = (unsigned)limit.cpus;
        if ((double)n < limit.cpus) n++;
    }
    machine->n_threads = n > 0 ? n : 1;
    read_memory(machine, root, &limit);
    read_caches(machine, root);
    if (machine->l1d == 0) machine->l1d = positive(sysconf(_SC_LEVEL1_DCACHE_SIZE));
    if (machine->l2 == 0) machine->l2 = positive(sysconf(_SC_LEVEL2_CACHE_SIZE));
    if (machine->l3 == 0) machine->l3 = positive(sysconf(_SC_LEVEL3_CACHE_SIZE));
}

/* 0 when unknown. The mask has room for 16384 CPUs: the call fails where the kernel's is bigger. */
static unsigned affinity_or_zero(void) {
    unsigned long mask[256];
    memset(mask, 0, sizeof mask);
    if (sched_getaffinity(0, sizeof mask, (cpu_set_t *)(void *)mask) != 0) return 0;
    unsigned count = 0;
    for (size_t i = 0; i < sizeof mask / sizeof mask[0]; i++) count += (unsigned)__builtin_popcountl(mask[i]);
    return count;
}

unsigned tkr_affinity_count(void) {
    unsigned count = affinity_or_zero();
    if (count == 0) count = (unsigned)positive(sysconf(_SC_NPROCESSORS_ONLN));
    return count > 0 ? count : 1;
}

void tkr_machine_read(tkr_machine *machine) { tkr_machine_read_root(machine, "", affinity_or_zero()); }

uint64_t tkr_rss_anon(void) {
    char text[TEXT_SIZE];
    uint64_t kib = 0;
    return read_text(text, "", "/proc/self/status") && find_u64(&kib, text, "RssAnon") ? kib * 1024 : 0;
}
#endif
