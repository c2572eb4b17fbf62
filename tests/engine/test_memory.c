/* SPDX-License-Identifier: Apache-2.0 */
/* Memory beyond the weights stays within its bar, over short texts and over texts up to the limit. */
#include "memory.h"

static void short_texts(void **state) {
    (void)state;
    memory_stays_flat(20 * MEMORY_BLOCK);
}

static void long_texts(void **state) {
    (void)state;
    enum { N = 64, SIZE = 3000 };
    embedder e = {0};
    char *text = malloc(SIZE);
    tkr_input inputs[N];
    assert_non_null(text);
    for (size_t i = 0; i < SIZE; i++) text[i] = i % 4 == 3 ? ' ' : (char)('a' + i * 7 % 26);
    for (size_t i = 0; i < N; i++)
        inputs[i] = (tkr_input){.text = text, .n_text = i % 3 == 0 ? SIZE : 50 * (i + 1) % SIZE};
    const embedder_options options = {
        .precision = TKR_PRECISION_F32, .quantization = TKR_QUANTIZATION_NONE, .threads = 2};
    uint64_t before = tkr_rss_anon();
    embedder_open(&e, minilm_reference(), &options);
    tkr_result *result = embed_all(&e, inputs, N, NULL);
    uint64_t weights = tkr_model_get_info(e.model)->weights_bytes, now = tkr_rss_anon();
    print_message("%.1f MiB anonymous beyond the weights' %.1f\n",
                  ((double)now - (double)before - (double)weights) / 1048576, (double)weights / 1048576);
    assert_true(now <= before + weights + MEMORY_BAR);
    tkr_result_free(&result);
    embedder_close(&e);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(long_texts), cmocka_unit_test(short_texts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
