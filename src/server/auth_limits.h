/* SPDX-License-Identifier: Apache-2.0 */
/* server/auth: buckets that a minute fills, one a key and one an address. Not thread-safe: the caller has a lock. */
#ifndef TKR_SERVER_AUTH_LIMITS_H
#define TKR_SERVER_AUTH_LIMITS_H

#include <stdbool.h>

#include "core/error.h"

/* What may be spent now; zeroed: a full bucket. It holds what one minute gives. */
typedef struct tkr_bucket {
    double spent; /* of what a minute gives, at `at`; below 0 never */
    double at;    /* tkr_now() */
} tkr_bucket;
/* What is there at `now`; below 0 when more was spent than there was. */
double tkr_bucket_left(const tkr_bucket *bucket, uint64_t per_minute, double now);
void tkr_bucket_spend(tkr_bucket *bucket, uint64_t per_minute, double amount, double now);
/* Seconds until `amount` is there; 0: it is. */
double tkr_bucket_wait(const tkr_bucket *bucket, uint64_t per_minute, double amount, double now);

/* A bucket for each of the addresses that came last; a new one takes the place of the one that was away longest. */
typedef struct tkr_address_limits tkr_address_limits;
tkr_status tkr_address_limits_create(tkr_address_limits **limits, uint64_t per_minute, size_t max_addresses,
                                     tkr_error *error);
void tkr_address_limits_free(tkr_address_limits **limits);
/* Counts a request. Seconds until there may be one; 0: it is counted. What is no IP address (a Unix socket's peer) has
 * no limit. */
double tkr_address_limits_take(tkr_address_limits *limits, const char *peer, double now);

#endif
