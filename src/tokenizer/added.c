/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer/added: added tokens: reading, finding them leftmost-longest in a text, white space and word rules. */
#include "tokenizer/engine.h"
#include "tokenizer/unicode.h"

#include <stdlib.h>
#include <string.h>

/* Matching costs at most as many steps a character as the longest token has bytes. */
enum { MAX_CONTENT = 1024 };

/* A byte trie in child/sibling form: the sets are small and most positions fail at the first byte. */
typedef struct tkr_tok_node {
    uint32_t child, sibling; /* 0: none */
    int32_t value;           /* index of the token that ends here, -1: none */
    uint8_t byte;
} tkr_tok_node;

static bool new_node(tkr_tok_matcher *matcher, uint8_t byte) {
    if (!TKR_TOK_GROW(matcher->nodes, matcher->room, matcher->n_nodes + 1)) {
        return false;
    }
    matcher->nodes[matcher->n_nodes++] = (tkr_tok_node){.value = -1, .byte = byte};
    return true;
}

static uint32_t child_of(const tkr_tok_matcher *matcher, uint32_t node, uint8_t byte) {
    uint32_t child = matcher->nodes[node].child;
    while (child != 0 && matcher->nodes[child].byte != byte) {
        child = matcher->nodes[child].sibling;
    }
    return child;
}

bool tkr_tok_matcher_add(tkr_tok_matcher *matcher, const char *text, size_t n, int32_t value) {
    if (n == 0) {
        return true;
    }
    if (matcher->n_nodes == 0) {
        matcher->only_start = (uint8_t)text[0];
        if (!new_node(matcher, 0)) {
            return false;
        }
    }
    uint32_t node = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t child = child_of(matcher, node, (uint8_t)text[i]);
        if (child == 0) {
            child = (uint32_t)matcher->n_nodes;
            if (!new_node(matcher, (uint8_t)text[i])) {
                return false;
            }
            matcher->nodes[child].sibling = matcher->nodes[node].child;
            matcher->nodes[node].child = child;
        }
        node = child;
    }
    if (matcher->nodes[node].value < 0) {
        matcher->nodes[node].value = value;
    }
    matcher->starts[(uint8_t)text[0]] = true;
    if (matcher->only_start != (uint8_t)text[0]) {
        matcher->only_start = -1;
    }
    return true;
}

void tkr_tok_matcher_free(tkr_tok_matcher *matcher) {
    tkr_free(matcher->nodes);
    *matcher = (tkr_tok_matcher){0};
}

/* First match at or behind `from`: *begin, *end and the token's index, -1 when there is none. */
static int32_t find_next(const tkr_tok_matcher *matcher, tkr_tok_scratch *scratch, const char *text, size_t size,
                         size_t from, size_t *begin, size_t *end) {
    for (size_t i = from; i < size; i++) {
        if (matcher->only_start >= 0) {
            const char *hit = memchr(text + i, matcher->only_start, size - i);
            if (hit == NULL) {
                return -1;
            }
            i = (size_t)(hit - text);
        } else if (!matcher->starts[(uint8_t)text[i]]) {
            continue;
        }
        int32_t value = -1;
        uint32_t node = 0;
        for (size_t k = i; k < size; k++) {
            node = child_of(matcher, node, (uint8_t)text[k]);
            if (node == 0) {
                break;
            }
            scratch->work++;
            if (matcher->nodes[node].value >= 0) {
                value = matcher->nodes[node].value;
                *end = k + 1;
            }
        }
        if (value >= 0) {
            *begin = i;
            return value;
        }
    }
    return -1;
}

/* Where the character that ends at `end` begins. */
static size_t previous_char(const char *text, size_t end) {
    do {
        end--;
    } while (end > 0 && ((unsigned char)text[end] & 0xC0) == 0x80);
    return end;
}

static bool has_props_at(const char *text, size_t size, size_t at, unsigned props) {
    return at < size && (tkr_uni(tkr_tok_next(text, size, &at)) & props) != 0;
}

static bool is_single_word(const char *text, size_t size, size_t begin, size_t end) {
    return (begin == 0 || !has_props_at(text, size, previous_char(text, begin), TKR_UNI_WORD)) &&
           !has_props_at(text, size, end, TKR_UNI_WORD);
}

bool tkr_tok_split_added(const tkr_tok *tok, const tkr_tok_matcher *matcher, tkr_tok_scratch *scratch, const char *text,
                         size_t size, tkr_tok_stretch_fn found, void *user) {
    size_t done = 0, from = 0, begin = 0, end = 0;
    int32_t value;
    while (matcher->n_nodes > 0 && (value = find_next(matcher, scratch, text, size, from, &begin, &end)) >= 0) {
        const tkr_tok_added *token = &tok->added[value];
        from = end;
        if (token->single_word && !is_single_word(text, size, begin, end)) {
            continue;
        }
        while (token->lstrip && begin > done && has_props_at(text, size, previous_char(text, begin), TKR_UNI_SPACE)) {
            begin = previous_char(text, begin);
        }
        while (token->rstrip && has_props_at(text, size, end, TKR_UNI_SPACE)) {
            end += tkr_tok_char_size(text[end]);
        }
        if ((done < begin && !found(user, NULL, done, begin)) || !found(user, token, begin, end)) {
            return false;
        }
        done = end;
    }
    return done >= size || found(user, NULL, done, size);
}

/* Checks the id against the vocabulary: one id, one text. */
static tkr_status check_id(const tkr_tok_loader *loader, const tkr_tok_added *token) {
    const tkr_tok_vocab *vocab = &loader->tok->vocab;
    const int32_t known = tkr_tok_vocab_find(vocab, token->content, token->n_content);
    const size_t id = (size_t)token->id;
    if (known >= 0 && known != token->id) {
        return TKR_FAIL(loader->error, FORMAT, "%s: added token \"%.60s\" has id %d, but the vocabulary gives it %d",
                        loader->what, token->content, (int)token->id, (int)known);
    }
    if (known < 0 && id < vocab->n_ids && vocab->offset[id] != UINT32_MAX) {
        return TKR_FAIL(loader->error, FORMAT, "%s: added token \"%.60s\" has id %d, which belongs to \"%.60s\"",
                        loader->what, token->content, (int)token->id, vocab->pool.data + vocab->offset[id]);
    }
    return TKR_OK;
}

static tkr_status load_one(tkr_tok_loader *loader, const json_t *entry) {
    tkr_tok *tok = loader->tok;
    tkr_tok_added *token = &tok->added[tok->n_added];
    if (!json_is_object(entry)) {
        return TKR_FAIL(loader->error, FORMAT, "%s: an entry of added_tokens is %s, expected an object", loader->what,
                        tkr_json_type_name(entry));
    }
    const json_t *content = json_object_get(entry, "content");
    if (!json_is_string(content)) {
        return TKR_FAIL(loader->error, FORMAT, "%s: field \"content\" of an added token is %s, expected a string",
                        loader->what, content == NULL ? "missing" : tkr_json_type_name(content));
    }
    int64_t id = 0;
    tkr_status status = tkr_json_get_int(&id, entry, "id", 0, TKR_TOK_MAX_ID, true, loader->what, loader->error);
    const struct {
        const char *name;
        bool *value;
    } flags[] = {{"single_word", &token->single_word},
                 {"lstrip", &token->lstrip},
                 {"rstrip", &token->rstrip},
                 {"normalized", &token->normalized},
                 {"special", &token->special}};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0] && status == TKR_OK; i++) {
        status = tkr_json_get_bool(flags[i].value, entry, flags[i].name, true, loader->what, loader->error);
    }
    if (status != TKR_OK) {
        return status;
    }
    token->id = (int32_t)id;
    token->n_content = json_string_length(content);
    if (token->n_content > MAX_CONTENT) {
        return TKR_FAIL(loader->error, LIMIT, "%s: added token %d has %zu bytes, the limit is %d", loader->what,
                        (int)id, token->n_content, MAX_CONTENT);
    }
    token->content = tkr_arena_strndup(&tok->arena, json_string_value(content), token->n_content);
    if (token->content == NULL) {
        return TKR_FAIL(loader->error, NO_MEMORY, "%s: no memory for the added tokens", loader->what);
    }
    if (token->n_content == 0) { /* the reference ignores it */
        *token = (tkr_tok_added){0};
        return TKR_OK;
    }
    tok->n_added++;
    return check_id(loader, token);
}

static int compare_ids(const void *a, const void *b) {
    const tkr_tok_added_id *x = a, *y = b;
    return x->id != y->id ? (x->id > y->id) - (x->id < y->id) : (x->index > y->index) - (x->index < y->index);
}

tkr_status tkr_tok_load_added(tkr_tok_loader *loader, const json_t *list) {
    const size_t n = json_array_size(list);
    tkr_tok *tok = loader->tok;
    tok->added = tkr_arena_alloc(&tok->arena, (n + 1) * sizeof *tok->added);
    if (tok->added == NULL) {
        return TKR_FAIL(loader->error, NO_MEMORY, "%s: no memory for the added tokens", loader->what);
    }
    for (size_t i = 0; i < n; i++) {
        const tkr_status status = load_one(loader, json_array_get(list, i));
        if (status != TKR_OK) {
            return status;
        }
    }
    tok->added_ids = tkr_arena_alloc(&tok->arena, (n + 1) * sizeof *tok->added_ids);
    if (tok->added_ids == NULL) {
        return TKR_FAIL(loader->error, NO_MEMORY, "%s: no memory for the added tokens", loader->what);
    }
    for (size_t i = 0; i < tok->n_added; i++) {
        tok->added_ids[i] = (tkr_tok_added_id){tok->added[i].id, (uint32_t)i};
    }
    qsort(tok->added_ids, tok->n_added, sizeof *tok->added_ids, compare_ids);
    return TKR_OK;
}

const tkr_tok_added *tkr_tok_find_added(const tkr_tok *tok, int32_t id) {
    size_t low = 0, high = tok->n_added;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (tok->added_ids[middle].id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < tok->n_added && tok->added_ids[low].id == id ? &tok->added[tok->added_ids[low].index] : NULL;
}

tkr_status tkr_tok_build_matchers(tkr_tok_loader *loader) {
    tkr_tok *tok = loader->tok;
    tkr_tok_scratch *scratch = NULL;
    tkr_status status = tkr_tok_scratch_create(&scratch, tok, loader->error);
    if (status != TKR_OK) {
        return status;
    }
    bool ok = true;
    for (size_t i = 0; i < tok->n_added && ok; i++) {
        const tkr_tok_added *token = &tok->added[i];
        if (!token->normalized) {
            ok = tkr_tok_matcher_add(&tok->raw, token->content, token->n_content, (int32_t)i);
            continue;
        }
        ok = tkr_tok_text_load(scratch, token->content, 0, token->n_content) && tkr_tok_normalize(tok, scratch) &&
             tkr_tok_matcher_add(&tok->normalized, scratch->text.bytes, scratch->text.size, (int32_t)i);
    }
    tkr_tok_scratch_free(&scratch);
    return ok ? TKR_OK : TKR_FAIL(loader->error, NO_MEMORY, "%s: no memory for the added tokens", loader->what);
}
