/* SPDX-License-Identifier: Apache-2.0 */
/* models/towers: what the two-tower models (SigLIP, CLIP) share: sections of config.json, the pictures' encoder.
 * Private to models. */
#ifndef TKR_MODELS_TOWERS_H
#define TKR_MODELS_TOWERS_H

#include "models/vision.h"

/* What a section of config.json leaves out is what the reference's configuration class has. */
typedef struct tkr_tower_defaults {
    size_t hidden_size, intermediate_size, n_layers, n_heads;
    size_t vocab_size, max_positions; /* text */
    size_t image_size, patch_size;    /* pictures */
    const char *activation;
    double norm_eps;
} tkr_tower_defaults;
/* text_config or vision_config of config.json. The older text_config_dict and vision_config_dict go first, as in the
 * reference. */
tkr_status tkr_tower_section(const json_t **out, const json_t *json, const char *name, const char *what,
                             tkr_error *error);
/* Both towers are pre-norm transformers with biases everywhere. */
tkr_status tkr_tower_config_text(tkr_arch_config *config, const json_t *json, const tkr_tower_defaults *defaults,
                                 const char *what, tkr_error *error);
/* Everything but out_size, head_size and end_token; n_class of them before the pictures' patches. */
tkr_status tkr_tower_config_vision(tkr_vision_config *vision, const json_t *json, const tkr_tower_defaults *defaults,
                                   const char *what, tkr_error *error);

/* Names below the layers of both towers. */
#define TKR_NAMES_OF_TOWERS                                                                                    \
    .layer = "encoder.layers.%zu.", .q = "self_attn.q_proj", .k = "self_attn.k_proj", .v = "self_attn.v_proj", \
    .output = "self_attn.out_proj", .up = "mlp.fc1", .down = "mlp.fc2", .before_attention = "layer_norm1",     \
    .before_mlp = "layer_norm2"

/* The rest of a text tower's layout. */
extern const char *const tkr_tower_text_prefixes[], *const tkr_tower_vision_prefixes[];
#define TKR_LAYOUT_OF_TEXT_TOWER                                                \
    .prefixes = tkr_tower_text_prefixes, .words = "embeddings.token_embedding", \
    .positions = "embeddings.position_embedding", .final_norm = "final_layer_norm", TKR_NAMES_OF_TOWERS

/* The encoder of pictures: patches and positions in, states of the last layer out. Both architectures' weights begin
 * with it. */
typedef struct tkr_tower {
    const tkr_ops *ops;
    size_t side, n_class, patch_cols; /* side: of the position table's grid */
    tkr_weight *patch;                /* [hidden, patch_cols] */
    tkr_weight *positions;            /* table [n_class + side^2, hidden] */
    tkr_matrix table;                 /* the same for the host, which interpolates it */
    tkr_weight *class_row;            /* table [1, hidden]; NULL: none */
    tkr_norm first_norm;              /* of the embeddings; none: no gain */
    tkr_stack stack;
} tkr_tower;
typedef struct tkr_tower_spec {
    const tkr_layout *layout; /* prefixes, layers, final norm */
    const char *class_row;    /* tensor of the class token, or NULL */
    const char *first_norm;   /* or NULL */
    bool patch_bias;
} tkr_tower_spec;
/* *tower, zeroed by the caller, is freed with tkr_tower_free, also after a failure. */
tkr_status tkr_tower_bind(tkr_tower *tower, tkr_binder *binder, const tkr_vision_config *vision,
                          const tkr_tower_spec *spec, tkr_error *error);
void tkr_tower_free(tkr_tower *tower);

/* The pictures of a batch as sequences of tokens: class tokens, then patches. Freed with tkr_pictures_free. */
typedef struct tkr_pictures {
    tkr_batch batch;    /* n_tokens, n_seqs, cu_seqlens */
    size_t *cu;         /* [n_seqs + 1] */
    size_t *each;       /* [n_seqs + 1] 0, 1, ...: one query a picture */
    size_t *rows;       /* [n_patches] token of each patch */
    int32_t *positions; /* [n_tokens] rows of the position table; 0 where they are interpolated */
    int32_t *zeros;     /* [n_seqs] */
} tkr_pictures;
/* false: the run has failed. */
bool tkr_pictures_make(tkr_pictures *pictures, const tkr_tower *tower, tkr_run *run, const tkr_batch *batch);
void tkr_pictures_free(tkr_pictures *pictures);
/* States [n_tokens of pictures, hidden] behind the last layer and the layout's final norm. A picture of another grid
 * than the table's has interpolated positions. */
tkr_tensor *tkr_tower_states(const tkr_tower *tower, tkr_run *run, const tkr_batch *batch,
                             const tkr_pictures *pictures);

/* Bicubic as torch.nn.functional.interpolate has it (a = -0.75, no antialiasing, borders repeated): rows [first, first
 * + n) of an h x w grid, row-major, from the table's side x side. scratch: 2 * cols values. */
typedef struct tkr_grid {
    const tkr_matrix *table;
    size_t first_row; /* of the grid in the table */
    size_t side, h, w;
} tkr_grid;
void tkr_grid_interpolate(float *out, const tkr_grid *grid, size_t first, size_t n, float *scratch);

#endif
