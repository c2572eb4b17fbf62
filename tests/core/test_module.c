/* SPDX-License-Identifier: Apache-2.0 */
/* Where modules are looked for, and what is said of a file that is none. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/module.h"

#define NAME "tkr-module-of-a-test.so"
#define VARIABLE "TKR_MODULE_OF_A_TEST"

static void found(const char *expected) {
    char *path = NULL, real[4096];
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_module_find(&path, NAME, VARIABLE, &error) != TKR_OK) fail_msg("%s", error.message);
    assert_non_null(realpath(path, real));
    assert_string_equal(real, expected);
    tkr_free(path);
}

/* The environment's word is taken as it is; a file beside the program, below it, and in the lib of a prefix are found.
 */
static void where(void **state) {
    (void)state;
    static const char *const folders[] = {"tests", "tests/tkr-embed", "lib/tkr-embed"};
    char *path = NULL, build[4096], file[5200], folder[5000];
    tkr_error error = {TKR_OK, NULL, ""};
    assert_int_equal(unsetenv(VARIABLE), 0);
    assert_int_equal(tkr_module_find(&path, NAME, VARIABLE, &error), TKR_NOT_FOUND);
    assert_non_null(strstr(error.message, NAME));
    assert_null(path);
    assert_non_null(realpath(TKR_BUILD_DIR, build));
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(folder, sizeof folder, "%s/%s", build, folders[i]);
        snprintf(file, sizeof file, "%s/%s", folder, NAME);
        const bool was_there = tkr_path_is_dir(folder);
        assert_int_equal(tkr_mkdirs(folder, NULL), TKR_OK);
        assert_int_equal(tkr_file_write_atomic(file, "", 0, NULL), TKR_OK);
        found(file);
        assert_int_equal(unlink(file), 0);
        if (!was_there) assert_int_equal(rmdir(folder), 0);
    }
    assert_int_equal(setenv(VARIABLE, "/nonexistent/else.so", 1), 0);
    assert_int_equal(tkr_module_find(&path, NAME, VARIABLE, &error), TKR_OK);
    assert_string_equal(path, "/nonexistent/else.so");
    tkr_free(path);
    assert_int_equal(unsetenv(VARIABLE), 0);
}

static void no_modules(void **state) {
    (void)state;
    tkr_module *module = NULL;
    tkr_module_fn *symbol = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    assert_int_equal(tkr_module_open(&module, "/nonexistent/else.so", &error), TKR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "/nonexistent/else.so: cannot be loaded"));
    assert_int_equal(tkr_module_open(&module, __FILE__, &error), TKR_UNSUPPORTED);
    assert_null(module);
    tkr_module_close(&module);
    if (tkr_module_open(&module, "libm.so.6", &error) != TKR_OK) fail_msg("%s", error.message);
    assert_string_equal(tkr_module_path(module), "libm.so.6");
    assert_int_equal(tkr_module_symbol(&symbol, module, "no_such_function", &error), TKR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "no_such_function"));
    assert_null(symbol);
    assert_int_equal(tkr_module_symbol(&symbol, module, "cos", &error), TKR_OK);
    assert_non_null(symbol);
    tkr_module_close(&module);
    assert_null(module);
}

static bool allow(void *user, char kind) {
    (void)kind;
    return (*(int *)user)-- != 0;
}

static void without_memory(void **state) {
    (void)state;
    for (int n = 0; n < 2; n++) {
        tkr_module *module = NULL;
        int left = n;
        tkr_seam_set(allow, &left);
        const tkr_status status = tkr_module_open(&module, "libm.so.6", NULL);
        tkr_seam_set(NULL, NULL);
        assert_int_equal(status, TKR_NO_MEMORY);
        assert_null(module);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(where), cmocka_unit_test(no_modules),
                                       cmocka_unit_test(without_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
