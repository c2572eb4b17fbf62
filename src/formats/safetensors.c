/* SPDX-License-Identifier: Apache-2.0 */
/* formats/safetensors: the set of tensors of a file or of a folder's shards. Refuses shards and index that disagree. */
#include "formats/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/safetensors_parse.h"

#define SINGLE_NAME "model.safetensors"
#define INDEX_NAME "model.safetensors.index.json"
#define MAX_INDEX ((size_t)64 << 20) /* bytes */
#define NAME_MAX_SHOWN 120

void tkr_shape_text(char *out, size_t size, const int64_t *shape, unsigned n_dims) {
    size_t used = 0;
    if (size == 0) return;
    for (unsigned i = 0; i < n_dims && used < size; i++) {
        const int n = snprintf(out + used, size - used, "%s%" PRId64, i ? ", " : "[", shape[i]);
        if (n < 0) break;
        used += (size_t)n;
    }
    if (used < size) snprintf(out + used, size - used, "%s", n_dims ? "]" : "[]");
}

/* ---- finishing and looking up ---------------------------------------------------------------------------------- */

static int by_name(const void *left, const void *right) {
    return strcmp(((const tkr_tensor_view *)left)->name, ((const tkr_tensor_view *)right)->name);
}

tkr_status tkr_tensors_finish(tkr_tensors *set, const char *what, tkr_error *error) {
    if (set->n_views > 1) qsort(set->views, set->n_views, sizeof *set->views, by_name);
    for (size_t i = 1; i < set->n_views; i++) {
        const tkr_tensor_view *a = &set->views[i - 1], *b = &set->views[i];
        if (strcmp(a->name, b->name) != 0) continue;
        if (a->file == b->file) {
            return TKR_FAIL(error, FORMAT, "%s: tensor \"%.*s\" is there twice", what, NAME_MAX_SHOWN, a->name);
        }
        return TKR_FAIL(error, FORMAT, "%s: tensor \"%.*s\" is both in %s and in %s", what, NAME_MAX_SHOWN, a->name,
                        a->file, b->file);
    }
    return TKR_OK;
}

static int name_to_view(const void *name, const void *view) {
    return strcmp(name, ((const tkr_tensor_view *)view)->name);
}

const tkr_tensor_view *tkr_tensors_find(const tkr_tensors *set, const char *name) {
    if (set->n_views == 0) return NULL;
    return bsearch(name, set->views, set->n_views, sizeof *set->views, name_to_view);
}

size_t tkr_tensors_count(const tkr_tensors *set) { return set->n_views; }

const tkr_tensor_view *tkr_tensors_at(const tkr_tensors *set, size_t index) {
    return index < set->n_views ? &set->views[index] : NULL;
}

uint64_t tkr_tensors_mapped_bytes(const tkr_tensors *set) {
    uint64_t sum = 0;
    for (size_t i = 0; i < set->n_maps; i++) sum += set->maps[i].size;
    return sum;
}

void tkr_tensors_free(tkr_tensors **slot) {
    tkr_tensors *set = slot ? *slot : NULL;
    if (!set) return;
    *slot = NULL;
    for (size_t i = 0; i < set->n_maps; i++) tkr_map_close(&set->maps[i]);
    tkr_free(set->maps);
    tkr_free(set->views);
    tkr_arena_free(&set->text);
    tkr_free(set);
}

/* ---- opening --------------------------------------------------------------------------------------------------- */

/* A set with room for the maps of n_files files. */
static tkr_tensors *new_set(size_t n_files) {
    tkr_tensors *set = tkr_calloc(1, sizeof *set);
    if (!set) return NULL;
    set->maps = tkr_calloc(n_files, sizeof *set->maps);
    if (set->maps) return set;
    tkr_tensors_free(&set);
    return NULL;
}

/* `file` lives as long as the set. */
static tkr_status add_file(tkr_tensors *set, const char *path, const char *file, tkr_error *error) {
    tkr_map *map = &set->maps[set->n_maps];
    tkr_status status = tkr_map_open(map, path, error);
    if (status != TKR_OK) return status;
    set->n_maps++;
    const tkr_tensor_source source = {map->data, map->size, path, file};
    return tkr_tensors_add(set, &source, error);
}

tkr_status tkr_tensors_open_file(tkr_tensors **out, const char *path, tkr_error *error) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    tkr_status status = TKR_OK;
    const char *file = NULL;
    tkr_tensors *set = new_set(1);
    if (set) file = tkr_arena_strndup(&set->text, base, strlen(base));
    if (!file) {
        status = TKR_FAIL(error, NO_MEMORY, "%s: out of memory", path);
        goto fail;
    }
    if ((status = add_file(set, path, file, error)) != TKR_OK) goto fail;
    if ((status = tkr_tensors_finish(set, path, error)) != TKR_OK) goto fail;
    *out = set;
    return TKR_OK;
fail:
    tkr_tensors_free(&set);
    return status;
}

tkr_status tkr_tensors_open_memory(tkr_tensors **out, const void *data, size_t size, const char *what,
                                   tkr_error *error) {
    tkr_tensors *set = new_set(1);
    if (!set) return TKR_FAIL(error, NO_MEMORY, "%s: out of memory", what);
    const tkr_tensor_source source = {data, size, what, what};
    tkr_status status = tkr_tensors_add(set, &source, error);
    if (status == TKR_OK) status = tkr_tensors_finish(set, what, error);
    if (status != TKR_OK)
        tkr_tensors_free(&set);
    else
        *out = set;
    return status;
}

/* ---- shards ---------------------------------------------------------------------------------------------------- */

static int by_file(const void *left, const void *right) {
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

/* Returns (tkr_free) the different file names among the entries, sorted; they stay the entries' strings. */
static const char **list_files(size_t *n_files, const tkr_tensor_entry *entries, size_t n_entries) {
    const char **files = tkr_calloc(n_entries, sizeof *files);
    if (!files) return NULL;
    for (size_t i = 0; i < n_entries; i++) files[i] = entries[i].file;
    qsort(files, n_entries, sizeof *files, by_file);
    *n_files = 0;
    for (size_t i = 0; i < n_entries; i++) {
        if (*n_files == 0 || strcmp(files[*n_files - 1], files[i]) != 0) files[(*n_files)++] = files[i];
    }
    return files;
}

/* Both sorted by name: they must be the same names, in the same files. */
static tkr_status compare_index(const tkr_tensors *set, const tkr_tensor_entry *entries, size_t n_entries,
                                const char *what, tkr_error *error) {
    size_t i = 0, k = 0;
    while (i < set->n_views || k < n_entries) {
        const int order = k == n_entries ? -1 : i == set->n_views ? 1 : strcmp(set->views[i].name, entries[k].name);
        if (order < 0) {
            return TKR_FAIL(error, FORMAT, "%s: tensor \"%.*s\" of %s is not in the index", what, NAME_MAX_SHOWN,
                            set->views[i].name, set->views[i].file);
        }
        if (order > 0) {
            return TKR_FAIL(error, FORMAT, "%s: tensor \"%.*s\" is not in %s, where the index says it is", what,
                            NAME_MAX_SHOWN, entries[k].name, entries[k].file);
        }
        if (strcmp(set->views[i].file, entries[k].file) != 0) {
            return TKR_FAIL(error, FORMAT, "%s: tensor \"%.*s\" is in %s, but the index says %s", what, NAME_MAX_SHOWN,
                            set->views[i].name, set->views[i].file, entries[k].file);
        }
        i++;
        k++;
    }
    return TKR_OK;
}

static tkr_status add_shards(tkr_tensors *set, const char *folder, const char *const *files, size_t n_files,
                             tkr_error *error) {
    for (size_t i = 0; i < n_files; i++) {
        const char *file = tkr_arena_strndup(&set->text, files[i], strlen(files[i]));
        char *path = tkr_path_join(folder, files[i]);
        tkr_status status;
        if (!file || !path)
            status = TKR_FAIL(error, NO_MEMORY, "%s: out of memory", folder);
        else
            status = add_file(set, path, file, error);
        tkr_free(path);
        if (status == TKR_NOT_FOUND) return tkr_error_prefix(error, status, "shard named in " INDEX_NAME);
        if (status != TKR_OK) return status;
    }
    return TKR_OK;
}

static tkr_status open_sharded(tkr_tensors **out, const char *folder, const char *index_path, tkr_error *error) {
    tkr_buf json = {0};
    tkr_arena text = {0};
    tkr_tensor_entry *entries = NULL;
    const char **files = NULL;
    tkr_tensors *set = NULL;
    size_t n_entries = 0, n_files = 0;
    tkr_status status = tkr_file_read(&json, index_path, MAX_INDEX, error);
    if (status != TKR_OK) goto fail;
    status = tkr_tensor_index_parse(&entries, &n_entries, &text, json.data, json.size, index_path, error);
    if (status != TKR_OK) goto fail;
    files = list_files(&n_files, entries, n_entries);
    set = files ? new_set(n_files) : NULL;
    if (!set) {
        status = TKR_FAIL(error, NO_MEMORY, "%s: out of memory", index_path);
        goto fail;
    }
    if ((status = add_shards(set, folder, files, n_files, error)) != TKR_OK) goto fail;
    if ((status = tkr_tensors_finish(set, folder, error)) != TKR_OK) goto fail;
    if ((status = compare_index(set, entries, n_entries, index_path, error)) != TKR_OK) goto fail;
    *out = set;
    set = NULL;
fail:
    tkr_tensors_free(&set);
    tkr_free(files);
    tkr_free(entries);
    tkr_arena_free(&text);
    tkr_buf_free(&json);
    return status;
}

tkr_status tkr_tensors_open_folder(tkr_tensors **out, const char *folder, tkr_error *error) {
    char *single = tkr_path_join(folder, SINGLE_NAME), *index = tkr_path_join(folder, INDEX_NAME);
    tkr_status status;
    if (!single || !index) {
        status = TKR_FAIL(error, NO_MEMORY, "%s: out of memory", folder);
    } else if (tkr_path_exists(single)) {
        status = tkr_tensors_open_file(out, single, error);
    } else if (tkr_path_exists(index)) {
        status = open_sharded(out, folder, index, error);
    } else {
        status = TKR_FAIL(error, NOT_FOUND, "%s: neither " SINGLE_NAME " nor " INDEX_NAME " is there", folder);
    }
    tkr_free(index);
    tkr_free(single);
    return status;
}
