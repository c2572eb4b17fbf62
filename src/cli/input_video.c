/* SPDX-License-Identifier: Apache-2.0 */
/* cli/input_video: what options say of videos, and where the segments of a long one are. */
#include <stdlib.h>
#include <string.h>

#include "cli/stream.h"
#include "engine/tools.h"

enum { MOST_SEGMENTS = 100000 };
/* What is shorter at the end belongs to the segment before: no frame may lie in it. */
#define LEAST_SEGMENT 0.05

/* "30", "30s", "2m", "1.5h" */
static bool read_time(double *seconds, const char *text) {
    char *end = NULL;
    const double number = strtod(text, &end);
    const double unit = strcmp(end, "h") == 0 ? 3600 : strcmp(end, "m") == 0 ? 60 : 1;
    *seconds = number * unit;
    return end != text && (*end == '\0' || strcmp(end, "s") == 0 || unit > 1) && *seconds >= 0.1 && *seconds <= 1e6;
}

tkr_status tkr_cli_videos_open(tkr_cli_videos *videos, const tkr_cli_args *args, tkr_error *error) {
    const char *segment = tkr_cli_get(args, TKR_OPT_SEGMENT)->text;
    videos->max_frames = (size_t)tkr_cli_get(args, TKR_OPT_MAX_FRAMES)->number;
    videos->fps = tkr_cli_get(args, TKR_OPT_FPS)->real;
    videos->pooling = (tkr_video_pooling)tkr_cli_get(args, TKR_OPT_FRAME_POOLING)->number;
    if (segment != NULL && !read_time(&videos->segment_s, segment)) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "--segment is \"%s\", expected a time from 0.1s, such as 30s or 2m",
                        segment);
    }
    return TKR_OK;
}

void tkr_cli_videos_fill(tkr_part *part, const tkr_cli_videos *videos) {
    part->max_frames = videos->max_frames;
    part->fps = videos->fps;
}

tkr_status tkr_cli_videos_probe(double *seconds, const tkr_part *part, double segment_s, tkr_model *model,
                                tkr_error *error) {
    const tkr_status status = tkr_tools_video_seconds(seconds, model, part, error);
    if (status == TKR_OK && *seconds / segment_s > MOST_SEGMENTS) {
        return TKR_FAIL(error, LIMIT, "has %.0f s, more than %d segments of %g s", *seconds, (int)MOST_SEGMENTS,
                        segment_s);
    }
    return status;
}

bool tkr_cli_segment(tkr_part *part, size_t index, double segment_s, double seconds) {
    part->start_s = (double)index * segment_s;
    part->end_s = (double)(index + 1) * segment_s;
    if (index > 0 && part->start_s + LEAST_SEGMENT >= seconds) {
        return false;
    }
    if (part->end_s + LEAST_SEGMENT >= seconds) {
        part->end_s = 0; /* to the end */
    }
    return true;
}
