/* SPDX-License-Identifier: Apache-2.0 */
/* The registry and the names that models are described with. A registered architecture without goldens fails here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/file.h"
#include "models/model.h"
#include "models/pooling.h"

static void every_architecture_has_goldens(void **state) {
    (void)state;
    size_t n = 0;
    for (const tkr_arch *const *arch = tkr_archs(); *arch; arch++, n++) {
        char path[600];
        snprintf(path, sizeof path, "%s/golden/%s", TKR_TEST_DIR, (*arch)->name);
        if (!tkr_path_is_dir(path)) fail_msg("architecture \"%s\" has no golden folder %s", (*arch)->name, path);
        for (size_t t = 0; (*arch)->model_types[t]; t++)
            assert_ptr_equal(tkr_arch_find((*arch)->model_types[t]), *arch);
    }
    assert_true(n > 0);
    assert_null(tkr_arch_find("nothing-of-the-kind"));
}

static void pooling_names(void **state) {
    (void)state;
    tkr_pool_mode modes[TKR_POOL_MODES];
    size_t n = 0;
    char text[96];
    tkr_error error = {TKR_OK, NULL, ""};
    assert_int_equal(tkr_pooling_parse(modes, &n, "lasttoken", &error), TKR_OK);
    assert_int_equal(n, 1);
    assert_int_equal(modes[0], TKR_POOL_LASTTOKEN);
    assert_int_equal(tkr_pooling_parse(modes, &n, "cls+max+mean+mean_sqrt_len+weightedmean+lasttoken", &error), TKR_OK);
    assert_int_equal(n, 6);
    tkr_pooling_text(text, sizeof text, modes, n);
    assert_string_equal(text, "cls+max+mean+mean_sqrt_len+weightedmean+lasttoken");
    static const char *const bad[] = {"", "average", "cls+", "+", "cls+cls+cls+cls+cls+cls+cls", "mean max"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(tkr_pooling_parse(modes, &n, bad[i], &error), TKR_INVALID_ARGUMENT);
}

static void activation_names(void **state) {
    (void)state;
    tkr_activation activation;
    tkr_error error = {TKR_OK, NULL, ""};
    assert_int_equal(tkr_activation_parse(&activation, "gelu", "config.json", &error), TKR_OK);
    assert_int_equal(activation, TKR_ACT_GELU_ERF);
    assert_int_equal(tkr_activation_parse(&activation, "gelu_pytorch_tanh", "config.json", &error), TKR_OK);
    assert_int_equal(activation, TKR_ACT_GELU_TANH);
    assert_int_equal(tkr_activation_parse(&activation, "mish", "config.json", &error), TKR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "config.json"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_architecture_has_goldens),
                                       cmocka_unit_test(pooling_names), cmocka_unit_test(activation_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
