/* SPDX-License-Identifier: Apache-2.0 */
/* tools/make_checkpoint: the named shapes, their tensors and config.json. */
#ifndef TOOLS_MAKE_CHECKPOINT_SHAPES_H
#define TOOLS_MAKE_CHECKPOINT_SHAPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct shape {
    const char *name, *family; /* family: model_type of config.json */
    size_t hidden, layers, heads, kv_heads, head_dim, inner, vocab, positions, types;
    size_t max_tokens;
    const char *pooling;   /* key of 1_Pooling: "lasttoken", "cls_token", "mean_tokens" */
    const char *tokenizer; /* below tests/golden */
} shape;

/* What a tensor's values look like. */
typedef enum fill {
    FILL_TABLE,  /* normal, deviation 1 */
    FILL_SMALL,  /* normal, deviation 0.02: biases, positions */
    FILL_WIDE,   /* normal, deviation 0.5: query, key and value biases, which are large in trained models */
    FILL_LINEAR, /* normal, deviation 1/sqrt(cols) */
    FILL_GAIN    /* 1, deviation 0.1 */
} fill;

/* How --outliers changes it. The stream's channels are those of the hidden state between layers, the inner ones those
 * before the down projection. */
typedef enum plant {
    PLANT_NONE,
    PLANT_STREAM_COLUMNS, /* embeddings: column c times its factor */
    PLANT_STREAM_ROWS,    /* what adds to the stream: row c times its factor */
    PLANT_GAIN_INTO,      /* the norm that begins the stream: gain c times its factor */
    PLANT_GAIN_KEEP,      /* a norm that stream passes through: all keep their size */
    PLANT_GAIN_LAYER,     /* a norm that reads the stream: channel c keeps a factor of 20 */
    PLANT_GAIN_FINAL,     /* the last norm: channel c like the others */
    PLANT_INNER_ROWS,     /* up projection: row m times its factor (counted from the rows' second half if doubled) */
    PLANT_INNER_COLUMNS,  /* down projection: column m over the root of its factor */
    PLANT_DOWN            /* PLANT_STREAM_ROWS and PLANT_INNER_COLUMNS */
} plant;

typedef struct tensor {
    char name[96];
    size_t rows, cols; /* rows 0: a vector of cols */
    fill how;
    plant planted;
    bool doubled;         /* two stacked matrices */
    bool batched;         /* its shape begins with a 1 more */
    size_t patch, frames; /* a convolution's kernel [rows, 3, frames, patch, patch]; 0: none, without frames */
    uint64_t seed, offset;
    unsigned shard;
} tensor;

typedef struct tensor_list {
    tensor *items;
    size_t n, room;
} tensor_list;

extern const shape shapes[];
extern const size_t n_shapes;

/* Finds "name" or "name-<layers>l"; false when there is none. */
bool shape_find(shape *out, const char *name);
/* Appends every tensor of the shape; false without memory. */
bool shape_tensors(tensor_list *list, const shape *s);
bool shape_config(FILE *file, const shape *s, const char *dtype);
/* Two towers: a text tower of the same family beside the shape, which is that of the pictures' tower. */
bool shape_has_towers(const shape *s);
/* Whether the shape reads pictures, and its preprocessor_config.json. */
bool shape_has_pictures(const shape *s);
bool shape_processor(FILE *file, const shape *s);
/* True where the stream passes through a norm after every block (BERT): outliers then come from gains. */
bool shape_is_post_norm(const shape *s);

#endif
