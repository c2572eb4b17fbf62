/* SPDX-License-Identifier: Apache-2.0 */
/* SigLIP and CLIP: configurations that are read and refused, what weights take, interpolated positions, the N-th
 * allocation failed and a stop at the N-th operation. */
#include "fault.h"
#include "two_towers.h"

static const char *const folders[] = {"siglip/siglip", "siglip/siglip2", "siglip/siglip_bf16", "clip/clip"};
enum { N_FOLDERS = sizeof folders / sizeof *folders };

/* ---- configurations ---- */

static tkr_status configure(network *n, const char *model_type, const char *text, tkr_error *error) {
    json_error_t where;
    json_t *json = json_loads(text, 0, &where);
    if (!json) fail_msg("%s: %s", text, where.text);
    memset(&n->config, 0, sizeof n->config);
    memset(&n->vision, 0, sizeof n->vision);
    const tkr_arch *arch = tkr_arch_find(model_type);
    assert_non_null(arch);
    *error = (tkr_error){TKR_OK, NULL, ""};
    tkr_status status = arch->configure(&n->config, json, "config.json", error);
    if (status == TKR_OK) status = arch->vision->configure(&n->vision, &n->config, json, "config.json", error);
    json_decref(json);
    return status;
}

/* What published files leave out: google/siglip-base-patch16-224 and openai/clip-vit-base-patch32. */
static void defaults_of_the_reference(void **state) {
    (void)state;
    network n;
    tkr_error error;
    assert_int_equal(configure(&n, "siglip", "{\"text_config\": {}, \"vision_config\": {}}", &error), TKR_OK);
    assert_int_equal(n.config.vocab_size, 32000);
    assert_int_equal(n.config.max_positions, 64);
    assert_int_equal(n.config.head_dim, 64);
    assert_int_equal(n.config.activation, TKR_ACT_GELU_TANH);
    assert_float_equal(n.config.norm_eps, 1e-6, 1e-12);
    assert_false(n.config.causal);
    assert_int_equal(n.vision.n_positions, 196);
    assert_int_equal(n.vision.patch_cols, 768);
    assert_int_equal(n.vision.head_size, 768);
    assert_int_equal(configure(&n, "clip", "{\"text_config\": {}, \"vision_config\": {}}", &error), TKR_OK);
    assert_int_equal(n.config.hidden_size, 512);
    assert_int_equal(n.config.max_positions, 77);
    assert_int_equal(n.config.activation, TKR_ACT_QUICK_GELU);
    assert_float_equal(n.config.norm_eps, 1e-5, 1e-12);
    assert_true(n.config.causal);
    assert_int_equal(n.vision.n_positions, 50);
    assert_int_equal(n.vision.head_size, 512);
    assert_int_equal(n.vision.end_token, 49407);
    /* siglip-so400m-patch14-384: a size that is no multiple of the patch. */
    static const char so400m[] = "{\"text_config\": {\"hidden_size\": 1152, \"num_attention_heads\": 16},"
                                 "\"vision_config\": {\"hidden_size\": 1152, \"num_attention_heads\": 16,"
                                 "\"image_size\": 384, \"patch_size\": 14}}";
    assert_int_equal(configure(&n, "siglip", so400m, &error), TKR_OK);
    assert_int_equal(n.vision.n_positions, 729);
    /* Files of 2022 have the values that count in a section of another name. */
    static const char older[] = "{\"text_config\": {\"hidden_size\": 99}, \"text_config_dict\": {\"hidden_size\": 768},"
                                "\"vision_config_dict\": null, \"vision_config\": {}}";
    assert_int_equal(configure(&n, "clip", older, &error), TKR_OK);
    assert_int_equal(n.config.hidden_size, 768);
}

static void refused_configurations(void **state) {
    (void)state;
    static const struct {
        const char *model_type, *json, *says;
    } cases[] = {
        {"siglip", "{\"vision_config\": {}}", "text_config"},
        {"siglip", "{\"text_config\": {}, \"vision_config\": 3}", "vision_config"},
        {"siglip", "{\"text_config\": {\"projection_size\": 512}, \"vision_config\": {}}", "projection_size"},
        {"siglip", "{\"text_config\": {\"hidden_size\": 512, \"num_attention_heads\": 8}, \"vision_config\": {}}",
         "vectors of 512 values"},
        {"siglip", "{\"text_config\": {}, \"vision_config\": {\"vision_use_head\": false}}", "vision_use_head"},
        {"siglip", "{\"text_config\": {}, \"vision_config\": {\"num_channels\": 1}}", "num_channels"},
        {"siglip", "{\"text_config\": {}, \"vision_config\": {\"patch_size\": 256}}", "patch_size"},
        {"siglip", "{\"text_config\": {\"hidden_act\": \"mish\"}, \"vision_config\": {}}", "mish"},
        {"clip", "{\"text_config\": {\"num_attention_heads\": 7}, \"vision_config\": {}}", "num_attention_heads"},
        {"clip", "{\"text_config\": {\"vocab_size\": 100}, \"vision_config\": {}}", "eos_token_id"},
        {"clip", "{\"text_config\": {\"eos_token_id\": 50000}, \"vision_config\": {}}", "eos_token_id"},
        {"clip", "{\"text_config\": {}, \"vision_config\": {\"image_size\": \"big\"}}", "image_size"},
        {"clip", "{\"text_config\": {}, \"vision_config\": {}, \"projection_dim\": 0}", "projection_dim"},
    };
    network n;
    tkr_error error;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const tkr_status status = configure(&n, cases[i].model_type, cases[i].json, &error);
        if (status != TKR_FORMAT && status != TKR_UNSUPPORTED) fail_msg("%s: status %d", cases[i].json, status);
        if (!strstr(error.message, cases[i].says)) fail_msg("%s: %s", cases[i].json, error.message);
    }
}

static void where_texts_end(void **state) {
    (void)state;
    const tkr_arch *clip = tkr_arch_find("clip");
    static const int32_t ids[] = {0, 8, 5, 9, 2, 9, 5, 7};
    const tkr_vision_config first = {.end_token = 5}, highest = {.end_token = -1}, absent = {.end_token = 6};
    assert_int_equal(clip->vision->text_end(&first, ids, 8), 3);
    assert_int_equal(clip->vision->text_end(&highest, ids, 8), 4);
    assert_int_equal(clip->vision->text_end(&highest, ids, 3), 2);
    assert_int_equal(clip->vision->text_end(&absent, ids, 8), 1); /* as argmax of nothing found */
    assert_null(tkr_arch_find("siglip")->vision->text_end);
}

/* ---- interpolated positions ---- */

static void interpolated_grids(void **state) {
    (void)state;
    float table[1 + 4 * 4][2], out[64][2], scratch[4];
    for (size_t i = 0; i < 17; i++) {
        table[i][0] = (float)(i * i % 13);
        table[i][1] = i ? 3.5f : -8; /* the row before the grid is none of it */
    }
    const tkr_matrix matrix = {.data = table, .dtype = TKR_DTYPE_F32, .rows = 17, .cols = 2};
    tkr_grid grid = {.table = &matrix, .first_row = 1, .side = 4, .h = 4, .w = 4};
    tkr_grid_interpolate(out[0], &grid, 0, 16, scratch);
    for (size_t i = 0; i < 16; i++) assert_float_equal(out[i][0], table[1 + i][0], 1e-6);
    grid.h = 8;
    grid.w = 8;
    tkr_grid_interpolate(out[0], &grid, 0, 64, scratch);
    for (size_t i = 0; i < 64; i++) assert_float_equal(out[i][1], 3.5, 1e-6);
    /* Output (2, 3) of 8 x 8 lies at (0.75, 1.25) of the table: the kernel of a = -0.75, evaluated by hand. */
    static const double wy[4] = {-0.03515625, 0.26171875, 0.87890625, -0.10546875},
                        wx[4] = {-0.10546875, 0.87890625, 0.26171875, -0.03515625};
    double want = 0;
    for (size_t a = 0; a < 4; a++)
        for (size_t b = 0; b < 4; b++) {
            const size_t row = a == 0 ? 0 : a - 1; /* rows -1 (repeated), 0, 1, 2; columns 0 to 3 */
            want += wy[a] * wx[b] * (double)table[1 + row * 4 + b][0];
        }
    assert_float_equal(out[2 * 8 + 3][0], want, 1e-5);
    float again[3][2];
    tkr_grid_interpolate(again[0], &grid, 18, 3, scratch);
    assert_memory_equal(again, out[18], sizeof again);
}

/* ---- weights ---- */

static void measured_weights(void **state) {
    (void)state;
    for (size_t i = 0; i < N_FOLDERS; i++)
        for (int mode = TKR_GEMM_F32; mode < TKR_GEMM_MODES; mode++) {
            network n;
            network_prepare(&n, folders[i], NULL);
            network_check_measured(&n, (tkr_gemm_mode)mode, 0);
            network_close(&n);
        }
}

/* A copy of a tensor list with one tensor's shape changed is what MLX's conversion of a convolution looks like. */
static void channels_last(void **state) {
    (void)state;
    network n;
    tkr_error error = {TKR_OK, NULL, ""};
    network_prepare(&n, "siglip/siglip", NULL);
    const tkr_tensor_view *view = tkr_tensors_find(n.tensors, "vision_model.embeddings.patch_embedding.weight");
    assert_non_null(view);
    int64_t *shape = (int64_t *)(uintptr_t)view->shape; /* the set is this test's own */
    shape[1] = 16;
    shape[3] = 3;
    const network_options options = {.mode = TKR_GEMM_F32};
    assert_int_equal(network_bind(&n, &options, NULL, &error), TKR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "channels last"));
    network_close(&n);
}

/* ---- faults ---- */

typedef struct both {
    pictures pictures;
    sequence text;
} both;

/* Pictures, then a text. */
static tkr_status forward(network *n, void *user, const tkr_run_options *options) {
    static const tkr_pool_mode last = TKR_POOL_LASTTOKEN;
    const both *b = user;
    const tkr_batch batch = pictures_batch(&b->pictures);
    const tkr_ops *ops = &tkr_ops_cpu;
    ops->run_begin(n->run, options);
    tkr_tensor *x = tkr_arch_encode(n->model, n->run, &batch);
    tkr_status status = fault_status(n, x);
    ops->release(n->run, &x);
    if (status != TKR_OK) return status;
    x = tkr_arch_forward(n->model, n->run, &b->text.batch);
    tkr_tensor *pooled = ops->pool(n->run, x, &b->text.span, 1, &last, 1);
    ops->release(n->run, &x);
    x = tkr_arch_head(n->model, n->run, pooled);
    status = fault_status(n, x);
    ops->release(n->run, &x);
    return status;
}

static void check_faults(const char *folder) {
    network n;
    static both b;
    memset(&b, 0, sizeof b);
    network_prepare(&n, folder, NULL);
    pictures_add_random(&b.pictures, &n, 4, 4);
    pictures_add_random(&b.pictures, &n, 3, 1);
    for (size_t t = 0; t < 5; t++) b.text.ids[t] = (int32_t)t;
    sequence_finish(&b.text, &n.config, 5);
    fault_sweep(&n, forward, &b, 50);
    pictures_free(&b.pictures);
    network_close(&n);
}

static void every_allocation_and_operation(void **state) {
    (void)state;
    for (size_t i = 0; i < N_FOLDERS; i++) check_faults(folders[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_of_the_reference),
        cmocka_unit_test(refused_configurations),
        cmocka_unit_test(where_texts_end),
        cmocka_unit_test(interpolated_grids),
        cmocka_unit_test(measured_weights),
        cmocka_unit_test(channels_last),
        cmocka_unit_test(every_allocation_and_operation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
