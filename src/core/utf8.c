/* SPDX-License-Identifier: Apache-2.0 */
/* core/utf8: decoding, encoding, validation and terminal width. Refuses overlong forms, surrogates and > U+10FFFF. */
#include "core/utf8.h"

#include <string.h>

#include "core/utf8_tables.h"

/* What a lead byte asks of its second byte; n is the number of continuation bytes, 0 for an invalid lead. */
typedef struct lead_rule {
    unsigned n, low, high;
} lead_rule;

static lead_rule rule_of(unsigned lead) {
    if (lead < 0xC2 || lead > 0xF4) {
        return (lead_rule){0, 0, 0};
    }
    if (lead < 0xE0) {
        return (lead_rule){1, 0x80, 0xBF};
    }
    if (lead < 0xF0) {
        return (lead_rule){2, lead == 0xE0 ? 0xA0u : 0x80u, lead == 0xED ? 0x9Fu : 0xBFu};
    }
    return (lead_rule){3, lead == 0xF0 ? 0x90u : 0x80u, lead == 0xF4 ? 0x8Fu : 0xBFu};
}

uint32_t tkr_utf8_next(const char *text, size_t size, size_t *pos, bool *valid) {
    const unsigned char *bytes = (const unsigned char *)text;
    size_t at = *pos;
    unsigned lead = bytes[at++];
    if (lead < 0x80) {
        *pos = at;
        return lead;
    }
    lead_rule rule = rule_of(lead);
    uint32_t c = lead & (0x3Fu >> rule.n);
    unsigned left = rule.n;
    unsigned low = rule.low, high = rule.high;
    while (left > 0 && at < size && bytes[at] >= low && bytes[at] <= high) {
        c = c << 6 | (bytes[at++] & 0x3Fu);
        low = 0x80;
        high = 0xBF;
        left--;
    }
    *pos = at; /* the bytes that did fit are one maximal subpart and become one replacement */
    if (rule.n > 0 && left == 0) {
        return c;
    }
    if (valid != NULL) {
        *valid = false;
    }
    return TKR_REPLACEMENT;
}

size_t tkr_utf8_put(char out[4], uint32_t code_point) {
    if (code_point < 0x80) {
        out[0] = (char)code_point;
        return 1;
    }
    size_t n = code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
    static const unsigned char mark[5] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = n - 1; i > 0; i--) {
        out[i] = (char)(0x80u | (code_point & 0x3Fu));
        code_point >>= 6;
    }
    out[0] = (char)(mark[n] | code_point);
    return n;
}

size_t tkr_utf8_valid_prefix(const char *text, size_t size) {
    size_t pos = 0;
    while (pos < size) {
        uint64_t word;
        if (size - pos >= sizeof word) {
            memcpy(&word, text + pos, sizeof word);
            if ((word & 0x8080808080808080u) == 0) {
                pos += sizeof word;
                continue;
            }
        }
        size_t next = pos;
        bool valid = true;
        (void)tkr_utf8_next(text, size, &next, &valid);
        if (!valid) {
            return pos;
        }
        pos = next;
    }
    return size;
}

size_t tkr_utf8_count(const char *text, size_t size) {
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        n += !tkr_utf8_goes_on(text[i]);
    }
    return n;
}

static bool in_ranges(const tkr_utf8_range *ranges, size_t n, uint32_t c) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c > ranges[middle].last) {
            low = middle + 1;
        } else if (c < ranges[middle].first) {
            high = middle;
        } else {
            return true;
        }
    }
    return false;
}

size_t tkr_utf8_width(const char *text, size_t size) {
    size_t width = 0;
    for (size_t pos = 0; pos < size;) {
        uint32_t c = tkr_utf8_next(text, size, &pos, NULL);
        if (c < 0x300) {
            width += 1;
        } else if (in_ranges(tkr_utf8_wide, tkr_utf8_n_wide, c)) {
            width += 2;
        } else {
            width += in_ranges(tkr_utf8_zero, tkr_utf8_n_zero, c) ? 0 : 1;
        }
    }
    return width;
}
