/* SPDX-License-Identifier: Apache-2.0 */
/* decode/jpeg: libjpeg-turbo with its defaults (accurate integer DCT, fancy upsampling), as Pillow runs it: what can be
 * resynchronised is no error, data that ends too early is. Never at reduced scale: scaled pixels are other pixels. */
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include "core/mem.h"
#include "decode/decode.h"
#include "decode/pixels.h"

typedef struct reader {
    struct jpeg_decompress_struct codec;
    struct jpeg_error_mgr errors;
    struct jpeg_source_mgr source;
    jmp_buf failed;
    char message[JMSG_LENGTH_MAX];
    uint8_t *row; /* of CMYK, owned */
} reader;

/* ---- callbacks ---- */

static void on_error(j_common_ptr codec) {
    reader *r = codec->client_data;
    codec->err->format_message(codec, r->message);
    longjmp(r->failed, 1);
}

static void on_message(j_common_ptr codec, int level) {
    if (level < 0) codec->err->num_warnings++;
}

static void do_nothing(j_decompress_ptr codec) { (void)codec; }

/* The source is whole from the start: asking for more means that the file is cut. */
static boolean suspend(j_decompress_ptr codec) {
    (void)codec;
    return FALSE;
}

static void skip(j_decompress_ptr codec, long n) {
    struct jpeg_source_mgr *source = codec->src;
    const size_t skipped = n <= 0 ? 0 : (size_t)n < source->bytes_in_buffer ? (size_t)n : source->bytes_in_buffer;
    source->next_input_byte += skipped;
    source->bytes_in_buffer -= skipped;
}

/* ---- decoding ---- */

static tkr_status truncated(tkr_error *error) { return TKR_FAIL(error, FORMAT, "the JPEG data ends too early"); }

/* Three colour components or one are converted by the library, rows going straight to the result. */
static tkr_status read_rows(reader *r, tkr_decoding *d, tkr_error *error) {
    enum { AT_ONCE = 16 };
    JSAMPROW rows[AT_ONCE];
    const size_t stride = d->width * 3;
    while (r->codec.output_scanline < r->codec.output_height) {
        const size_t y = r->codec.output_scanline, left = d->height - y;
        const JDIMENSION n = (JDIMENSION)(left < AT_ONCE ? left : AT_ONCE);
        for (JDIMENSION i = 0; i < n; i++) rows[i] = d->out + (y + i) * stride;
        if (jpeg_read_scanlines(&r->codec, rows, n) == 0) return truncated(error);
        tkr_decode_progress(d, r->codec.output_scanline);
    }
    return TKR_OK;
}

static tkr_status read_cmyk(reader *r, tkr_decoding *d, tkr_error *error) {
    tkr_status status;
    r->row = tkr_decode_alloc(&status, d->width, 4, error);
    if (!r->row) return status;
    while (r->codec.output_scanline < r->codec.output_height) {
        uint8_t *out = d->out + r->codec.output_scanline * d->width * 3;
        JSAMPROW row = r->row;
        if (jpeg_read_scanlines(&r->codec, &row, 1) == 0) return truncated(error);
        tkr_rgb_from_cmyk(out, r->row, d->width, 1);
    }
    return TKR_OK;
}

static tkr_status decode(reader *r, tkr_decoding *d, tkr_error *error) {
    int state;
    do {
        state = jpeg_read_header(&r->codec, FALSE);
    } while (state == JPEG_HEADER_TABLES_ONLY);
    if (state == JPEG_SUSPENDED) return truncated(error);
    tkr_status status = tkr_decode_size(d, r->codec.image_width, r->codec.image_height, error);
    if (status != TKR_OK) return status;
    switch (r->codec.num_components) {
    case 1:
    case 3: r->codec.out_color_space = JCS_RGB; break;
    case 4: r->codec.out_color_space = JCS_CMYK; break;
    default: return TKR_FAIL(error, UNSUPPORTED, "a JPEG of %d components: 1, 3 or 4", r->codec.num_components);
    }
    if (!jpeg_start_decompress(&r->codec)) return truncated(error);
    if (r->codec.output_width != d->width || r->codec.output_height != d->height) {
        return TKR_FAIL(error, FORMAT, "the JPEG contradicts itself about its size");
    }
    status = r->codec.num_components == 4 ? read_cmyk(r, d, error) : read_rows(r, d, error);
    if (status == TKR_OK) (void)jpeg_finish_decompress(&r->codec); /* what follows the last row is of no interest */
    return status;
}

/* The frame that longjmp returns to: nothing of it changes between. */
static tkr_status guarded(reader *r, tkr_decoding *d, tkr_error *error) {
    if (setjmp(r->failed)) return TKR_FAIL(error, FORMAT, "damaged JPEG: %s", r->message);
    jpeg_create_decompress(&r->codec);
    r->codec.client_data = r;
    r->source = (struct jpeg_source_mgr){.next_input_byte = d->bytes,
                                         .bytes_in_buffer = d->n_bytes,
                                         .init_source = do_nothing,
                                         .fill_input_buffer = suspend,
                                         .skip_input_data = skip,
                                         .resync_to_restart = jpeg_resync_to_restart,
                                         .term_source = do_nothing};
    r->codec.src = &r->source;
    return decode(r, d, error);
}

tkr_status tkr_decode_jpeg(tkr_decoding *d, tkr_error *error) {
    reader r;
    memset(&r, 0, sizeof r);
    r.codec.err = jpeg_std_error(&r.errors);
    r.codec.client_data = &r;
    r.errors.error_exit = on_error;
    r.errors.emit_message = on_message;
    const tkr_status status = guarded(&r, d, error);
    tkr_free(r.row);
    jpeg_destroy_decompress(&r.codec); /* also of one that was never created: all zero */
    return status;
}
