/* SPDX-License-Identifier: Apache-2.0 */
/* server/auth: API keys, their scopes and rate limits; rate limits of addresses. Keeps hashes only. */
#ifndef TKR_SERVER_AUTH_H
#define TKR_SERVER_AUTH_H

#include "core/mem.h"
#include "server/settings.h"

typedef enum tkr_scope {
    TKR_SCOPE_NONE = 0, /* open to all: health, page, docs */
    TKR_SCOPE_EMBED = 1,
    TKR_SCOPE_METRICS = 2,
    TKR_SCOPE_ADMIN = 4
} tkr_scope;

/* A key. Immutable but for its counters; lives while held. */
typedef struct tkr_identity {
    char name[64]; /* shown in logs */
    unsigned scopes;
} tkr_identity;

typedef struct tkr_auth tkr_auth;

/* Reads the settings' key and keys file. TKR_DENIED when the server would listen on a public address without any key
 * and without insecure_no_auth; a keys file that others may write is refused. Returns the keys. */
tkr_status tkr_auth_create(tkr_auth **auth, const tkr_settings *settings, tkr_error *error);
void tkr_auth_free(tkr_auth **auth);
/* Reads the keys file again when it has changed (or `force`); a broken file keeps the old keys and is an error. */
tkr_status tkr_auth_reload(tkr_auth *auth, bool force, tkr_error *error);

/* What is wrong: nothing, no or a wrong key, a key without the scope, a rate limit. */
typedef enum tkr_verdict { TKR_PASS, TKR_NO_KEY, TKR_WRONG_SCOPE, TKR_TOO_FAST } tkr_verdict;

/* `authorization` and `x_api_key` are the header values or NULL; constant time in the key. On TKR_PASS *identity is
 * held (NULL without keys) and one request is counted; on TKR_TOO_FAST *retry_after_s says when, and *identity is held
 * where it is the key that was too fast (NULL: the address). Else it is NULL. Thread-safe. */
tkr_verdict tkr_auth_check(const tkr_identity **identity, double *retry_after_s, tkr_auth *auth, tkr_scope scope,
                           const char *authorization, const char *x_api_key, const char *peer);
/* Counts tokens after they are known; later requests of the key wait for them. */
void tkr_auth_count_tokens(tkr_auth *auth, const tkr_identity *identity, size_t n_tokens);
/* Another hold on an identity that is held; NULL gives NULL. */
const tkr_identity *tkr_auth_retain(tkr_auth *auth, const tkr_identity *identity);
void tkr_auth_release(tkr_auth *auth, const tkr_identity *identity);
/* Appends "X-RateLimit-Limit-Requests" and the like for a key with limits: "Name: value\r\n" each. */
void tkr_auth_add_fields(tkr_buf *fields, tkr_auth *auth, const tkr_identity *identity);

/* For `tkr-embed key new`: a new key (returned as text "tkr_..."; shown once) appended to `file` (created with mode
 * 0600) as its hash. */
typedef struct tkr_key_request {
    const char *file, *name;
    unsigned scopes;
    uint64_t requests_per_minute, tokens_per_minute; /* 0: the settings' */
    const char *created;                             /* "2026-11-26T08:00:00Z"; given by tkr_auth_each_key */
} tkr_key_request;
tkr_status tkr_auth_new_key(char key[64], const tkr_key_request *request, tkr_error *error);
/* Calls fn for each key of the file: name, scopes, limits (for `key list`). */
tkr_status tkr_auth_each_key(const char *file, void (*fn)(void *user, const tkr_key_request *key), void *user,
                             tkr_error *error);
/* Takes the key of that name out of the file (`key revoke`). TKR_NOT_FOUND lists the names. */
tkr_status tkr_auth_revoke_key(const char *file, const char *name, tkr_error *error);

/* "embed,metrics,admin" as bits and back. false for an unknown word, or none. */
bool tkr_auth_parse_scopes(unsigned *scopes, const char *text);
void tkr_auth_scopes_text(char out[64], unsigned scopes);

#endif
