/* SPDX-License-Identifier: Apache-2.0 */
/* formats/safetensors: the tensors of a file or of a folder, in one file or in shards. Refuses shards and index that
 * disagree. A folder without safetensors is read from pytorch_model.bin, its shards alike. */
#include "formats/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "formats/pytorch_read.h"
#include "formats/safetensors_parse.h"

#define MAX_INDEX ((size_t)64 << 20) /* bytes */

/* How a folder may hold its tensors. */
typedef struct layout {
    const char *single, *index;
    tkr_tensor_reader read;
} layout;

/* The first that is there counts. */
static const layout layouts[] = {
    {"model.safetensors", "model.safetensors.index.json", tkr_safetensors_read},
    {"pytorch_model.bin", "pytorch_model.bin.index.json", tkr_pytorch_read},
};

tkr_status tkr_tensors_open_file(tkr_tensors **out, const char *path, tkr_error *error) {
    return tkr_tensors_open_with(out, tkr_safetensors_read, path, error);
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
            return TKR_FAIL(error, FORMAT, "%s: tensor \"%.*s\" of %s is not in the index", what, TKR_NAME_SHOWN,
                            set->views[i].name, set->views[i].file);
        }
        if (order > 0) {
            return TKR_FAIL(error, FORMAT, "%s: tensor \"%.*s\" is not in %s, where the index says it is", what,
                            TKR_NAME_SHOWN, entries[k].name, entries[k].file);
        }
        if (strcmp(set->views[i].file, entries[k].file) != 0) {
            return TKR_FAIL(error, FORMAT, "%s: tensor \"%.*s\" is in %s, but the index says %s", what, TKR_NAME_SHOWN,
                            set->views[i].name, set->views[i].file, entries[k].file);
        }
        i++;
        k++;
    }
    return TKR_OK;
}

static tkr_status add_shards(tkr_tensors *set, const char *folder, const char *const *files, size_t n_files,
                             const layout *as, tkr_error *error) {
    for (size_t i = 0; i < n_files; i++) {
        const char *file = tkr_arena_strndup(&set->text, files[i], strlen(files[i]));
        char *path = tkr_path_join(folder, files[i]);
        tkr_status status;
        if (!file || !path)
            status = TKR_FAIL(error, NO_MEMORY, "%s: out of memory", folder);
        else
            status = tkr_tensors_add_file(set, as->read, path, file, error);
        tkr_free(path);
        if (status == TKR_NOT_FOUND) return tkr_error_prefix(error, status, "shard named in %s", as->index);
        if (status != TKR_OK) return status;
    }
    return TKR_OK;
}

static tkr_status open_sharded(tkr_tensors **out, const char *folder, const char *index_path, const layout *as,
                               tkr_error *error) {
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
    set = files ? tkr_tensors_new(n_files) : NULL;
    if (!set) {
        status = TKR_FAIL(error, NO_MEMORY, "%s: out of memory", index_path);
        goto fail;
    }
    if ((status = add_shards(set, folder, files, n_files, as, error)) != TKR_OK) goto fail;
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

/* *found tells whether the folder has this layout at all. */
static tkr_status open_layout(tkr_tensors **out, bool *found, const char *folder, const layout *as, tkr_error *error) {
    char *single = tkr_path_join(folder, as->single), *index = tkr_path_join(folder, as->index);
    tkr_status status = TKR_OK;
    *found = true;
    if (!single || !index)
        status = TKR_FAIL(error, NO_MEMORY, "%s: out of memory", folder);
    else if (tkr_path_exists(single))
        status = tkr_tensors_open_with(out, as->read, single, error);
    else if (tkr_path_exists(index))
        status = open_sharded(out, folder, index, as, error);
    else
        *found = false;
    tkr_free(index);
    tkr_free(single);
    return status;
}

tkr_status tkr_tensors_open_folder(tkr_tensors **out, const char *folder, tkr_error *error) {
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        bool found = false;
        const tkr_status status = open_layout(out, &found, folder, &layouts[i], error);
        if (found) return status;
    }
    return TKR_FAIL(error, NOT_FOUND, "%s: neither %s nor %s is there, nor %s", folder, layouts[0].single,
                    layouts[0].index, layouts[1].single);
}
