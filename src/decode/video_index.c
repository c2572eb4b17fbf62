/* SPDX-License-Identifier: Apache-2.0 */
/* decode/video_index: a pass over the packets, which are not decoded: what a header states may be missing or a lie. */
#include "decode/video_index.h"

#include <stdlib.h>

static int by_time(const void *a, const void *b) {
    const tkr_index_entry *x = a, *y = b;
    return x->pts < y->pts ? -1 : x->pts > y->pts;
}

/* Sorts by time; false: some frames have none, or one time is two frames'. */
static bool sort(tkr_video_index *index) {
    const size_t n = tkr_video_index_size(index);
    for (size_t i = 0; i < n; i++)
        if (tkr_video_index_at(index, i)->pts == AV_NOPTS_VALUE) return false;
    qsort(index->entries.data, n, sizeof(tkr_index_entry), by_time);
    for (size_t i = 1; i < n; i++)
        if (tkr_video_index_at(index, i)->pts == tkr_video_index_at(index, i - 1)->pts) return false;
    return true;
}

tkr_status tkr_video_index_read(tkr_video_index *index, tkr_video_source *source, size_t max_frames, tkr_error *error) {
    tkr_status status = TKR_OK;
    AVPacket *packet = av_packet_alloc();
    if (!packet) return TKR_FAIL(error, NO_MEMORY, "no memory to read a video");
    while (status == TKR_OK && av_read_frame(source->format, packet) >= 0) {
        const tkr_index_entry entry = {packet->pts, packet->dts, (packet->flags & AV_PKT_FLAG_KEY) != 0};
        /* an edit list's packets that are decoded only for others' sake */
        const bool shown = packet->stream_index == source->stream->index && packet->size > 0 &&
                           (packet->flags & AV_PKT_FLAG_DISCARD) == 0;
        av_packet_unref(packet);
        if (!shown) continue;
        if (tkr_video_index_size(index) == max_frames)
            status = TKR_FAIL(error, LIMIT, "the video has more than %zu frames", max_frames);
        else if (!tkr_buf_append(&index->entries, &entry, sizeof entry))
            status = TKR_FAIL(error, NO_MEMORY, "no memory for a list of %zu frames", tkr_video_index_size(index));
    }
    av_packet_free(&packet);
    if (status == TKR_OK && index->entries.size == 0)
        status = TKR_FAIL(error, FORMAT, "the video has no frame: it is empty or cut off behind its head");
    if (status == TKR_OK) index->timed = sort(index);
    return status;
}

size_t tkr_video_index_key(const tkr_video_index *index, size_t i) {
    while (i > 0 && !tkr_video_index_at(index, i)->key) i--;
    return i;
}
