/* SPDX-License-Identifier: Apache-2.0 */
/* hub/cache: the Hugging Face cache layout, read: refs, snapshots, what is complete, what is there. Writes nothing. */
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "hub/hub_internal.h"

enum { MAX_DEPTH = 6 };

char *tkr_hub_cache_path(const char *cache_dir, const char *repository, const char *tail) {
    tkr_buf name = {0};
    const char *slash = strchr(repository, '/');
    bool good = tkr_buf_printf(&name, "models--%.*s--%s", (int)(slash - repository), repository, slash + 1) &&
                (tail == NULL || tkr_buf_printf(&name, "/%s", tail));
    char *path = good ? tkr_path_join(cache_dir, name.data) : NULL;
    tkr_buf_free(&name);
    return path;
}

/* Reads refs/<revision>. `commit` stays empty when there is none. */
static tkr_status read_ref(char commit[41], const char *path, tkr_error *error) {
    tkr_buf text = {0};
    commit[0] = '\0';
    if (!tkr_path_exists(path) || tkr_path_is_dir(path)) {
        return tkr_path_check_access(path, error);
    }
    tkr_status status = tkr_file_read(&text, path, 256, error);
    if (status == TKR_OK) {
        size_t n = text.size;
        while (n > 0 && (unsigned char)text.data[n - 1] <= ' ') {
            text.data[--n] = '\0';
        }
        if (n == 40 && tkr_hub_is_commit(text.data)) {
            memcpy(commit, text.data, 41);
        } else {
            status =
                TKR_FAIL(error, FORMAT, "%s: holds no commit (40 hexadecimal digits); remove it and pull again", path);
        }
    }
    tkr_buf_free(&text);
    return status;
}

tkr_status tkr_hub_cache_find(char **folder, const char *cache_dir, const tkr_hub_ref *ref, tkr_error *error) {
    char tail[TKR_HUB_REVISION_MAX + 16], commit[41];
    tkr_status status = TKR_OK;
    char *path = NULL;
    memcpy(commit, ref->revision, tkr_hub_is_commit(ref->revision) ? 41 : 1);
    if (!tkr_hub_is_commit(ref->revision)) {
        (void)snprintf(tail, sizeof tail, "refs/%s", ref->revision);
        path = tkr_hub_cache_path(cache_dir, ref->repository, tail);
        status = path != NULL ? read_ref(commit, path, error) : TKR_FAIL(error, NO_MEMORY, "out of memory");
        tkr_free(path);
        if (status != TKR_OK) {
            return status;
        }
    }
    if (commit[0] != '\0') {
        (void)snprintf(tail, sizeof tail, "snapshots/%s", commit);
        path = tkr_hub_cache_path(cache_dir, ref->repository, tail);
        if (path == NULL) {
            return TKR_FAIL(error, NO_MEMORY, "out of memory");
        }
        if (tkr_path_is_dir(path)) {
            *folder = path;
            return TKR_OK;
        }
        tkr_free(path);
    }
    return TKR_FAIL(error, NOT_FOUND, "%s@%s is not in the cache %s", ref->repository, ref->revision, cache_dir);
}

/* ---- completeness ---- */

typedef struct check {
    const char *folder;
    char *missing; /* [missing_size], filled with the first that is missing */
    size_t missing_size;
    tkr_error *error;
} check;

static bool has(const char *folder, const char *name, tkr_status *status, tkr_error *error) {
    char *path = tkr_path_join(folder, name);
    if (path == NULL) {
        *status = TKR_FAIL(error, NO_MEMORY, "out of memory");
        return false;
    }
    bool there = tkr_path_exists(path);
    tkr_free(path);
    return there;
}

/* true, and the name noted, when it is missing. */
static bool lacks(check *state, const char *name, tkr_status *status) {
    if (*status != TKR_OK || state->missing[0] != '\0' || has(state->folder, name, status, state->error)) {
        return false;
    }
    if (*status == TKR_OK) {
        (void)snprintf(state->missing, state->missing_size, "%s", name);
    }
    return true;
}

/* Each shard of the index. */
static tkr_status check_shards(check *state, const char *index) {
    char *path = tkr_path_join(state->folder, index);
    json_t *root = NULL;
    tkr_status status =
        path != NULL ? tkr_json_file(&root, path, state->error) : TKR_FAIL(state->error, NO_MEMORY, "out of memory");
    json_t *map = status == TKR_OK ? json_object_get(root, "weight_map") : NULL;
    if (status == TKR_OK && !json_is_object(map)) {
        status = TKR_FAIL(state->error, FORMAT, "%s: field \"weight_map\" is missing, expected an object", path);
    }
    const char *before = "";
    for (void *at = json_object_iter(map); at != NULL && status == TKR_OK; at = json_object_iter_next(map, at)) {
        const char *shard = json_string_value(json_object_iter_value(at));
        if (shard == NULL || !tkr_hub_safe_path(shard)) {
            status = TKR_FAIL(state->error, FORMAT, "%s: \"weight_map\" names a shard that is no file name", path);
        } else if (strcmp(shard, before) != 0) { /* neighbours mostly share their shard */
            (void)lacks(state, shard, &status);
            before = shard;
        }
    }
    json_decref(root);
    tkr_free(path);
    return status;
}

typedef struct walk {
    check *state;
    const char *folder, *prefix; /* prefix: path below the snapshot, "" at its root */
    unsigned depth;
} walk;

static tkr_status look_for_dangling(void *user, const char *name, bool is_dir) {
    const walk *here = user;
    check *state = here->state;
    tkr_status status = TKR_OK;
    tkr_buf prefix = {0};
    char *path = tkr_path_join(here->folder, name);
    if (path == NULL || !tkr_buf_printf(&prefix, "%s%s%s", here->prefix, here->prefix[0] != '\0' ? "/" : "", name)) {
        status = TKR_FAIL(state->error, NO_MEMORY, "out of memory");
    } else if (is_dir && here->depth < MAX_DEPTH) {
        walk below = {state, path, prefix.data, here->depth + 1};
        status = tkr_dir_each(path, look_for_dangling, &below, state->error);
    } else if (!is_dir && state->missing[0] == '\0' && !tkr_path_exists(path)) {
        (void)snprintf(state->missing, state->missing_size, "%s", prefix.data);
    }
    tkr_buf_free(&prefix);
    tkr_free(path);
    return status;
}

static tkr_status check_tokenizer(check *state) {
    static const char *const names[] = {"tokenizer.json",          "vocab.txt",       "vocab.json",
                                        "sentencepiece.bpe.model", "tokenizer.model", "spiece.model"};
    tkr_status status = TKR_OK;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (has(state->folder, names[i], &status, state->error) || status != TKR_OK) {
            return status;
        }
    }
    (void)lacks(state, names[0], &status);
    return status;
}

static tkr_status check_weights(check *state) {
    tkr_status status = TKR_OK;
    tkr_error *error = state->error;
    if (lacks(state, "config.json", &status) || status != TKR_OK) {
        return status;
    }
    static const char *const forms[][2] = {{"model.safetensors", "model.safetensors.index.json"},
                                           {"pytorch_model.bin", "pytorch_model.bin.index.json"}};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (has(state->folder, forms[i][0], &status, error) || status != TKR_OK) {
            return status;
        }
        if (has(state->folder, forms[i][1], &status, error)) {
            return check_shards(state, forms[i][1]);
        }
    }
    if (status == TKR_OK) {
        (void)lacks(state, "model.safetensors", &status);
    }
    return status;
}

tkr_status tkr_hub_cache_check(bool *complete, char *missing, size_t missing_size, const char *folder,
                               bool tokenizer_only, tkr_error *error) {
    check state = {folder, missing, missing_size, error};
    missing[0] = '\0';
    tkr_status status = TKR_OK;
    const bool adapter = has(folder, "adapter_config.json", &status, error); /* its base model has the rest */
    if (status == TKR_OK && !adapter) {
        status = check_tokenizer(&state);
    } else if (status == TKR_OK && !tokenizer_only) {
        (void)lacks(&state, "adapter_model.safetensors", &status);
    }
    if (status == TKR_OK && !adapter && !tokenizer_only) {
        walk root = {&state, folder, "", 0};
        status = tkr_dir_each(folder, look_for_dangling, &root, error);
        if (status == TKR_OK && missing[0] == '\0') {
            /* The oldest sentence-transformers checkpoints keep the network in a folder of its own. */
            char *inner = tkr_path_join(folder, "0_Transformer");
            if (inner == NULL) {
                return TKR_FAIL(error, NO_MEMORY, "out of memory");
            }
            if (!has(folder, "config.json", &status, error) && status == TKR_OK && tkr_path_is_dir(inner)) {
                state.folder = inner;
            }
            status = status == TKR_OK ? check_weights(&state) : status;
            tkr_free(inner);
        }
    }
    *complete = status == TKR_OK && missing[0] == '\0';
    return status;
}

/* ---- all that is there ---- */

typedef struct scan {
    tkr_status (*fn)(void *user, const tkr_hub_cached *model);
    void *user;
    const char *cache_dir, *root; /* root: models--org--name, full path */
    const char *folder, *prefix;  /* where a walk stands, full and below its start */
    char repository[TKR_HUB_ID_MAX + 1];
    tkr_arena arena; /* commits that a ref named */
    char **commits;
    size_t n_commits, room;
    uint64_t bytes;
    unsigned depth;
    tkr_error *error;
} scan;

static tkr_status add_bytes(void *user, const char *name, bool is_dir) {
    scan *state = user;
    const char *folder = state->folder;
    uint64_t size = 0;
    tkr_status status = TKR_OK;
    char *path = tkr_path_join(folder, name);
    if (path == NULL) {
        return TKR_FAIL(state->error, NO_MEMORY, "out of memory");
    }
    if (is_dir && state->depth < MAX_DEPTH) {
        state->folder = path;
        state->depth++;
        status = tkr_dir_each(path, add_bytes, state, state->error);
        state->depth--;
        state->folder = folder;
    } else if (!is_dir && tkr_fs_size(&size, path, NULL) == TKR_OK) {
        state->bytes += size;
    }
    tkr_free(path);
    return status;
}

static tkr_status emit(scan *state, const char *revision, const char *commit) {
    char missing[256];
    tkr_hub_cached model = {.repository = state->repository, .revision = revision};
    char tail[64];
    (void)snprintf(tail, sizeof tail, "snapshots/%s", commit);
    char *folder = tkr_path_join(state->root, tail);
    if (folder == NULL) {
        return TKR_FAIL(state->error, NO_MEMORY, "out of memory");
    }
    tkr_status status = TKR_OK;
    if (tkr_path_is_dir(folder)) {
        state->folder = folder;
        state->bytes = 0;
        state->depth = 0;
        status = tkr_dir_each(folder, add_bytes, state, state->error);
        /* A damaged index makes this model incomplete, not the whole list fail. */
        tkr_error ignored;
        if (status == TKR_OK &&
            tkr_hub_cache_check(&model.complete, missing, sizeof missing, folder, false, &ignored) == TKR_NO_MEMORY) {
            status = TKR_FAIL(state->error, NO_MEMORY, "out of memory");
        }
        model.folder = folder;
        model.bytes = state->bytes;
        status = status == TKR_OK ? state->fn(state->user, &model) : status;
    }
    tkr_free(folder);
    return status;
}

static tkr_status remember(scan *state, const char *commit) {
    if (state->n_commits == state->room) {
        size_t room = 2 * state->room + 8;
        char **grown = tkr_realloc(state->commits, room * sizeof *grown);
        if (grown == NULL) {
            return TKR_FAIL(state->error, NO_MEMORY, "out of memory");
        }
        state->commits = grown;
        state->room = room;
    }
    char *copy = tkr_arena_strndup(&state->arena, commit, 40);
    if (copy == NULL) {
        return TKR_FAIL(state->error, NO_MEMORY, "out of memory");
    }
    state->commits[state->n_commits++] = copy;
    return TKR_OK;
}

static tkr_status each_ref(void *user, const char *name, bool is_dir) {
    scan *state = user;
    const char *folder = state->folder, *prefix = state->prefix;
    unsigned depth = state->depth;
    char commit[41];
    tkr_status status = TKR_OK;
    tkr_buf revision = {0};
    char *path = tkr_path_join(folder, name);
    if (path == NULL || !tkr_buf_printf(&revision, "%s%s%s", prefix, prefix[0] != '\0' ? "/" : "", name)) {
        status = TKR_FAIL(state->error, NO_MEMORY, "out of memory");
    } else if (is_dir && depth < MAX_DEPTH) {
        state->folder = path;
        state->prefix = revision.data;
        state->depth = depth + 1;
        status = tkr_dir_each(path, each_ref, state, state->error);
    } else if (!is_dir && read_ref(commit, path, NULL) == TKR_OK && commit[0] != '\0') {
        status = remember(state, commit);
        status = status == TKR_OK ? emit(state, revision.data, commit) : status;
    }
    state->folder = folder;
    state->prefix = prefix;
    state->depth = depth;
    tkr_buf_free(&revision);
    tkr_free(path);
    return status;
}

static tkr_status each_snapshot(void *user, const char *name, bool is_dir) {
    scan *state = user;
    for (size_t i = 0; i < state->n_commits; i++) {
        if (strcmp(state->commits[i], name) == 0) {
            return TKR_OK;
        }
    }
    return is_dir && tkr_hub_is_commit(name) ? emit(state, name, name) : TKR_OK;
}

/* One models--org--name; other folders are not ours. */
static tkr_status each_model(void *user, const char *name, bool is_dir) {
    scan *state = user;
    const char *split = strncmp(name, "models--", 8) == 0 ? strstr(name + 8, "--") : NULL;
    if (!is_dir || split == NULL || strlen(name) > TKR_HUB_ID_MAX + 8) {
        return TKR_OK;
    }
    (void)snprintf(state->repository, sizeof state->repository, "%.*s/%s", (int)(split - name - 8), name + 8,
                   split + 2);
    char *root = tkr_path_join(state->cache_dir, name);
    char *refs = root != NULL ? tkr_path_join(root, "refs") : NULL;
    char *snapshots = root != NULL ? tkr_path_join(root, "snapshots") : NULL;
    tkr_status status = TKR_OK;
    state->n_commits = 0;
    state->root = root;
    if (refs == NULL || snapshots == NULL) {
        status = TKR_FAIL(state->error, NO_MEMORY, "out of memory");
    }
    if (status == TKR_OK && tkr_path_is_dir(refs)) {
        state->folder = refs;
        state->prefix = "";
        state->depth = 0;
        status = tkr_dir_each(refs, each_ref, state, state->error);
    }
    if (status == TKR_OK && tkr_path_is_dir(snapshots)) {
        status = tkr_dir_each(snapshots, each_snapshot, state, state->error);
    }
    tkr_free(root);
    tkr_free(refs);
    tkr_free(snapshots);
    return status;
}

tkr_status tkr_hub_list(tkr_status (*fn)(void *user, const tkr_hub_cached *model), void *user,
                        const tkr_hub_options *options, tkr_error *error) {
    tkr_hub_settings settings;
    tkr_status status = tkr_hub_settings_open(&settings, options, error);
    if (status != TKR_OK) {
        return status;
    }
    if (tkr_path_is_dir(settings.cache_dir)) {
        scan state = {.fn = fn, .user = user, .cache_dir = settings.cache_dir, .error = error};
        status = tkr_dir_each(settings.cache_dir, each_model, &state, error);
        tkr_arena_free(&state.arena);
        tkr_free(state.commits);
    }
    tkr_hub_settings_close(&settings);
    return status;
}
