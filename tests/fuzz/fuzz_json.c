/* SPDX-License-Identifier: Apache-2.0 */
/* Pull reader, tree builder and writer on any bytes. Where the rules agree, jansson must agree on what is JSON. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/utf8.h"

static void demand(bool condition) {
    if (!condition) {
        abort();
    }
}

/* Walks all events. Sets *differs where jansson's rules are others: large integers, U+0000 in keys, deep nesting. */
static bool read_all(const char *text, size_t size, bool *differs) {
    tkr_error error = {.status = TKR_OK};
    tkr_jr reader;
    tkr_jr_init(&reader, text, size, "input", &error);
    unsigned depth = 0;
    tkr_jr_type type;
    do {
        type = tkr_jr_next(&reader);
        demand(reader.at >= reader.begin && reader.at <= reader.end);
        if (type == TKR_JR_KEY || type == TKR_JR_STRING) {
            demand(tkr_utf8_valid_prefix(reader.string, reader.n_string) == reader.n_string);
            *differs = *differs || (type == TKR_JR_KEY && memchr(reader.string, '\0', reader.n_string) != NULL);
        }
        if (type == TKR_JR_NUMBER) {
            demand(reader.number - reader.number == 0);
            demand(!reader.is_integer || (double)reader.integer == reader.number);
            /* An integer that became a double: jansson refuses it. It has no fraction and is large. */
            *differs = *differs || (!reader.is_integer && (reader.number >= 9.2e18 || reader.number <= -9.2e18));
        }
        depth += type == TKR_JR_OBJECT || type == TKR_JR_ARRAY;
        depth -= type == TKR_JR_OBJECT_END || type == TKR_JR_ARRAY_END;
        demand(type == TKR_JR_ERROR || (depth == reader.depth && depth <= 64));
    } while (type != TKR_JR_END && type != TKR_JR_ERROR);
    demand((type == TKR_JR_ERROR) == (error.status == TKR_FORMAT));
    /* jansson takes a NUL behind the value for the end. */
    *differs = *differs || (type == TKR_JR_ERROR && (strstr(error.message, "deeper than 64") != NULL ||
                                                     strstr(error.message, "unexpected byte 0x00") != NULL));
    tkr_jr_free(&reader);
    return type == TKR_JR_END;
}

static void skip_all(const char *text, size_t size, bool valid) {
    tkr_jr reader;
    tkr_jr_init(&reader, text, size, "input", NULL);
    tkr_jr_type first = tkr_jr_next(&reader);
    bool skipped = first != TKR_JR_ERROR && tkr_jr_skip(&reader);
    demand(!valid || skipped);
    demand((skipped && tkr_jr_next(&reader) == TKR_JR_END) == valid);
    tkr_jr_free(&reader);
}

static void write_and_read_back(const char *text, size_t size) {
    tkr_buf out = {0};
    json_t *value = NULL;
    demand(tkr_json_write_string(&out, text, size));
    demand(tkr_json_parse(&value, out.data, out.size, "own output", NULL) == TKR_OK && json_is_string(value));
    if (tkr_utf8_valid_prefix(text, size) == size) {
        demand(json_string_length(value) == size && memcmp(json_string_value(value), text, size) == 0);
    }
    json_decref(value);
    float number;
    if (size >= sizeof number) {
        memcpy(&number, text, sizeof number);
        out.size = 0;
        if (tkr_json_write_float(&out, number)) {
            float back = strtof(out.data, NULL);
            demand(back == number && signbit(back) == signbit(number));
        }
    }
    tkr_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data;
    bool differs = false;
    bool valid = read_all(text, size, &differs);
    skip_all(text, size, valid);
    json_error_t ignored;
    json_t *theirs = json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &ignored);
    demand(differs || valid == (theirs != NULL));
    json_t *ours = NULL;
    bool built = tkr_json_parse(&ours, text, size, "input", NULL) == TKR_OK;
    demand(!built || valid);
    demand(!built || theirs == NULL || json_equal(ours, theirs));
    json_t *no_doubles = json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &ignored);
    demand(differs || built == (no_doubles != NULL));
    json_decref(no_doubles);
    json_decref(theirs);
    json_decref(ours);
    write_and_read_back(text, size);
    return 0;
}
