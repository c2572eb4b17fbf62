/* SPDX-License-Identifier: Apache-2.0 */
/* server/models_internal: what the two files of the models share. models.c owns names, holds and states; models_load.c
 * owns options, loading and memory. */
#ifndef TKR_SERVER_MODELS_INTERNAL_H
#define TKR_SERVER_MODELS_INTERNAL_H

#include "core/sync.h"
#include "core/task.h"
#include "server/models.h"

struct tkr_model_instance {
    tkr_model *model;
    tkr_session *sessions[2]; /* [1] NULL where there is one only */
    uint64_t bytes;           /* that it may take */
    bool on_device;           /* in a GPU's memory */
    tkr_model_instance *next; /* of those to be freed */
};

struct tkr_models {
    tkr_mutex lock;
    tkr_cond changed; /* a state, or the loader's turn */
    tkr_log log;
    uint64_t max_memory; /* for all of them; 0: 75 % of what there is */
    bool warm_up, strict_names;
    double idle_unload; /* seconds; 0: never */
    const tkr_settings *settings;
    atomic_bool leaving; /* no load begins any more, and a download ends */
    /* under the lock */
    tkr_served_model *first; /* the default one */
    bool loading;            /* one at a time, so that each knows what the others left */
    tkr_model_instance *retired;
    unsigned n_freeing; /* threads that free retired ones */
    tkr_task *collector;
};

/* ---- models_load.c ---- */

/* Fills reference, name and options of a new entry, from the settings and where they are not NULL from `entry`. */
tkr_status tkr_model_configure(tkr_served_model *served, tkr_models *models, const tkr_model_entry *entry,
                               tkr_error *error);
/* Loads an entry that is ASLEEP or FAILED: LOADING meanwhile, then READY or FAILED. Under the lock, which is released
 * meanwhile. */
tkr_status tkr_model_wake(tkr_models *models, tkr_served_model *served, tkr_error *error);
/* Puts a READY entry that nobody holds to sleep. Its memory waits for tkr_models_collect. Under the lock. */
void tkr_model_sleep(tkr_models *models, tkr_served_model *served);
/* Frees what sleeping entries left. Without the lock. */
void tkr_models_collect(void *models);

#endif
