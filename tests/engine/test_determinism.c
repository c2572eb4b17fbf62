/* SPDX-License-Identifier: Apache-2.0 */
/* Same input, same bits: alone, in any batch, in any order, on 1, 2 or 3 threads, repeated, on each rung, in each
 * format. */
#include "core/cpu.h"
#include "golden.h"

enum { N_TEXTS = 90, MAX_TEXT = 1600 };

static char texts[N_TEXTS][MAX_TEXT];
static size_t sizes[N_TEXTS];

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* Texts of 0 to about 250 words, so that chunks of all shapes form. */
static void make_texts(void) {
    static const char *const words[] = {"water", "the",          "computes", "fast", "river",
                                        "of",    "unbelievable", "bank",     "7",    "cafe"};
    uint32_t state = 5;
    for (size_t i = 0; i < N_TEXTS; i++) {
        size_t n = i < 20 ? i : next_random(&state) % (i % 10 == 0 ? 250 : 40);
        sizes[i] = 0;
        for (size_t w = 0; w < n && sizes[i] + 20 < MAX_TEXT; w++)
            sizes[i] +=
                (size_t)snprintf(texts[i] + sizes[i], MAX_TEXT - sizes[i], "%s ", words[next_random(&state) % 10]);
    }
}

static tkr_input input_of(size_t i) { return (tkr_input){.text = texts[i], .n_text = sizes[i]}; }

static void check_alone(embedder *e, const tkr_result *all, const size_t *order) {
    for (size_t i = 0; i < N_TEXTS; i += 3) {
        tkr_input input = input_of(order[i]);
        tkr_result *one = embed_all(e, &input, 1, NULL);
        size_t bytes = tkr_result_dimensions(one) * sizeof(float);
        if (memcmp(tkr_result_get(one, 0).rows, tkr_result_get(all, i).rows, bytes) != 0)
            fail_msg("text %zu has other bits alone than in a batch", order[i]);
        tkr_result_free(&one);
    }
}

static tkr_result *embed_order(embedder *e, const size_t *order, size_t begin, size_t n) {
    tkr_input inputs[N_TEXTS];
    for (size_t i = 0; i < n; i++) inputs[i] = input_of(order[begin + i]);
    return embed_all(e, inputs, n, NULL);
}

static void check_same(const tkr_result *reference, const tkr_result *result, const size_t *order, size_t begin,
                       const char *what) {
    size_t bytes = tkr_result_dimensions(reference) * sizeof(float);
    for (size_t i = 0; i < tkr_result_n_items(result); i++)
        if (memcmp(tkr_result_get(result, i).rows, tkr_result_get(reference, order[begin + i]).rows, bytes) != 0)
            fail_msg("%s: text %zu has other bits", what, order[begin + i]);
}

static void check_format(const char *reference, embedder_options options, const char *what) {
    size_t identity[N_TEXTS], shuffled[N_TEXTS];
    uint32_t state = 9;
    for (size_t i = 0; i < N_TEXTS; i++) identity[i] = shuffled[i] = i;
    for (size_t i = N_TEXTS - 1; i > 0; i--) {
        size_t j = next_random(&state) % (i + 1), keep = shuffled[i];
        shuffled[i] = shuffled[j];
        shuffled[j] = keep;
    }
    tkr_result *first = NULL;
    for (unsigned threads = 1; threads <= 3; threads++) {
        embedder e = {0};
        options.threads = threads;
        embedder_open(&e, reference, &options);
        tkr_result *all = embed_order(&e, identity, 0, N_TEXTS);
        tkr_result *other = embed_order(&e, shuffled, 0, N_TEXTS);
        tkr_result *again = embed_order(&e, identity, 0, N_TEXTS);
        tkr_result *few = embed_order(&e, shuffled, 40, 7);
        if (!first) first = all;
        check_same(first, all, identity, 0, what);
        check_same(first, other, shuffled, 0, what);
        check_same(first, again, identity, 0, what);
        check_same(first, few, shuffled, 40, what);
        check_alone(&e, first, identity);
        tkr_result_free(&other);
        tkr_result_free(&again);
        tkr_result_free(&few);
        if (all != first) tkr_result_free(&all);
        embedder_close(&e);
    }
    tkr_result_free(&first);
}

static void each_rung_and_format(void **state) {
    (void)state;
    static const char *const caps[] = {"generic", "avx2",    "avx512", "vnni",    "amx",
                                       "neon",    "dotprod", "i8mm",   "arm-bf16"};
    char tiny[600];
    snprintf(tiny, sizeof tiny, "%s/golden/bert/bert-mean/model", TKR_TEST_DIR);
    for (size_t c = 0; c < sizeof caps / sizeof *caps; c++) {
        tkr_cpu_flags flags = 0;
        if (tkr_cpu_detect(&flags, caps[c], NULL) != TKR_OK) {
            print_message("rung %s: not run, this CPU lacks it\n", caps[c]);
            continue;
        }
        for (int mode = 0; mode < 3; mode++) {
            const embedder_options options = {.precision = mode == 1 ? TKR_PRECISION_BF16 : TKR_PRECISION_F32,
                                              .quantization = mode == 2 ? TKR_QUANTIZATION_Q8 : TKR_QUANTIZATION_NONE,
                                              .cpu = caps[c]};
            check_format(tiny, options, caps[c]);
            if (strcmp(caps[c], "generic") != 0) /* plain C would take minutes on the real model */
                check_format(minilm_reference(), options, caps[c]);
        }
    }
}

static int setup(void **state) {
    (void)state;
    make_texts();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_rung_and_format)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
