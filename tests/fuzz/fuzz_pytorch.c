/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes the archive of a pytorch_model.bin and, for inputs that don't begin as a zip, the pickle alone. */
#include <string.h>

#include "formats/pickle.h"
#include "formats/pytorch_read.h"

static void check_set(const tkr_tensors *set) {
    for (size_t i = 0; i < tkr_tensors_count(set); i++) {
        const tkr_tensor_view *view = tkr_tensors_at(set, i);
        const uint8_t *bytes = view->data;
        unsigned sum = 0;
        for (size_t k = 0; k < view->size; k++) sum += bytes[k];
        __asm__ volatile("" : : "r"(sum));
        if (tkr_tensors_find(set, view->name) != view) __builtin_trap();
        if (view->size != view->n_elements * tkr_dtype_size(view->dtype)) __builtin_trap();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tkr_error error;
    if (size < 2 || memcmp(data, "PK", 2) != 0) {
        tkr_arena arena = {0};
        const tkr_pickle_value *root = NULL;
        arena.limit = (size_t)64 << 20;
        if (tkr_pickle_read(&root, &arena, data, size, "fuzz", &error) == TKR_OK && root->kind == TKR_PICKLE_DICT) {
            (void)tkr_pickle_get(root, "state_dict");
        }
        tkr_arena_free(&arena);
        return 0;
    }
    void *copy = tkr_aligned_alloc(size); /* as a map is: aligned */
    tkr_tensors *set = NULL;
    if (!copy) return 0;
    memcpy(copy, data, size);
    if (tkr_tensors_open_memory(&set, tkr_pytorch_read, copy, size, "fuzz", &error) == TKR_OK) check_set(set);
    tkr_tensors_free(&set);
    tkr_aligned_free(copy, size);
    return 0;
}
