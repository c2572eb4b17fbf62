/* SPDX-License-Identifier: Apache-2.0 */
/* server/server: puts the parts together, loads the models beside the loops, and ends in order. */
#include "server/server.h"

#include <stdio.h>
#include <string.h>

#include "core/cpu.h"
#include "core/fsops.h"
#include "core/service.h"
#include "core/term.h"
#include "engine/tools.h"
#include "server/parts.h"
#include "server/web_socket.h"

#define LEAST_PIXELS (512u << 20) /* bytes of decoded pictures at a time, else an eighth of memory */
#define CUT_S 0.5                 /* after the deadline, that refusals of what is left need to go out */
#define CANCEL_S 1.5              /* that a download may need to notice that it is to end */
#define MOST_FILE (16u << 20)     /* bytes of keys or a certificate */
#define FLUSH_S 1.0               /* for the last lines of the log */
#define LEAST_BODIES (256u << 20) /* bytes of bodies that may be in memory at a time, else an eighth of it */

static uint64_t number(const tkr_server *server, tkr_setting_id id) {
    return tkr_setting_of(server->settings, id)->number;
}
static double real(const tkr_server *server, tkr_setting_id id) { return tkr_setting_of(server->settings, id)->real; }
static const char *text(const tkr_server *server, tkr_setting_id id) {
    return tkr_setting_of(server->settings, id)->text;
}

/* ---- for routes ---- */

tkr_models *tkr_server_models(tkr_server *server) { return server->models; }
tkr_scheduler *tkr_server_scheduler(tkr_server *server) { return server->scheduler; }
const tkr_settings *tkr_server_settings(const tkr_server *server) { return server->settings; }
tkr_metrics *tkr_server_metrics(tkr_server *server) { return server->metrics; }
tkr_cache *tkr_server_cache(tkr_server *server) { return server->cache; }
tkr_transport *tkr_server_transport(tkr_server *server) { return server->transport; }

bool tkr_server_is_ready(const tkr_server *server, const char **why) {
    const int phase = atomic_load(&server->phase);
    *why = phase == TKR_PHASE_LOADING   ? "the models are being loaded"
           : phase == TKR_PHASE_LEAVING ? "the server is shutting down"
                                        : NULL;
    return phase == TKR_PHASE_READY;
}

/* Logs what was done, in the new file where that could be opened. */
static tkr_status reload_files(tkr_server *server, tkr_error *error) {
    const char *file = text(server, TKR_SET_LOG_FILE), *keys = text(server, TKR_SET_KEYS_FILE);
    tkr_error why = {.status = TKR_OK}, of_keys = {.status = TKR_OK};
    if (tkr_logging_reopen(server->logging, &why) != TKR_OK)
        tkr_log_line(&server->log, TKR_LOG_ERROR, "the log can't be opened again, and goes on in the old file: %s",
                     why.message);
    else if (file)
        tkr_log_line(&server->log, TKR_LOG_INFO, "%s: opened again", file);
    if (tkr_auth_reload(server->auth, true, &of_keys) != TKR_OK)
        tkr_log_line(&server->log, TKR_LOG_ERROR, "the keys stay as they were: %s", of_keys.message);
    else if (keys)
        tkr_log_line(&server->log, TKR_LOG_INFO, "%s: read again", keys);
    if (of_keys.status != TKR_OK) why = of_keys;
    if (why.status != TKR_OK && error) *error = why;
    return why.status;
}

bool tkr_server_reload(tkr_server *server, tkr_error *error) {
    tkr_error why = {.status = TKR_OK};
    const tkr_status files = reload_files(server, error), certificate = tkr_transport_reload(server->transport, &why);
    if (files == TKR_OK && certificate != TKR_OK) *error = why;
    return files == TKR_OK && certificate == TKR_OK;
}

/* ---- loop 0's events ---- */

static void leave(tkr_server *server, double seconds) {
    const double end_at = tkr_now() + seconds;
    if (!server->draining || end_at < server->end_at) server->end_at = end_at;
    server->draining = true;
    tkr_transport_drain(server->transport, seconds);
}

/* A download ends when it is told to; reading and packing weights can't be stopped, and may take minutes: then the
 * program ends in the middle of it, which leaves nothing on the disk that needs repair. */
static void watch_loads(tkr_server *server, double end_at, bool failed) {
    const double now = tkr_now();
    if (now < end_at - CANCEL_S || !tkr_models_are_loading(server->models)) return;
    tkr_models_leave(server->models);
    if (now < end_at) return;
    tkr_log_line(&server->log, TKR_LOG_INFO, "a model is still being loaded: ending without it");
    tkr_logging_flush(server->logging, FLUSH_S);
    tkr_program_end(failed);
}

static void on_tick(void *user) {
    tkr_server *server = user;
    const double now = tkr_now();
    tkr_error error;
    if (server->draining) {
        watch_loads(server, server->end_at + CUT_S, atomic_load(&server->load_failed));
    } else if (atomic_load(&server->load_failed)) {
        leave(server, 0);
    } else if (atomic_load(&server->phase) == TKR_PHASE_LEAVING && now >= server->leave_at) {
        leave(server, real(server, TKR_SET_DRAIN_TIMEOUT));
    } else if (now >= server->ticked + 1) {
        server->ticked = now;
        tkr_models_tick(server->models);
        if (tkr_auth_reload(server->auth, false, &error) != TKR_OK)
            tkr_log_line(&server->log, TKR_LOG_ERROR, "the keys stay as they were: %s", error.message);
    }
}

static void on_reload(void *user) {
    tkr_server *server = user;
    const bool ready = atomic_load(&server->phase) == TKR_PHASE_READY;
    char state[64];
    (void)snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%.0f", tkr_now() * 1e6);
    if (ready) tkr_service_notify(state);
    (void)reload_files(server, NULL);
    if (ready) tkr_service_notify("READY=1");
}

/* The first time politely, the second time at once. */
static void on_terminate(void *user) {
    tkr_server *server = user;
    const int before = atomic_exchange(&server->phase, TKR_PHASE_LEAVING);
    const bool again = before == TKR_PHASE_LEAVING;
    const double grace = real(server, TKR_SET_DRAIN_GRACE);
    tkr_log_line(&server->log, TKR_LOG_INFO,
                 again ? "told again to end: cutting what is left" : "told to end: waiting for the answers under way");
    if (!again) tkr_service_notify("STOPPING=1");
    if (before == TKR_PHASE_LOADING) tkr_models_leave(server->models); /* nobody waits for what it loads */
    if (again)
        leave(server, 0);
    else if (grace > 0)
        server->leave_at = tkr_now() + grace;
    else
        leave(server, real(server, TKR_SET_DRAIN_TIMEOUT));
}

static void on_batch(void *user, size_t n_items, size_t n_tokens, double seconds) {
    tkr_metrics_batch(((tkr_server *)user)->metrics, n_items, n_tokens, seconds);
}

/* ---- before the start ---- */

/* The names that the engine would refuse once a model is opened. */
static tkr_status check_names(const tkr_settings *settings, tkr_error *error) {
    const char *cpu = tkr_setting_of(settings, TKR_SET_CPU)->text;
    tkr_status status = TKR_OK;
    for (size_t i = 0; i <= settings->n_models && status == TKR_OK; i++) {
        const tkr_model_entry *entry = i > 0 ? &settings->models[i - 1] : NULL;
        const char *device = tkr_setting_of(settings, TKR_SET_DEVICE)->text;
        const char *pooling = tkr_setting_of(settings, TKR_SET_POOLING)->text;
        if (entry) {
            device = entry->device ? entry->device : tkr_setting_of_others(settings, TKR_SET_DEVICE)->text;
            pooling = entry->pooling ? entry->pooling : tkr_setting_of_others(settings, TKR_SET_POOLING)->text;
            if (pooling && *pooling == '\0') pooling = NULL;
        }
        status = tkr_tools_check_names(device, pooling, cpu, error);
        if (status != TKR_OK && entry) status = tkr_error_prefix(error, status, "%s", entry->origin);
    }
    return status;
}

tkr_status tkr_server_check(const tkr_settings *settings, tkr_error *error) {
    const char *certificate = tkr_setting_of(settings, TKR_SET_TLS_CERT)->text;
    const tkr_log silent = {0};
    tkr_auth *auth = NULL;
    tkr_cache *cache = NULL;
    tkr_status status = tkr_settings_check_files(settings, error);
    if (status == TKR_OK) status = check_names(settings, error);
    if (status == TKR_OK) status = tkr_auth_create(&auth, settings, error);
    if (status == TKR_OK && certificate)
        status = tkr_transport_check_tls(certificate, tkr_setting_of(settings, TKR_SET_TLS_KEY)->text, error);
    if (status == TKR_OK) status = tkr_cache_create(&cache, settings, &silent, error);
    tkr_auth_free(&auth);
    tkr_cache_free(&cache);
    return status;
}

tkr_status tkr_server_check_models(const tkr_settings *settings, void (*warn)(void *user, const char *line), void *user,
                                   tkr_error *error) {
    tkr_model_options options;
    tkr_model_options_init(&options);
    options.cache_dir = tkr_setting_of(settings, TKR_SET_CACHE_DIR)->text;
    options.offline = tkr_setting_on(settings, TKR_SET_OFFLINE);
    tkr_status status = TKR_OK;
    for (size_t i = 0; i <= settings->n_models && status == TKR_OK; i++) {
        const tkr_model_entry *entry = i > 0 ? &settings->models[i - 1] : NULL;
        tkr_error why = {.status = TKR_OK};
        status = tkr_tools_check_reference(entry ? entry->name : tkr_setting_of(settings, TKR_SET_MODEL)->text,
                                           &options, &why);
        if (status == TKR_OK) continue;
        if (entry) tkr_error_prefix(&why, status, "%s", entry->origin);
        if (entry && entry->lazy) {
            warn(user, why.message);
            status = TKR_OK;
        } else if (error) {
            *error = why;
        }
    }
    return status;
}

/* ---- creation ---- */

/* Where it listens: descriptors from the service manager in place of host and port. */
typedef struct places {
    const char *addresses[64];
    char storage[64][128];
    size_t n;
} places;

static tkr_status add_place(places *p, tkr_error *error, const char *format, const char *a, unsigned long long b) {
    if (p->n == 64) return TKR_FAIL(error, LIMIT, "more than 64 addresses to listen on");
    const int n = snprintf(p->storage[p->n], sizeof p->storage[0], format, a, b);
    if (n < 0 || (size_t)n >= sizeof p->storage[0])
        return TKR_FAIL(error, INVALID_ARGUMENT, "the address %s is too long", a);
    p->addresses[p->n] = p->storage[p->n];
    p->n++;
    return TKR_OK;
}

static tkr_status choose_places(places *p, tkr_server *server, tkr_error *error) {
    const char *host = text(server, TKR_SET_HOST);
    const size_t n_adopted = tkr_service_sockets();
    tkr_status status = TKR_OK;
    for (size_t i = 0; status == TKR_OK && i < n_adopted; i++)
        status = add_place(p, error, "fd:%s%llu", "", TKR_SERVICE_FIRST_SOCKET + i);
    if (status == TKR_OK && n_adopted == 0)
        status = add_place(p, error, strchr(host, ':') && host[0] != '[' ? "[%s]:%llu" : "%s:%llu", host,
                           number(server, TKR_SET_PORT));
    if (status == TKR_OK && text(server, TKR_SET_SOCKET))
        status = add_place(p, error, "unix:%s%.0llu", text(server, TKR_SET_SOCKET), 0);
    if (status == TKR_OK && text(server, TKR_SET_ADMIN_SOCKET)) {
        server->admin_listener = p->n;
        status = add_place(p, error, "private:%s%.0llu", text(server, TKR_SET_ADMIN_SOCKET), 0);
    }
    return status;
}

static tkr_status open_transport(tkr_server *server, tkr_error *error) {
    places *p = tkr_calloc(1, sizeof *p);
    if (!p) return TKR_FAIL(error, NO_MEMORY, "no memory for the server");
    tkr_status status = choose_places(p, server, error);
    tkr_machine machine;
    tkr_machine_read(&machine);
    const uint64_t workers = number(server, TKR_SET_WORKERS);
    server->max_reply = (size_t)(machine.memory / 8 > LEAST_BODIES ? machine.memory / 8 : LEAST_BODIES);
    const tkr_transport_options options = {
        .addresses = p->addresses,
        .n_addresses = p->n,
        .unix_mode = 0660,
        .n_loops = workers ? (unsigned)workers : 1 + machine.n_threads / 5,
        .tls_certificate = text(server, TKR_SET_TLS_CERT),
        .tls_key = text(server, TKR_SET_TLS_KEY),
        .max_head = (size_t)number(server, TKR_SET_MAX_HEADER),
        .max_bodies = server->max_reply,
        .max_connections = (size_t)number(server, TKR_SET_MAX_CONNECTIONS),
        .max_connections_per_peer = (size_t)number(server, TKR_SET_MAX_PER_ADDRESS),
        .read_timeout = real(server, TKR_SET_READ_TIMEOUT),
        .write_timeout = 30,
        .idle_timeout = real(server, TKR_SET_IDLE_TIMEOUT),
        .wait_timeout = real(server, TKR_SET_TIMEOUT),
        .ping_interval = 30,
        .max_message = (size_t)number(server, TKR_SET_MAX_BODY),
        .max_ws_queue = 8u << 20,
        .max_ws = (size_t)number(server, TKR_SET_MAX_WS),
        .compress = true,
        .log = server->log,
    };
    tkr_http_app app = {0};
    tkr_http_app_init(&app, server);
    tkr_web_socket_app_init(&app);
    app.tick = on_tick;
    app.reload = on_reload;
    app.terminate = on_terminate;
    if (status == TKR_OK) status = tkr_transport_create(&server->transport, &options, &app, error);
    tkr_free(p);
    return status;
}

/* Gives root up. Sockets go to the user, so that its group can connect; what it can't read is told now, not at the
 * SIGHUP that fails for it. */
static tkr_status become_user(tkr_server *server, tkr_error *error) {
    static const tkr_setting_id sockets[] = {TKR_SET_SOCKET, TKR_SET_ADMIN_SOCKET};
    static const tkr_setting_id files[] = {TKR_SET_KEYS_FILE, TKR_SET_TLS_CERT, TKR_SET_TLS_KEY};
    const char *user = text(server, TKR_SET_USER);
    tkr_error why;
    if (!user) return TKR_OK;
    for (size_t i = 0; i < sizeof sockets / sizeof *sockets; i++) {
        const char *path = text(server, sockets[i]);
        if (path && tkr_user_give(user, path, &why) != TKR_OK)
            tkr_log_line(&server->log, TKR_LOG_WARNING, "%s", why.message);
    }
    const tkr_status status = tkr_user_become(user, error);
    for (size_t i = 0; i < sizeof files / sizeof *files && status == TKR_OK; i++) {
        const char *path = text(server, files[i]);
        tkr_buf content = {0};
        if (path && tkr_file_read(&content, path, MOST_FILE, &why) != TKR_OK)
            tkr_log_line(&server->log, TKR_LOG_WARNING, "user %s can't read %s again at SIGHUP: %s", user,
                         tkr_settings_table[files[i]].key, why.message);
        tkr_buf_free(&content);
    }
    return status;
}

static tkr_status open_scheduler(tkr_server *server, tkr_error *error) {
    const tkr_scheduler_options options = {
        .max_queued_tokens = (size_t)number(server, TKR_SET_MAX_QUEUE),
        .max_batch_items = (size_t)number(server, TKR_SET_MAX_BATCH_SIZE),
        .quantum_s = real(server, TKR_SET_QUANTUM) / 1000,
        .bulk_tokens = (size_t)number(server, TKR_SET_BULK_TOKENS),
        .bulk_share = real(server, TKR_SET_BULK_SHARE),
    };
    const tkr_status status = tkr_scheduler_create(&server->scheduler, &options, error);
    if (status == TKR_OK) tkr_scheduler_on_batch(server->scheduler, on_batch, server);
    return status;
}

static tkr_status open_crews(tkr_server *server, tkr_error *error) {
    tkr_machine machine;
    tkr_machine_read(&machine);
    const uint64_t given = number(server, TKR_SET_PICTURE_MEMORY), part = machine.memory / 8;
    server->max_pixel_bytes = (size_t)(given ? given : part > LEAST_PIXELS ? part : LEAST_PIXELS);
    const unsigned n = machine.n_threads < 4 ? 4 : machine.n_threads > 16 ? 16 : machine.n_threads;
    const tkr_status status = tkr_crew_create(&server->crew, n, 4096, error);
    return status == TKR_OK ? tkr_crew_create(&server->loader, 1, 1024, error) : status;
}

tkr_status tkr_server_create(tkr_server **out, const tkr_settings *settings, tkr_error *error) {
    tkr_server *server = tkr_calloc(1, sizeof *server);
    if (!server) return TKR_FAIL(error, NO_MEMORY, "no memory for the server");
    server->settings = settings;
    server->admin_listener = SIZE_MAX;
    tkr_status status = tkr_logging_open(&server->logging, settings, error);
    if (status == TKR_OK) {
        server->log = tkr_logging_hook(server->logging);
        status = tkr_auth_create(&server->auth, settings, error);
    }
    if (status == TKR_OK) status = open_transport(server, error);
    if (status == TKR_OK) status = become_user(server, error);
    if (status == TKR_OK) status = tkr_metrics_create(&server->metrics, error);
    if (status == TKR_OK) status = tkr_cache_create(&server->cache, settings, &server->log, error);
    if (status == TKR_OK) status = tkr_trace_create(&server->trace, settings, &server->log, error);
    if (status == TKR_OK) status = tkr_models_create(&server->models, settings, &server->log, error);
    if (status == TKR_OK) status = open_scheduler(server, error);
    if (status == TKR_OK) status = open_crews(server, error);
    if (status != TKR_OK) {
        tkr_server_free(&server);
        return status;
    }
    *out = server;
    return TKR_OK;
}

/* Answers first, then who makes them, then where they go. */
void tkr_server_free(tkr_server **out) {
    if (!out || !*out) return;
    tkr_server *server = *out;
    tkr_thread_join(&server->load_thread);
    tkr_crew_free(&server->loader);
    if (server->scheduler) tkr_scheduler_stop(server->scheduler);
    tkr_crew_free(&server->crew);
    tkr_scheduler_free(&server->scheduler);
    tkr_transport_free(&server->transport);
    tkr_models_free(&server->models);
    tkr_trace_free(&server->trace);
    tkr_cache_free(&server->cache);
    tkr_metrics_free(&server->metrics);
    tkr_auth_free(&server->auth);
    tkr_logging_close(&server->logging);
    tkr_free(server);
    *out = NULL;
}

const char *tkr_server_url(const tkr_server *server, size_t index) {
    return tkr_transport_url(server->transport, index);
}

typedef struct each_model {
    void (*fn)(void *user, const char *name, const tkr_model_info *info);
    void *user;
} each_model;

static void pass_model(void *user, const tkr_served_model *model) {
    const each_model *to = user;
    to->fn(to->user, model->name, model->state == TKR_MODEL_READY ? model->info : NULL);
}

void tkr_server_each_model(tkr_server *server, void (*fn)(void *user, const char *name, const tkr_model_info *info),
                           void *user) {
    each_model to = {fn, user};
    tkr_models_each(server->models, pass_model, &to);
}

/* ---- running ---- */

static void load(void *arg) {
    tkr_server *server = arg;
    int loading = TKR_PHASE_LOADING;
    if (tkr_models_load_all(server->models, &server->load_error) != TKR_OK) {
        /* Told to end, it isn't loaded for that reason, or it doesn't matter any more. */
        if (atomic_load(&server->phase) != TKR_PHASE_LEAVING) atomic_store(&server->load_failed, true);
        return;
    }
    if (!atomic_compare_exchange_strong(&server->phase, &loading, TKR_PHASE_READY)) return;
    tkr_service_notify("READY=1");
    if (server->started) server->started(server->started_user);
}

/* The loops have ended: nobody waits for what is loaded. */
static void end_loads(tkr_server *server, bool failed) {
    const double end_at = tkr_now() + CANCEL_S;
    failed |= atomic_load(&server->load_failed);
    while (tkr_models_are_loading(server->models)) {
        watch_loads(server, end_at, failed);
        tkr_sleep(0.02);
    }
}

tkr_status tkr_server_run(tkr_server *server, void (*started)(void *user), void *user, tkr_error *error) {
    server->started = started;
    server->started_user = user;
    tkr_status status = tkr_thread_start(&server->load_thread, "tkr-load", load, server, error);
    if (status == TKR_OK) status = tkr_transport_run(server->transport, error);
    end_loads(server, status != TKR_OK);
    tkr_thread_join(&server->load_thread);
    if (status == TKR_OK && atomic_load(&server->load_failed)) {
        if (error) *error = server->load_error;
        status = server->load_error.status;
    }
    return status;
}
