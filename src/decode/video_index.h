/* SPDX-License-Identifier: Apache-2.0 */
/* decode/video_index: which frames a video has, when each is shown and where decoding may begin, by its packets. */
#ifndef TKR_DECODE_VIDEO_INDEX_H
#define TKR_DECODE_VIDEO_INDEX_H

#include "core/mem.h"
#include "decode/video_source.h"

typedef struct tkr_index_entry {
    int64_t pts, dts; /* in the stream's time base; AV_NOPTS_VALUE: not known */
    bool key;
} tkr_index_entry;

typedef struct tkr_video_index {
    tkr_buf entries; /* tkr_index_entry, in the order of showing */
    bool timed;      /* each has a time of its own: frames are told by it, and may be sought; else they are counted */
} tkr_video_index;

/* Reads all packets of an open source, from its beginning to its end. TKR_FORMAT: there is none; TKR_LIMIT: more than
 * max_frames. Fills *index, zeroed, freed with tkr_buf_free of its entries. */
tkr_status tkr_video_index_read(tkr_video_index *index, tkr_video_source *source, size_t max_frames, tkr_error *error);

static inline size_t tkr_video_index_size(const tkr_video_index *index) {
    return index->entries.size / sizeof(tkr_index_entry);
}
static inline const tkr_index_entry *tkr_video_index_at(const tkr_video_index *index, size_t i) {
    return (const tkr_index_entry *)(const void *)index->entries.data + i;
}
/* The last frame up to `i` where decoding may begin; 0 where none is known. */
size_t tkr_video_index_key(const tkr_video_index *index, size_t i);

#endif
