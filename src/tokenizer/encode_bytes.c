/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer/encode_bytes: the direct way for byte-level BPE. Where the normalizer changes nothing and a known pattern
 * cuts the words, they are taken from the raw text: no copy, no alignment, one look into the word cache each.
 */
#include "tokenizer/engine.h"
#include "tokenizer/unicode.h"

#include <string.h>

void tkr_tok_plan_bytes(tkr_tok *tok) {
    const tkr_tok_stage *stages = tok->pre_tokenizers;
    const size_t n = tok->n_pre_tokenizers;
    if (n == 0 || stages[n - 1].component != &tkr_pre_byte_level || tok->model.component != &tkr_model_bpe ||
        !tkr_tok_bpe_take_bytes(tok->model.self)) {
        return;
    }
    tkr_tok_byte_level_keep(stages[n - 1].self);
    const bool plain = n == 1 || (n == 2 && tkr_tok_byte_level_is_plain(stages[1].self));
    const bool nfc = tok->n_normalizers == 1 && tok->normalizers[0].component == &tkr_norm_nfc;
    if (!plain || stages[0].component->tile == NULL || (tok->n_normalizers > 0 && !nfc)) {
        return;
    }
    tok->bytes.tile = stages[0].component->tile(stages[0].self);
    tok->bytes.nfc = nfc;
}

/* Whether NFC leaves the text as it is, as far as single characters tell. */
bool tkr_tok_is_nfc(const char *text, size_t size) {
    for (size_t i = 0; i < size;) {
        uint64_t word;
        if (size - i >= sizeof word && (memcpy(&word, text + i, sizeof word), !(word & UINT64_C(0x8080808080808080)))) {
            i += sizeof word;
        } else if (tkr_uni(tkr_tok_next(text, size, &i)) & TKR_UNI_NFC) {
            return false;
        }
    }
    return true;
}

/* A token of raw[begin, end), which may be parts of characters; the offsets are those of whole ones. */
static bool push(tkr_tok_sink *sink, int32_t id, const char *raw, size_t size, size_t begin, size_t end) {
    if (sink->want_offsets) {
        while (begin > 0 && ((uint8_t)raw[begin] & 0xC0) == 0x80) {
            begin--;
        }
        while (end < size && ((uint8_t)raw[end] & 0xC0) == 0x80) {
            end++;
        }
    }
    return tkr_tok_sink_push(sink, id, begin, end);
}

/* text[at, at + n), n <= 16, as two words padded with zeros. */
static void load_key(uint64_t key[2], const char *text, size_t size, size_t at, size_t n) {
    if (size - at < 16) {
        key[0] = 0;
        key[1] = 0;
        memcpy(key, text + at, n);
        return;
    }
    memcpy(key, text + at, 16);
    if (n < 8) {
        key[0] &= ((uint64_t)1 << (8 * n)) - 1;
        key[1] = 0;
    } else if (n < 16) {
        key[1] &= ((uint64_t)1 << (8 * (n - 8))) - 1;
    }
}

typedef struct words {
    const tkr_tok *tok;
    tkr_tok_scratch *scratch;
    tkr_tok_sink *sink;
    const char *raw; /* ends where the words end */
    size_t begin, end;
} words;

/* The word raw[at, at + n). */
static bool push_word(const words *w, size_t at, size_t n) {
    tkr_tok_scratch *scratch = w->scratch;
    if (n <= TKR_TOK_CACHE_WORD) {
        uint64_t key[2];
        load_key(key, w->raw, w->end, at, n);
        const tkr_tok_cached *entry = tkr_tok_cache_at(scratch->cache, key[0], key[1]);
        if (entry->length == n && entry->key[0] == key[0] && entry->key[1] == key[1]) {
            size_t begin = at;
            for (size_t i = 0; i < entry->n; i++) {
                const size_t end = at + entry->ends[i];
                if (!push(w->sink, entry->ids[i], w->raw, w->end, begin, end)) {
                    return false;
                }
                begin = end;
            }
            return true;
        }
    }
    if (!tkr_tok_word(w->tok, scratch, w->raw + at, n)) {
        return false;
    }
    for (size_t i = 0; i < scratch->n_pieces; i++) {
        const tkr_tok_piece_out *piece = &scratch->pieces[i];
        if (!push(w->sink, piece->id, w->raw, w->end, at + piece->begin, at + piece->end)) {
            return false;
        }
    }
    return true;
}

static bool add_stretch(void *user, const tkr_tok_added *token, size_t begin, size_t end) {
    const words *w = user;
    if (token != NULL) {
        return tkr_tok_sink_push(w->sink, token->id, w->begin + begin, w->begin + end);
    }
    const words part = {w->tok, w->scratch, w->sink, w->raw, w->begin + begin, w->begin + end};
    w->scratch->work += end - begin;
    for (size_t at = part.begin; at < part.end;) {
        const size_t next = w->tok->bytes.tile(part.raw, part.end, at);
        if (!push_word(&part, at, next - at)) {
            return false;
        }
        at = next;
    }
    return true;
}

bool tkr_tok_encode_bytes(const tkr_tok *tok, tkr_tok_scratch *scratch, tkr_tok_sink *sink, const char *raw,
                          size_t begin, size_t end) {
    words w = {tok, scratch, sink, raw, begin, end};
    return tkr_tok_split_added(tok, &tok->normalized, scratch, raw + begin, end - begin, add_stretch, &w);
}
