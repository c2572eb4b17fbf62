/* SPDX-License-Identifier: Apache-2.0 */
/* formats/gguf: opening, the header, looking up. Refuses version 1, big-endian files and parts of split files. */
#include "formats/gguf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf_read.h"
#include "formats/tensors.h"

/* ---- reading --------------------------------------------------------------------------------------------------- */

tkr_status tkr_gguf_truncated(const tkr_gguf_reader *r, const char *what) {
    return TKR_FAIL(r->error, FORMAT, "%s: the file ends inside of %s (truncated?)", r->file->path, what);
}

static tkr_status read_number(uint64_t *out, tkr_gguf_reader *r, unsigned bytes, const char *what) {
    if ((size_t)(r->end - r->at) < bytes) return tkr_gguf_truncated(r, what);
    *out = 0;
    for (unsigned i = 0; i < bytes; i++) *out |= (uint64_t)r->at[i] << (8 * i);
    r->at += bytes;
    return TKR_OK;
}

tkr_status tkr_gguf_u32(uint32_t *out, tkr_gguf_reader *r, const char *what) {
    uint64_t value = 0;
    const tkr_status status = read_number(&value, r, 4, what);
    *out = (uint32_t)value;
    return status;
}

tkr_status tkr_gguf_u64(uint64_t *out, tkr_gguf_reader *r, const char *what) { return read_number(out, r, 8, what); }

tkr_status tkr_gguf_text(const char **text, size_t *n, tkr_gguf_reader *r, const char *what) {
    uint64_t length = 0;
    const tkr_status status = tkr_gguf_u64(&length, r, what);
    if (status != TKR_OK) return status;
    if (length > (size_t)(r->end - r->at)) {
        return TKR_FAIL(r->error, FORMAT, "%s: %s is a string of %" PRIu64 " bytes, but only %zu are left",
                        r->file->path, what, length, (size_t)(r->end - r->at));
    }
    *text = (const char *)r->at;
    *n = (size_t)length;
    r->at += length;
    return TKR_OK;
}

tkr_status tkr_gguf_name(const char **name, tkr_gguf_reader *r, const char *what) {
    const char *text = NULL;
    size_t n = 0;
    const tkr_status status = tkr_gguf_text(&text, &n, r, what);
    if (status != TKR_OK) return status;
    if (n == 0 || n >= TKR_GGUF_MAX_NAME) {
        return TKR_FAIL(r->error, FORMAT, "%s: %s has %zu bytes, expected 1 to %d", r->file->path, what, n,
                        TKR_GGUF_MAX_NAME - 1);
    }
    if (memchr(text, '\0', n)) return TKR_FAIL(r->error, FORMAT, "%s: %s holds a NUL character", r->file->path, what);
    *name = tkr_arena_strndup(&r->file->text, text, n);
    return *name ? TKR_OK : TKR_FAIL(r->error, NO_MEMORY, "%s: out of memory for names", r->file->path);
}

static tkr_status check_split(tkr_gguf_reader *r) {
    const tkr_gguf_value *count = tkr_gguf_find(r->file, "split.count");
    if (!count || count->kind != TKR_GGUF_INT || count->integer <= 1) return TKR_OK;
    return TKR_FAIL(r->error, UNSUPPORTED,
                    "%s: is one of the %" PRId64 " parts of a split file; join them with llama-gguf-split --merge",
                    r->file->path, count->integer);
}

static tkr_status read_file(tkr_gguf_reader *r) {
    const char *path = r->file->path;
    uint32_t version = 0;
    uint64_t n_tensors = 0, n_values = 0;
    if (r->end - r->at < 4 || memcmp(r->at, "GGUF", 4) != 0) {
        return TKR_FAIL(r->error, FORMAT, "%s: does not begin with \"GGUF\": not a GGUF file?", path);
    }
    r->at += 4;
    tkr_status status = tkr_gguf_u32(&version, r, "the header");
    if (status != TKR_OK) return status;
    if ((version & 0xffffu) == 0 && version != 0) {
        return TKR_FAIL(r->error, UNSUPPORTED, "%s: is big-endian, expected a little-endian GGUF file", path);
    }
    if (version != 2 && version != 3) {
        return TKR_FAIL(r->error, UNSUPPORTED, "%s: is of GGUF version %" PRIu32 ", supported are 2 and 3", path,
                        version);
    }
    status = tkr_gguf_u64(&n_tensors, r, "the header");
    if (status == TKR_OK) status = tkr_gguf_u64(&n_values, r, "the header");
    if (status == TKR_OK) status = tkr_gguf_read_values(r, n_values);
    if (status == TKR_OK) status = check_split(r);
    if (status == TKR_OK) status = tkr_gguf_read_tensors(r, n_tensors);
    return status;
}

static tkr_gguf *new_file(const char *path) {
    tkr_gguf *file = tkr_calloc(1, sizeof *file);
    if (!file) return NULL;
    file->path = tkr_strdup(path);
    if (!file->path) {
        tkr_free(file);
        return NULL;
    }
    const char *slash = strrchr(file->path, '/');
    file->file = slash ? slash + 1 : file->path;
    return file;
}

static tkr_status finish(tkr_gguf **out, tkr_gguf *file, const void *data, size_t size, tkr_error *error) {
    tkr_error local; /* statuses travel in it */
    tkr_gguf_reader r = {.file = file, .begin = data, .error = error ? error : &local};
    static const uint8_t nothing[1];
    if (size == 0) r.begin = nothing;
    r.at = r.begin;
    r.end = r.begin + size;
    const tkr_status status = read_file(&r);
    if (status != TKR_OK)
        tkr_gguf_free(&file);
    else
        *out = file;
    return status;
}

tkr_status tkr_gguf_open(tkr_gguf **out, const char *path, tkr_error *error) {
    tkr_gguf *file = new_file(path);
    if (!file) return TKR_FAIL(error, NO_MEMORY, "%s: out of memory", path);
    const tkr_status status = tkr_map_open(&file->map, path, error);
    if (status == TKR_OK) return finish(out, file, file->map.data, file->map.size, error);
    tkr_gguf_free(&file);
    return status;
}

tkr_status tkr_gguf_open_memory(tkr_gguf **out, const void *data, size_t size, const char *what, tkr_error *error) {
    tkr_gguf *file = new_file(what);
    if (!file) return TKR_FAIL(error, NO_MEMORY, "%s: out of memory", what);
    return finish(out, file, data, size, error);
}

void tkr_gguf_free(tkr_gguf **slot) {
    tkr_gguf *file = slot ? *slot : NULL;
    if (!file) return;
    *slot = NULL;
    tkr_map_close(&file->map);
    tkr_free(file->values);
    tkr_free(file->tensors);
    tkr_free(file->path);
    tkr_arena_free(&file->text);
    tkr_free(file);
}

/* ---- looking up ------------------------------------------------------------------------------------------------ */

static int key_to_value(const void *key, const void *value) {
    return strcmp(key, ((const tkr_gguf_value *)value)->key);
}

const tkr_gguf_value *tkr_gguf_find(const tkr_gguf *file, const char *key) {
    if (file->n_values == 0) return NULL;
    return bsearch(key, file->values, file->n_values, sizeof *file->values, key_to_value);
}

size_t tkr_gguf_count(const tkr_gguf *file) { return file->n_values; }

const tkr_gguf_value *tkr_gguf_at(const tkr_gguf *file, size_t index) {
    return index < file->n_values ? &file->values[index] : NULL;
}

/* ---- the set ---------------------------------------------------------------------------------------------------- */

static tkr_status add_renamed(tkr_tensors *set, const tkr_gguf *file, const tkr_tensor_view *tensor,
                              tkr_gguf_rename_fn renamer, void *user, tkr_error *error) {
    char name[256];
    if (renamer && !renamer(user, name, sizeof name, tensor->name)) return TKR_OK;
    tkr_tensor_view *view = tkr_tensors_next(set, file->path, error);
    if (!view) return set->n_views == TKR_MAX_TENSORS ? TKR_LIMIT : TKR_NO_MEMORY;
    *view = *tensor;
    if (renamer) view->name = tkr_arena_strndup(&set->text, name, strlen(name));
    if (!view->name) return TKR_FAIL(error, NO_MEMORY, "%s: out of memory for tensor names", file->path);
    set->n_views++;
    return TKR_OK;
}

tkr_status tkr_gguf_tensors(tkr_tensors **out, const tkr_gguf *file, tkr_gguf_rename_fn renamer, void *user,
                            tkr_error *error) {
    tkr_tensors *set = tkr_tensors_new(1);
    if (!set) return TKR_FAIL(error, NO_MEMORY, "%s: out of memory", file->path);
    tkr_status status = TKR_OK;
    for (size_t i = 0; i < file->n_tensors && status == TKR_OK; i++) {
        status = add_renamed(set, file, &file->tensors[i], renamer, user, error);
    }
    if (status == TKR_OK) status = tkr_tensors_finish(set, file->path, error);
    if (status != TKR_OK) {
        tkr_tensors_free(&set);
        return status;
    }
    set->borrowed = file->map.size;
    *out = set;
    return TKR_OK;
}
