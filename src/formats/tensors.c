/* SPDX-License-Identifier: Apache-2.0 */
/* formats/tensors: the set of tensors that every format's reader fills. Refuses two tensors of one name. */
#include "formats/tensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/adapter.h"

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
            return TKR_FAIL(error, FORMAT, "%s: tensor \"%.*s\" is there twice", what, TKR_NAME_SHOWN, a->name);
        }
        return TKR_FAIL(error, FORMAT, "%s: tensor \"%.*s\" is both in %s and in %s", what, TKR_NAME_SHOWN, a->name,
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
    uint64_t sum = set->borrowed;
    for (size_t i = 0; i < set->n_maps; i++) sum += set->maps[i].size;
    return sum;
}

size_t tkr_tensors_n_files(const tkr_tensors *set) { return set->n_maps; }

const tkr_map *tkr_tensors_file(const tkr_tensors *set, size_t index) {
    return index < set->n_maps ? &set->maps[index] : NULL;
}

void tkr_tensors_free(tkr_tensors **slot) {
    tkr_tensors *set = slot ? *slot : NULL;
    if (!set) return;
    *slot = NULL;
    for (size_t i = 0; i < set->n_maps; i++) tkr_map_close(&set->maps[i]);
    tkr_adapter_free(&set->adapter);
    tkr_free(set->maps);
    tkr_free(set->views);
    tkr_arena_free(&set->text);
    tkr_free(set);
}

/* ---- filling ---------------------------------------------------------------------------------------------------- */

tkr_tensors *tkr_tensors_new(size_t n_files) {
    tkr_tensors *set = tkr_calloc(1, sizeof *set);
    if (!set) return NULL;
    set->maps = tkr_calloc(n_files, sizeof *set->maps);
    if (set->maps) return set;
    tkr_tensors_free(&set);
    return NULL;
}

tkr_status tkr_tensors_add_file(tkr_tensors *set, tkr_tensor_reader reader, const char *path, const char *file,
                                tkr_error *error) {
    tkr_map *map = &set->maps[set->n_maps];
    tkr_status status = tkr_map_open(map, path, error);
    if (status != TKR_OK) return status;
    set->n_maps++;
    const tkr_tensor_source source = {map->data, map->size, path, file};
    return reader(set, &source, error);
}

tkr_tensor_view *tkr_tensors_next(tkr_tensors *set, const char *path, tkr_error *error) {
    if (set->n_views == TKR_MAX_TENSORS) {
        (void)TKR_FAIL(error, LIMIT, "%s: more than %u tensors", path, TKR_MAX_TENSORS);
        return NULL;
    }
    if (set->n_views == set->room) {
        const size_t room = set->room ? set->room * 2 : 64;
        tkr_tensor_view *views = tkr_realloc(set->views, room * sizeof *views);
        if (!views) {
            (void)TKR_FAIL(error, NO_MEMORY, "%s: out of memory for %zu tensors", path, room);
            return NULL;
        }
        set->views = views;
        set->room = room;
    }
    return memset(&set->views[set->n_views], 0, sizeof *set->views);
}

bool tkr_tensor_measure(size_t *n_elements, size_t *size, const int64_t *shape, unsigned n_dims, tkr_dtype dtype) {
    const size_t block = tkr_dtype_block(dtype);
    *n_elements = 1;
    for (unsigned i = 0; i < n_dims; i++) {
        if (!tkr_mul_size(n_elements, *n_elements, (size_t)shape[i])) return false;
    }
    if (block > 1 && (n_dims == 0 || (size_t)shape[n_dims - 1] % block != 0)) return false;
    return tkr_mul_size(size, *n_elements / block, tkr_dtype_size(dtype));
}

tkr_status tkr_tensors_open_with(tkr_tensors **out, tkr_tensor_reader reader, const char *path, tkr_error *error) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    tkr_status status = TKR_OK;
    const char *file = NULL;
    tkr_tensors *set = tkr_tensors_new(1);
    if (set) file = tkr_arena_strndup(&set->text, base, strlen(base));
    if (!file) {
        status = TKR_FAIL(error, NO_MEMORY, "%s: out of memory", path);
        goto fail;
    }
    if ((status = tkr_tensors_add_file(set, reader, path, file, error)) != TKR_OK) goto fail;
    if ((status = tkr_tensors_finish(set, path, error)) != TKR_OK) goto fail;
    *out = set;
    return TKR_OK;
fail:
    tkr_tensors_free(&set);
    return status;
}

tkr_status tkr_tensors_open_memory(tkr_tensors **out, tkr_tensor_reader reader, const void *data, size_t size,
                                   const char *what, tkr_error *error) {
    tkr_tensors *set = tkr_tensors_new(1);
    if (!set) return TKR_FAIL(error, NO_MEMORY, "%s: out of memory", what);
    const tkr_tensor_source source = {data, size, what, what};
    tkr_status status = reader(set, &source, error);
    if (status == TKR_OK) status = tkr_tensors_finish(set, what, error);
    if (status != TKR_OK)
        tkr_tensors_free(&set);
    else
        *out = set;
    return status;
}
