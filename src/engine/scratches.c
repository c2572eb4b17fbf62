/* SPDX-License-Identifier: Apache-2.0 */
/* engine/scratches: scratches of a tokenizer that calls from many threads take turns with, without a lock. */
#include "engine/engine.h"

/* Calls that run at once beyond KEPT make their own; one that read KEEP_BYTES may be some megabytes large. */
enum { KEPT = 16, KEEP_BYTES = 64 << 10 };

struct tkr_scratches {
    _Atomic(tkr_tok_scratch *) kept[KEPT]; /* NULL: free place */
};

tkr_status tkr_scratches_create(tkr_scratches **out, tkr_error *error) {
    tkr_scratches *scratches = tkr_malloc(sizeof *scratches);
    if (!scratches) return TKR_FAIL(error, NO_MEMORY, "no memory for a tokenizer's scratches");
    for (size_t i = 0; i < KEPT; i++) atomic_init(&scratches->kept[i], NULL);
    *out = scratches;
    return TKR_OK;
}

void tkr_scratches_free(tkr_scratches **scratches) {
    if (!*scratches) return;
    for (size_t i = 0; i < KEPT; i++) {
        tkr_tok_scratch *scratch = atomic_load(&(*scratches)->kept[i]);
        tkr_tok_scratch_free(&scratch);
    }
    tkr_free(*scratches);
    *scratches = NULL;
}

tkr_status tkr_scratches_take(tkr_tok_scratch **scratch, tkr_scratches *scratches, const tkr_tok *tok,
                              tkr_error *error) {
    for (size_t i = 0; i < KEPT; i++) { /* the first places are the ones last used, still in the caches */
        *scratch = atomic_exchange_explicit(&scratches->kept[i], NULL, memory_order_acquire);
        if (*scratch) return TKR_OK;
    }
    return tkr_tok_scratch_create(scratch, tok, error);
}

void tkr_scratches_give(tkr_scratches *scratches, tkr_tok_scratch *scratch, size_t n_bytes) {
    for (size_t i = 0; scratch && n_bytes <= KEEP_BYTES && i < KEPT; i++) {
        tkr_tok_scratch *none = NULL;
        if (atomic_compare_exchange_strong_explicit(&scratches->kept[i], &none, scratch, memory_order_release,
                                                    memory_order_relaxed))
            return;
    }
    tkr_tok_scratch_free(&scratch);
}
