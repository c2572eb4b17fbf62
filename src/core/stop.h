/* SPDX-License-Identifier: Apache-2.0 */
/* core/stop: what ends a wait early: a caller that lost interest, or a deadline. */
#ifndef TKR_CORE_STOP_H
#define TKR_CORE_STOP_H

#include "core/error.h"
#include "core/file.h"

/* Zeroed, or a NULL pointer to one: nothing ends the wait. */
typedef struct tkr_stop {
    /* Asked by the thread that waits, every TKR_STOP_SECONDS or more often: what isn't TKR_OK ends the wait and is its
     * outcome. Must return at once. NULL: nobody is asked. */
    tkr_status (*ask)(void *user);
    void *user;
    double deadline; /* of tkr_now(), then the outcome is TKR_DEADLINE; 0: none */
} tkr_stop;

#define TKR_STOP_SECONDS 0.01

/* TKR_OK: wait on. */
static inline tkr_status tkr_stop_ask(const tkr_stop *stop) {
    if (!stop) return TKR_OK;
    const tkr_status asked = stop->ask ? stop->ask(stop->user) : TKR_OK;
    return asked == TKR_OK && stop->deadline > 0 && tkr_now() >= stop->deadline ? TKR_DEADLINE : asked;
}

/* How far a wait until `until` (of tkr_now()) may sleep before it asks again. */
static inline double tkr_stop_until(const tkr_stop *stop, double until) {
    if (!stop) return until;
    if (stop->deadline > 0 && stop->deadline < until) until = stop->deadline;
    const double next = stop->ask ? tkr_now() + TKR_STOP_SECONDS : until;
    return next < until ? next : until;
}

#endif
