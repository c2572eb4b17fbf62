/* SPDX-License-Identifier: Apache-2.0 */
/* core/process: the host's side: spawn, the socket, how a helper ended. */
#define _GNU_SOURCE
#if defined(__APPLE__)
#define _DARWIN_C_SOURCE
#endif
#include "core/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__linux__)
#include <linux/seccomp.h>
#include <sys/syscall.h>
#endif

#include "core/file.h"
#include "core/mem.h"
#include "core/sys.h"

#if !defined(MSG_NOSIGNAL)
#define MSG_NOSIGNAL 0 /* SO_NOSIGPIPE stands for it */
#endif

struct tkr_process {
    pid_t pid;
    int fd; /* our end of the socket */
};

/* ---- start ---- */

static bool open_pair(int ends[2]) {
    int pair[2];
#if defined(SOCK_CLOEXEC)
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return false;
#else
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) return false;
#endif
#if defined(SO_NOSIGPIPE)
    const int yes = 1;
    (void)setsockopt(pair[0], SOL_SOCKET, SO_NOSIGPIPE, &yes, sizeof yes);
#endif
    ends[0] = tkr_sys_lift(pair[0]);
    ends[1] = tkr_sys_lift(pair[1]);
    if (ends[0] >= 0 && ends[1] >= 0) return true;
    const int code = errno;
    if (ends[0] >= 0) (void)close(ends[0]);
    if (ends[1] >= 0) (void)close(ends[1]);
    errno = code;
    return false;
}

/* What the dynamic loader and the sanitizers read; everything else (tokens, proxies, paths) stays here. */
static const char *const kept_variables[] = {"LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "ASAN_OPTIONS",
                                             "LSAN_OPTIONS",    "UBSAN_OPTIONS",     "TSAN_OPTIONS"};
/* Small blocks that glibc keeps at hand for each size: with its 7, poppler spends a fifth of its time in malloc. Other
 * C libraries don't read it. */
static const char tunables[] = "GLIBC_TUNABLES=glibc.malloc.tcache_count=1000";
enum { N_KEPT = sizeof kept_variables / sizeof *kept_variables, MAX_ARGUMENTS = 14 };

/* Fills out[N_KEPT + 2] with "NAME=value" texts of the arena. */
static bool make_environment(char **out, tkr_arena *arena) {
    size_t n = 0;
    for (size_t i = 0; i < N_KEPT; i++) {
        const char *value = tkr_env(kept_variables[i]);
        if (!value) continue;
        out[n] = tkr_arena_printf(arena, "%s=%s", kept_variables[i], value);
        if (!out[n++]) return false;
    }
    out[n] = tkr_arena_strndup(arena, tunables, sizeof tunables - 1);
    if (!out[n++]) return false;
    out[n] = NULL;
    return true;
}

/* Standard streams: nothing that a helper prints is for the user. A sanitizer's report is for the developer. */
static int add_actions(posix_spawn_file_actions_t *actions, int socket_fd, int memory_fd) {
    int code = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDWR, 0);
    if (code == 0) code = posix_spawn_file_actions_adddup2(actions, 0, 1);
#if !defined(TKR_SANITIZED)
    if (code == 0) code = posix_spawn_file_actions_adddup2(actions, 0, 2);
#endif
    if (code == 0) code = posix_spawn_file_actions_adddup2(actions, socket_fd, TKR_HELPER_SOCKET);
    if (code == 0) code = posix_spawn_file_actions_adddup2(actions, memory_fd, TKR_HELPER_MEMORY);
    return code;
}

static int set_signals(posix_spawnattr_t *attributes) {
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    sigdelset(&all, SIGKILL);
    sigdelset(&all, SIGSTOP);
    int code = posix_spawnattr_setsigmask(attributes, &none);
    if (code == 0) code = posix_spawnattr_setsigdefault(attributes, &all);
    /* A group of its own: Ctrl-C is the host's to handle. */
    if (code == 0) code = posix_spawnattr_setpgroup(attributes, 0);
    const short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP;
    return code ? code : posix_spawnattr_setflags(attributes, flags);
}

static int spawn(pid_t *pid, const char *program, const char *const *arguments, int socket_fd, int memory_fd) {
    char *argv[MAX_ARGUMENTS + 2], *environment[N_KEPT + 2];
    tkr_arena arena = {0};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    bool fits = (argv[0] = tkr_arena_strndup(&arena, program, strlen(program))) != NULL;
    size_t n = 0;
    for (; fits && arguments[n]; n++) {
        if (n == MAX_ARGUMENTS) {
            tkr_arena_free(&arena);
            return E2BIG;
        }
        fits = (argv[n + 1] = tkr_arena_strndup(&arena, arguments[n], strlen(arguments[n]))) != NULL;
    }
    argv[n + 1] = NULL;
    if (!fits || !make_environment(environment, &arena)) {
        tkr_arena_free(&arena);
        return ENOMEM;
    }
    int code = posix_spawn_file_actions_init(&actions);
    if (code == 0) {
        code = posix_spawnattr_init(&attributes);
        if (code == 0) {
            code = add_actions(&actions, socket_fd, memory_fd);
            if (code == 0) code = set_signals(&attributes);
            if (code == 0) code = posix_spawn(pid, program, &actions, &attributes, argv, environment);
            (void)posix_spawnattr_destroy(&attributes);
        }
        (void)posix_spawn_file_actions_destroy(&actions);
    }
    tkr_arena_free(&arena);
    return code;
}

tkr_status tkr_process_start(tkr_process **out, const char *program, const char *const *arguments,
                             const tkr_shared *shared, tkr_error *error) {
    tkr_process *process = tkr_malloc(sizeof *process);
    if (!process) return TKR_FAIL(error, NO_MEMORY, "no memory to start %s", program);
    int ends[2] = {-1, -1}, code = EIO;
    if (!tkr_seam_allows('r')) goto fail;
    if (!open_pair(ends)) {
        code = errno;
        goto fail;
    }
    code = spawn(&process->pid, program, arguments, ends[1], shared->fd);
    (void)close(ends[1]);
    if (code != 0) {
        (void)close(ends[0]);
        goto fail;
    }
    process->fd = ends[0];
    *out = process;
    return TKR_OK;
fail:
    tkr_free(process);
    if (code == ENOMEM) return TKR_FAIL(error, NO_MEMORY, "%s: cannot be started: no memory", program);
    return TKR_SYS_FAIL(error, program, "cannot be started", code);
}

/* ---- messages ---- */

tkr_status tkr_process_send(tkr_process *process, const void *data, size_t size, tkr_error *error) {
    const char *at = data;
    while (size > 0) {
        const ssize_t n = send(process->fd, at, size, MSG_NOSIGNAL);
        if (n >= 0) {
            at += n;
            size -= (size_t)n;
        } else if (errno != EINTR) {
            return TKR_FAIL(error, IO, "the helper process has gone");
        }
    }
    return TKR_OK;
}

/* Sleeps until something can be received, or it is time to look elsewhere. */
static bool doze(const tkr_process *process, double until) {
    const double left = until - tkr_now();
    struct pollfd waiting = {.fd = process->fd, .events = POLLIN};
    return poll(&waiting, 1, left <= 0 ? 0 : left > 1e6 ? 1000000000 : (int)(left * 1000) + 1) >= 0 || errno == EINTR;
}

tkr_status tkr_process_receive(void *data, size_t size, tkr_process *process, const tkr_process_wait *wait,
                               tkr_error *error) {
    char *at = data;
    const double began = tkr_now(), until = began + wait->seconds, awake_until = began + wait->awake;
    while (size > 0) {
        const ssize_t n = recv(process->fd, at, size, MSG_DONTWAIT);
        if (n > 0) {
            at += n;
            size -= (size_t)n;
            continue;
        }
        if (n == 0 || (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK)) {
            return TKR_FAIL(error, IO, "the helper process has gone");
        }
        const double now = tkr_now();
        if (now >= until) return TKR_FAIL(error, DEADLINE, "the helper process took longer than %g s", wait->seconds);
        if (now < awake_until) {
            tkr_sys_breathe();
            continue;
        }
        const tkr_status asked = tkr_stop_ask(wait->stop);
        if (asked != TKR_OK) {
            return tkr_error_set(error, TKR_HERE, asked, "nobody waits for the helper process any more");
        }
        if (!doze(process, tkr_stop_until(wait->stop, until))) {
            return TKR_FAIL(error, IO, "the helper process cannot be waited for");
        }
    }
    return TKR_OK;
}

/* ---- end ---- */

static const char *signal_name(int number) {
    switch (number) {
    case SIGSEGV: return ", SIGSEGV";
    case SIGABRT: return ", SIGABRT";
    case SIGBUS: return ", SIGBUS";
    case SIGFPE: return ", SIGFPE";
    case SIGILL: return ", SIGILL";
    case SIGSYS: return ", SIGSYS: a system call that it may not make";
    case SIGXCPU: return ", SIGXCPU: out of CPU time";
    case SIGKILL: return ", SIGKILL: out of memory, or ended by somebody";
    default: return "";
    }
}

static void describe_end(char *out, size_t size, pid_t found, int state) {
    if (found <= 0) { /* the host ignores SIGCHLD, or reaps what isn't its own */
        (void)snprintf(out, size, "ended");
    } else if (WIFSIGNALED(state)) {
        (void)snprintf(out, size, "crashed (signal %d%s)", WTERMSIG(state), signal_name(WTERMSIG(state)));
    } else {
        (void)snprintf(out, size, "exited with status %d", WIFEXITED(state) ? WEXITSTATUS(state) : -1);
    }
}

/* Whether its end of the socket is closed, which the kernel does when it exits: then its own end is worth waiting for.
 */
static bool has_hung_up(const tkr_process *process) {
    char byte;
    ssize_t n;
    do {
        n = recv(process->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
    } while (n < 0 && errno == EINTR);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK);
}

void tkr_process_end(char *out, size_t size, tkr_process **process) {
    if (size > 0) out[0] = '\0';
    if (!process || !*process) return;
    const pid_t pid = (*process)->pid;
    int state = 0;
    pid_t found = 0;
    if (has_hung_up(*process)) { /* an exit takes a moment, a core dump more; a helper that only closed its end, none */
        const double until = tkr_now() + 2;
        while ((found = waitpid(pid, &state, WNOHANG)) == 0 && tkr_now() < until) {
            (void)poll(NULL, 0, 1);
        }
    }
    bool ended = false;
    if (found == 0) {
        ended = waitpid(pid, &state, WNOHANG) == 0;
        if (ended) {
            (void)kill(pid, SIGKILL);
            while (waitpid(pid, &state, 0) < 0 && errno == EINTR) {
            }
        } else {
            found = pid;
        }
    }
    if (ended) {
        (void)snprintf(out, size, "was ended");
    } else {
        describe_end(out, size, found, state);
    }
    (void)close((*process)->fd);
    tkr_free(*process);
    *process = NULL;
}

bool tkr_process_can_confine(const char **lacking) {
#if defined(__linux__)
    enum { LANDLOCK_CREATE_RULESET = 444, ASK_VERSION = 1 };
    const unsigned action = SECCOMP_RET_KILL_PROCESS;
    *lacking = "seccomp filters";
    if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) != 0) return false;
    *lacking = "Landlock";
    return syscall(LANDLOCK_CREATE_RULESET, NULL, (size_t)0, ASK_VERSION) >= 1;
#else
    *lacking = "seccomp (it is Linux's)";
    return false;
#endif
}
