/* SPDX-License-Identifier: Apache-2.0 */
/* Anonymous memory beyond the packed weights, at the default token budget, over many calls. */
#ifndef TESTS_ENGINE_MEMORY_H
#define TESTS_ENGINE_MEMORY_H

#include "core/cpu.h"
#include "golden.h"

enum { MEMORY_BLOCK = 1000 };
#define MEMORY_BAR ((uint64_t)64 << 20)

/* Embeds n_texts four-token texts ([CLS] and [SEP] included) in calls of MEMORY_BLOCK and then longer ones; fails when
 * memory beyond the weights passes the bar or still grows after the first tenth (but at least ten calls). */
static inline void memory_stays_flat(size_t n_texts) {
    embedder e = {0};
    char texts[MEMORY_BLOCK][32];
    tkr_input inputs[MEMORY_BLOCK];
    const embedder_options options = {
        .precision = TKR_PRECISION_F32, .quantization = TKR_QUANTIZATION_Q8, .threads = 2};
    uint64_t before = tkr_rss_anon(), early = 0, last = 0;
    embedder_open(&e, minilm_reference(), &options);
    uint64_t weights = tkr_model_get_info(e.model)->weights_bytes;
    static const char *const words[] = {"river", "stone", "cloud", "green", "music",
                                        "seven", "horse", "paper", "light", "sugar"};
    for (size_t done = 0; done < n_texts; done += MEMORY_BLOCK) {
        for (size_t i = 0; i < MEMORY_BLOCK; i++) {
            size_t k = done + i;
            snprintf(texts[i], sizeof texts[i], "%s %s", words[k % 10], words[k / 10 % 10]);
            inputs[i] = (tkr_input){.text = texts[i], .n_text = strlen(texts[i])};
        }
        tkr_result *result = embed_all(&e, inputs, MEMORY_BLOCK, NULL);
        assert_int_equal(tkr_result_get(result, 0).n_tokens, 4);
        tkr_result_free(&result);
        last = tkr_rss_anon();
        /* By then each worker has met the largest batch: which of them takes it is chance. */
        if (done <= n_texts / 10 || done < 10 * MEMORY_BLOCK) early = last;
    }
    uint64_t beyond = last > before + weights ? last - before - weights : 0;
    print_message("%zu texts: %.1f MiB anonymous beyond the weights' %.1f, %+.2f MiB after the first ones\n", n_texts,
                  (double)beyond / 1048576, (double)weights / 1048576, ((double)last - (double)early) / 1048576);
#ifndef __SANITIZE_ADDRESS__ /* which keeps freed memory in quarantine */
    assert_true(beyond <= MEMORY_BAR);
    assert_true(last <= early + (1u << 20));
#endif
    embedder_close(&e);
}

#endif
