/* SPDX-License-Identifier: Apache-2.0 */
/* server/cache_redis: the shared level through hiredis: reads on the asker's thread with a short limit, writes on a
 * thread of its own. While the server is down nobody waits for it; it is tried again every second. What it answers is
 * bounded in time and in bytes, whatever it is. */
#include <hiredis/hiredis.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/digest.h"
#include "core/file.h"
#include "core/log.h"
#include "core/sync.h"
#include "server/cache_far.h"

#define READ_S 0.1    /* of all that tkr_far_get does */
#define QUEUE_S 0.005 /* of it, waiting for another's to end */
#define WRITE_S 0.5   /* of a value, and so of the end */
#define RETRY_S 1.0
#define MOST_ANSWERED ((size_t)64 << 20) /* bytes of what is asked at once */
#define MOST_WAITING (16u << 20)         /* bytes of values to be written */
#define MAGIC 0x31524b54u                /* "TKR1" */

/* In front of the rows. Both ends are little-endian machines of this program. */
typedef struct header {
    uint32_t magic, dimensions;
    uint64_t n_rows, n_tokens, n_tokens_untruncated, digest;
} header;

typedef struct waiting {
    tkr_cache_key key;
    size_t size;
    struct waiting *next;
    char bytes[]; /* header and rows */
} waiting;

/* A connection, of one thread at a time, and when it may be tried again. */
typedef struct line {
    redisContext *context;
    double retry_at;
    double until;    /* the end of what is under way */
    size_t n_read;   /* bytes of it */
    const char *why; /* it failed */
} line;

struct tkr_far {
    char host[256], password[256], path[256]; /* path: of a Unix socket, else "" */
    int port, db;
    tkr_log log;
    line reader, writer;
    tkr_mutex lock;
    tkr_cond wake;
    tkr_cond idle; /* of the reader */
    bool reading;  /* the reader is in use */
    waiting *first, *last;
    size_t n_waiting; /* bytes */
    bool stop, down;
    uint64_t hits, misses, errors;
    tkr_thread *thread;
};

/* ---- connection ---- */

static void note(tkr_far *far, bool up, const char *why) {
    tkr_mutex_lock(&far->lock);
    const bool changed = far->down == up;
    far->down = !up;
    if (!up) far->errors++;
    tkr_mutex_unlock(&far->lock);
    if (!changed) return;
    if (up)
        tkr_log_line(&far->log, TKR_LOG_INFO, "the shared cache answers again");
    else
        tkr_log_line(&far->log, TKR_LOG_WARNING, "the shared cache doesn't answer (%s): computing instead", why);
}

static void hang_up(tkr_far *far, line *l) {
    note(far, false, l->why);
    if (l->context) redisFree(l->context);
    l->context = NULL;
    l->retry_at = tkr_now() + RETRY_S;
}

static bool failed(line *l, const char *why) {
    l->why = why;
    return false;
}

/* The next read or write may take what is left of the time. */
static bool set_limit(line *l) {
    const double left = l->until - tkr_now();
    if (left <= 0) return failed(l, "it takes too long");
    const struct timeval limit = {0, 1 + (suseconds_t)(left * 1e6)};
    return redisSetTimeout(l->context, limit) == REDIS_OK || failed(l, l->context->errstr);
}

static bool send_all(line *l) {
    for (int done = 0; !done;) {
        if (!set_limit(l)) return false;
        if (redisBufferWrite(l->context, &done) != REDIS_OK) return failed(l, l->context->errstr);
    }
    return true;
}

/* No command of ours has a list for an answer, whose claimed length would be believed. */
static bool begins_well(const redisReader *r) { return r->ridx >= 0 || memchr("$+-:", r->buf[r->pos], 4) != NULL; }

static redisReply *no_answer(line *l, const char *why) {
    l->why = why;
    return NULL;
}

/* The next answer; NULL: the line is to be hung up. */
static redisReply *answer_of(line *l) {
    redisReader *r = l->context->reader;
    for (void *reply = NULL;;) {
        if (r->pos < r->len) {
            if (!begins_well(r)) return no_answer(l, "it answers what wasn't asked");
            if (redisReaderGetReply(r, &reply) != REDIS_OK) return no_answer(l, r->errstr);
            if (reply) return reply;
        }
        if (l->n_read > MOST_ANSWERED) return no_answer(l, "its answer has no end");
        if (!set_limit(l)) return NULL;
        const size_t before = r->len;
        if (redisBufferRead(l->context) != REDIS_OK) return no_answer(l, l->context->errstr);
        l->n_read += r->len - before;
    }
}

/* Sends a command that redisAppendCommand has put; its answer may be an error only where `any`. */
static bool is_done(line *l, int appended, bool any) {
    if (appended != REDIS_OK) return failed(l, "no memory");
    if (!send_all(l)) return false;
    redisReply *reply = answer_of(l);
    if (!reply) return false;
    const bool fine = any || reply->type != REDIS_REPLY_ERROR;
    freeReplyObject(reply);
    return fine || failed(l, "it refuses a command");
}

static bool greet(const tkr_far *far, line *l) {
    redisContext *c = l->context;
    if (far->password[0] && !is_done(l, redisAppendCommand(c, "AUTH %s", far->password), false)) return false;
    if (far->db && !is_done(l, redisAppendCommand(c, "SELECT %d", far->db), false)) return false;
    return is_done(l, redisAppendCommand(c, "PING"), true);
}

static bool dial(const tkr_far *far, line *l) {
    const double left = l->until - tkr_now();
    const struct timeval limit = {0, left > 0.001 ? (suseconds_t)(left * 1e6) : 1000};
    redisContext *c = l->context = far->path[0] ? redisConnectUnixWithTimeout(far->path, limit)
                                                : redisConnectWithTimeout(far->host, far->port, limit);
    if (!c) return failed(l, "no memory");
    if (c->err) return failed(l, c->errstr);
    return greet(far, l);
}

/* Connects where that is due; what follows may take `limit` seconds from `begin` on. */
static bool open_line(tkr_far *far, line *l, double begin, double limit) {
    l->until = begin + limit;
    l->n_read = 0;
    if (l->context) return true;
    if (tkr_now() < l->retry_at) return false;
    if (!dial(far, l)) {
        hang_up(far, l);
        return false;
    }
    note(far, true, NULL);
    return true;
}

/* ---- values ---- */

static uint64_t digest_of(const header *h, const float *rows, size_t n) {
    tkr_digest digest;
    tkr_digest_init(&digest);
    tkr_digest_word(&digest, h->dimensions);
    tkr_digest_word(&digest, h->n_rows);
    tkr_digest_word(&digest, h->n_tokens);
    tkr_digest_word(&digest, h->n_tokens_untruncated);
    tkr_digest_add(&digest, rows, n);
    return tkr_digest_end(&digest);
}

/* Of the shape that a result for this key has: who reads the rows goes by the model and the request. */
static bool fits(const header *h, const tkr_cache_key *key) {
    return h->dimensions == key->dimensions && (key->n_rows ? h->n_rows == key->n_rows : h->n_rows > 0);
}

static bool all_finite(const float *values, size_t n) {
    bool finite = true;
    for (size_t i = 0; i < n; i++) finite &= isfinite(values[i]) != 0;
    return finite;
}

/* Trusts nothing of what another program may have written. */
static bool read_value(tkr_cached *out, const tkr_cache_key *key, const char *bytes, size_t size) {
    header h;
    size_t n = 0;
    if (size < sizeof h) return false;
    memcpy(&h, bytes, sizeof h);
    if (h.magic != MAGIC || h.dimensions == 0 || !fits(&h, key) || !tkr_mul_size(&n, h.n_rows, h.dimensions) ||
        !tkr_mul_size(&n, n, sizeof(float)) || n != size - sizeof h)
        return false;
    float *rows = tkr_malloc(n);
    if (!rows) return false;
    memcpy(rows, bytes + sizeof h, n);
    if (digest_of(&h, rows, n) != h.digest || !all_finite(rows, n / sizeof *rows)) {
        tkr_free(rows);
        return false;
    }
    *out = (tkr_cached){rows, h.n_rows, h.dimensions, h.n_tokens, h.n_tokens_untruncated};
    return true;
}

static void name_of(char out[72], const tkr_cache_key *key) {
    (void)snprintf(out, 72, "tkr1:");
    for (size_t i = 0; i < sizeof key->digest; i++) (void)snprintf(out + 5 + 2 * i, 3, "%02x", key->digest[i]);
}

/* ---- reading ---- */

static bool ask(tkr_far *far, const tkr_cache_key *keys, size_t n) {
    for (size_t i = 0; i < n; i++) {
        char name[72];
        name_of(name, &keys[i]);
        if (redisAppendCommand(far->reader.context, "GET %s", name) != REDIS_OK) return false;
    }
    return true;
}

/* The reader, unless others have it for too long. */
static bool take_reader(tkr_far *far, double until) {
    tkr_mutex_lock(&far->lock);
    while (far->reading && tkr_cond_wait_until(&far->idle, &far->lock, until)) {
    }
    const bool taken = !far->reading;
    if (taken) far->reading = true;
    tkr_mutex_unlock(&far->lock);
    return taken;
}

static void give_reader(tkr_far *far) {
    tkr_mutex_lock(&far->lock);
    far->reading = false;
    tkr_cond_signal(&far->idle);
    tkr_mutex_unlock(&far->lock);
}

static size_t read_values(tkr_cached *out, bool *found, tkr_far *far, const tkr_cache_key *keys, size_t n) {
    line *l = &far->reader;
    size_t hits = 0, i = 0;
    l->why = "no memory";
    for (bool good = ask(far, keys, n) && send_all(l); good && i < n; i++) {
        redisReply *reply = answer_of(l);
        if (!reply) break;
        found[i] = reply->type == REDIS_REPLY_STRING && read_value(&out[i], &keys[i], reply->str, (size_t)reply->len);
        hits += found[i];
        freeReplyObject(reply);
    }
    if (i < n) hang_up(far, l);
    return hits;
}

void tkr_far_get(tkr_cached *out, bool *found, tkr_far *far, const tkr_cache_key *keys, size_t n) {
    const double begin = tkr_now();
    size_t hits = 0;
    if (take_reader(far, begin + QUEUE_S)) {
        if (open_line(far, &far->reader, begin, READ_S)) hits = read_values(out, found, far, keys, n);
        give_reader(far);
    }
    tkr_mutex_lock(&far->lock);
    far->hits += hits;
    far->misses += n - hits;
    tkr_mutex_unlock(&far->lock);
}

/* ---- writing ---- */

void tkr_far_put(tkr_far *far, const tkr_cache_key *key, const tkr_cached *value) {
    const size_t n = value->n_rows * value->dimensions * sizeof *value->rows, size = sizeof(header) + n;
    waiting *w = tkr_malloc(sizeof *w + size);
    if (!w) return;
    header h = {.magic = MAGIC,
                .dimensions = (uint32_t)value->dimensions,
                .n_rows = value->n_rows,
                .n_tokens = value->n_tokens,
                .n_tokens_untruncated = value->n_tokens_untruncated};
    h.digest = digest_of(&h, value->rows, n);
    w->key = *key;
    w->size = size;
    w->next = NULL;
    memcpy(w->bytes, &h, sizeof h);
    memcpy(w->bytes + sizeof h, value->rows, n);
    tkr_mutex_lock(&far->lock);
    const bool room = !far->down && far->n_waiting + size <= MOST_WAITING;
    if (room) {
        *(far->last ? &far->last->next : &far->first) = w;
        far->last = w;
        far->n_waiting += size;
        tkr_cond_signal(&far->wake);
    }
    tkr_mutex_unlock(&far->lock);
    if (!room) tkr_free(w);
}

static waiting *take(tkr_far *far) {
    tkr_mutex_lock(&far->lock);
    while (!far->first && !far->stop) {
        if (far->down) { /* nothing is put while it is down: somebody must look whether it is back */
            if (!tkr_cond_wait_until(&far->wake, &far->lock, tkr_now() + RETRY_S)) break;
        } else {
            tkr_cond_wait(&far->wake, &far->lock);
        }
    }
    waiting *w = far->first;
    if (w) {
        far->first = w->next;
        if (!far->first) far->last = NULL;
        far->n_waiting -= w->size;
    }
    tkr_mutex_unlock(&far->lock);
    return w;
}

static bool stopped(tkr_far *far) {
    tkr_mutex_lock(&far->lock);
    const bool stop = far->stop;
    tkr_mutex_unlock(&far->lock);
    return stop;
}

static void write_values(void *arg) {
    tkr_far *far = arg;
    line *l = &far->writer;
    while (!stopped(far)) {
        waiting *w = take(far);
        if (open_line(far, l, tkr_now(), WRITE_S) && w) {
            char name[72];
            name_of(name, &w->key);
            if (!is_done(l, redisAppendCommand(l->context, "SET %s %b", name, w->bytes, w->size), false))
                hang_up(far, l);
        }
        tkr_free(w);
    }
}

/* ---- creation ---- */

static bool copy_piece(char *out, size_t size, const char *from, size_t n) {
    if (n >= size) return false;
    memcpy(out, from, n);
    out[n] = '\0';
    return true;
}

/* Digits up to the end or `stop`; -1 for anything else. */
static int whole(const char *text, char stop) {
    char *end = NULL;
    const long value = *text >= '0' && *text <= '9' ? strtol(text, &end, 10) : -1;
    return value >= 0 && value <= 65535 && (*end == '\0' || *end == stop) ? (int)value : -1;
}

static bool parse_url(tkr_far *far, const char *url) {
    far->port = 6379;
    if (strncmp(url, "unix://", 7) == 0)
        return url[7] == '/' && copy_piece(far->path, sizeof far->path, url + 7, strlen(url + 7));
    if (strncmp(url, "redis://", 8) != 0) return false;
    const char *at = url + 8, *host = strrchr(at, '@');
    if (host) {
        const char *colon = memchr(at, ':', (size_t)(host - at));
        if (!colon || !copy_piece(far->password, sizeof far->password, colon + 1, (size_t)(host - colon - 1)))
            return false;
        at = host + 1;
    }
    const bool bracket = *at == '[';
    const char *end = bracket ? strchr(at, ']') : at + strcspn(at, ":/");
    if (!end || !copy_piece(far->host, sizeof far->host, at + bracket, (size_t)(end - at) - bracket) || !far->host[0])
        return false;
    end += bracket;
    if (*end == ':') {
        far->port = whole(end + 1, '/');
        end += 1 + strcspn(end + 1, "/");
    }
    if (*end == '/' && end[1]) far->db = whole(end + 1, '\0');
    return far->port > 0 && far->db >= 0;
}

tkr_status tkr_far_create(tkr_far **out, const char *url, const tkr_log *log, tkr_error *error) {
    tkr_far *far = tkr_calloc(1, sizeof *far);
    if (!far) return TKR_FAIL(error, NO_MEMORY, "no memory for the shared cache");
    far->log = *log;
    tkr_mutex_init(&far->lock);
    tkr_cond_init(&far->wake);
    tkr_cond_init(&far->idle);
    tkr_status status = parse_url(far, url)
                            ? TKR_OK
                            : TKR_FAIL(error, INVALID_ARGUMENT,
                                       "optimization.cache_url is no \"redis://[:password@]host[:port][/db]\" and no "
                                       "\"unix:///path\"");
    if (status == TKR_OK) status = tkr_thread_start(&far->thread, "tkr-cache", write_values, far, error);
    if (status != TKR_OK) {
        tkr_far_free(&far);
        return status;
    }
    *out = far;
    return TKR_OK;
}

void tkr_far_free(tkr_far **out) {
    if (!out || !*out) return;
    tkr_far *far = *out;
    tkr_mutex_lock(&far->lock);
    far->stop = true;
    tkr_cond_signal(&far->wake);
    tkr_mutex_unlock(&far->lock);
    tkr_thread_join(&far->thread);
    while (far->first) {
        waiting *next = far->first->next;
        tkr_free(far->first);
        far->first = next;
    }
    if (far->reader.context) redisFree(far->reader.context);
    if (far->writer.context) redisFree(far->writer.context);
    tkr_mutex_destroy(&far->lock);
    tkr_cond_destroy(&far->wake);
    tkr_cond_destroy(&far->idle);
    tkr_free(far);
    *out = NULL;
}

void tkr_far_get_counts(tkr_cache_counts *counts, tkr_far *far) {
    tkr_mutex_lock(&far->lock);
    counts->far_hits = far->hits;
    counts->far_misses = far->misses;
    counts->far_errors = far->errors;
    counts->far_up = !far->down;
    tkr_mutex_unlock(&far->lock);
}
