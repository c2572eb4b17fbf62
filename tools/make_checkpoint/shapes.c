/* SPDX-License-Identifier: Apache-2.0 */
/* tools/make_checkpoint: the named shapes, their tensors and config.json. */
#include "builder.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define QWEN_TOKENIZER "tokenizers/qwen3/tokenizer.json.xz"
#define BERT_TOKENIZER "bert/bert-cls/model/tokenizer.json"

const shape shapes[] = {
    {"qwen3-0.6b", "qwen3", 1024, 28, 16, 8, 128, 3072, 151669, 32768, 0, 32768, "lasttoken", QWEN_TOKENIZER},
    {"qwen3-4b", "qwen3", 2560, 36, 32, 8, 128, 9728, 151665, 40960, 0, 32768, "lasttoken", QWEN_TOKENIZER},
    {"qwen2-7b", "qwen2", 3584, 28, 28, 4, 128, 18944, 152064, 32768, 0, 32768, "lasttoken", QWEN_TOKENIZER},
    /* the text part of Qwen2-VL-2B */
    {"qwen2-vl-2b", "qwen2", 1536, 28, 12, 2, 128, 8960, 151936, 32768, 0, 32768, "lasttoken", QWEN_TOKENIZER},
    {"bge-base", "bert", 768, 12, 12, 12, 64, 3072, 30522, 512, 2, 512, "cls_token", BERT_TOKENIZER},
    {"minilm", "bert", 384, 6, 12, 12, 32, 1536, 30522, 512, 2, 256, "mean_tokens", BERT_TOKENIZER},
    {"modernbert-base", "modernbert", 768, 22, 12, 12, 64, 1152, 50368, 8192, 0, 8192, "cls_token",
     "tokenizers/olmo/tokenizer.json.xz"},
    {"bge-m3", "xlm-roberta", 1024, 24, 16, 16, 64, 4096, 250002, 8194, 1, 8192, "cls_token",
     "bert/bert-xlmr-tokenizer/model/tokenizer.json"},
    /* openai/clip-vit-base-patch16, google/siglip-base-patch16-224: pictures of 224 x 224; positions are the text's */
    {"vit-b-16", "clip", 768, 12, 12, 12, 64, 3072, 49408, 77, 0, 77, "lasttoken", "clip/clip/model/tokenizer.json"},
    {"siglip-base", "siglip", 768, 12, 12, 12, 64, 3072, 32000, 64, 0, 64, "lasttoken",
     "siglip/siglip/model/tokenizer.json"},
    /* OpenSearch-AI/Ops-MM-embedding-v1, the base of vidore/colqwen2.5, Qwen/Qwen3-VL-Embedding */
    {"ops-mm-2b", "qwen2_vl", 1536, 28, 12, 2, 128, 8960, 151936, 32768, 0, 32768, "lasttoken", QWEN_TOKENIZER},
    {"ops-mm-7b", "qwen2_vl", 3584, 28, 28, 4, 128, 18944, 152064, 32768, 0, 32768, "lasttoken", QWEN_TOKENIZER},
    {"colqwen2.5", "qwen2_5_vl", 2048, 36, 16, 2, 128, 11008, 151936, 128000, 0, 32768, "lasttoken", QWEN_TOKENIZER},
    {"qwen3-vl-2b", "qwen3_vl", 2048, 28, 16, 8, 128, 6144, 151936, 262144, 0, 32768, "lasttoken", QWEN_TOKENIZER},
};
const size_t n_shapes = sizeof shapes / sizeof *shapes;

bool shape_find(shape *out, const char *name) {
    for (size_t i = 0; i < n_shapes; i++) {
        size_t n = strlen(shapes[i].name);
        if (strncmp(shapes[i].name, name, n) != 0) continue;
        *out = shapes[i];
        if (!name[n]) return true;
        char *end = NULL;
        if (name[n] != '-' || name[n + 1] < '1' || name[n + 1] > '9') continue;
        out->layers = strtoul(name + n + 1, &end, 10);
        if (strcmp(end, "l") == 0 && out->layers <= 1024) return true;
    }
    return false;
}

bool shape_is_post_norm(const shape *s) { return strcmp(s->family, "bert") == 0 || s->types == 1; }

/* ---- tensors ---- */

tensor *add(builder *b, size_t rows, size_t cols, fill how, plant planted, const char *format, ...) {
    static tensor ignored;
    tensor_list *list = b->list;
    if (list->n == list->room) {
        size_t room = list->room ? list->room * 2 : 256;
        tensor *items = realloc(list->items, room * sizeof *items);
        if (!items) {
            b->failed = true;
            return &ignored;
        }
        list->items = items;
        list->room = room;
    }
    tensor *t = &list->items[list->n++];
    *t = (tensor){.rows = rows, .cols = cols, .how = how, .planted = planted};
    va_list args;
    const int n = snprintf(t->name, sizeof t->name, "%s", b->prefix);
    va_start(args, format);
    vsnprintf(t->name + n, sizeof t->name - (size_t)n, format, args);
    va_end(args);
    return t;
}

static void add_qwen(builder *b, const shape *s) {
    const size_t h = s->hidden, q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    const bool two = strncmp(s->family, "qwen2", 5) == 0;
    if (shape_is_vl(s)) b->prefix = vl_text_prefix(s);
    add(b, s->vocab, h, FILL_TABLE, PLANT_STREAM_COLUMNS, "embed_tokens.weight");
    for (size_t i = 0; i < s->layers; i++) {
        add(b, 0, h, FILL_GAIN, PLANT_GAIN_LAYER, "layers.%zu.input_layernorm.weight", i);
        add(b, q, h, FILL_LINEAR, PLANT_NONE, "layers.%zu.self_attn.q_proj.weight", i);
        add(b, kv, h, FILL_LINEAR, PLANT_NONE, "layers.%zu.self_attn.k_proj.weight", i);
        add(b, kv, h, FILL_LINEAR, PLANT_NONE, "layers.%zu.self_attn.v_proj.weight", i);
        add(b, h, q, FILL_LINEAR, PLANT_STREAM_ROWS, "layers.%zu.self_attn.o_proj.weight", i);
        if (two) {
            add(b, 0, q, FILL_WIDE, PLANT_NONE, "layers.%zu.self_attn.q_proj.bias", i);
            add(b, 0, kv, FILL_WIDE, PLANT_NONE, "layers.%zu.self_attn.k_proj.bias", i);
            add(b, 0, kv, FILL_WIDE, PLANT_NONE, "layers.%zu.self_attn.v_proj.bias", i);
        } else {
            add(b, 0, s->head_dim, FILL_GAIN, PLANT_NONE, "layers.%zu.self_attn.q_norm.weight", i);
            add(b, 0, s->head_dim, FILL_GAIN, PLANT_NONE, "layers.%zu.self_attn.k_norm.weight", i);
        }
        add(b, 0, h, FILL_GAIN, PLANT_GAIN_LAYER, "layers.%zu.post_attention_layernorm.weight", i);
        add(b, s->inner, h, FILL_LINEAR, PLANT_NONE, "layers.%zu.mlp.gate_proj.weight", i);
        add(b, s->inner, h, FILL_LINEAR, PLANT_INNER_ROWS, "layers.%zu.mlp.up_proj.weight", i);
        add(b, h, s->inner, FILL_LINEAR, PLANT_DOWN, "layers.%zu.mlp.down_proj.weight", i);
    }
    add(b, 0, h, FILL_GAIN, PLANT_GAIN_FINAL, "norm.weight");
}

static void add_modernbert(builder *b, const shape *s) {
    const size_t h = s->hidden;
    add(b, s->vocab, h, FILL_TABLE, PLANT_NONE, "embeddings.tok_embeddings.weight");
    add(b, 0, h, FILL_GAIN, PLANT_GAIN_INTO, "embeddings.norm.weight");
    for (size_t i = 0; i < s->layers; i++) {
        if (i > 0) add(b, 0, h, FILL_GAIN, PLANT_GAIN_LAYER, "layers.%zu.attn_norm.weight", i);
        add(b, 3 * h, h, FILL_LINEAR, PLANT_NONE, "layers.%zu.attn.Wqkv.weight", i);
        add(b, h, h, FILL_LINEAR, PLANT_STREAM_ROWS, "layers.%zu.attn.Wo.weight", i);
        add(b, 0, h, FILL_GAIN, PLANT_GAIN_LAYER, "layers.%zu.mlp_norm.weight", i);
        add(b, 2 * s->inner, h, FILL_LINEAR, PLANT_INNER_ROWS, "layers.%zu.mlp.Wi.weight", i)->doubled = true;
        add(b, h, s->inner, FILL_LINEAR, PLANT_DOWN, "layers.%zu.mlp.Wo.weight", i);
    }
    add(b, 0, h, FILL_GAIN, PLANT_GAIN_FINAL, "final_norm.weight");
}

void add_norm(builder *b, size_t h, const char *name, plant planted) {
    add(b, 0, h, FILL_GAIN, planted, "%s.weight", name);
    add(b, 0, h, FILL_SMALL, PLANT_NONE, "%s.bias", name);
}

void add_dense(builder *b, size_t rows, size_t cols, const char *name, plant planted) {
    add(b, rows, cols, FILL_LINEAR, planted, "%s.weight", name);
    add(b, 0, rows, FILL_SMALL, PLANT_NONE, "%s.bias", name);
}

static void add_bert(builder *b, const shape *s) {
    const size_t h = s->hidden;
    static const char *const projections[] = {"query", "key", "value"};
    char name[64];
    add(b, s->vocab, h, FILL_TABLE, PLANT_NONE, "embeddings.word_embeddings.weight");
    add(b, s->positions, h, FILL_SMALL, PLANT_NONE, "embeddings.position_embeddings.weight");
    add(b, s->types, h, FILL_SMALL, PLANT_NONE, "embeddings.token_type_embeddings.weight");
    add_norm(b, h, "embeddings.LayerNorm", PLANT_GAIN_INTO);
    for (size_t i = 0; i < s->layers; i++) {
        for (size_t p = 0; p < 3; p++) {
            snprintf(name, sizeof name, "encoder.layer.%zu.attention.self.%s", i, projections[p]);
            add_dense(b, h, h, name, PLANT_NONE);
        }
        snprintf(name, sizeof name, "encoder.layer.%zu.attention.output.dense", i);
        add_dense(b, h, h, name, PLANT_NONE);
        snprintf(name, sizeof name, "encoder.layer.%zu.attention.output.LayerNorm", i);
        add_norm(b, h, name, PLANT_GAIN_KEEP);
        snprintf(name, sizeof name, "encoder.layer.%zu.intermediate.dense", i);
        add_dense(b, s->inner, h, name, PLANT_INNER_ROWS);
        snprintf(name, sizeof name, "encoder.layer.%zu.output.dense", i);
        add_dense(b, h, s->inner, name, PLANT_INNER_COLUMNS);
        snprintf(name, sizeof name, "encoder.layer.%zu.output.LayerNorm", i);
        add_norm(b, h, name, i + 1 < s->layers ? PLANT_GAIN_KEEP : PLANT_GAIN_FINAL);
    }
}

bool shape_has_towers(const shape *s) { return strcmp(s->family, "clip") == 0 || strcmp(s->family, "siglip") == 0; }

enum { IMAGE = 224, PATCH = 16, CLIP_TEXT_WIDTH = 512 };

static void add_tower(builder *b, const char *prefix, size_t h, const shape *s) {
    static const char *const projections[] = {"q_proj", "k_proj", "v_proj", "out_proj"};
    const bool wide = h == s->hidden; /* outliers are planted in the shape's own channels */
    char name[96];
    for (size_t i = 0; i < s->layers; i++) {
        for (size_t n = 1; n <= 2; n++) {
            snprintf(name, sizeof name, "%s.encoder.layers.%zu.layer_norm%zu", prefix, i, n);
            add_norm(b, h, name, wide ? PLANT_GAIN_LAYER : PLANT_NONE);
        }
        for (size_t p = 0; p < 4; p++) {
            snprintf(name, sizeof name, "%s.encoder.layers.%zu.self_attn.%s", prefix, i, projections[p]);
            add_dense(b, h, h, name, wide && p == 3 ? PLANT_STREAM_ROWS : PLANT_NONE);
        }
        snprintf(name, sizeof name, "%s.encoder.layers.%zu.mlp.fc1", prefix, i);
        add_dense(b, 4 * h, h, name, wide ? PLANT_INNER_ROWS : PLANT_NONE);
        snprintf(name, sizeof name, "%s.encoder.layers.%zu.mlp.fc2", prefix, i);
        add_dense(b, h, 4 * h, name, wide ? PLANT_DOWN : PLANT_NONE);
    }
}

static void add_siglip_head(builder *b, size_t h) {
    add(b, 1, h, FILL_TABLE, PLANT_NONE, "vision_model.head.probe")->batched = true;
    add(b, 3 * h, h, FILL_LINEAR, PLANT_NONE, "vision_model.head.attention.in_proj_weight");
    add(b, 0, 3 * h, FILL_SMALL, PLANT_NONE, "vision_model.head.attention.in_proj_bias");
    add_dense(b, h, h, "vision_model.head.attention.out_proj", PLANT_NONE);
    add_norm(b, h, "vision_model.head.layernorm", PLANT_NONE);
    add_dense(b, 4 * h, h, "vision_model.head.mlp.fc1", PLANT_NONE);
    add_dense(b, h, 4 * h, "vision_model.head.mlp.fc2", PLANT_NONE);
    add_dense(b, h, h, "text_model.head", PLANT_NONE);
}

static void add_towers(builder *b, const shape *s) {
    const bool clip = strcmp(s->family, "clip") == 0;
    const size_t h = s->hidden, text = clip ? CLIP_TEXT_WIDTH : h, grid = (size_t)(IMAGE / PATCH) * (IMAGE / PATCH);
    add(b, s->vocab, text, FILL_TABLE, PLANT_NONE, "text_model.embeddings.token_embedding.weight");
    add(b, s->positions, text, FILL_SMALL, PLANT_NONE, "text_model.embeddings.position_embedding.weight");
    add_tower(b, "text_model", text, s);
    add_norm(b, text, "text_model.final_layer_norm", PLANT_NONE);
    add(b, h, (size_t)3 * PATCH * PATCH, FILL_LINEAR, PLANT_STREAM_ROWS,
        "vision_model.embeddings.patch_embedding.weight")
        ->patch = PATCH;
    add(b, grid + (clip ? 1 : 0), h, FILL_SMALL, PLANT_NONE, "vision_model.embeddings.position_embedding.weight");
    add_tower(b, "vision_model", h, s);
    add_norm(b, h, "vision_model.post_layernorm", PLANT_GAIN_FINAL);
    if (!clip) {
        add(b, 0, h, FILL_SMALL, PLANT_NONE, "vision_model.embeddings.patch_embedding.bias");
        add_siglip_head(b, h);
        return;
    }
    add(b, 0, h, FILL_SMALL, PLANT_NONE, "vision_model.embeddings.class_embedding");
    add_norm(b, h, "vision_model.pre_layrnorm", PLANT_GAIN_INTO);
    add(b, CLIP_TEXT_WIDTH, h, FILL_LINEAR, PLANT_NONE, "visual_projection.weight");
    add(b, CLIP_TEXT_WIDTH, text, FILL_LINEAR, PLANT_NONE, "text_projection.weight");
}

bool shape_tensors(tensor_list *list, const shape *s) {
    builder b = {.list = list, .prefix = ""};
    if (shape_has_towers(s))
        add_towers(&b, s);
    else if (strncmp(s->family, "qwen", 4) == 0)
        add_qwen(&b, s);
    else if (strcmp(s->family, "modernbert") == 0)
        add_modernbert(&b, s);
    else
        add_bert(&b, s);
    if (shape_is_vl(s)) vl_tensors(&b, s);
    return !b.failed;
}

/* ---- config.json ---- */

static void config_qwen(FILE *f, const shape *s) {
    const bool three = strcmp(s->family, "qwen3") == 0;
    fprintf(f,
            "  \"architectures\": [\"%s\"],\n  \"hidden_act\": \"silu\",\n  \"num_key_value_heads\": %zu,\n"
            "  \"rms_norm_eps\": 1e-06,\n  \"rope_theta\": 1000000.0,\n  \"rope_scaling\": null,\n"
            "  \"sliding_window\": null,\n  \"use_sliding_window\": false,\n  \"tie_word_embeddings\": true,\n"
            "  \"bos_token_id\": 151643,\n  \"eos_token_id\": 151643,\n",
            three ? "Qwen3ForCausalLM" : "Qwen2Model", s->kv_heads);
    if (three) fprintf(f, "  \"head_dim\": %zu,\n  \"attention_bias\": false,\n", s->head_dim);
}

static void config_modernbert(FILE *f, const shape *s) {
    fprintf(f, "  \"architectures\": [\"ModernBertModel\"],\n  \"hidden_activation\": \"gelu\",\n"
               "  \"attention_bias\": false,\n  \"mlp_bias\": false,\n  \"norm_bias\": false,\n  \"norm_eps\": 1e-05,\n"
               "  \"global_attn_every_n_layers\": 3,\n  \"local_attention\": 128,\n  \"global_rope_theta\": 160000.0,\n"
               "  \"local_rope_theta\": 10000.0,\n  \"pad_token_id\": 50283,\n");
    (void)s;
}

static void config_bert(FILE *f, const shape *s) {
    const bool roberta = strcmp(s->family, "xlm-roberta") == 0;
    fprintf(f,
            "  \"architectures\": [\"%s\"],\n  \"hidden_act\": \"gelu\",\n  \"layer_norm_eps\": %s,\n"
            "  \"pad_token_id\": %d,\n  \"position_embedding_type\": \"absolute\",\n  \"type_vocab_size\": %zu,\n",
            roberta ? "XLMRobertaModel" : "BertModel", roberta ? "1e-05" : "1e-12", roberta, s->types);
}

static void config_towers(FILE *f, const shape *s, const char *dtype) {
    const bool clip = strcmp(s->family, "clip") == 0;
    const size_t text = clip ? CLIP_TEXT_WIDTH : s->hidden;
    fprintf(f,
            "  \"architectures\": [\"%s\"],\n  \"torch_dtype\": \"%s\",\n  \"text_config\": {\"hidden_size\": %zu, "
            "\"intermediate_size\": %zu, \"num_hidden_layers\": %zu, \"num_attention_heads\": %zu, "
            "\"vocab_size\": %zu, \"max_position_embeddings\": %zu%s},\n",
            clip ? "CLIPModel" : "SiglipModel", dtype, text, 4 * text, s->layers, text / 64, s->vocab, s->positions,
            clip ? ", \"eos_token_id\": 2" : "");
    fprintf(f,
            "  \"vision_config\": {\"hidden_size\": %zu, \"intermediate_size\": %zu, \"num_hidden_layers\": %zu, "
            "\"num_attention_heads\": %zu, \"image_size\": %d, \"patch_size\": %d}\n}\n",
            s->hidden, s->inner, s->layers, s->heads, IMAGE, PATCH);
}

bool shape_has_pictures(const shape *s) { return shape_has_towers(s) || shape_is_vl(s); }

bool shape_processor(FILE *f, const shape *s) {
    if (shape_is_vl(s)) {
        vl_processor(f, s);
        return !ferror(f);
    }
    const bool clip = strcmp(s->family, "clip") == 0;
    fprintf(f, "{\n  \"image_processor_type\": \"%s\",\n  \"resample\": 3,\n  \"do_resize\": true,\n",
            clip ? "CLIPImageProcessor" : "SiglipImageProcessor");
    if (clip)
        fprintf(f,
                "  \"size\": {\"shortest_edge\": %d},\n  \"do_center_crop\": true,\n  \"crop_size\": {\"height\": "
                "%d, \"width\": %d},\n",
                IMAGE, IMAGE, IMAGE);
    else
        fprintf(f, "  \"size\": {\"height\": %d, \"width\": %d},\n", IMAGE, IMAGE);
    fprintf(f, "  \"do_rescale\": true,\n  \"rescale_factor\": 0.00392156862745098,\n  \"do_normalize\": true,\n"
               "  \"image_mean\": [0.5, 0.5, 0.5],\n  \"image_std\": [0.5, 0.5, 0.5]\n}\n");
    return !ferror(f);
}

bool shape_config(FILE *f, const shape *s, const char *dtype) {
    fprintf(f, "{\n  \"model_type\": \"%s\",\n", s->family);
    if (shape_has_towers(s)) {
        config_towers(f, s, dtype);
        return !ferror(f);
    }
    if (shape_is_vl(s)) {
        vl_config(f, s, dtype);
        return !ferror(f);
    }
    if (strncmp(s->family, "qwen", 4) == 0)
        config_qwen(f, s);
    else if (strcmp(s->family, "modernbert") == 0)
        config_modernbert(f, s);
    else
        config_bert(f, s);
    fprintf(f,
            "  \"hidden_size\": %zu,\n  \"num_hidden_layers\": %zu,\n  \"num_attention_heads\": %zu,\n"
            "  \"intermediate_size\": %zu,\n  \"vocab_size\": %zu,\n  \"max_position_embeddings\": %zu,\n"
            "  \"torch_dtype\": \"%s\"\n}\n",
            s->hidden, s->layers, s->heads, s->inner, s->vocab, s->positions, dtype);
    return !ferror(f);
}
