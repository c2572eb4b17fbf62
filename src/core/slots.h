/* SPDX-License-Identifier: Apache-2.0 */
/* core/slots: a few things that many threads take turns with. */
#ifndef TKR_CORE_SLOTS_H
#define TKR_CORE_SLOTS_H

#include "core/error.h"

enum { TKR_MAX_SLOTS = 64 };

typedef struct tkr_slots tkr_slots;

/* n from 1 to TKR_MAX_SLOTS. Returns slots, all free. */
tkr_status tkr_slots_create(tkr_slots **slots, unsigned n, tkr_error *error);
/* Nobody may hold a slot or wait for one. Accepts NULL. */
void tkr_slots_free(tkr_slots **slots);
/* Waits until one is free and takes the lowest: what was used last is used first. */
unsigned tkr_slots_take(tkr_slots *slots);
void tkr_slots_give(tkr_slots *slots, unsigned slot);

#endif
