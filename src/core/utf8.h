/* SPDX-License-Identifier: Apache-2.0 */
/* core/utf8: decoding with the replacement policy of Python's errors="replace" (maximal subparts, U+FFFD each). */
#ifndef TKR_CORE_UTF8_H
#define TKR_CORE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TKR_REPLACEMENT 0xFFFDu

/* Decodes one code point at text[*pos] (*pos < size), advances *pos by 1 to 4 bytes. Invalid: TKR_REPLACEMENT, and
 * *valid (nullable) is set to false, never to true. */
uint32_t tkr_utf8_next(const char *text, size_t size, size_t *pos, bool *valid);
/* Writes 1 to 4 bytes, returns how many. code_point <= 0x10FFFF and no surrogate. */
size_t tkr_utf8_put(char out[4], uint32_t code_point);
/* Byte offset of the first invalid sequence, or `size` when all is valid. Fast for ASCII. */
size_t tkr_utf8_valid_prefix(const char *text, size_t size);
/* What a hexadecimal digit stands for; -1: it is none. */
static inline int tkr_hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}
/* Code points of valid UTF-8. */
size_t tkr_utf8_count(const char *text, size_t size);
/* Whether a byte goes on with a character instead of beginning one. */
static inline bool tkr_utf8_goes_on(char c) { return ((unsigned char)c & 0xC0) == 0x80; }
/* Columns that a terminal needs for the text: 0 for combining marks, 2 for wide East Asian and emoji, else 1. */
size_t tkr_utf8_width(const char *text, size_t size);

#endif
