/* SPDX-License-Identifier: Apache-2.0 */
/* cli/moments: the segments of a video, each with the frame of it that fits the query best, for search. */
#include <string.h>

#include "cli/search.h"
#include "core/term.h"

enum { FRAMES = 8 }; /* of one call */
#define DEFAULT_SEGMENT 10.0

/* Embeds the frames as pictures, and keeps the best one's score and second. *found: there is one. */
static tkr_status score_frames(tkr_cli_hit *hit, bool *found, tkr_cli_search *search, const tkr_part *reel,
                               const tkr_tools_frames *frames, tkr_error *error) {
    tkr_status status = TKR_OK;
    tkr_error why = {0};
    for (size_t at = 0; at < reel->n_frames && status == TKR_OK; at += FRAMES) {
        const size_t n = reel->n_frames - at < FRAMES ? reel->n_frames - at : FRAMES;
        tkr_input inputs[FRAMES];
        tkr_result *result = NULL;
        memset(inputs, 0, sizeof inputs);
        for (size_t i = 0; i < n; i++) {
            inputs[i].kind = TKR_INPUT_PARTS;
            inputs[i].parts = &reel->frames[at + i];
            inputs[i].n_parts = 1;
            inputs[i].min_pixels = (size_t)tkr_cli_get(search->args, TKR_OPT_MIN_PIXELS)->number;
        }
        status = tkr_embed(&result, search->session, inputs, n, &search->options, error);
        for (size_t i = 0; status == TKR_OK && i < n; i++) {
            const tkr_result_item item = tkr_result_get(result, i);
            if (item.status != TKR_OK) {
                (void)tkr_error_set(&why, TKR_HERE, item.status, "%s", tkr_cli_why(&item));
                continue;
            }
            const double score = tkr_cli_score(search, &item);
            if (!*found || score > hit->score) {
                hit->score = score;
                hit->frame_s = tkr_tools_frame_second(frames, at + i);
            }
            *found = true;
        }
        tkr_result_free(&result);
    }
    if (status == TKR_OK && !*found) {
        tkr_cli_files_failed(&search->files, hit->path, why.message);
    }
    return status;
}

/* TKR_OK also where the segment can't be read: that is noted. */
static tkr_status score_segment(tkr_cli_search *search, const tkr_part *part, double seconds, tkr_error *error) {
    tkr_tools_frames *frames = NULL;
    tkr_part reel;
    tkr_error why = {0};
    bool found = false;
    const tkr_input input = {.kind = TKR_INPUT_PARTS, .parts = part, .n_parts = 1};
    tkr_cli_hit hit = {.kind = TKR_CLI_HIT_VIDEO,
                       .path = part->data,
                       .start_s = part->start_s,
                       .end_s = part->end_s > 0 ? part->end_s : seconds};
    tkr_status status =
        tkr_tools_decode_video(&reel, &frames, NULL, search->model, &input, 0, &tkr_cli_interrupt, &why);
    if (status == TKR_CANCELLED || status == TKR_NO_MEMORY) {
        *error = why;
        return status;
    }
    if (status != TKR_OK) {
        tkr_cli_files_failed(&search->files, hit.path, why.message);
        return TKR_OK;
    }
    status = score_frames(&hit, &found, search, &reel, frames, error);
    tkr_tools_free_frames(&frames);
    return status == TKR_OK && found ? tkr_cli_add_hit(search, &hit, error) : status;
}

tkr_status tkr_cli_score_video(tkr_cli_search *search, const char *path, tkr_error *error) {
    const double segment_s = search->videos.segment_s > 0 ? search->videos.segment_s : DEFAULT_SEGMENT;
    tkr_part part = {.kind = TKR_PART_VIDEO_FILE, .data = path, .n_data = strlen(path)};
    tkr_error why = {0};
    double seconds = 0;
    tkr_cli_videos_fill(&part, &search->videos);
    tkr_status status = tkr_cli_videos_probe(&seconds, &part, segment_s, search->model, &why);
    if (status != TKR_OK) {
        tkr_cli_files_failed(&search->files, path, why.message);
        return TKR_OK;
    }
    for (size_t i = 0; status == TKR_OK && tkr_cli_segment(&part, i, segment_s, seconds); i++) {
        status = tkr_signals_pending() != 0 ? TKR_FAIL(error, CANCELLED, "interrupted")
                                            : score_segment(search, &part, seconds, error);
    }
    return status;
}

tkr_status tkr_cli_frame_thumbnail(tkr_buf *png, size_t *width, size_t *height, const tkr_cli_search *search,
                                   const tkr_cli_hit *hit, size_t side, tkr_error *error) {
    const tkr_part part = {.kind = TKR_PART_VIDEO_FILE,
                           .data = hit->path,
                           .n_data = strlen(hit->path),
                           .max_frames = 1,
                           .start_s = hit->frame_s};
    const tkr_input input = {.kind = TKR_INPUT_PARTS, .parts = &part, .n_parts = 1, .video_pooling = TKR_VIDEO_FIRST};
    tkr_tools_frames *frames = NULL;
    tkr_part reel;
    tkr_status status =
        tkr_tools_decode_video(&reel, &frames, NULL, search->model, &input, 0, &tkr_cli_interrupt, error);
    if (status == TKR_OK) {
        status = tkr_tools_thumbnail(png, width, height, search->model, &reel.frames[0], side, error);
    }
    tkr_tools_free_frames(&frames);
    return status;
}
