/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tkr-decode-video: decodes videos that nobody vouches for, one at a time, in a process of its own that can touch
 * nothing else. tkr-embed starts it (media/jail); it has no other use. The only program here that links FFmpeg's
 * libraries, whose loading takes longer than a picture to decode: pictures are tkr-decode's.
 */
#include <string.h>

#include "core/process.h"
#include "decode/serve.h"
#include "decode/video.h"

enum { MAX_FRAMES = 4 << 20 }; /* 38 hours at 30 a second */

static bool open_video(tkr_video **video, const tkr_decode_room *room, const tkr_decoder_request *request) {
    tkr_error error = {0};
    const size_t fit = room->max_pixels * 3 / sizeof(double);
    const tkr_video_options options = {.max_pixels = room->max_pixels,
                                       .max_frames = fit < MAX_FRAMES ? fit : MAX_FRAMES};
    tkr_decoder_reply reply = {.magic = TKR_DECODER_MAGIC, .kind = TKR_DECODER_DONE};
    tkr_video_close(video);
    const tkr_status status = tkr_video_open(video, room->bytes, (size_t)request->n_bytes, &options, &error);
    tkr_decode_say(&reply, status, &error);
    if (status == TKR_OK) {
        const tkr_video_info *info = tkr_video_get_info(*video);
        memcpy(room->out, info->times, info->n_frames * sizeof *info->times);
        reply.width = info->width;
        reply.height = info->height;
        reply.n_rows = info->n_frames;
        reply.clip = (tkr_decoder_clip){.fps = info->fps, .seconds = info->seconds};
    }
    return tkr_helper_send(&reply, sizeof reply);
}

static bool send_frame(tkr_video *video, const tkr_decode_room *room, uint64_t index) {
    tkr_error error = {0};
    size_t width = 0, height = 0;
    tkr_decoder_request next;
    tkr_decoder_reply reply = {.magic = TKR_DECODER_MAGIC, .kind = TKR_DECODER_FRAME};
    const tkr_status status = tkr_video_frame(room->out, &width, &height, video, (size_t)index, &error);
    tkr_decode_say(&reply, status, &error);
    reply.width = width;
    reply.height = height;
    reply.n_rows = height;
    return tkr_helper_send(&reply, sizeof reply) && tkr_helper_receive(&next, sizeof next, TKR_DECODER_MOST_AWAKE) &&
           next.magic == TKR_DECODER_MAGIC && next.kind == TKR_DECODER_NEXT;
}

/* The indices lie where the first frame will. */
static bool send_frames(tkr_video *video, const tkr_decode_room *room, const tkr_decoder_request *request) {
    const size_t n = (size_t)request->n_items;
    if (!video || n > tkr_video_get_info(video)->n_frames) return false;
    const tkr_decoder_reply done = {.magic = TKR_DECODER_MAGIC, .kind = TKR_DECODER_DONE, .status = TKR_OK};
    uint64_t *indices = tkr_malloc(n * sizeof *indices + 1);
    bool good = indices != NULL;
    if (good) memcpy(indices, room->out, n * sizeof *indices);
    for (size_t i = 0; good && i < n; i++) good = send_frame(video, room, indices[i]);
    tkr_free(indices);
    return good && tkr_helper_send(&done, sizeof done);
}

static bool answer(void *user, const tkr_decode_room *room, const tkr_decoder_request *request) {
    tkr_video **video = user; /* that the last request opened: requests for its frames follow */
    switch (request->kind) {
    case TKR_DECODER_VIDEO: return open_video(video, room, request);
    case TKR_DECODER_FRAMES: return send_frames(*video, room, request);
    default: return false;
    }
}

int main(int argc, char **argv) {
    tkr_video *video = NULL;
    const tkr_decode_service service = {.name = "tkr-decode-video", .what = "videos", .answer = answer, .user = &video};
    const int code = tkr_decode_serve(argc, argv, &service);
    tkr_video_close(&video);
    return code;
}
