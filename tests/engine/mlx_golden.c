/* SPDX-License-Identifier: Apache-2.0 */
/* Every golden text case through the engine on MLX's CPU device: plain checkpoints of every architecture in f32 and
 * bf16, MLX's and GGUF's quantised ones, the real MiniLM; the linear layers of every MLX format. */
#include <math.h>

#include "core/mem.h"
#include "core/module.h"
#include "golden.h"
#include "models/model.h"
#include "ops/mlx/module.h"

enum { MAX_INPUTS = 64 };

typedef struct variant {
    tkr_precision precision;
    tkr_quantization quantization;
    double limit; /* cosine distance */
} variant;

static variant at_hand;

/* One case is built to amplify errors (tests/golden/README.md), and MLX rounds every product to bf16 once more than the
 * CPU backend, whose limit is 5e-3. */
static double limit_of(const char *folder) {
    const bool sensitive = strstr(folder, "modernbert-cls") && at_hand.precision == TKR_PRECISION_BF16;
    return sensitive ? 2e-2 : at_hand.limit;
}

static double distance(const tkr_result *result, size_t i, const golden *g) {
    size_t n = 0;
    const float *want = golden_vector(g, i, &n);
    assert_int_equal(tkr_result_dimensions(result), n);
    return 1 - tkr_cosine(tkr_result_get(result, i).rows, want, n);
}

/* Twice: the same batch gives the same bits. */
static void check_model(const char *folder, const golden *g, const tkr_embed_options *options) {
    embedder e = {0};
    tkr_input inputs[MAX_INPUTS];
    double worst = 0;
    const embedder_options how = {
        .precision = at_hand.precision, .quantization = at_hand.quantization, .threads = 2, .device = "mlx-cpu"};
    assert_true(g->n <= MAX_INPUTS);
    embedder_open(&e, g->model, &how);
    for (size_t i = 0; i < g->n; i++) inputs[i] = golden_text(g, i);
    tkr_result *result = embed_all(&e, inputs, g->n, options), *again = embed_all(&e, inputs, g->n, options);
    assert_non_null(strstr(tkr_result_fingerprint(result), "mlx"));
    for (size_t i = 0; i < g->n; i++) {
        worst = fmax(worst, distance(result, i, g));
        assert_memory_equal(tkr_result_get(result, i).rows, tkr_result_get(again, i).rows,
                            tkr_result_dimensions(result) * sizeof(float));
    }
    print_message("%s: largest cosine distance %.2e (limit %.0e)\n", folder, worst, limit_of(folder));
    assert_true(worst <= limit_of(folder));
    tkr_result_free(&result);
    tkr_result_free(&again);
    embedder_close(&e);
}

static void run_case(const char *folder) {
    golden g;
    golden_open(&g, folder);
    check_model(folder, &g, NULL);
    golden_close(&g);
}

static void run_all(void) {
    for (const tkr_arch *const *arch = tkr_archs(); *arch; arch++)
        if (!(*arch)->vision && golden_each((*arch)->name, run_case) == 0)
            fail_msg("architecture \"%s\" has no golden case", (*arch)->name);
}

static void texts_f32(void **state) {
    (void)state;
    at_hand = (variant){TKR_PRECISION_F32, TKR_QUANTIZATION_NONE, 1e-6};
    run_all();
}

static void texts_bf16(void **state) {
    (void)state;
    at_hand = (variant){TKR_PRECISION_BF16, TKR_QUANTIZATION_NONE, 1e-3};
    run_all();
}

static void real_minilm(void **state) {
    (void)state;
    golden g;
    golden_open(&g, "minilm");
    snprintf(g.model, sizeof g.model, "%s", minilm_reference());
    at_hand = (variant){TKR_PRECISION_F32, TKR_QUANTIZATION_NONE, 1e-6};
    check_model("minilm", &g, NULL);
    golden_close(&g);
}

/* ---- quantised checkpoints ---- */

static const char *const mlx_folders[] = {"mlx-bert-mxfp4",  "mlx-bert-q4-g64",  "mlx-bert-q8-g64",
                                          "mlx-qwen3-mixed", "mlx-qwen3-q4-g64", "mlx-qwen3-q8-g64"},
                         *const gguf_folders[] = {"gguf-bert-f32",  "gguf-bert-f16",  "gguf-bert-q8_0",
                                                  "gguf-bert-q4_0", "gguf-qwen3-f16", "gguf-qwen3-q8_0",
                                                  "gguf-qwen3-k"};
enum { N_MLX = sizeof mlx_folders / sizeof *mlx_folders, N_GGUF = sizeof gguf_folders / sizeof *gguf_folders };

static void run_quantized(const char *name) {
    golden g;
    char relative[64];
    tkr_embed_options options;
    snprintf(relative, sizeof relative, "quant/%s", name);
    golden_open(&g, relative);
    if (strncmp(name, "gguf", 4) == 0) snprintf(g.model, sizeof g.model, "%s/model.gguf", g.folder);
    tkr_embed_options_init(&options);
    options.max_tokens = (size_t)json_integer_value(json_object_get(g.cases, "max_seq_length"));
    check_model(name, &g, &options);
    golden_close(&g);
}

static void run_quantized_all(variant v) {
    at_hand = v;
    for (size_t i = 0; i < N_MLX; i++) run_quantized(mlx_folders[i]);
    for (size_t i = 0; i < N_GGUF; i++) run_quantized(gguf_folders[i]);
}

static void quantized_f32(void **state) {
    (void)state;
    run_quantized_all((variant){TKR_PRECISION_F32, TKR_QUANTIZATION_NONE, 1e-6});
}

static void quantized_bf16(void **state) {
    (void)state;
    run_quantized_all((variant){TKR_PRECISION_BF16, TKR_QUANTIZATION_NONE, 1e-3});
}

/* In q8 and q4 the groups of the checkpoint stay what they are; the rest is quantised here. */
static void quantized_here(void **state) {
    (void)state;
    run_quantized_all((variant){TKR_PRECISION_AUTO, TKR_QUANTIZATION_Q8, 1e-3});
    at_hand = (variant){TKR_PRECISION_AUTO, TKR_QUANTIZATION_Q4, 1e-3};
    for (size_t i = 0; i < N_MLX; i++) run_quantized(mlx_folders[i]);
    run_quantized("gguf-bert-q4_0");
}

/* ---- linear layers of every MLX format ---- */

enum { ROWS = 16, COLS = 256, INPUTS = 5 };

typedef struct layers {
    const tkr_mlx_module *api;
    tkr_backend *backend;
    tkr_run *run;
    tkr_tensors *source;
} layers;

static tkr_tensors *open_file(const char *name) {
    char path[700];
    tkr_tensors *set = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    snprintf(path, sizeof path, "%s/golden/quant/mlx/%s", TKR_TEST_DIR, name);
    if (tkr_tensors_open_file(&set, path, &error) != TKR_OK) fail_msg("%s", error.message);
    return set;
}

static const void *data_of(const tkr_tensors *set, const char *name) {
    const tkr_tensor_view *view = tkr_tensors_find(set, name);
    assert_non_null(view);
    return view->data;
}

static void check_layer(const layers *l, const char *name, tkr_group_mode mode, unsigned bits, unsigned group) {
    tkr_tensors *set = open_file(name);
    const tkr_ops *o = l->api->ops;
    const tkr_source part = {"linear.weight",
                             {.data = data_of(set, "linear.weight"),
                              .dtype = TKR_DTYPE_U32,
                              .rows = ROWS,
                              .cols = COLS,
                              .mode = mode,
                              .bits = bits,
                              .group_size = group,
                              .scale_dtype = tkr_tensors_find(set, "linear.scales")->dtype,
                              .scales = data_of(set, "linear.scales"),
                              .biases = mode == TKR_GROUP_AFFINE ? data_of(set, "linear.biases") : NULL}};
    const tkr_linear_spec spec = {.parts = &part, .n_parts = 1};
    const tkr_run_options options = {0};
    const float *y = data_of(set, "y"), *y_abs = data_of(set, "y_abs");
    float got[INPUTS * ROWS];
    tkr_weight *weight = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    if (o->linear(&weight, l->backend, &spec, &error) != TKR_OK) fail_msg("%s: %s", name, error.message);
    o->run_begin(l->run, &options);
    tkr_tensor *x = o->input(l->run, data_of(l->source, "x"), INPUTS, COLS);
    assert_int_equal(o->read(l->run, got, o->apply(l->run, x, weight, NULL)), TKR_OK);
    for (size_t i = 0; i < INPUTS * ROWS; i++)
        if (!(fabs((double)got[i] - (double)y[i]) <= 1e-6 * (double)y_abs[i]))
            fail_msg("%s: y[%zu] is %.9g, expected %.9g", name, i, (double)got[i], (double)y[i]);
    o->weight_free(&weight);
    tkr_tensors_free(&set);
}

static void layers_of_every_format(void **state) {
    (void)state;
    static const unsigned bits[] = {2, 3, 4, 5, 6, 8};
    static const char *const types[] = {"f32", "f16", "bf16"};
    tkr_module *module = NULL;
    tkr_module_fn *entry = NULL;
    char *path = NULL, name[64];
    assert_int_equal(tkr_module_find(&path, "libtkr-mlx.so", "TKR_MLX_MODULE", NULL), TKR_OK);
    assert_int_equal(tkr_module_open(&module, path, NULL), TKR_OK);
    assert_int_equal(tkr_module_symbol(&entry, module, TKR_MLX_ENTRY, NULL), TKR_OK);
    tkr_free(path);
    layers l = {.api = ((tkr_mlx_module_fn *)entry)(), .source = open_file("source.safetensors")};
    const tkr_mlx_options options = {.gpu = false};
    assert_int_equal(l.api->backend_create(&l.backend, &options, NULL), TKR_OK);
    assert_int_equal(l.api->ops->run_create(&l.run, l.backend, NULL), TKR_OK);
    for (size_t b = 0; b < 6; b++)
        for (unsigned group = 32; group <= 128; group *= 2)
            for (size_t t = 0; t < 3; t++) {
                snprintf(name, sizeof name, "affine_b%u_g%u_%s.safetensors", bits[b], group, types[t]);
                check_layer(&l, name, TKR_GROUP_AFFINE, bits[b], group);
            }
    check_layer(&l, "mxfp4.safetensors", TKR_GROUP_MXFP4, 4, 32);
    check_layer(&l, "mxfp8.safetensors", TKR_GROUP_MXFP8, 8, 32);
    check_layer(&l, "nvfp4.safetensors", TKR_GROUP_NVFP4, 4, 16);
    l.api->ops->run_free(&l.run);
    l.api->backend_free(&l.backend);
    tkr_tensors_free(&l.source);
    tkr_module_close(&module);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_f32),
        cmocka_unit_test(texts_bf16),
        cmocka_unit_test(real_minilm),
        cmocka_unit_test(quantized_f32),
        cmocka_unit_test(quantized_bf16),
        cmocka_unit_test(quantized_here),
        cmocka_unit_test(layers_of_every_format),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
