/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as preprocessor_config.json: refused with a message, or a processor whose grids and rows agree. The first
 * byte chooses the family of the model. */
#include <stdlib.h>
#include <string.h>

#include "media/processor_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_picture(const tkr_processor *p, size_t width, size_t height) {
    static const uint8_t pixels[64 * 3];
    const tkr_image image = {.width = width, .height = height, .rgb = (uint8_t *)(uintptr_t)pixels};
    tkr_patches patches;
    size_t t = 0, h = 0, w = 0;
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_processor_grid(&t, &h, &w, p, width, height, NULL, &error) != TKR_OK) {
        if (error.message[0] == '\0') abort();
        return;
    }
    if (t != 1 || h * w > TKR_MAX_PIXELS) abort();
    if (h * w > 64 || p->shortest > 64 || p->width > 64 || p->height > 64) return; /* for speed */
    if (tkr_processor_apply(&patches, p, &image, NULL, &error) != TKR_OK) abort();
    if (patches.h != h || patches.w != w) abort();
    for (size_t i = 0; i < h * w * patches.n_cols; i++) {
        if (!(patches.rows[i] > -1e30f && patches.rows[i] < 1e30f)) abort();
    }
    tkr_patches_free(&patches);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    tkr_processor p = {.family = (tkr_processor_family)(data[0] % 4),
                       .patch_size = 14,
                       .temporal_patch_size = data[0] % 4 == TKR_PROCESSOR_FIXED ? 1 : 2,
                       .merge_size = data[0] % 4 == TKR_PROCESSOR_FIXED ? 1 : 2,
                       .image_size = 56,
                       .torchvision = data[0] >= 128};
    json_t *json = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_kernels_init(&p.kernels, 0);
    tkr_status status = tkr_json_parse(&json, (const char *)data + 1, size - 1, "file", &error);
    if (status == TKR_OK) status = tkr_processor_read(&p, json, "file", &error);
    json_decref(json);
    if (status != TKR_OK) {
        if (error.message[0] == '\0') abort();
        return 0;
    }
    check_picture(&p, 8, 8);
    check_picture(&p, 1, 64);
    check_picture(&p, 21, 3);
    check_picture(&p, 1, 1);
    return 0;
}
