/* SPDX-License-Identifier: Apache-2.0 */
/* core/task: one job that runs beside its starter, for what nobody waits for. Refuses to fail. */
#ifndef TKR_CORE_TASK_H
#define TKR_CORE_TASK_H

typedef struct tkr_task tkr_task;

/* Runs fn(arg) in a thread of its own, which blocks all signals; where there can be no thread, right here. Returns a
 * task, NULL when fn has run already. */
tkr_task *tkr_task_start(void (*fn)(void *arg), void *arg);
/* Waits until fn has returned. Accepts NULL. */
void tkr_task_wait(tkr_task **task);

#endif
