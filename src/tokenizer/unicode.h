/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer/unicode: per code point, what each stage of the reference does with it. Tables are generated. */
#ifndef TKR_TOKENIZER_UNICODE_H
#define TKR_TOKENIZER_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TKR_UNI_CLEAN_DROP = 1 << 0,  /* BertNormalizer's clean_text removes it */
    TKR_UNI_CLEAN_SPACE = 1 << 1, /* ... turns it into a space */
    TKR_UNI_CJK = 1 << 2,         /* handle_chinese_chars puts spaces around it */
    TKR_UNI_MN = 1 << 3,          /* BertNormalizer's strip_accents removes it */
    TKR_UNI_PUNCT = 1 << 4,       /* punctuation of BertPreTokenizer and Punctuation */
    TKR_UNI_SPACE = 1 << 5,       /* White_Space */
    TKR_UNI_WORD = 1 << 6,        /* \w */
    TKR_UNI_DIGIT = 1 << 7,       /* Digits */
    TKR_UNI_NFD = 1 << 8,         /* has a canonical decomposition (Hangul syllables are not in the tables) */
    TKR_UNI_NFKD = 1 << 9,        /* has a compatibility decomposition that differs */
    TKR_UNI_CCC = 1 << 10,        /* combining class other than 0 */
    TKR_UNI_LOWER = 1 << 11,      /* lower-cases to something else */
    TKR_UNI_MARK = 1 << 12,       /* StripAccents removes it */
    TKR_UNI_LETTER = 1 << 13,     /* \p{L} of regular expressions */
    TKR_UNI_NUMBER = 1 << 14,     /* \p{N} */
    TKR_UNI_NFC = 1 << 15         /* may change under NFC; a text without such characters is in NFC */
};

/* Grapheme clusters, as far as Precompiled shows them. */
enum {
    TKR_UNI_ATTACHES = 1 << 0, /* Extend, SpacingMark, ZWJ: never begins a cluster */
    TKR_UNI_PREPEND = 1 << 1,
    TKR_UNI_CONTROL = 1 << 2,
    TKR_UNI_PICTOGRAPHIC = 1 << 3,
    TKR_UNI_CONSONANT = 1 << 4, /* Indic conjuncts */
    TKR_UNI_LINKER = 1 << 5,
    TKR_UNI_CONJUNCT_EXTEND = 1 << 6
};

extern const uint8_t tkr_uni_grapheme_index[], tkr_uni_grapheme[];
extern const uint8_t tkr_uni_index[];
extern const uint16_t tkr_uni_props[];
extern const uint32_t tkr_uni_nfd_key[], tkr_uni_nfd_pool[];
extern const uint32_t tkr_uni_nfkd_key[], tkr_uni_nfkd_pool[];
extern const uint32_t tkr_uni_lower_key[], tkr_uni_lower_pool[];
extern const uint16_t tkr_uni_nfd_at[], tkr_uni_nfkd_at[], tkr_uni_lower_at[];
extern const size_t tkr_uni_nfd_n, tkr_uni_nfkd_n, tkr_uni_lower_n, tkr_uni_ccc_n, tkr_uni_compose_n;
extern const uint32_t tkr_uni_ccc_first[], tkr_uni_ccc_last[];
extern const uint8_t tkr_uni_ccc_class[];
extern const uint32_t tkr_uni_compose_first[], tkr_uni_compose_second[], tkr_uni_compose_result[];

/* code_point <= 0x10FFFF */
static inline unsigned tkr_uni(uint32_t code_point) {
    return tkr_uni_props[(size_t)tkr_uni_index[code_point >> 7] * 128 + (code_point & 127)];
}

static inline unsigned tkr_uni_grapheme_props(uint32_t code_point) {
    return tkr_uni_grapheme[(size_t)tkr_uni_grapheme_index[code_point >> 7] * 128 + (code_point & 127)];
}

/* End of the cluster that begins at `begin` < size in valid UTF-8. Hangul syllables and flags count as single
 * characters: Precompiled treats a cluster of 6 bytes or more character by character anyway. */
size_t tkr_uni_cluster_end(const char *text, size_t size, size_t begin);

/* Full decomposition of one code point into out[TKR_UNI_MAX_PARTS]; returns how many, 1 when it stays as it is. */
enum { TKR_UNI_MAX_PARTS = 20 };
size_t tkr_uni_decompose(uint32_t out[TKR_UNI_MAX_PARTS], uint32_t code_point, bool compatible);
/* Lower case of one code point into out[TKR_UNI_MAX_PARTS]; returns how many. */
size_t tkr_uni_lower(uint32_t out[TKR_UNI_MAX_PARTS], uint32_t code_point);
uint8_t tkr_uni_combining_class(uint32_t code_point);
/* The canonical composition of two code points, 0 when there is none. */
uint32_t tkr_uni_compose(uint32_t first, uint32_t second);

#endif
