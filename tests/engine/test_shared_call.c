/* SPDX-License-Identifier: Apache-2.0 */
/* Inputs with options of their own share a call: bits of each as alone with them, failures of its own. Token states
 * against the reference's last_hidden_state. */
#include <math.h>

#include "models/model.h"
#include "vision.h"

static tkr_embed_options defaults(void) {
    tkr_embed_options o;
    tkr_embed_options_init(&o);
    return o;
}

/* ---- options of single inputs ---- */

enum { N_TEXTS = 7, N_OPTIONS = 11, N_SHARED = N_TEXTS * N_OPTIONS };

static const char *const texts[N_TEXTS] = {"",
                                           "a river bank",
                                           "the money is in the bank, and the boat is on the river",
                                           "Z\xc3\xbcrich \xe6\x97\xa5\xe6\x9c\xac 123",
                                           "broken \xff utf-8",
                                           "one two three four five six seven eight nine ten eleven twelve thirteen",
                                           "again again again again again again again again again again again"};

static void fill_options(tkr_embed_options *o) {
    for (size_t i = 0; i < N_OPTIONS; i++) tkr_embed_options_init(&o[i]);
    o[1].dimensions = 16;
    o[2].normalize = TKR_NO;
    o[3].dimensions = 7;
    o[3].normalize = TKR_NO;
    o[4].normalize = TKR_YES;
    o[5].prompt = "search_query: ";
    o[6].prompt_name = "query";
    o[6].dimensions = 48;
    o[7].max_tokens = 6;
    o[8].max_tokens = 6;
    o[8].truncate = TKR_TRUNCATE_LEFT;
    o[9].max_tokens = 8;
    o[9].truncate = TKR_TRUNCATE_ERROR;
    o[10].strict_utf8 = 1;
}

/* One input of a shared call gives what a call of its own with its options as the call's gives. */
static void check_as_alone(embedder *e, const tkr_result *shared, size_t i, tkr_input input,
                           const tkr_embed_options *options) {
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_result *alone = NULL;
    const tkr_result_item got = tkr_result_get(shared, i);
    input.options = NULL;
    const tkr_status status = tkr_embed(&alone, e->session, &input, 1, options, &error);
    if (status != TKR_OK) { /* of the call alone, of the input here */
        assert_int_equal(got.status, status);
        assert_string_equal(got.message, error.message);
        assert_null(got.rows);
        return;
    }
    const tkr_result_item want = tkr_result_get(alone, 0);
    assert_int_equal(got.status, want.status);
    if (want.status == TKR_OK) {
        assert_int_equal(got.dimensions, tkr_result_dimensions(alone));
        assert_int_equal(got.dimensions, want.dimensions);
        assert_int_equal(got.n_rows, want.n_rows);
        assert_int_equal(got.n_tokens, want.n_tokens);
        assert_int_equal(got.n_tokens_untruncated, want.n_tokens_untruncated);
        if (memcmp(got.rows, want.rows, want.n_rows * want.dimensions * sizeof *want.rows) != 0)
            fail_msg("input %zu has other bits in a shared call", i);
    } else {
        assert_string_equal(got.message, want.message);
    }
    tkr_result_free(&alone);
}

static void share(const char *reference, tkr_result_kind kind, const char *cpu) {
    embedder e = {0};
    tkr_embed_options own[N_OPTIONS], call = defaults();
    tkr_input inputs[N_SHARED];
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_result *result = NULL;
    embedder_open(&e, reference, &(embedder_options){.threads = 2, .cpu = cpu});
    fill_options(own);
    call.kind = kind;
    call.dimensions = 24; /* of inputs without options alone */
    for (size_t i = 0; i < N_SHARED; i++) {
        const char *text = texts[i % N_TEXTS];
        const size_t o = i / N_TEXTS;
        inputs[i] = (tkr_input){.text = text, .n_text = strlen(text), .options = o ? &own[o] : NULL};
        own[o].kind = kind; /* for the call alone */
    }
    assert_int_equal(tkr_embed(&result, e.session, inputs, N_SHARED, &call, &error), TKR_OK);
    assert_int_equal(tkr_result_get_kind(result), kind);
    assert_int_equal(tkr_result_dimensions(result), 24);
    size_t n_failed = 0;
    for (size_t i = 0; i < N_SHARED; i++) {
        n_failed += tkr_result_get(result, i).status != TKR_OK;
        check_as_alone(&e, result, i, inputs[i], inputs[i].options ? inputs[i].options : &call);
    }
    assert_true(n_failed >= 3 && n_failed < N_SHARED / 2); /* too long, not UTF-8 */
    tkr_result_free(&result);
    embedder_close(&e);
}

static const char *folder_of(const char *name) {
    static char path[600];
    snprintf(path, sizeof path, "%s/golden/%s/model", TKR_TEST_DIR, name);
    return path;
}

static void inputs_with_options_of_their_own(void **state) {
    (void)state;
    static const char *const models[] = {"xlm_roberta/xlmr-e5", "qwen3/qwen3-last", "bert/bert-pooling",
                                         "gemma3_text/gemma3-dense"};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        share(folder_of(models[i]), TKR_RESULT_DENSE, NULL);
        share(folder_of(models[i]), TKR_RESULT_DENSE, "generic");
        share(folder_of(models[i]), TKR_RESULT_TOKENS, NULL);
    }
}

/* ---- impossible options ---- */

static void impossible_options_fail_one_input(void **state) {
    (void)state;
    embedder e = {0};
    tkr_embed_options bad[6], call = defaults();
    tkr_input inputs[8];
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_result *result = NULL, *two = NULL;
    embedder_open(&e, folder_of("xlm_roberta/xlmr-e5"), &(embedder_options){.threads = 1});
    for (size_t i = 0; i < 6; i++) tkr_embed_options_init(&bad[i]);
    bad[0].dimensions = 1000;
    bad[1].prompt_name = "no such name";
    bad[2].truncate = (tkr_truncate)9;
    bad[3].normalize = (tkr_choice)-1;
    bad[4].instruction = "a task";
    bad[5].struct_size = 3;
    for (size_t i = 0; i < 8; i++) inputs[i] = (tkr_input){.text = "a river bank", .n_text = 12};
    for (size_t i = 0; i < 6; i++) inputs[i + 1].options = &bad[i];
    inputs[7].prompt = "query: "; /* an input's own prompt wins, over those of its own options, too */
    call.prompt_name = "passage";
    inputs[7].options = &call;
    assert_int_equal(tkr_embed(&result, e.session, inputs, 8, &call, &error), TKR_OK);
    for (size_t i = 0; i < 8; i++) check_as_alone(&e, result, i, inputs[i], i > 0 && i < 7 ? &bad[i - 1] : &call);
    assert_int_equal(tkr_result_get(result, 0).status, TKR_OK);
    assert_int_equal(tkr_result_get(result, 1).status, TKR_INVALID_ARGUMENT);
    assert_non_null(strstr(tkr_result_get(result, 1).message, "dimensions 1000"));
    assert_int_equal(tkr_result_get(result, 7).status, TKR_OK);
    const tkr_input same[] = {{.text = "a river bank", .n_text = 12, .prompt_name = "query"}};
    two = embed_all(&e, same, 1, NULL);
    assert_memory_equal(tkr_result_get(result, 7).rows, tkr_result_get(two, 0).rows, 48 * sizeof(float));
    tkr_result_free(&two);
    tkr_result_free(&result);
    call.kind = TKR_RESULT_SCORE;
    assert_int_equal(tkr_embed(&result, e.session, inputs, 1, &call, &error), TKR_INVALID_ARGUMENT);
    embedder_close(&e);
}

/* ---- token states ---- */

static size_t n_compared;

/* Rows of one input to the reference's, by cosine and length. */
static void check_states(const char *folder, size_t i, const tkr_result_item *item, const tkr_tensor_view *want) {
    const bool touchy = strstr(folder, "modernbert-cls") || strstr(folder, "bert-gelu-eps");
    const double limit = touchy ? 1e-6 : 1e-8;
    const size_t n = item->dimensions;
    assert_int_equal(item->n_rows, item->n_tokens);
    assert_int_equal(item->n_rows * n, want->n_elements);
    for (size_t r = 0; r < item->n_rows; r++) {
        const float *a = item->rows + r * n, *b = (const float *)want->data + r * n;
        double aa = 0, bb = 0;
        for (size_t k = 0; k < n; k++) {
            aa += (double)a[k] * (double)a[k];
            bb += (double)b[k] * (double)b[k];
        }
        const double distance = 1 - tkr_cosine(a, b, n);
        if (!(distance <= limit) || !(fabs(sqrt(aa / bb) - 1) <= 10 * sqrt(limit)))
            fail_msg("%s input %zu token %zu: distance %.3g, lengths %g and %g", folder, i, r, distance, sqrt(aa),
                     sqrt(bb));
    }
    n_compared++;
}

static void check_token_states(const char *folder) {
    golden g;
    embedder e = {0};
    tkr_embed_options options = defaults();
    tkr_input inputs[64];
    options.kind = TKR_RESULT_TOKENS;
    golden_open(&g, folder);
    embedder_open(&e, g.model, &(embedder_options){.precision = TKR_PRECISION_F32, .threads = 2});
    for (size_t i = 0; i < g.n; i++) inputs[i] = golden_text(&g, i);
    tkr_result *result = embed_all(&e, inputs, g.n, &options);
    assert_int_equal(tkr_result_get_kind(result), TKR_RESULT_TOKENS);
    const size_t before = n_compared;
    for (size_t i = 0; i < g.n; i++) {
        char name[64];
        snprintf(name, sizeof name, "%zu.last_hidden_state", i);
        const tkr_tensor_view *want = tkr_tensors_find(g.expected, name);
        const tkr_result_item item = tkr_result_get(result, i);
        if (want) check_states(folder, i, &item, want);
    }
    assert_true(n_compared > before);
    tkr_result_free(&result);
    embedder_close(&e);
    golden_close(&g);
}

static void token_states_are_the_references(void **state) {
    (void)state;
    for (const tkr_arch *const *arch = tkr_archs(); *arch; arch++)
        if (!(*arch)->vision) assert_true(golden_each((*arch)->name, check_token_states) > 0);
    assert_true(n_compared > 30);
}

/* Mean pooling by hand, normalised rows and dimensions, on the real model in f32 and q8. */
static void token_states_pool_to_the_vector(void **state) {
    (void)state;
    static const tkr_quantization formats[] = {TKR_QUANTIZATION_NONE, TKR_QUANTIZATION_Q8};
    for (size_t f = 0; f < 2; f++) {
        embedder e = {0};
        tkr_embed_options o = defaults();
        embedder_open(&e, minilm_reference(), &(embedder_options){.quantization = formats[f], .threads = 2});
        const tkr_input input = {.text = texts[5], .n_text = strlen(texts[5])};
        tkr_result *vector = embed_all(&e, &input, 1, NULL);
        o.kind = TKR_RESULT_TOKENS;
        tkr_result *states = embed_all(&e, &input, 1, &o);
        o.normalize = TKR_YES;
        o.dimensions = 100;
        tkr_result *cut = embed_all(&e, &input, 1, &o);
        const tkr_result_item all = tkr_result_get(states, 0), few = tkr_result_get(cut, 0);
        assert_true(all.n_rows == all.n_tokens && all.dimensions == 384 && few.dimensions == 100);
        float mean[384];
        for (size_t k = 0; k < 384; k++) {
            double sum = 0;
            for (size_t r = 0; r < all.n_rows; r++) sum += (double)all.rows[r * 384 + k];
            mean[k] = (float)(sum / (double)all.n_rows);
        }
        assert_true(1 - tkr_cosine(mean, tkr_result_get(vector, 0).rows, 384) < 1e-12);
        for (size_t r = 0; r < few.n_rows; r++) {
            double norm = 0;
            for (size_t k = 0; k < 100; k++) norm += (double)few.rows[r * 100 + k] * (double)few.rows[r * 100 + k];
            assert_true(fabs(norm - 1) < 1e-6);
            assert_true(1 - tkr_cosine(few.rows + r * 100, all.rows + r * 384, 100) < 1e-12);
        }
        tkr_result_free(&vector);
        tkr_result_free(&states);
        tkr_result_free(&cut);
        embedder_close(&e);
    }
}

/* Models that read pictures: the states of a prompt with a picture, and none of a picture in a tower of its own. */
static void token_states_with_pictures(void **state) {
    (void)state;
    static const char *const folders[] = {"qwen2_vl/qwen2_vl", "qwen2_5_vl/colqwen2_5", "siglip/siglip"};
    for (size_t f = 0; f < 3; f++) {
        golden g;
        embedder e = {0};
        static vision_input inputs[MAX_INPUTS];
        tkr_model_options options = vision_options();
        tkr_embed_options embed = defaults();
        tkr_error error = {TKR_OK, NULL, ""};
        golden_open(&g, folders[f]);
        assert_int_equal(tkr_model_load(&e.model, g.model, &options, &error), TKR_OK);
        assert_int_equal(tkr_session_create(&e.session, e.model, &error), TKR_OK);
        embed.kind = TKR_RESULT_TOKENS;
        size_t n_states = 0, n_refused = 0;
        for (size_t i = 0; i < g.n && i < MAX_INPUTS; i++) {
            tkr_result *result = NULL;
            char name[64];
            vision_fill(&inputs[i], &g, i);
            assert_int_equal(tkr_embed(&result, e.session, &inputs[i].input, 1, &embed, &error), TKR_OK);
            const tkr_result_item item = tkr_result_get(result, 0);
            snprintf(name, sizeof name, "%zu.last_hidden_state", i);
            const tkr_tensor_view *want = tkr_tensors_find(g.expected, name);
            const bool refused = f == 2 && inputs[i].input.kind == TKR_INPUT_PARTS;
            assert_int_equal(item.status, refused ? TKR_INVALID_ARGUMENT : TKR_OK);
            n_refused += refused;
            if (refused) assert_non_null(strstr(item.message, "token states"));
            if (want && !refused) {
                check_states(folders[f], i, &item, want);
                n_states++;
            }
            tkr_result_free(&result);
        }
        assert_true(n_states > 0 && (n_refused > 0) == (f == 2));
        embedder_close(&e);
        golden_close(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inputs_with_options_of_their_own), cmocka_unit_test(impossible_options_fail_one_input),
        cmocka_unit_test(token_states_are_the_references), cmocka_unit_test(token_states_pool_to_the_vector),
        cmocka_unit_test(token_states_with_pictures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
