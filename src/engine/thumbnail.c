/* SPDX-License-Identifier: Apache-2.0 */
/* engine/thumbnail: small pictures of what was embedded, as PNG of our own making: bytes of unknown origin go through
 * the jail, not on to whoever looks at the result. */
#include "engine/engine.h"
#include "engine/tools.h"
#include "media/png.h"
#include "media/resize.h"

static tkr_status shrink(tkr_buf *png, size_t *width, size_t *height, const tkr_image *image, size_t side,
                         tkr_error *error) {
    tkr_image small = {0};
    const size_t longest = image->width > image->height ? image->width : image->height;
    tkr_resize_options options = {.width = image->width, .height = image->height, .filter = TKR_FILTER_BICUBIC};
    if (longest > side) {
        options.width = image->width * side / longest > 0 ? image->width * side / longest : 1;
        options.height = image->height * side / longest > 0 ? image->height * side / longest : 1;
    }
    tkr_status status = tkr_resize(&small, image, &options, error);
    if (status == TKR_OK) status = tkr_png_encode(png, &small, error);
    *width = options.width;
    *height = options.height;
    tkr_image_free(&small);
    return status;
}

tkr_status tkr_tools_thumbnail(tkr_buf *png, size_t *width, size_t *height, tkr_model *model, const tkr_part *part,
                               size_t side, tkr_error *error) {
    tkr_image image = {0};
    tkr_buf file = {0};
    if (part->kind == TKR_PART_RGB) {
        image = (tkr_image){part->width, part->height, (uint8_t *)(uintptr_t)part->data}; /* only read */
        return shrink(png, width, height, &image, side, error);
    }
    if (!model->processor) return TKR_FAIL(error, INVALID_ARGUMENT, "%s reads no pictures", model->info.reference);
    tkr_status status = tkr_decode_part(&image, &file, model, part, part->name, TKR_ALPHA_WHITE, NULL, error);
    tkr_buf_free(&file);
    if (status != TKR_OK) return status;
    status = shrink(png, width, height, &image, side, error);
    tkr_image_free(&image);
    return status;
}
