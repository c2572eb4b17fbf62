/* SPDX-License-Identifier: Apache-2.0 */
/* Values as people write them: what is read, what is refused, and what is said then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/value.h"

static void sizes(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {{"0", 0},      {"1048576", 1048576}, {"512M", 512ull << 20}, {"2g", 2ull << 30}, {"1.5GiB", 3ull << 29},
                {"7KB", 7168}, {"3T", 3ull << 40}};
    static const char *const bad[] = {"", "M", "-1", "+1", " 1", "1X", "1MM", "1M ", "nan", "inf", "1e300", "9999999T"};
    uint64_t value = 0;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(tkr_value_bytes(&value, good[i].text));
        assert_true(value == good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(tkr_value_bytes(&value, bad[i]));
    }
}

static const tkr_value_rule flag = {TKR_VALUE_FLAG, NULL, 0, 0};
static const tkr_value_rule choice = {TKR_VALUE_CHOICE, "auto|f32|bf16", 0, 0};
static const tkr_value_rule truth = {TKR_VALUE_CHOICE, "true|false", 0, 0};
static const tkr_value_rule count = {TKR_VALUE_COUNT, NULL, 1, 1024};
static const tkr_value_rule real = {TKR_VALUE_REAL, NULL, 0.5, 60};
static const tkr_value_rule bytes = {TKR_VALUE_BYTES, NULL, 1024, 1e12};
static const tkr_value_rule large = {TKR_VALUE_BYTES, NULL, 1048576, 1e15};

static void good_values(void **state) {
    static const struct {
        const tkr_value_rule *rule;
        const char *text;
        uint64_t number;
        double real;
    } rows[] = {
        {&flag, "1", 1, 0},
        {&flag, "off", 0, 0},
        {&flag, "yes", 1, 0},
        {&choice, "auto", 0, 0},
        {&choice, "bf16", 2, 0},
        {&truth, "true", 0, 0},
        {&truth, "false", 1, 0},
        {&truth, "on", 0, 0},
        {&truth, "no", 1, 0},
        {&count, "1", 1, 1},
        {&count, "1024", 1024, 1024},
        {&count, "007", 7, 7},
        {&real, "0.5", 0, 0.5},
        {&real, "6e1", 60, 60},
        {&real, "2", 2, 2},
        {&bytes, "1K", 1024, 1024},
        {&large, "1M", 1048576, 1048576},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t number = 0;
        double value = 0;
        tkr_error error = {0};
        if (tkr_value_read(&number, &value, rows[i].rule, rows[i].text, "x", &error) != TKR_OK) {
            fail_msg("%s", error.message);
        }
        assert_true(number == rows[i].number && value == rows[i].real);
    }
}

static void bad_values(void **state) {
    static const struct {
        const tkr_value_rule *rule;
        const char *text, *says;
    } rows[] = {
        {&flag, "2", "--x is \"2\", expected 1 or 0"},
        {&flag, "", "--x is \"\", expected 1 or 0"},
        {&choice, "f3", "--x is \"f3\", expected one of auto|f32|bf16"},
        {&choice, "f32|bf16", "--x is \"f32|bf16\", expected one of auto|f32|bf16"},
        {&choice, "on", "--x is \"on\", expected one of auto|f32|bf16"},
        {&truth, "2", "--x is \"2\", expected one of true|false"},
        {&count, "0", "--x is \"0\", expected a whole number from 1 to 1024"},
        {&count, "1025", "--x is \"1025\", expected a whole number from 1 to 1024"},
        {&count, "1.0", "--x is \"1.0\", expected a whole number from 1 to 1024"},
        {&count, "99999999999999999999", "--x is \"99999999999999999999\", expected a whole number from 1 to 1024"},
        {&real, "nan", "--x is \"nan\", expected a number from 0.5 to 60"},
        {&real, "0x10", "--x is \"0x10\", expected a number from 0.5 to 60"},
        {&real, "1 ", "--x is \"1 \", expected a number from 0.5 to 60"},
        {&real, "1e999", "--x is \"1e999\", expected a number from 0.5 to 60"},
        {&bytes, "1", "--x is \"1\", expected a size such as 512M or 2G, from 1K"},
        {&large, "1K", "--x is \"1K\", expected a size such as 512M or 2G, from 1M"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t number = 0;
        double value = 0;
        tkr_error error = {0};
        assert_int_equal(tkr_value_read(&number, &value, rows[i].rule, rows[i].text, "--x", &error),
                         TKR_INVALID_ARGUMENT);
        assert_string_equal(error.message, rows[i].says);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(sizes), cmocka_unit_test(good_values),
                                       cmocka_unit_test(bad_values)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
