/* SPDX-License-Identifier: Apache-2.0 */
/* core/digest: a 64-bit hash (FNV-1a over 64-bit words with a final mix) to tell things apart, not to protect them. */
#ifndef TKR_CORE_DIGEST_H
#define TKR_CORE_DIGEST_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct tkr_digest {
    uint64_t state;
} tkr_digest;

static inline void tkr_digest_init(tkr_digest *digest) { digest->state = 0xcbf29ce484222325u; }

static inline void tkr_digest_word(tkr_digest *digest, uint64_t word) {
    digest->state = (digest->state ^ word) * 0x100000001b3u;
    digest->state ^= digest->state >> 29;
}

/* Also takes the length in, so that ("ab", "c") and ("a", "bc") differ. */
static inline void tkr_digest_add(tkr_digest *digest, const void *data, size_t size) {
    const unsigned char *at = data;
    tkr_digest_word(digest, size);
    for (size_t left = size; left > 0;) {
        uint64_t word = 0;
        size_t n = left < 8 ? left : 8;
        memcpy(&word, at, n);
        tkr_digest_word(digest, word);
        at += n;
        left -= n;
    }
}

static inline uint64_t tkr_digest_end(const tkr_digest *digest) {
    uint64_t h = digest->state;
    h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdu;
    h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53u;
    return h ^ (h >> 33);
}

#endif
