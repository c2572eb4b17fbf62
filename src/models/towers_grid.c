/* SPDX-License-Identifier: Apache-2.0 */
/* models/towers_grid: learned positions of pictures that are not the model's own size. */
#include <math.h>
#include <string.h>

#include "models/towers.h"

/* Cubic convolution (Keys 1981) with PyTorch's a. */
static const float cubic_a = -0.75f;

static float cubic_near(float x) { return ((cubic_a + 2) * x - (cubic_a + 3)) * x * x + 1; }
static float cubic_far(float x) { return ((cubic_a * x - 5 * cubic_a) * x + 8 * cubic_a) * x - 4 * cubic_a; }

typedef struct taps {
    size_t at[4];
    float weight[4];
} taps;

/* Coordinates and their products in f32, as PyTorch computes them. */
static taps taps_at(size_t index, size_t side, size_t size) {
    const float x = (float)side / (float)size * ((float)index + 0.5f) - 0.5f, whole = floorf(x), t = x - whole;
    taps out = {.weight = {cubic_far(t + 1), cubic_near(t), cubic_near(1 - t), cubic_far(2 - t)}};
    for (size_t i = 0; i < 4; i++) {
        const float at = whole + (float)i - 1;
        out.at[i] = at < 0 ? 0 : at > (float)(side - 1) ? side - 1 : (size_t)at;
    }
    return out;
}

void tkr_grid_interpolate(float *out, const tkr_grid *grid, size_t first, size_t n, float *scratch) {
    const size_t cols = grid->table->cols;
    float *row = scratch, *line = scratch + cols;
    for (size_t i = 0; i < n; i++) {
        float *to = out + i * cols;
        const taps y = taps_at((first + i) / grid->w, grid->side, grid->h);
        const taps x = taps_at((first + i) % grid->w, grid->side, grid->w);
        memset(to, 0, cols * sizeof *to);
        for (size_t a = 0; a < 4; a++) {
            memset(line, 0, cols * sizeof *line);
            for (size_t b = 0; b < 4; b++) {
                tkr_matrix_row(row, grid->table, grid->first_row + y.at[a] * grid->side + x.at[b]);
                for (size_t c = 0; c < cols; c++) line[c] += x.weight[b] * row[c];
            }
            for (size_t c = 0; c < cols; c++) to[c] += y.weight[a] * line[c];
        }
    }
}
