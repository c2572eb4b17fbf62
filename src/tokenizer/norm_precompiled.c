/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer: Precompiled, SentencePiece's character map (a double-array trie and a blob of replacements), applied by
 * grapheme clusters as the reference does. Refuses maps that point outside themselves. */
#include "tokenizer/engine.h"
#include "tokenizer/unicode.h"

#include <string.h>

enum { MAX_CLUSTER = 5 }; /* bytes; a longer cluster goes character by character */

typedef struct precompiled {
    uint32_t *units;
    size_t n_units;
    const char *blob; /* NUL-terminated strings, NUL behind the last */
    size_t n_blob;
    bool plain[128]; /* an ASCII character that no mapping begins with */
} precompiled;

static int base64_value(char c) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found = c == '\0' ? NULL : strchr(digits, c);
    return found == NULL ? -1 : (int)(found - digits);
}

/* Decodes into out, which has room for n / 4 * 3 bytes. false: not base64. */
static bool base64_decode(uint8_t *out, size_t *n_out, const char *text, size_t n) {
    size_t pad = 0;
    while (pad < 2 && pad < n && text[n - 1 - pad] == '=') {
        pad++;
    }
    if (n % 4 != 0) {
        return false;
    }
    *n_out = 0;
    for (size_t i = 0; i < n; i += 4) {
        uint32_t bits = 0;
        const size_t used = i + 4 == n ? 4 - pad : 4;
        for (size_t k = 0; k < 4; k++) {
            const int value = k < used ? base64_value(text[i + k]) : 0;
            if (value < 0) {
                return false;
            }
            bits = bits << 6 | (uint32_t)value;
        }
        for (size_t k = 0; k + 1 < used; k++) {
            out[(*n_out)++] = (uint8_t)(bits >> (16 - 8 * k));
        }
    }
    return true;
}

static size_t unit_offset(uint32_t unit) { return (size_t)(unit >> 10) << ((unit & 0x200) >> 6); }

/* The replacement of the shortest prefix of text[0, n) that has one, NULL when none has. */
static const char *shortest(const precompiled *self, const char *text, size_t n) {
    size_t node = 0;
    uint32_t unit = self->units[0];
    node ^= unit_offset(unit);
    for (size_t i = 0; i < n && text[i] != '\0'; i++) {
        node ^= (uint8_t)text[i];
        if (node >= self->n_units) {
            return NULL;
        }
        unit = self->units[node];
        if ((unit & 0x800000FF) != (uint8_t)text[i]) {
            return NULL;
        }
        node ^= unit_offset(unit);
        if ((unit >> 8) & 1) {
            const size_t at = node < self->n_units ? self->units[node] & 0x7FFFFFFF : self->n_blob;
            return at < self->n_blob ? self->blob + at : NULL;
        }
    }
    return NULL;
}

static tkr_status split_map(precompiled *self, tkr_tok_loader *loader, const uint8_t *map, size_t n) {
    const size_t n_trie =
        n < 4 ? 0 : (size_t)map[0] | (size_t)map[1] << 8 | (size_t)map[2] << 16 | (size_t)map[3] << 24;
    if (n_trie < 4 || n_trie % 4 != 0 || n_trie > n - 4) {
        return TKR_FAIL(loader->error, FORMAT, "%s: precompiled_charsmap of %zu bytes claims a trie of %zu",
                        loader->what, n, n_trie);
    }
    self->n_units = n_trie / 4;
    self->units = tkr_arena_alloc(&loader->tok->arena, n_trie);
    self->n_blob = n - 4 - n_trie;
    self->blob = tkr_arena_strndup(&loader->tok->arena, (const char *)map + 4 + n_trie, self->n_blob);
    if (self->units == NULL || self->blob == NULL) {
        return TKR_FAIL(loader->error, NO_MEMORY, "%s: no memory for precompiled_charsmap", loader->what);
    }
    for (size_t i = 0; i < self->n_units; i++) {
        const uint8_t *p = map + 4 + 4 * i;
        self->units[i] = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    }
    size_t bad = self->n_blob == 0 ? 0 : tkr_utf8_valid_prefix(self->blob, self->n_blob);
    if (bad < self->n_blob) {
        return TKR_FAIL(loader->error, FORMAT, "%s: precompiled_charsmap has a replacement that isn't UTF-8",
                        loader->what);
    }
    for (size_t c = 0; c < 128; c++) {
        const size_t node = unit_offset(self->units[0]) ^ c;
        self->plain[c] = c >= 0x20 && (node >= self->n_units || (self->units[node] & 0x800000FF) != c ||
                                       !((self->units[node] >> 8) & 1));
    }
    return TKR_OK;
}

static tkr_status parse(void **out, tkr_tok_loader *loader, const json_t *config) {
    precompiled *self = tkr_arena_alloc(&loader->tok->arena, sizeof *self);
    const json_t *field = json_object_get(config, "precompiled_charsmap");
    *out = self;
    if (!json_is_string(field)) {
        return TKR_FAIL(loader->error, FORMAT, "%s: field \"precompiled_charsmap\" is %s, expected a string",
                        loader->what, field == NULL ? "missing" : tkr_json_type_name(field));
    }
    const size_t n = json_string_length(field);
    uint8_t *map = tkr_malloc(n + 1);
    if (self == NULL || map == NULL) {
        tkr_free(map);
        return TKR_FAIL(loader->error, NO_MEMORY, "%s: no memory for precompiled_charsmap", loader->what);
    }
    size_t size = 0;
    const tkr_status status =
        base64_decode(map, &size, json_string_value(field), n)
            ? split_map(self, loader, map, size)
            : TKR_FAIL(loader->error, FORMAT, "%s: precompiled_charsmap isn't base64", loader->what);
    tkr_free(map);
    return status;
}

/* The reference corrects the change of the character written last, so one waits. */
typedef struct output {
    tkr_tok_edit edit;
    bool waiting;
    uint32_t code_point;
    int32_t change;
} output;

static void put(output *o, uint32_t code_point, int32_t change) {
    if (o->waiting) {
        tkr_tok_edit_put(&o->edit, o->code_point, o->change);
    }
    o->waiting = true;
    o->code_point = code_point;
    o->change = change;
}

static size_t count_chars(const char *text, size_t n) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        count += ((unsigned char)text[i] & 0xC0) != 0x80;
    }
    return count;
}

/* Puts `by` in place of old_chars characters. */
static void replace(output *o, size_t old_chars, const char *by) {
    const size_t n = strlen(by), new_chars = count_chars(by, n);
    size_t index = 0;
    for (size_t i = 0; i < n; index++) {
        put(o, tkr_tok_next(by, n, &i), index >= old_chars);
    }
    if (new_chars < old_chars && o->waiting) {
        o->change -= (int32_t)(old_chars - new_chars);
    }
}

static void map_cluster(const precompiled *self, output *o, const char *text, size_t n) {
    const char *by = n <= MAX_CLUSTER ? shortest(self, text, n) : NULL;
    if (by != NULL) {
        replace(o, count_chars(text, n), by);
        return;
    }
    for (size_t i = 0; i < n;) {
        const size_t at = i;
        const uint32_t c = tkr_tok_next(text, n, &i);
        by = shortest(self, text + at, i - at);
        if (by != NULL) {
            replace(o, 1, by);
        } else {
            put(o, c, 0);
        }
    }
}

static bool run(const void *data, tkr_tok_scratch *scratch) {
    const precompiled *self = data;
    const tkr_tok_text *text = &scratch->text;
    output o = {0};
    tkr_tok_edit_begin(&o.edit, scratch);
    for (size_t i = 0; i < text->size;) {
        const unsigned char c = (unsigned char)text->bytes[i];
        if (c < 0x80 && self->plain[c] && (i + 1 == text->size || (unsigned char)text->bytes[i + 1] < 0x80)) {
            put(&o, c, 0);
            i++;
            continue;
        }
        const size_t end = tkr_uni_cluster_end(text->bytes, text->size, i);
        map_cluster(self, &o, text->bytes + i, end - i);
        i = end;
    }
    if (o.waiting) {
        tkr_tok_edit_put(&o.edit, o.code_point, o.change);
    }
    return tkr_tok_edit_end(&o.edit);
}

extern const tkr_tok_component tkr_norm_precompiled;
const tkr_tok_component tkr_norm_precompiled = {.parse = parse, .run = run};
