/* SPDX-License-Identifier: Apache-2.0 */
/* server/parts: private to server.c, pipeline.c and http_app.c: what the server is made of. */
#ifndef TKR_SERVER_PARTS_H
#define TKR_SERVER_PARTS_H

#include <stdatomic.h>

#include "core/sync.h"
#include "server/cache.h"
#include "server/crew.h"
#include "server/logging.h"
#include "server/metrics.h"
#include "server/pipeline.h"
#include "server/trace.h"

typedef enum tkr_phase { TKR_PHASE_LOADING, TKR_PHASE_READY, TKR_PHASE_LEAVING } tkr_phase;

struct tkr_server {
    const tkr_settings *settings;
    tkr_logging *logging;
    tkr_log log;
    tkr_auth *auth;
    tkr_cache *cache; /* NULL: none */
    tkr_metrics *metrics;
    tkr_trace *trace; /* NULL: none */
    tkr_models *models;
    tkr_scheduler *scheduler;
    tkr_crew *crew;   /* parsing and writing what is large, pictures */
    tkr_crew *loader; /* one thread: models that must be loaded first */
    tkr_transport *transport;
    size_t max_reply;          /* bytes; as much as all that clients don't take, together */
    atomic_size_t pixel_bytes; /* of decoded pictures that wait for their turn or are computed */
    size_t max_pixel_bytes;
    size_t admin_listener; /* index of the admin socket; SIZE_MAX: none */
    atomic_int phase;      /* tkr_phase */
    double leave_at;       /* LEAVING: when the drain begins; loop 0's */
    bool draining;         /* loop 0's */
    double end_at;         /* draining: when a load that is still running is abandoned; loop 0's */
    double ticked;         /* loop 0's */
    /* loading, in a thread of its own */
    tkr_thread *load_thread;
    tkr_error load_error;
    atomic_bool load_failed;
    void (*started)(void *user);
    void *started_user;
};

/* The application behind the transport: http_app.c. */
void tkr_http_app_init(tkr_http_app *app, tkr_server *server);

#endif
