/* SPDX-License-Identifier: Apache-2.0 */
/* decode/video_source: libavformat on a buffer. Playlists, references and protocols lead nowhere: each attempt to open
 * anything is refused here, and by the jail once more. */
#include "decode/video_source.h"

#include <stdbool.h>
#include <string.h>

#include <libavutil/avstring.h>

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

/* False: no memory; what is there is freed by tkr_video_source_close. */
static bool allocate(tkr_video_source *s) {
    uint8_t *block = av_malloc(BLOCK);
    AVIOContext *io = block ? avio_alloc_context(block, BLOCK, 0, s, read_block, NULL, seek) : NULL;
    AVFormatContext *format = io ? avformat_alloc_context() : NULL;
    if (!format) {
        if (io)
            av_freep(&io->buffer);
        else
            av_free(block);
        avio_context_free(&io);
        return false;
    }
    s->format = format;
    format->pb = io;
    format->flags |= AVFMT_FLAG_CUSTOM_IO;
    format->io_open = open_nothing;
    format->protocol_whitelist = av_strdup("none");
    return format->protocol_whitelist != NULL;
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

/* Of a list of what lies elsewhere its name, else NULL: their readers would only try to open it. */
static const char *list_name(const tkr_video_source *s) {
    enum { LOOKED_AT = 4096 };
    uint8_t head[LOOKED_AT + AVPROBE_PADDING_SIZE] = {0};
    AVProbeData data = {.filename = "", .buf = head, .buf_size = LOOKED_AT};
    if (s->size < LOOKED_AT) data.buf_size = (int)s->size;
    memcpy(head, s->bytes, (size_t)data.buf_size);
    const AVInputFormat *format = av_probe_input_format(&data, 1);
    return format && av_match_name(format->name, "hls,dash,concat,sdp,rtsp,imf") ? format->long_name : NULL;
}

static tkr_status open_format(tkr_video_source *s, tkr_error *error) {
    AVIOContext *io = s->format ? s->format->pb : NULL;
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
    const char *list = list_name(s);
    if (list)
        return TKR_FAIL(error, UNSUPPORTED, "is a list of videos (%s), which is not followed: give a video", list);
    tkr_status status = allocate(s) ? open_format(s, error) : TKR_FAIL(error, NO_MEMORY, "no memory to open a video");
    if (status != TKR_OK) tkr_video_source_close(s);
    return status;
}
