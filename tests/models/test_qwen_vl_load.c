/* SPDX-License-Identifier: Apache-2.0 */
/* Loading the Qwen-VL families: spellings of config.json, names of tensors, what is refused, what the weights take; the
 * N-th allocation failed and a stop at the N-th operation, for every N. */
#define _XOPEN_SOURCE 700
#include "fault.h"
#include "visual.h"

#include <unistd.h>

static const char *const folders[] = {"qwen2_vl/qwen2_vl", "qwen2_5_vl/colqwen2_5", "qwen3_vl/qwen3_vl"};
enum { N_FOLDERS = sizeof folders / sizeof *folders };

/* ---- config.json ---- */

static tkr_status configure(network *n, tkr_error *error) {
    n->arch = tkr_arch_find(json_string_value(json_object_get(n->json, "model_type")));
    assert_non_null(n->arch);
    memset(&n->config, 0, sizeof n->config);
    memset(&n->vision, 0, sizeof n->vision);
    tkr_status status = n->arch->configure(&n->config, n->json, "config.json", error);
    return status != TKR_OK ? status
                            : n->arch->vision->configure(&n->vision, &n->config, n->json, "config.json", error);
}

/* What newer transformers write: the text model's fields in text_config, rope_parameters. */
static void nested_spelling(void **state) {
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        network n;
        const char *key;
        json_t *value;
        void *next;
        network_prepare(&n, folders[i], NULL);
        const tkr_arch_config flat = n.config;
        const tkr_vision_config vision = n.vision;
        json_t *text = json_object();
        json_object_foreach_safe(n.json, next, key, value) {
            if (strcmp(key, "model_type") == 0 || strstr(key, "vision") || strstr(key, "_token_id")) continue;
            json_object_set(text, key, value);
            json_object_del(n.json, key);
        }
        json_object_set(text, "rope_parameters", json_object_get(text, "rope_scaling"));
        json_object_set(json_object_get(text, "rope_parameters"), "rope_theta", json_object_get(text, "rope_theta"));
        json_object_del(text, "rope_scaling");
        json_object_del(text, "rope_theta");
        json_object_set_new(n.json, "text_config", text);
        tkr_error error = {TKR_OK, NULL, ""};
        if (configure(&n, &error) != TKR_OK) fail_msg("%s", error.message);
        assert_memory_equal(&n.config, &flat, sizeof flat);
        assert_memory_equal(&n.vision, &vision, sizeof vision);
        network_close(&n);
    }
}

/* transformers' own format for ColQwen. */
static void native_colqwen(void **state) {
    (void)state;
    network n;
    tkr_error error = {TKR_OK, NULL, ""};
    network_prepare(&n, "qwen2_5_vl/colqwen2_5", NULL);
    const tkr_arch_config flat = n.config;
    json_t *outer = json_pack("{s:s, s:i, s:O}", "model_type", "colqwen2", "embedding_dim", 96, "vlm_config", n.json);
    json_decref(n.json);
    n.json = outer;
    if (configure(&n, &error) != TKR_OK) fail_msg("%s", error.message);
    assert_memory_equal(&n.config, &flat, sizeof flat);
    assert_int_equal(n.vision.head_size, 96);
    json_object_set_new(json_object_get(outer, "vlm_config"), "model_type", json_string("qwen2_vl"));
    assert_int_equal(configure(&n, &error), TKR_UNSUPPORTED);
    network_close(&n);
}

/* Sizes that the published files leave to the reference's classes. */
static void published_defaults(void **state) {
    (void)state;
    static const char ops_7b[] =
        "{\"model_type\": \"qwen2_vl\", \"hidden_size\": 3584, \"num_hidden_layers\": 28, \"num_attention_heads\": 28, "
        "\"num_key_value_heads\": 4, \"intermediate_size\": 18944, \"vocab_size\": 152064, \"rms_norm_eps\": 1e-06, "
        "\"max_position_embeddings\": 32768, \"rope_theta\": 1000000.0, \"rope_scaling\": {\"type\": \"mrope\", "
        "\"mrope_section\": [16, 24, 24]}, \"vision_config\": {\"hidden_size\": 3584, \"in_chans\": 3, "
        "\"spatial_patch_size\": 14}}";
    network n;
    tkr_error error = {TKR_OK, NULL, ""};
    memset(&n, 0, sizeof n);
    assert_int_equal(tkr_json_parse(&n.json, ops_7b, sizeof ops_7b - 1, "config.json", NULL), TKR_OK);
    if (configure(&n, &error) != TKR_OK) fail_msg("%s", error.message);
    const tkr_arch_config *tower = &n.vision.tower;
    assert_int_equal(tower->hidden_size, 1280);
    assert_int_equal(tower->n_layers, 32);
    assert_int_equal(tower->head_dim, 80);
    assert_int_equal(tower->intermediate_size, 5120);
    assert_int_equal(tower->activation, TKR_ACT_QUICK_GELU);
    assert_int_equal(n.vision.patch_cols, 1176);
    assert_int_equal(n.vision.out_size, 3584);
    assert_int_equal(n.vision.image_token, 151655);
    assert_int_equal(n.config.rope_axis[15], 0);
    assert_int_equal(n.config.rope_axis[16], 1);
    assert_int_equal(n.config.rope_axis[40], 2);
    json_decref(n.json);
}

typedef struct change {
    const char *place; /* object inside config.json, or NULL */
    const char *text;  /* merged into it */
    tkr_status status;
    const char *says;
} change;

static void refuse(const char *folder, const change *changes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        network n;
        tkr_error error = {TKR_OK, NULL, ""};
        network_prepare(&n, folder, NULL);
        json_t *place = changes[i].place ? json_object_get(n.json, changes[i].place) : n.json;
        json_t *with = json_loads(changes[i].text, 0, NULL);
        assert_non_null(with);
        assert_int_equal(json_object_update(place, with), 0);
        json_decref(with);
        const tkr_status status = configure(&n, &error);
        if (status != changes[i].status || !strstr(error.message, changes[i].says))
            fail_msg("%s: status %d, \"%s\"", changes[i].text, (int)status, error.message);
        network_close(&n);
    }
}

static void refusals(void **state) {
    (void)state;
    static const change two[] = {
        {NULL, "{\"vision_config\": null}", TKR_FORMAT, "vision_config"},
        {NULL, "{\"rope_scaling\": null}", TKR_FORMAT, "mrope_section"},
        {NULL, "{\"rope_scaling\": {\"type\": \"yarn\", \"mrope_section\": [2, 3, 3]}}", TKR_UNSUPPORTED, "yarn"},
        {NULL, "{\"rope_scaling\": {\"mrope_section\": [2, 3, 4]}}", TKR_FORMAT, "adds up to 9"},
        {NULL, "{\"rope_scaling\": {\"mrope_section\": [2, 3]}}", TKR_FORMAT, "mrope_section"},
        {NULL, "{\"rope_scaling\": {\"mrope_section\": [2, -3, 9]}}", TKR_FORMAT, "mrope_section"},
        {NULL, "{\"rope_scaling\": {\"mrope_section\": [2, 3, 3], \"mrope_interleaved\": true}}", TKR_UNSUPPORTED,
         "mrope_interleaved"},
        {NULL, "{\"image_token_id\": 494}", TKR_FORMAT, "image_token_id"},
        {NULL, "{\"video_token_id\": -1}", TKR_FORMAT, "video_token_id"},
        {"vision_config", "{\"hidden_size\": 65}", TKR_FORMAT, "hidden_size"},
        {"vision_config", "{\"num_heads\": 3}", TKR_FORMAT, "multiple"},
        {"vision_config", "{\"num_heads\": 4}", TKR_UNSUPPORTED, "multiple of 4"},
        {"vision_config", "{\"depth\": 0}", TKR_FORMAT, "depth"},
        {"vision_config", "{\"depth\": 5000}", TKR_UNSUPPORTED, "5000"},
        {"vision_config", "{\"in_channels\": 4}", TKR_UNSUPPORTED, "4 channels"},
        {"vision_config", "{\"patch_size\": 1000}", TKR_UNSUPPORTED, "1000"},
        {"vision_config", "{\"mlp_ratio\": 0.001}", TKR_FORMAT, "mlp_ratio"},
        {"vision_config", "{\"hidden_act\": \"mish\"}", TKR_UNSUPPORTED, "mish"},
    };
    static const change two_five[] = {
        {"vision_config", "{\"fullatt_block_indexes\": null}", TKR_FORMAT, "fullatt_block_indexes"},
        {"vision_config", "{\"fullatt_block_indexes\": [1, 4]}", TKR_FORMAT, "fullatt_block_indexes[1]"},
        {"vision_config", "{\"window_size\": 27}", TKR_FORMAT, "window_size"},
        {"vision_config", "{\"intermediate_size\": null}", TKR_FORMAT, "intermediate_size"},
        {"vision_config", "{\"out_hidden_size\": 63}", TKR_FORMAT, "out_hidden_size"},
    };
    static const change three[] = {
        {"vision_config", "{\"num_position_embeddings\": 99}", TKR_FORMAT, "num_position_embeddings"},
        {"vision_config", "{\"deepstack_visual_indexes\": [0, 0]}", TKR_FORMAT, "deepstack_visual_indexes[1]"},
        {"vision_config", "{\"deepstack_visual_indexes\": [4]}", TKR_FORMAT, "deepstack_visual_indexes[0]"},
        {"vision_config", "{\"deepstack_visual_indexes\": [0, 1, 2, 3, 3]}", TKR_FORMAT, "at most 4"},
        {"text_config", "{\"rope_theta\": null}", TKR_FORMAT, "rope_theta"},
        {"text_config", "{\"rope_scaling\": {\"mrope_section\": [6, 5, 5], \"mrope_interleaved\": false}}",
         TKR_UNSUPPORTED, "mrope_interleaved"},
    };
    refuse("qwen2_vl/qwen2_vl", two, sizeof two / sizeof *two);
    refuse("qwen2_5_vl/colqwen2_5", two_five, sizeof two_five / sizeof *two_five);
    refuse("qwen3_vl/qwen3_vl", three, sizeof three / sizeof *three);
}

/* ---- tensors ---- */

typedef struct renaming {
    const char *from, *to; /* beginnings */
} renaming;

/* The checkpoint with other names. */
static tkr_tensors *renamed(const char *folder, const renaming *names, size_t count) {
    char path[700];
    tkr_map map;
    tkr_tensors *set = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    uint64_t size = 0;
    const char *key;
    json_t *value, *header = NULL, *out = json_object();
    snprintf(path, sizeof path, "%s/golden/%s/model/model.safetensors", TKR_TEST_DIR, folder);
    assert_int_equal(tkr_map_open(&map, path, NULL), TKR_OK);
    memcpy(&size, map.data, sizeof size);
    header = json_loadb((const char *)map.data + 8, size, 0, NULL);
    json_object_foreach(header, key, value) {
        char name[256];
        snprintf(name, sizeof name, "%s", key);
        for (size_t i = 0; i < count; i++)
            if (strncmp(key, names[i].from, strlen(names[i].from)) == 0) {
                snprintf(name, sizeof name, "%s%s", names[i].to, key + strlen(names[i].from));
                break;
            }
        json_object_set(out, name, value);
    }
    char *text = json_dumps(out, JSON_COMPACT);
    const size_t length = (strlen(text) + 7) / 8 * 8, data = map.size - 8 - size;
    const uint64_t stored = length;
    char *file = malloc(8 + length + data);
    assert_non_null(file);
    memcpy(file, &stored, 8);
    memset(file + 8, ' ', length);
    memcpy(file + 8, text, strlen(text));
    memcpy(file + 8 + length, (const char *)map.data + 8 + size, data);
    free(text);
    json_decref(out);
    json_decref(header);
    tkr_map_close(&map);
    snprintf(path, sizeof path, "/tmp/tkr-test-qwen-vl-%ld.safetensors", (long)getpid());
    assert_int_equal(tkr_file_write_atomic(path, file, 8 + length + data, NULL), TKR_OK);
    if (tkr_tensors_open_file(&set, path, &error) != TKR_OK) fail_msg("%s", error.message);
    assert_int_equal(remove(path), 0);
    free(file);
    return set;
}

static void bind_renamed(const char *folder, const renaming *names, size_t count, const char *complaint) {
    network n;
    tkr_error error = {TKR_OK, NULL, ""};
    network_prepare(&n, folder, NULL);
    tkr_tensors_free(&n.tensors);
    n.tensors = renamed(folder, names, count);
    const tkr_status status = network_bind(&n, &(network_options){.mode = TKR_GEMM_F32}, NULL, &error);
    if (complaint ? status != TKR_FORMAT || !strstr(error.message, complaint) : status != TKR_OK)
        fail_msg("%s: %s", folder, error.message);
    network_close(&n);
}

static void names(void **state) {
    (void)state;
    static const renaming newer[] = {{"visual.", "model.visual."}, {"model.", "model.language_model."}},
                          merged[] = {{"visual.", "vlm.model.visual."},
                                      {"model.", "vlm.model.language_model."},
                                      {"custom_text_proj.", "embedding_proj_layer."}},
                          merged_old[] = {{"visual.", "vlm.visual."}, {"model.", "vlm.model."}},
                          without_head[] = {{"custom_text_proj.", "proj."}},
                          odd[] = {{"visual.merger.ln_q.weight", "visual.merger.ln.weight"}},
                          deep[] = {{"model.visual.deepstack_merger_list.2.norm.bias", "model.visual.more"}};
    bind_renamed("qwen2_vl/qwen2_vl", newer, 2, NULL);
    bind_renamed("qwen2_5_vl/colqwen2_5", newer, 2, NULL);
    bind_renamed("qwen2_5_vl/colqwen2_5", merged, 3, NULL);
    bind_renamed("qwen2_5_vl/colqwen2_5", merged_old, 2, NULL);
    bind_renamed("qwen2_5_vl/colqwen2_5", without_head, 1, "custom_text_proj.weight");
    bind_renamed("qwen2_vl/qwen2_vl", odd, 1, "merger.ln_q.weight");
    bind_renamed("qwen3_vl/qwen3_vl", deep, 1, "deepstack_merger_list.2.norm.bias");
}

/* ---- memory ---- */

static void measured_weights(void **state) {
    (void)state;
    for (size_t f = 0; f < N_FOLDERS; f++)
        for (int mode = TKR_GEMM_F32; mode < TKR_GEMM_MODES; mode++) {
            network n;
            network_prepare(&n, folders[f], NULL);
            network_check_measured(&n, (tkr_gemm_mode)mode, TKR_SENSITIVE_WEIGHT);
            network_close(&n);
        }
}

/* Matrix operations of a picture, counted by hand for the golden ColQwen: windows of 8 x 8 patches in two of its four
 * layers. */
static void operations(void **state) {
    (void)state;
    network n;
    const tkr_visual picture = {1, 10, 14};
    network_prepare(&n, "qwen2_5_vl/colqwen2_5", NULL);
    const double patches = 140, full = patches * patches, windows = 64 * 64 + 48 * 48 + 16 * 16 + 12 * 12;
    const double linear = 2 * patches * (4 * 40 * 40 + 3 * 40 * 60);
    const double expected =
        2 * patches * 1176 * 40 + 4 * linear + 2 * 4 * 40 * (full + windows) + 2 * 35 * 160 * (160 + 64);
    assert_true(fabs(tkr_vision_operations(&n.vision, &picture) - expected) < 1e-6 * expected);
    network_close(&n);
}

/* ---- faults ---- */

static tkr_status forward(network *n, void *user, const tkr_run_options *options) {
    const visual_sequence *s = user;
    tkr_ops_cpu.run_begin(n->run, options);
    tkr_tensor *x = tkr_arch_head(n->model, n->run, tkr_arch_forward(n->model, n->run, &s->batch));
    const tkr_status status = fault_status(n, x);
    tkr_ops_cpu.release(n->run, &x);
    return status;
}

static void check_faults(const char *folder, size_t index) {
    network n;
    visual_pixels p;
    static visual_sequence s;
    char model[600];
    network_prepare(&n, folder, NULL);
    snprintf(model, sizeof model, "%s/model", folder);
    visual_pixels_open(&p, folder, model);
    assert_true(visual_batch(&s, &n, &p, &index, 1));
    fault_sweep(&n, forward, &s, 100);
    visual_free(&s);
    tkr_tensors_free(&p.set);
    network_close(&n);
}

static void every_allocation_and_operation(void **state) {
    (void)state;
    check_faults("qwen2_vl/qwen2_vl", 6);
    check_faults("qwen2_5_vl/colqwen2_5", 7);
    check_faults("qwen3_vl/qwen3_vl", 9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nested_spelling),
        cmocka_unit_test(native_colqwen),
        cmocka_unit_test(published_defaults),
        cmocka_unit_test(refusals),
        cmocka_unit_test(names),
        cmocka_unit_test(measured_weights),
        cmocka_unit_test(operations),
        cmocka_unit_test(every_allocation_and_operation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
