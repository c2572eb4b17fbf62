/* SPDX-License-Identifier: Apache-2.0 */
/* Every architecture's last hidden states against the reference, from token ids; the same bits whatever the chunks; the
 * promised workspace is enough. A registered architecture without goldens fails. What reads pictures has tests of its
 * own. */
#include "network.h"

static tkr_gemm_mode mode_at_hand;
static const char *cpu_at_hand;

/* These two are built to amplify errors: see their cases.json and tests/golden/README.md. */
static bool is_touchy(const char *folder) {
    return strstr(folder, "modernbert-cls") != NULL || strstr(folder, "bert-gelu-eps") != NULL;
}

static double hidden_limit(const char *folder) {
    static const double limits[TKR_GEMM_MODES] = {1e-5, 2e-2, 6e-2, 5e-1};
    const double touchy[TKR_GEMM_MODES] = {1e-4, 5e-2, 2e-1, 1.2};
    return is_touchy(folder) ? touchy[mode_at_hand] : limits[mode_at_hand];
}

static void check_hidden_states(const char *folder) {
    network n;
    static sequence s;
    const tkr_run_options plain = {0};
    double worst = 0;
    size_t checked = 0;
    network_open(&n, folder, &(network_options){.cpu = cpu_at_hand, .mode = mode_at_hand, .group = 32});
    const double limit = hidden_limit(folder);
    for (size_t i = 0; i < network_inputs(&n); i++) {
        const tkr_tensor_view *want = network_expected(&n, i, "last_hidden_state");
        if (!want) continue;
        sequence_of_case(&s, &n, i);
        assert_int_equal(want->n_elements, s.batch.n_tokens * n.config.hidden_size);
        float *got = network_hidden(&n, &s, &plain);
        worst = fmax(worst, relative_l2(got, want->data, want->n_elements));
        checked++;
        free(got);
    }
    print_message("%s: largest relative error of a hidden state %.1e (limit %.0e)\n", folder, worst, limit);
    assert_true(checked > 0);
    assert_true(worst <= limit);
    network_close(&n);
}

static void each_architecture(void (*fn)(const char *folder)) {
    for (const tkr_arch *const *arch = tkr_archs(); *arch; arch++)
        if (!(*arch)->vision && each_case((*arch)->name, fn) == 0)
            fail_msg("architecture \"%s\" has no golden case", (*arch)->name);
}

static void hidden_states(void **state) {
    (void)state;
    cpu_at_hand = NULL;
    mode_at_hand = TKR_GEMM_F32;
    each_architecture(check_hidden_states);
}

static void hidden_states_plain_c(void **state) {
    (void)state;
    cpu_at_hand = "generic";
    mode_at_hand = TKR_GEMM_F32;
    each_architecture(check_hidden_states);
}

/* Rounded to fewer bits: these tiny networks lose much by it, but no part may be lost altogether. */
static void hidden_states_of_other_formats(void **state) {
    (void)state;
    for (int plain = 0; plain < 2; plain++)
        for (int mode = TKR_GEMM_BF16; mode < TKR_GEMM_MODES; mode++) {
            cpu_at_hand = plain ? "generic" : NULL;
            mode_at_hand = (tkr_gemm_mode)mode;
            print_message("%s, format %d\n", plain ? "plain C" : "native", mode);
            each_architecture(check_hidden_states);
        }
}

/* All that a forward pass of one worker may take: what the memory plan promises. */
static size_t promise(const network *n, size_t n_tokens, size_t chunk_rows) {
    return tkr_arch_workspace(&n->config, n_tokens, chunk_rows) +
           tkr_ops_cpu.scratch_bytes(n->backend, n_tokens, n_tokens, tkr_arch_widest(&n->config), n->config.head_dim);
}

static size_t longest_case(sequence *s, const network *n) {
    size_t best = 0, longest = 0;
    for (size_t i = 0; i < network_inputs(n); i++) {
        sequence_of_case(s, n, i);
        if (s->batch.n_tokens <= longest) continue;
        longest = s->batch.n_tokens;
        best = i;
    }
    sequence_of_case(s, n, best);
    return longest;
}

/* Chunks of any size give the bits of one piece, within the promised memory. */
static void check_chunks(const char *folder) {
    static const size_t chunks[] = {1, 3, 16, 63};
    network n;
    static sequence s;
    network_open(&n, folder, &(network_options){.mode = mode_at_hand});
    const size_t n_tokens = longest_case(&s, &n);
    tkr_run_options options = {.max_bytes = promise(&n, n_tokens, 4096), .chunk_rows = 4096};
    float *whole = network_hidden(&n, &s, &options);
    for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
        /* A run's buffers only grow: a fresh one shows what this size of chunk needs. */
        tkr_ops_cpu.run_free(&n.run);
        assert_int_equal(tkr_ops_cpu.run_create(&n.run, n.backend, NULL), TKR_OK);
        options = (tkr_run_options){.max_bytes = promise(&n, n_tokens, chunks[c]), .chunk_rows = chunks[c]};
        float *pieces = network_hidden(&n, &s, &options);
        assert_memory_equal(whole, pieces, n_tokens * n.config.hidden_size * sizeof *whole);
        free(pieces);
    }
    free(whole);
    network_close(&n);
}

static void chunks_change_no_bit(void **state) {
    (void)state;
    for (int mode = TKR_GEMM_F32; mode < TKR_GEMM_MODES; mode++) {
        mode_at_hand = (tkr_gemm_mode)mode;
        each_architecture(check_chunks);
    }
}

/* ---- what the weights take ---- */

static void check_measure(const char *folder) {
    network n;
    network_prepare(&n, folder, NULL);
    for (int spare = 0; spare < 2; spare++) network_check_measured(&n, mode_at_hand, spare ? TKR_SENSITIVE_WEIGHT : 0u);
    network_close(&n);
}

static void measured_weights(void **state) {
    (void)state;
    for (int mode = TKR_GEMM_F32; mode < TKR_GEMM_MODES; mode++) {
        mode_at_hand = (tkr_gemm_mode)mode;
        each_architecture(check_measure);
        check_measure("quant/mlx-bert-mxfp4");
        check_measure("quant/mlx-bert-q4-g64");
        check_measure("quant/mlx-qwen3-mixed");
    }
}

/* Random ids, up to the model's limit or 3,000 of them. */
static size_t fill_long(sequence *s, const network *n, size_t wish) {
    const size_t count = wish < n->config.max_positions ? wish : n->config.max_positions;
    uint32_t seed = 7;
    for (size_t t = 0; t < count; t++) {
        seed = seed * 1664525u + 1013904223u;
        s->ids[t] = (int32_t)((seed >> 8) % n->config.vocab_size);
    }
    sequence_finish(s, &n->config, count);
    return count;
}

static void check_long_input(const char *folder) {
    network n;
    static sequence s;
    network_open(&n, folder, &(network_options){.mode = TKR_GEMM_F32});
    n.config.max_positions = n.arch->layout->positions ? n.config.max_positions : 3000;
    const size_t n_tokens = fill_long(&s, &n, 3000);
    tkr_run_options options = {.max_bytes = promise(&n, n_tokens, 4096), .chunk_rows = 4096};
    float *whole = network_hidden(&n, &s, &options);
    tkr_ops_cpu.run_free(&n.run);
    assert_int_equal(tkr_ops_cpu.run_create(&n.run, n.backend, NULL), TKR_OK);
    options = (tkr_run_options){.max_bytes = promise(&n, n_tokens, 1024), .chunk_rows = 1024};
    float *pieces = network_hidden(&n, &s, &options);
    assert_memory_equal(whole, pieces, n_tokens * n.config.hidden_size * sizeof *whole);
    free(pieces);
    /* Shared by workers: the same bits, within the memory of as many workers. */
    tkr_ops_cpu.run_free(&n.run);
    assert_int_equal(tkr_ops_cpu.run_create(&n.run, n.backend, NULL), TKR_OK);
    options = (tkr_run_options){.max_bytes = 2 * promise(&n, n_tokens, 1024), .chunk_rows = 1024, .pool = n.pool};
    pieces = network_hidden(&n, &s, &options);
    assert_memory_equal(whole, pieces, n_tokens * n.config.hidden_size * sizeof *whole);
    free(pieces);
    free(whole);
    network_close(&n);
}

/* Inputs of all lengths after one another: buffers left by a shorter one don't take the room of a longer one. */
static void check_lengths(const char *folder) {
    static const size_t lengths[] = {1800, 3000, 700, 2999, 1100, 2000, 3, 3000, 1500, 2600, 40, 1025, 3000};
    network n;
    static sequence s;
    network_open(&n, folder, &(network_options){.mode = TKR_GEMM_F32});
    n.config.max_positions = 3000;
    const tkr_run_options options = {.max_bytes = promise(&n, 3000, 256), .chunk_rows = 256};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        fill_long(&s, &n, lengths[i]);
        free(network_hidden(&n, &s, &options));
    }
    network_close(&n);
}

static void long_inputs(void **state) {
    (void)state;
    static const char *const folders[] = {"qwen3/qwen3-last", "modernbert/modernbert-mean", "gemma3_text/gemma3-dense",
                                          "nomic_bert/nomic-bert"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        check_long_input(folders[i]);
        check_lengths(folders[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hidden_states),
        cmocka_unit_test(hidden_states_plain_c),
        cmocka_unit_test(hidden_states_of_other_formats),
        cmocka_unit_test(chunks_change_no_bit),
        cmocka_unit_test(measured_weights),
        cmocka_unit_test(long_inputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
