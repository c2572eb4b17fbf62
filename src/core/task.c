/* SPDX-License-Identifier: Apache-2.0 */
/* core/task: a thread for one job. */
#define _POSIX_C_SOURCE 200809L
#include "core/task.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>

#include "core/mem.h"

struct tkr_task {
    pthread_t thread;
    void (*fn)(void *arg);
    void *arg;
};

static void *run(void *user) {
    const tkr_task *task = user;
    task->fn(task->arg);
    return NULL;
}

tkr_task *tkr_task_start(void (*fn)(void *arg), void *arg) {
    sigset_t all, old;
    tkr_task *task = tkr_malloc(sizeof *task);
    bool started = false;
    if (task) {
        *task = (tkr_task){.fn = fn, .arg = arg};
        sigfillset(&all); /* the new thread inherits the mask */
        (void)pthread_sigmask(SIG_SETMASK, &all, &old);
        started = pthread_create(&task->thread, NULL, run, task) == 0;
        (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    if (started) return task;
    tkr_free(task);
    fn(arg);
    return NULL;
}

void tkr_task_wait(tkr_task **task) {
    if (!*task) return;
    (void)pthread_join((*task)->thread, NULL);
    tkr_free(*task);
    *task = NULL;
}
