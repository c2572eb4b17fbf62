/* SPDX-License-Identifier: Apache-2.0 */
/* tools/make_checkpoint: Qwen-VL shapes: a vision tower, a merger and what the family adds. */
#include <string.h>

#include "builder.h"

typedef struct tower {
    const char *family;
    size_t hidden, layers, heads, inner, patch;
} tower;

static const tower towers[] = {
    {"qwen2_vl", 1280, 32, 16, 5120, 14}, {"qwen2_5_vl", 1280, 32, 16, 3420, 14}, {"qwen3_vl", 1024, 24, 16, 4096, 16}};

enum { MERGED = 4, FRAMES = 2, HEAD = 128, POSITIONS = 2304, DEEP = 3 };

static const tower *tower_of(const shape *s) {
    for (size_t i = 0; i < sizeof towers / sizeof *towers; i++)
        if (strcmp(towers[i].family, s->family) == 0) return &towers[i];
    return NULL;
}

bool shape_is_vl(const shape *s) { return tower_of(s) != NULL; }

static bool is_three(const shape *s) { return strcmp(s->family, "qwen3_vl") == 0; }
static bool is_two_five(const shape *s) { return strcmp(s->family, "qwen2_5_vl") == 0; }

const char *vl_text_prefix(const shape *s) { return is_three(s) ? "model.language_model." : "model."; }

/* ---- tensors ---- */

static void add_named_norm(builder *b, const shape *s, size_t h, const char *name) {
    if (is_two_five(s))
        add(b, 0, h, FILL_GAIN, PLANT_NONE, "%s.weight", name);
    else
        add_norm(b, h, name, PLANT_NONE);
}

static void add_block(builder *b, const shape *s, const tower *t, size_t layer) {
    static const char *const gated[] = {"gate_proj", "up_proj", "down_proj"}, *const two[] = {"fc1", "fc2"},
                             *const three[] = {"linear_fc1", "linear_fc2"};
    const char *const *parts = is_two_five(s) ? gated : is_three(s) ? three : two;
    const size_t n_parts = is_two_five(s) ? 3 : 2, h = t->hidden;
    char name[80];
    for (size_t i = 1; i <= 2; i++) {
        snprintf(name, sizeof name, "blocks.%zu.norm%zu", layer, i);
        add_named_norm(b, s, h, name);
    }
    snprintf(name, sizeof name, "blocks.%zu.attn.qkv", layer);
    add_dense(b, 3 * h, h, name, PLANT_NONE);
    snprintf(name, sizeof name, "blocks.%zu.attn.proj", layer);
    add_dense(b, h, h, name, PLANT_NONE);
    for (size_t i = 0; i < n_parts; i++) {
        snprintf(name, sizeof name, "blocks.%zu.mlp.%s", layer, parts[i]);
        if (i + 1 < n_parts)
            add_dense(b, t->inner, h, name, PLANT_NONE);
        else
            add_dense(b, h, t->inner, name, PLANT_NONE);
    }
}

static void add_three(builder *b, const shape *s, const tower *t) {
    const size_t h = t->hidden, wide = MERGED * h;
    add(b, 0, h, FILL_SMALL, PLANT_NONE, "patch_embed.proj.bias");
    add(b, POSITIONS, h, FILL_SMALL, PLANT_NONE, "pos_embed.weight");
    add_norm(b, h, "merger.norm", PLANT_NONE);
    add_dense(b, wide, wide, "merger.linear_fc1", PLANT_NONE);
    add_dense(b, s->hidden, wide, "merger.linear_fc2", PLANT_NONE);
    for (size_t i = 0; i < DEEP; i++) {
        char name[80];
        snprintf(name, sizeof name, "deepstack_merger_list.%zu.norm", i);
        add_norm(b, wide, name, PLANT_NONE);
        snprintf(name, sizeof name, "deepstack_merger_list.%zu.linear_fc1", i);
        add_dense(b, wide, wide, name, PLANT_NONE);
        snprintf(name, sizeof name, "deepstack_merger_list.%zu.linear_fc2", i);
        add_dense(b, s->hidden, wide, name, PLANT_NONE);
    }
}

void vl_tensors(builder *b, const shape *s) {
    const tower *t = tower_of(s);
    const size_t h = t->hidden, wide = MERGED * h;
    b->prefix = is_three(s) ? "model.visual." : "visual.";
    tensor *kernel = add(b, h, FRAMES * 3 * t->patch * t->patch, FILL_LINEAR, PLANT_NONE, "patch_embed.proj.weight");
    kernel->patch = t->patch;
    kernel->frames = FRAMES;
    for (size_t i = 0; i < t->layers; i++) add_block(b, s, t, i);
    if (is_three(s)) {
        add_three(b, s, t);
    } else {
        add_named_norm(b, s, h, "merger.ln_q");
        add_dense(b, wide, wide, "merger.mlp.0", PLANT_NONE);
        add_dense(b, s->hidden, wide, "merger.mlp.2", PLANT_NONE);
    }
    b->prefix = "";
    if (is_two_five(s)) add_dense(b, HEAD, s->hidden, "custom_text_proj", PLANT_NONE);
    if (s->hidden == 3584) add(b, s->vocab, s->hidden, FILL_LINEAR, PLANT_NONE, "lm_head.weight"); /* Ops-MM 7B */
}

/* ---- files ---- */

static void text_config(FILE *f, const shape *s, const char *dtype) {
    fprintf(f,
            "  \"hidden_act\": \"silu\",\n  \"rms_norm_eps\": 1e-06,\n  \"use_sliding_window\": false,\n"
            "  \"rope_theta\": %s,\n  \"rope_scaling\": {\"rope_type\": \"default\", \"mrope_section\": %s},\n",
            is_three(s) ? "5000000.0" : "1000000.0",
            is_three(s) ? "[24, 20, 20], \"mrope_interleaved\": true" : "[16, 24, 24]");
    fprintf(f,
            "  \"hidden_size\": %zu,\n  \"num_hidden_layers\": %zu,\n  \"num_attention_heads\": %zu,\n"
            "  \"num_key_value_heads\": %zu,\n  \"head_dim\": %zu,\n  \"intermediate_size\": %zu,\n"
            "  \"vocab_size\": %zu,\n  \"max_position_embeddings\": %zu,\n  \"torch_dtype\": \"%s\"\n",
            s->hidden, s->layers, s->heads, s->kv_heads, s->head_dim, s->inner, s->vocab, s->positions, dtype);
}

void vl_config(FILE *f, const shape *s, const char *dtype) {
    const tower *t = tower_of(s);
    fprintf(f, "  \"image_token_id\": 151655,\n  \"video_token_id\": 151656,\n  \"vision_start_token_id\": 151652,\n"
               "  \"vision_end_token_id\": 151653,\n");
    fprintf(f,
            "  \"vision_config\": {\"model_type\": \"%s\", \"depth\": %zu, \"num_heads\": %zu, \"patch_size\": %zu, ",
            s->family, t->layers, t->heads, t->patch);
    fprintf(f, "\"temporal_patch_size\": %d, \"spatial_merge_size\": 2, \"in_channels\": 3, ", FRAMES);
    if (is_three(s))
        fprintf(f,
                "\"hidden_size\": %zu, \"intermediate_size\": %zu, \"out_hidden_size\": %zu, \"hidden_act\": "
                "\"gelu_pytorch_tanh\", \"num_position_embeddings\": %d, \"deepstack_visual_indexes\": [5, 11, 17]},\n",
                t->hidden, t->inner, s->hidden, POSITIONS);
    else if (is_two_five(s))
        fprintf(f,
                "\"hidden_size\": %zu, \"intermediate_size\": %zu, \"out_hidden_size\": %zu, \"hidden_act\": \"silu\", "
                "\"window_size\": 112, \"fullatt_block_indexes\": [7, 15, 23, 31]},\n",
                t->hidden, t->inner, s->hidden);
    else
        fprintf(f, "\"embed_dim\": %zu, \"mlp_ratio\": %zu, \"hidden_size\": %zu, \"hidden_act\": \"quick_gelu\"},\n",
                t->hidden, t->inner / t->hidden, s->hidden);
    if (is_three(s)) fprintf(f, "  \"text_config\": {\n");
    text_config(f, s, dtype);
    fprintf(f, is_three(s) ? "  }\n}\n" : "}\n");
}

void vl_processor(FILE *f, const shape *s) {
    const tower *t = tower_of(s);
    fprintf(f,
            "{\n  \"image_processor_type\": \"Qwen2VLImageProcessor\",\n  \"do_convert_rgb\": true,\n  \"do_resize\": "
            "true,\n  \"resample\": 3,\n  \"do_rescale\": true,\n  \"rescale_factor\": 0.00392156862745098,\n"
            "  \"do_normalize\": true,\n  \"patch_size\": %zu,\n  \"temporal_patch_size\": %d,\n  \"merge_size\": 2,\n",
            t->patch, FRAMES);
    if (is_three(s))
        fprintf(f, "  \"size\": {\"shortest_edge\": 65536, \"longest_edge\": 16777216},\n"
                   "  \"image_mean\": [0.5, 0.5, 0.5],\n  \"image_std\": [0.5, 0.5, 0.5]\n}\n");
    else
        fprintf(f,
                "  \"min_pixels\": 3136,\n  \"max_pixels\": %s,\n"
                "  \"image_mean\": [0.48145466, 0.4578275, 0.40821073],\n"
                "  \"image_std\": [0.26862954, 0.26130258, 0.27577711]\n}\n",
                is_two_five(s) ? "602112" : "12845056");
}
