/* SPDX-License-Identifier: Apache-2.0 */
/* media/smart_resize: the size that a Qwen-VL processor gives a picture: sides multiples of a factor, pixels between
 * two limits. transformers (image_processing_qwen2_vl) and qwen-vl-utils (vision_process) differ for slivers only. */
#include <math.h>

#include "core/error.h"
#include "media/processor.h"

enum { MAX_RATIO = 200 };

/* Integers below 2^53 in doubles, divided as Python divides them. */
static double quotient(size_t a, size_t b) { return (double)a / (double)b; }

/* value / factor, rounded half to even, times factor */
static size_t round_to(size_t value, size_t factor) { return (size_t)rint(quotient(value, factor)) * factor; }

static size_t at_least(size_t value, size_t least) { return value < least ? least : value; }

tkr_status tkr_smart_resize(size_t *new_width, size_t *new_height, size_t width, size_t height,
                            const tkr_smart_resize_options *options, tkr_error *error) {
    const size_t factor = options->factor, least = options->at_least_factor ? factor : 0;
    const size_t longer = width > height ? width : height, shorter = width > height ? height : width;
    if (shorter == 0 || (!options->clamp_ratio && quotient(longer, shorter) > MAX_RATIO))
        return TKR_FAIL(error, LIMIT, "a picture of %zu x %zu pixels: one side is more than %d times the other", width,
                        height, MAX_RATIO);
    size_t h = at_least(round_to(height, factor), least), w = at_least(round_to(width, factor), least);
    const double most = (double)options->max_pixels + options->max_fraction;
    if ((double)(h * w) > most) {
        const double shrink = sqrt((double)(height * width) / most);
        h = (size_t)floor((double)height / shrink / (double)factor) * factor;
        w = (size_t)floor((double)width / shrink / (double)factor) * factor;
        if (!options->at_least_factor) {
            h = at_least(h, factor);
            w = at_least(w, factor);
        }
    } else if (h * w < options->min_pixels) {
        const double grow = sqrt(quotient(options->min_pixels, height * width));
        h = (size_t)ceil((double)height * grow / (double)factor) * factor;
        w = (size_t)ceil((double)width * grow / (double)factor) * factor;
    }
    if (options->clamp_ratio) { /* no more than 200 to 1; a side of 0 stays */
        h = h > w * MAX_RATIO ? w * MAX_RATIO : h;
        w = w > h * MAX_RATIO ? h * MAX_RATIO : w;
    }
    *new_width = w;
    *new_height = h;
    return TKR_OK;
}
