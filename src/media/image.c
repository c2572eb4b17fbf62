/* SPDX-License-Identifier: Apache-2.0 */
/* media/image: the pixels' owner. */
#include "media/image.h"

#include "core/mem.h"

void tkr_image_free(tkr_image *image) {
    if (!image) return;
    tkr_free(image->rgb);
    *image = (tkr_image){0};
}
