/* SPDX-License-Identifier: Apache-2.0 */
/* server/auth: token buckets, and a table of them by address with a fixed size: least recently used go. */
#include "server/auth_limits.h"

#include <string.h>

#include "core/address.h"
#include "core/digest.h"
#include "core/mem.h"
#include "core/sync.h"

/* ---- buckets ---- */

double tkr_bucket_left(const tkr_bucket *bucket, uint64_t per_minute, double now) {
    const double limit = (double)per_minute;
    const double spent = bucket->spent - (now - bucket->at) * limit / 60;
    return spent > 0 ? limit - spent : limit;
}

void tkr_bucket_spend(tkr_bucket *bucket, uint64_t per_minute, double amount, double now) {
    bucket->spent = (double)per_minute - tkr_bucket_left(bucket, per_minute, now) + amount;
    bucket->at = now;
}

double tkr_bucket_wait(const tkr_bucket *bucket, uint64_t per_minute, double amount, double now) {
    const double lacking = amount - tkr_bucket_left(bucket, per_minute, now);
    return lacking > 0 ? lacking * 60 / (double)per_minute : 0;
}

/* ---- addresses ---- */

enum { NONE = UINT32_MAX };

typedef struct entry {
    unsigned char network[16];
    tkr_bucket bucket;
    uint32_t newer, older; /* in the order of use */
    uint32_t next;         /* in its chain */
} entry;

struct tkr_address_limits {
    uint64_t per_minute, seed; /* nobody outside can choose addresses that share a chain */
    entry *entries;            /* [most] */
    uint32_t *chains;          /* [most] first entry of each */
    uint32_t most, used, newest, oldest;
};

tkr_status tkr_address_limits_create(tkr_address_limits **limits, uint64_t per_minute, size_t max_addresses,
                                     tkr_error *error) {
    tkr_address_limits *made = tkr_calloc(1, sizeof *made);
    if (made != NULL) {
        made->entries = tkr_calloc(max_addresses, sizeof *made->entries);
        made->chains = tkr_malloc(max_addresses * sizeof *made->chains);
    }
    if (made == NULL || made->entries == NULL || made->chains == NULL) {
        tkr_address_limits_free(&made);
        return TKR_FAIL(error, NO_MEMORY, "no memory for the limits of %zu addresses", max_addresses);
    }
    if (!tkr_random_bytes(&made->seed, sizeof made->seed)) {
        tkr_address_limits_free(&made);
        return TKR_FAIL(error, IO, "the system gives no random numbers");
    }
    memset(made->chains, 0xFF, max_addresses * sizeof *made->chains);
    made->per_minute = per_minute;
    made->most = (uint32_t)max_addresses;
    made->newest = made->oldest = NONE;
    *limits = made;
    return TKR_OK;
}

void tkr_address_limits_free(tkr_address_limits **limits) {
    if (*limits == NULL) return;
    tkr_free((*limits)->entries);
    tkr_free((*limits)->chains);
    tkr_free(*limits);
    *limits = NULL;
}

static uint32_t *chain_of(const tkr_address_limits *l, const unsigned char network[16]) {
    tkr_digest digest;
    tkr_digest_init(&digest);
    tkr_digest_word(&digest, l->seed);
    tkr_digest_add(&digest, network, 16);
    return &l->chains[tkr_digest_end(&digest) % l->most];
}

static void unlink_use(tkr_address_limits *l, uint32_t index) {
    const entry *e = &l->entries[index];
    *(e->newer != NONE ? &l->entries[e->newer].older : &l->newest) = e->older;
    *(e->older != NONE ? &l->entries[e->older].newer : &l->oldest) = e->newer;
}

static void link_newest(tkr_address_limits *l, uint32_t index) {
    entry *e = &l->entries[index];
    e->newer = NONE;
    e->older = l->newest;
    *(l->newest != NONE ? &l->entries[l->newest].newer : &l->oldest) = index;
    l->newest = index;
}

/* An entry for a new address: a free one, or the one that was away longest. */
static uint32_t take_entry(tkr_address_limits *l) {
    if (l->used < l->most) return l->used++;
    const uint32_t index = l->oldest;
    uint32_t *at = chain_of(l, l->entries[index].network);
    while (*at != index) at = &l->entries[*at].next;
    *at = l->entries[index].next;
    unlink_use(l, index);
    return index;
}

double tkr_address_limits_take(tkr_address_limits *l, const char *peer, double now) {
    unsigned char network[16];
    if (!tkr_address_network(network, peer)) return 0;
    uint32_t *chain = chain_of(l, network), index = *chain;
    while (index != NONE && memcmp(l->entries[index].network, network, 16) != 0) index = l->entries[index].next;
    if (index != NONE) {
        unlink_use(l, index);
    } else {
        index = take_entry(l);
        entry *e = &l->entries[index];
        memcpy(e->network, network, 16);
        e->bucket = (tkr_bucket){0};
        e->next = *chain; /* taking an entry out of this chain may have changed its first one */
        *chain = index;
    }
    link_newest(l, index);
    const double wait = tkr_bucket_wait(&l->entries[index].bucket, l->per_minute, 1, now);
    if (wait <= 0) tkr_bucket_spend(&l->entries[index].bucket, l->per_minute, 1, now);
    return wait;
}
