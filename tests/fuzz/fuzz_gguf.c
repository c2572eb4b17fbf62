/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes the GGUF container and the block decoders: reads all that values and views promise. */
#include <string.h>

#include "formats/gguf_read.h"
#include "quant/matrix.h"

enum { MAX_COLS = 4096 };

static void check_value(const tkr_gguf_value *value) {
    double sum = 0;
    const char *text = value->text;
    size_t n = value->n_text;
    for (size_t i = 0; i < n; i++) sum += text[i];
    for (size_t i = 0; value->kind == TKR_GGUF_ARRAY && i < value->n; i++) {
        sum += tkr_gguf_array_number(value, i) + (double)tkr_gguf_array_integer(value, i);
        if (!tkr_gguf_array_string(&text, &n, value, i)) continue;
        for (size_t k = 0; k < n; k++) sum += text[k];
    }
    __asm__ volatile("" : : "r"(&sum) : "memory");
}

static void check_tensor(const tkr_tensor_view *view) {
    static float row[MAX_COLS];
    const uint8_t *bytes = view->data;
    unsigned sum = 0;
    for (size_t k = 0; k < view->size; k++) sum += bytes[k];
    __asm__ volatile("" : : "r"(sum));
    if (view->size != view->n_elements / tkr_dtype_block(view->dtype) * tkr_dtype_size(view->dtype)) __builtin_trap();
    if (tkr_dtype_class(view->dtype) == 0 || view->n_elements == 0) return;
    const tkr_matrix m = {.data = view->data,
                          .dtype = view->dtype,
                          .rows = 1,
                          .cols = view->n_dims > 0 ? (size_t)view->shape[view->n_dims - 1] : 1};
    if (m.cols <= MAX_COLS) tkr_matrix_row(row, &m, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tkr_error error;
    tkr_gguf *file = NULL;
    tkr_tensors *set = NULL;
    void *copy = tkr_aligned_alloc(size); /* as a map is: aligned */
    if (!copy) return 0;
    memcpy(copy, data, size);
    if (tkr_gguf_open_memory(&file, copy, size, "fuzz", &error) == TKR_OK) {
        for (size_t i = 0; i < tkr_gguf_count(file); i++) check_value(tkr_gguf_at(file, i));
        if (tkr_gguf_tensors(&set, file, NULL, NULL, &error) == TKR_OK) {
            for (size_t i = 0; i < tkr_tensors_count(set); i++) check_tensor(tkr_tensors_at(set, i));
        }
    }
    tkr_tensors_free(&set);
    tkr_gguf_free(&file);
    tkr_aligned_free(copy, size);
    return 0;
}
