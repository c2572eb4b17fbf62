/* SPDX-License-Identifier: Apache-2.0 */
/* server/cache: keys, and the level in memory. Evicts by SIEVE (Zhang et al., NSDI 2024): a FIFO whose hand spares what
 * was used since it last came by; new entries that nobody asks for again leave first. */
#include "server/cache.h"

#include <nettle/sha2.h>
#include <string.h>

#include "core/sync.h"
#include "server/cache_far.h"

typedef struct entry {
    tkr_cache_key key;
    tkr_cached value;
    size_t bytes;
    bool visited;
    struct entry *chain;         /* of its bucket */
    struct entry *newer, *older; /* by age */
} entry;

struct tkr_cache {
    size_t max_entries, max_bytes;
    tkr_far *far; /* NULL: none */
    tkr_mutex lock;
    entry **buckets; /* [n_buckets], a power of two */
    size_t n_buckets;
    entry *newest, *oldest, *hand;
    tkr_cache_counts counts;
};

/* ---- keys ---- */

static void put(struct sha256_ctx *hash, const void *data, size_t size) {
    const uint64_t n = size;
    sha256_update(hash, sizeof n, (const uint8_t *)&n);
    if (size) sha256_update(hash, size, data);
}
static void put_number(struct sha256_ctx *hash, uint64_t value) { put(hash, &value, sizeof value); }
static void put_text(struct sha256_ctx *hash, const char *text) {
    put_number(hash, text != NULL);
    if (text) put(hash, text, strlen(text));
}

static bool put_part(struct sha256_ctx *hash, const tkr_part *part) {
    const bool data_url = part->kind == TKR_PART_URL && part->n_data > 5 && memcmp(part->data, "data:", 5) == 0;
    if (part->kind != TKR_PART_TEXT && part->kind != TKR_PART_IMAGE && !data_url) return false;
    put_number(hash, (uint64_t)part->kind);
    put(hash, part->data, part->n_data);
    return true;
}

static void put_options(struct sha256_ctx *hash, const tkr_input *input, const tkr_embed_options *options) {
    put_text(hash, input->prompt_name);
    put_text(hash, input->prompt);
    put_text(hash, input->instruction);
    put_text(hash, options->prompt_name);
    put_text(hash, options->prompt);
    put_text(hash, options->instruction);
    put_number(hash, options->dimensions);
    put_number(hash, (uint64_t)options->normalize);
    put_number(hash, (uint64_t)options->truncate);
    put_number(hash, options->max_tokens);
    put_number(hash, (uint64_t)options->strict_utf8);
    put_number(hash, input->min_pixels);
    put_number(hash, input->max_pixels);
    put_number(hash, (uint64_t)input->interpolate);
    put_number(hash, input->width);
    put_number(hash, input->height);
    put_number(hash, (uint64_t)input->hub_limits);
}

/* The text that this name stands for in the model. */
static void put_prompt(struct sha256_ctx *hash, const tkr_model_info *model, const char *name) {
    const char *text = NULL;
    for (size_t i = 0; name && !text && i < model->n_prompts; i++)
        if (strcmp(model->prompts[i].name, name) == 0) text = model->prompts[i].value;
    put_text(hash, text);
}

/* Of one fingerprint there may be models with other limits and prompts. */
static void put_model(struct sha256_ctx *hash, const tkr_model_info *model, const tkr_input *input,
                      const tkr_embed_options *options) {
    put_text(hash, model->fingerprint);
    put_number(hash, model->max_tokens);
    put_prompt(hash, model, model->default_prompt);
    put_prompt(hash, model, input->prompt_name);
    put_prompt(hash, model, options->prompt_name);
}

static void set_shape(tkr_cache_key *key, const tkr_model_info *model, tkr_result_kind kind, const tkr_input *input,
                      const tkr_embed_options *options) {
    const bool tokens = kind == TKR_RESULT_TOKENS;
    const size_t width = tokens ? model->hidden_size : model->dimensions;
    key->dimensions = options->dimensions ? options->dimensions : width;
    key->n_rows = tokens || model->multi_vector ? 0 : input->spans && input->n_spans ? input->n_spans : 1;
}

bool tkr_cache_key_of(tkr_cache_key *key, const tkr_model_info *model, tkr_result_kind kind, const tkr_input *input,
                      const tkr_embed_options *options) {
    struct sha256_ctx hash;
    set_shape(key, model, kind, input, options);
    sha256_init(&hash);
    put_model(&hash, model, input, options);
    put_number(&hash, (uint64_t)kind);
    put_options(&hash, input, options);
    put_number(&hash, (uint64_t)input->kind);
    put(&hash, input->text, input->text ? input->n_text : 0);
    put(&hash, input->pair, input->pair ? input->n_pair : 0);
    put(&hash, input->ids, input->ids ? input->n_ids * sizeof *input->ids : 0);
    put(&hash, input->spans, input->spans ? input->n_spans * 2 * sizeof *input->spans : 0);
    put_number(&hash, input->n_parts);
    for (size_t i = 0; i < input->n_parts; i++)
        if (!put_part(&hash, &input->parts[i])) return false;
    sha256_digest(&hash, sizeof key->digest, key->digest);
    return true;
}

/* ---- the table and the list ---- */

static size_t bucket_of(const tkr_cache *cache, const tkr_cache_key *key) {
    uint64_t word = 0;
    memcpy(&word, key->digest, sizeof word);
    return (size_t)word & (cache->n_buckets - 1);
}

static entry *find(const tkr_cache *cache, const tkr_cache_key *key) {
    entry *e = cache->buckets[bucket_of(cache, key)];
    while (e && memcmp(e->key.digest, key->digest, sizeof key->digest) != 0) e = e->chain;
    return e;
}

static void free_entry(entry *e) {
    tkr_free(e->value.rows);
    tkr_free(e);
}

/* Under the lock. */
static void drop(tkr_cache *cache, entry *e) {
    entry **at = &cache->buckets[bucket_of(cache, &e->key)];
    while (*at != e) at = &(*at)->chain;
    *at = e->chain;
    if (cache->hand == e) cache->hand = e->newer;
    *(e->newer ? &e->newer->older : &cache->newest) = e->older;
    *(e->older ? &e->older->newer : &cache->oldest) = e->newer;
    cache->counts.entries--;
    cache->counts.bytes -= e->bytes;
    free_entry(e);
}

/* Under the lock: one entry goes. */
static void evict(tkr_cache *cache) {
    entry *e = cache->hand ? cache->hand : cache->oldest;
    while (e->visited) {
        e->visited = false;
        e = e->newer ? e->newer : cache->oldest;
    }
    cache->hand = e->newer;
    cache->counts.evicted++;
    drop(cache, e);
}

static bool copy_value(tkr_cached *out, const tkr_cached *from) {
    size_t n = 0;
    if (!tkr_mul_size(&n, from->n_rows, from->dimensions) || !tkr_mul_size(&n, n, sizeof *from->rows)) return false;
    *out = *from;
    out->rows = tkr_malloc(n ? n : 1);
    if (!out->rows) return false;
    memcpy(out->rows, from->rows, n);
    return true;
}

static void keep(tkr_cache *cache, const tkr_cache_key *key, const tkr_cached *value) {
    const size_t bytes = sizeof(entry) + value->n_rows * value->dimensions * sizeof *value->rows;
    if (bytes > cache->max_bytes) return;
    entry *e = tkr_calloc(1, sizeof *e);
    if (!e || !copy_value(&e->value, value)) {
        tkr_free(e);
        return;
    }
    e->key = *key;
    e->bytes = bytes;
    tkr_mutex_lock(&cache->lock);
    if (find(cache, key)) {
        tkr_mutex_unlock(&cache->lock);
        free_entry(e);
        return;
    }
    while (cache->counts.entries >= cache->max_entries || cache->counts.bytes + bytes > cache->max_bytes) evict(cache);
    entry **bucket = &cache->buckets[bucket_of(cache, key)];
    e->chain = *bucket;
    *bucket = e;
    e->older = cache->newest;
    *(cache->newest ? &cache->newest->newer : &cache->oldest) = e;
    cache->newest = e;
    cache->counts.entries++;
    cache->counts.bytes += bytes;
    tkr_mutex_unlock(&cache->lock);
}

/* ---- what others call ---- */

tkr_status tkr_cache_create(tkr_cache **out, const tkr_settings *settings, const tkr_log *log, tkr_error *error) {
    const char *url = tkr_setting_of(settings, TKR_SET_CACHE_URL)->text;
    if (!tkr_setting_on(settings, TKR_SET_USE_CACHE)) {
        *out = NULL;
        return TKR_OK;
    }
    tkr_cache *cache = tkr_calloc(1, sizeof *cache);
    if (!cache) return TKR_FAIL(error, NO_MEMORY, "no memory for the result cache");
    tkr_mutex_init(&cache->lock);
    cache->max_entries = (size_t)tkr_setting_of(settings, TKR_SET_CACHE_SIZE)->number;
    cache->max_bytes = (size_t)tkr_setting_of(settings, TKR_SET_CACHE_BYTES)->number;
    cache->n_buckets = 64;
    while (cache->n_buckets < cache->max_entries && cache->n_buckets < (1u << 24)) cache->n_buckets *= 2;
    cache->buckets = tkr_calloc(cache->n_buckets, sizeof(entry *));
    tkr_status status = cache->buckets ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "no memory for the result cache");
    if (status == TKR_OK && url) status = tkr_far_create(&cache->far, url, log, error);
    if (status != TKR_OK) {
        tkr_cache_free(&cache);
        return status;
    }
    *out = cache;
    return TKR_OK;
}

void tkr_cache_clear(tkr_cache *cache) {
    tkr_mutex_lock(&cache->lock);
    while (cache->oldest) drop(cache, cache->oldest);
    tkr_mutex_unlock(&cache->lock);
}

void tkr_cache_free(tkr_cache **out) {
    if (!out || !*out) return;
    tkr_cache *cache = *out;
    tkr_far_free(&cache->far);
    if (cache->buckets) tkr_cache_clear(cache);
    tkr_free(cache->buckets);
    tkr_mutex_destroy(&cache->lock);
    tkr_free(cache);
    *out = NULL;
}

bool tkr_cache_get(tkr_cached *out, tkr_cache *cache, const tkr_cache_key *key) {
    bool found = false;
    tkr_mutex_lock(&cache->lock);
    entry *e = find(cache, key);
    if (e) {
        e->visited = true;
        found = copy_value(out, &e->value);
    }
    *(found ? &cache->counts.hits : &cache->counts.misses) += 1;
    tkr_mutex_unlock(&cache->lock);
    return found;
}

void tkr_cache_put(tkr_cache *cache, const tkr_cache_key *key, const tkr_cached *value) {
    keep(cache, key, value);
    if (cache->far) tkr_far_put(cache->far, key, value);
}

bool tkr_cache_has_far(const tkr_cache *cache) { return cache->far != NULL; }

void tkr_cache_get_far(tkr_cached *out, bool *found, tkr_cache *cache, const tkr_cache_key *keys, size_t n) {
    for (size_t i = 0; i < n; i++) found[i] = false;
    if (!cache->far || n == 0) return;
    tkr_far_get(out, found, cache->far, keys, n);
    for (size_t i = 0; i < n; i++)
        if (found[i]) keep(cache, &keys[i], &out[i]);
}

void tkr_cache_get_counts(tkr_cache_counts *counts, tkr_cache *cache) {
    tkr_mutex_lock(&cache->lock);
    *counts = cache->counts;
    tkr_mutex_unlock(&cache->lock);
    if (cache->far) tkr_far_get_counts(counts, cache->far);
}
