/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media/jail: starts, feeds and limits tkr-decode and tkr-decode-video, the programs that decode untrusted bytes:
 * exec'd, kept warm in a small pool, confined by seccomp, Landlock and rlimits; results come through shared memory. Its
 * death is one input's error.
 */
#ifndef TKR_MEDIA_JAIL_H
#define TKR_MEDIA_JAIL_H

#include "core/decoder_protocol.h"
#include "core/file.h"
#include "core/mem.h"
#include "core/stop.h"
#include "media/image.h"

typedef struct tkr_jail tkr_jail; /* may be shared by threads */

typedef enum tkr_jail_kind { TKR_JAIL_PICTURES = 0, TKR_JAIL_VIDEOS = 1, TKR_JAIL_DOCUMENTS = 2 } tkr_jail_kind;

typedef struct tkr_jail_options {
    const char *program;      /* path of tkr-decode; NULL: found beside the library or program (core), TKR_DECODE */
    tkr_jail_kind kind;       /* other than pictures: the program beside it, tkr-decode-video or tkr-decode-document */
    bool unconfined;          /* --no-jail: the same program without seccomp and Landlock */
    unsigned n_processes;     /* 0: one a thread that this process may use, at most 4 */
    size_t max_pixels;        /* of one picture, frame or page; a document's text may have three bytes for each. 0:
                               * TKR_MAX_PIXELS, of documents 24 Mi */
    size_t max_bytes;         /* of one encoded input; 0: TKR_MAX_IMAGE_BYTES, TKR_MAX_VIDEO_BYTES */
    unsigned timeout_seconds; /* of one input; of opening a video, and of each of its frames; 0: 30 */
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

/* What a video holds, as the decoder says it; times are finite and ascend from 0. */
typedef struct tkr_clip {
    size_t n_frames;     /* at least 1 */
    const double *times; /* [n_frames] seconds from the first one's */
    double fps, seconds; /* above 0 */
    size_t width, height;
} tkr_clip;

typedef struct tkr_clip_request {
    /* Appends the indices (size_t) of the frames that are wanted, ascending; none: nothing is decoded. The clip is
     * borrowed for the call. */
    tkr_status (*choose)(void *user, tkr_buf *indices, const tkr_clip *clip, tkr_error *error);
    /* The frame that is the i-th of those, not called for one that is damaged. Takes its pixels by zeroing *image, or
     * leaves them to be freed. */
    tkr_status (*take)(void *user, size_t i, tkr_image *image, tkr_error *error);
    void *user;
    const tkr_stop *stop;    /* or NULL */
    const tkr_file_id *file; /* whose bytes these are, or NULL: where the decoder has it open, it isn't opened again */
    bool more;               /* requests for the same file follow: it stays open until then, and its bytes in memory */
} tkr_clip_request;

/* Decodes frames of a video of any format that FFmpeg knows, told by its content, upright, in a jail of videos. A
 * damaged frame is left out; TKR_FORMAT when all are. Thread-safe as tkr_jail_image is. */
tkr_status tkr_jail_video(tkr_jail *jail, const char *name, const void *bytes, size_t n_bytes,
                          const tkr_clip_request *request, tkr_error *error);
/* One request to the decoder. */
typedef struct tkr_jail_job {
    tkr_decoder_kind kind;
    const char *name;
    const void *bytes;
    size_t n_bytes;
    tkr_alpha alpha;         /* of a picture */
    uint32_t page, side;     /* of a page: from 0; pixels of the longer side */
    tkr_picture_place place; /* of a document's picture */
    uint64_t n_items;        /* of a list of pictures: how many to look at, 0: as time allows */
    const tkr_stop *stop;    /* or NULL */
} tkr_jail_job;
/* As tkr_jail_image, for each kind of the jail's decoder: *image holds what it answers. */
tkr_status tkr_jail_run(tkr_image *image, tkr_jail *jail, const tkr_jail_job *job, tkr_error *error);

#endif
