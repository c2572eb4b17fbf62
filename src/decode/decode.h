/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode: what the files of tkr-decode share. One picture's bytes become 8-bit RGB as Pillow's convert("RGB") gives it;
 * every size is checked before anything is allocated for it. No global state, so that a failed picture leaves none.
 */
#ifndef TKR_DECODE_DECODE_H
#define TKR_DECODE_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

typedef struct tkr_decoding {
    /* given */
    const uint8_t *bytes; /* [n_bytes], borrowed */
    size_t n_bytes;
    uint8_t *out; /* room for max_pixels * 3 bytes, borrowed; holds garbage */
    size_t max_pixels;
    void (*progress)(void *user, size_t n_rows); /* the first n_rows rows are final; NULL: nobody asks */
    void *user;
    bool on_white; /* RGBA pictures are composited on white; other transparency is dropped as ever */
    /* result */
    size_t width, height; /* `out` holds [height, width, 3] */
} tkr_decoding;

/* Tells the format by content and decodes the first frame. */
tkr_status tkr_decode_image(tkr_decoding *d, tkr_error *error);

/* One format each; the content has its signature. */
tkr_status tkr_decode_jpeg(tkr_decoding *d, tkr_error *error);
tkr_status tkr_decode_png(tkr_decoding *d, tkr_error *error);
tkr_status tkr_decode_webp(tkr_decoding *d, tkr_error *error);
tkr_status tkr_decode_tiff(tkr_decoding *d, tkr_error *error);
tkr_status tkr_decode_gif(tkr_decoding *d, tkr_error *error);
tkr_status tkr_decode_bmp(tkr_decoding *d, tkr_error *error);
tkr_status tkr_decode_pnm(tkr_decoding *d, tkr_error *error);

/* Sets the result's size; TKR_LIMIT when it has too many pixels, TKR_FORMAT when it has none. */
tkr_status tkr_decode_size(tkr_decoding *d, uint64_t width, uint64_t height, tkr_error *error);
/* Says that the first n_rows rows of the result won't change any more. */
static inline void tkr_decode_progress(const tkr_decoding *d, size_t n_rows) {
    if (d->progress) d->progress(d->user, n_rows);
}
/* Room for `count` things of `size` bytes, not zeroed; NULL and TKR_NO_MEMORY in *status when there is none. */
void *tkr_decode_alloc(tkr_status *status, size_t count, size_t size, tkr_error *error);

/* Whether this build can be confined: a sanitizer's runtime needs what the jail forbids. */
bool tkr_decode_confinable(void);
/* Seccomp allow-list and Landlock, for good. What lies below these folders (NULL at the end; those that aren't there
 * are left out) can be read; NULL: nothing can. */
tkr_status tkr_decode_confine(const char *const *folders, tkr_error *error);

#endif
