/* SPDX-License-Identifier: Apache-2.0 */
/* hub/hash: the two hashes that name blobs: SHA-256 of the content, and git's SHA-1 of a blob. */
#include <stdio.h>
#include <string.h>

#include "hub/hub_internal.h"

void tkr_hub_hash_init(tkr_hub_hash *hash, bool lfs, uint64_t size) {
    hash->lfs = lfs;
    if (lfs) {
        sha256_init(&hash->state.sha256);
        return;
    }
    char header[32];
    int n = snprintf(header, sizeof header, "blob %llu", (unsigned long long)size);
    sha1_init(&hash->state.sha1);
    sha1_update(&hash->state.sha1, (size_t)n + 1, (const uint8_t *)header); /* git hashes the NUL too */
}

void tkr_hub_hash_update(tkr_hub_hash *hash, const void *data, size_t size) {
    if (hash->lfs) {
        sha256_update(&hash->state.sha256, size, data);
    } else {
        sha1_update(&hash->state.sha1, size, data);
    }
}

void tkr_hub_hash_hex(tkr_hub_hash *hash, char hex[65]) {
    static const char digits[] = "0123456789abcdef";
    uint8_t digest[SHA256_DIGEST_SIZE];
    size_t n = hash->lfs ? SHA256_DIGEST_SIZE : SHA1_DIGEST_SIZE;
    if (hash->lfs) {
        sha256_digest(&hash->state.sha256, n, digest);
    } else {
        sha1_digest(&hash->state.sha1, n, digest);
    }
    for (size_t i = 0; i < n; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15];
    }
    hex[2 * n] = '\0';
}

static tkr_status add_chunk(void *user, const void *data, size_t size) {
    tkr_hub_hash_update(user, data, size);
    return TKR_OK;
}

tkr_status tkr_hub_sha256(char hex[65], const char *path, tkr_error *error) {
    tkr_hub_hash hash;
    tkr_hub_hash_init(&hash, true, 0);
    tkr_status status = tkr_fs_each_chunk(path, add_chunk, &hash, error);
    if (status == TKR_OK) {
        tkr_hub_hash_hex(&hash, hex);
    }
    return status;
}
