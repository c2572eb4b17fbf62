/* SPDX-License-Identifier: Apache-2.0 */
/* MLX-quantised checkpoints: vectors against the reference on the dequantised weights, in f32 and with 4-bit weights
 * kept as they are; what config.json and the tensors contradict each other in is refused. */
#include "network.h"

static const char *const cases[] = {"quant/mlx-bert-mxfp4",  "quant/mlx-bert-q4-g64",  "quant/mlx-bert-q8-g64",
                                    "quant/mlx-qwen3-mixed", "quant/mlx-qwen3-q4-g64", "quant/mlx-qwen3-q8-g64"};

static double cosine(const float *a, const float *b, size_t n) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < n; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return ab / sqrt(aa * bb);
}

static void pooled(network *n, float *out, const sequence *s) {
    tkr_pool_mode modes[TKR_POOL_MODES];
    size_t n_modes = 0;
    const tkr_run_options options = {0};
    const char *text = json_string_value(json_object_get(n->cases, "pooling"));
    assert_int_equal(tkr_pooling_parse(modes, &n_modes, text, NULL), TKR_OK);
    tkr_ops_cpu.run_begin(n->run, &options);
    tkr_tensor *x = tkr_arch_forward(n->model, n->run, &s->batch);
    tkr_tensor *y = tkr_ops_cpu.pool(n->run, x, s->batch.spans, 1, modes, n_modes);
    assert_int_equal(tkr_ops_cpu.read(n->run, out, y), TKR_OK);
}

static double least_cosine(const char *folder, const network_options *options) {
    network n;
    static sequence s;
    double least = 1;
    float got[256];
    network_open(&n, folder, options);
    assert_true(n.config.hidden_size <= 256 && network_inputs(&n) > 0);
    for (size_t i = 0; i < network_inputs(&n); i++) {
        const tkr_tensor_view *want = network_expected(&n, i, "embedding");
        assert_non_null(want);
        assert_int_equal(want->n_elements, n.config.hidden_size);
        sequence_of_case(&s, &n, i);
        pooled(&n, got, &s);
        least = fmin(least, cosine(got, want->data, want->n_elements));
    }
    network_close(&n);
    return least;
}

static void check_mode(tkr_gemm_mode mode, const char *cpu, double limit) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const double least = least_cosine(cases[i], &(network_options){.mode = mode, .cpu = cpu});
        print_message("%s: least cosine 1 - %.1e (limit %g)\n", cases[i], 1 - least, limit);
        assert_true(least >= limit);
    }
}

static void goldens_f32(void **state) {
    (void)state;
    check_mode(TKR_GEMM_F32, NULL, 1 - 1e-10);
    check_mode(TKR_GEMM_F32, "generic", 1 - 1e-10);
}

static void goldens_bf16(void **state) {
    (void)state;
    check_mode(TKR_GEMM_BF16, NULL, 0.9999);
}

/* The checkpoint's own groups with 8-bit activations. */
static void goldens_q4(void **state) {
    (void)state;
    check_mode(TKR_GEMM_Q4, NULL, 0.999);
    check_mode(TKR_GEMM_Q4, "generic", 0.999);
}

static void hidden_states_f32(void **state) {
    (void)state;
    static sequence s;
    const tkr_run_options plain = {0};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        network n;
        size_t checked = 0;
        network_open(&n, cases[c], &(network_options){.mode = TKR_GEMM_F32});
        for (size_t i = 0; i < network_inputs(&n); i++) {
            const tkr_tensor_view *want = network_expected(&n, i, "last_hidden_state");
            if (!want) continue;
            sequence_of_case(&s, &n, i);
            float *got = network_hidden(&n, &s, &plain);
            assert_true(relative_l2(got, want->data, want->n_elements) <= 1e-5);
            free(got);
            checked++;
        }
        assert_true(checked > 0);
        network_close(&n);
    }
}

/* ---- contradictions ---- */

static void refuse(const char *folder, const char *quantization, tkr_status status, const char *part) {
    network n;
    tkr_error error = {TKR_OK, NULL, ""};
    json_t *json = quantization ? json_loads(quantization, 0, NULL) : NULL;
    assert_true(!quantization || json);
    network_prepare(&n, folder, NULL);
    const tkr_status got = network_bind(&n, &(network_options){.mode = TKR_GEMM_F32}, json, &error);
    if (got != status || !strstr(error.message, part))
        fail_msg("%s: status %d, \"%s\"; expected status %d with \"%s\"", quantization ? quantization : "none",
                 (int)got, error.message, (int)status, part);
    json_decref(json);
    network_close(&n);
}

static void contradictions(void **state) {
    (void)state;
    const char *q4 = "quant/mlx-bert-q4-g64", *mx = "quant/mlx-bert-mxfp4";
    refuse(q4, NULL, TKR_FORMAT, "no \"quantization\"");
    refuse(q4, "{\"group_size\": 64, \"bits\": 8}", TKR_FORMAT, "shape");
    refuse(q4, "{\"group_size\": 32, \"bits\": 4}", TKR_FORMAT, "scales");
    refuse(q4, "{\"group_size\": 128, \"bits\": 4}", TKR_FORMAT, "64 columns are no multiple of the group of 128");
    refuse(q4, "{\"group_size\": 64, \"bits\": 7}", TKR_UNSUPPORTED, "7 bits");
    refuse(q4, "{\"group_size\": 48, \"bits\": 4}", TKR_UNSUPPORTED, "groups of 48");
    refuse(q4, "{\"group_size\": 64, \"bits\": 99}", TKR_FORMAT, "bits");
    refuse(q4, "{\"group_size\": 64}", TKR_FORMAT, "bits");
    refuse(q4, "{\"bits\": 4}", TKR_FORMAT, "group_size");
    refuse(q4, "{\"group_size\": 64, \"bits\": 4, \"mode\": \"fp2\"}", TKR_UNSUPPORTED, "fp2");
    refuse(q4, "{\"group_size\": 64, \"bits\": 4, \"embeddings.word_embeddings\": false}", TKR_FORMAT,
           "embeddings.word_embeddings");
    refuse(q4, "{\"group_size\": 32, \"bits\": 4, \"mode\": \"mxfp4\"}", TKR_FORMAT, "scales");
    refuse(mx, "{\"group_size\": 32, \"bits\": 4}", TKR_FORMAT, "scales"); /* affine: they would be floats */
    refuse(mx, "{\"group_size\": 64, \"bits\": 4, \"mode\": \"mxfp4\"}", TKR_UNSUPPORTED, "mxfp4");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens_f32),       cmocka_unit_test(goldens_bf16),   cmocka_unit_test(goldens_q4),
        cmocka_unit_test(hidden_states_f32), cmocka_unit_test(contradictions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
