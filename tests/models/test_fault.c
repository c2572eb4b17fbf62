/* SPDX-License-Identifier: Apache-2.0 */
/* Every architecture with the N-th allocation failed, and stopped at the N-th operation, for every N: a clean status,
 * and no leak (seen by the address sanitizer). */
#include "fault.h"

static tkr_status forward(network *n, void *user, const tkr_run_options *options) {
    const sequence *s = user;
    tkr_ops_cpu.run_begin(n->run, options);
    tkr_tensor *x = tkr_arch_forward(n->model, n->run, &s->batch);
    const tkr_status status = fault_status(n, x);
    tkr_ops_cpu.release(n->run, &x);
    return status;
}

static void check_case(const char *folder) {
    network n;
    static sequence s;
    network_prepare(&n, folder, NULL);
    sequence_of_case(&s, &n, network_inputs(&n) - 1);
    fault_sweep(&n, forward, &s, 10);
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
