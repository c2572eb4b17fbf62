/* SPDX-License-Identifier: Apache-2.0 */
/* core/value: readers of single values, and what their messages say would be right. */
#include "core/value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool tkr_value_bytes(uint64_t *out, const char *text) {
    char *end = NULL;
    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    double value = strtod(text, &end), unit = 1;
    const char *letters = "KMGT";
    const char *letter = *end != '\0' ? strchr(letters, *end >= 'a' ? *end - 'a' + 'A' : *end) : NULL;
    if (letter != NULL) {
        unit = ldexp(1.0, 10 * (int)(letter - letters + 1));
        end++;
        end += *end == 'i';
    }
    end += *end == 'B';
    if (*end != '\0' || !isfinite(value) || value * unit > 1e18) {
        return false;
    }
    *out = (uint64_t)(value * unit);
    return true;
}

/* Index of `text` among "a|b|c"; SIZE_MAX when it is none of them. */
static size_t choice_index(const char *choices, const char *text) {
    size_t n_text = strlen(text);
    for (size_t index = 0; *choices != '\0'; index++) {
        size_t n = strcspn(choices, "|");
        if (n == n_text && memcmp(choices, text, n) == 0) {
            return index;
        }
        choices += n + (choices[n] == '|');
    }
    return SIZE_MAX;
}

/* 1, 0, or -1 for another word. */
static int flag_word(const char *text) {
    static const char *const words[2][4] = {{"0", "false", "no", "off"}, {"1", "true", "yes", "on"}};
    for (int on = 0; on < 2; on++) {
        for (size_t i = 0; i < 4; i++) {
            if (strcmp(text, words[on][i]) == 0) {
                return on;
            }
        }
    }
    return -1;
}

void tkr_value_expected(char *out, size_t size, const tkr_value_rule *rule) {
    const double mega = 1048576;
    const bool small = rule->min < mega;
    switch (rule->type) {
    case TKR_VALUE_FLAG: (void)snprintf(out, size, "1 or 0"); break;
    case TKR_VALUE_CHOICE: (void)snprintf(out, size, "one of %s", rule->choices); break;
    case TKR_VALUE_BYTES:
        (void)snprintf(out, size, "a size such as 512M or 2G, from %.0f%s", rule->min / (small ? 1024 : mega),
                       small ? "K" : "M");
        break;
    case TKR_VALUE_COUNT:
    case TKR_VALUE_REAL:
        (void)snprintf(out, size, "a%s number from %.10g to %.10g", rule->type == TKR_VALUE_COUNT ? " whole" : "",
                       rule->min, rule->max);
        break;
    case TKR_VALUE_TEXT: (void)snprintf(out, size, "a text"); break;
    case TKR_VALUE_LIST:
    case TKR_VALUE_WORDS: (void)snprintf(out, size, "texts"); break;
    }
}

static bool read_number(uint64_t *number, double *real, const tkr_value_rule *rule, const char *text) {
    if (rule->type == TKR_VALUE_BYTES) {
        if (!tkr_value_bytes(number, text)) {
            return false;
        }
        *real = (double)*number;
        return *real >= rule->min && *real <= rule->max;
    }
    char *end = NULL;
    if (text[0] < '0' || text[0] > '9') {
        return false; /* no sign, no blank, no "nan" */
    }
    if (text[strspn(text, rule->type == TKR_VALUE_COUNT ? "0123456789" : "0123456789.eE+-")] != '\0') {
        return false;
    }
    *real = strtod(text, &end);
    if (*end != '\0' || !(*real >= rule->min && *real <= rule->max)) {
        return false;
    }
    *number = (uint64_t)*real;
    return true;
}

tkr_status tkr_value_read(uint64_t *number, double *real, const tkr_value_rule *rule, const char *text,
                          const char *source, tkr_error *error) {
    char expected[128];
    bool right = true;
    switch (rule->type) {
    case TKR_VALUE_FLAG: {
        const int on = flag_word(text);
        right = on >= 0;
        *number = right ? (uint64_t)on : 0;
        break;
    }
    case TKR_VALUE_CHOICE: {
        const size_t index = choice_index(rule->choices, text);
        const int on = index == SIZE_MAX && strcmp(rule->choices, "true|false") == 0 ? flag_word(text) : -1;
        right = index != SIZE_MAX || on >= 0;
        *number = on < 0 ? index : on == 0;
        break;
    }
    case TKR_VALUE_COUNT:
    case TKR_VALUE_BYTES:
    case TKR_VALUE_REAL: right = read_number(number, real, rule, text); break;
    case TKR_VALUE_TEXT:
    case TKR_VALUE_LIST:
    case TKR_VALUE_WORDS: break;
    }
    if (right) {
        return TKR_OK;
    }
    tkr_value_expected(expected, sizeof expected, rule);
    return TKR_FAIL(error, INVALID_ARGUMENT, "%s is \"%s\", expected %s", source, text, expected);
}
