/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer/spm: SentencePiece's own files (spiece.model, sentencepiece.bpe.model, tokenizer.model): a protobuf read by
 * hand, turned into the tokenizer that a tokenizer.json of the same model describes. Refuses model types other than
 * Unigram and BPE, and white space as a suffix.
 */
#include "tokenizer/spm.h"

#include <string.h>

/* ---- protobuf ---- */

typedef struct cursor {
    const uint8_t *at, *end;
    const char *what;
    tkr_error *error;
} cursor;

typedef struct field {
    uint32_t number;
    unsigned wire; /* 0 varint, 1 eight bytes, 2 a length and bytes, 5 four bytes */
    uint64_t value;
    const uint8_t *data; /* wire 2: value bytes */
} field;

static tkr_status fail(const cursor *c, const char *why) {
    return TKR_FAIL(c->error, FORMAT, "%s: isn't a SentencePiece model: %s", c->what, why);
}

static bool read_varint(cursor *c, uint64_t *value) {
    *value = 0;
    for (unsigned shift = 0; shift < 64 && c->at < c->end; shift += 7) {
        const uint8_t byte = *c->at++;
        *value |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80)) {
            return true;
        }
    }
    return false;
}

/* The next field of a message; the caller checks that there is one. */
static tkr_status read_field(cursor *c, field *f) {
    uint64_t key;
    *f = (field){0};
    if (!read_varint(c, &key) || key >> 3 == 0 || key >> 3 > UINT32_MAX >> 3) {
        return fail(c, "a broken field");
    }
    f->number = (uint32_t)(key >> 3);
    f->wire = (unsigned)(key & 7);
    const size_t left = (size_t)(c->end - c->at);
    switch (f->wire) {
    case 0: return read_varint(c, &f->value) ? TKR_OK : fail(c, "a broken number");
    case 1:
    case 5: {
        const size_t n = f->wire == 1 ? 8 : 4;
        if (left < n) {
            return fail(c, "it ends within a number");
        }
        for (size_t i = 0; i < n; i++) {
            f->value |= (uint64_t)c->at[i] << (8 * i);
        }
        c->at += n;
        return TKR_OK;
    }
    case 2:
        if (!read_varint(c, &f->value) || f->value > (uint64_t)(c->end - c->at)) {
            return fail(c, "a length goes beyond the end");
        }
        f->data = c->at;
        c->at += f->value;
        return TKR_OK;
    default: return fail(c, "a field of an unknown kind");
    }
}

static cursor inside(const cursor *c, const field *f) {
    return (cursor){f->data, f->data + f->value, c->what, c->error};
}

/* ---- the three messages ---- */

static tkr_status read_piece(cursor c, tkr_spm *spm, tkr_tok *tok) {
    const uint8_t *text = NULL;
    size_t n = 0;
    float score = 0;
    uint64_t type = TKR_SPM_NORMAL;
    while (c.at < c.end) {
        field f;
        const tkr_status status = read_field(&c, &f);
        if (status != TKR_OK) {
            return status;
        }
        if (f.number == 1 && f.wire == 2) {
            text = f.data;
            n = (size_t)f.value;
        } else if (f.number == 2 && f.wire == 5) {
            const uint32_t bits = (uint32_t)f.value;
            memcpy(&score, &bits, sizeof score);
        } else if (f.number == 3 && f.wire == 0) {
            type = f.value;
        }
    }
    if (type < TKR_SPM_NORMAL || type > TKR_SPM_BYTE) {
        return fail(&c, "a piece of an unknown type");
    }
    if (score != score || (n > 0 && tkr_utf8_valid_prefix((const char *)text, n) < n)) {
        return fail(&c, score != score ? "a score that is no number" : "a piece that isn't UTF-8");
    }
    return tkr_spm_add(spm, tok, (const char *)text, n, score, (tkr_spm_type)type, c.what, c.error);
}

static tkr_status read_trainer(cursor c, tkr_spm *spm) {
    while (c.at < c.end) {
        field f;
        const tkr_status status = read_field(&c, &f);
        if (status != TKR_OK) {
            return status;
        }
        if (f.wire == 0 && f.number == 3) {
            if (f.value != 1 && f.value != 2) {
                return TKR_FAIL(c.error, UNSUPPORTED,
                                "%s: a SentencePiece model of type %s is not supported, supported: Unigram BPE", c.what,
                                f.value == 3   ? "Word"
                                : f.value == 4 ? "Char"
                                               : "unknown");
            }
            spm->bpe = f.value == 2;
        } else if (f.wire == 0 && f.number == 35) {
            spm->byte_fallback = f.value != 0;
        } else if (f.wire == 0 && f.number == 24 && f.value != 0) {
            return TKR_FAIL(c.error, UNSUPPORTED, "%s: treat_whitespace_as_suffix is not supported", c.what);
        }
    }
    return TKR_OK;
}

static tkr_status read_normalizer(cursor c, tkr_spm *spm) {
    while (c.at < c.end) {
        field f;
        const tkr_status status = read_field(&c, &f);
        if (status != TKR_OK) {
            return status;
        }
        if (f.number == 2 && f.wire == 2) {
            spm->charsmap = f.data;
            spm->n_charsmap = (size_t)f.value;
        } else if (f.number == 3 && f.wire == 0) {
            spm->add_dummy_prefix = f.value != 0;
        } else if (f.number == 4 && f.wire == 0) {
            spm->remove_extra_whitespaces = f.value != 0;
        } else if (f.number == 5 && f.wire == 0 && f.value == 0) {
            return TKR_FAIL(c.error, UNSUPPORTED, "%s: escape_whitespaces false is not supported", c.what);
        }
    }
    return TKR_OK;
}

static tkr_status read_model(cursor c, tkr_spm *spm, tkr_tok *tok) {
    tkr_status status = TKR_OK;
    while (c.at < c.end && status == TKR_OK) {
        field f;
        status = read_field(&c, &f);
        if (status != TKR_OK || f.wire != 2) {
            continue;
        }
        status = f.number == 1   ? read_piece(inside(&c, &f), spm, tok)
                 : f.number == 2 ? read_trainer(inside(&c, &f), spm)
                 : f.number == 3 ? read_normalizer(inside(&c, &f), spm)
                                 : TKR_OK;
    }
    return status;
}

tkr_status tkr_tok_load_spm(tkr_tok **out, const char *bytes, size_t size, const char *what,
                            const tkr_tok_options *options, tkr_error *error) {
    tkr_tok_loader loader;
    tkr_tok_blocks blocks = {0};
    tkr_error local = {.status = TKR_OK};
    tkr_spm spm = {.add_dummy_prefix = true, .remove_extra_whitespaces = true, .unknown = -1};
    tkr_status status = tkr_tok_begin(out, &loader, what, &local);
    if (status == TKR_OK) {
        status = tkr_spm_start(&spm, &loader, options);
    }
    if (status == TKR_OK) {
        const uint8_t *begin = (const uint8_t *)bytes;
        status = read_model((cursor){begin, size > 0 ? begin + size : begin, what, &local}, &spm, loader.tok);
    }
    if (status == TKR_OK) {
        status = tkr_spm_describe(&spm, &loader, &blocks);
    }
    if (status == TKR_OK) {
        status = tkr_tok_build(&loader, &blocks);
    }
    tkr_spm_free(&spm);
    return tkr_tok_finish(out, &loader, &blocks, status, error);
}
