/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes the safetensors header (and, for inputs that begin with '{', the shard index): reads all that a view promises.
 */
#include <string.h>

#include "check_set.h"
#include "formats/safetensors_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tkr_error error;
    if (size > 0 && data[0] == '{') {
        tkr_arena text = {0};
        tkr_tensor_entry *entries = NULL;
        size_t n = 0;
        if (tkr_tensor_index_parse(&entries, &n, &text, (const char *)data, size, "fuzz", &error) == TKR_OK) {
            for (size_t i = 0; i < n; i++) {
                if (strchr(entries[i].file, '/') || strstr(entries[i].file, "..")) __builtin_trap();
            }
            tkr_free(entries);
        }
        tkr_arena_free(&text);
        return 0;
    }
    void *copy = tkr_aligned_alloc(size); /* as a map is: aligned */
    tkr_tensors *set = NULL;
    if (!copy) return 0;
    memcpy(copy, data, size);
    if (tkr_tensors_open_memory(&set, tkr_safetensors_read, copy, size, "fuzz", &error) == TKR_OK) check_set(set);
    tkr_tensors_free(&set);
    tkr_aligned_free(copy, size);
    return 0;
}
