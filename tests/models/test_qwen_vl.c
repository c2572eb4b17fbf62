/* SPDX-License-Identifier: Apache-2.0 */
/* The Qwen-VL families against the reference, from the resized pixels and token ids: features of pictures, hidden
 * states, vectors; pictures of all sizes alone and together; the promised memory; other number formats. */
#include "visual.h"

#include "formats/adapter.h"

static const char *const folders[] = {"qwen2_vl/qwen2_vl", "qwen2_vl/qwen2_vl_bf16", "qwen2_5_vl/colqwen2_5",
                                      "qwen3_vl/qwen3_vl"};
enum { N_FOLDERS = sizeof folders / sizeof *folders };

static void open_case(network *n, visual_pixels *p, const char *folder, const network_options *o) {
    char model[600];
    network_open(n, folder, o);
    snprintf(model, sizeof model, "%s/model", folder);
    visual_pixels_open(p, folder, model);
}

static void close_case(network *n, visual_pixels *p) {
    tkr_tensors_free(&p->set);
    network_close(n);
}

/* A run's buffers only grow: a fresh run shows what one pass needs. */
static void fresh_run(network *n) {
    tkr_ops_cpu.run_free(&n->run);
    assert_int_equal(tkr_ops_cpu.run_create(&n->run, n->backend, NULL), TKR_OK);
}

static double compare(const network *n, size_t index, const char *what, const float *got, size_t size) {
    const tkr_tensor_view *want = network_expected(n, index, what);
    if (!want) return 0;
    assert_int_equal(want->n_elements, size);
    return relative_l2(got, want->data, size);
}

/* ---- goldens in f32 ---- */

static void check_pixels(const network *n, const visual_sequence *s, size_t index) {
    const tkr_tensor_view *want = network_expected(n, index, "pixel_values");
    if (!want) return;
    const float *values = want->data;
    assert_int_equal(want->n_elements, s->batch.n_patches * s->batch.patch_cols);
    for (size_t i = 0; i < want->n_elements; i++) assert_true(fabsf(values[i] - s->patches[i]) <= 1e-6f);
}

/* What the tower gives, apart from the text model. */
static double check_features(network *n, const visual_sequence *s, size_t index) {
    const tkr_run_options plain = {0};
    const size_t size = s->batch.n_visual_tokens * n->config.hidden_size;
    tkr_deep_features deep = {.n = 0};
    char name[32];
    if (!s->batch.n_visuals) return 0;
    tkr_ops_cpu.run_begin(n->run, &plain);
    tkr_tensor *x = n->arch->vision->encode(((const tkr_arch_model *)n->model)->vision, n->run, &s->batch, &deep);
    float *got = visual_read(n, &x, size);
    double worst = compare(n, index, "vision_tokens", got, size);
    free(got);
    assert_int_equal(deep.n, n->vision.n_deepstack);
    for (size_t k = 0; k < deep.n; k++) {
        snprintf(name, sizeof name, "deepstack.%zu", k);
        got = visual_read(n, &deep.of[k], size);
        worst = fmax(worst, compare(n, index, name, got, size));
        free(got);
    }
    return worst;
}

static double check_hidden(network *n, const visual_sequence *s, size_t index) {
    const tkr_run_options plain = {0};
    const size_t size = s->batch.n_tokens * n->config.hidden_size;
    if (!network_expected(n, index, "last_hidden_state")) return 0;
    tkr_ops_cpu.run_begin(n->run, &plain);
    tkr_tensor *x = tkr_arch_forward(n->model, n->run, &s->batch);
    float *got = visual_read(n, &x, size);
    const double error = compare(n, index, "last_hidden_state", got, size);
    free(got);
    return error;
}

/* Largest cosine distance of an input's vectors, several for ColQwen. */
static double check_vectors(network *n, const visual_sequence *s, size_t index) {
    const tkr_run_options plain = {0};
    const tkr_tensor_view *want = network_expected(n, index, "embedding");
    const size_t size = visual_vector_size(n);
    double worst = 0;
    assert_non_null(want);
    assert_int_equal(want->n_elements, s->batch.n_spans * size);
    float *got = visual_vectors(n, s, &plain);
    for (size_t v = 0; v < s->batch.n_spans; v++)
        worst = fmax(worst, cosine_distance(got + v * size, (const float *)want->data + v * size, size));
    free(got);
    return worst;
}

static void check_golden(const char *folder, const char *cpu) {
    network n;
    visual_pixels p;
    static visual_sequence s;
    double features = 0, hidden = 0, vectors = 0;
    size_t checked = 0, pictures = 0;
    open_case(&n, &p, folder, &(network_options){.cpu = cpu});
    for (size_t i = 0; i < network_inputs(&n); i++) {
        if (!visual_batch(&s, &n, &p, &i, 1)) continue;
        check_pixels(&n, &s, i);
        features = fmax(features, check_features(&n, &s, i));
        hidden = fmax(hidden, check_hidden(&n, &s, i));
        vectors = fmax(vectors, check_vectors(&n, &s, i));
        checked++;
        pictures += s.batch.n_visuals;
        visual_free(&s);
    }
    print_message("%s: %zu inputs, %zu pictures: features %.1e, hidden states %.1e, cosine distance %.1e\n", folder,
                  checked, pictures, features, hidden, vectors);
    assert_true(checked + 1 >= network_inputs(&n) && pictures > 1); /* one is left out for its size */
    assert_true(features <= 1e-5 && hidden <= 1e-5 && vectors <= 1e-8);
    close_case(&n, &p);
}

static void goldens(void **state) {
    (void)state;
    for (size_t i = 0; i < N_FOLDERS; i++) check_golden(folders[i], NULL);
}

static void goldens_plain_c(void **state) {
    (void)state;
    for (size_t i = 0; i < N_FOLDERS; i++) check_golden(folders[i], "generic");
}

/* ---- an adapter ---- */

/* A LoRA adapter on the ColQwen checkpoint; expected are the merged weights' vectors. */
static void adapter_golden(void **state) {
    (void)state;
    static const char folder[] = "lora/colqwen2_5_lora";
    for (int mode = TKR_GEMM_F32; mode <= TKR_GEMM_BF16; mode++) {
        network n;
        visual_pixels p;
        static visual_sequence s;
        char path[700];
        tkr_adapter *adapter = NULL;
        tkr_error error = {TKR_OK, NULL, ""};
        double worst = 0;
        network_prepare(&n, "qwen2_5_vl/colqwen2_5", NULL);
        json_decref(n.cases);
        tkr_tensors_free(&n.expected);
        snprintf(path, sizeof path, "%s/golden/%s/cases.json", TKR_TEST_DIR, folder);
        assert_int_equal(tkr_json_file(&n.cases, path, NULL), TKR_OK);
        snprintf(path, sizeof path, "%s/golden/%s/expected.safetensors", TKR_TEST_DIR, folder);
        assert_int_equal(tkr_tensors_open_file(&n.expected, path, NULL), TKR_OK);
        snprintf(path, sizeof path, "%s/golden/%s/adapter", TKR_TEST_DIR, folder);
        if (tkr_adapter_open(&adapter, path, &error) != TKR_OK) fail_msg("%s", error.message);
        assert_string_equal(tkr_adapter_base(adapter), "vidore/colqwen2.5-base");
        if (tkr_adapter_apply(n.tensors, &adapter, &error) != TKR_OK) fail_msg("%s", error.message);
        if (network_bind(&n, &(network_options){.mode = (tkr_gemm_mode)mode}, NULL, &error) != TKR_OK)
            fail_msg("%s", error.message);
        snprintf(path, sizeof path, "%s/adapter", folder);
        visual_pixels_open(&p, folder, path);
        for (size_t i = 0; i < network_inputs(&n); i++) {
            assert_true(visual_batch(&s, &n, &p, &i, 1));
            worst = fmax(worst, check_vectors(&n, &s, i));
            visual_free(&s);
        }
        print_message("%s: cosine distance %.1e\n", folder, worst);
        assert_true(worst <= (mode == TKR_GEMM_F32 ? 1e-8 : 5e-3));
        close_case(&n, &p);
    }
}

/* ---- other formats ---- */

/* What tiny random networks lose; the bars of the real ones are those of bf16. */
static void check_format(const char *folder, const network_options *o) {
    static const double single[TKR_GEMM_MODES] = {1e-8, 1e-3, 5e-3, 4e-1},
                        tokens[TKR_GEMM_MODES] = {1e-8, 5e-3, 5e-2, 6e-1};
    network n;
    visual_pixels p;
    static visual_sequence s;
    double worst = 0, features = 0;
    open_case(&n, &p, folder, o);
    for (size_t i = 0; i < network_inputs(&n); i++) {
        if (!visual_batch(&s, &n, &p, &i, 1)) continue;
        features = fmax(features, check_features(&n, &s, i));
        worst = fmax(worst, check_vectors(&n, &s, i));
        visual_free(&s);
    }
    const double limit = (n.vision.head_size ? tokens : single)[o->mode];
    print_message("%s, format %d, %s: features %.1e, largest cosine distance %.1e (limit %.0e)\n", folder, (int)o->mode,
                  o->cpu ? o->cpu : "native", features, worst, limit);
    assert_true(worst <= limit);
    close_case(&n, &p);
}

static void other_formats(void **state) {
    (void)state;
    for (int plain = 0; plain < 2; plain++)
        for (int mode = TKR_GEMM_BF16; mode < TKR_GEMM_MODES; mode++)
            for (size_t i = 0; i < N_FOLDERS; i++)
                check_format(
                    folders[i],
                    &(network_options){.cpu = plain ? "generic" : NULL, .mode = (tkr_gemm_mode)mode, .group = 32});
}

/* ---- together, in pieces, by several workers ---- */

/* Most memory that a pass of one worker may take. */
static size_t promise(const network *n, const visual_sequence *s, size_t chunk) {
    const tkr_batch *b = &s->batch;
    size_t longest = 0, frame = 0;
    for (size_t i = 0; i < b->n_seqs; i++) {
        const size_t length = s->cu[i + 1] - s->cu[i];
        longest = length > longest ? length : longest;
    }
    for (size_t i = 0; i < b->n_visuals; i++) {
        const size_t patches = s->visuals[i].h * s->visuals[i].w;
        frame = patches > frame ? patches : frame;
    }
    const size_t text = tkr_ops_cpu.scratch_bytes(n->backend, b->n_tokens, longest, tkr_arch_widest(&n->config),
                                                  n->config.head_dim),
                 vision = frame ? tkr_ops_cpu.scratch_bytes(n->backend, b->n_patches, frame,
                                                            tkr_vision_widest(&n->vision), n->vision.tower.head_dim)
                                : 0;
    return tkr_arch_workspace(&n->config, b->n_tokens, chunk) +
           (frame ? tkr_vision_workspace(&n->vision, b->n_patches, chunk) : 0) + (text > vision ? text : vision) +
           3 * tkr_tensor_room(b->n_spans * (n->config.hidden_size + visual_vector_size(n)) * sizeof(float) + 128);
}

/* Inputs one by one, then all in one batch, in another order: the same bits, within the promised memory. */
static void check_together(const char *folder, tkr_gemm_mode mode) {
    enum { MOST = 8 };
    network n;
    visual_pixels p;
    static visual_sequence s;
    float *alone[MOST];
    size_t indices[MOST], n_vectors[MOST], count = 0;
    open_case(&n, &p, folder, &(network_options){.mode = mode, .group = 32});
    const size_t size = visual_vector_size(&n);
    for (size_t i = network_inputs(&n); i-- > 0 && count < MOST;) {
        if (!visual_batch(&s, &n, &p, &i, 1)) continue;
        if (s.batch.n_patches > 500) { /* its time: see sizes_in_turn */
            visual_free(&s);
            continue;
        }
        const tkr_run_options options = {.max_bytes = promise(&n, &s, 1024), .chunk_rows = 1024};
        fresh_run(&n);
        alone[count] = visual_vectors(&n, &s, &options);
        n_vectors[count] = s.batch.n_spans;
        indices[count++] = i;
        visual_free(&s);
    }
    static const size_t chunks[] = {1, 7, 64, 1024};
    assert_true(visual_batch(&s, &n, &p, indices, count));
    assert_true(s.batch.n_visuals > 1);
    for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++)
        for (int workers = 1; workers <= (chunks[c] == 64 ? 2 : 1); workers++) {
            const tkr_run_options options = {.max_bytes = (size_t)workers * promise(&n, &s, chunks[c]),
                                             .chunk_rows = chunks[c],
                                             .pool = workers > 1 ? n.pool : NULL};
            fresh_run(&n);
            float *all = visual_vectors(&n, &s, &options), *at = all;
            for (size_t i = 0; i < count; at += n_vectors[i++] * size)
                assert_memory_equal(at, alone[i], n_vectors[i] * size * sizeof *at);
            free(all);
        }
    visual_free(&s);
    for (size_t i = 0; i < count; i++) free(alone[i]);
    close_case(&n, &p);
}

static void together(void **state) {
    (void)state;
    for (size_t i = 0; i < N_FOLDERS; i++)
        for (int mode = TKR_GEMM_F32; mode < TKR_GEMM_MODES; mode++) check_together(folders[i], (tkr_gemm_mode)mode);
}

/* Made-up pictures up to long ones after one another: the buffers of one don't take the room of the next. */
static void check_sizes(const char *folder) {
    static const size_t grids[][2] = {{30, 30}, {2, 2}, {48, 20}, {2, 200}, {48, 48}, {10, 6}, {46, 48}, {48, 48}};
    network n;
    static visual_sequence s;
    uint32_t seed = 5;
    network_open(&n, folder, &(network_options){.mode = TKR_GEMM_F32});
    memset(&s, 0, sizeof s);
    s.patches = calloc((size_t)48 * 48 * n.vision.patch_cols, sizeof *s.patches);
    assert_non_null(s.patches);
    for (size_t i = 0; i < (size_t)48 * 48 * n.vision.patch_cols; i++) {
        seed = seed * 1664525u + 1013904223u;
        s.patches[i] = (float)(seed >> 8) / 8388608.0f - 1.0f;
    }
    float *patches = s.patches;
    size_t limit = 0;
    for (int round = 0; round < 2; round++)
        for (size_t g = 0; g < sizeof grids / sizeof *grids; g++) {
            const size_t tokens = grids[g][0] * grids[g][1] / 4;
            memset(&s, 0, sizeof s);
            for (size_t t = 0; t < tokens + 2; t++) s.ids[t] = t == 0 || t == tokens + 1 ? 1 : n.vision.image_token;
            s.visuals[0] = (tkr_visual){1, grids[g][0], grids[g][1]};
            s.batch.n_seqs = s.batch.n_visuals = s.first_visual[1] = 1;
            s.batch.n_tokens = s.cu[1] = tokens + 2;
            visual_finish(&s, &n);
            s.batch.patches = patches;
            const size_t needed = promise(&n, &s, 256);
            limit = needed > limit ? needed : limit;
            if (round == 0) continue;
            const tkr_run_options options = {.max_bytes = limit, .chunk_rows = 256};
            free(visual_vectors(&n, &s, &options));
        }
    free(patches);
    network_close(&n);
}

static void sizes_in_turn(void **state) {
    (void)state;
    check_sizes("qwen2_vl/qwen2_vl");
    check_sizes("qwen2_5_vl/colqwen2_5");
    check_sizes("qwen3_vl/qwen3_vl");
}

/* A batch whose parts don't agree is refused before anything is read. */
static void wrong_batches(void **state) {
    (void)state;
    network n;
    visual_pixels p;
    static visual_sequence s;
    const tkr_run_options plain = {0};
    size_t index = 5;
    open_case(&n, &p, "qwen2_vl/qwen2_vl", &(network_options){.mode = TKR_GEMM_F32});
    assert_true(visual_batch(&s, &n, &p, &index, 1));
    for (int wrong = 0; wrong < 5; wrong++) {
        tkr_batch bad = s.batch;
        tkr_visual grid = s.visuals[0];
        if (wrong == 0) bad.n_patches--;
        if (wrong == 1) bad.n_visual_tokens--;
        if (wrong == 2) bad.patch_cols -= 4;
        if (wrong == 3) grid = (tkr_visual){1, 1, 16};
        if (wrong == 4) grid = (tkr_visual){SIZE_MAX / 2, 4, 4};
        bad.visuals = &grid;
        tkr_ops_cpu.run_begin(n.run, &plain);
        assert_null(tkr_arch_forward(n.model, n.run, &bad));
        assert_int_equal(tkr_ops_cpu.run_status(n.run, NULL), TKR_INTERNAL);
    }
    visual_free(&s);
    close_case(&n, &p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adapter_golden), cmocka_unit_test(goldens),  cmocka_unit_test(goldens_plain_c),
        cmocka_unit_test(other_formats),  cmocka_unit_test(together), cmocka_unit_test(sizes_in_turn),
        cmocka_unit_test(wrong_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
