/* SPDX-License-Identifier: Apache-2.0 */
/* engine/cache_file: writes and maps files of named blocks. Trusts nothing that its hash doesn't cover. */
#include "engine/cache_file.h"

#include <string.h>

#include "core/digest.h"
#include "core/fsops.h"

#define MAGIC 0x314b434150524b54u /* "TKRPACK1" */
#define PAGE 4096
#define BLOCK_ALIGN 64
#define MAX_IDENTITY (1u << 20)

typedef struct head_fields {
    uint64_t magic;
    uint32_t version, n_identity;
} head_fields;

typedef struct record {
    uint64_t name, offset, bytes, content;
} record;

typedef struct tail_fields {
    uint64_t table_at, n_records, checksum, magic;
} tail_fields;

struct tkr_cache_file {
    tkr_map map;
    const record *records; /* in the map */
    size_t n_records;
    size_t next; /* where the next name is looked for first */
    char *path;
};

struct tkr_cache_writer {
    char *path, *temporary;
    tkr_fs_lock *lock;
    tkr_append *out;
    tkr_buf records;
    tkr_digest checksum; /* of the head so far */
    uint64_t at;
    tkr_status status; /* of the first failure */
    tkr_error error;
};

static uint64_t hash_of(const void *data, size_t size) {
    tkr_digest digest;
    tkr_digest_init(&digest);
    tkr_digest_add(&digest, data, size);
    return tkr_digest_end(&digest);
}

static size_t head_size(size_t n_identity) { return tkr_align_up(sizeof(head_fields) + n_identity, PAGE); }

/* ---- reading ---- */

static tkr_status damaged(const char *path, const char *what, tkr_error *error) {
    return TKR_FAIL(error, FORMAT, "%s: %s; it will be made again", path, what);
}

static tkr_status check_head(size_t *size, const tkr_map *map, const char *path, const char *identity,
                             tkr_error *error) {
    head_fields head;
    if (map->size < PAGE + sizeof(tail_fields)) return damaged(path, "is cut off", error);
    memcpy(&head, map->data, sizeof head);
    if (head.magic != MAGIC || head.version != TKR_CACHE_FILE_VERSION)
        return damaged(path, "is not a weight cache of this version", error);
    if (head.n_identity > MAX_IDENTITY || head_size(head.n_identity) > map->size - sizeof(tail_fields))
        return damaged(path, "is cut off", error);
    if (head.n_identity != strlen(identity) ||
        memcmp((const char *)map->data + sizeof head, identity, head.n_identity) != 0)
        return damaged(path, "was made from another state of the model or by another program", error);
    *size = head_size(head.n_identity);
    return TKR_OK;
}

static tkr_status check_records(tkr_cache_file *file, size_t head, tkr_error *error) {
    const char *data = file->map.data;
    const uint64_t tail_at = file->map.size - sizeof(tail_fields);
    tail_fields tail;
    memcpy(&tail, data + tail_at, sizeof tail);
    if (tail.magic != MAGIC || tail.table_at > tail_at || tail.table_at % BLOCK_ALIGN != 0 || tail.table_at < head ||
        (tail_at - tail.table_at) / sizeof(record) != tail.n_records || (tail_at - tail.table_at) % sizeof(record) != 0)
        return damaged(file->path, "is cut off", error);
    tkr_digest digest;
    tkr_digest_init(&digest);
    tkr_digest_add(&digest, data, head);
    tkr_digest_add(&digest, data + tail.table_at, (size_t)(tail_at - tail.table_at));
    tkr_digest_add(&digest, &tail, 2 * sizeof(uint64_t));
    if (tkr_digest_end(&digest) != tail.checksum) return damaged(file->path, "has a wrong checksum", error);
    file->records = (const record *)(const void *)(data + tail.table_at);
    file->n_records = (size_t)tail.n_records;
    for (size_t i = 0; i < file->n_records; i++) {
        const record *r = &file->records[i];
        if (r->offset % BLOCK_ALIGN != 0 || r->offset < head || r->offset > tail.table_at ||
            r->bytes > tail.table_at - r->offset)
            return damaged(file->path, "has a block outside of it", error);
    }
    return TKR_OK;
}

tkr_status tkr_cache_file_open(tkr_cache_file **out, const char *path, const char *identity, tkr_error *error) {
    size_t head = 0;
    tkr_status status = TKR_OK;
    tkr_cache_file *file = tkr_calloc(1, sizeof *file);
    if (file) file->path = tkr_strdup(path);
    if (!file || !file->path) {
        status = TKR_FAIL(error, NO_MEMORY, "%s: no memory to open it", path);
        goto fail;
    }
    if ((status = tkr_map_open(&file->map, path, error)) != TKR_OK) goto fail;
    if ((status = check_head(&head, &file->map, path, identity, error)) != TKR_OK) goto fail;
    if ((status = check_records(file, head, error)) != TKR_OK) goto fail;
    *out = file;
    return TKR_OK;
fail:
    tkr_cache_file_close(&file);
    return status;
}

void tkr_cache_file_close(tkr_cache_file **slot) {
    if (!slot || !*slot) return;
    tkr_map_close(&(*slot)->map);
    tkr_free((*slot)->path);
    tkr_free(*slot);
    *slot = NULL;
}

const void *tkr_cache_file_find(tkr_cache_file *file, const char *name, size_t *bytes) {
    const uint64_t hash = hash_of(name, strlen(name));
    for (size_t i = 0; i < file->n_records; i++) {
        const size_t at = (file->next + i) % file->n_records;
        if (file->records[at].name != hash) continue;
        file->next = at + 1;
        *bytes = (size_t)file->records[at].bytes;
        return (const char *)file->map.data + file->records[at].offset;
    }
    return NULL;
}

uint64_t tkr_cache_file_bytes(const tkr_cache_file *file) { return file->map.size; }

tkr_status tkr_cache_file_verify(const tkr_cache_file *file, tkr_error *error) {
    for (size_t i = 0; i < file->n_records; i++) {
        const record *r = &file->records[i];
        const char *data = (const char *)file->map.data + r->offset;
        bool same = hash_of(data, (size_t)r->bytes) == r->content;
        if (!same)
            return TKR_FAIL(error, FORMAT, "%s: block %zu of %zu is not what was written", file->path, i + 1,
                            file->n_records);
    }
    return TKR_OK;
}

/* ---- writing ---- */

static void put(tkr_cache_writer *w, const void *data, size_t bytes) {
    if (w->status != TKR_OK || bytes == 0) return;
    w->status = tkr_append_write(w->out, data, bytes, &w->error);
    w->at += bytes;
}

static void pad(tkr_cache_writer *w, size_t align) {
    static const char zeros[PAGE];
    put(w, zeros, tkr_align_up((size_t)w->at, align) - (size_t)w->at);
}

static void free_writer(tkr_cache_writer **slot) {
    tkr_cache_writer *w = *slot;
    *slot = NULL;
    if (!w) return;
    tkr_append_close(&w->out);
    tkr_fs_unlock(&w->lock);
    tkr_buf_free(&w->records);
    tkr_free(w->temporary);
    tkr_free(w->path);
    tkr_free(w);
}

/* The head as tkr_cache_file_open will see it: hashed in one piece. */
static tkr_status put_head(tkr_cache_writer *w, const char *identity, tkr_error *error) {
    const size_t n = strlen(identity), size = head_size(n);
    const head_fields head = {MAGIC, TKR_CACHE_FILE_VERSION, (uint32_t)n};
    if (n > MAX_IDENTITY) return TKR_FAIL(error, LIMIT, "%s: its identity has %zu bytes", w->path, n);
    char *page = tkr_calloc(1, size);
    if (!page) return TKR_FAIL(error, NO_MEMORY, "%s: no memory to write it", w->path);
    memcpy(page, &head, sizeof head);
    memcpy(page + sizeof head, identity, n);
    tkr_digest_init(&w->checksum);
    tkr_digest_add(&w->checksum, page, size);
    put(w, page, size);
    tkr_free(page);
    if (w->status != TKR_OK && error) *error = w->error;
    return w->status;
}

tkr_status tkr_cache_writer_open(tkr_cache_writer **out, const char *path, const char *identity, tkr_error *error) {
    uint64_t size = 0;
    tkr_buf temporary = {0};
    tkr_status status = TKR_OK;
    tkr_cache_writer *w = tkr_calloc(1, sizeof *w);
    if (!w || !(w->path = tkr_strdup(path)) || !tkr_buf_printf(&temporary, "%s.tmp", path)) {
        status = TKR_FAIL(error, NO_MEMORY, "%s: no memory to write it", path);
        tkr_buf_free(&temporary);
        goto fail;
    }
    w->temporary = temporary.data;
    /* The lock is on the very file that is renamed in the end: what a crash left behind is taken over. */
    if ((status = tkr_fs_lock_try(&w->lock, w->temporary, error)) != TKR_OK) goto fail;
    status = tkr_append_open(&w->out, &size, w->temporary, error);
    if (status == TKR_OK && size > 0) status = tkr_append_reset(w->out, error);
    if (status == TKR_OK) status = put_head(w, identity, error);
    if (status != TKR_OK) {
        (void)tkr_fs_remove(w->temporary, NULL);
        goto fail;
    }
    *out = w;
    return TKR_OK;
fail:
    free_writer(&w);
    return status;
}

void tkr_cache_writer_add(tkr_cache_writer *w, const char *name, const void *data, size_t bytes) {
    if (w->status != TKR_OK) return;
    pad(w, BLOCK_ALIGN);
    const record r = {hash_of(name, strlen(name)), w->at, bytes, hash_of(data, bytes)};
    if (!tkr_buf_append(&w->records, &r, sizeof r))
        w->status = TKR_FAIL(&w->error, NO_MEMORY, "%s: no memory to write it", w->path);
    put(w, data, bytes);
    if (w->status == TKR_OK) tkr_append_start_sync(w->out);
}

static void put_table(tkr_cache_writer *w) {
    pad(w, BLOCK_ALIGN);
    tail_fields tail = {w->at, w->records.size / sizeof(record), 0, MAGIC};
    tkr_digest_add(&w->checksum, w->records.data, w->records.size);
    tkr_digest_add(&w->checksum, &tail, 2 * sizeof(uint64_t));
    tail.checksum = tkr_digest_end(&w->checksum);
    put(w, w->records.data, w->records.size);
    put(w, &tail, sizeof tail);
}

tkr_status tkr_cache_writer_finish(tkr_cache_writer **slot, bool keep, tkr_error *error) {
    tkr_cache_writer *w = *slot;
    if (!w) return TKR_OK;
    if (keep) put_table(w);
    if (keep && w->status == TKR_OK) w->status = tkr_append_sync(w->out, &w->error);
    if (keep && w->status == TKR_OK) w->status = tkr_fs_rename(w->temporary, w->path, &w->error);
    tkr_status status = w->status;
    if (!keep || status != TKR_OK) (void)tkr_fs_remove(w->temporary, NULL);
    if (status != TKR_OK && error) *error = w->error;
    free_writer(slot);
    return keep ? status : TKR_OK;
}
