/* SPDX-License-Identifier: Apache-2.0 */
/* Reads all that the views of a set of plain tensors promise. */
#ifndef TESTS_FUZZ_CHECK_SET_H
#define TESTS_FUZZ_CHECK_SET_H

#include "formats/safetensors.h"

static inline void check_set(const tkr_tensors *set) {
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

#endif
