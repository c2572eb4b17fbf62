/* SPDX-License-Identifier: Apache-2.0 */
/* core/json, pull reader: events over a byte range, no tree. Refuses all that RFC 8259 refuses, and depth over 64. */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/utf8.h"

enum { JR_MAX_DEPTH = 64 };

/* What may come next. */
enum {
    WANT_VALUE,       /* at the top */
    WANT_ITEM_OR_END, /* after [ */
    WANT_KEY_OR_END,  /* after { */
    WANT_COLON,       /* after a key */
    WANT_COMMA_OR_END,
    AT_END,
    FAILED
};

#define ONES UINT64_C(0x0101010101010101)
#define HIGHS UINT64_C(0x8080808080808080)

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the word scans below count bytes from the low end");

void tkr_jr_init(tkr_jr *reader, const char *text, size_t size, const char *what, tkr_error *error) {
    static const char empty[1] = "";
    *reader = (tkr_jr){.what = what, .error = error, .type = TKR_JR_NULL, .state = WANT_VALUE};
    reader->begin = text != NULL ? text : empty;
    reader->at = reader->begin;
    reader->end = reader->begin + size;
}

void tkr_jr_free(tkr_jr *reader) { tkr_buf_free(&reader->scratch); }

static tkr_jr_type set_failed(tkr_jr *reader) {
    reader->state = FAILED;
    reader->type = TKR_JR_ERROR;
    return TKR_JR_ERROR;
}

tkr_status tkr_jr_fail(tkr_jr *reader, const char *format, ...) {
    if (reader->state == FAILED) { /* the first error is the true one */
        return reader->error != NULL ? reader->error->status : TKR_FORMAT;
    }
    (void)set_failed(reader);
    char text[TKR_ERROR_MESSAGE_SIZE];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return TKR_FAIL(reader->error, FORMAT, "%s, byte %td: %s", reader->what, reader->at - reader->begin,
                    n >= 0 ? text : "malformed");
}

static bool fail(tkr_jr *reader, const char *message) {
    (void)tkr_jr_fail(reader, "%s", message);
    return false;
}

static bool fail_memory(tkr_jr *reader) {
    (void)TKR_FAIL(reader->error, NO_MEMORY, "%s: no memory to decode a value", reader->what);
    (void)set_failed(reader);
    return false;
}

static bool fail_expected(tkr_jr *reader, const char *expected) {
    if (reader->at == reader->end) {
        (void)tkr_jr_fail(reader, "ends too early, expected %s", expected);
    } else {
        unsigned c = (unsigned char)*reader->at;
        (void)tkr_jr_fail(reader,
                          c > 0x20 && c < 0x7F ? "unexpected '%c', expected %s" : "unexpected byte 0x%02x, expected %s",
                          (int)c, expected);
    }
    return false;
}

static void skip_space(tkr_jr *reader) {
    const char *at = reader->at, *end = reader->end;
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) {
        at++;
        uint64_t word;
        /* Indentation comes in long runs of blanks. */
        while ((size_t)(end - at) >= sizeof word && (memcpy(&word, at, sizeof word), word == 0x20 * ONES)) {
            at += sizeof word;
        }
    }
    reader->at = at;
}

/* ---- strings ---- */

/* The first byte from `at` that isn't plain: quote, backslash, control character or not ASCII; `end` if none. */
static const char *scan_plain(const char *at, const char *end) {
    uint64_t word;
    while ((size_t)(end - at) >= sizeof word) {
        memcpy(&word, at, sizeof word);
        uint64_t quote = word ^ (0x22 * ONES), slash = word ^ (0x5C * ONES);
        uint64_t hits = ((quote - ONES) & ~quote) | ((slash - ONES) & ~slash) | ((word - 0x20 * ONES) & ~word) | word;
        hits &= HIGHS;
        if (hits != 0) { /* a borrow can only mark bytes above the first true hit */
            return at + ((unsigned)__builtin_ctzll(hits) >> 3);
        }
        at += sizeof word;
    }
    while (at < end) {
        unsigned char c = (unsigned char)*at;
        if (c == '"' || c == '\\' || c < 0x20 || c >= 0x80) {
            break;
        }
        at++;
    }
    return at;
}

/* Advances over one or more non-ASCII characters. */
static bool scan_utf8(tkr_jr *reader) {
    size_t size = (size_t)(reader->end - reader->at), pos = 0;
    bool valid = true;
    while (pos < size && (unsigned char)reader->at[pos] >= 0x80) {
        size_t start = pos;
        (void)tkr_utf8_next(reader->at, size, &pos, &valid);
        if (!valid) {
            reader->at += start;
            return fail(reader, "invalid UTF-8 in a string");
        }
    }
    reader->at += pos;
    return true;
}

/* Four hex digits at reader->at. */
static bool read_hex4(tkr_jr *reader, uint32_t *out) {
    uint32_t value = 0;
    if (reader->end - reader->at < 4) {
        return fail(reader, "ends within a \\u escape");
    }
    for (int i = 0; i < 4; i++) {
        const int digit = tkr_hex_digit(reader->at[i]);
        if (digit < 0) {
            return fail(reader, "a \\u escape needs four hex digits");
        }
        value = value << 4 | (uint32_t)digit;
    }
    reader->at += 4;
    *out = value;
    return true;
}

/* After "\u". A pair of surrogate escapes is one code point; half a pair is none. */
static bool read_unicode_escape(tkr_jr *reader, uint32_t *out) {
    uint32_t high, low = 0;
    if (!read_hex4(reader, &high)) {
        return false;
    }
    if (high >= 0xD800 && high < 0xE000) {
        bool pair = high < 0xDC00 && reader->end - reader->at >= 2 && reader->at[0] == '\\' && reader->at[1] == 'u';
        if (pair) {
            reader->at += 2;
            if (!read_hex4(reader, &low)) {
                return false;
            }
        }
        if (low < 0xDC00 || low >= 0xE000) {
            return fail(reader, "a \\u escape of half a surrogate pair");
        }
        high = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
    }
    *out = high;
    return true;
}

/* At the character behind a backslash: appends what the escape stands for. */
static bool read_escape(tkr_jr *reader) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (reader->at == reader->end) {
        return fail(reader, "ends within a string");
    }
    char c = *reader->at;
    char text[4];
    size_t n = 1;
    if (c == 'u') {
        uint32_t code_point;
        reader->at++;
        if (!read_unicode_escape(reader, &code_point)) {
            return false;
        }
        n = tkr_utf8_put(text, code_point);
    } else {
        const char *found = c != '\0' ? strchr(from, c) : NULL;
        if (found == NULL) {
            return fail(reader, "unknown escape in a string");
        }
        text[0] = to[found - from];
        reader->at++;
    }
    return tkr_buf_append(&reader->scratch, text, n) || fail_memory(reader);
}

/* At the opening quote. Without escapes the result points into the input. */
static bool read_string(tkr_jr *reader, tkr_jr_type type) {
    const char *start = ++reader->at; /* of the part that is not in scratch yet */
    bool decoded = false;
    for (;;) {
        reader->at = scan_plain(reader->at, reader->end);
        if (reader->at == reader->end) {
            return fail(reader, "ends within a string");
        }
        unsigned char c = (unsigned char)*reader->at;
        if (c >= 0x80) {
            if (!scan_utf8(reader)) {
                return false;
            }
            continue;
        }
        if (c < 0x20) {
            return fail(reader, "a control character in a string must be escaped");
        }
        if (c == '\\' || decoded) {
            if (!decoded) {
                reader->scratch.size = 0;
            }
            decoded = true;
            if (!tkr_buf_append(&reader->scratch, start, (size_t)(reader->at - start))) {
                return fail_memory(reader);
            }
        }
        if (c == '"') {
            break;
        }
        reader->at++;
        if (!read_escape(reader)) {
            return false;
        }
        start = reader->at;
    }
    reader->string = decoded ? reader->scratch.data : start;
    reader->n_string = decoded ? reader->scratch.size : (size_t)(reader->at - start);
    reader->at++;
    reader->type = type;
    return true;
}

/* ---- numbers ---- */

typedef struct decimal {
    const char *digits; /* integer part and fraction as written, with the point */
    size_t n_digits;    /* bytes of them */
    bool negative, is_integer;
    bool exact; /* mantissa holds every digit */
    uint64_t mantissa;
    int64_t exponent; /* value = all digits * 10^exponent */
} decimal;

enum { EXPONENT_BOUND = 100000000 };

static bool is_digit(const tkr_jr *reader) {
    return reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9';
}

static bool read_digits(tkr_jr *reader, decimal *out) {
    if (!is_digit(reader)) {
        return fail_expected(reader, "a digit");
    }
    for (; is_digit(reader); reader->at++) {
        unsigned digit = (unsigned)(*reader->at - '0');
        out->exact = out->exact && out->mantissa <= (UINT64_MAX - 9) / 10;
        out->mantissa = out->exact ? out->mantissa * 10 + digit : out->mantissa;
    }
    return true;
}

static bool read_exponent(tkr_jr *reader, decimal *out) {
    reader->at++;
    bool minus = reader->at < reader->end && *reader->at == '-';
    if (reader->at < reader->end && (*reader->at == '-' || *reader->at == '+')) {
        reader->at++;
    }
    if (!is_digit(reader)) {
        return fail_expected(reader, "a digit");
    }
    int64_t value = 0;
    for (; is_digit(reader); reader->at++) {
        value = value < EXPONENT_BOUND ? value * 10 + (*reader->at - '0') : value;
    }
    out->exponent += minus ? -value : value;
    return true;
}

static bool read_decimal(tkr_jr *reader, decimal *out) {
    *out = (decimal){.exact = true, .is_integer = true};
    if (*reader->at == '-') {
        out->negative = true;
        reader->at++;
    }
    out->digits = reader->at;
    bool zero = reader->at < reader->end && *reader->at == '0';
    if (zero) {
        reader->at++; /* a digit behind it is an error of the next event */
    } else if (!read_digits(reader, out)) {
        return false;
    }
    if (reader->at < reader->end && *reader->at == '.') {
        const char *point = reader->at++;
        out->is_integer = false;
        if (!read_digits(reader, out)) {
            return false;
        }
        out->exponent = -(int64_t)(reader->at - point - 1);
    }
    out->n_digits = (size_t)(reader->at - out->digits);
    if (reader->at < reader->end && (*reader->at | 0x20) == 'e') {
        out->is_integer = false;
        return read_exponent(reader, out);
    }
    return true;
}

/* Correctly rounded by strtod, given as digits without a point, since the point depends on the locale. */
static bool slow_double(tkr_jr *reader, const decimal *in, double *out) {
    tkr_buf *text = &reader->scratch;
    text->size = 0;
    bool fits = true;
    for (size_t i = 0; i < in->n_digits && fits; i++) {
        fits = in->digits[i] == '.' || tkr_buf_putc(text, in->digits[i]);
    }
    if (!fits || !tkr_buf_printf(text, "e%" PRId64, in->exponent)) {
        return fail_memory(reader);
    }
    *out = strtod(text->data, NULL);
    return true;
}

static bool read_number(tkr_jr *reader) {
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const char *start = reader->at;
    decimal number;
    double value;
    if (!read_decimal(reader, &number)) {
        return false;
    }
    bool fast = number.exact && number.mantissa <= UINT64_C(1) << 53 && number.exponent >= -22 && number.exponent <= 22;
    if (fast) { /* both operands are exact, so one operation rounds correctly */
        value = (double)number.mantissa;
        value = number.exponent < 0 ? value / powers[-number.exponent] : value * powers[number.exponent];
    } else if (!slow_double(reader, &number, &value)) {
        return false;
    }
    if (value > DBL_MAX) {
        reader->at = start;
        return fail(reader, "a number is too large for a double");
    }
    reader->number = number.negative ? -value : value;
    reader->is_integer = number.is_integer && number.exact && number.mantissa <= (uint64_t)INT64_MAX + number.negative;
    reader->integer = 0;
    if (reader->is_integer) {
        reader->integer = number.negative ? (int64_t)(0 - number.mantissa) : (int64_t)number.mantissa;
    }
    reader->type = TKR_JR_NUMBER;
    return true;
}

/* ---- structure ---- */

static bool read_word(tkr_jr *reader, const char *word, size_t n, tkr_jr_type type) {
    if ((size_t)(reader->end - reader->at) < n || memcmp(reader->at, word, n) != 0) {
        return fail_expected(reader, "a value");
    }
    reader->at += n;
    reader->type = type;
    return true;
}

static bool open_container(tkr_jr *reader, bool object) {
    if (reader->depth == JR_MAX_DEPTH) {
        return fail(reader, "is nested deeper than 64 levels");
    }
    uint64_t bit = UINT64_C(1) << reader->depth;
    reader->stack[0] = object ? reader->stack[0] | bit : reader->stack[0] & ~bit;
    reader->depth++;
    reader->at++;
    reader->type = object ? TKR_JR_OBJECT : TKR_JR_ARRAY;
    reader->state = object ? WANT_KEY_OR_END : WANT_ITEM_OR_END;
    return true;
}

static void close_container(tkr_jr *reader, bool object) {
    reader->depth--;
    reader->at++;
    reader->type = object ? TKR_JR_OBJECT_END : TKR_JR_ARRAY_END;
    reader->state = WANT_COMMA_OR_END;
}

static bool read_value(tkr_jr *reader) {
    char c = '\0';
    skip_space(reader);
    if (reader->at < reader->end) {
        c = *reader->at;
    }
    reader->state = WANT_COMMA_OR_END;
    switch (c) {
    case '"': return read_string(reader, TKR_JR_STRING);
    case '{': return open_container(reader, true);
    case '[': return open_container(reader, false);
    case 't': return read_word(reader, "true", 4, TKR_JR_TRUE);
    case 'f': return read_word(reader, "false", 5, TKR_JR_FALSE);
    case 'n': return read_word(reader, "null", 4, TKR_JR_NULL);
    default:
        if (c == '-' || (c >= '0' && c <= '9')) {
            return read_number(reader);
        }
        return fail_expected(reader, "a value");
    }
}

static bool read_key(tkr_jr *reader) {
    skip_space(reader);
    if (reader->at == reader->end || *reader->at != '"') {
        return fail_expected(reader, "a key in quotes");
    }
    reader->state = WANT_COLON;
    return read_string(reader, TKR_JR_KEY);
}

static bool read_after_value(tkr_jr *reader) {
    skip_space(reader);
    bool at_end = reader->at == reader->end;
    if (reader->depth == 0) {
        if (!at_end) {
            return fail_expected(reader, "the end of the text");
        }
        reader->state = AT_END;
        reader->type = TKR_JR_END;
        return true;
    }
    bool object = (reader->stack[0] >> (reader->depth - 1) & 1) != 0;
    char c = at_end ? '\0' : *reader->at;
    if (c == ',') {
        reader->at++;
        return object ? read_key(reader) : read_value(reader);
    }
    if (c == (object ? '}' : ']')) {
        close_container(reader, object);
        return true;
    }
    return fail_expected(reader, object ? "',' or '}'" : "',' or ']'");
}

/* After [ or {. */
static bool read_first(tkr_jr *reader, bool object) {
    skip_space(reader);
    if (reader->at < reader->end && *reader->at == (object ? '}' : ']')) {
        close_container(reader, object);
        return true;
    }
    return object ? read_key(reader) : read_value(reader);
}

static bool read_colon(tkr_jr *reader) {
    skip_space(reader);
    if (reader->at == reader->end || *reader->at != ':') {
        return fail_expected(reader, "':'");
    }
    reader->at++;
    return read_value(reader);
}

tkr_jr_type tkr_jr_next(tkr_jr *reader) {
    switch (reader->state) {
    case WANT_VALUE: (void)read_value(reader); break;
    case WANT_ITEM_OR_END:
    case WANT_KEY_OR_END: (void)read_first(reader, reader->state == WANT_KEY_OR_END); break;
    case WANT_COLON: (void)read_colon(reader); break;
    case WANT_COMMA_OR_END: (void)read_after_value(reader); break;
    default: /* the end and the first failure are final */ break;
    }
    return reader->type;
}

bool tkr_jr_skip(tkr_jr *reader) {
    if (reader->type == TKR_JR_KEY) {
        (void)tkr_jr_next(reader);
    }
    if (reader->type == TKR_JR_OBJECT || reader->type == TKR_JR_ARRAY) {
        unsigned outside = reader->depth - 1;
        while (reader->type != TKR_JR_ERROR && reader->depth > outside) {
            (void)tkr_jr_next(reader);
        }
    }
    return reader->type != TKR_JR_ERROR;
}
