/* SPDX-License-Identifier: Apache-2.0 */
/* server/models: the models that this server has, by name: loaded, loading, asleep; their sessions and memory. */
#ifndef TKR_SERVER_MODELS_H
#define TKR_SERVER_MODELS_H

#include <stdatomic.h>

#include "core/log.h"
#include "engine/tools.h"
#include "server/settings.h"

typedef enum tkr_model_state { TKR_MODEL_ASLEEP, TKR_MODEL_LOADING, TKR_MODEL_READY, TKR_MODEL_FAILED } tkr_model_state;

/* What a loaded model consists of. Lives on, unused, for a moment after its entry went to sleep. */
typedef struct tkr_model_instance tkr_model_instance;

/* One model. Fields up to the state are set once; the rest is there while it is READY and held. */
typedef struct tkr_served_model {
    const char *name;      /* what requests call it */
    const char *reference; /* what it is loaded from */
    tkr_model_options options;
    tkr_model_state state;
    tkr_error error; /* FAILED: why */
    tkr_model *model;
    const tkr_model_info *info;
    const tkr_tokenizer *tokenizer;
    /* The scheduler's: bulk work, and interactive work that interrupts it. The same one twice where memory is short:
     * then nothing interrupts. */
    tkr_session *sessions[2];
    double loaded_at, load_s; /* tkr_wall_clock() */
    _Atomic double last_used; /* tkr_now() */
    /* private to models.c */
    tkr_model_instance *instance;
    tkr_arena arena; /* names and options */
    unsigned holders;
    bool lazy, added, unload_wanted;
    double failed_at; /* tkr_now() */
    struct tkr_served_model *next;
    /* the scheduler's, learnt; 0: not yet */
    _Atomic double tokens_per_s, tokens_per_byte, tokens_per_picture;
    double queued_rate; /* tokens a second that its queued jobs are reckoned with */
} tkr_served_model;

typedef struct tkr_models tkr_models;

/* The models of the settings, none loaded; TKR_BUSY when two have one name. Returns the set. Settings and the log's
 * user must outlive it. */
tkr_status tkr_models_create(tkr_models **models, const tkr_settings *settings, const tkr_log *log, tkr_error *error);
/* Nobody may hold a model any more. Accepts NULL. */
void tkr_models_free(tkr_models **models);
/* Loads what isn't loaded of the configured models (not those marked lazy); with warm-up if the settings say so. */
tkr_status tkr_models_load_all(tkr_models *models, tkr_error *error);

/* Finds and holds the model of that name: NULL or "" is the default one; its alias, its reference and, as clients of
 * single-model servers send any name, with exactly one model and strict names off every name means it. A READY model is
 * given at once. ASLEEP or LOADING: TKR_BUSY, and *model is held, too, without its model: call tkr_models_wake (it
 * blocks: from the crew). TKR_NOT_FOUND lists the names there are. */
tkr_status tkr_models_hold(tkr_served_model **model, tkr_models *models, const char *name, tkr_error *error);
/* Loads a held model that isn't ready, or waits for who does. Blocks. Where it failed a moment ago, the same error. The
 * hold stays, whatever comes of it. */
tkr_status tkr_models_wake(tkr_models *models, tkr_served_model *model, tkr_error *error);
void tkr_models_release(tkr_models *models, tkr_served_model *model);

/* Admin. Adds a model at run time and loads it (blocks); TKR_LIMIT when memory is short, TKR_BUSY when the name is
 * taken. `name` NULL: the reference; `quantization` NULL: the setting's. */
tkr_status tkr_models_add(tkr_models *models, const char *name, const char *reference, const char *quantization,
                          tkr_error *error);
/* Unloads as soon as nobody holds it; a configured model sleeps and wakes with the next request, an added one goes and
 * takes no more holds. TKR_BUSY while it is being loaded. Blocks while memory is given back. */
tkr_status tkr_models_unload(tkr_models *models, const char *name, tkr_error *error);
/* Puts models to sleep that were idle for too long, and gives back memory, without blocking. Called every second or so,
 * from one thread.
 */
void tkr_models_tick(tkr_models *models);

/* The server ends: loads that can be cut short end with TKR_CANCELLED, others begin no more. From any thread. */
void tkr_models_leave(tkr_models *models);
/* Whether a model is being loaded. */
bool tkr_models_are_loading(tkr_models *models);

/* Calls fn for each model, default first, under the lock: don't block. */
void tkr_models_each(tkr_models *models, void (*fn)(void *user, const tkr_served_model *model), void *user);

#endif
