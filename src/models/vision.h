/* SPDX-License-Identifier: Apache-2.0 */
/*
 * models/vision: what architectures add that read pictures. Two kinds: two towers (SigLIP, CLIP), where a picture has a
 * vector of its own, and fusion (Qwen2-VL, Qwen3-VL, ColQwen2.5), where a picture's features take the place of
 * placeholder tokens of a prompt.
 */
#ifndef TKR_MODELS_VISION_H
#define TKR_MODELS_VISION_H

#include "models/blocks.h"

#define TKR_MAX_DEEPSTACK 8

/* Filled by `configure` from config.json; zeroed before. */
struct tkr_vision_config {
    tkr_arch_config tower; /* its transformer; hidden_size, layers, heads, norms, rotary positions as in text models */
    size_t n_channels, image_size, patch_size, temporal_patch_size,
        merge_size;     /* temporal and merge: 1 if there is none */
    size_t patch_cols;  /* n_channels * temporal_patch_size * patch_size^2 */
    size_t n_positions; /* rows of the learned position table; 0: none */
    size_t n_class;     /* tokens of the tower before a picture's patches (CLIP's class token) */
    size_t out_size;    /* width of a feature (fusion: the text model's hidden_size) */
    size_t head_size;   /* of vectors, after tkr_arch_head, where that is not the text model's hidden_size; else 0 */
    size_t window_size; /* pixels of a window's side (Qwen2.5-VL): local layers attend inside; 0: none */
    size_t deepstack[TKR_MAX_DEEPSTACK],
        n_deepstack;     /* tower layers whose features are added behind text layers 0, 1, ... */
    int32_t image_token; /* placeholder; fusion only */
    int32_t video_token;
    int32_t end_token; /* CLIP: its first one in a text is pooled; -1: the highest id is (see text_end) */
};

/* How an input becomes the text that the tokenizer sees. {instruction}, {visuals} and {text} are filled in. NULL
 * members: the model embeds bare text. */
typedef struct tkr_recipe {
    const char *with_visuals; /* template of inputs with pictures */
    const char *text_only;    /* template of inputs without */
    const char *visual;       /* text of one picture, with one placeholder token in it */
    const char *frames;       /* text of two frames of a video behind their second, or NULL: videos aren't read */
    const char *before_video, *after_video;
    double video_fps; /* frames a second that the reference takes of a video, or of its list of pictures; 0: the
                       * model has no way of its own with videos */
    size_t video_min_frames, video_max_frames;
    const char *default_instruction; /* or NULL: no instruction */
    const char *default_prefix;     /* {prefix} of text_only: ColQwen's "Query: "; a prompt of the caller replaces it */
    const char *empty;              /* text of an input without text and pictures, or NULL: "" */
    bool instruction_ends_sentence; /* stripped, with "." added where it doesn't end in punctuation */
    bool never_truncate;            /* the template's end must stay: a longer input is an error */
    bool pad_text;                  /* SigLIP: texts are padded to max_positions with the tokenizer's padding token, and
                                     * padding is computed as part of the model */
    bool lowercase;                 /* text is lower-cased before the tokenizer (SigLIP 2) */
    bool multi_vector;              /* one vector per token (ColQwen) */
    size_t max_tokens;              /* that the reference takes, where the model could take more; 0: no such limit */
} tkr_recipe;

/* Features that go in behind text layers: [n_visual_tokens, out_size] each, released by the caller. */
typedef struct tkr_deep_features {
    tkr_tensor *of[TKR_MAX_DEEPSTACK];
    size_t n;
} tkr_deep_features;

struct tkr_vision_arch {
    bool two_towers;
    const char *processor; /* media's family: "fixed", "qwen2", "ops", "qwen3_vl" */
    size_t max_visuals;    /* pictures of one input; 0: as many as fit */
    bool frames_apart;     /* of tkr_mrope_options */
    const tkr_recipe *recipe;
    tkr_status (*configure)(tkr_vision_config *vision, const tkr_arch_config *text, const json_t *json,
                            const char *what, tkr_error *error);
    /* Called after the text transformer is bound; chooses its own prefix. *weights is freed by `free` also after a
     * failure. */
    tkr_status (*bind)(void **weights, tkr_binder *binder, const tkr_vision_config *vision, const tkr_arch_config *text,
                       tkr_error *error);
    void (*free)(void **weights, const tkr_ops *ops);
    /* Two towers: [n_visuals, out_size], not normalised. Fusion: [n_visual_tokens, out_size]; fills *deep (zeroed). */
    tkr_tensor *(*encode)(const void *weights, tkr_run *run, const tkr_batch *batch, tkr_deep_features *deep);
    /* See tkr_arch_head; NULL: none. */
    tkr_tensor *(*head)(const void *weights, tkr_run *run, tkr_tensor *x);
    /* Where the span ends whose last token is the text's vector (CLIP's first end token): 1 to n. NULL: n. */
    size_t (*text_end)(const tkr_vision_config *vision, const int32_t *ids, size_t n);
};

/* Bytes of the tensors that encoding n_patches takes at most, and matrix operations of one picture (shape.c). */
size_t tkr_vision_workspace(const tkr_vision_config *vision, size_t n_patches, size_t chunk_rows);
double tkr_vision_operations(const tkr_vision_config *vision, const tkr_visual *visual);
/* The widest input of a linear layer of the tower: see tkr_arch_widest. */
size_t tkr_vision_widest(const tkr_vision_config *vision);
/* Feature tokens of a picture of this grid: t * h * w / merge_size^2. */
static inline size_t tkr_visual_tokens(const tkr_vision_config *vision, const tkr_visual *visual) {
    return visual->t * visual->h * visual->w / (vision->merge_size * vision->merge_size);
}

/* Whether this token stands for a feature of a picture or of a video's frames. */
static inline bool tkr_is_placeholder(const tkr_vision_config *vision, int32_t id) {
    return id == vision->image_token || id == vision->video_token;
}

/* Positions of one sequence for M-RoPE, [3, n] with stride `stride` between axes (mrope.c): text counts on all axes,
 * a picture's tokens have its time, row and column; what follows goes on behind the largest. */
typedef struct tkr_mrope_options {
    const int32_t *ids; /* [n] placeholders expanded */
    size_t n, stride;
    const tkr_visual *visuals; /* of this sequence, in order */
    size_t n_visuals;
    bool frames_apart; /* Qwen3-VL: the frames of a video are items of their own */
} tkr_mrope_options;
tkr_status tkr_mrope_positions(int32_t *positions, const tkr_vision_config *vision, const tkr_mrope_options *options,
                               tkr_error *error);

#endif
