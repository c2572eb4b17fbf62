/* SPDX-License-Identifier: Apache-2.0 */
/* What the architectures read from config.json: variants of spelling, derived values, and what they refuse by name. */
#include "models/blocks.h"
#include "network.h"

static json_t *config_of(const char *folder) {
    char path[700];
    json_t *json = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    snprintf(path, sizeof path, "%s/golden/%s/model/config.json", TKR_TEST_DIR, folder);
    if (tkr_json_file(&json, path, &error) != TKR_OK) fail_msg("%s", error.message);
    return json;
}

static void change(json_t *json, const char *changes) {
    json_t *other = json_loads(changes, 0, NULL);
    assert_non_null(other);
    assert_int_equal(json_object_update(json, other), 0);
    json_decref(other);
}

/* The golden's config.json with some fields changed. */
static tkr_arch_config configured(const char *folder, const char *changes) {
    tkr_arch_config config;
    tkr_error error = {TKR_OK, NULL, ""};
    json_t *json = config_of(folder);
    memset(&config, 0, sizeof config);
    change(json, changes);
    const tkr_arch *arch = tkr_arch_find(json_string_value(json_object_get(json, "model_type")));
    assert_non_null(arch);
    if (arch->configure(&config, json, "config.json", &error) != TKR_OK) fail_msg("%s: %s", folder, error.message);
    json_decref(json);
    return config;
}

static void refused(const char *folder, const char *changes, tkr_status status, const char *part) {
    tkr_arch_config config;
    tkr_error error = {TKR_OK, NULL, ""};
    json_t *json = config_of(folder);
    memset(&config, 0, sizeof config);
    change(json, changes);
    const tkr_arch *arch = tkr_arch_find(json_string_value(json_object_get(json, "model_type")));
    const tkr_status got = arch->configure(&config, json, "config.json", &error);
    if (got != status || !strstr(error.message, part) || !strstr(error.message, "config.json"))
        fail_msg("%s %s: status %d, \"%s\"; expected status %d with \"%s\"", folder, changes, (int)got, error.message,
                 (int)status, part);
    json_decref(json);
}

static void roberta_positions(void **state) {
    (void)state;
    const tkr_arch_config c = configured("roberta/roberta", "{}");
    assert_true(c.positions_from_pad);
    assert_int_equal(c.pad_id, 1);
    assert_int_equal(c.max_positions, 64);
    assert_int_equal(configured("xlm_roberta/xlmr-m3", "{\"max_position_embeddings\": 8194}").max_positions, 8192);
    assert_int_equal(configured("mpnet/mpnet", "{\"pad_token_id\": 7}").pad_id, 1); /* the reference fixes it */
    refused("roberta/roberta", "{\"pad_token_id\": 65}", TKR_FORMAT, "pad_token_id");
    refused("roberta/roberta", "{\"is_decoder\": true}", TKR_UNSUPPORTED, "is_decoder");
    refused("bert/bert-mean", "{\"position_embedding_type\": \"relative_key\"}", TKR_UNSUPPORTED, "relative_key");
    refused("mpnet/mpnet", "{\"relative_attention_num_buckets\": 64}", TKR_UNSUPPORTED,
            "relative_attention_num_buckets");
}

/* The older keys and the newer ones say the same. */
static void modernbert_spellings(void **state) {
    (void)state;
    const char *newer = "modernbert/modernbert-cls";
    const tkr_arch_config a = configured(newer, "{}"),
                          b = configured(newer, "{\"layer_types\": null, \"rope_parameters\": null}"),
                          c = configured(
                              newer, "{\"layer_types\": null, \"rope_parameters\": null, \"global_rope_theta\": 5e5, "
                                     "\"local_rope_theta\": 77, \"global_attn_every_n_layers\": 2, "
                                     "\"local_attention\": 31, \"attention_bias\": true, \"norm_bias\": true}");
    assert_memory_equal(&a, &b, sizeof a);
    assert_int_equal(a.window, 8);
    for (size_t i = 0; i < a.n_layers; i++) assert_int_equal(tkr_arch_is_local(&a, i), i % 3 != 0);
    assert_int_equal(c.window, 15);
    assert_true(c.rope_theta[0] == 5e5f && c.rope_theta[1] == 77.0f);
    assert_true(c.qkv_bias && c.output_bias && c.norm_bias && !c.mlp_bias);
    for (size_t i = 0; i < c.n_layers; i++) assert_int_equal(tkr_arch_is_local(&c, i), i % 2 != 0);
    refused(newer, "{\"layer_types\": [\"full_attention\"]}", TKR_FORMAT, "layer_types");
    refused(newer, "{\"layer_types\": [\"full_attention\", \"chunked_attention\", \"x\", \"x\", \"x\"]}",
            TKR_UNSUPPORTED, "chunked_attention");
    refused(newer, "{\"hidden_activation\": \"mish\"}", TKR_UNSUPPORTED, "mish");
}

/* config.json of the published nomic checkpoints, and the same network in transformers' words. */
#define NOMIC_PUBLISHED                                                                                           \
    "\"n_embd\": 48, \"n_layer\": 3, \"n_head\": 4, \"n_inner\": 96, \"n_positions\": 256, "                      \
    "\"layer_norm_epsilon\": 1e-12, \"rotary_emb_base\": 1000, \"rotary_emb_fraction\": 1.0, "                    \
    "\"rotary_emb_interleaved\": false, \"rotary_emb_scale_base\": null, \"activation_function\": \"swiglu\", "   \
    "\"prenorm\": false, \"parallel_block\": false, \"causal\": false, \"use_rms_norm\": false, "                 \
    "\"scale_attn_by_inverse_layer_idx\": false, \"scale_attn_weights\": true, \"max_trained_positions\": 2048, " \
    "\"hidden_size\": null, \"num_hidden_layers\": null, \"num_attention_heads\": null, \"head_dim\": null, "     \
    "\"intermediate_size\": null, \"max_position_embeddings\": null, \"layer_norm_eps\": null, "                  \
    "\"hidden_act\": null, \"rope_parameters\": null"
#define NOMIC_BIASES "\"qkv_proj_bias\": false, \"mlp_fc1_bias\": false, \"mlp_fc2_bias\": false"

static void nomic_spellings(void **state) {
    (void)state;
    const char *folder = "nomic_bert/nomic-bert";
    const tkr_arch_config ours = configured(folder, "{}"),
                          published = configured(folder, "{" NOMIC_PUBLISHED ", " NOMIC_BIASES "}");
    assert_memory_equal(&ours, &published, sizeof ours);
    assert_true(ours.rope_theta[0] == 1000.0f && ours.gated && ours.activation == TKR_ACT_SILU);
    /* Biases are there unless it says otherwise. */
    const tkr_arch_config biased = configured(folder, "{" NOMIC_PUBLISHED "}");
    assert_true(biased.qkv_bias && biased.output_bias && biased.mlp_bias);
    const tkr_arch_config half = configured(folder, "{" NOMIC_PUBLISHED ", \"rotary_emb_fraction\": 0.5}");
    assert_int_equal(half.rotary_dim, 6);
    const tkr_arch_config scaled =
        configured(folder, "{" NOMIC_PUBLISHED ", \"n_positions\": 8192, \"rotary_scaling_factor\": 2}");
    assert_int_equal(scaled.max_positions, 2048);
    refused(folder, "{" NOMIC_PUBLISHED ", \"prenorm\": true}", TKR_UNSUPPORTED, "prenorm");
    refused(folder, "{" NOMIC_PUBLISHED ", \"rotary_emb_interleaved\": true}", TKR_UNSUPPORTED,
            "rotary_emb_interleaved");
    refused(folder, "{" NOMIC_PUBLISHED ", \"activation_function\": \"geglu\"}", TKR_UNSUPPORTED, "geglu");
    refused(folder, "{" NOMIC_PUBLISHED ", \"mlp_fc1_bias\": false}", TKR_UNSUPPORTED, "mlp_fc1_bias");
    refused(folder, "{" NOMIC_PUBLISHED ", \"rotary_emb_fraction\": 0.0}", TKR_UNSUPPORTED, "rotary_emb_fraction");
    refused(folder, "{" NOMIC_PUBLISHED ", \"num_experts\": 8}", TKR_UNSUPPORTED, "num_experts");
    refused(folder, "{\"n_embd\": 48}", TKR_FORMAT, "n_layer");
}

static void gemma_windows(void **state) {
    (void)state;
    const char *folder = "gemma3_text/gemma3-dense";
    const tkr_arch_config both = configured(folder, "{}"),
                          causal = configured(folder, "{\"use_bidirectional_attention\": false}"),
                          pattern = configured(folder, "{\"layer_types\": null, \"_sliding_window_pattern\": 2}"),
                          older = configured(
                              folder, "{\"rope_parameters\": null, \"rope_theta\": 5e6, \"rope_local_base_freq\": "
                                      "2e4, \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 8}}");
    assert_int_equal(both.window, 8);
    assert_false(both.causal);
    assert_true(both.norm_offset == 1.0f);
    assert_true(fabs((double)both.attention_scale - 1 / sqrt(20.0)) < 1e-7);
    assert_true(fabs((double)both.embedding_scale - sqrt(48.0)) < 1e-6);
    assert_int_equal(causal.window, 15);
    assert_true(causal.causal);
    for (size_t i = 0; i < pattern.n_layers; i++) assert_int_equal(tkr_arch_is_local(&pattern, i), i % 2 == 0);
    assert_true(older.rope_theta[0] == 5e6f && older.rope_theta[1] == 2e4f);
    assert_true(older.rope_factor[0] == 8.0f && older.rope_factor[1] == 1.0f);
    refused(folder, "{\"attn_logit_softcapping\": 50.0}", TKR_UNSUPPORTED, "attn_logit_softcapping");
    refused(folder, "{\"rope_parameters\": {\"rope_type\": \"yarn\"}}", TKR_UNSUPPORTED, "yarn");
    refused(folder, "{\"rope_parameters\": {\"partial_rotary_factor\": 0.5}}", TKR_UNSUPPORTED,
            "partial_rotary_factor");
}

static void qwen_windows(void **state) {
    (void)state;
    const char *folder = "qwen2/qwen2-last";
    const tkr_arch_config none = configured(folder, "{}"),
                          from = configured(
                              folder, "{\"layer_types\": null, \"use_sliding_window\": true, \"sliding_window\": 8, "
                                      "\"max_window_layers\": 1}"),
                          listed = configured("qwen3/qwen3-bf16",
                                              "{\"layer_types\": [\"sliding_attention\", \"full_attention\"], "
                                              "\"use_sliding_window\": true, \"sliding_window\": 5}");
    assert_int_equal(none.window, 0);
    assert_true(none.qkv_bias && !none.output_bias);
    assert_int_equal(from.window, 7);
    assert_false(tkr_arch_is_local(&from, 0));
    assert_true(tkr_arch_is_local(&from, 1));
    assert_int_equal(listed.window, 4);
    assert_true(tkr_arch_is_local(&listed, 0));
    assert_false(tkr_arch_is_local(&listed, 1));
    assert_true(listed.rope_theta[1] == listed.rope_theta[0]);
    refused(folder, "{\"layer_types\": [\"sliding_attention\", \"full_attention\"]}", TKR_FORMAT, "use_sliding_window");
    refused(folder, "{\"use_sliding_window\": true}", TKR_FORMAT, "sliding_window");
    refused(folder, "{\"num_key_value_heads\": 4}", TKR_FORMAT, "num_key_value_heads");
    refused(folder, "{\"rms_norm_eps\": null}", TKR_FORMAT, "rms_norm_eps");
    refused(folder, "{\"head_dim\": 512}", TKR_UNSUPPORTED, "512");
}

/* Causal local layers see the query's own key and window - 1 before it: after two layers a token reaches 2 (window - 1)
 * tokens ahead, and not one more. */
static void causal_window_reaches_as_far_as_it_should(void **state) {
    (void)state;
    enum { N = 40, WINDOW = 8 };
    network n;
    static sequence s;
    const tkr_run_options plain = {0};
    tkr_error error = {TKR_OK, NULL, ""};
    network_prepare(&n, "qwen2/qwen2-last", NULL);
    change(n.json,
           "{\"layer_types\": null, \"use_sliding_window\": true, \"sliding_window\": 8, \"max_window_layers\": 0}");
    memset(&n.config, 0, sizeof n.config);
    assert_int_equal(n.arch->configure(&n.config, n.json, "config.json", &error), TKR_OK);
    assert_int_equal(n.config.n_layers, 2);
    assert_int_equal(network_bind(&n, &(network_options){.mode = TKR_GEMM_F32}, NULL, &error), TKR_OK);
    for (size_t t = 0; t < N; t++) s.ids[t] = (int32_t)(t * 13 % 900);
    sequence_finish(&s, &n.config, N);
    float *before = network_hidden(&n, &s, &plain);
    s.ids[0] = 901;
    float *after = network_hidden(&n, &s, &plain);
    const size_t width = n.config.hidden_size, reach = 2 * (WINDOW - 1);
    assert_memory_not_equal(before + reach * width, after + reach * width, width * sizeof *before);
    assert_memory_equal(before + (reach + 1) * width, after + (reach + 1) * width,
                        (N - reach - 1) * width * sizeof *before);
    free(before);
    free(after);
    network_close(&n);
}

/* The logarithmic buckets in whole numbers: the b-th behind the exact ones begins where (n / 8)^2 = 2^b. */
static void relative_bias_buckets(void **state) {
    (void)state;
    for (long distance = -600; distance <= 600; distance++) {
        const long n = distance < 0 ? -distance : distance;
        long want = n;
        for (long b = 0; n >= 8 && b < 8; b++)
            if (n * n >= 64L << b) want = 8 + b;
        want += distance > 0 ? 16 : 0;
        assert_int_equal(tkr_relative_bucket(distance, 32, 128), want);
    }
}

static void registry_rows(void **state) {
    (void)state;
    assert_string_equal(tkr_arch_find("qwen3")->pooling, "lasttoken");
    assert_string_equal(tkr_arch_find("qwen3")->instruct_after, "\nQuery:");
    assert_string_equal(tkr_arch_find("qwen2")->instruct_after, "\nQuery: ");
    assert_string_equal(tkr_arch_find("xlm-roberta")->instruct_before, "Instruct: ");
    assert_null(tkr_arch_find("bert")->instruct_before);
    assert_null(tkr_arch_find("modernbert")->pooling);
    assert_true(tkr_arch_find("nomic_bert")->native_adapter && tkr_arch_find("eurobert")->native_adapter);
    assert_ptr_equal(tkr_arch_find("camembert"), tkr_arch_find("roberta"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roberta_positions),     cmocka_unit_test(modernbert_spellings),
        cmocka_unit_test(nomic_spellings),       cmocka_unit_test(gemma_windows),
        cmocka_unit_test(qwen_windows),          cmocka_unit_test(causal_window_reaches_as_far_as_it_should),
        cmocka_unit_test(relative_bias_buckets), cmocka_unit_test(registry_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
