/* SPDX-License-Identifier: Apache-2.0 */
/* server/auth: who a request is from, and whether it may come now. Keys are compared by their hashes, all of them each
 * time, so that the time tells nothing. */
#include "server/auth.h"

#include <math.h>
#include <nettle/memops.h>
#include <string.h>
#include <strings.h>

#include "core/address.h"
#include "core/fsops.h"
#include "core/service.h"
#include "core/sync.h"
#include "server/auth_keys.h"
#include "server/auth_limits.h"

enum { MAX_ADDRESSES = 8192 };

typedef struct key {
    tkr_identity identity; /* first, so that an identity is its key */
    uint8_t hash[TKR_KEY_HASH_SIZE];
    uint64_t requests_per_minute, tokens_per_minute; /* 0: no limit */
    /* under the lock */
    size_t holders; /* the set counts as one */
    tkr_bucket requests, tokens;
} key;

typedef struct key_set {
    key **keys; /* [n] */
    size_t n;
} key_set;

struct tkr_auth {
    char *path;    /* of the keys file, NULL: none */
    char *user;    /* whom root will become; NULL: nobody */
    bool required; /* there are keys, or a file that may get some */
    bool public_metrics;
    uint64_t requests_per_minute, tokens_per_minute; /* of keys without limits of their own */
    key_set fixed;                                   /* of the settings */
    tkr_mutex reading;                               /* held while the file is read */
    tkr_file_id seen;
    tkr_mutex lock;
    key_set set; /* all keys */
    tkr_address_limits *addresses;
};

/* ---- sets of keys ---- */

static void drop(key *k) {
    if (k != NULL && --k->holders == 0) tkr_free(k);
}

static void free_set(key_set *set) {
    for (size_t i = 0; i < set->n; i++) drop(set->keys[i]);
    tkr_free(set->keys);
    *set = (key_set){0};
}

static bool reserve(key_set *set, size_t n) {
    set->keys = tkr_calloc(n > 0 ? n : 1, sizeof(key *));
    return set->keys != NULL;
}

static bool add_new(key_set *set, const tkr_auth *auth, const tkr_key_line *line) {
    key *k = tkr_calloc(1, sizeof *k);
    if (k == NULL) return false;
    memcpy(k->identity.name, line->name, sizeof k->identity.name);
    memcpy(k->hash, line->hash, sizeof k->hash);
    k->identity.scopes = line->scopes;
    k->requests_per_minute = line->requests_per_minute > 0 ? line->requests_per_minute : auth->requests_per_minute;
    k->tokens_per_minute = line->tokens_per_minute > 0 ? line->tokens_per_minute : auth->tokens_per_minute;
    k->holders = 1;
    set->keys[set->n++] = k;
    return true;
}

static bool is_same(const key *a, const key *b) {
    return strcmp(a->identity.name, b->identity.name) == 0 && a->identity.scopes == b->identity.scopes &&
           memcmp(a->hash, b->hash, sizeof a->hash) == 0 && a->requests_per_minute == b->requests_per_minute &&
           a->tokens_per_minute == b->tokens_per_minute;
}

/* Puts `next` in the place of the keys there were. Keys that are the same stay, with what they have spent. */
static void exchange(tkr_auth *auth, key_set *next) {
    tkr_mutex_lock(&auth->lock);
    for (size_t i = 0; i < next->n; i++) {
        for (size_t j = 0; j < auth->set.n; j++) {
            if (auth->set.keys[j] == next->keys[i] || !is_same(auth->set.keys[j], next->keys[i])) continue;
            drop(next->keys[i]);
            next->keys[i] = auth->set.keys[j];
            next->keys[i]->holders++;
            break;
        }
    }
    const key_set old = auth->set;
    auth->set = *next;
    *next = old;
    free_set(next);
    tkr_mutex_unlock(&auth->lock);
}

/* The keys of the settings and of these lines. */
static tkr_status use_lines(tkr_auth *auth, const tkr_key_lines *lines, tkr_error *error) {
    key_set next = {0};
    bool ok = reserve(&next, auth->fixed.n + lines->n);
    for (size_t i = 0; ok && i < auth->fixed.n; i++) {
        next.keys[next.n++] = auth->fixed.keys[i];
        tkr_mutex_lock(&auth->lock);
        auth->fixed.keys[i]->holders++;
        tkr_mutex_unlock(&auth->lock);
    }
    for (size_t i = 0; ok && i < lines->n; i++) ok = add_new(&next, auth, &lines->keys[i]);
    if (!ok) {
        tkr_mutex_lock(&auth->lock);
        free_set(&next);
        tkr_mutex_unlock(&auth->lock);
        return TKR_FAIL(error, NO_MEMORY, "no memory for the keys");
    }
    exchange(auth, &next);
    return TKR_OK;
}

tkr_status tkr_auth_reload(tkr_auth *auth, bool force, tkr_error *error) {
    tkr_key_lines lines = {0};
    tkr_file_id id = {0};
    if (auth->path == NULL) return TKR_OK;
    tkr_mutex_lock(&auth->reading);
    tkr_status status = tkr_fs_id(&id, auth->path, error);
    const bool same = memcmp(&id, &auth->seen, sizeof id) == 0; /* a file that is away: told once */
    auth->seen = id;
    if (same && !force) {
        status = TKR_OK;
    } else if (status == TKR_OK) {
        status = tkr_key_lines_read(&lines, auth->path, auth->user, error);
        if (status == TKR_OK) status = use_lines(auth, &lines, error);
    }
    tkr_mutex_unlock(&auth->reading);
    tkr_key_lines_free(&lines);
    return status;
}

/* ---- creation ---- */

/* Whether other machines could reach what the settings say, or what the service manager has opened. */
static bool is_public(const tkr_settings *settings) {
    const tkr_service_reach reach = tkr_service_sockets_reach();
    return reach == TKR_SERVICE_NO_SOCKETS ? !tkr_address_is_loopback(tkr_setting_of(settings, TKR_SET_HOST)->text)
                                           : reach == TKR_SERVICE_PUBLIC;
}

static tkr_status add_fixed(tkr_auth *auth, const tkr_setting_value *keys, tkr_error *error) {
    bool ok = reserve(&auth->fixed, keys->n_list);
    for (size_t i = 0; ok && i < keys->n_list; i++) {
        tkr_key_line line = {.name = "api_key", .scopes = TKR_SCOPE_EMBED | TKR_SCOPE_METRICS};
        tkr_key_hash(line.hash, keys->list[i], strlen(keys->list[i]));
        ok = add_new(&auth->fixed, auth, &line);
    }
    return ok ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "no memory for the keys");
}

tkr_status tkr_auth_create(tkr_auth **out, const tkr_settings *settings, tkr_error *error) {
    const tkr_setting_value *api_key = tkr_setting_of(settings, TKR_SET_API_KEY);
    const char *path = tkr_setting_of(settings, TKR_SET_KEYS_FILE)->text;
    const char *user = tkr_setting_of(settings, TKR_SET_USER)->text;
    const uint64_t address_limit = tkr_setting_of(settings, TKR_SET_ADDRESS_RPM)->number;
    const tkr_key_lines none = {0};
    tkr_auth *auth = tkr_calloc(1, sizeof *auth);
    if (auth == NULL) return TKR_FAIL(error, NO_MEMORY, "no memory for the keys");
    tkr_mutex_init(&auth->lock);
    tkr_mutex_init(&auth->reading);
    auth->required = api_key->n_list > 0 || path != NULL;
    auth->public_metrics = tkr_setting_on(settings, TKR_SET_PUBLIC_METRICS);
    auth->requests_per_minute = tkr_setting_of(settings, TKR_SET_KEY_RPM)->number;
    auth->tokens_per_minute = tkr_setting_of(settings, TKR_SET_KEY_TPM)->number;
    tkr_status status = add_fixed(auth, api_key, error);
    if (status == TKR_OK) status = use_lines(auth, &none, error);
    if (status == TKR_OK && address_limit > 0) {
        status = tkr_address_limits_create(&auth->addresses, address_limit, MAX_ADDRESSES, error);
    }
    if (status == TKR_OK && path != NULL) {
        auth->path = tkr_strdup(path);
        auth->user = user != NULL ? tkr_strdup(user) : NULL;
        status = auth->path != NULL && (user == NULL || auth->user != NULL)
                     ? tkr_auth_reload(auth, true, error)
                     : TKR_FAIL(error, NO_MEMORY, "no memory for the keys");
        if (status == TKR_NOT_FOUND) {
            status = TKR_FAIL(error, NOT_FOUND,
                              "%s: there is no keys file; `tkr-embed key new NAME --keys-file %s` "
                              "makes one",
                              path, path);
        }
    }
    if (status == TKR_OK && auth->set.n == 0 && is_public(settings) && !tkr_setting_on(settings, TKR_SET_NO_AUTH)) {
        status =
            TKR_FAIL(error, DENIED,
                     "%s can be reached from other machines, and there is no API key: make one with `tkr-embed key "
                     "new NAME --keys-file FILE` and give --keys-file FILE, or say --insecure-no-auth",
                     tkr_setting_of(settings, TKR_SET_HOST)->text);
    }
    if (status != TKR_OK) tkr_auth_free(&auth);
    *out = auth;
    return status;
}

void tkr_auth_free(tkr_auth **out) {
    if (out == NULL || *out == NULL) return;
    tkr_auth *auth = *out;
    free_set(&auth->set);
    free_set(&auth->fixed);
    tkr_address_limits_free(&auth->addresses);
    tkr_mutex_destroy(&auth->lock);
    tkr_mutex_destroy(&auth->reading);
    tkr_free(auth->path);
    tkr_free(auth->user);
    tkr_free(auth);
    *out = NULL;
}

/* ---- checking ---- */

/* The key of "Bearer KEY", whatever the case of the scheme; NULL for another scheme. */
static const char *bearer(const char *authorization) {
    if (authorization == NULL || strncasecmp(authorization, "Bearer ", 7) != 0) return NULL;
    return authorization + 7 + strspn(authorization + 7, " ");
}

/* Under the lock. Looks at every key, whichever fits. */
static key *find(const tkr_auth *auth, const uint8_t hash[TKR_KEY_HASH_SIZE]) {
    key *found = NULL;
    for (size_t i = 0; i < auth->set.n; i++)
        if (memeql_sec(auth->set.keys[i]->hash, hash, TKR_KEY_HASH_SIZE)) found = auth->set.keys[i];
    return found;
}

/* Under the lock. Counts a request of the key; seconds until it may come, 0: now. */
static double take(key *k, double now) {
    double wait = 0;
    if (k->tokens_per_minute > 0) {
        const double left = tkr_bucket_left(&k->tokens, k->tokens_per_minute, now);
        wait = left > 0 ? 0 : (1 - left) * 60 / (double)k->tokens_per_minute;
    }
    if (k->requests_per_minute > 0) {
        wait = fmax(wait, tkr_bucket_wait(&k->requests, k->requests_per_minute, 1, now));
        if (wait <= 0) tkr_bucket_spend(&k->requests, k->requests_per_minute, 1, now);
    }
    return wait;
}

tkr_verdict tkr_auth_check(const tkr_identity **identity, double *retry_after_s, tkr_auth *auth, tkr_scope scope,
                           const char *authorization, const char *x_api_key, const char *peer) {
    const char *text = bearer(authorization);
    const double now = tkr_now();
    uint8_t hash[TKR_KEY_HASH_SIZE] = {0};
    *identity = NULL;
    if (text == NULL) text = x_api_key;
    if (scope == TKR_SCOPE_NONE) return TKR_PASS;
    const bool open =
        (!auth->required && scope != TKR_SCOPE_ADMIN) || (scope == TKR_SCOPE_METRICS && auth->public_metrics);
    if (!open && text != NULL) tkr_key_hash(hash, text, strlen(text));
    tkr_mutex_lock(&auth->lock);
    tkr_verdict verdict = TKR_PASS;
    *retry_after_s = auth->addresses != NULL ? tkr_address_limits_take(auth->addresses, peer, now) : 0;
    if (*retry_after_s > 0) {
        verdict = TKR_TOO_FAST;
    } else if (!open) {
        key *k = text != NULL ? find(auth, hash) : NULL;
        if (k == NULL) {
            verdict = TKR_NO_KEY;
        } else if ((k->identity.scopes & (unsigned)scope) == 0) {
            verdict = TKR_WRONG_SCOPE;
        } else {
            *retry_after_s = take(k, now);
            verdict = *retry_after_s > 0 ? TKR_TOO_FAST : TKR_PASS;
            k->holders++;
            *identity = &k->identity;
        }
    }
    tkr_mutex_unlock(&auth->lock);
    return verdict;
}

/* An identity is the first member of its key. */
static key *key_of(const tkr_identity *identity) { return (key *)(uintptr_t)identity; }

void tkr_auth_count_tokens(tkr_auth *auth, const tkr_identity *identity, size_t n_tokens) {
    if (identity == NULL) return;
    key *k = key_of(identity);
    if (k->tokens_per_minute == 0) return;
    tkr_mutex_lock(&auth->lock);
    tkr_bucket_spend(&k->tokens, k->tokens_per_minute, (double)n_tokens, tkr_now());
    tkr_mutex_unlock(&auth->lock);
}

const tkr_identity *tkr_auth_retain(tkr_auth *auth, const tkr_identity *identity) {
    if (identity == NULL) return NULL;
    tkr_mutex_lock(&auth->lock);
    key_of(identity)->holders++;
    tkr_mutex_unlock(&auth->lock);
    return identity;
}

void tkr_auth_release(tkr_auth *auth, const tkr_identity *identity) {
    if (identity == NULL) return;
    tkr_mutex_lock(&auth->lock);
    drop(key_of(identity));
    tkr_mutex_unlock(&auth->lock);
}

static void add_limit(tkr_buf *fields, const char *what, const tkr_bucket *bucket, uint64_t per_minute, double now) {
    const double left = floor(tkr_bucket_left(bucket, per_minute, now));
    if (per_minute == 0) return;
    tkr_buf_printf(fields,
                   "X-RateLimit-Limit-%s: %llu\r\nX-RateLimit-Remaining-%s: %.0f\r\nX-RateLimit-Reset-%s: %.0fs\r\n",
                   what, (unsigned long long)per_minute, what, left > 0 ? left : 0, what,
                   ceil(tkr_bucket_wait(bucket, per_minute, (double)per_minute, now)));
}

void tkr_auth_add_fields(tkr_buf *fields, tkr_auth *auth, const tkr_identity *identity) {
    const double now = tkr_now();
    if (identity == NULL) return;
    const key *k = key_of(identity);
    tkr_mutex_lock(&auth->lock);
    add_limit(fields, "Requests", &k->requests, k->requests_per_minute, now);
    add_limit(fields, "Tokens", &k->tokens, k->tokens_per_minute, now);
    tkr_mutex_unlock(&auth->lock);
}
