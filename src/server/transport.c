/* SPDX-License-Identifier: Apache-2.0 */
/* server/transport: the whole: made from its options, run, drained, freed. */
#include "server/conn.h"

#include <string.h>

tkr_status tkr_transport_reload(tkr_transport *t, tkr_error *error) {
    tkr_error why = {.status = TKR_OK};
    if (!t->tls) return TKR_OK;
    if (tkr_tls_reload(t->tls, &why) == TKR_OK)
        tkr_log_line(&t->options.log, TKR_LOG_INFO, "%s: read again", t->options.tls_certificate);
    else
        tkr_log_line(&t->options.log, TKR_LOG_ERROR, "the certificate in use is kept: %s", why.message);
    if (why.status != TKR_OK && error) *error = why;
    return why.status;
}

static void on_signal(uv_signal_t *handle, int number) {
    tkr_transport *t = handle->data;
    if (number != SIGHUP) {
        if (t->app.terminate) t->app.terminate(t->app.user);
        return;
    }
    (void)tkr_transport_reload(t, NULL);
    if (t->app.reload) t->app.reload(t->app.user);
}

/* Descriptors for all connections, and for one more. */
static void prepare_descriptors(tkr_transport *t) {
    const size_t wanted = t->options.max_connections + TKR_OTHER_FDS, have = tkr_fd_limit(wanted);
    if (have < wanted) {
        const size_t fewer = have > 2 * TKR_OTHER_FDS ? have - TKR_OTHER_FDS : have / 2;
        tkr_log_line(&t->options.log, TKR_LOG_WARNING,
                     "this process may have %zu descriptors only: %zu connections in place of %zu", have, fewer,
                     t->options.max_connections);
        t->options.max_connections = fewer;
    }
    /* The kernel's table grows here, while there are few threads: later each growth would wait for all of them. */
    tkr_fd_close(tkr_fd_high(t->options.max_connections + TKR_OTHER_FDS - 1));
    t->spare = tkr_fd_spare();
}

tkr_status tkr_transport_create(tkr_transport **transport, const tkr_transport_options *options,
                                const tkr_http_app *app, tkr_error *error) {
    tkr_transport *t = tkr_calloc(1, sizeof *t);
    tkr_status status = TKR_OK;
    if (!t) return TKR_FAIL(error, NO_MEMORY, "no memory for the server");
    t->options = *options;
    t->app = *app;
    t->spare = -1;
    tkr_mutex_init(&t->peers.mutex);
    tkr_ignore_broken_pipes();
    (void)uv_replace_allocator(tkr_malloc, tkr_realloc, tkr_calloc, tkr_free);
    prepare_descriptors(t);
    t->loops = tkr_calloc(options->n_loops, sizeof *t->loops);
    t->polls = tkr_calloc(options->n_addresses, sizeof *t->polls);
    t->listeners = tkr_calloc(options->n_addresses, sizeof *t->listeners);
    if (!t->loops || !t->polls || !t->listeners) {
        status = TKR_FAIL(error, NO_MEMORY, "no memory for the server");
        t->options.n_addresses = t->options.n_loops = 0;
        goto fail;
    }
    if (options->tls_certificate) status = tkr_tls_create(&t->tls, options->tls_certificate, options->tls_key, error);
    if (status == TKR_OK) status = tkr_listen_open(t, error);
    for (unsigned i = 0; status == TKR_OK && i < options->n_loops; i++)
        status = tkr_loop_init(&t->loops[i], t, i, error);
    if (status != TKR_OK) goto fail;
    *transport = t;
    return TKR_OK;
fail:
    tkr_transport_free(&t);
    return status;
}

const char *tkr_transport_url(const tkr_transport *t, size_t i) {
    return i < t->options.n_addresses ? t->listeners[i].url : NULL;
}

static tkr_status start_signals(tkr_transport *t, tkr_error *error) {
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        int code = uv_signal_init(&t->loops[0].uv, &t->signals[i]);
        t->signals[i].data = t;
        if (code == 0) code = uv_signal_start(&t->signals[i], on_signal, numbers[i]);
        if (code != 0) return TKR_FAIL(error, NO_MEMORY, "signals can't be taken: %s", uv_strerror(code));
    }
    return TKR_OK;
}

static void run_loop(void *arg) { tkr_loop_run(arg); }

tkr_status tkr_transport_run(tkr_transport *t, tkr_error *error) {
    tkr_status status = start_signals(t, error);
    if (status == TKR_OK) status = tkr_listen_start(t, error);
    unsigned started = 1;
    while (status == TKR_OK && started < t->options.n_loops) {
        status = tkr_thread_start(&t->loops[started].thread, "tkr-http", run_loop, &t->loops[started], error);
        started += status == TKR_OK;
    }
    if (status != TKR_OK) {
        t->n_ended = t->options.n_loops - started; /* never to run */
        tkr_transport_drain(t, 0);
    }
    tkr_loop_run(t->loops);
    for (unsigned i = 1; i < t->options.n_loops; i++) tkr_thread_join(&t->loops[i].thread);
    return status;
}

void tkr_transport_drain(tkr_transport *t, double seconds) {
    const bool again = t->draining;
    const uint64_t cut_at = uv_now(&t->loops[0].uv) + tkr_milliseconds(seconds);
    t->draining = true;
    if (!again) tkr_listen_stop(t);
    for (unsigned i = 0; i < t->options.n_loops; i++) {
        /* Read by the loop only after the task has come. */
        if (!again || cut_at < atomic_load(&t->loops[i].cut_at)) atomic_store(&t->loops[i].cut_at, cut_at);
        if (!again) tkr_loop_post(&t->loops[i], &t->loops[i].drain);
    }
}

void tkr_transport_free(tkr_transport **transport) {
    if (!transport || !*transport) return;
    tkr_transport *t = *transport;
    for (size_t i = 0; i < t->options.n_loops; i++) tkr_loop_free(&t->loops[i]);
    for (size_t i = 0; i < t->options.n_addresses; i++) tkr_listener_close(&t->listeners[i]);
    tkr_tls_free(&t->tls);
    tkr_peers_free(&t->peers);
    tkr_fd_close(t->spare);
    tkr_free(t->loops);
    tkr_free(t->polls);
    tkr_free(t->listeners);
    tkr_free(t);
    *transport = NULL;
}

static uint64_t read_count(const atomic_uint_fast64_t *counter) {
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void tkr_transport_get_counts(tkr_transport_counts *counts, const tkr_transport *t) {
    *counts = (tkr_transport_counts){.accepted = read_count(&t->accepted),
                                     .refused = read_count(&t->refused),
                                     .connections = atomic_load(&t->n_connections),
                                     .waiting = atomic_load(&t->n_waiting),
                                     .web_sockets = atomic_load(&t->n_ws)};
    for (unsigned i = 0; i < t->options.n_loops; i++) {
        const tkr_loop_counts *loop = &t->loops[i].counts;
        counts->requests += read_count(&loop->requests);
        counts->faults += read_count(&loop->faults);
        counts->unread += read_count(&loop->unread);
        counts->bytes_in += read_count(&loop->bytes_in);
        counts->bytes_out += read_count(&loop->bytes_out);
    }
}
