/* SPDX-License-Identifier: Apache-2.0 */
/* hub_internal: what the hub's files share: references, settings, cache paths, listings, hashes, HTTP. */
#ifndef TKR_HUB_HUB_INTERNAL_H
#define TKR_HUB_HUB_INTERNAL_H

#include <curl/curl.h>
#include <nettle/sha1.h>
#include <nettle/sha2.h>

#include "core/fsops.h"
#include "hub/hub.h"

/* ---- references ---- */
enum { TKR_HUB_ID_MAX = 193, TKR_HUB_REVISION_MAX = 255 }; /* "org/name" of 96 characters each; bytes without NUL */

typedef struct tkr_hub_ref {
    char repository[TKR_HUB_ID_MAX + 1];     /* "org/name" */
    char revision[TKR_HUB_REVISION_MAX + 1]; /* "main" when none was given */
} tkr_hub_ref;

/* Reads an alias or "org/name", each with an optional "@revision". Touches no file. */
tkr_status tkr_hub_ref_parse(tkr_hub_ref *ref, const char *reference, tkr_error *error);
/* 40 hexadecimal digits: a commit. */
bool tkr_hub_is_commit(const char *text);
/* Exactly n lower-case hexadecimal digits. */
bool tkr_hub_is_hex(const char *text, size_t n);
/* The alias nearest to `text` by edit distance (of the alias or of the repository's name); NULL when none is near. */
const tkr_hub_alias *tkr_hub_closest_alias(const char *text);

/* ---- settings: options and environment ---- */
typedef struct tkr_hub_tuning { /* waiting, apart from the options so that tests need not wait */
    double backoff_s;           /* first wait; doubles, with jitter */
    double backoff_max_s;
    double retry_after_max_s; /* most that a Retry-After is obeyed */
    double stall_s;           /* no byte for so long: start again; 0: HF_HUB_DOWNLOAD_TIMEOUT or 30 */
    unsigned attempts;        /* in a row without progress */
} tkr_hub_tuning;
extern const tkr_hub_tuning tkr_hub_default_tuning;

typedef struct tkr_hub_settings {
    char *cache_dir;
    char *endpoint;           /* without '/' at its end; NULL until tkr_hub_settings_online */
    char *token;              /* NULL: none */
    const char *token_source; /* static, for messages */
    const char *ca_bundle;    /* REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE or SSL_CERT_FILE, borrowed; NULL: libcurl's own */
    const char *offline_by;   /* what made it offline, static; NULL: online */
    double stall_s;
} tkr_hub_settings;
tkr_status tkr_hub_settings_open(tkr_hub_settings *settings, const tkr_hub_options *options, tkr_error *error);
/* Adds endpoint, token, certificates and timeout. */
tkr_status tkr_hub_settings_online(tkr_hub_settings *settings, const tkr_hub_options *options, tkr_error *error);
void tkr_hub_settings_close(tkr_hub_settings *settings);

/* ---- cache layout ---- */
/* "{cache_dir}/models--org--name[/tail]"; a new string, NULL without memory. */
char *tkr_hub_cache_path(const char *cache_dir, const char *repository, const char *tail);
/* The snapshot folder of a reference. TKR_NOT_FOUND when there is none. Returns a new string. */
tkr_status tkr_hub_cache_find(char **folder, const char *cache_dir, const tkr_hub_ref *ref, tkr_error *error);
/* Whether all that loading needs is there; else `missing` names the first file that is not. */
tkr_status tkr_hub_cache_check(bool *complete, char *missing, size_t missing_size, const char *folder,
                               bool tokenizer_only, tkr_error *error);

/* ---- hashes ---- */
typedef struct tkr_hub_hash {
    bool lfs; /* sha256 of the content; else the SHA-1 that git gives a blob */
    union {
        struct sha256_ctx sha256;
        struct sha1_ctx sha1;
    } state;
} tkr_hub_hash;
/* `size` of the whole content goes into git's hash. */
void tkr_hub_hash_init(tkr_hub_hash *hash, bool lfs, uint64_t size);
void tkr_hub_hash_update(tkr_hub_hash *hash, const void *data, size_t size);
void tkr_hub_hash_hex(tkr_hub_hash *hash, char hex[65]);

/* ---- listing of a repository ---- */
typedef struct tkr_hub_file {
    const char *path; /* relative, checked: no "..", no control character */
    uint64_t size;
    char hash[65]; /* name of its blob: sha256 (lfs) or git SHA-1, lower case */
    bool lfs;
} tkr_hub_file;
typedef struct tkr_hub_listing {
    tkr_arena arena;
    char commit[41];
    tkr_hub_file *files; /* [n] */
    size_t n;
} tkr_hub_listing;
/* Reads the API's answer, which is not trusted. `what` names it in messages. */
tkr_status tkr_hub_listing_parse(tkr_hub_listing *listing, const char *text, size_t size, const char *what,
                                 tkr_error *error);
/* Keeps the files that this program reads, small ones first. TKR_UNSUPPORTED when there are no
 * weights in a form that is read. */
tkr_status tkr_hub_listing_select(tkr_hub_listing *listing, bool tokenizer_only, const char *what, tkr_error *error);
void tkr_hub_listing_free(tkr_hub_listing *listing);
/* false for names that could leave the folder or upset a terminal. */
bool tkr_hub_safe_path(const char *path);

/* ---- HTTP ---- */
typedef struct tkr_hub_client {
    CURL *curl;
    const tkr_hub_settings *settings;
    const tkr_hub_options *options;
    tkr_hub_tuning tuning;
    bool global;           /* curl_global_init was called */
    double last_report;    /* of progress */
    uint64_t random_state; /* jitter */
} tkr_hub_client;

typedef struct tkr_hub_response {
    long code;               /* of the last hop; 0 when the connection broke before one came */
    bool transient;          /* worth another attempt; `reason` says what happened */
    bool no_connection;      /* nobody answered at all */
    bool stopped;            /* the sink wanted no more: its own error counts */
    double retry_after;      /* seconds, -1: not said */
    uint64_t content_length; /* UINT64_MAX: not said */
    uint64_t range_start;    /* of a 206, UINT64_MAX: not said */
    char error_code[32];     /* X-Error-Code */
    char reason[160];
} tkr_hub_response;

typedef struct tkr_hub_request {
    const char *url;
    uint64_t range_from;  /* 0: all */
    const char *label;    /* file for the progress function */
    const uint64_t *done; /* bytes so far, for the progress function; nullable */
    uint64_t total;
    /* Called once, before the first byte of a 200 or 206 and also when it is empty; then per piece. false stops. */
    bool (*begin)(void *user, const tkr_hub_response *response);
    bool (*write)(void *user, const void *data, size_t size);
    void *user;
} tkr_hub_request;

tkr_status tkr_hub_client_open(tkr_hub_client *client, const tkr_hub_settings *settings, const tkr_hub_options *options,
                               const tkr_hub_tuning *tuning, tkr_error *error);
void tkr_hub_client_close(tkr_hub_client *client);
/* One GET, redirects followed; the token goes to the endpoint's scheme, host and port only. TKR_OK with what happened
 * in *response, also for HTTP errors and broken connections; another status is final (cancelled, refused, no memory).
 */
tkr_status tkr_hub_http_get(tkr_hub_client *client, const tkr_hub_request *request, tkr_hub_response *response,
                            tkr_error *error);
/* Whether a redirect may be followed: http and https only, and never down from https while there is a token. */
tkr_status tkr_hub_redirect_check(const char *from, const char *to, bool has_token, const char *label,
                                  tkr_error *error);
/* Calls the progress function; TKR_CANCELLED when it says so. `now` false: not more often than 20 times a second. */
tkr_status tkr_hub_report(tkr_hub_client *client, const char *label, uint64_t done, uint64_t total, bool now,
                          tkr_error *error);
/* Sleeps, reporting meanwhile. */
tkr_status tkr_hub_wait(tkr_hub_client *client, double seconds, const char *label, uint64_t done, uint64_t total,
                        tkr_error *error);
/* After a transient failure: waits before the next attempt, or fails with the reason when attempts are used up. */
tkr_status tkr_hub_retry(tkr_hub_client *client, unsigned *failures, const tkr_hub_request *request,
                         const tkr_hub_response *response, tkr_error *error);
/* The error for an HTTP status that another attempt won't change. `path` NULL: the listing was asked for. */
tkr_status tkr_hub_http_fail(const tkr_hub_client *client, const tkr_hub_response *response, const tkr_hub_ref *ref,
                             const char *path, tkr_error *error);
/* Appends `text` percent-encoded for a URL; '/' stays as it is when keep_slash. */
bool tkr_hub_put_escaped(tkr_buf *out, const char *text, bool keep_slash);
/* Whether two URLs have the same scheme, host and port. */
bool tkr_hub_same_origin(const char *a, const char *b);

/* ---- download ---- */
/* One file into the cache: blob (verified) and snapshot link. */
tkr_status tkr_hub_download(tkr_hub_client *client, const tkr_hub_ref *ref, const char *commit,
                            const tkr_hub_file *file, tkr_error *error);
/* tkr_hub_pull with other waiting times. */
tkr_status tkr_hub_pull_tuned(char **folder, const char *reference, const tkr_hub_options *options,
                              const tkr_hub_tuning *tuning, tkr_error *error);

#endif
