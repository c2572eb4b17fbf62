/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer/spm_build: what a tokenizer.json would say about a list of SentencePiece pieces: ids, blocks, and for BPE
 * the merges that the scores imply. */
#include "tokenizer/spm.h"

#include <stdlib.h>
#include <string.h>

static const char mark[] = "\xe2\x96\x81";

static tkr_status no_memory(const tkr_tok_loader *loader) {
    return TKR_FAIL(loader->error, NO_MEMORY, "%s: no memory for the vocabulary", loader->what);
}

static bool is_fairseq(const tkr_spm *spm) {
    return spm->options != NULL && spm->options->spm_layout == TKR_TOK_SPM_FAIRSEQ;
}

/* ---- vocabulary ---- */

static tkr_status put(tkr_spm *spm, tkr_tok *tok, const char *text, size_t n, double score, tkr_spm_type type,
                      const char *what, tkr_error *error) {
    tkr_tok_vocab *vocab = &tok->vocab;
    const size_t id = vocab->n_ids;
    if (id > (size_t)TKR_TOK_MAX_ID) {
        return TKR_FAIL(error, LIMIT, "%s: more than %d pieces", what, (int)TKR_TOK_MAX_ID + 1);
    }
    if (tkr_tok_vocab_add(vocab, (int32_t)id, text != NULL ? text : "", n) != TKR_TOK_PUT_OK ||
        !TKR_TOK_GROW(vocab->score, vocab->score_room, id + 1) || !TKR_TOK_GROW(spm->types, spm->types_room, id + 1)) {
        return TKR_FAIL(error, NO_MEMORY, "%s: no memory for the vocabulary", what);
    }
    vocab->score[id] = score;
    spm->types[id] = (uint8_t)type;
    if (type == TKR_SPM_UNKNOWN) {
        if (spm->unknown >= 0) {
            return TKR_FAIL(error, FORMAT, "%s: two unknown pieces, ids %d and %zu", what, (int)spm->unknown, id);
        }
        spm->unknown = (int32_t)id;
    }
    return TKR_OK;
}

tkr_status tkr_spm_start(tkr_spm *spm, const tkr_tok_loader *loader, const tkr_tok_options *options) {
    static const struct {
        const char *text;
        tkr_spm_type type;
    } first[] = {
        {"<s>", TKR_SPM_CONTROL}, {"<pad>", TKR_SPM_CONTROL}, {"</s>", TKR_SPM_CONTROL}, {"<unk>", TKR_SPM_UNKNOWN}};
    spm->options = options;
    tkr_status status = TKR_OK;
    for (size_t i = 0; i < sizeof first / sizeof first[0] && is_fairseq(spm) && status == TKR_OK; i++) {
        status =
            put(spm, loader->tok, first[i].text, strlen(first[i].text), 0, first[i].type, loader->what, loader->error);
    }
    return status;
}

tkr_status tkr_spm_add(tkr_spm *spm, tkr_tok *tok, const char *text, size_t n, double score, tkr_spm_type type,
                       const char *what, tkr_error *error) {
    static const char *const replaced[] = {"<unk>", "<s>", "</s>"}; /* fairseq's own come instead */
    const size_t number = spm->n_listed++;
    if (!is_fairseq(spm) || number >= 3) {
        return put(spm, tok, text, n, score, type, what, error);
    }
    if (n != strlen(replaced[number]) || memcmp(text, replaced[number], n) != 0) {
        return TKR_FAIL(error, FORMAT, "%s: piece %zu is \"%.*s\", expected \"%s\"", what, number,
                        (int)(n < 40 ? n : 40), text != NULL ? text : "", replaced[number]);
    }
    return TKR_OK;
}

void tkr_spm_free(tkr_spm *spm) {
    tkr_free(spm->types);
    spm->types = NULL;
}

/* ---- merges ---- */

typedef struct candidate {
    double score;
    uint32_t left_chars, right_chars;
    uint32_t id, left_bytes;
    uint32_t number; /* in the order found */
} candidate;

typedef struct candidates {
    candidate *list;
    size_t n, room;
} candidates;

/* Best score first; of equals, longer parts first, as the reference's converter orders them. */
static int compare(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    if (x->score != y->score) {
        return x->score > y->score ? -1 : 1;
    }
    if (x->left_chars != y->left_chars) {
        return x->left_chars > y->left_chars ? -1 : 1;
    }
    if (x->right_chars != y->right_chars) {
        return x->right_chars > y->right_chars ? -1 : 1;
    }
    return (x->number > y->number) - (x->number < y->number);
}

static bool is_normal(const tkr_spm *spm, int32_t id) { return id >= 0 && spm->types[id] == TKR_SPM_NORMAL; }

/* All ways to make piece `id` of two pieces. */
static bool add_candidates(candidates *all, const tkr_spm *spm, const tkr_tok_vocab *vocab, uint32_t id) {
    const char *text = vocab->pool.data + vocab->offset[id];
    const size_t n = vocab->length[id];
    uint32_t n_chars = 0, left_chars = 0;
    for (size_t i = 0; i < n; i += tkr_tok_char_size(text[i])) {
        n_chars++;
    }
    for (size_t i = 0; n_chars > 1 && i < n;) {
        i += tkr_tok_char_size(text[i]);
        left_chars++;
        if (i >= n || !is_normal(spm, tkr_tok_vocab_find(vocab, text, i)) ||
            !is_normal(spm, tkr_tok_vocab_find(vocab, text + i, n - i))) {
            continue;
        }
        if (!TKR_TOK_GROW(all->list, all->room, all->n + 1)) {
            return false;
        }
        all->list[all->n] =
            (candidate){vocab->score[id], left_chars, n_chars - left_chars, id, (uint32_t)i, (uint32_t)all->n};
        all->n++;
    }
    return true;
}

static tkr_status imply_merges(const tkr_spm *spm, const tkr_tok_loader *loader) {
    tkr_tok *tok = loader->tok;
    const tkr_tok_vocab *vocab = &tok->vocab;
    candidates all = {0};
    bool ok = true;
    for (size_t id = 0; id < vocab->n_ids && ok; id++) {
        ok = !is_normal(spm, (int32_t)id) || add_candidates(&all, spm, vocab, (uint32_t)id);
    }
    if (ok && all.n > 0) {
        qsort(all.list, all.n, sizeof *all.list, compare);
    }
    for (size_t i = 0; i < all.n && ok; i++) {
        const candidate *c = &all.list[i];
        const char *text = vocab->pool.data + vocab->offset[c->id];
        ok = tkr_tok_merge_list_add(&tok->merge_list, text, c->left_bytes, text + c->left_bytes,
                                    vocab->length[c->id] - c->left_bytes);
    }
    tkr_free(all.list);
    return ok ? TKR_OK : no_memory(loader);
}

/* ---- the blocks ---- */

static bool append(json_t *list, json_t *value) { return value != NULL && json_array_append_new(list, value) == 0; }

static json_t *base64(const uint8_t *data, size_t n) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    tkr_buf text = {0};
    for (size_t i = 0; i < n; i += 3) {
        const size_t used = n - i < 3 ? n - i : 3;
        uint32_t bits = 0;
        for (size_t k = 0; k < 3; k++) {
            bits = bits << 8 | (k < used ? data[i + k] : 0u);
        }
        for (size_t k = 0; k < 4; k++) {
            (void)tkr_buf_putc(&text, k <= used ? digits[bits >> (18 - 6 * k) & 63] : '=');
        }
    }
    json_t *value = text.failed ? NULL : json_stringn(text.data, text.size);
    tkr_buf_free(&text);
    return value;
}

/* Words are cut at spaces when none can be beside another; else the model gets the text as one word. */
static bool cuts_words(const tkr_spm *spm) { return !spm->bpe && spm->remove_extra_whitespaces; }

/* transformers' SiglipTokenizer.canonicalize_text. */
static bool append_canonical(json_t *list) {
    static const char punctuation[] = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~]";
    const char *const patterns[2][2] = {{punctuation, ""}, {"\\s+", " "}};
    for (size_t i = 0; i < 2; i++) {
        if (!append(list, json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "Regex", patterns[i][0],
                                    "content", patterns[i][1]))) {
            return false;
        }
    }
    return append(list, json_pack("{s:s, s:b, s:b}", "type", "Strip", "strip_left", 1, "strip_right", 1));
}

static json_t *metaspace_of(const tkr_spm *spm) {
    return json_pack("{s:s, s:s, s:s, s:b}", "type", "Metaspace", "replacement", mark, "prepend_scheme",
                     spm->add_dummy_prefix ? "always" : "never", "split", 1);
}

static json_t *normalizer_of(const tkr_spm *spm) {
    json_t *list = json_array();
    bool ok = list != NULL && (spm->options == NULL || !spm->options->spm_canonical || append_canonical(list));
    if (ok && spm->n_charsmap > 0) {
        ok = append(list, json_pack("{s:s, s:o}", "type", "Precompiled", "precompiled_charsmap",
                                    base64(spm->charsmap, spm->n_charsmap)));
    }
    if (ok && spm->remove_extra_whitespaces) {
        ok = append(list, json_pack("{s:s, s:b, s:b}", "type", "Strip", "strip_left", 1, "strip_right", 1)) &&
             append(list,
                    json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "Regex", " {2,}", "content", " "));
    }
    if (ok && !cuts_words(spm)) {
        ok = (!spm->add_dummy_prefix || append(list, json_pack("{s:s, s:s}", "type", "Prepend", "prepend", mark))) &&
             append(list,
                    json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", " ", "content", mark));
    }
    if (!ok) {
        json_decref(list);
        return NULL;
    }
    return json_pack("{s:s, s:o}", "type", "Sequence", "normalizers", list);
}

/* What the reference's converters write: Metaspace, or for a text that is one word its parts; and bytes. */
static json_t *decoder_of(const tkr_spm *spm) {
    json_t *list = json_array();
    bool ok = list != NULL;
    if (!cuts_words(spm)) {
        ok = append(list,
                    json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", mark, "content", " "));
    }
    if (spm->byte_fallback || !cuts_words(spm)) {
        ok = ok && append(list, json_pack("{s:s}", "type", "ByteFallback"));
    }
    if (cuts_words(spm)) {
        ok = ok && append(list, metaspace_of(spm));
    } else {
        ok = ok && append(list, json_pack("{s:s}", "type", "Fuse")) &&
             (!spm->add_dummy_prefix ||
              append(list, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content", " ", "start", 1, "stop", 0)));
    }
    if (!ok) {
        json_decref(list);
        return NULL;
    }
    return json_pack("{s:s, s:o}", "type", "Sequence", "decoders", list);
}

static json_t *added_token(const char *text, int id, bool special, bool lstrip) {
    return json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", id, "content", text, "single_word", 0, "lstrip",
                     lstrip, "rstrip", 0, "normalized", 0, "special", special);
}

static json_t *added_tokens_of(const tkr_spm *spm, const tkr_tok *tok) {
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t id = 0; id < tok->vocab.n_ids && ok; id++) {
        const uint8_t type = spm->types[id];
        if (type == TKR_SPM_CONTROL || type == TKR_SPM_UNKNOWN || type == TKR_SPM_USER_DEFINED) {
            const char *text = tok->vocab.pool.data + tok->vocab.offset[id];
            const bool lstrip = !spm->bpe && strcmp(text, "<mask>") == 0; /* XLM-RoBERTa's, not Gemma's */
            ok = append(list, added_token(text, (int)id, type != TKR_SPM_USER_DEFINED, lstrip));
        }
    }
    if (!ok) {
        json_decref(list);
        return NULL;
    }
    return list;
}

/* The tokens around each text: {"SpecialToken": ...} when there is one. */
static bool append_special(json_t *list, const char *name) {
    return name == NULL || append(list, json_pack("{s:{s:s, s:i}}", "SpecialToken", "id", name, "type_id", 0));
}

static tkr_status describe_post(const tkr_spm *spm, const tkr_tok_loader *loader, tkr_tok_blocks *blocks) {
    const bool fairseq = is_fairseq(spm);
    const char *names[2] = {fairseq                ? "<s>"
                            : spm->options != NULL ? spm->options->spm_prefix
                                                   : NULL,
                            fairseq                ? "</s>"
                            : spm->options != NULL ? spm->options->spm_suffix
                                                   : NULL};
    if (names[0] == NULL && names[1] == NULL) {
        return TKR_OK;
    }
    json_t *single = json_array(), *pair = json_array(), *specials = json_object();
    bool ok = single != NULL && pair != NULL && specials != NULL;
    for (int i = 0; i < 2; i++) {
        const int32_t id = names[i] == NULL ? 0 : tkr_tok_vocab_find(&loader->tok->vocab, names[i], strlen(names[i]));
        if (id < 0) {
            json_decref(single);
            json_decref(pair);
            json_decref(specials);
            return TKR_FAIL(loader->error, FORMAT, "%s: has no piece \"%.40s\"", loader->what, names[i]);
        }
        ok = ok &&
             (names[i] == NULL || json_object_set_new(specials, names[i], json_pack("{s:[i]}", "ids", (int)id)) == 0);
    }
    for (int text = 0; text < 2 && ok; text++) {
        const char *sequence = text == 0 ? "A" : "B";
        /* fairseq: <s> A </s> </s> B </s> */
        ok = append_special(pair, text == 1 && fairseq ? names[1] : names[0]) &&
             append(pair, json_pack("{s:{s:s, s:i}}", "Sequence", "id", sequence, "type_id", 0)) &&
             append_special(pair, names[1]);
        ok = ok && (text == 1 || json_array_extend(single, pair) == 0);
    }
    if (!ok) {
        json_decref(single);
        json_decref(pair);
        json_decref(specials);
        return no_memory(loader);
    }
    blocks->post_processor = json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair",
                                       pair, "special_tokens", specials);
    return blocks->post_processor != NULL ? TKR_OK : no_memory(loader);
}

static tkr_status describe_model(const tkr_spm *spm, const tkr_tok_loader *loader) {
    tkr_tok *tok = loader->tok;
    if (spm->unknown < 0) {
        return TKR_FAIL(loader->error, FORMAT, "%s: has no unknown piece", loader->what);
    }
    if (!spm->bpe) {
        tok->model_fields = json_pack("{s:s, s:i, s:b}", "type", "Unigram", "unk_id", (int)spm->unknown,
                                      "byte_fallback", spm->byte_fallback);
        return tok->model_fields != NULL ? TKR_OK : no_memory(loader);
    }
    const tkr_status status = imply_merges(spm, loader);
    if (status != TKR_OK) {
        return status;
    }
    tkr_free(tok->vocab.score); /* BPE knows ranks only */
    tok->vocab.score = NULL;
    tok->model_fields = json_pack("{s:s, s:s, s:b, s:b}", "type", "BPE", "unk_token",
                                  tok->vocab.pool.data + tok->vocab.offset[spm->unknown], "fuse_unk", 1,
                                  "byte_fallback", spm->byte_fallback);
    return tok->model_fields != NULL ? TKR_OK : no_memory(loader);
}

tkr_status tkr_spm_describe(tkr_spm *spm, const tkr_tok_loader *loader, tkr_tok_blocks *blocks) {
    tkr_status status = TKR_OK;
    if (spm->n_listed == 0) {
        return TKR_FAIL(loader->error, FORMAT, "%s: isn't a SentencePiece model: it has no pieces", loader->what);
    }
    if (is_fairseq(spm)) {
        status = put(spm, loader->tok, "<mask>", 6, 0, TKR_SPM_CONTROL, loader->what, loader->error);
    }
    if (status == TKR_OK) {
        status = tkr_tok_index_vocab(loader);
    }
    if (status == TKR_OK) {
        status = describe_model(spm, loader);
    }
    if (status == TKR_OK) {
        status = describe_post(spm, loader, blocks);
    }
    if (status != TKR_OK) {
        return status;
    }
    blocks->lowercase = spm->options != NULL && spm->options->lowercase;
    blocks->normalizer = normalizer_of(spm);
    blocks->added_tokens = added_tokens_of(spm, loader->tok);
    blocks->decoder = decoder_of(spm);
    if (cuts_words(spm)) {
        blocks->pre_tokenizer = metaspace_of(spm);
    }
    return blocks->normalizer != NULL && blocks->added_tokens != NULL && blocks->decoder != NULL &&
                   (!cuts_words(spm) || blocks->pre_tokenizer != NULL)
               ? TKR_OK
               : no_memory(loader);
}
