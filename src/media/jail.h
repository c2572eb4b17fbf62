/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media/jail: starts, feeds and limits tkr-decode, the program that decodes untrusted bytes: exec'd, kept warm in a
 * small pool, confined by seccomp, Landlock and rlimits; results come through shared memory. Its death is one input's
 * error.
 */
#ifndef TKR_MEDIA_JAIL_H
#define TKR_MEDIA_JAIL_H

#include "core/decoder_protocol.h"
#include "core/stop.h"
#include "media/image.h"

typedef struct tkr_jail tkr_jail; /* may be shared by threads */

typedef struct tkr_jail_options {
    /* NULL: found beside the library or program (core), or what TKR_DECODE or TKR_DECODE_DOCUMENT says */
    const char *program;
    bool documents;           /* tkr-decode-document in place of tkr-decode */
    bool unconfined;          /* --no-jail: the same program without seccomp and Landlock */
    unsigned n_processes;     /* 0: one a thread that this process may use, at most 4 */
    size_t max_pixels;        /* of one picture; three bytes each of a document's result. 0: TKR_MAX_PIXELS, or of
                               * documents 24 Mi */
    size_t max_bytes;         /* of one encoded input; 0: TKR_MAX_IMAGE_BYTES */
    unsigned timeout_seconds; /* of one input; 0: 30 */
} tkr_jail_options;

/* Cheap: processes start with the first input. Where seccomp or Landlock isn't available and `unconfined` isn't set:
 * TKR_UNSUPPORTED, naming --no-jail. Returns a jail. */
tkr_status tkr_jail_create(tkr_jail **jail, const tkr_jail_options *options, tkr_error *error);
void tkr_jail_free(tkr_jail **jail);

/* Decodes the first frame of a picture of any known format, told by its content, to RGB; EXIF orientation isn't applied
 * (the reference doesn't). `name` stands in messages. Fills *image, freed with tkr_image_free. Thread-safe: as many at
 * a time as there are processes, the others wait in the order of their calls. `stop` (or NULL) ends the call before and
 * during decoding, within 10 ms or so; a process that was at it is replaced. */
tkr_status tkr_jail_image(tkr_image *image, tkr_jail *jail, const char *name, const void *bytes, size_t n_bytes,
                          tkr_alpha alpha, const tkr_stop *stop, tkr_error *error);

/* One request to the decoder. */
typedef struct tkr_jail_job {
    tkr_decoder_kind kind;
    const char *name;
    const void *bytes;
    size_t n_bytes;
    tkr_alpha alpha;      /* of a picture */
    uint32_t page, side;  /* of a page: from 0; pixels of the longer side */
    const tkr_stop *stop; /* or NULL */
} tkr_jail_job;
/* As tkr_jail_image, for each kind of the jail's decoder: *image holds what it answers. */
tkr_status tkr_jail_run(tkr_image *image, tkr_jail *jail, const tkr_jail_job *job, tkr_error *error);

#endif
