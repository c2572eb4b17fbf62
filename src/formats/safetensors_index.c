/* SPDX-License-Identifier: Apache-2.0 */
/* formats/safetensors, the shard index: which file holds which tensor. Refuses file names that could leave the folder.
 */
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "formats/safetensors_parse.h"

typedef struct list {
    tkr_tensor_entry *entries;
    size_t n, room;
    tkr_arena *text;
    tkr_jr reader;
    tkr_error *error;
} list;

static bool file_name_is_safe(const char *name, size_t n) {
    if (n == 0 || memchr(name, '/', n) || memchr(name, '\\', n) || memchr(name, '\0', n)) return false;
    for (size_t i = 0; i + 1 < n; i++) {
        if (name[i] == '.' && name[i + 1] == '.') return false;
    }
    return n != 1 || name[0] != '.';
}

static tkr_status fail_memory(const list *l) {
    return TKR_FAIL(l->error, NO_MEMORY, "%s: out of memory for the index", l->reader.what);
}

static tkr_status append(list *l, const char *name, const char *file) {
    if (l->n == l->room) {
        const size_t room = l->room ? l->room * 2 : 256;
        tkr_tensor_entry *entries = tkr_realloc(l->entries, room * sizeof *entries);
        if (!entries) return fail_memory(l);
        l->entries = entries;
        l->room = room;
    }
    l->entries[l->n++] = (tkr_tensor_entry){name, file};
    return TKR_OK;
}

/* With the last event at a tensor's name. */
static tkr_status read_entry(list *l) {
    tkr_jr *r = &l->reader;
    if (memchr(r->string, '\0', r->n_string)) return tkr_jr_fail(r, "a tensor's name holds a NUL character");
    if (l->n == TKR_MAX_TENSORS) {
        return TKR_FAIL(l->error, LIMIT, "%s: more than %u tensors", r->what, TKR_MAX_TENSORS);
    }
    const char *name = tkr_arena_strndup(l->text, r->string, r->n_string);
    if (!name) return fail_memory(l);
    const tkr_jr_type type = tkr_jr_next(r);
    if (type == TKR_JR_ERROR) return l->error->status;
    if (type != TKR_JR_STRING) {
        return tkr_jr_fail(r, "weight_map: \"%.*s\" is not a string, expected a file name", TKR_NAME_SHOWN, name);
    }
    if (!file_name_is_safe(r->string, r->n_string)) {
        return tkr_jr_fail(r, "weight_map: \"%.*s\" is in \"%.*s\", expected a plain file name without '/' or '..'",
                           TKR_NAME_SHOWN, name, r->n_string < 80 ? (int)r->n_string : 80, r->string);
    }
    /* Neighbours mostly share their file. */
    const char *last = l->n > 0 ? l->entries[l->n - 1].file : "";
    const bool same = strlen(last) == r->n_string && memcmp(last, r->string, r->n_string) == 0;
    const char *file = same ? last : tkr_arena_strndup(l->text, r->string, r->n_string);
    return file ? append(l, name, file) : fail_memory(l);
}

static tkr_status read_weight_map(list *l) {
    const tkr_jr_type start = tkr_jr_next(&l->reader);
    if (start == TKR_JR_ERROR) return l->error->status;
    if (start != TKR_JR_OBJECT) return tkr_jr_fail(&l->reader, "weight_map is not an object");
    for (tkr_jr_type type; (type = tkr_jr_next(&l->reader)) != TKR_JR_OBJECT_END;) {
        if (type == TKR_JR_ERROR) return l->error->status;
        const tkr_status status = read_entry(l);
        if (status != TKR_OK) return status;
    }
    return TKR_OK;
}

static tkr_status read_index(list *l) {
    tkr_jr *r = &l->reader;
    bool found = false;
    const tkr_jr_type start = tkr_jr_next(r);
    if (start == TKR_JR_ERROR) return l->error->status;
    if (start != TKR_JR_OBJECT) return tkr_jr_fail(r, "expected an object with a weight_map");
    for (tkr_jr_type type; (type = tkr_jr_next(r)) != TKR_JR_OBJECT_END;) {
        if (type == TKR_JR_ERROR) return l->error->status;
        if (r->n_string != 10 || memcmp(r->string, "weight_map", 10) != 0) {
            if (!tkr_jr_skip(r)) return l->error->status;
            continue;
        }
        if (found) return tkr_jr_fail(r, "weight_map is given twice");
        found = true;
        const tkr_status status = read_weight_map(l);
        if (status != TKR_OK) return status;
    }
    if (l->n == 0) return tkr_jr_fail(r, found ? "weight_map is empty" : "weight_map is missing");
    return tkr_jr_next(r) == TKR_JR_END ? TKR_OK : l->error->status;
}

static int by_name(const void *left, const void *right) {
    return strcmp(((const tkr_tensor_entry *)left)->name, ((const tkr_tensor_entry *)right)->name);
}

static tkr_status sort_unique(const list *l) {
    qsort(l->entries, l->n, sizeof *l->entries, by_name);
    for (size_t i = 1; i < l->n; i++) {
        if (strcmp(l->entries[i - 1].name, l->entries[i].name) != 0) continue;
        return TKR_FAIL(l->error, FORMAT, "%s: weight_map names tensor \"%.*s\" twice", l->reader.what, TKR_NAME_SHOWN,
                        l->entries[i].name);
    }
    return TKR_OK;
}

tkr_status tkr_tensor_index_parse(tkr_tensor_entry **entries, size_t *n_entries, tkr_arena *text, const char *json,
                                  size_t size, const char *what, tkr_error *error) {
    tkr_error local; /* the reader says what went wrong only there */
    list l = {.text = text, .error = error ? error : &local};
    tkr_jr_init(&l.reader, json, size, what, l.error);
    tkr_status status = read_index(&l);
    if (status == TKR_OK) status = sort_unique(&l);
    tkr_jr_free(&l.reader);
    if (status != TKR_OK) {
        tkr_free(l.entries);
        return status;
    }
    *entries = l.entries;
    *n_entries = l.n;
    return TKR_OK;
}
