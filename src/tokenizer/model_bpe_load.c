/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer: BPE, from its block of tokenizer.json. Refuses dropout, merges of pieces that don't exist and merges that
 * give one of their own parts. */
#include "tokenizer/bpe.h"

#include <stdio.h>
#include <string.h>

/* ---- reading ---- */

static tkr_status status_of(const tkr_jr *jr) { return jr->error->status != TKR_OK ? jr->error->status : TKR_FORMAT; }

static bool keep_part(tkr_tok_merge_list *list, const char *part, size_t n) {
    if (n > UINT32_MAX || !TKR_TOK_GROW(list->length, list->room, list->n + 1) ||
        !tkr_buf_append(&list->text, part, n)) {
        return false;
    }
    list->length[list->n++] = (uint32_t)n;
    return true;
}

static tkr_status no_memory(const tkr_jr *jr) {
    return TKR_FAIL(jr->error, NO_MEMORY, "%s: no memory for the merges", jr->what);
}

bool tkr_tok_merge_list_add(tkr_tok_merge_list *list, const char *left, size_t n_left, const char *right,
                            size_t n_right) {
    return keep_part(list, left, n_left) && keep_part(list, right, n_right);
}

/* "a b" */
static tkr_status read_line(tkr_jr *jr, tkr_tok_merge_list *list) {
    const char *line = jr->string;
    const size_t n = jr->n_string;
    if (n >= 8 && memcmp(line, "#version", 8) == 0) {
        return TKR_OK;
    }
    const char *space = n == 0 ? NULL : memchr(line, ' ', n);
    const size_t left = space == NULL ? n : (size_t)(space - line);
    if (space == NULL || memchr(space + 1, ' ', n - left - 1) != NULL) {
        return tkr_jr_fail(jr, "merge %zu is \"%.*s\", expected two pieces with one space between them", list->n / 2,
                           (int)(n < 60 ? n : 60), line);
    }
    return tkr_tok_merge_list_add(list, line, left, space + 1, n - left - 1) ? TKR_OK : no_memory(jr);
}

/* ["a", "b"], the opening bracket is read. */
static tkr_status read_pair(tkr_jr *jr, tkr_tok_merge_list *list) {
    const size_t number = list->n / 2;
    for (int i = 0; i < 2; i++) {
        const tkr_jr_type type = tkr_jr_next(jr);
        if (type != TKR_JR_STRING) {
            return type == TKR_JR_ERROR ? status_of(jr)
                                        : tkr_jr_fail(jr, "merge %zu must be a pair of strings", number);
        }
        if (!keep_part(list, jr->string, jr->n_string)) {
            return no_memory(jr);
        }
    }
    const tkr_jr_type type = tkr_jr_next(jr);
    return type == TKR_JR_ARRAY_END ? TKR_OK
           : type == TKR_JR_ERROR   ? status_of(jr)
                                    : tkr_jr_fail(jr, "merge %zu must be a pair of strings", number);
}

tkr_status tkr_tok_read_merges(tkr_jr *jr, tkr_tok_merge_list *list) {
    tkr_status status = TKR_OK;
    tkr_jr_type type;
    while (status == TKR_OK && (type = tkr_jr_next(jr)) != TKR_JR_ARRAY_END) {
        if (list->n / 2 == TKR_BPE_MAX_MERGES) {
            return tkr_jr_fail(jr, "has more than %d merges", TKR_BPE_MAX_MERGES);
        }
        switch (type) {
        case TKR_JR_STRING: status = read_line(jr, list); break;
        case TKR_JR_ARRAY: status = read_pair(jr, list); break;
        case TKR_JR_ERROR: return status_of(jr);
        default: return tkr_jr_fail(jr, "merge %zu must be \"a b\" or [\"a\", \"b\"]", list->n / 2);
        }
    }
    return status;
}

void tkr_tok_merge_list_free(tkr_tok_merge_list *list) {
    tkr_buf_free(&list->text);
    tkr_free(list->length);
    *list = (tkr_tok_merge_list){0};
}

/* ---- building ---- */

typedef struct merge {
    const char *text; /* both parts */
    size_t n_left, n_right;
    uint64_t left, right, whole; /* hashes */
    uint64_t pair;
    size_t number;
} merge;
enum { BLOCK = 16 }; /* merges looked up together, so that the memory's latency is paid once */

static tkr_status fail_merge(const tkr_tok_loader *loader, const merge *m, const char *why) {
    return TKR_FAIL(loader->error, FORMAT, "%s: merge %zu, \"%.*s\" with \"%.*s\": %s", loader->what, m->number,
                    (int)(m->n_left < 40 ? m->n_left : 40), m->text, (int)(m->n_right < 40 ? m->n_right : 40),
                    m->text + m->n_left, why);
}

/* Puts the pair with its rank; a pair given twice keeps its last rank, as in the reference. */
static void insert(tkr_bpe *self, uint64_t pair, size_t rank) {
    size_t i = tkr_bpe_slot(self, pair);
    while (self->slots[i] != TKR_BPE_FREE && self->slots[i] >> TKR_BPE_RANK_BITS != pair) {
        i = (i + 1) & self->mask;
    }
    self->table[i] = pair << TKR_BPE_RANK_BITS | rank;
}

static tkr_status resolve(tkr_bpe *self, const tkr_tok_loader *loader, merge *m) {
    const tkr_tok_vocab *vocab = &self->tok->vocab;
    const tkr_tok_index *index = &vocab->index;
    const char *second = m->text + m->n_left;
    const int32_t left = tkr_tok_index_find(index, vocab, m->left, m->text, m->n_left);
    const int32_t right = tkr_tok_index_find(index, vocab, m->right, second, m->n_right);
    int32_t whole;
    if (left < 0 || right < 0) {
        return fail_merge(loader, m,
                          left < 0 ? "the first isn't in the vocabulary" : "the second isn't in the vocabulary");
    }
    if (self->n_prefix == 0) { /* the parts lie side by side */
        whole = tkr_tok_index_find(index, vocab, m->whole, m->text, m->n_left + m->n_right);
    } else {
        tkr_buf joined = {0};
        const bool ok = m->n_right >= self->n_prefix && tkr_buf_append(&joined, m->text, m->n_left) &&
                        tkr_buf_append(&joined, second + self->n_prefix, m->n_right - self->n_prefix);
        whole = ok ? tkr_tok_vocab_find(vocab, joined.data, joined.size) : -1;
        tkr_buf_free(&joined);
        if (!ok) {
            return m->n_right < self->n_prefix
                       ? fail_merge(loader, m, "the second is shorter than continuing_subword_prefix")
                       : TKR_FAIL(loader->error, NO_MEMORY, "%s: no memory for the merges", loader->what);
        }
    }
    if (whole < 0 || whole == left || whole == right) {
        return fail_merge(loader, m,
                          whole < 0 ? "what they give isn't in the vocabulary" : "they give one of themselves");
    }
    self->results[m->number] = whole;
    m->pair = (uint64_t)(uint32_t)left << TKR_BPE_ID_BITS | (uint32_t)right;
    __builtin_prefetch(&self->slots[tkr_bpe_slot(self, m->pair)]);
    return TKR_OK;
}

/* Makes the empty table for n merges. */
static bool reserve_table(tkr_bpe *self, tkr_tok *tok, size_t n) {
    unsigned bits = 4;
    while (((size_t)1 << bits) < 2 * n) {
        bits++;
    }
    const size_t size = ((size_t)1 << bits) * sizeof *self->slots;
    self->shift = 64 - bits;
    self->mask = ((size_t)1 << bits) - 1;
    self->n_merges = n;
    self->table = tkr_arena_alloc(&tok->arena, size);
    self->results = tkr_arena_alloc(&tok->arena, (n + 1) * sizeof *self->results);
    if (self->table == NULL || self->results == NULL) {
        return false;
    }
    memset(self->table, 0xFF, size);
    self->slots = self->table;
    self->merged = self->results;
    tok->parts[TKR_TOK_PART_MERGES] = (tkr_tok_block){self->table, size};
    tok->parts[TKR_TOK_PART_MERGED] = (tkr_tok_block){self->results, n * sizeof *self->results};
    return true;
}

/* Whether text can be cut in front of a U+2581 that follows something else: it is a piece, so that it ends a run of
 * unknown characters, nothing merges over that border, and no character is dropped, which would move the offsets. */
static bool can_cut(const tkr_bpe *self) {
    static const char mark[] = "\xe2\x96\x81";
    if (tkr_tok_vocab_find(&self->tok->vocab, mark, 3) < 0 || self->ignore_merges || self->unknown < 0 ||
        self->n_prefix + self->n_suffix > 0) {
        return false;
    }
    const tkr_tok_vocab *vocab = &self->tok->vocab;
    for (size_t rank = 0; rank < self->n_merges; rank++) {
        const char *piece = vocab->pool.data + vocab->offset[self->merged[rank]];
        const size_t n = vocab->length[self->merged[rank]];
        bool marks = true;
        for (size_t i = 0; i < n; i += tkr_tok_char_size(piece[i])) {
            const bool is_mark = tkr_bpe_is_mark(piece, n, i);
            if (is_mark && !marks) {
                return false;
            }
            marks = is_mark;
        }
    }
    return true;
}

static tkr_status build_merges(tkr_bpe *self, const tkr_tok_loader *loader) {
    const tkr_tok_merge_list *list = &loader->tok->merge_list;
    const tkr_tok_vocab *vocab = &self->tok->vocab;
    const size_t n = list->n / 2;
    if (n > TKR_BPE_MAX_MERGES) {
        return TKR_FAIL(loader->error, LIMIT, "%s: %zu merges, the limit is %d", loader->what, n, TKR_BPE_MAX_MERGES);
    }
    if (!reserve_table(self, loader->tok, n)) {
        return TKR_FAIL(loader->error, NO_MEMORY, "%s: no memory for the merges", loader->what);
    }
    tkr_status status = TKR_OK;
    const char *text = list->text.data;
    for (size_t done = 0; done < n && status == TKR_OK; done += BLOCK) {
        merge block[BLOCK];
        const size_t count = n - done < BLOCK ? n - done : BLOCK;
        for (size_t i = 0; i < count; i++) {
            merge *m = &block[i];
            *m = (merge){.text = text, .n_left = list->length[2 * (done + i)], .number = done + i};
            m->n_right = list->length[2 * (done + i) + 1];
            m->left = tkr_tok_hash(0, text, m->n_left);
            m->right = tkr_tok_hash(0, text + m->n_left, m->n_right);
            m->whole = tkr_tok_hash(m->left, text + m->n_left, m->n_right);
            tkr_tok_index_warm_slot(&vocab->index, m->left);
            tkr_tok_index_warm_slot(&vocab->index, m->right);
            tkr_tok_index_warm_slot(&vocab->index, m->whole);
            text += m->n_left + m->n_right;
        }
        for (size_t i = 0; i < count; i++) {
            tkr_tok_index_warm_piece(&vocab->index, vocab, block[i].left);
            tkr_tok_index_warm_piece(&vocab->index, vocab, block[i].right);
            tkr_tok_index_warm_piece(&vocab->index, vocab, block[i].whole);
        }
        for (size_t i = 0; i < count && status == TKR_OK; i++) {
            status = resolve(self, loader, &block[i]);
        }
        for (size_t i = 0; i < count && status == TKR_OK; i++) {
            insert(self, block[i].pair, block[i].number);
        }
    }
    self->cut_at_mark = status == TKR_OK && can_cut(self);
    loader->tok->facts = self->cut_at_mark ? TKR_TOK_FACT_CUT_AT_MARK : 0;
    return status;
}

/* The merges of a compiled tokenizer: ids and ranks exist and the table has a free slot, where searches end. */
static tkr_status map_merges(tkr_bpe *self, const tkr_tok_loader *loader) {
    const tkr_tok *tok = loader->tok;
    const tkr_tok_block *merged = &tok->parts[TKR_TOK_PART_MERGED], *slots = &tok->parts[TKR_TOK_PART_MERGES];
    const size_t n_slots = slots->size / sizeof *self->slots;
    self->merged = merged->data;
    self->slots = slots->data;
    self->n_merges = merged->size / sizeof *self->merged;
    bool ok = merged->size % sizeof *self->merged == 0 && slots->size % sizeof *self->slots == 0 && n_slots >= 16 &&
              (n_slots & (n_slots - 1)) == 0 && self->n_merges <= TKR_BPE_MAX_MERGES;
    for (size_t i = 0; i < self->n_merges && ok; i++) {
        ok = self->merged[i] >= 0 && (size_t)self->merged[i] < tok->vocab.n_ids;
    }
    size_t n_free = 0;
    for (size_t i = 0; i < n_slots && ok; i++) {
        n_free += self->slots[i] == TKR_BPE_FREE;
        ok = self->slots[i] == TKR_BPE_FREE || (self->slots[i] & TKR_BPE_MAX_MERGES) < self->n_merges;
    }
    if (!ok || n_free == 0) {
        return TKR_FAIL(loader->error, FORMAT, "%s: the compiled merges are damaged", loader->what);
    }
    self->mask = n_slots - 1;
    self->shift = 64 - (unsigned)__builtin_ctzll((unsigned long long)n_slots);
    self->cut_at_mark = (tok->facts & TKR_TOK_FACT_CUT_AT_MARK) != 0;
    return TKR_OK;
}

static tkr_status read_affix(const char **affix, size_t *n, const tkr_tok_loader *loader, const json_t *config,
                             const char *field) {
    const char *text = NULL;
    const tkr_status status = tkr_json_get_string(&text, config, field, false, loader->what, loader->error);
    if (status != TKR_OK || text == NULL) {
        return status;
    }
    *n = strlen(text);
    *affix = tkr_arena_strndup(&loader->tok->arena, text, *n);
    return *affix != NULL ? TKR_OK : TKR_FAIL(loader->error, NO_MEMORY, "%s: no memory for BPE", loader->what);
}

static tkr_status read_fields(tkr_bpe *self, const tkr_tok_loader *loader, const json_t *config) {
    const struct {
        const char *name;
        bool *value;
    } flags[] = {{"fuse_unk", &self->fuse_unknown},
                 {"byte_fallback", &self->byte_fallback},
                 {"ignore_merges", &self->ignore_merges}};
    tkr_status status = TKR_OK;
    for (size_t i = 0; i < sizeof flags / sizeof flags[0] && status == TKR_OK; i++) {
        status = tkr_json_get_bool(flags[i].value, config, flags[i].name, false, loader->what, loader->error);
    }
    double dropout = 0;
    if (status == TKR_OK) {
        status = tkr_json_get_double(&dropout, config, "dropout", 0, 1, false, loader->what, loader->error);
    }
    if (status == TKR_OK && dropout != 0) {
        return TKR_FAIL(loader->error, UNSUPPORTED, "%s: dropout %g of BPE would make ids random", loader->what,
                        dropout);
    }
    if (status == TKR_OK) {
        status = read_affix(&self->prefix, &self->n_prefix, loader, config, "continuing_subword_prefix");
    }
    if (status == TKR_OK) {
        status = read_affix(&self->suffix, &self->n_suffix, loader, config, "end_of_word_suffix");
    }
    if (status == TKR_OK && self->byte_fallback && self->n_prefix + self->n_suffix > 0) {
        return TKR_FAIL(loader->error, UNSUPPORTED, "%s: byte_fallback of BPE together with a prefix or suffix",
                        loader->what);
    }
    const char *unknown = NULL;
    if (status == TKR_OK) {
        status = tkr_json_get_string(&unknown, config, "unk_token", false, loader->what, loader->error);
    }
    self->unknown = unknown == NULL ? -1 : tkr_tok_vocab_find(&self->tok->vocab, unknown, strlen(unknown));
    if (status == TKR_OK && unknown != NULL && self->unknown < 0) {
        return TKR_FAIL(loader->error, FORMAT, "%s: unk_token \"%.40s\" is not in the vocabulary", loader->what,
                        unknown);
    }
    return status;
}

static void find_symbols(tkr_bpe *self) {
    const tkr_tok_vocab *vocab = &self->tok->vocab;
    for (size_t i = 0; i < 256; i++) {
        char name[8];
        const char c = (char)i;
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)i);
        self->bytes[i] = self->byte_fallback ? tkr_tok_vocab_find(vocab, name, 6) : -1;
        if (i < 128) {
            self->ascii[i] = tkr_tok_vocab_find(vocab, &c, 1);
        }
    }
}

static tkr_status parse(void **out, tkr_tok_loader *loader, const json_t *config) {
    tkr_tok *tok = loader->tok;
    tkr_bpe *self = tkr_arena_alloc(&tok->arena, sizeof *self);
    if (self == NULL) {
        return TKR_FAIL(loader->error, NO_MEMORY, "%s: no memory for BPE", loader->what);
    }
    *out = self;
    self->tok = tok;
    self->window = 2048;
    if (tok->vocab.n_pieces == 0 || tok->vocab.score != NULL) {
        return TKR_FAIL(loader->error, FORMAT,
                        "%s: the vocabulary of BPE is missing, empty or a list, expected {piece: id}", loader->what);
    }
    tkr_status status = read_fields(self, loader, config);
    if (status == TKR_OK) {
        find_symbols(self);
        status = tok->mapped ? map_merges(self, loader) : build_merges(self, loader);
    }
    return status;
}

bool tkr_tok_bpe_take_bytes(void *data) {
    tkr_bpe *self = data;
    int32_t ids[256];
    if (self->n_prefix + self->n_suffix > 0) {
        return false;
    }
    for (size_t i = 0; i < 256; i++) {
        char text[4];
        ids[i] = tkr_tok_vocab_find(&self->tok->vocab, text, tkr_utf8_put(text, tkr_tok_byte_char((uint8_t)i)));
        const bool in_utf8 = i != 0xC0 && i != 0xC1 && i < 0xF5; /* the other bytes never come */
        if (ids[i] < 0 && in_utf8) {
            return false;
        }
    }
    memcpy(self->bytes, ids, sizeof ids);
    self->takes_bytes = true;
    self->cut_at_mark = false;
    return true;
}

extern const tkr_tok_component tkr_model_bpe;
const tkr_tok_component tkr_model_bpe = {.parse = parse, .word = tkr_bpe_word};
