/* SPDX-License-Identifier: Apache-2.0 */
/* emu/amx_emu: the tile registers of each thread and what the instructions do to them, as Intel's pseudo code says. */
#include "amx_emu.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct tile {
    unsigned rows, row_bytes;
    uint8_t data[16][64];
} tile;

static _Thread_local struct {
    int configured;
    tile tiles[8];
} state;

static tile *tile_at(int n, const char *instruction) {
    if (!state.configured || n < 0 || n > 7 || state.tiles[n].rows == 0) {
        (void)fprintf(stderr, "amx_emu: %s without a configuration of tile %d\n", instruction, n);
        abort();
    }
    return &state.tiles[n];
}

void emu_tile_loadconfig(const void *config) {
    const uint8_t *c = config;
    memset(&state, 0, sizeof state);
    if (c[0] != 1 || c[1] != 0) {
        (void)fprintf(stderr, "amx_emu: palette %d, start row %d\n", c[0], c[1]);
        abort();
    }
    state.configured = 1;
    for (int i = 0; i < 16; i++) {
        const unsigned row_bytes = c[16 + 2 * i] + 256u * c[17 + 2 * i], rows = c[48 + i];
        if (row_bytes > 64 || rows > 16 || (i >= 8 && (row_bytes || rows))) {
            (void)fprintf(stderr, "amx_emu: tile %d of %u rows x %u bytes\n", i, rows, row_bytes);
            abort();
        }
        if (i < 8) {
            state.tiles[i].rows = rows;
            state.tiles[i].row_bytes = row_bytes;
        }
    }
}

void emu_tile_release(void) { memset(&state, 0, sizeof state); }

void emu_tile_zero(int n) {
    tile *t = tile_at(n, "tilezero");
    memset(t->data, 0, sizeof t->data);
}

void emu_tile_loadd(int n, const void *base, size_t stride) {
    tile *t = tile_at(n, "tileloadd");
    memset(t->data, 0, sizeof t->data);
    for (unsigned r = 0; r < t->rows; r++) {
        memcpy(t->data[r], (const char *)base + r * stride, t->row_bytes);
    }
}

void emu_tile_stored(int n, void *base, size_t stride) {
    const tile *t = tile_at(n, "tilestored");
    for (unsigned r = 0; r < t->rows; r++) {
        memcpy((char *)base + r * stride, t->data[r], t->row_bytes);
    }
}

/* The even and the odd products of a row are summed apart, fused, then added to the tile; denormals are zeros. */
void emu_tile_dpbf16ps(int nc, int na, int nb) {
    tile *c = tile_at(nc, "tdpbf16ps");
    const tile *a = tile_at(na, "tdpbf16ps"), *b = tile_at(nb, "tdpbf16ps");
    for (unsigned m = 0; m < c->rows; m++) {
        float sums[32] = {0}, out[16];
        for (unsigned k = 0; k < a->row_bytes / 4; k++) {
            uint16_t x[2], y[32];
            memcpy(x, a->data[m] + 4 * k, sizeof x);
            memcpy(y, b->data[k], sizeof y);
            for (unsigned j = 0; j < 32; j++) {
                sums[j] = emu_flush(fmaf(emu_widen(x[j & 1]), emu_widen(y[j]), sums[j]));
            }
        }
        memcpy(out, c->data[m], sizeof out);
        for (unsigned j = 0; j < c->row_bytes / 4; j++) {
            out[j] = emu_flush(emu_flush(out[j]) + emu_flush(sums[2 * j] + sums[2 * j + 1]));
        }
        memcpy(c->data[m], out, sizeof out);
    }
}

void emu_tile_dpbusd(int nc, int na, int nb) {
    tile *c = tile_at(nc, "tdpbusd");
    const tile *a = tile_at(na, "tdpbusd"), *b = tile_at(nb, "tdpbusd");
    for (unsigned m = 0; m < c->rows; m++) {
        uint32_t out[16];
        memcpy(out, c->data[m], sizeof out);
        for (unsigned k = 0; k < a->row_bytes; k++) {
            for (unsigned j = 0; j < c->row_bytes / 4; j++) {
                out[j] += (uint32_t)((int32_t)a->data[m][k] * (int8_t)b->data[k / 4][4 * j + k % 4]);
            }
        }
        memcpy(c->data[m], out, sizeof out);
    }
}
