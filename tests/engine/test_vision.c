/* SPDX-License-Identifier: Apache-2.0 */
/* Every golden case with pictures from its files through tkr/embed.h: ids, vectors in f32 and bf16, alone and in
 * batches, one thread and two, both orders of the resize. A registered architecture without a case fails. */
#include "engine/engine.h"
#include "vision.h"

typedef struct vision_case {
    const char *folder, *base; /* base: of an adapter */
    const char *arch;
    double bf16; /* cosine distance; in f32 it is 1e-8 */
} vision_case;

static const vision_case cases[] = {
    {"siglip/siglip", NULL, "siglip", 1e-3},
    {"siglip/siglip2", NULL, "siglip", 1e-3},
    {"siglip/siglip_bf16", NULL, "siglip", 1e-3},
    {"clip/clip", NULL, "clip", 1e-3},
    {"qwen2_vl/qwen2_vl", NULL, "qwen2_vl", 1e-3},
    {"qwen2_vl/qwen2_vl_bf16", NULL, "qwen2_vl", 1e-3},
    {"qwen2_5_vl/colqwen2_5", NULL, "qwen2_5_vl", 5e-3},
    {"qwen3_vl/qwen3_vl", NULL, "qwen3_vl", 1e-3},
    {"lora/colqwen2_5_lora", "qwen2_5_vl/colqwen2_5", "qwen2_5_vl", 5e-3},
};
enum { N_CASES = sizeof cases / sizeof *cases };

typedef struct open_case {
    golden g;
    embedder e;
    vision_input inputs[MAX_INPUTS];
    size_t index[MAX_INPUTS]; /* of the golden's input */
    size_t n;
    char base[MAX_PATH];
} open_case;

static tkr_model_options model_options(const vision_case *c, open_case *o) {
    tkr_model_options options = vision_options();
    options.quantization = TKR_QUANTIZATION_NONE;
    if (c->base) {
        snprintf(o->base, sizeof o->base, "%s/golden/%s/model", TKR_TEST_DIR, c->base);
        options.base = o->base;
    }
    return options;
}

static void open_model(open_case *o, const vision_case *c, const tkr_model_options *options) {
    char folder[1500];
    tkr_error error = {TKR_OK, NULL, ""};
    snprintf(folder, sizeof folder, "%s/%s", o->g.folder, c->base ? "adapter" : "model");
    if (tkr_model_load(&o->e.model, folder, options, &error) != TKR_OK ||
        tkr_session_create(&o->e.session, o->e.model, &error) != TKR_OK)
        fail_msg("%s: %s", c->folder, error.message);
}

static open_case *case_open(const vision_case *c) {
    open_case *o = calloc(1, sizeof *o);
    assert_non_null(o);
    golden_open(&o->g, c->folder);
    assert_true(o->g.n <= MAX_INPUTS);
    for (size_t i = 0; i < o->g.n; i++) {
        o->index[o->n] = i;
        vision_fill(&o->inputs[o->n++], &o->g, i);
    }
    return o;
}

static void case_close(open_case *o) {
    embedder_close(&o->e);
    golden_close(&o->g);
    free(o);
}

static size_t flat(tkr_input *out, const open_case *o) {
    for (size_t i = 0; i < o->n; i++) out[i] = o->inputs[i].input;
    return o->n;
}

/* ---- vectors ---- */

static double worst_distance(open_case *o, const char *suffix) {
    tkr_input inputs[MAX_INPUTS] = {0};
    double worst = 0;
    tkr_result *result = embed_all(&o->e, inputs, flat(inputs, o), NULL);
    for (size_t i = 0; i < o->n; i++) {
        const tkr_result_item item = tkr_result_get(result, i);
        const tkr_tensor_view *want = vision_expected(&o->g, o->index[i], suffix);
        const double d = vision_distance(&item, want, tkr_result_dimensions(result));
        if (d > 1e-8 && suffix[0] == '\0') print_message("  input %zu: %.3g\n", o->index[i], d);
        worst = d > worst ? d : worst;
    }
    tkr_result_free(&result);
    return worst;
}

/* The reference's tokenizer differs from its tokenizer.json on one text of SigLIP: we follow the file. */
static const char *text_suffix(const vision_case *c) {
    return strcmp(c->folder, "siglip/siglip") == 0 || strcmp(c->folder, "siglip/siglip_bf16") == 0
               ? "_by_tokenizer_json"
               : "";
}

static void meets_the_reference(tkr_precision precision) {
    for (size_t i = 0; i < N_CASES; i++) {
        open_case *o = case_open(&cases[i]);
        tkr_model_options options = model_options(&cases[i], o);
        options.precision = precision;
        open_model(o, &cases[i], &options);
        const double worst = worst_distance(o, text_suffix(&cases[i]));
        print_message("%s: %.2e\n", cases[i].folder, worst);
        assert_true(worst <= (precision == TKR_PRECISION_F32 ? 1e-8 : cases[i].bf16));
        case_close(o);
    }
}

static void f32(void **state) {
    (void)state;
    meets_the_reference(TKR_PRECISION_F32);
}

static void bf16(void **state) {
    (void)state;
    meets_the_reference(TKR_PRECISION_BF16);
}

/* Pillow up to 12 resizes rows first. */
static void horizontal_first(void **state) {
    (void)state;
    for (size_t i = 0; i < N_CASES; i++) {
        open_case *o = case_open(&cases[i]);
        tkr_model_options options = model_options(&cases[i], o);
        options.horizontal_first = 1;
        open_model(o, &cases[i], &options);
        for (size_t k = 0; k < o->n; k++) {
            char name[96];
            snprintf(name, sizeof name, "%zu.embedding_horizontal_first", o->index[k]);
            const tkr_tensor_view *want = tkr_tensors_find(o->g.expected, name);
            if (!want) continue;
            tkr_result *result = embed_all(&o->e, &o->inputs[k].input, 1, NULL);
            const tkr_result_item item = tkr_result_get(result, 0);
            assert_true(vision_distance(&item, want, tkr_result_dimensions(result)) <= 1e-8);
            tkr_result_free(&result);
        }
        case_close(o);
    }
}

/* ---- ids ---- */

/* Pictures of the grids that the case states; the processor is tested by its vectors. */
static size_t stated_pictures(tkr_picture *pictures, const json_t *row) {
    static const char *const names[] = {"video_grid_thw", "image_grid_thw"};
    size_t n = 0;
    for (size_t k = 0; k < 2; k++) {
        const json_t *grid;
        size_t i;
        json_array_foreach(json_object_get(row, names[k]), i, grid) {
            const size_t frames = k == 0 ? (size_t)json_integer_value(json_array_get(grid, 0)) : 1;
            for (size_t f = 0; f < frames; f++, n++) { /* a video's frames are pictures of their own */
                memset(&pictures[n], 0, sizeof pictures[n]);
                pictures[n].patches.t = 1;
                pictures[n].patches.h = (size_t)json_integer_value(json_array_get(grid, 1));
                pictures[n].patches.w = (size_t)json_integer_value(json_array_get(grid, 2));
            }
        }
    }
    return n;
}

static void check_ids(open_case *o, size_t k) {
    const json_t *row = golden_input(&o->g, o->index[k]), *ids = json_object_get(row, "input_ids_by_tokenizer_json");
    tkr_picture pictures[MAX_PARTS];
    tkr_embed_options options;
    tkr_buf text = {0}, wide = {0};
    tkr_tok_scratch *scratch = NULL;
    tkr_tok_result result = {0};
    tkr_error error = {TKR_OK, NULL, ""};
    size_t n_prompt = 0;
    tkr_embed_options_init(&options);
    if (!ids) ids = json_object_get(row, "input_ids");
    if (!ids) return; /* a picture for a tower of its own */
    assert_int_equal(tkr_tok_scratch_create(&scratch, o->e.model->tokenizer.tok, &error), TKR_OK);
    const tkr_encode_request request = {.checkpoint = &o->e.model->checkpoint,
                                        .tok = o->e.model->tokenizer.tok,
                                        .scratch = scratch,
                                        .text = &text,
                                        .input = &o->inputs[k].input,
                                        .options = &options,
                                        .max_tokens = o->e.model->checkpoint.max_tokens,
                                        .wide = &wide,
                                        .pictures = pictures,
                                        .n_pictures = stated_pictures(pictures, row)};
    if (tkr_encode_input(&result, &n_prompt, &request, &error) != TKR_OK) fail_msg("%s", error.message);
    const json_t *prompt = json_object_get(row, "prompt");
    if (prompt && !json_object_get(row, "video")) { /* the reference puts a video's frames in later */
        assert_int_equal(text.size, json_string_length(prompt));
        assert_memory_equal(text.data, json_string_value(prompt), text.size);
    }
    assert_int_equal(result.n, json_array_size(ids));
    for (size_t i = 0; i < result.n; i++) assert_int_equal(result.ids[i], json_integer_value(json_array_get(ids, i)));
    tkr_tok_scratch_free(&scratch);
    tkr_buf_free(&text);
    tkr_buf_free(&wide);
}

static void the_same_ids(void **state) {
    (void)state;
    for (size_t i = 0; i < N_CASES; i++) {
        open_case *o = case_open(&cases[i]);
        const tkr_model_options options = model_options(&cases[i], o);
        open_model(o, &cases[i], &options);
        for (size_t k = 0; k < o->n; k++) check_ids(o, k);
        case_close(o);
    }
}

/* ---- determinism ---- */

static void same_bits(const tkr_result *a, size_t i, const tkr_result *b, size_t k) {
    const tkr_result_item x = tkr_result_get(a, i), y = tkr_result_get(b, k);
    assert_int_equal(x.status, TKR_OK);
    assert_int_equal(y.status, TKR_OK);
    assert_int_equal(x.n_rows, y.n_rows);
    assert_memory_equal(x.rows, y.rows, x.n_rows * tkr_result_dimensions(a) * sizeof(float));
}

/* Alone, with others, in reverse order, with one thread. */
static void the_same_bits(void **state) {
    (void)state;
    for (size_t i = 0; i < N_CASES; i++) {
        open_case *o = case_open(&cases[i]);
        tkr_input inputs[MAX_INPUTS] = {0}, reversed[MAX_INPUTS] = {0};
        tkr_model_options options = model_options(&cases[i], o);
        open_model(o, &cases[i], &options);
        const size_t n = flat(inputs, o);
        for (size_t k = 0; k < n; k++) reversed[n - 1 - k] = inputs[k];
        tkr_result *batch = embed_all(&o->e, inputs, n, NULL), *other = embed_all(&o->e, reversed, n, NULL);
        for (size_t k = 0; k < n; k++) {
            tkr_result *alone = embed_all(&o->e, &inputs[k], 1, NULL);
            same_bits(batch, k, alone, 0);
            same_bits(batch, k, other, n - 1 - k);
            tkr_result_free(&alone);
        }
        tkr_result_free(&other);
        embedder_close(&o->e);
        options.threads = 1;
        options.batch_tokens = 100000;
        open_model(o, &cases[i], &options);
        other = embed_all(&o->e, inputs, n, NULL);
        for (size_t k = 0; k < n; k++) same_bits(batch, k, other, k);
        tkr_result_free(&other);
        tkr_result_free(&batch);
        case_close(o);
    }
}

/* ---- scores and dimensions ---- */

static void maxsim(void **state) {
    (void)state;
    for (size_t i = 0; i < N_CASES; i++) {
        if (strcmp(cases[i].arch, "qwen2_5_vl") != 0) continue;
        open_case *o = case_open(&cases[i]);
        tkr_input inputs[MAX_INPUTS] = {0};
        const tkr_model_options options = model_options(&cases[i], o);
        const json_t *queries = json_object_get(o->g.cases, "queries"), *pages = json_object_get(o->g.cases, "pages");
        const tkr_tensor_view *want = tkr_tensors_find(o->g.expected, "scores");
        open_model(o, &cases[i], &options);
        tkr_result *result = embed_all(&o->e, inputs, flat(inputs, o), NULL);
        assert_int_equal(tkr_result_get_kind(result), TKR_RESULT_MULTI_VECTOR);
        assert_int_equal(tkr_model_get_info(o->e.model)->multi_vector, 1);
        for (size_t q = 0; q < json_array_size(queries); q++)
            for (size_t p = 0; p < json_array_size(pages); p++) {
                const tkr_result_item a =
                    tkr_result_get(result, (size_t)json_integer_value(json_array_get(queries, q)));
                const tkr_result_item b = tkr_result_get(result, (size_t)json_integer_value(json_array_get(pages, p)));
                const double score = tkr_maxsim(a.rows, a.n_rows, b.rows, b.n_rows, tkr_result_dimensions(result));
                assert_true(fabs(score - (double)((const float *)want->data)[q * json_array_size(pages) + p]) < 1e-4);
            }
        tkr_result_free(&result);
        case_close(o);
    }
}

/* The first components, normalised again (Matryoshka). */
static void fewer_dimensions(void **state) {
    (void)state;
    const vision_case *c = &cases[N_CASES - 2];
    open_case *o = case_open(c);
    const tkr_model_options options = model_options(c, o);
    size_t n_checked = 0;
    open_model(o, c, &options);
    for (size_t k = 0; k < o->n; k++)
        for (size_t d = 16; d <= 32; d += 16) {
            char name[96];
            tkr_embed_options embed;
            snprintf(name, sizeof name, "%zu.embedding_dim%zu", o->index[k], d);
            const tkr_tensor_view *want = tkr_tensors_find(o->g.expected, name);
            if (!want) continue;
            tkr_embed_options_init(&embed);
            embed.dimensions = d;
            tkr_result *result = embed_all(&o->e, &o->inputs[k].input, 1, &embed);
            const tkr_result_item item = tkr_result_get(result, 0);
            assert_true(vision_distance(&item, want, d) <= 1e-8);
            tkr_result_free(&result);
            n_checked++;
        }
    assert_true(n_checked > 0);
    case_close(o);
}

static void no_architecture_without_a_case(void **state) {
    (void)state;
    for (const tkr_arch *const *arch = tkr_archs(); *arch; arch++) {
        bool found = !(*arch)->vision;
        for (size_t i = 0; i < N_CASES; i++) found = found || strcmp(cases[i].arch, (*arch)->name) == 0;
        if (!found) fail_msg("architecture \"%s\" has no golden case", (*arch)->name);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(f32),
                                       cmocka_unit_test(bf16),
                                       cmocka_unit_test(horizontal_first),
                                       cmocka_unit_test(the_same_ids),
                                       cmocka_unit_test(the_same_bits),
                                       cmocka_unit_test(maxsim),
                                       cmocka_unit_test(fewer_dimensions),
                                       cmocka_unit_test(no_architecture_without_a_case)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
