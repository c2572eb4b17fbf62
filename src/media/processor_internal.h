/* SPDX-License-Identifier: Apache-2.0 */
/* media/processor, private to the room, its tests and its fuzzer: a processor as read. */
#ifndef TKR_MEDIA_PROCESSOR_INTERNAL_H
#define TKR_MEDIA_PROCESSOR_INTERNAL_H

#include "core/json.h"
#include "media/processor.h"

struct tkr_processor {
    tkr_processor_family family;
    size_t patch_size, temporal_patch_size, merge_size, image_size; /* of the model */
    bool torchvision;
    tkr_filter filter;
    size_t min_pixels, max_pixels; /* of the file; Qwen families */
    /* FIXED: resize to width x height; or, where `shortest` isn't 0, the shorter side to `shortest` (the longer one to
     * at most `longest`, if that isn't 0); or not at all, where all are 0. */
    size_t width, height, shortest, longest;
    bool crop;           /* then the middle image_size x image_size of it, black where it is smaller */
    float table[3][256]; /* per channel: what becomes of an 8-bit value */
    tkr_kernels kernels;
};

/* Fills what the file says; what the model says (family, patch_size, ..., image_size) is there already. `what` names
 * the file in messages. */
tkr_status tkr_processor_read(tkr_processor *processor, const json_t *json, const char *what, tkr_error *error);

#endif
