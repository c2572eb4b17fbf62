/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes every picture format of tkr-decode in process: the readers, not the jail. The result's buffer has exactly the
 * size that the readers may use. */
#include <string.h>

#include "core/mem.h"
#include "decode/decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { MAX_PIXELS = 1 << 18 };
    tkr_error error;
    uint8_t *copy = tkr_malloc(size), *out = tkr_malloc((size_t)MAX_PIXELS * 3);
    if (copy && out && size > 0) {
        memcpy(copy, data, size); /* its end is where the sanitizer looks */
        tkr_decoding d = {.bytes = copy, .n_bytes = size, .out = out, .max_pixels = MAX_PIXELS, .on_white = size % 2};
        if (tkr_decode_image(&d, &error) == TKR_OK && (d.width == 0 || d.width > MAX_PIXELS / d.height)) {
            __builtin_trap();
        }
    }
    tkr_free(copy);
    tkr_free(out);
    return 0;
}
