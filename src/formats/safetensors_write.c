/* SPDX-License-Identifier: Apache-2.0 */
/* formats/safetensors_write: planning of shards, headers, streaming, renaming. Refuses plans that no reader would take
 * and data that does not fit them. */
#include "formats/safetensors_write.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/fsops.h"
#include "core/json.h"
#include "formats/safetensors_parse.h"

enum { BUFFER = 1 << 18 };               /* bytes gathered before they are written */
#define SPARE_BYTES ((uint64_t)16 << 20) /* left free on the disk */

typedef struct shard {
    size_t first, n;       /* in the writer's order */
    uint64_t bytes;        /* of data */
    char *path, *part;     /* final name and the one until then */
    bool written, renamed; /* a file has that name */
} shard;

typedef struct item {
    const tkr_tensor_plan *plan;
    size_t index;           /* the caller's */
    uint64_t bytes, offset; /* in its shard */
} item;

struct tkr_tensor_writer {
    tkr_arena text; /* plans and their names, paths */
    char *folder, *format;
    tkr_tensor_plan *plans;
    item *items; /* [n], in the order of the data */
    size_t n;
    shard *shards;
    size_t n_shards;
    char *index_path;
    size_t at;         /* item being written */
    size_t shard_at;   /* the open shard; n_shards: none any more */
    uint64_t at_bytes; /* of that item, so far */
    uint64_t done, total;
    tkr_append *out; /* of the open shard */
    bool failed;     /* what follows would lie in the wrong place */
    tkr_buf buffer;
};

static tkr_status fail_memory(const char *folder, tkr_error *error) {
    return TKR_FAIL(error, NO_MEMORY, "%s: out of memory to write tensors", folder);
}

/* ---- planning -------------------------------------------------------------------------------------------------- */

/* Tensors of whole 8 bytes keep the caller's order; the others follow, those of wide numbers first. */
static int by_layout(const void *left, const void *right) {
    const item *a = left, *b = right;
    const bool odd_a = a->bytes % 8 != 0, odd_b = b->bytes % 8 != 0;
    if (odd_a != odd_b) return odd_a ? 1 : -1;
    const size_t size_a = tkr_dtype_size(a->plan->dtype), size_b = tkr_dtype_size(b->plan->dtype);
    if (odd_a && size_a != size_b) return size_a > size_b ? -1 : 1;
    return a->index < b->index ? -1 : 1;
}

static int by_plan_name(const void *left, const void *right) {
    return strcmp((*(const tkr_tensor_plan *const *)left)->name, (*(const tkr_tensor_plan *const *)right)->name);
}

static tkr_status check_names(const tkr_tensor_writer *w, tkr_error *error) {
    tkr_status status = TKR_OK;
    const tkr_tensor_plan **plans = tkr_calloc(w->n, sizeof(void *));
    if (!plans) return fail_memory(w->folder, error);
    for (size_t i = 0; i < w->n; i++) plans[i] = &w->plans[i];
    qsort((void *)plans, w->n, sizeof(void *), by_plan_name);
    for (size_t i = 1; i < w->n && status == TKR_OK; i++) {
        if (strcmp(plans[i - 1]->name, plans[i]->name) != 0) continue;
        status =
            TKR_FAIL(error, INVALID_ARGUMENT, "tensor \"%.*s\" is to be written twice", TKR_NAME_SHOWN, plans[i]->name);
    }
    tkr_free((void *)plans);
    return status;
}

static tkr_status copy_plans(tkr_tensor_writer *w, const tkr_tensor_plan *plans, tkr_error *error) {
    for (size_t i = 0; i < w->n; i++) {
        size_t n_elements = 0, size = 0;
        const tkr_tensor_plan *plan = &plans[i];
        w->plans[i] = *plan;
        w->plans[i].name = tkr_arena_strndup(&w->text, plan->name, strlen(plan->name));
        if (!w->plans[i].name) return fail_memory(w->folder, error);
        bool good = plan->name[0] != '\0' && strcmp(plan->name, "__metadata__") != 0 && plan->n_dims <= TKR_MAX_DIMS;
        good = good && tkr_dtype_block(plan->dtype) == 1;
        for (unsigned d = 0; good && d < plan->n_dims; d++) good = plan->shape[d] >= 0;
        good = good && tkr_tensor_measure(&n_elements, &size, plan->shape, plan->n_dims, plan->dtype);
        good = good && size <= UINT64_MAX / 2 - w->total;
        if (!good) {
            return TKR_FAIL(error, INVALID_ARGUMENT, "tensor \"%.*s\" of %s can't be written as safetensors",
                            TKR_NAME_SHOWN, plan->name, tkr_dtype_name(plan->dtype));
        }
        w->items[i] = (item){&w->plans[i], i, size, 0};
        w->total += size;
    }
    return check_names(w, error);
}

/* Cuts the order of tensors into runs of at most max_shard bytes, one tensor at least. With shards NULL only counts. */
static size_t cut(tkr_tensor_writer *w, uint64_t max_shard, shard *shards) {
    size_t n = 0;
    uint64_t used = 0;
    for (size_t i = 0; i < w->n; i++) {
        item *it = &w->items[i];
        if (i == 0 || it->bytes > max_shard || used > max_shard - it->bytes) {
            n++;
            used = 0;
            if (shards) shards[n - 1].first = i;
        }
        it->offset = used;
        used += it->bytes;
        if (shards) {
            shards[n - 1].n++;
            shards[n - 1].bytes = used;
        }
    }
    return n;
}

static tkr_status plan_shards(tkr_tensor_writer *w, uint64_t max_shard, tkr_error *error) {
    w->n_shards = cut(w, max_shard, NULL);
    w->shards = tkr_calloc(w->n_shards, sizeof *w->shards);
    if (!w->shards) return fail_memory(w->folder, error);
    (void)cut(w, max_shard, w->shards);
    for (size_t i = 0; i < w->n_shards; i++) {
        shard *s = &w->shards[i];
        s->path = w->n_shards == 1 ? tkr_arena_printf(&w->text, "%s/model.safetensors", w->folder)
                                   : tkr_arena_printf(&w->text, "%s/model-%05zu-of-%05zu.safetensors", w->folder, i + 1,
                                                      w->n_shards);
        s->part = s->path ? tkr_arena_printf(&w->text, "%s.part", s->path) : NULL;
        if (!s->part) return fail_memory(w->folder, error);
    }
    w->index_path = tkr_arena_printf(&w->text, "%s/model.safetensors.index.json", w->folder);
    return w->index_path ? TKR_OK : fail_memory(w->folder, error);
}

/* ---- files ----------------------------------------------------------------------------------------------------- */

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Length and text of a shard's header, into the empty buffer. */
static tkr_status make_header(tkr_tensor_writer *w, const shard *s, tkr_error *error) {
    tkr_buf *b = &w->buffer;
    const uint64_t later = 0;
    bool good = tkr_buf_append(b, &later, 8) && tkr_buf_printf(b, "{\"__metadata__\":{\"format\":") &&
                tkr_json_write_string(b, w->format, strlen(w->format)) && tkr_buf_putc(b, '}');
    for (size_t i = s->first; good && i < s->first + s->n; i++) {
        const item *it = &w->items[i];
        char shape[256];
        tkr_shape_text(shape, sizeof shape, it->plan->shape, it->plan->n_dims);
        good = tkr_buf_putc(b, ',') && tkr_json_write_string(b, it->plan->name, strlen(it->plan->name)) &&
               tkr_buf_printf(b, ":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}",
                              tkr_dtype_name(it->plan->dtype), shape, it->offset, it->offset + it->bytes);
    }
    good = good && tkr_buf_putc(b, '}');
    while (good && b->size % 8 != 0) good = tkr_buf_putc(b, ' ');
    if (!good) return fail_memory(w->folder, error);
    const uint64_t n_header = b->size - 8;
    if (n_header > TKR_MAX_HEADER) {
        return TKR_FAIL(error, LIMIT, "%s: a header of %" PRIu64 " bytes, at most %zu are allowed", s->path, n_header,
                        TKR_MAX_HEADER);
    }
    for (unsigned i = 0; i < 8; i++) b->data[i] = (char)(n_header >> (8 * i));
    return TKR_OK;
}

static tkr_status flush(tkr_tensor_writer *w, tkr_error *error) {
    const tkr_status status = tkr_append_write(w->out, w->buffer.data, w->buffer.size, error);
    w->buffer.size = 0;
    return status;
}

static tkr_status open_shard(tkr_tensor_writer *w, tkr_error *error) {
    shard *s = &w->shards[w->shard_at];
    uint64_t size = 0;
    tkr_status status = tkr_append_open(&w->out, &size, s->part, error);
    if (status != TKR_OK) return status;
    s->written = true;
    if (size > 0) status = tkr_append_reset(w->out, error); /* left by a run that was killed */
    if (status == TKR_OK) status = make_header(w, s, error);
    return status == TKR_OK ? flush(w, error) : status;
}

static tkr_status close_shard(tkr_tensor_writer *w, tkr_error *error) {
    tkr_status status = flush(w, error);
    if (status == TKR_OK) status = tkr_append_sync(w->out, error);
    tkr_append_close(&w->out);
    w->shard_at++;
    return status;
}

/* Moves on over tensors and shards that are complete; tensors without elements need no bytes. */
static tkr_status advance(tkr_tensor_writer *w, tkr_error *error) {
    while (w->at < w->n && w->at_bytes == w->items[w->at].bytes) {
        w->at++;
        w->at_bytes = 0;
        const shard *s = &w->shards[w->shard_at];
        if (w->at < s->first + s->n) continue;
        tkr_status status = close_shard(w, error);
        if (status == TKR_OK && w->shard_at < w->n_shards) status = open_shard(w, error);
        if (status != TKR_OK) return status;
    }
    return TKR_OK;
}

static tkr_status check_disk(const tkr_tensor_writer *w, tkr_error *error) {
    const uint64_t space = tkr_path_free_bytes(w->folder);
    if (space == 0 || w->total + SPARE_BYTES <= space) return TKR_OK;
    return TKR_FAIL(error, IO, "%s: needs %" PRIu64 " MiB but its disk has %" PRIu64 " MiB free", w->folder,
                    (w->total + SPARE_BYTES) >> 20, space >> 20);
}

/* ---- the writer ------------------------------------------------------------------------------------------------ */

tkr_status tkr_tensor_writer_open(tkr_tensor_writer **out, const char *folder, const tkr_tensor_plan *plans, size_t n,
                                  const char *format, uint64_t max_shard, tkr_error *error) {
    if (n == 0 || n > TKR_MAX_TENSORS) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "%zu tensors to write, expected 1 to %u", n, TKR_MAX_TENSORS);
    }
    tkr_tensor_writer *w = tkr_calloc(1, sizeof *w);
    if (!w) return fail_memory(folder, error);
    w->n = n;
    w->folder = tkr_arena_strndup(&w->text, folder, strlen(folder));
    w->format = tkr_arena_strndup(&w->text, format, strlen(format));
    w->plans = tkr_calloc(n, sizeof *w->plans);
    w->items = tkr_calloc(n, sizeof *w->items);
    tkr_status status = TKR_OK;
    if (!w->folder || !w->format || !w->plans || !w->items || !tkr_buf_reserve(&w->buffer, BUFFER)) {
        status = fail_memory(folder, error);
        goto fail;
    }
    if ((status = copy_plans(w, plans, error)) != TKR_OK) goto fail;
    qsort(w->items, n, sizeof *w->items, by_layout);
    if ((status = plan_shards(w, max_shard, error)) != TKR_OK) goto fail;
    if ((status = check_disk(w, error)) != TKR_OK) goto fail;
    if ((status = open_shard(w, error)) != TKR_OK) goto fail;
    if ((status = advance(w, error)) != TKR_OK) goto fail;
    *out = w;
    return TKR_OK;
fail:
    tkr_tensor_writer_abort(&w);
    return status;
}

size_t tkr_tensor_writer_next(const tkr_tensor_writer *w) { return w->at < w->n ? w->items[w->at].index : w->n; }

tkr_status tkr_tensor_writer_append(tkr_tensor_writer *w, const void *data, size_t size, tkr_error *error) {
    tkr_status status = TKR_OK;
    if (w->at == w->n || size > w->items[w->at].bytes - w->at_bytes) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "%s: %zu bytes more than tensor \"%.*s\" has", w->folder, size,
                        TKR_NAME_SHOWN, w->at < w->n ? w->items[w->at].plan->name : "(none)");
    }
    if (w->failed) return TKR_FAIL(error, IO, "%s: writing has failed before", w->folder);
    if (size > 0 && w->buffer.size + size > BUFFER) status = flush(w, error);
    if (status == TKR_OK && size >= BUFFER)
        status = tkr_append_write(w->out, data, size, error);
    else if (status == TKR_OK && size > 0 && !tkr_buf_append(&w->buffer, data, size))
        status = fail_memory(w->folder, error);
    w->at_bytes += size;
    w->done += size;
    if (status == TKR_OK) status = advance(w, error);
    w->failed = status != TKR_OK;
    return status;
}

void tkr_tensor_writer_progress(const tkr_tensor_writer *w, uint64_t *done, uint64_t *total) {
    *done = w->done;
    *total = w->total;
}

static tkr_status write_index(tkr_tensor_writer *w, tkr_error *error) {
    tkr_buf b = {0};
    bool good = tkr_buf_printf(&b, "{\n  \"metadata\": {\"total_size\": %" PRIu64 "},\n  \"weight_map\": {", w->total);
    for (size_t s = 0; s < w->n_shards; s++) {
        const char *file = base_name(w->shards[s].path);
        for (size_t i = w->shards[s].first; good && i < w->shards[s].first + w->shards[s].n; i++) {
            const char *name = w->items[i].plan->name;
            good = tkr_buf_printf(&b, "%s\n    ", i > 0 ? "," : "") && tkr_json_write_string(&b, name, strlen(name)) &&
                   tkr_buf_printf(&b, ": \"%s\"", file);
        }
    }
    good = good && tkr_buf_printf(&b, "\n  }\n}\n");
    const tkr_status status =
        good ? tkr_file_write_atomic(w->index_path, b.data, b.size, error) : fail_memory(w->folder, error);
    tkr_buf_free(&b);
    return status;
}

tkr_status tkr_tensor_writer_finish(tkr_tensor_writer **slot, tkr_error *error) {
    tkr_tensor_writer *w = *slot;
    tkr_status status = TKR_OK;
    if (w->failed) {
        status = TKR_FAIL(error, IO, "%s: writing has failed before", w->folder);
    } else if (w->shard_at < w->n_shards) {
        status = TKR_FAIL(error, INVALID_ARGUMENT, "%s: %" PRIu64 " of %" PRIu64 " bytes of the tensors were written",
                          w->folder, w->done, w->total);
    }
    for (size_t i = 0; i < w->n_shards && status == TKR_OK; i++) {
        status = tkr_fs_rename(w->shards[i].part, w->shards[i].path, error);
        w->shards[i].renamed = status == TKR_OK;
    }
    if (status == TKR_OK && w->n_shards > 1) status = write_index(w, error);
    for (size_t i = 0; i < w->n_shards && status == TKR_OK; i++) {
        w->shards[i].written = false; /* to stay */
    }
    tkr_tensor_writer_abort(slot);
    return status;
}

void tkr_tensor_writer_abort(tkr_tensor_writer **slot) {
    tkr_tensor_writer *w = slot ? *slot : NULL;
    if (!w) return;
    *slot = NULL;
    tkr_append_close(&w->out);
    for (size_t i = 0; w->shards && i < w->n_shards; i++) {
        const shard *s = &w->shards[i];
        if (s->written) (void)tkr_fs_remove(s->renamed ? s->path : s->part, NULL);
    }
    tkr_free(w->shards);
    tkr_free(w->items);
    tkr_free(w->plans);
    tkr_buf_free(&w->buffer);
    tkr_arena_free(&w->text);
    tkr_free(w);
}
