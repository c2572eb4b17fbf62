/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of a video through the jail, for tests/media/test_video_formats.py and scripts/bench-video: what the video
 * holds as a line of JSON, pixels one frame behind another.
 * usage: video_dump DECODER CLIP PIXELS [N]     N frames evenly spread, first and last included; without it all */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "media/jail.h"
#include "media/video.h"

typedef struct dump {
    size_t n_wanted; /* 0: all */
    tkr_buf line;
    tkr_out *pixels;
    size_t n_taken;
} dump;

static tkr_status choose(void *user, tkr_buf *indices, const tkr_clip *clip, tkr_error *error) {
    dump *d = user;
    const tkr_video_sampling sampling = {.rule = TKR_VIDEO_QWEN3_VL,
                                         .total_frames = clip->n_frames,
                                         .video_fps = clip->fps,
                                         .fps = clip->fps,
                                         .min_frames = 1,
                                         .max_frames = d->n_wanted ? d->n_wanted : clip->n_frames};
    const tkr_status status = tkr_video_sample(indices, &sampling, error);
    if (status != TKR_OK) return status;
    const size_t *at = (const size_t *)(const void *)indices->data;
    tkr_buf_printf(&d->line, ",\"frames\":%zu,\"width\":%zu,\"height\":%zu,\"fps\":%.9g,\"seconds\":%.9g,\"wanted\":[",
                   clip->n_frames, clip->width, clip->height, clip->fps, clip->seconds);
    for (size_t i = 0; i < indices->size / sizeof *at; i++) tkr_buf_printf(&d->line, i ? ",%zu" : "%zu", at[i]);
    tkr_buf_printf(&d->line, "],\"times\":[");
    for (size_t i = 0; i < indices->size / sizeof *at; i++)
        tkr_buf_printf(&d->line, i ? ",%.6f" : "%.6f", clip->times[at[i]]);
    tkr_buf_printf(&d->line, "],\"taken\":[");
    return TKR_OK;
}

static tkr_status take(void *user, size_t i, tkr_image *image, tkr_error *error) {
    dump *d = user;
    tkr_buf_printf(&d->line, d->n_taken++ ? ",[%zu,%zu,%zu]" : "[%zu,%zu,%zu]", i, image->width, image->height);
    return tkr_out_write(d->pixels, image->rgb, image->width * image->height * 3, error);
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    const tkr_jail_options options = {.program = argv[1], .kind = TKR_JAIL_VIDEOS, .n_processes = 1};
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_map map = {0};
    tkr_jail *jail = NULL;
    dump d = {.n_wanted = argc > 4 ? strtoul(argv[4], NULL, 10) : 0};
    const tkr_clip_request request = {.choose = choose, .take = take, .user = &d};
    tkr_status status = tkr_map_open(&map, argv[2], &error);
    if (status == TKR_OK) status = tkr_out_open(&d.pixels, argv[3], &error);
    if (status == TKR_OK) status = tkr_jail_create(&jail, &options, &error);
    if (status == TKR_OK) status = tkr_jail_video(jail, "clip", map.data, map.size, &request, &error);
    if (d.line.size > 0) tkr_buf_putc(&d.line, ']');
    tkr_buf_printf(&d.line, ",\"status\":%d,\"error\":", (int)status);
    tkr_json_write_string(&d.line, error.message, strlen(error.message));
    if (d.pixels && tkr_out_close(&d.pixels, &error) != TKR_OK) return 1;
    (void)printf("{\"clip\":true%s}\n", d.line.data);
    tkr_buf_free(&d.line);
    tkr_jail_free(&jail);
    tkr_map_close(&map);
    return 0;
}
