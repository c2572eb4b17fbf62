/* SPDX-License-Identifier: Apache-2.0 */
/* core/value: values of options and settings as people write them: numbers within a range, sizes, choices, switches.
 * Refuses signs, blanks and anything that could be meant in two ways. */
#ifndef TKR_CORE_VALUE_H
#define TKR_CORE_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

typedef enum tkr_value_type {
    TKR_VALUE_FLAG, /* 1, true, yes, on; 0, false, no, off */
    TKR_VALUE_TEXT,
    TKR_VALUE_CHOICE, /* one of "a|b|c"; of "true|false" also the words of a FLAG */
    TKR_VALUE_COUNT,
    TKR_VALUE_BYTES, /* "512M", "1.5GiB", "1048576" */
    TKR_VALUE_REAL,
    TKR_VALUE_LIST, /* "a,b,c" */
    TKR_VALUE_WORDS /* on a command line: every word up to the next option */
} tkr_value_type;

typedef struct tkr_value_rule {
    tkr_value_type type;
    const char *choices; /* of a CHOICE */
    double min, max;     /* of COUNT, BYTES and REAL */
} tkr_value_rule;

/* Reads `text`: *number is a COUNT, BYTES, the index of a CHOICE or 1 for a FLAG that is on; *real a REAL, COUNT or
 * BYTES. TEXT, LIST and WORDS are passed over. Else TKR_INVALID_ARGUMENT: "<source> is "<text>", expected ...". */
tkr_status tkr_value_read(uint64_t *number, double *real, const tkr_value_rule *rule, const char *text,
                          const char *source, tkr_error *error);
/* Writes what would be right, such as "a whole number from 0 to 65535". */
void tkr_value_expected(char *out, size_t size, const tkr_value_rule *rule);
/* Parses "512M", "2G", "1.5GiB", "1048576" (powers of 1024). */
bool tkr_value_bytes(uint64_t *out, const char *text);

#endif
