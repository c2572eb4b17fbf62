/* SPDX-License-Identifier: Apache-2.0 */
/* Damages bytes at random, always the same way. */
#ifndef TESTS_MUTATE_H
#define TESTS_MUTATE_H

#include <stdint.h>
#include <string.h>

#include "core/mem.h"

static inline uint32_t mutate_random(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

/* One change: bits, bytes, numbers that overflow, a piece gone, twice or elsewhere. */
static inline void mutate_once(tkr_buf *bytes, uint64_t *state) {
    static const uint8_t extremes[] = {0x00, 0xff, 0x7f, 0x80, 0x01, 0xfe};
    uint8_t *data = (uint8_t *)bytes->data;
    const size_t size = bytes->size;
    if (size < 4) return;
    /* Half of the changes hit the first 64 bytes, where the sizes stand. */
    const size_t reach = mutate_random(state) % 2 && size > 64 ? 64 : size;
    const size_t at = mutate_random(state) % reach, n = 1 + mutate_random(state) % 16, left = size - at;
    const size_t length = n < left ? n : left;
    switch (mutate_random(state) % 6) {
    case 0: data[at] ^= (uint8_t)(1u << mutate_random(state) % 8); break;
    case 1: data[at] = (uint8_t)mutate_random(state); break;
    case 2: memset(data + at, extremes[mutate_random(state) % sizeof extremes], length < 4 ? length : 4); break;
    case 3:
        memmove(data + at, data + at + length, left - length);
        bytes->size -= length;
        break;
    case 4: memmove(data + at, data + mutate_random(state) % (size - length + 1), length); break;
    default: bytes->size = size - mutate_random(state) % (size / 2); break;
    }
}

#endif
