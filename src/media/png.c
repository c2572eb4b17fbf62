/* SPDX-License-Identifier: Apache-2.0 */
/* media/png: signature, IHDR, one IDAT, IEND (PNG specification, third edition); rows filtered by "Sub". */
#include "media/png.h"

#include <string.h>

#include "core/compress.h"

static void put32(uint8_t *out, uint32_t value) {
    for (int i = 0; i < 4; i++) out[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void chunk(tkr_buf *out, const char *type, const void *data, size_t size) {
    uint8_t head[8], tail[4];
    put32(head, (uint32_t)size);
    memcpy(head + 4, type, 4);
    put32(tail, tkr_crc32(tkr_crc32(0, head + 4, 4), data, size));
    tkr_buf_append(out, head, sizeof head);
    tkr_buf_append(out, data, size);
    tkr_buf_append(out, tail, sizeof tail);
}

/* Each row: filter type 1, then every byte less the one of the pixel before. */
static uint8_t *filter(size_t *size, const tkr_image *image) {
    size_t row = 0, total = 0;
    if (!tkr_mul_size(&row, image->width, 3) || !tkr_add_size(&row, row, 1) ||
        !tkr_mul_size(&total, row, image->height))
        return NULL;
    uint8_t *rows = tkr_malloc(total);
    for (size_t y = 0; rows && y < image->height; y++) {
        const uint8_t *in = image->rgb + y * (row - 1);
        uint8_t *out = rows + y * row;
        *out++ = 1;
        for (size_t i = 0; i < row - 1; i++) out[i] = (uint8_t)(in[i] - (i < 3 ? 0 : in[i - 3]));
    }
    *size = total;
    return rows;
}

tkr_status tkr_png_encode(tkr_buf *out, const tkr_image *image, tkr_error *error) {
    static const uint8_t signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    uint8_t header[13] = {[8] = 8, [9] = 2}; /* 8 bits, RGB, default compression and filter, not interlaced */
    tkr_buf packed = {0};
    size_t size = 0;
    if (image->width == 0 || image->height == 0 || image->width > INT32_MAX || image->height > INT32_MAX)
        return TKR_FAIL(error, INVALID_ARGUMENT, "a PNG of %zu x %zu pixels; expected 1 to 2147483647 each way",
                        image->width, image->height);
    uint8_t *rows = filter(&size, image);
    tkr_status status =
        rows ? tkr_deflate(&packed, rows, size, error)
             : TKR_FAIL(error, NO_MEMORY, "no memory for a PNG of %zu x %zu pixels", image->width, image->height);
    if (status == TKR_OK && packed.size > INT32_MAX)
        status = TKR_FAIL(error, LIMIT, "a PNG of %zu x %zu pixels is too large", image->width, image->height);
    if (status == TKR_OK) {
        put32(header, (uint32_t)image->width);
        put32(header + 4, (uint32_t)image->height);
        tkr_buf_append(out, signature, sizeof signature);
        chunk(out, "IHDR", header, sizeof header);
        chunk(out, "IDAT", packed.data, packed.size);
        chunk(out, "IEND", "", 0);
        if (out->failed) status = TKR_FAIL(error, NO_MEMORY, "no memory for a PNG of %zu bytes", packed.size);
    }
    tkr_free(rows);
    tkr_buf_free(&packed);
    return status;
}
