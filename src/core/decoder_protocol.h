/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/decoder_protocol: what tkr-decode or tkr-decode-video and the host (media/jail) say to each other over the
 * socket. The shared memory holds the encoded bytes from 0 and, from tkr_decoder_result_offset, the result. Neither
 * side trusts the other's numbers; both are of one build.
 */
#ifndef TKR_CORE_DECODER_PROTOCOL_H
#define TKR_CORE_DECODER_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

#include "core/document_format.h"
#include "core/mem.h"

enum { TKR_DECODER_MAGIC = 0x746b7244, TKR_DECODER_VERSION = 3 };

typedef enum tkr_decoder_kind {
    TKR_DECODER_IMAGE = 1,
    TKR_DECODER_VIDEO = 2,    /* opens it and tells what it holds: see tkr_decoder_clip; it stays open for FRAMES */
    TKR_DECODER_FRAMES = 3,   /* n_items indices (uint64_t) lie where the result will: one FRAME for each, then DONE */
    TKR_DECODER_NEXT = 4,     /* the frame has been copied: on to the next */
    TKR_DECODER_DOCUMENT = 5, /* its text as core/document_format, as one row of pixels */
    TKR_DECODER_PAGE = 6,     /* one page as pixels */
    TKR_DECODER_PICTURES = 7, /* the list of the document's pictures, as one row; of a PDF from page and picture on */
    TKR_DECODER_PICTURE = 8   /* one of them: as pixels, or its encoded bytes as one row */
} tkr_decoder_kind;

typedef struct tkr_decoder_request {
    uint32_t magic, kind;
    uint32_t on_white, reserved; /* on_white 1: RGBA pictures are composited on white */
    uint32_t page, side;         /* of PAGE and PICTURES: number from 0; pixels of the longer side, or the picture */
    uint64_t n_bytes;
    uint64_t n_items;        /* of FRAMES; of PICTURES of a PDF how many to look at, 0: as time allows; else 0 */
    tkr_picture_place place; /* of PICTURE */
} tkr_decoder_request;

/* What the reply to VIDEO says beyond the size of a frame. n_rows: the number of frames; the result holds the second of
 * each, double, ascending from 0. */
typedef struct tkr_decoder_clip {
    double fps, seconds;
} tkr_decoder_clip;

typedef enum tkr_decoder_answer {
    TKR_DECODER_READY = 1, /* the first message after the start: it is confined, or `status` and `message` say why not;
                              width is the version */
    TKR_DECODER_PROGRESS = 2, /* the first n_rows rows are final: they can be copied while the others are decoded */
    TKR_DECODER_DONE = 3,     /* the last message of a request */
    TKR_DECODER_FRAME = 4     /* [height, width, 3] lie in the shared memory until NEXT, or `status` says why not */
} tkr_decoder_answer;

typedef struct tkr_decoder_reply {
    uint32_t magic, kind;
    uint32_t status, reserved; /* status: a tkr_status */
    uint64_t width, height;    /* with TKR_OK: [height, width, 3] bytes lie in the shared memory */
    uint64_t n_rows;
    tkr_decoder_clip clip; /* of a video */
    char message[400];     /* of another status */
} tkr_decoder_reply;

/* A decoder waits awake for its next request half as long again as the last one took, at least and at most: the host
 * that has it at hand needn't wake it, which costs 0.1 ms in a virtual machine; an idle decoder costs nothing. */
#define TKR_DECODER_LEAST_AWAKE 100e-6
#define TKR_DECODER_MOST_AWAKE 2e-3

/* Arguments: --max-bytes N --max-pixels N --cpu-seconds N [--unconfined] */

static inline size_t tkr_decoder_result_offset(size_t max_bytes) { return tkr_align_up(max_bytes, 4096); }
/* false: too large for this machine's addresses. */
static inline bool tkr_decoder_shared_size(size_t *size, size_t max_bytes, size_t max_pixels) {
    size_t pixels;
    return max_bytes <= SIZE_MAX / 4 && tkr_mul_size(&pixels, max_pixels, 3) && pixels <= SIZE_MAX / 4 &&
           tkr_add_size(size, tkr_decoder_result_offset(max_bytes), tkr_align_up(pixels, 4096));
}

#endif
