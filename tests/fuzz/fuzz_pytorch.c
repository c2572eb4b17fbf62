/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes the archive of a pytorch_model.bin and, for inputs that don't begin as a zip, the pickle alone. */
#include <string.h>

#include "check_set.h"
#include "formats/pickle.h"
#include "formats/pytorch_read.h"

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
