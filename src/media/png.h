/* SPDX-License-Identifier: Apache-2.0 */
/* media/png: writes 8-bit RGB as PNG, for thumbnails. Reads nothing: that is the jail's work. */
#ifndef TKR_MEDIA_PNG_H
#define TKR_MEDIA_PNG_H

#include "core/mem.h"
#include "media/image.h"

/* Appends the file to `out`. */
tkr_status tkr_png_encode(tkr_buf *out, const tkr_image *image, tkr_error *error);

#endif
