/* SPDX-License-Identifier: Apache-2.0 */
/* engine/weight_cache: decides whether packed weights are kept, under which name, and when they are stale. */
#include "engine/weight_cache.h"

#include <inttypes.h>
#include <string.h>

#include "core/digest.h"
#include "core/fsops.h"
#include "core/task.h"
#include "engine/cache_dir.h"
#include "engine/cache_file.h"

/* Below it packing takes less than a tenth of a second (docs/performance.md): not worth a file. */
#define DEFAULT_LEAST ((uint64_t)64 << 20)
#define MAX_CONFIG ((size_t)64 << 20)

struct tkr_weight_cache {
    tkr_packed_store store;
    char *folder, *path;
    tkr_buf identity;
    tkr_cache_file *file;     /* mapped */
    tkr_cache_writer *writer; /* or written */
    tkr_task *finishing;
    uint64_t limit;
    size_t n_hits, n_misses;
    tkr_log log;
};

/* ---- what the packed bytes depend on ---- */

/* Packs a small made-up layer as a real one would be and hashes the bytes: they change with any change of the packing
 * code, whatever its version says. */
static bool add_witness(tkr_digest *digest, const tkr_weight_cache_options *o, const tkr_linear_shape *shape) {
    tkr_weight *weight = NULL;
    size_t bytes = 0;
    float *values = tkr_malloc(shape->rows * shape->cols * sizeof *values);
    if (!values) return false;
    uint32_t x = 1;
    for (size_t i = 0; i < shape->rows * shape->cols; i++) {
        x = x * 1664525u + 1013904223u; /* Numerical Recipes' generator */
        values[i] = (float)((double)x / 4294967296.0 - 0.5);
    }
    const tkr_source part = {"witness",
                             {.data = values, .dtype = TKR_DTYPE_F32, .rows = shape->rows, .cols = shape->cols}};
    const tkr_linear_spec spec = {.parts = &part, .n_parts = 1, .shape = *shape};
    bool good = o->ops->linear(&weight, o->backend, &spec, NULL) == TKR_OK;
    const void *packed = good ? o->ops->linear_packed(&bytes, weight) : NULL;
    if (packed) tkr_digest_add(digest, packed, bytes);
    if (good) o->ops->weight_free(&weight);
    tkr_free(values);
    return packed != NULL;
}

static bool witness(uint64_t *out, const tkr_weight_cache_options *o) {
    tkr_digest digest;
    tkr_digest_init(&digest);
    const tkr_gemm_mode mode = o->plan->mode;
    const tkr_linear_shape shapes[] = {
        {.rows = 40, .cols = 8320, .mode = mode, .group = o->plan->group}, /* long rows may be cut into slices */
        {.rows = 72, .cols = 384, .mode = mode, .group = o->plan->group, .gated = true},
        {.rows = 40, .cols = 384, .mode = mode, .group = o->plan->group, .sensitivity = TKR_SENSITIVE_INPUT},
        {.rows = 40, .cols = 384, .mode = mode == TKR_GEMM_Q4 ? TKR_GEMM_Q8 : mode, .group = o->plan->group}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (!add_witness(&digest, o, &shapes[i])) return false;
    *out = tkr_digest_end(&digest);
    return true;
}

/* The header of every source file: names, types, shapes and places of all tensors. */
static uint64_t hash_tensors(const tkr_tensors *set) {
    tkr_digest digest;
    tkr_digest_init(&digest);
    for (size_t i = 0; i < tkr_tensors_count(set); i++) {
        const tkr_tensor_view *view = tkr_tensors_at(set, i);
        uint64_t where[2] = {0, 0};
        for (size_t f = 0; f < tkr_tensors_n_files(set); f++) {
            const tkr_map *map = tkr_tensors_file(set, f);
            const uintptr_t from = (uintptr_t)view->data - (uintptr_t)map->data;
            if (map->size > 0 && from < map->size) where[0] = f, where[1] = from;
        }
        const uint64_t type = view->dtype;
        tkr_digest_add(&digest, view->name, strlen(view->name));
        tkr_digest_add(&digest, view->shape, view->n_dims * sizeof *view->shape);
        tkr_digest_add(&digest, &type, sizeof type);
        tkr_digest_add(&digest, where, sizeof where);
    }
    return tkr_digest_end(&digest);
}

/* 0 where there is no config.json: a GGUF file is its own. */
static uint64_t hash_config(const char *folder) {
    tkr_buf text = {0};
    tkr_digest digest;
    tkr_digest_init(&digest);
    char *path = tkr_path_join(folder, "config.json");
    bool read = path && tkr_file_read(&text, path, MAX_CONFIG, NULL) == TKR_OK;
    if (read) tkr_digest_add(&digest, text.data, text.size);
    tkr_buf_free(&text);
    tkr_free(path);
    return read ? tkr_digest_end(&digest) : 0;
}

static uint64_t hash_text(const tkr_buf *text) {
    tkr_digest digest;
    tkr_digest_init(&digest);
    tkr_digest_add(&digest, text->data, text->size);
    return tkr_digest_end(&digest);
}

/* Writes the identity. *name is a hash of its first part, which stays the same when a model's files change in place:
 * what was made from their former state is then overwritten. */
static bool make_identity(tkr_buf *out, uint64_t *name, const tkr_weight_cache_options *o) {
    const tkr_plan *plan = o->plan;
    uint64_t packing = 0;
    if (!witness(&packing, o)) return false;
    tkr_buf_printf(out, "rung %s, %s, %s, mode %d, group %zu, spare %d\n", o->kernels->rung,
                   o->kernels->gemm[plan->mode]->name,
                   o->kernels->q8_fine && plan->mode >= TKR_GEMM_Q8 ? o->kernels->q8_fine->name : "-", (int)plan->mode,
                   plan->group, (int)plan->spared);
    for (size_t i = 0; i < tkr_tensors_n_files(o->tensors); i++) {
        const tkr_file_id *id = &tkr_tensors_file(o->tensors, i)->id;
        tkr_buf_printf(out, "file %" PRIu64 ":%" PRIu64 "\n", id->device, id->inode);
    }
    *name = out->failed ? 0 : hash_text(out);
    for (size_t i = 0; i < tkr_tensors_n_files(o->tensors); i++) {
        const tkr_file_id *id = &tkr_tensors_file(o->tensors, i)->id;
        tkr_buf_printf(out, "%" PRIu64 " bytes of %" PRId64 "\n", id->size, id->modified_ns);
    }
    tkr_buf_printf(out, "tensors %016" PRIx64 "\nconfig.json %016" PRIx64 "\n", hash_tensors(o->tensors),
                   hash_config(o->folder));
    return tkr_buf_printf(out, "packing %016" PRIx64 "\nprogram %s\n", packing, tkr_version());
}

/* ---- the store that the binder asks ---- */

static const void *get(void *user, const char *key, size_t *bytes) {
    tkr_weight_cache *cache = user;
    const void *found = cache->file ? tkr_cache_file_find(cache->file, key, bytes) : NULL;
    if (found)
        cache->n_hits++;
    else
        cache->n_misses++;
    return found;
}

static void put(void *user, const char *key, const void *packed, size_t bytes) {
    tkr_weight_cache *cache = user;
    if (cache->writer) tkr_cache_writer_add(cache->writer, key, packed, bytes);
}

const tkr_packed_store *tkr_weight_cache_store(const tkr_weight_cache *cache) { return cache ? &cache->store : NULL; }

/* ---- opening ---- */

static void say(const tkr_weight_cache_options *o, const tkr_error *error) {
    tkr_log_line(o->log, TKR_LOG_INFO, "weight cache: not used: %s", error->message);
}

static bool begin_writing(tkr_weight_cache *cache, const tkr_weight_cache_options *o) {
    tkr_error error = {0};
    const uint64_t need = o->plan->weights_bytes, room = tkr_path_free_bytes(cache->folder);
    tkr_status status = TKR_OK;
    if (need > cache->limit)
        status = TKR_FAIL(&error, LIMIT, "the weights' %" PRIu64 " MiB are more than its limit of %" PRIu64 " MiB",
                          need >> 20, cache->limit >> 20);
    else if (room > 0 && room - room / 50 < need)
        status = TKR_FAIL(&error, IO, "%s: %" PRIu64 " MiB free, %" PRIu64 " MiB needed", cache->folder, room >> 20,
                          need >> 20);
    else
        status = tkr_cache_writer_open(&cache->writer, cache->path, cache->identity.data, &error);
    if (status != TKR_OK) say(o, &error);
    return status == TKR_OK;
}

/* Maps the model's file, or begins to write it. */
static bool open_file(tkr_weight_cache *cache, const tkr_weight_cache_options *o) {
    tkr_error error = {0};
    tkr_status status = tkr_cache_file_open(&cache->file, cache->path, cache->identity.data, &error);
    if (status == TKR_OK) {
        tkr_fs_touch(cache->path);
        return true;
    }
    if (status == TKR_FORMAT) tkr_log_line(o->log, TKR_LOG_INFO, "weight cache: %s", error.message);
    if (status == TKR_FORMAT || status == TKR_NOT_FOUND) return begin_writing(cache, o);
    say(o, &error);
    return false;
}

tkr_weight_cache *tkr_weight_cache_open(const tkr_weight_cache_options *o) {
    const uint64_t least = o->model->weight_cache_least ? o->model->weight_cache_least : DEFAULT_LEAST;
    if (o->model->no_weight_cache || o->plan->weights_bytes < least || tkr_tensors_n_files(o->tensors) == 0)
        return NULL;
    uint64_t name = 0;
    tkr_error error = {0};
    tkr_buf path = {0};
    tkr_weight_cache *cache = tkr_calloc(1, sizeof *cache);
    if (!cache) return NULL;
    cache->log = *o->log;
    cache->limit = tkr_cache_dir_limit(o->model);
    cache->store = (tkr_packed_store){cache, get, put};
    if (tkr_cache_dir_open(&cache->folder, o->model, &error) != TKR_OK) {
        say(o, &error);
        goto none;
    }
    if (!make_identity(&cache->identity, &name, o)) goto none;
    bool named = tkr_buf_printf(&path, "%s/weights-%016" PRIx64 TKR_CACHE_SUFFIX, cache->folder, name);
    cache->path = path.data;
    if (!named || !open_file(cache, o)) goto none;
    return cache;
none:
    tkr_weight_cache_free(&cache);
    return NULL;
}

/* Waiting for the disk may take as long as packing took. */
static void finish_writing(void *user) {
    tkr_weight_cache *cache = user;
    tkr_error error = {0};
    if (tkr_cache_writer_finish(&cache->writer, true, &error) == TKR_OK)
        tkr_cache_dir_trim(cache->folder, cache->limit, cache->path, &cache->log);
    else
        tkr_log_line(&cache->log, TKR_LOG_INFO, "weight cache: not written: %s", error.message);
}

void tkr_weight_cache_finish(tkr_weight_cache *cache, bool succeeded) {
    if (!cache) return;
    if (cache->file) {
        /* The identity is right and yet a layer is missing or refused: nothing that can be relied upon. */
        if (!succeeded || cache->n_misses > 0) (void)tkr_fs_remove(cache->path, NULL);
    } else if (succeeded) {
        cache->finishing = tkr_task_start(finish_writing, cache);
    } else {
        (void)tkr_cache_writer_finish(&cache->writer, false, NULL);
    }
}

size_t tkr_weight_cache_hits(const tkr_weight_cache *cache) { return cache ? cache->n_hits : 0; }
size_t tkr_weight_cache_misses(const tkr_weight_cache *cache) { return cache ? cache->n_misses : 0; }
const char *tkr_weight_cache_path(const tkr_weight_cache *cache) { return cache ? cache->path : NULL; }

uint64_t tkr_weight_cache_mapped_bytes(const tkr_weight_cache *cache) {
    return cache && cache->file ? tkr_cache_file_bytes(cache->file) : 0;
}

tkr_status tkr_weight_cache_verify(const tkr_weight_cache *cache, tkr_error *error) {
    return cache && cache->file ? tkr_cache_file_verify(cache->file, error) : TKR_OK;
}

void tkr_weight_cache_free(tkr_weight_cache **slot) {
    if (!slot || !*slot) return;
    tkr_weight_cache *cache = *slot;
    tkr_task_wait(&cache->finishing);
    (void)tkr_cache_writer_finish(&cache->writer, false, NULL);
    tkr_cache_file_close(&cache->file);
    tkr_buf_free(&cache->identity);
    tkr_free(cache->path);
    tkr_free(cache->folder);
    tkr_free(cache);
    *slot = NULL;
}
