/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the API's answer: refused, or files whose names and hashes are safe as paths. */
#include <stdlib.h>
#include <string.h>

#include "hub/hub_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tkr_hub_listing listing;
    tkr_error error = {0};
    if (tkr_hub_listing_parse(&listing, (const char *)data, size, "listing", &error) != TKR_OK) {
        if (error.message[0] == '\0') {
            abort();
        }
        return 0;
    }
    if (!tkr_hub_is_commit(listing.commit)) {
        abort();
    }
    for (int tokenizer_only = 1; tokenizer_only >= 0; tokenizer_only--) {
        for (size_t i = 0; i < listing.n; i++) {
            const tkr_hub_file *file = &listing.files[i];
            if (!tkr_hub_safe_path(file->path) || !tkr_hub_is_hex(file->hash, file->lfs ? 64 : 40)) {
                abort();
            }
        }
        (void)tkr_hub_listing_select(&listing, size % 2 == 0, "listing", &error);
    }
    tkr_hub_listing_free(&listing);
    return 0;
}
