/* SPDX-License-Identifier: Apache-2.0 */
/* SigLIP, SigLIP 2 and CLIP against the reference, from token ids and pixel values; the same bits alone and in batches
 * with pictures of other sizes; the promised workspace is enough. */
#include "two_towers.h"

static const char *const folders[] = {"siglip/siglip", "siglip/siglip2", "siglip/siglip_bf16", "clip/clip"};
enum { N_FOLDERS = sizeof folders / sizeof *folders };

/* Largest cosine distances, by format. q8 and q4 are no measure of trained models: nothing may be lost altogether. */
static const double limits[TKR_GEMM_MODES] = {1e-8, 1e-3, 1e-2, 1e-1};

/* ---- texts ---- */

/* The vector of one text, before normalisation. */
static void embed_text(float *out, network *n, const json_t *ids) {
    static const tkr_pool_mode last = TKR_POOL_LASTTOKEN;
    static sequence s;
    const tkr_run_options plain = {0};
    const size_t count = json_array_size(ids);
    assert_in_range(count, 1, n->config.max_positions);
    for (size_t t = 0; t < count; t++) s.ids[t] = (int32_t)json_integer_value(json_array_get(ids, t));
    sequence_finish(&s, &n->config, count);
    if (n->arch->vision->text_end) s.span.end = n->arch->vision->text_end(&n->vision, s.ids, count);
    tkr_ops_cpu.run_begin(n->run, &plain);
    tkr_tensor *x = tkr_arch_forward(n->model, n->run, &s.batch);
    tkr_tensor *pooled = tkr_ops_cpu.pool(n->run, x, &s.span, 1, &last, 1);
    tkr_ops_cpu.release(n->run, &x);
    tkr_tensor *vector = tkr_arch_head(n->model, n->run, pooled);
    assert_int_equal(tkr_ops_cpu.read(n->run, out, vector), TKR_OK);
    assert_int_equal(tkr_ops_cpu.cols(vector), n->vision.head_size);
    tkr_ops_cpu.release(n->run, &vector);
}

/* Distance to the golden of the vector's direction and, where it has one, of its length. */
static double distance(const network *n, const float *got, size_t input, const char *what) {
    const size_t size = n->vision.head_size;
    char raw[40];
    const tkr_tensor_view *want = network_expected(n, input, what);
    assert_non_null(want);
    assert_int_equal(want->n_elements, size);
    double worst = cosine_distance(got, want->data, size);
    snprintf(raw, sizeof raw, "%s_raw", what);
    want = network_expected(n, input, raw);
    if (want) worst = fmax(worst, pow(relative_l2(got, want->data, size), 2) / 2); /* what an angle as large costs */
    return worst;
}

static double texts_distance(network *n) {
    double worst = 0;
    float *got = calloc(n->vision.head_size, sizeof *got);
    assert_non_null(got);
    for (size_t i = 0; i < network_inputs(n); i++) {
        const json_t *input = json_array_get(json_object_get(n->cases, "inputs"), i);
        const json_t *ids = json_object_get(input, "input_ids"), *other;
        if (!ids) continue;
        embed_text(got, n, ids);
        worst = fmax(worst, distance(n, got, i, "embedding"));
        other = json_object_get(input, "input_ids_by_tokenizer_json");
        if (!other) continue;
        embed_text(got, n, other);
        worst = fmax(worst, distance(n, got, i, "embedding_by_tokenizer_json"));
    }
    free(got);
    return worst;
}

/* ---- pictures ---- */

static double states_error(network *n, const pictures *p, const size_t *inputs) {
    const tkr_tower *tower = n->model->vision; /* begins with it */
    const tkr_batch batch = pictures_batch(p);
    const tkr_run_options plain = {0};
    const size_t cols = n->vision.tower.hidden_size;
    tkr_pictures tokens;
    double worst = 0;
    tkr_ops_cpu.run_begin(n->run, &plain);
    assert_true(tkr_pictures_make(&tokens, tower, n->run, &batch));
    float *got = calloc(tokens.batch.n_tokens * cols, sizeof *got);
    assert_non_null(got);
    tkr_tensor *x = tkr_tower_states(tower, n->run, &batch, &tokens);
    assert_int_equal(tkr_ops_cpu.read(n->run, got, x), TKR_OK);
    tkr_ops_cpu.release(n->run, &x);
    for (size_t i = 0; i < p->n; i++) {
        const tkr_tensor_view *want = network_expected(n, inputs[i], "vision_tokens");
        if (!want) continue;
        assert_int_equal(want->n_elements, (tokens.cu[i + 1] - tokens.cu[i]) * cols);
        worst = fmax(worst, relative_l2(got + tokens.cu[i] * cols, want->data, want->n_elements));
    }
    free(got);
    tkr_pictures_free(&tokens);
    return worst;
}

static double pictures_distance(network *n, const pictures *p, const size_t *inputs) {
    const tkr_run_options plain = {0};
    float *got = pictures_encode(n, p, &plain);
    double worst = 0;
    for (size_t i = 0; i < p->n; i++)
        worst = fmax(worst, distance(n, got + i * n->vision.out_size, inputs[i], "embedding"));
    free(got);
    return worst;
}

static void check_case(const char *folder, const char *cpu, tkr_gemm_mode mode) {
    static const double state_limits[TKR_GEMM_MODES] = {1e-5, 2e-2, 1e-1, 5e-1};
    network n;
    pictures p = {0};
    size_t inputs[MAX_PICTURES];
    network_open(&n, folder, &(network_options){.cpu = cpu, .mode = mode, .group = 32});
    pictures_of_case(&p, inputs, &n, folder);
    const double texts = texts_distance(&n), seen = pictures_distance(&n, &p, inputs),
                 states = states_error(&n, &p, inputs);
    print_message("%s, %s, format %d: texts %.1e, pictures %.1e, states %.1e\n", folder, cpu ? cpu : "native", mode,
                  texts, seen, states);
    assert_true(texts <= limits[mode] && seen <= limits[mode]);
    assert_true(states <= state_limits[mode]);
    pictures_free(&p);
    network_close(&n);
}

static void vectors_of_the_reference(void **state) {
    (void)state;
    for (int plain = 0; plain < 2; plain++)
        for (int mode = TKR_GEMM_F32; mode < TKR_GEMM_MODES; mode++)
            for (size_t i = 0; i < N_FOLDERS; i++)
                check_case(folders[i], plain ? "generic" : NULL, (tkr_gemm_mode)mode);
}

/* ---- batches ---- */

static void fresh_run(network *n) {
    tkr_ops_cpu.run_free(&n->run);
    assert_int_equal(tkr_ops_cpu.run_create(&n->run, n->backend, NULL), TKR_OK);
}

/* All that encoding by one worker may take: what the memory plan promises. */
static size_t promise(const network *n, const pictures *p, size_t chunk_rows) {
    size_t longest = 0, n_tokens = p->n_patches + p->n * n->vision.n_class;
    for (size_t i = 0; i < p->n; i++) {
        const size_t tokens = p->visuals[i].h * p->visuals[i].w + n->vision.n_class;
        longest = tokens > longest ? tokens : longest;
    }
    return tkr_vision_workspace(&n->vision, p->n_patches, chunk_rows) +
           tkr_ops_cpu.scratch_bytes(n->backend, n_tokens, longest, tkr_vision_widest(&n->vision),
                                     n->vision.tower.head_dim);
}

static void check_batches(const char *folder, tkr_gemm_mode mode) {
    static const size_t chunks[] = {4096, 1, 3, 16, 63};
    network n;
    pictures all = {0};
    size_t inputs[MAX_PICTURES];
    network_open(&n, folder, &(network_options){.mode = mode});
    pictures_of_case(&all, inputs, &n, folder);
    pictures_add_random(&all, &n, 1, 1);
    pictures_add_random(&all, &n, 9, 1);
    pictures_add_random(&all, &n, 7, 11); /* more than is interpolated at a time */
    const size_t width = n.vision.out_size;
    float *want = pictures_encode(&n, &all, &(tkr_run_options){0});
    for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++)
        for (size_t workers = 1; workers <= 2; workers++) {
            fresh_run(&n); /* a run's buffers only grow: a fresh one shows what this size of chunk needs */
            const tkr_run_options options = {.max_bytes = workers * promise(&n, &all, chunks[c]),
                                             .chunk_rows = chunks[c],
                                             .pool = workers > 1 ? n.pool : NULL};
            float *got = pictures_encode(&n, &all, &options);
            assert_memory_equal(got, want, all.n * width * sizeof *got);
            free(got);
        }
    const float *rows = all.patches;
    for (size_t i = 0; i < all.n; i++) {
        const size_t patches = all.visuals[i].h * all.visuals[i].w;
        pictures one = {.visuals = {all.visuals[i]}, .n = 1, .n_patches = patches, .cols = all.cols};
        one.patches = calloc(patches * all.cols, sizeof(float));
        assert_non_null(one.patches);
        memcpy(one.patches, rows, patches * all.cols * sizeof(float));
        rows += patches * all.cols;
        fresh_run(&n);
        float *got =
            pictures_encode(&n, &one, &(tkr_run_options){.max_bytes = promise(&n, &one, 16), .chunk_rows = 16});
        assert_memory_equal(got, want + i * width, width * sizeof *got);
        free(got);
        pictures_free(&one);
    }
    free(want);
    pictures_free(&all);
    network_close(&n);
}

static void same_bits_in_any_company(void **state) {
    (void)state;
    for (int mode = TKR_GEMM_F32; mode < TKR_GEMM_MODES; mode++)
        for (size_t i = 0; i < N_FOLDERS; i++) check_batches(folders[i], (tkr_gemm_mode)mode);
}

/* Nothing but pictures of one patch: more class tokens and pooling heads cannot come with so many patches. */
static void smallest_pictures(void **state) {
    (void)state;
    for (size_t i = 0; i < N_FOLDERS; i++)
        for (size_t chunk = 1; chunk <= 4; chunk++) {
            network n;
            pictures p = {0};
            network_open(&n, folders[i], &(network_options){.mode = TKR_GEMM_Q8});
            for (size_t k = 0; k < MAX_PICTURES; k++) pictures_add_random(&p, &n, 1, 1);
            const tkr_run_options options = {.max_bytes = promise(&n, &p, chunk), .chunk_rows = chunk};
            float *got = pictures_encode(&n, &p, &options);
            for (size_t k = 1; k < p.n; k++)
                assert_memory_equal(got, got + k * n.vision.out_size, n.vision.out_size * sizeof *got);
            free(got);
            pictures_free(&p);
            network_close(&n);
        }
}

static void wrong_batches(void **state) {
    (void)state;
    network n;
    pictures p = {0};
    network_open(&n, folders[0], &(network_options){.mode = TKR_GEMM_F32});
    pictures_add_random(&p, &n, 2, 3);
    const tkr_batch good = pictures_batch(&p);
    static const tkr_visual visuals[] = {{1, 2, 2}, {1, 3, 3}, {2, 2, 3}, {1, 0, 6}, {1, SIZE_MAX / 2, 3}};
    for (size_t i = 0; i < 2 + sizeof visuals / sizeof *visuals; i++) {
        tkr_batch batch = good;
        if (i == 0) batch.patch_cols++;
        if (i == 1) batch.n_visuals = 0;
        if (i > 1) batch.visuals = &visuals[i - 2];
        tkr_ops_cpu.run_begin(n.run, &(tkr_run_options){0});
        assert_null(tkr_arch_encode(n.model, n.run, &batch));
        assert_int_equal(tkr_ops_cpu.run_status(n.run, NULL), TKR_INTERNAL);
    }
    pictures_free(&p);
    network_close(&n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_of_the_reference),
        cmocka_unit_test(same_bits_in_any_company),
        cmocka_unit_test(smallest_pictures),
        cmocka_unit_test(wrong_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
