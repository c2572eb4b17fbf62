/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/process: another program as a helper: started by exec (never by fork alone: the host has threads), spoken to
 * over a socket and over memory that both see, limited, ended. Both sides of it. Refuses to hand over any other
 * descriptor or the environment.
 */
#ifndef TKR_CORE_PROCESS_H
#define TKR_CORE_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/stop.h"

/* Memory that two processes see. Its size is fixed, so that neither can make the other fault; pages take memory when
 * they are first touched. */
typedef struct tkr_shared {
    uint8_t *data;
    size_t size;
    int fd;
} tkr_shared;
/* Zeroed. Fills *shared; free with tkr_shared_free. */
tkr_status tkr_shared_create(tkr_shared *shared, size_t size, tkr_error *error);
/* Gives the whole pages inside [offset, offset + size) back to the system; they read as zero or as before. A hint. */
void tkr_shared_release(tkr_shared *shared, size_t offset, size_t size);
void tkr_shared_free(tkr_shared *shared);

/* ---- the host's side ---- */

typedef struct tkr_process tkr_process;

/* Starts `program` with these arguments (NULL at the end, without the program's name). It has the socket and the memory
 * as TKR_HELPER_SOCKET and TKR_HELPER_MEMORY, /dev/null as its standard streams, default signals, and of the
 * environment what a loader or a sanitizer reads, and how glibc is to allocate. `shared` is borrowed. Returns a
 * process. */
tkr_status tkr_process_start(tkr_process **process, const char *program, const char *const *arguments,
                             const tkr_shared *shared, tkr_error *error);
tkr_status tkr_process_send(tkr_process *process, const void *data, size_t size, tkr_error *error);
typedef struct tkr_process_wait {
    double seconds; /* for the whole message */
    /* Of these so many awake, as waking up costs 0.1 ms in a virtual machine; whoever else wants the CPU gets it. For
     * an answer that is due. */
    double awake;
    const tkr_stop *stop; /* NULL: none */
} tkr_process_wait;
/* TKR_DEADLINE when the message isn't whole in time, TKR_IO when the other side has gone, else what `stop` says. */
tkr_status tkr_process_receive(void *data, size_t size, tkr_process *process, const tkr_process_wait *wait,
                               tkr_error *error);
/* Ends it, if it hasn't ended by itself, and says how it did in out: "crashed (signal 11, SIGSEGV)", "exited with
 * status 3", "was ended". Accepts NULL. */
void tkr_process_end(char *out, size_t size, tkr_process **process);

/* Whether a program on this system can confine itself with seccomp and Landlock; else *lacking names what is missing.
 */
bool tkr_process_can_confine(const char **lacking);

/* ---- the helper's side ---- */

enum { TKR_HELPER_SOCKET = 3, TKR_HELPER_MEMORY = 4 };

/* Closes every descriptor but the standard streams and the two above, and maps the memory, whose size must be this. */
tkr_status tkr_helper_attach(tkr_shared *shared, size_t size, tkr_error *error);
/* Waits awake for so many seconds, then asleep. false when the host has gone. */
bool tkr_helper_receive(void *data, size_t size, double awake);
bool tkr_helper_send(const void *data, size_t size);

typedef struct tkr_helper_limits {
    uint64_t memory;      /* bytes of address space beyond what is mapped now; 0: no limit */
    uint64_t cpu_seconds; /* of the process's life */
    unsigned files;       /* further descriptors; 0: one */
} tkr_helper_limits;
/* Also: no core dump, no growing file, no further process. */
tkr_status tkr_helper_limit(const tkr_helper_limits *limits, tkr_error *error);

#endif
