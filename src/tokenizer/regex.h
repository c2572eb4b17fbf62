/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer/regex: regular expressions of tokenizer.json, written for Oniguruma (Ruby syntax). The well-known patterns
 * are hard-coded on the generated Unicode tables, the others run on PCRE2 with limits. Refuses what the two libraries
 * read differently.
 */
#ifndef TKR_TOKENIZER_REGEX_H
#define TKR_TOKENIZER_REGEX_H

#include "tokenizer/engine.h"

/* NULL when the pattern isn't one of the known. */
tkr_tok_tile_fn tkr_tok_known_pattern(const char *pattern, size_t n);
/* The pattern of ByteLevel's use_regex. */
size_t tkr_tok_tile_gpt2(const char *text, size_t size, size_t at);
extern const char tkr_tok_gpt2_pattern[];

typedef struct tkr_tok_regex tkr_tok_regex;
/* Known or compiled; owned by the tokenizer. TKR_UNSUPPORTED names the pattern and what is wrong with it. */
tkr_status tkr_tok_regex_add(const tkr_tok_regex **regex, tkr_tok_loader *loader, const char *pattern, size_t n);
/* The same through PCRE2 always: the reference of the hard-coded patterns in tests. */
tkr_status tkr_tok_regex_compile(const tkr_tok_regex **regex, tkr_tok_loader *loader, const char *pattern, size_t n);
/* NULL unless the pattern is a known one. */
tkr_tok_tile_fn tkr_tok_regex_tile(const tkr_tok_regex *regex);
void tkr_tok_regexes_free(tkr_tok *tok);

/* Walks through the matches in text[0, size), valid UTF-8 that begins at a character. */
typedef struct tkr_tok_search {
    const tkr_tok_regex *regex;
    tkr_tok_scratch *scratch;
    const char *text;
    size_t size;
    size_t begin, end; /* the match */
    size_t from;       /* private: where to look on */
    size_t last;       /* private: end of the last match, SIZE_MAX: none */
} tkr_tok_search;
#define TKR_TOK_SEARCH(regex, scratch, text, size) ((tkr_tok_search){regex, scratch, text, size, 0, 0, 0, SIZE_MAX})
typedef enum tkr_tok_found { TKR_TOK_FOUND, TKR_TOK_NOT_FOUND, TKR_TOK_SEARCH_FAILED } tkr_tok_found;
/* FAILED: out of memory, or the pattern exceeded its limits, then scratch->problem says so. */
tkr_tok_found tkr_tok_search_next(tkr_tok_search *search);
void tkr_tok_matching_free(struct tkr_tok_matching **matching);

#endif
