/* SPDX-License-Identifier: Apache-2.0 */
/* Every architecture with the N-th allocation failed, and stopped at the N-th operation, for every N: a clean status,
 * and no leak (seen by the address sanitizer). */
#include "core/mem.h"
#include "network.h"

typedef struct fault {
    size_t at, seen;
} fault;

static bool allow(void *user, char kind) {
    fault *f = user;
    return kind != 'a' || f->seen++ != f->at;
}

static tkr_status stop(void *user) {
    fault *f = user;
    return f->seen++ == f->at ? TKR_CANCELLED : TKR_OK;
}

static tkr_status forward(network *n, const sequence *s, const tkr_run_options *options) {
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_ops_cpu.run_begin(n->run, options);
    tkr_tensor *x = tkr_arch_forward(n->model, n->run, &s->batch);
    const tkr_status status = tkr_ops_cpu.run_status(n->run, &error);
    assert_true(status == TKR_OK ? x != NULL : x == NULL && strlen(error.message) > 3);
    tkr_ops_cpu.release(n->run, &x);
    return status;
}

static void check_case(const char *folder) {
    network n;
    static sequence s;
    const tkr_run_options plain = {.chunk_rows = 16};
    network_prepare(&n, folder, NULL);
    const network_options options = {.mode = TKR_GEMM_Q4, .group = 32};
    sequence_of_case(&s, &n, network_inputs(&n) - 1);
    size_t failures = 0;
    for (size_t at = 0;; at++) {
        fault f = {.at = at};
        tkr_error error = {TKR_OK, NULL, ""};
        tkr_seam_set(allow, &f);
        tkr_status status = network_bind(&n, &options, json_object_get(n.json, "quantization"), &error);
        if (status == TKR_OK) status = forward(&n, &s, &plain);
        tkr_seam_set(NULL, NULL);
        tkr_arch_free(&n.model);
        tkr_ops_cpu.run_free(&n.run); /* or its buffers would be there the next time */
        assert_int_equal(tkr_ops_cpu.run_create(&n.run, n.backend, NULL), TKR_OK);
        if (f.seen <= at) break;
        assert_int_equal(status, TKR_NO_MEMORY);
        failures++;
    }
    assert_true(failures > 10);

    tkr_error error = {TKR_OK, NULL, ""};
    assert_int_equal(network_bind(&n, &options, json_object_get(n.json, "quantization"), &error), TKR_OK);
    for (size_t at = 0;; at++) {
        fault f = {.at = at};
        const tkr_run_options stopping = {.chunk_rows = 16, .check = stop, .check_user = &f};
        const tkr_status status = forward(&n, &s, &stopping);
        if (f.seen <= at) break;
        assert_int_equal(status, TKR_CANCELLED);
    }
    assert_int_equal(forward(&n, &s, &plain), TKR_OK);
    network_close(&n);
}

static void every_allocation_and_operation(void **state) {
    (void)state;
    for (const tkr_arch *const *arch = tkr_archs(); *arch; arch++)
        if (!(*arch)->vision) assert_true(each_case((*arch)->name, check_case) > 0);
    check_case("quant/mlx-qwen3-mixed");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_and_operation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
