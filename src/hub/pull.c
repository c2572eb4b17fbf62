/* SPDX-License-Identifier: Apache-2.0 */
/* hub/pull: from a reference to a folder: look, list, choose, download, write the ref last. */
#include <stdio.h>
#include <string.h>

#include "core/module.h"
#include "hub/hub_internal.h"

enum { MAX_LISTING_BYTES = 16 << 20 };
#define SPARE_BYTES ((uint64_t)64 << 20) /* left free on the disk */

/* ---- the listing ---- */

typedef struct sink {
    tkr_buf text;
    bool too_large;
} sink;

static bool listing_begin(void *user, const tkr_hub_response *response) {
    sink *into = user;
    into->text.size = 0;
    into->text.failed = false;
    into->too_large = response->content_length != UINT64_MAX && response->content_length > MAX_LISTING_BYTES;
    return !into->too_large;
}

static bool listing_write(void *user, const void *data, size_t size) {
    sink *into = user;
    into->too_large = size > MAX_LISTING_BYTES - into->text.size;
    return !into->too_large && tkr_buf_append(&into->text, data, size);
}

static tkr_status fetch_listing(tkr_hub_listing *listing, tkr_hub_client *client, const tkr_hub_ref *ref,
                                tkr_error *error) {
    sink into = {0};
    tkr_hub_response response;
    tkr_buf url = {0};
    unsigned failures = 0;
    tkr_status status = TKR_OK;
    if (!tkr_buf_printf(&url, "%s/api/models/%s/revision/", client->settings->endpoint, ref->repository) ||
        !tkr_hub_put_escaped(&url, ref->revision, false) || !tkr_buf_printf(&url, "?blobs=true")) {
        status = TKR_FAIL(error, NO_MEMORY, "out of memory");
    }
    const tkr_hub_request request = {
        .url = url.data, .label = ref->repository, .begin = listing_begin, .write = listing_write, .user = &into};
    while (status == TKR_OK) {
        status = tkr_hub_http_get(client, &request, &response, error);
        if (status == TKR_OK && response.stopped) {
            status = !into.too_large ? TKR_FAIL(error, NO_MEMORY, "out of memory")
                                     : TKR_FAIL(error, LIMIT, "%s: the listing of its files is larger than %d MiB",
                                                ref->repository, MAX_LISTING_BYTES >> 20);
        }
        if (status != TKR_OK || !response.transient) {
            break;
        }
        status = tkr_hub_retry(client, &failures, &request, &response, error);
    }
    if (status == TKR_OK && response.code != 200) {
        status = tkr_hub_http_fail(client, &response, ref, NULL, error);
    }
    if (status == TKR_OK) {
        char what[TKR_HUB_ID_MAX + 32];
        (void)snprintf(what, sizeof what, "%s (the API's answer)", ref->repository);
        status =
            tkr_hub_listing_parse(listing, into.text.data != NULL ? into.text.data : "", into.text.size, what, error);
    }
    tkr_buf_free(&into.text);
    tkr_buf_free(&url);
    return status;
}

/* ---- disk ---- */

/* Bytes that are to come: blobs that are not there, less what earlier attempts left. */
static tkr_status bytes_to_come(uint64_t *bytes, const tkr_hub_settings *settings, const tkr_hub_ref *ref,
                                const tkr_hub_listing *listing, tkr_error *error) {
    *bytes = 0;
    for (size_t i = 0; i < listing->n; i++) {
        char tail[96];
        uint64_t there = 0;
        tkr_error ignored;
        for (int incomplete = 0; incomplete < 2 && there < listing->files[i].size; incomplete++) {
            (void)snprintf(tail, sizeof tail, "blobs/%s%s", listing->files[i].hash, incomplete ? ".incomplete" : "");
            char *path = tkr_hub_cache_path(settings->cache_dir, ref->repository, tail);
            if (path == NULL) {
                return TKR_FAIL(error, NO_MEMORY, "out of memory");
            }
            uint64_t size = 0;
            if (tkr_fs_size(&size, path, &ignored) == TKR_OK) {
                there = size;
            }
            tkr_free(path);
        }
        *bytes += there < listing->files[i].size ? listing->files[i].size - there : 0;
    }
    return TKR_OK;
}

static tkr_status check_disk(const tkr_hub_settings *settings, const tkr_hub_ref *ref, const tkr_hub_listing *listing,
                             tkr_error *error) {
    uint64_t needed = 0;
    tkr_status status = bytes_to_come(&needed, settings, ref, listing, error);
    uint64_t space = status == TKR_OK ? tkr_path_free_bytes(settings->cache_dir) : 0;
    if (space > 0 && needed > 0 && needed + SPARE_BYTES > space) {
        return TKR_FAIL(
            error, IO,
            "%s needs %llu MiB but the disk of %.200s has %llu MiB free; free some, or set HF_HUB_CACHE to another",
            ref->repository, (unsigned long long)((needed + SPARE_BYTES) >> 20), settings->cache_dir,
            (unsigned long long)(space >> 20));
    }
    return status;
}

/* ---- pull ---- */

static tkr_status write_ref(const tkr_hub_settings *settings, const tkr_hub_ref *ref, const char *commit,
                            tkr_error *error) {
    char tail[TKR_HUB_REVISION_MAX + 16];
    (void)snprintf(tail, sizeof tail, "refs/%s", ref->revision);
    char *path = tkr_hub_cache_path(settings->cache_dir, ref->repository, tail);
    if (path == NULL) {
        return TKR_FAIL(error, NO_MEMORY, "out of memory");
    }
    char *slash = strrchr(path, '/');
    *slash = '\0';
    tkr_status status = tkr_mkdirs(path, error);
    *slash = '/';
    status = status == TKR_OK ? tkr_file_write_atomic(path, commit, strlen(commit), error) : status;
    tkr_free(path);
    return status;
}

static tkr_status pull(char **folder, const tkr_hub_ref *ref, tkr_hub_settings *settings,
                       const tkr_hub_options *options, const tkr_hub_tuning *tuning, tkr_error *error) {
    tkr_hub_client client = {0};
    tkr_hub_listing listing = {0};
    char tail[64];
    tkr_status status = tkr_hub_settings_online(settings, options, error);
    if (status != TKR_OK || (status = tkr_hub_client_open(&client, settings, options, tuning, error)) != TKR_OK) {
        return status;
    }
    if (settings->token != NULL && strncmp(settings->endpoint, "http://", 7) == 0) {
        tkr_log_line(&options->log, TKR_LOG_WARNING, "the token from %s goes to %s without encryption",
                     settings->token_source, settings->endpoint);
    }
    status = fetch_listing(&listing, &client, ref, error);
    if (status == TKR_OK && tkr_hub_is_commit(ref->revision) && strcmp(ref->revision, listing.commit) != 0) {
        status = TKR_FAIL(error, FORMAT, "%s: asked for commit %.12s, the server answered with %.12s", ref->repository,
                          ref->revision, listing.commit);
    }
    status =
        status == TKR_OK ? tkr_hub_listing_select(&listing, options->tokenizer_only, ref->repository, error) : status;
    if (status == TKR_OK && (status = tkr_mkdirs(settings->cache_dir, error)) != TKR_OK) {
        status = tkr_error_prefix(error, status, "the cache can't be written; set HF_HUB_CACHE to another folder");
    }
    status = status == TKR_OK ? check_disk(settings, ref, &listing, error) : status;
    for (size_t i = 0; i < listing.n && status == TKR_OK; i++) {
        status = tkr_hub_download(&client, ref, listing.commit, &listing.files[i], error);
    }
    /* Last, so that a name never points to a snapshot that was not finished. */
    if (status == TKR_OK && !tkr_hub_is_commit(ref->revision)) {
        status = write_ref(settings, ref, listing.commit, error);
    }
    if (status == TKR_OK) {
        (void)snprintf(tail, sizeof tail, "snapshots/%s", listing.commit);
        *folder = tkr_hub_cache_path(settings->cache_dir, ref->repository, tail);
        status = *folder != NULL ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "out of memory");
    }
    tkr_hub_listing_free(&listing);
    tkr_hub_client_close(&client);
    return status;
}

static bool is_demo(const char *reference) { return reference != NULL && curl_strequal(reference, TKR_HUB_DEMO) != 0; }

tkr_status tkr_hub_pull_tuned(char **folder, const char *reference, const tkr_hub_options *options,
                              const tkr_hub_tuning *tuning, tkr_error *error) {
    tkr_hub_ref ref;
    tkr_hub_settings settings;
    if (is_demo(reference)) {
        return tkr_data_find(folder, TKR_HUB_DEMO, "TKR_DEMO", error);
    }
    tkr_status status = tkr_hub_ref_parse(&ref, reference, error);
    if (status != TKR_OK || (status = tkr_hub_settings_open(&settings, options, error)) != TKR_OK) {
        return status;
    }
    if (settings.offline_by != NULL) {
        status = TKR_FAIL(error, DENIED, "%s: can't be pulled, %s", ref.repository, settings.offline_by);
    } else {
        status = pull(folder, &ref, &settings, options, tuning, error);
    }
    tkr_hub_settings_close(&settings);
    return status;
}

tkr_status tkr_hub_pull(char **folder, const char *reference, const tkr_hub_options *options, tkr_error *error) {
    return tkr_hub_pull_tuned(folder, reference, options, &tkr_hub_default_tuning, error);
}

/* ---- resolve ---- */

/* The error for a model that the network would have to bring, but may not. `missing` "": nothing of it is there. */
static tkr_status offline_fail(const tkr_hub_settings *settings, const tkr_hub_ref *ref, const char *missing,
                               tkr_error *error) {
    bool plain = strcmp(ref->revision, "main") == 0;
    return TKR_FAIL(error, NOT_FOUND,
                    "%s@%s: %s%.100s not in the cache %.120s, and %s; go online and run `tkr-embed pull %s%s%s`",
                    ref->repository, ref->revision, missing, missing[0] != '\0' ? " is" : "is", settings->cache_dir,
                    settings->offline_by, ref->repository, plain ? "" : "@", plain ? "" : ref->revision);
}

/* Of files, only GGUF ones are a model of their own. */
static tkr_status check_file(const char *path, tkr_error *error) {
    tkr_map map = {0};
    tkr_status status = tkr_map_open(&map, path, error);
    if (status == TKR_OK && (map.size < 4 || memcmp(map.data, "GGUF", 4) != 0)) {
        status = TKR_FAIL(error, INVALID_ARGUMENT,
                          "%s: is a file, but no GGUF file; give that, or the folder that holds config.json", path);
    }
    tkr_map_close(&map);
    return status;
}

/* Without `pulls` a model that would be downloaded is fine, and *folder NULL. */
static tkr_status find(char **folder, const char *reference, const tkr_hub_options *options, bool pulls,
                       tkr_error *error) {
    tkr_hub_ref ref;
    tkr_hub_settings settings;
    char *found = NULL, missing[256] = "";
    bool complete = false;
    /* A folder of this name that is no model must not hide it. */
    if (is_demo(reference) && !tkr_path_exists(TKR_HUB_DEMO "/config.json")) {
        return tkr_data_find(folder, TKR_HUB_DEMO, "TKR_DEMO", error);
    }
    if (reference != NULL && reference[0] != '\0' && tkr_path_exists(reference)) {
        tkr_status file = tkr_path_is_dir(reference) ? TKR_OK : check_file(reference, error);
        if (file != TKR_OK) {
            return file;
        }
        *folder = tkr_strdup(reference);
        return *folder != NULL ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "out of memory");
    }
    tkr_status status = tkr_hub_ref_parse(&ref, reference, error);
    if (status != TKR_OK || (status = tkr_hub_settings_open(&settings, options, error)) != TKR_OK) {
        return status;
    }
    tkr_error absent;
    status = tkr_hub_cache_find(&found, settings.cache_dir, &ref, &absent);
    if (status == TKR_OK) {
        status = tkr_hub_cache_check(&complete, missing, sizeof missing, found, options->tokenizer_only, error);
    } else if (status == TKR_NOT_FOUND) {
        status = TKR_OK;
    } else {
        (void)tkr_error_set(error, absent.origin, status, "%s", absent.message);
    }
    if (status == TKR_OK && complete) {
        *folder = found;
        found = NULL;
    } else if (status == TKR_OK && settings.offline_by != NULL) {
        status = offline_fail(&settings, &ref, missing, error);
    } else if (status == TKR_OK && pulls) {
        tkr_log_line(&options->log, TKR_LOG_INFO, "%s: %s%s not in the cache; downloading", ref.repository, missing,
                     missing[0] != '\0' ? " is" : "");
        status = pull(folder, &ref, &settings, options, &tkr_hub_default_tuning, error);
    }
    tkr_free(found);
    tkr_hub_settings_close(&settings);
    return status;
}

tkr_status tkr_hub_resolve(char **folder, const char *reference, const tkr_hub_options *options, tkr_error *error) {
    return find(folder, reference, options, true, error);
}

tkr_status tkr_hub_check(const char *reference, const tkr_hub_options *options, tkr_error *error) {
    char *folder = NULL;
    const tkr_status status = find(&folder, reference, options, false, error);
    tkr_free(folder);
    return status;
}
