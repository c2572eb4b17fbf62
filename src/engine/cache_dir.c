/* SPDX-License-Identifier: Apache-2.0 */
/* engine/cache_dir: where files that can be made again are kept, and how many of them. */
#include "engine/cache_dir.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/fsops.h"

#define DEFAULT_LIMIT ((uint64_t)20 << 30)

uint64_t tkr_cache_dir_limit(const tkr_model_options *options) {
    return options->weight_cache_bytes ? options->weight_cache_bytes : DEFAULT_LIMIT;
}

static tkr_status default_folder(char **folder, tkr_error *error) {
    const char *xdg = tkr_env("XDG_CACHE_HOME"), *home = tkr_env("HOME");
    /* The XDG base directory specification wants relative paths ignored. */
    if (xdg && xdg[0] == '/') {
        *folder = tkr_path_join(xdg, "tkr-embed");
    } else if (home) {
        *folder = tkr_path_join(home, ".cache/tkr-embed");
    } else {
        return TKR_FAIL(error, NOT_FOUND, "no place for the weight cache: set HOME or XDG_CACHE_HOME");
    }
    return *folder ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "no memory to find the weight cache");
}

tkr_status tkr_cache_dir_open(char **out, const tkr_model_options *options, tkr_error *error) {
    char *folder = NULL;
    tkr_status status = TKR_OK;
    if (!options->weight_cache_dir)
        status = default_folder(&folder, error);
    else if (!(folder = tkr_strdup(options->weight_cache_dir)))
        status = TKR_FAIL(error, NO_MEMORY, "no memory to find the weight cache");
    if (status == TKR_OK) status = tkr_fs_private_dir(folder, error);
    if (status != TKR_OK) {
        tkr_free(folder);
        return status;
    }
    *out = folder;
    return TKR_OK;
}

/* ---- size ---- */

typedef struct entry {
    int64_t used_ns;
    uint64_t bytes;
    char *path;
} entry;

typedef struct listing {
    const char *folder, *keep;
    tkr_buf entries;
    uint64_t total;
} listing;

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

/* Nobody holds the lock of a file whose writer died. */
static void remove_leftover(const char *path) {
    tkr_fs_lock *lock = NULL;
    if (tkr_fs_lock_try(&lock, path, NULL) != TKR_OK) return;
    (void)tkr_fs_remove(path, NULL);
    tkr_fs_unlock(&lock);
}

static tkr_status add_entry(void *user, const char *name, bool is_dir) {
    listing *list = user;
    const bool leftover = ends_with(name, TKR_CACHE_SUFFIX ".tmp");
    if (is_dir || (!leftover && !ends_with(name, TKR_CACHE_SUFFIX))) return TKR_OK;
    char *path = tkr_path_join(list->folder, name);
    tkr_file_id id;
    if (!path) return TKR_NO_MEMORY;
    if (leftover) {
        remove_leftover(path);
    } else if (tkr_fs_id(&id, path, NULL) == TKR_OK) {
        list->total += id.size;
        const entry e = {id.modified_ns, id.size, path};
        if (strcmp(path, list->keep) != 0 && tkr_buf_append(&list->entries, &e, sizeof e)) return TKR_OK;
    }
    tkr_free(path);
    return TKR_OK;
}

static int oldest_first(const void *a, const void *b) {
    const entry *x = a, *y = b;
    return (x->used_ns > y->used_ns) - (x->used_ns < y->used_ns);
}

void tkr_cache_dir_trim(const char *folder, uint64_t max_bytes, const char *keep, const tkr_log *log) {
    listing list = {.folder = folder, .keep = keep};
    (void)tkr_dir_each(folder, add_entry, &list, NULL);
    entry *entries = (entry *)(void *)list.entries.data;
    const size_t n = list.entries.size / sizeof *entries;
    if (n > 1) qsort(entries, n, sizeof *entries, oldest_first);
    for (size_t i = 0; i < n; i++) {
        if (list.total > max_bytes && tkr_fs_remove(entries[i].path, NULL) == TKR_OK) {
            list.total -= entries[i].bytes;
            tkr_log_line(log, TKR_LOG_INFO, "weight cache: removed %s (%" PRIu64 " MiB), the least recently used",
                         entries[i].path, entries[i].bytes >> 20);
        }
        tkr_free(entries[i].path);
    }
    tkr_buf_free(&list.entries);
}
