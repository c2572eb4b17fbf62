/* SPDX-License-Identifier: Apache-2.0 */
/* decode/video_source: libavformat on a buffer. Playlists, references and protocols lead nowhere: each attempt to open
 * anything is refused here, and by the jail once more. */
#include "decode/video_source.h"

#include <stdbool.h>
#include <string.h>

enum { BLOCK = 64 << 10 };

static int read_block(void *user, uint8_t *out, int size) {
    tkr_video_source *s = user;
    const size_t left = s->size - s->at, n = left < (size_t)size ? left : (size_t)size;
    if (n == 0) return AVERROR_EOF;
    memcpy(out, s->bytes + s->at, n);
    s->at += n;
    return (int)n;
}

static int64_t seek(void *user, int64_t offset, int whence) {
    tkr_video_source *s = user;
    const int64_t size = (int64_t)s->size;
    if (whence & AVSEEK_SIZE) return size;
    switch (whence & ~AVSEEK_FORCE) {
    case SEEK_SET: break;
    case SEEK_CUR: offset += (int64_t)s->at; break;
    case SEEK_END: offset += size; break;
    default: return AVERROR(EINVAL);
    }
    if (offset < 0 || offset > size) return AVERROR(EINVAL);
    s->at = (size_t)offset;
    return offset;
}

static int open_nothing(struct AVFormatContext *format, AVIOContext **out, const char *url, int flags,
                        AVDictionary **options) {
    (void)format, (void)url, (void)flags, (void)options;
    *out = NULL;
    return AVERROR(EACCES);
}

void tkr_video_source_close(tkr_video_source *s) {
    AVIOContext *io = s->format ? s->format->pb : NULL;
    avformat_close_input(&s->format);
    if (io) av_freep(&io->buffer);
    avio_context_free(&io);
    s->stream = NULL;
    s->at = 0;
}

static tkr_status allocate(tkr_video_source *s, tkr_error *error) {
    uint8_t *block = av_malloc(BLOCK);
    AVIOContext *io = block ? avio_alloc_context(block, BLOCK, 0, s, read_block, NULL, seek) : NULL;
    s->format = io ? avformat_alloc_context() : NULL;
    if (!s->format) {
        if (io)
            av_freep(&io->buffer);
        else
            av_free(block);
        avio_context_free(&io);
        return TKR_FAIL(error, NO_MEMORY, "no memory to open a video");
    }
    s->format->pb = io;
    s->format->flags |= AVFMT_FLAG_CUSTOM_IO;
    s->format->io_open = open_nothing;
    return TKR_OK;
}

/* A cover picture of a song is a video stream, too; it isn't what was meant. */
static tkr_status choose_stream(tkr_video_source *s, tkr_error *error) {
    const int best = av_find_best_stream(s->format, AVMEDIA_TYPE_VIDEO, -1, -1, NULL, 0);
    const bool sound = av_find_best_stream(s->format, AVMEDIA_TYPE_AUDIO, -1, -1, NULL, 0) >= 0;
    AVStream *stream = best >= 0 ? s->format->streams[best] : NULL;
    if (!stream || (stream->disposition & AV_DISPOSITION_ATTACHED_PIC))
        return TKR_FAIL(error, UNSUPPORTED, "is %s without a video stream",
                        sound                           ? "sound"
                        : s->format->iformat->long_name ? s->format->iformat->long_name
                                                        : "a file");
    for (unsigned i = 0; i < s->format->nb_streams; i++)
        if (s->format->streams[i] != stream) s->format->streams[i]->discard = AVDISCARD_ALL;
    s->stream = stream;
    return TKR_OK;
}

static tkr_status open_format(tkr_video_source *s, tkr_error *error) {
    AVIOContext *io = s->format->pb;
    int code = avformat_open_input(&s->format, "", NULL, NULL);
    if (code < 0) { /* it has freed the context, but not what is ours */
        av_freep(&io->buffer);
        avio_context_free(&io);
        return code == AVERROR(ENOMEM)
                   ? TKR_FAIL(error, NO_MEMORY, "no memory to open a video")
                   : TKR_FAIL(error, UNSUPPORTED, "is no video of a known format, or its head is damaged");
    }
    code = avformat_find_stream_info(s->format, NULL);
    return code < 0 ? TKR_FAIL(error, FORMAT, "a damaged video: nothing is known of its streams")
                    : choose_stream(s, error);
}

tkr_status tkr_video_source_open(tkr_video_source *s, tkr_error *error) {
    tkr_video_source_close(s);
    tkr_status status = allocate(s, error);
    if (status == TKR_OK) status = open_format(s, error);
    if (status != TKR_OK) tkr_video_source_close(s);
    return status;
}
