/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer/patterns: the regular expressions of GPT-2, Qwen and Llama 3 by hand, on the tables of what the reference's
 * \p{L}, \p{N} and \s are. Each function tries the alternatives of its pattern in order. */
#include "tokenizer/regex.h"
#include "tokenizer/unicode.h"

#include <string.h>

/* Classes of characters, as bits. */
enum { OTHER = 1, LETTER = 2, NUMBER = 4, SPACE = 8 /* but not CR and LF */, LINE = 16 };

static const uint8_t ascii_class[128] = {
    1, 1, 1, 1, 1, 1, 1, 1, 1, 8, 16, 8, 8, 16, 1, 1, /* HT LF VT FF CR */
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,  1, 1, 1,  1, 1, /*                */
    8, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,  1, 1, 1,  1, 1, /* space to slash */
    4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 1,  1, 1, 1,  1, 1, /* 0 to 9         */
    1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,  2, 2, 2,  2, 2, /* A to           */
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,  1, 1, 1,  1, 1, /* Z              */
    1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,  2, 2, 2,  2, 2, /* a to           */
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,  1, 1, 1,  1, 1, /* z              */
};

/* Class of the character at *at < size, which moves behind it. */
static inline unsigned next_class(const char *text, size_t size, size_t *at) {
    const uint8_t byte = (uint8_t)text[*at];
    if (byte < 0x80) {
        (*at)++;
        return ascii_class[byte];
    }
    const unsigned props = tkr_uni(tkr_utf8_next(text, size, at, NULL));
    return (props & TKR_UNI_LETTER)   ? LETTER
           : (props & TKR_UNI_NUMBER) ? NUMBER
           : (props & TKR_UNI_SPACE)  ? SPACE
                                      : OTHER;
}

/* End of the run of characters of `classes` that begins at `at`. */
static inline size_t run_of(const char *text, size_t size, size_t at, unsigned classes) {
    for (size_t next = at; at < size; at = next) {
        if (!(next_class(text, size, &next) & classes)) {
            break;
        }
    }
    return at;
}

/* Bytes of "'s|'t|'re|'ve|'m|'ll|'d" at an apostrophe, 0: none. Folding case, s is also U+017F. */
static size_t contraction(const char *text, size_t size, bool fold) {
    const uint8_t bits = fold ? 0x20 : 0;
    const uint8_t a = size > 1 ? (uint8_t)text[1] : 0, b = size > 2 ? (uint8_t)text[2] : 0;
    if (fold && a == 0xC5 && b == 0xBF) {
        return 3;
    }
    if (a >= 0x80) {
        return 0;
    }
    switch (a | bits) {
    case 's':
    case 't':
    case 'm':
    case 'd': return 2;
    case 'r':
    case 'v': return (b | bits) == 'e' ? 3 : 0;
    case 'l': return (b | bits) == 'l' ? 3 : 0;
    default: return 0;
    }
}

/* \s+(?!\S)|\s+ at white space: the whole run at the end of the text, else the run but its last character, if that
 * leaves anything. */
static size_t white_space(const char *text, size_t size, size_t at) {
    size_t end = at, last = at;
    for (size_t next = at; end < size; end = next) {
        if (!(next_class(text, size, &next) & (SPACE | LINE))) {
            return last > at ? last : end;
        }
        last = end;
    }
    return end;
}

const char tkr_tok_gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

size_t tkr_tok_tile_gpt2(const char *text, size_t size, size_t at) {
    if (text[at] == '\'') {
        const size_t n = contraction(text + at, size - at, false);
        if (n > 0) {
            return at + n;
        }
    }
    size_t next = at + (text[at] == ' ' && at + 1 < size);
    const unsigned class = next_class(text, size, &next);
    if (class & (LETTER | NUMBER | OTHER)) {
        return run_of(text, size, next, class);
    }
    return white_space(text, size, at);
}

static inline size_t tile_modern(const char *text, size_t size, size_t at, size_t most_digits) {
    if (text[at] == '\'') {
        const size_t n = contraction(text + at, size - at, true);
        if (n > 0) {
            return at + n;
        }
    }
    size_t next = at;
    unsigned class = next_class(text, size, &next);
    if (class == LETTER) {
        return run_of(text, size, next, LETTER);
    }
    if (class == NUMBER) {
        for (size_t n = 1, peek = next; n < most_digits && next < size; n++, next = peek) {
            if (next_class(text, size, &peek) != NUMBER) {
                break;
            }
        }
        return next;
    }
    if (class != LINE && next < size) {
        size_t peek = next;
        const unsigned second = next_class(text, size, &peek);
        if (second == LETTER) {
            return run_of(text, size, peek, LETTER);
        }
        if (text[at] == ' ' && second == OTHER) {
            class = OTHER;
            next = peek;
        }
    }
    if (class == OTHER) {
        return run_of(text, size, run_of(text, size, next, OTHER), LINE);
    }
    size_t line_end = 0; /* \s*[\r\n]+ goes to the last line end of the run */
    for (size_t i = at; i < size; i = next) {
        next = i;
        class = next_class(text, size, &next);
        if (!(class & (SPACE | LINE))) {
            break;
        }
        line_end = class == LINE ? next : line_end;
    }
    return line_end > 0 ? line_end : white_space(text, size, at);
}

static size_t tile_qwen2(const char *text, size_t size, size_t at) { return tile_modern(text, size, at, 1); }
static size_t tile_llama3(const char *text, size_t size, size_t at) { return tile_modern(text, size, at, 3); }

tkr_tok_tile_fn tkr_tok_known_pattern(const char *pattern, size_t n) {
#define MODERN(digits)                                                                                      \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" \
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
    static const struct {
        const char *pattern;
        tkr_tok_tile_fn tile;
    } known[] = {{tkr_tok_gpt2_pattern, tkr_tok_tile_gpt2},
                 {MODERN("\\p{N}"), tile_qwen2},
                 {MODERN("\\p{N}{1,3}"), tile_llama3}};
#undef MODERN
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strlen(known[i].pattern) == n && memcmp(known[i].pattern, pattern, n) == 0) {
            return known[i].tile;
        }
    }
    return NULL;
}
