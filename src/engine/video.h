/* SPDX-License-Identifier: Apache-2.0 */
/* engine/video: what decoding a video's frames and embedding them share; private to video.c and frames.c. */
#ifndef TKR_ENGINE_VIDEO_H
#define TKR_ENGINE_VIDEO_H

#include "engine/engine.h"
#include "engine/tools.h"

/* What the data of TKR_PART_FRAMES is where a file was decoded to them: a list of pictures is resized twice. */
#define TKR_DECODED "decoded"

/* Frames of one part, decoded or as they were given. */
typedef struct tkr_reel {
    tkr_part *frames; /* [n] */
    double *times;    /* [n] of a decoded video, else NULL; as the reference counts them */
    double *shown;    /* [n] of a decoded video: seconds of the video at which they are shown */
    size_t n, room;
    size_t bytes; /* of pixels */
    bool owned;   /* the pixels are the reel's */
} tkr_reel;

/* One input with videos. */
typedef struct tkr_video_job {
    const tkr_model *model;
    tkr_call *call; /* NULL: only decodes */
    size_t index;   /* of the input */
    const tkr_input *input;
    tkr_item *item;
    tkr_reel *reels; /* [n_parts] */
    /* while one is decoded: */
    const tkr_stop *stop;
    const tkr_tools_room *pixels; /* or NULL */
    const tkr_part *part;
    tkr_reel *now;
    size_t first; /* frame of the video that the part begins with */
    const size_t *indices;
    double fps;
} tkr_video_job;

static inline const tkr_recipe *tkr_model_recipe(const tkr_model *model) {
    return tkr_checkpoint_recipe(&model->checkpoint);
}
static inline bool tkr_video_is_native(const tkr_video_job *j) { return j->input->video_pooling == TKR_VIDEO_NATIVE; }
/* Frames of a video that a model reads as a whole. */
size_t tkr_video_most_native(const tkr_model *model, const tkr_part *part);
/* TKR_INVALID_ARGUMENT: native pooling is wanted of a model that has no way of its own with videos. */
tkr_status tkr_video_check_native(const tkr_video_job *j, tkr_error *error);

/* Decodes the frames of one of the input's parts, or takes a list's, into a reel, and what of the video they stand for
 * into the item. */
tkr_status tkr_reel_fill(tkr_video_job *j, const tkr_part *part, tkr_reel *reel, tkr_error *error);
void tkr_reel_free(tkr_reel *reel);

#endif
