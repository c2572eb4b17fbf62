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
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/process.h"

/* ---- Landlock: numbers of its stable interface; Debian 12's headers know version 2 ---- */

enum { CREATE_RULESET = 444, RESTRICT_SELF = 446, ASK_VERSION = 1 };

typedef struct ruleset {
    uint64_t files;  /* since 1; a bit an operation */
    uint64_t ports;  /* since 4: bind, connect */
    uint64_t scoped; /* since 6: abstract sockets, signals */
} ruleset;

/* Handles every operation that this kernel knows and allows none. */
static tkr_status restrict_files(tkr_error *error) {
    const long version = syscall(CREATE_RULESET, NULL, (size_t)0, ASK_VERSION);
    if (version < 1) return TKR_FAIL(error, UNSUPPORTED, "this kernel has no Landlock");
    const unsigned n_operations = version >= 5 ? 16 : version >= 3 ? 15 : version >= 2 ? 14 : 13;
    const ruleset rules = {
        .files = (UINT64_C(1) << n_operations) - 1, .ports = version >= 4 ? 3 : 0, .scoped = version >= 6 ? 3 : 0};
    const size_t size = version >= 6 ? 24 : version >= 4 ? 16 : 8;
    const long fd = syscall(CREATE_RULESET, &rules, size, 0);
    if (fd < 0) return TKR_FAIL(error, UNSUPPORTED, "Landlock: %s", strerror(errno));
    const long done = syscall(RESTRICT_SELF, (int)fd, 0);
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

static tkr_status filter_calls(tkr_error *error) {
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
        code = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), refused[i], 0);
    }
    if (code == 0) code = add_conditional_rules(filter);
    if (code == 0) code = seccomp_load(filter);
    seccomp_release(filter);
    return code == 0 ? TKR_OK : TKR_FAIL(error, UNSUPPORTED, "seccomp: %s", strerror(-code));
}

tkr_status tkr_decode_confine(tkr_error *error) {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
        return TKR_FAIL(error, UNSUPPORTED, "no_new_privs: %s", strerror(errno));
    }
    const tkr_status status = restrict_files(error);
    return status == TKR_OK ? filter_calls(error) : status;
}

#else

tkr_status tkr_decode_confine(tkr_error *error) {
    return TKR_FAIL(error, UNSUPPORTED, "seccomp and Landlock are Linux's");
}

#endif
