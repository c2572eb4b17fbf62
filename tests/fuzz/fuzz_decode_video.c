/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes tkr-decode-video in process: containers, the index, seeking and conversion, not the jail. The result's buffer
 * has exactly the size that a frame may have. */
#include <string.h>

#include "core/mem.h"
#include "decode/video.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { MAX_PIXELS = 1 << 17, MAX_FRAMES = 256, STEPS = 4 };
    const tkr_video_options options = {.max_pixels = MAX_PIXELS, .max_frames = MAX_FRAMES};
    tkr_error error;
    tkr_video *video = NULL;
    uint8_t *copy = tkr_malloc(size ? size : 1), *out = tkr_malloc((size_t)MAX_PIXELS * 3);
    if (copy && out && tkr_video_open(&video, memcpy(copy, data, size), size, &options, &error) == TKR_OK) {
        const tkr_video_info *info = tkr_video_get_info(video);
        if (info->n_frames == 0 || info->n_frames > MAX_FRAMES || !(info->fps > 0)) __builtin_trap();
        for (size_t i = 0; i < STEPS; i++) { /* back and forth */
            size_t width = 1, height = 1;
            const size_t index = i * 7919 % info->n_frames;
            if (tkr_video_frame(out, &width, &height, video, index, &error) == TKR_OK &&
                (width == 0 || height == 0 || width > MAX_PIXELS / height))
                __builtin_trap();
        }
        tkr_video_close(&video);
    }
    tkr_free(copy);
    tkr_free(out);
    return 0;
}
