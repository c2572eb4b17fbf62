/* SPDX-License-Identifier: Apache-2.0 */
/* core/slots: a few things that many threads take turns with, first come, first served. */
#ifndef TKR_CORE_SLOTS_H
#define TKR_CORE_SLOTS_H

#include "core/error.h"
#include "core/stop.h"

enum { TKR_MAX_SLOTS = 64 };

typedef struct tkr_slots tkr_slots;

/* n from 1 to TKR_MAX_SLOTS. Returns slots, all free. */
tkr_status tkr_slots_create(tkr_slots **slots, unsigned n, tkr_error *error);
/* Nobody may hold a slot or wait for one. Accepts NULL. */
void tkr_slots_free(tkr_slots **slots);
/* Takes the lowest free one: what was used last is used first. Where none is free, waits for its turn; `stop` (or NULL)
 * ends that wait with its status, and then *slot isn't set. A free slot is taken without asking. */
tkr_status tkr_slots_take(unsigned *slot, tkr_slots *slots, const tkr_stop *stop);
/* To the thread that waits longest, if one does. */
void tkr_slots_give(tkr_slots *slots, unsigned slot);

#endif
