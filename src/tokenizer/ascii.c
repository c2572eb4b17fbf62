/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer/ascii: the fast way for words of ASCII characters: one pass over the input classifies, lower-cases and
 * looks the word up. A word with any other byte goes the general way, from its start to the next ASCII space or
 * punctuation; the components that give a plan promise that nothing reaches over these.
 */
#include "tokenizer/engine.h"

#include <string.h>

void tkr_tok_plan_ascii(tkr_tok *tok) {
    tkr_tok_ascii *plan = &tok->ascii;
    if (tok->normalized.n_nodes > 0 || tok->n_pre_tokenizers == 0) {
        return;
    }
    for (size_t c = 0; c < 256; c++) {
        plan->to[c] = (uint8_t)c;
        plan->class[c] = c < 128 ? TKR_TOK_ASCII_WORD : TKR_TOK_ASCII_SLOW;
    }
    for (size_t i = 0; i < tok->n_normalizers + tok->n_pre_tokenizers; i++) {
        const tkr_tok_stage *stage =
            i < tok->n_normalizers ? &tok->normalizers[i] : &tok->pre_tokenizers[i - tok->n_normalizers];
        if (stage->component->ascii == NULL) {
            return;
        }
        stage->component->ascii(stage->self, plan);
    }
    plan->usable = true;
}

static bool push_cached(tkr_tok_sink *sink, const tkr_tok_cached *entry, size_t at) {
    if (entry->n == 1) {
        return tkr_tok_sink_push(sink, entry->ids[0], at, at + entry->ends[0]);
    }
    size_t begin = at;
    for (size_t i = 0; i < entry->n; i++) {
        const size_t end = at + entry->ends[i];
        if (!tkr_tok_sink_push(sink, entry->ids[i], begin, end)) {
            return false;
        }
        begin = end;
    }
    return true;
}

/* raw[begin, end) is one word, its first 16 characters lower-cased in `key`. */
static bool push_word(const tkr_tok *tok, tkr_tok_scratch *scratch, tkr_tok_sink *sink, const char *raw,
                      tkr_tok_range word, const uint64_t key[2]) {
    const size_t n = word.end - word.begin;
    if (n <= TKR_TOK_CACHE_WORD) {
        tkr_tok_cached *entry = tkr_tok_cache_at(scratch->cache, key[0], key[1]);
        if (entry->length == n && entry->key[0] == key[0] && entry->key[1] == key[1]) {
            return push_cached(sink, entry, word.begin);
        }
    }
    tkr_tok_text *text = &scratch->text;
    size_t align_room = text->room;
    if (n > text->room && (!TKR_TOK_GROW(text->align, align_room, n) || !TKR_TOK_GROW(text->bytes, text->room, n))) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        text->bytes[i] = (char)tok->ascii.to[(uint8_t)raw[word.begin + i]];
    }
    if (!tkr_tok_word(tok, scratch, text->bytes, n)) {
        return false;
    }
    for (size_t i = 0; i < scratch->n_pieces; i++) {
        const tkr_tok_piece_out *piece = &scratch->pieces[i];
        if (!tkr_tok_sink_push(sink, piece->id, word.begin + piece->begin, word.begin + piece->end)) {
            return false;
        }
    }
    return true;
}

bool tkr_tok_encode_ascii(const tkr_tok *tok, tkr_tok_scratch *scratch, tkr_tok_sink *sink, const char *raw,
                          size_t begin, size_t end) {
    const uint8_t *class = tok->ascii.class, *to = tok->ascii.to;
    const uint8_t *bytes = (const uint8_t *)raw;
    scratch->work += end - begin;
    for (size_t i = begin; i < end;) {
        const size_t start = i;
        uint64_t key[2] = {0, 0};
        uint8_t kind = class[bytes[i]];
        if (kind == TKR_TOK_ASCII_SPACE) {
            i++;
            continue;
        }
        if (kind == TKR_TOK_ASCII_PUNCT) {
            key[0] = to[bytes[i++]];
        } else {
            size_t n = 0;
            for (; kind == TKR_TOK_ASCII_WORD && n < 8; n++) {
                key[0] |= (uint64_t)to[bytes[i++]] << (8 * n);
                kind = i < end ? class[bytes[i]] : TKR_TOK_ASCII_SPACE;
            }
            for (; kind == TKR_TOK_ASCII_WORD; n++) {
                key[1] |= n < 16 ? (uint64_t)to[bytes[i]] << (8 * (n - 8)) : 0;
                i++;
                kind = i < end ? class[bytes[i]] : TKR_TOK_ASCII_SPACE;
            }
        }
        if (kind == TKR_TOK_ASCII_SLOW) {
            while (i < end && (class[bytes[i]] == TKR_TOK_ASCII_WORD || class[bytes[i]] == TKR_TOK_ASCII_SLOW)) {
                i++;
            }
            if (!tkr_tok_general(tok, scratch, sink, raw, start, i)) {
                return false;
            }
            continue;
        }
        if (!push_word(tok, scratch, sink, raw, (tkr_tok_range){(uint32_t)start, (uint32_t)i}, key)) {
            return false;
        }
    }
    return true;
}
