/* SPDX-License-Identifier: Apache-2.0 */
/* cli/segments: a long video in, a row for each piece of it out. */
#include <stdio.h>
#include <string.h>

#include "cli/stream.h"
#include "core/term.h"

/* The item's video among its parts; NULL: it has none. */
static const tkr_part *video_of(const tkr_cli_item *item) {
    for (size_t i = 0; item->kind == TKR_CLI_VIDEO && i < item->input.n_parts; i++) {
        const tkr_part *part = &item->input.parts[i];
        if (part->kind == TKR_PART_VIDEO || part->kind == TKR_PART_VIDEO_FILE) {
            return part;
        }
    }
    return NULL;
}

bool tkr_cli_has_segments(const tkr_cli_rows *rows, const tkr_cli_item *item) {
    const tkr_part *video = video_of(item);
    return rows->source->videos.segment_s > 0 && video != NULL && video->start_s <= 0 && video->end_s <= 0;
}

/* Embeds one segment and writes its row. */
static tkr_status embed_segment(tkr_cli_rows *rows, const tkr_cli_item *item, tkr_error *error) {
    tkr_result *result = NULL;
    tkr_status status = tkr_signals_pending() != 0
                            ? TKR_FAIL(error, CANCELLED, "interrupted")
                            : tkr_embed(&result, rows->session, &item->input, 1, rows->options, error);
    if (status == TKR_OK) {
        const tkr_result_item one = tkr_result_get(result, 0);
        status = tkr_cli_rows_put(rows, item, &one, error);
    }
    tkr_result_free(&result);
    const tkr_status sync = tkr_cli_writer_sync(rows->writer, status == TKR_OK ? error : NULL);
    return status != TKR_OK ? status : sync;
}

tkr_status tkr_cli_embed_segments(tkr_cli_rows *rows, const tkr_cli_item *item, tkr_error *error) {
    const double segment_s = rows->source->videos.segment_s;
    const size_t n_parts = item->input.n_parts;
    double seconds = 0;
    tkr_error why = {0};
    tkr_part *parts = tkr_calloc(n_parts, sizeof *parts); /* the video and what else the input has */
    if (parts == NULL) {
        return TKR_FAIL(error, NO_MEMORY, "out of memory");
    }
    memcpy(parts, item->input.parts, n_parts * sizeof *parts);
    tkr_part *video = &parts[video_of(item) - item->input.parts];
    tkr_cli_item one = *item;
    one.input.parts = parts;
    tkr_status status = tkr_cli_videos_probe(&seconds, video, segment_s, rows->model, &why);
    if (status != TKR_OK) {
        tkr_free(parts);
        return tkr_cli_rows_fail(rows, item, status, why.message, error);
    }
    for (size_t i = 0; status == TKR_OK && tkr_cli_segment(video, i, segment_s, seconds); i++) {
        char fields[40];
        (void)snprintf(fields, sizeof fields, "\"segment\":%zu", i + 1);
        one.fields = fields;
        status = embed_segment(rows, &one, error);
    }
    tkr_free(parts);
    return status;
}
