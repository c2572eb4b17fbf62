/* SPDX-License-Identifier: Apache-2.0 */
/* tests/cli/test_options: parsing of words and the layout helpers, apart from the program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "core/utf8.h"

/* Every row of the table must parse its own fallback, so that a run without options can start. */
static void test_table_rows(void **state) {
    (void)state;
    for (size_t c = 0; c < TKR_N_COMMANDS; c++) {
        tkr_cli_args args;
        tkr_error error = {0};
        assert_int_equal(tkr_cli_parse(&args, (tkr_cli_command_id)c, 0, NULL, &error), TKR_OK);
    }
    for (size_t i = 0; i < TKR_N_OPTIONS; i++) {
        const tkr_cli_option *a = &tkr_cli_options[i];
        assert_true((a->argument == NULL) == (a->type == TKR_VALUE_FLAG));
        assert_true(a->commands != 0 || a->flag[0] == '\0');
        for (size_t j = i + 1; j < TKR_N_OPTIONS; j++) { /* two of one name or letter never meet in a command */
            const tkr_cli_option *b = &tkr_cli_options[j];
            if ((a->commands & b->commands) != 0) {
                assert_string_not_equal(a->flag, b->flag);
                assert_true(a->letter == 0 || a->letter != b->letter);
            }
        }
    }
}

static void test_parse(void **state) {
    (void)state;
    char m[] = "-mabc", threads[] = "--threads=7", format[] = "--format", npy[] = "npy", end[] = "--", text[] = "-x";
    char *argv[] = {m, threads, format, npy, end, text};
    tkr_cli_args args;
    tkr_error error = {0};
    assert_int_equal(tkr_cli_parse(&args, TKR_CMD_EMBED, 6, argv, &error), TKR_OK);
    assert_string_equal(tkr_cli_get(&args, TKR_OPT_MODEL)->text, "abc");
    assert_true(tkr_cli_get(&args, TKR_OPT_THREADS)->number == 7);
    assert_true(tkr_cli_get(&args, TKR_OPT_FORMAT)->number == 2);
    assert_int_equal(args.n_operands, 1);
    assert_string_equal(args.operands[0], "-x");
}

static void cell_is(const char *text, size_t columns, bool pad, const char *wanted) {
    tkr_buf out = {0};
    tkr_cli_cell(&out, text, strlen(text), columns, pad);
    assert_false(out.failed);
    assert_string_equal(out.data != NULL ? out.data : "", wanted);
    assert_true(tkr_utf8_width(wanted, strlen(wanted)) <= columns);
    tkr_buf_free(&out);
}

static void test_cell(void **state) {
    (void)state;
    cell_is("abc", 5, true, "abc  ");
    cell_is("abc", 3, true, "abc");
    cell_is("abcd", 3, true, "ab\xE2\x80\xA6");
    cell_is("a\nb\x1b", 4, false, "a b ");
    cell_is("\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E", 5, true, "\xE6\x97\xA5\xE6\x9C\xAC\xE2\x80\xA6"); /* 2 + 2 + 1 */
    cell_is("\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E", 4, true, "\xE6\x97\xA5\xE2\x80\xA6 ");
    cell_is("\xFF", 3, true, "\xEF\xBF\xBD  ");
    cell_is("", 2, true, "  ");
}

static void test_words(void **state) {
    char text[32];
    (void)state;
    tkr_cli_number(text, 0);
    assert_string_equal(text, "0");
    tkr_cli_number(text, 999);
    assert_string_equal(text, "999");
    tkr_cli_number(text, 1234567);
    assert_string_equal(text, "1,234,567");
    tkr_cli_number(text, UINT64_MAX);
    assert_string_equal(text, "18,446,744,073,709,551,615");
    tkr_cli_bytes(text, 90868376, false);
    assert_string_equal(text, "90.9 MB");
    tkr_cli_bytes(text, 512ull << 20, true);
    assert_string_equal(text, "512 MiB");
    tkr_cli_bytes(text, 17, true);
    assert_string_equal(text, "17 B");
    tkr_cli_duration(text, 7.2);
    assert_string_equal(text, "0:07");
    tkr_cli_duration(text, 3723);
    assert_string_equal(text, "1:02:03");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table_rows), cmocka_unit_test(test_parse),
                                       cmocka_unit_test(test_cell), cmocka_unit_test(test_words)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
