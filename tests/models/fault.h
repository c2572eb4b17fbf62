/* SPDX-License-Identifier: Apache-2.0 */
/* A network with the N-th allocation failed, and stopped at the N-th operation, for every N: a clean status each time,
 * and no leak (seen by the address sanitizer). */
#ifndef TESTS_MODELS_FAULT_H
#define TESTS_MODELS_FAULT_H

#include "core/mem.h"
#include "network.h"

typedef struct fault {
    size_t at, seen;
} fault;

static inline bool fault_allows(void *user, char kind) {
    fault *f = user;
    return kind != 'a' || f->seen++ != f->at;
}

static inline tkr_status fault_stops(void *user) {
    fault *f = user;
    return f->seen++ == f->at ? TKR_CANCELLED : TKR_OK;
}

/* The run's status: with it a tensor or a message, and not both. */
static inline tkr_status fault_status(const network *n, const tkr_tensor *x) {
    tkr_error error = {TKR_OK, NULL, ""};
    const tkr_status status = tkr_ops_cpu.run_status(n->run, &error);
    assert_true(status == TKR_OK ? x != NULL : x == NULL && strlen(error.message) > 3);
    return status;
}

/* Binds in q4 and computes. `forward` gives the status of one pass; more than `least` allocations must be seen. */
static inline void fault_sweep(network *n, tkr_status (*forward)(network *, void *, const tkr_run_options *),
                               void *user, size_t least) {
    const tkr_run_options plain = {.chunk_rows = 16};
    const network_options options = {.mode = TKR_GEMM_Q4, .group = 32};
    const json_t *quantization = json_object_get(n->json, "quantization");
    tkr_error error = {TKR_OK, NULL, ""};
    for (size_t at = 0;; at++) {
        fault f = {.at = at};
        tkr_seam_set(fault_allows, &f);
        tkr_status status = network_bind(n, &options, quantization, &error);
        if (status == TKR_OK) status = forward(n, user, &plain);
        tkr_seam_set(NULL, NULL);
        tkr_arch_free(&n->model);
        tkr_ops_cpu.run_free(&n->run); /* or its buffers would be there the next time */
        assert_int_equal(tkr_ops_cpu.run_create(&n->run, n->backend, NULL), TKR_OK);
        if (f.seen <= at) {
            assert_int_equal(status, TKR_OK);
            assert_true(at > least);
            break;
        }
        assert_int_equal(status, TKR_NO_MEMORY);
    }
    assert_int_equal(network_bind(n, &options, quantization, &error), TKR_OK);
    for (size_t at = 0;; at++) {
        fault f = {.at = at};
        const tkr_run_options stopping = {.chunk_rows = 16, .check = fault_stops, .check_user = &f};
        const tkr_status status = forward(n, user, &stopping);
        if (f.seen <= at) break;
        assert_int_equal(status, TKR_CANCELLED);
    }
    assert_int_equal(forward(n, user, &plain), TKR_OK);
}

#endif
