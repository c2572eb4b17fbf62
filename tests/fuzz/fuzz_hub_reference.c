/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as a model reference: refused, or an id and a revision that are safe as path and in a URL. */
#include <stdlib.h>
#include <string.h>

#include "hub/hub_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    if (text == NULL) {
        return 0;
    }
    memcpy(text, data, size);
    text[size] = '\0';
    tkr_hub_ref ref;
    tkr_error error = {0};
    if (tkr_hub_ref_parse(&ref, text, &error) == TKR_OK) {
        const char *slash = strchr(ref.repository, '/');
        if (slash == NULL || strchr(slash + 1, '/') != NULL || strstr(ref.repository, "..") != NULL ||
            strstr(ref.repository, "--") != NULL || !tkr_hub_safe_path(ref.repository) ||
            !tkr_hub_safe_path(ref.revision)) {
            abort();
        }
        char *path = tkr_hub_cache_path("/cache", ref.repository, ref.revision);
        if (path == NULL || strncmp(path, "/cache/models--", 15) != 0) {
            abort();
        }
        tkr_free(path);
    } else if (error.message[0] == '\0' || strchr(error.message, '\n') != NULL) {
        abort();
    }
    (void)tkr_hub_closest_alias(text);
    (void)tkr_hub_same_origin(text, "https://huggingface.co");
    free(text);
    return 0;
}
