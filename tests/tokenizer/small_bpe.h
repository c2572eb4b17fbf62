/* SPDX-License-Identifier: Apache-2.0 */
/* A byte-level BPE tokenizer.json in miniature, made at run time: Qwen's pattern, NFC, all 256 bytes, a few merges. */
#ifndef TKR_TEST_SMALL_BPE_H
#define TKR_TEST_SMALL_BPE_H

#include <stdbool.h>

#include "core/json.h"
#include "tokenizer/engine.h"

/* Fills `json`; false: out of memory. */
static inline bool small_bpe(tkr_buf *json) {
    static const char *const merges[] = {
        "t h",       "th e", "\xc4\xa0 a", "a b", "ab ab", "a a", "aa aa", "\xc3\xb0 \xc5\x81", "\xc4\xa0 \xc4\xa0",
        "e \xc4\xa0"};
    const size_t n_merges = sizeof merges / sizeof merges[0];
    bool ok = tkr_buf_printf(
        json, "%s",
        "{\"added_tokens\":[{\"id\":300,\"content\":\"<|end|>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":"
        "false,"
        "\"normalized\":false,\"special\":true},{\"id\":301,\"content\":\"   \",\"single_word\":false,\"lstrip\":true,"
        "\"rstrip\":false,\"normalized\":true,\"special\":false}],\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{"
        "\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":"
        "\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| "
        "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"},\"behavior\":"
        "\"Isolated\","
        "\"invert\":false},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":false,\"use_regex\":"
        "false}"
        "]},\"post_processor\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true},\"model\":{"
        "\"type\":\"BPE\",\"merges\":[");
    for (size_t i = 0; i < n_merges; i++) {
        ok = ok && tkr_buf_printf(json, "%s\"%s\"", i > 0 ? "," : "", merges[i]);
    }
    ok = ok && tkr_buf_printf(json, "],\"vocab\":{");
    for (size_t i = 0; i < 256 + n_merges; i++) {
        char piece[16];
        size_t n = 0;
        if (i < 256) {
            n = tkr_utf8_put(piece, tkr_tok_byte_char((uint8_t)i));
        } else {
            for (const char *c = merges[i - 256]; *c != '\0'; c++) {
                piece[n] = *c;
                n += *c != ' ';
            }
        }
        ok = ok && (i == 0 || tkr_buf_putc(json, ',')) && tkr_json_write_string(json, piece, n) &&
             tkr_buf_printf(json, ":%zu", i);
    }
    return ok && tkr_buf_printf(json, "}}}");
}

#endif
