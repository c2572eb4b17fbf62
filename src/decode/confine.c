/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode/confine: takes from this process what decoding doesn't need, for good: Landlock (no file, no TCP port, no
 * abstract socket, no signal to others), then a seccomp allow-list. The one file outside core that asks the kernel
 * itself: what is forbidden belongs beside what needs it. docs/security.md says what is left.
 */
#define _GNU_SOURCE
#include <string.h>

#include "decode/decode.h"

#if defined(TKR_SANITIZED) /* its runtime opens files, starts a symbolizer and maps terabytes */
bool tkr_decode_confinable(void) { return false; }
#else
bool tkr_decode_confinable(void) { return true; }
#endif

#if defined(__linux__)

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/process.h"

/* ---- Landlock: numbers of its stable interface; Debian 12's headers know version 2 ---- */

enum { CREATE_RULESET = 444, ADD_RULE = 445, RESTRICT_SELF = 446, ASK_VERSION = 1, PATH_BENEATH = 1 };

typedef struct ruleset {
    uint64_t files;  /* since 1; a bit an operation */
    uint64_t ports;  /* since 4: bind, connect */
    uint64_t scoped; /* since 6: abstract sockets, signals */
} ruleset;

typedef struct __attribute__((packed)) path_rule {
    uint64_t allowed;
    int32_t folder;
} path_rule;

/* A folder that isn't there needs no rule. */
static bool allow_folder(int rules, const char *path) {
    enum { READ_FILE = 1 << 2, READ_FOLDER = 1 << 3 };
    const path_rule rule = {.allowed = READ_FILE | READ_FOLDER, .folder = open(path, O_PATH | O_CLOEXEC | O_DIRECTORY)};
    if (rule.folder < 0) return errno == ENOENT || errno == ENOTDIR || errno == EACCES;
    const long done = syscall(ADD_RULE, rules, PATH_BENEATH, &rule, 0);
    const int code = errno;
    (void)close(rule.folder);
    errno = code;
    return done == 0;
}

/* Handles every operation that this kernel knows and allows none, but reading below `folders` (or NULL). */
static tkr_status restrict_files(const char *const *folders, tkr_error *error) {
    const long version = syscall(CREATE_RULESET, NULL, (size_t)0, ASK_VERSION);
    if (version < 1) return TKR_FAIL(error, UNSUPPORTED, "this kernel has no Landlock");
    const unsigned n_operations = version >= 5 ? 16 : version >= 3 ? 15 : version >= 2 ? 14 : 13;
    const ruleset rules = {
        .files = (UINT64_C(1) << n_operations) - 1, .ports = version >= 4 ? 3 : 0, .scoped = version >= 6 ? 3 : 0};
    const size_t size = version >= 6 ? 24 : version >= 4 ? 16 : 8;
    const long fd = syscall(CREATE_RULESET, &rules, size, 0);
    if (fd < 0) return TKR_FAIL(error, UNSUPPORTED, "Landlock: %s", strerror(errno));
    bool allowed_all = true;
    for (; folders && *folders && allowed_all; folders++) allowed_all = allow_folder((int)fd, *folders);
    const long done = allowed_all ? syscall(RESTRICT_SELF, (int)fd, 0) : -1;
    const int code = errno;
    (void)close((int)fd);
    return done == 0 ? TKR_OK : TKR_FAIL(error, UNSUPPORTED, "Landlock: %s", strerror(code));
}

/* ---- seccomp ---- */

/* Memory, time, the end. What takes a descriptor or a protection follows with its condition. */
static const int allowed[] = {
    SCMP_SYS(brk),          SCMP_SYS(munmap),       SCMP_SYS(mremap),         SCMP_SYS(madvise),
    SCMP_SYS(futex),        SCMP_SYS(getrandom),    SCMP_SYS(clock_gettime),  SCMP_SYS(gettimeofday),
    SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(getpid),
    SCMP_SYS(gettid),       SCMP_SYS(exit),         SCMP_SYS(exit_group),     SCMP_SYS(restart_syscall),
    SCMP_SYS(sched_yield),
};

/* What a C library tries on its own and can do without; anything else ends the process. */
static const int refused[] = {
    SCMP_SYS(open),
    SCMP_SYS(openat),
    SCMP_SYS(access),
    SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2),
    SCMP_SYS(stat),
    SCMP_SYS(lstat),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(statx),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(ioctl),
    SCMP_SYS(prlimit64),
    SCMP_SYS(getrlimit),
    SCMP_SYS(sysinfo),
    SCMP_SYS(uname),
    SCMP_SYS(lseek),
    SCMP_SYS(fcntl),
    SCMP_SYS(close),
    SCMP_SYS(getcwd),
    SCMP_SYS(membarrier),
    SCMP_SYS(sched_getaffinity),
};

/* What one needs who reads files, of which Landlock says which. */
static const int reading[] = {
    SCMP_SYS(read),      SCMP_SYS(pread64),  SCMP_SYS(close),      SCMP_SYS(fstat),  SCMP_SYS(newfstatat),
    SCMP_SYS(statx),     SCMP_SYS(stat),     SCMP_SYS(lstat),      SCMP_SYS(lseek),  SCMP_SYS(getdents64),
    SCMP_SYS(statfs),    SCMP_SYS(fstatfs),  SCMP_SYS(access),     SCMP_SYS(getuid), SCMP_SYS(faccessat),
    SCMP_SYS(fadvise64), SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(getgid), SCMP_SYS(faccessat2),
    SCMP_SYS(geteuid),   SCMP_SYS(getegid),
};

/* What fontconfig tries for its cache. */
static const int refused_to_readers[] = {
    SCMP_SYS(mkdir),    SCMP_SYS(mkdirat),   SCMP_SYS(unlink), SCMP_SYS(unlinkat), SCMP_SYS(rename),
    SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(link),   SCMP_SYS(linkat),   SCMP_SYS(chmod),
    SCMP_SYS(fchmod),   SCMP_SYS(fchmodat),  SCMP_SYS(utime),  SCMP_SYS(utimes),   SCMP_SYS(utimensat),
};

static bool is_for_readers(int call) {
    for (size_t i = 0; i < sizeof reading / sizeof *reading; i++) {
        if (reading[i] == call) return true;
    }
    return call == SCMP_SYS(openat) || call == SCMP_SYS(fcntl);
}

static int add_rules_of_readers(scmp_filter_ctx filter) {
    const struct scmp_arg_cmp to_read = SCMP_A2(SCMP_CMP_MASKED_EQ, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY);
    const struct scmp_arg_cmp readable = SCMP_A2(SCMP_CMP_EQ, PROT_READ, 0);
    static const int commands[] = {F_GETFD, F_SETFD, F_GETFL};
    static const int others[] = {O_WRONLY, O_RDWR};
    int code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1, to_read);
    for (size_t i = 0; code == 0 && i < sizeof others / sizeof *others; i++) {
        const struct scmp_arg_cmp to_write = SCMP_A2(SCMP_CMP_MASKED_EQ, O_ACCMODE, (scmp_datum_t)others[i]);
        code = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(openat), 1, to_write);
    }
    for (size_t i = 0; code == 0 && i < sizeof commands / sizeof *commands; i++) {
        const struct scmp_arg_cmp command = SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)commands[i], 0);
        code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1, command);
    }
    if (code == 0) code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, readable);
    for (size_t i = 0; code == 0 && i < sizeof reading / sizeof *reading; i++) {
        code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, reading[i], 0);
    }
    for (size_t i = 0; code == 0 && i < sizeof refused_to_readers / sizeof *refused_to_readers; i++) {
        code = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), refused_to_readers[i], 0);
    }
    return code;
}

static int add_conditional_rules(scmp_filter_ctx filter) {
    const struct scmp_arg_cmp not_executable = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
    const struct scmp_arg_cmp anonymous = SCMP_A3(SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, MAP_ANONYMOUS);
    const struct scmp_arg_cmp own_socket = SCMP_A0(SCMP_CMP_EQ, TKR_HELPER_SOCKET, 0);
    const struct scmp_arg_cmp standard_error = SCMP_A0(SCMP_CMP_EQ, 2, 0);
    const struct scmp_arg_cmp own_process = SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0);
    int code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 2, not_executable, anonymous);
    if (code == 0) code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, not_executable);
    if (code == 0) code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(recvfrom), 1, own_socket);
    if (code == 0) code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(sendto), 1, own_socket);
    /* The C library's last words, to /dev/null; abort() */
    if (code == 0) code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(write), 1, standard_error);
    if (code == 0) code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(writev), 1, standard_error);
    if (code == 0) code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, own_process);
    return code;
}

static tkr_status filter_calls(bool reads, tkr_error *error) {
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!filter) return TKR_FAIL(error, UNSUPPORTED, "seccomp: no filter that ends the process");
    int code = 0;
    /* Older kernels switch speculation off for every filtered process, which costs a tenth of the speed: nothing here
     * is secret from the code that runs here. */
    (void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
    for (size_t i = 0; code == 0 && i < sizeof allowed / sizeof *allowed; i++) {
        code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
    }
    for (size_t i = 0; code == 0 && i < sizeof refused / sizeof *refused; i++) {
        if (reads && is_for_readers(refused[i])) continue;
        code = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), refused[i], 0);
    }
    if (code == 0 && reads) code = add_rules_of_readers(filter);
    if (code == 0) code = add_conditional_rules(filter);
    if (code == 0) code = seccomp_load(filter);
    seccomp_release(filter);
    return code == 0 ? TKR_OK : TKR_FAIL(error, UNSUPPORTED, "seccomp: %s", strerror(-code));
}

tkr_status tkr_decode_confine(const char *const *folders, tkr_error *error) {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
        return TKR_FAIL(error, UNSUPPORTED, "no_new_privs: %s", strerror(errno));
    }
    const tkr_status status = restrict_files(folders, error);
    return status == TKR_OK ? filter_calls(folders != NULL, error) : status;
}

#else

tkr_status tkr_decode_confine(const char *const *folders, tkr_error *error) {
    (void)folders;
    return TKR_FAIL(error, UNSUPPORTED, "seccomp and Landlock are Linux's");
}

#endif
