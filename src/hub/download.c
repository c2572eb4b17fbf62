/* SPDX-License-Identifier: Apache-2.0 */
/* hub/download: one file into the cache: lock, resume, verify, rename, link. Refuses content whose size or hash
 * differs. */
#include <stdio.h>
#include <string.h>

#include "hub/hub_internal.h"

#define PROGRESS_BYTES (1u << 20) /* so much new data makes earlier failures forgotten */

typedef struct job {
    tkr_hub_client *client;
    const tkr_hub_ref *ref;
    const tkr_hub_file *file;
    char *blob, *incomplete, *link, *lock_path, *url;
    tkr_hub_request request;
    tkr_append *out;
    tkr_hub_hash hash; /* of what `out` holds */
    uint64_t have;     /* bytes in `out` */
    tkr_status status; /* of the sink */
    bool wrong;        /* what came can't be this file */
    bool no_range;     /* this server's ranges are not to be trusted */
    tkr_error *error;
} job;

static tkr_status no_memory(tkr_error *error) { return TKR_FAIL(error, NO_MEMORY, "out of memory"); }

/* The folder of `path` is made. */
static tkr_status make_parent(const char *path, tkr_error *error) {
    const char *slash = strrchr(path, '/');
    char *folder = slash != NULL && slash != path ? tkr_strndup(path, (size_t)(slash - path)) : tkr_strdup("/");
    tkr_status status = folder != NULL ? tkr_mkdirs(folder, error) : no_memory(error);
    tkr_free(folder);
    return status;
}

static tkr_status make_paths(job *work, const char *commit, tkr_error *error) {
    const tkr_hub_settings *settings = work->client->settings;
    const char *hash = work->file->hash;
    tkr_buf text = {0}, url = {0};
    tkr_status status = TKR_OK;
    bool good = tkr_buf_printf(&text, "snapshots/%s/%s", commit, work->file->path);
    work->link = good ? tkr_hub_cache_path(settings->cache_dir, work->ref->repository, text.data) : NULL;
    text.size = 0;
    good = good && tkr_buf_printf(&text, "blobs/%s", hash);
    work->blob = good ? tkr_hub_cache_path(settings->cache_dir, work->ref->repository, text.data) : NULL;
    good = good && tkr_buf_printf(&text, ".incomplete");
    work->incomplete = good ? tkr_hub_cache_path(settings->cache_dir, work->ref->repository, text.data) : NULL;
    text.size = 0;
    good = good && tkr_buf_printf(&text, "%s.lock", hash);
    char *locks = tkr_path_join(settings->cache_dir, ".locks");
    work->lock_path = good && locks != NULL ? tkr_hub_cache_path(locks, work->ref->repository, text.data) : NULL;
    good = good && tkr_buf_printf(&url, "%s/%s/resolve/%s/", settings->endpoint, work->ref->repository, commit) &&
           tkr_hub_put_escaped(&url, work->file->path, true);
    work->url = good ? tkr_strdup(url.data) : NULL;
    if (work->link != NULL && work->blob != NULL && work->incomplete != NULL && work->lock_path != NULL &&
        work->url != NULL) {
        status = make_parent(work->link, error);
        status = status == TKR_OK ? make_parent(work->blob, error) : status;
        status = status == TKR_OK ? make_parent(work->lock_path, error) : status;
    } else {
        status = no_memory(error);
    }
    tkr_free(locks);
    tkr_buf_free(&text);
    tkr_buf_free(&url);
    return status;
}

/* ---- sink of the transfer ---- */

static bool start_over(job *work) {
    work->status = work->have > 0 ? tkr_append_reset(work->out, work->error) : TKR_OK;
    work->have = 0;
    tkr_hub_hash_init(&work->hash, work->file->lfs, work->file->size);
    return work->status == TKR_OK;
}

static bool sink_begin(void *user, const tkr_hub_response *response) {
    job *work = user;
    uint64_t length = response->content_length;
    if (response->code == 206) {
        /* A piece from elsewhere would end in a wrong hash after the whole download. */
        work->no_range = work->request.range_from == 0 || response->range_start != work->have;
        return !work->no_range;
    }
    work->wrong = length != UINT64_MAX && length != work->file->size;
    return !work->wrong && start_over(work);
}

static bool sink_write(void *user, const void *data, size_t size) {
    job *work = user;
    if (size > work->file->size - work->have) {
        work->wrong = true;
        return false;
    }
    work->status = tkr_append_write(work->out, data, size, work->error);
    if (work->status != TKR_OK) {
        return false;
    }
    tkr_hub_hash_update(&work->hash, data, size);
    work->have += size;
    return true;
}

/* ---- hashing what is there ---- */

static tkr_status hash_chunk(void *user, const void *data, size_t size) {
    job *work = user;
    tkr_hub_hash_update(&work->hash, data, size);
    work->have += size;
    return tkr_hub_report(work->client, work->file->path, work->have, work->file->size, false, work->error);
}

static bool hash_matches(job *work) {
    char hex[65];
    tkr_hub_hash done = work->hash;
    tkr_hub_hash_hex(&done, hex);
    return work->have == work->file->size && strcmp(hex, work->file->hash) == 0;
}

/* Whether the blob is there and right; a wrong one is removed. */
static tkr_status look_at_blob(job *work, bool *good) {
    uint64_t size = 0;
    tkr_error why;
    *good = false;
    tkr_status status = tkr_fs_size(&size, work->blob, &why);
    if (status != TKR_OK) {
        return status == TKR_NOT_FOUND ? TKR_OK : tkr_error_set(work->error, why.origin, status, "%s", why.message);
    }
    if (size == work->file->size) {
        work->have = 0;
        tkr_hub_hash_init(&work->hash, work->file->lfs, size);
        status = tkr_fs_each_chunk(work->blob, hash_chunk, work, work->error);
        if (status != TKR_OK) {
            return status;
        }
        *good = hash_matches(work);
    }
    if (!*good) {
        tkr_log_line(&work->client->options->log, TKR_LOG_WARNING, "%s: the cached copy is damaged; fetching it again",
                     work->file->path);
        status = tkr_fs_remove(work->blob, work->error);
    }
    return status;
}

/* Opens the incomplete file and hashes what an earlier attempt left. */
static tkr_status open_incomplete(job *work) {
    uint64_t size = 0;
    tkr_status status = tkr_append_open(&work->out, &size, work->incomplete, work->error);
    if (status != TKR_OK) {
        return status;
    }
    work->have = 0;
    tkr_hub_hash_init(&work->hash, work->file->lfs, work->file->size);
    if (size > 0 && size <= work->file->size) {
        status = tkr_fs_each_chunk(work->incomplete, hash_chunk, work, work->error);
    }
    if (status == TKR_OK && work->have != size) {
        work->have = size;
        (void)start_over(work);
        status = work->status;
    }
    return status;
}

/* Fetches until all bytes are there, whatever they are. *wrong: this can't be the file. */
static tkr_status fetch(job *work, bool *wrong) {
    unsigned failures = 0;
    uint64_t best = work->have; /* a server that always breaks at the same place makes no progress */
    *wrong = false;
    while (work->have < work->file->size || work->file->size == 0) {
        tkr_hub_response response;
        uint64_t before = work->no_range ? 0 : work->have;
        work->request.range_from = before;
        work->wrong = false;
        work->status = TKR_OK;
        bool refused_range = work->no_range;
        tkr_status status = tkr_hub_http_get(work->client, &work->request, &response, work->error);
        if (status != TKR_OK || work->status != TKR_OK) {
            return status != TKR_OK ? status : work->status;
        }
        if (work->wrong) {
            *wrong = true;
            return TKR_OK;
        }
        if (response.code == 416 && before > 0) {
            work->no_range = true; /* the server's file is shorter, or it does not count as we do: all of it again */
            continue;
        }
        if (response.stopped) { /* by the range check: once more without a range */
            if (refused_range) {
                *wrong = true;
                return TKR_OK;
            }
            continue;
        }
        if (!response.transient && response.code != 200 && response.code != 206) {
            return tkr_hub_http_fail(work->client, &response, work->ref, work->file->path, work->error);
        }
        if (work->have >= work->file->size) {
            break;
        }
        if (work->have >= best + PROGRESS_BYTES) {
            best = work->have;
            failures = 0;
        }
        if (!response.transient) { /* all that the server had, and too little */
            if (response.code == 200) {
                *wrong = true;
                return TKR_OK;
            }
            (void)snprintf(response.reason, sizeof response.reason, "the server ended early");
        }
        status = tkr_hub_retry(work->client, &failures, &work->request, &response, work->error);
        if (status != TKR_OK) {
            return status;
        }
    }
    return TKR_OK;
}

/* Brings the right bytes to the blob's name; the lock is held. */
static tkr_status fill_blob(job *work) {
    const tkr_hub_file *file = work->file;
    tkr_status status = open_incomplete(work);
    for (unsigned round = 0; status == TKR_OK; round++) {
        bool wrong = false;
        status = fetch(work, &wrong);
        if (status != TKR_OK) {
            break; /* what there is stays for next time */
        }
        if (!wrong && hash_matches(work)) {
            status = tkr_append_sync(work->out, work->error);
            tkr_append_close(&work->out);
            return status == TKR_OK ? tkr_fs_rename(work->incomplete, work->blob, work->error) : status;
        }
        tkr_append_close(&work->out);
        status = tkr_fs_remove(work->incomplete, work->error);
        if (status == TKR_OK && round > 0) {
            return TKR_FAIL(work->error, FORMAT,
                            "%s: %.160s: what the server sent twice differs from its listing (%llu bytes, %s %.12s...)",
                            work->ref->repository, file->path, (unsigned long long)file->size,
                            file->lfs ? "sha256" : "git sha1", file->hash);
        }
        if (status == TKR_OK) {
            tkr_log_line(&work->client->options->log, TKR_LOG_WARNING,
                         "%s: wrong size or hash; once more from the start", file->path);
            status = open_incomplete(work);
        }
    }
    tkr_append_close(&work->out);
    return status;
}

static tkr_status take_lock(job *work, tkr_fs_lock **lock) {
    for (unsigned turns = 0;; turns++) {
        tkr_error busy;
        tkr_status status = tkr_fs_lock_try(lock, work->lock_path, &busy);
        if (status == TKR_OK) {
            return TKR_OK;
        }
        if (status != TKR_BUSY) {
            return tkr_error_set(work->error, busy.origin, status, "%s", busy.message);
        }
        if (turns == 0) {
            tkr_log_line(&work->client->options->log, TKR_LOG_INFO, "%s: another process is fetching it; waiting",
                         work->file->path);
        }
        status = tkr_hub_wait(work->client, 0.1, work->file->path, 0, work->file->size, work->error);
        if (status != TKR_OK) {
            return status;
        }
    }
}

static tkr_status make_link(const job *work) {
    tkr_buf target = {0};
    bool good = tkr_buf_printf(&target, "../../");
    for (const char *c = work->file->path; *c != '\0'; c++) {
        good = good && (*c != '/' || tkr_buf_printf(&target, "../"));
    }
    good = good && tkr_buf_printf(&target, "blobs/%s", work->file->hash);
    tkr_status status = good ? tkr_fs_symlink(target.data, work->link, work->error) : no_memory(work->error);
    tkr_buf_free(&target);
    return status;
}

tkr_status tkr_hub_download(tkr_hub_client *client, const tkr_hub_ref *ref, const char *commit,
                            const tkr_hub_file *file, tkr_error *error) {
    job work = {.client = client, .ref = ref, .file = file, .error = error};
    tkr_fs_lock *lock = NULL;
    bool good = false;
    tkr_status status = make_paths(&work, commit, error);
    work.request = (tkr_hub_request){.url = work.url,
                                     .label = file->path,
                                     .done = &work.have,
                                     .total = file->size,
                                     .begin = sink_begin,
                                     .write = sink_write,
                                     .user = &work};
    status = status == TKR_OK ? tkr_hub_report(client, file->path, 0, file->size, true, error) : status;
    status = status == TKR_OK ? take_lock(&work, &lock) : status;
    status = status == TKR_OK ? look_at_blob(&work, &good) : status;
    status = status == TKR_OK && !good ? fill_blob(&work) : status;
    status = status == TKR_OK ? make_link(&work) : status;
    tkr_fs_unlock(&lock);
    status = status == TKR_OK ? tkr_hub_report(client, file->path, file->size, file->size, true, error) : status;
    tkr_free(work.blob);
    tkr_free(work.incomplete);
    tkr_free(work.link);
    tkr_free(work.lock_path);
    tkr_free(work.url);
    return status;
}
