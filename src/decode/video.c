/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode/video: any frame of a video by libavcodec. Decoding begins at the last key frame before a frame that is
 * wanted, where the packets' times allow it; a demuxer that lands elsewhere is found out, and then frames are decoded
 * from the beginning on.
 */
#include "decode/video.h"

#include <math.h>

#include <libavcodec/avcodec.h>
#include <libavutil/display.h>
#include <libavutil/log.h>

#include "decode/video_index.h"
#include "decode/video_rgb.h"
#include "decode/video_webp.h"

struct tkr_video {
    tkr_video_options options;
    tkr_webp *webp; /* an animation; else NULL, and all of the following */
    tkr_video_source source;
    tkr_video_index index;
    tkr_buf times;
    tkr_video_info info;
    unsigned quarters; /* of a clockwise turn */
    AVCodecContext *decoder;
    AVPacket *packet;
    AVFrame *frame;
    tkr_rgb_converter converter;
    bool ended; /* the decoder has been told that no packet comes any more */
    bool skips; /* frames that no other refers to needn't be decoded when they are shown before this time: */
    int64_t wanted;
    bool sequential; /* seeking has been found wanting */
    size_t next;     /* in order of showing, the first frame that decoding on may still give */
    size_t at;       /* frame in `frame`, n_frames: none */
};

/* ---- opening ---- */

static double rate(AVRational r) { return r.num > 0 && r.den > 0 ? av_q2d(r) : 0; }

/* How the stream is to be turned for showing; NULL: not at all. */
static const int32_t *matrix_of(const AVStream *stream) {
#if LIBAVFORMAT_VERSION_MAJOR >= 61
    const AVCodecParameters *p = stream->codecpar;
    const AVPacketSideData *data =
        av_packet_side_data_get(p->coded_side_data, p->nb_coded_side_data, AV_PKT_DATA_DISPLAYMATRIX);
    return data ? (const int32_t *)(const void *)data->data : NULL;
#else
    return (const int32_t *)(const void *)av_stream_get_side_data(stream, AV_PKT_DATA_DISPLAYMATRIX, NULL);
#endif
}

static unsigned quarters_of(const AVStream *stream) {
    const int32_t *matrix = matrix_of(stream);
    const double angle = matrix ? av_display_rotation_get(matrix) : 0; /* counter-clockwise */
    if (!isfinite(angle)) return 0;
    return (unsigned)(((int)lrint(-angle / 90) % 4 + 4) % 4);
}

/* By the packets' own times, else evenly by the stated rate. */
static tkr_status fill_times(tkr_video *v, tkr_error *error) {
    const AVStream *stream = v->source.stream;
    const size_t n = tkr_video_index_size(&v->index);
    const double unit = av_q2d(stream->time_base);
    double fps = rate(stream->avg_frame_rate);
    if (!(fps > 0)) fps = rate(stream->r_frame_rate);
    const bool timed = v->index.timed && unit > 0;
    const int64_t first = tkr_video_index_at(&v->index, 0)->pts, last = tkr_video_index_at(&v->index, n - 1)->pts;
    if (!(fps > 0) && timed && n > 1) fps = (double)(n - 1) / (((double)last - (double)first) * unit);
    if (!(fps > 0) || !isfinite(fps)) fps = 25;
    for (size_t i = 0; i < n; i++) {
        const double at =
            timed ? ((double)tkr_video_index_at(&v->index, i)->pts - (double)first) * unit : (double)i / fps;
        if (!tkr_buf_append(&v->times, &at, sizeof at)) return TKR_FAIL(error, NO_MEMORY, "no memory for %zu times", n);
    }
    const double *times = (const double *)(const void *)v->times.data;
    v->info = (tkr_video_info){.n_frames = n, .times = times, .fps = fps, .seconds = times[n - 1] + 1 / fps};
    const AVCodecParameters *p = stream->codecpar;
    if (p->width <= 0 || p->height <= 0)
        return TKR_FAIL(error, FORMAT, "the video's frames have no size, or one beyond all limits");
    if ((size_t)p->width > v->options.max_pixels / (size_t)p->height)
        return TKR_FAIL(error, LIMIT, "the video's frames are %d x %d: more than %zu pixels", p->width, p->height,
                        v->options.max_pixels);
    v->quarters = quarters_of(stream);
    v->info.width = (size_t)(v->quarters % 2 ? p->height : p->width);
    v->info.height = (size_t)(v->quarters % 2 ? p->width : p->height);
    v->at = n;
    return TKR_OK;
}

/* Where the format says for certain that no other frame refers to one, it is left out on the way to the wanted one.
 * (HEVC's unreferenced frames are so for frames of their own temporal layer alone; AVI packs MPEG-4's together.) */
static bool tells_unreferenced(enum AVCodecID codec) {
    return codec == AV_CODEC_ID_H264 || codec == AV_CODEC_ID_MPEG2VIDEO || codec == AV_CODEC_ID_MPEG1VIDEO;
}

static tkr_status open_decoder(tkr_video *v, tkr_error *error) {
    const AVCodecParameters *p = v->source.stream->codecpar;
    const AVCodec *codec = avcodec_find_decoder(p->codec_id);
    if (!codec)
        return TKR_FAIL(error, UNSUPPORTED, "the video's codec %s can't be decoded", avcodec_get_name(p->codec_id));
    avcodec_free_context(&v->decoder);
    v->decoder = avcodec_alloc_context3(codec);
    if (!v->decoder || avcodec_parameters_to_context(v->decoder, p) < 0)
        return TKR_FAIL(error, NO_MEMORY, "no memory for a decoder of %s", codec->name);
    v->decoder->thread_count = 1;
    v->decoder->pkt_timebase = v->source.stream->time_base;
    v->decoder->max_pixels = (int64_t)v->options.max_pixels;
    v->skips = v->index.timed && tells_unreferenced(p->codec_id);
    if (avcodec_open2(v->decoder, codec, NULL) < 0)
        return TKR_FAIL(error, FORMAT, "the video's head doesn't suit its codec %s", codec->name);
    return TKR_OK;
}

/* From the beginning, whatever was before. */
static bool restart(tkr_video *v) {
    const bool good = tkr_video_source_open(&v->source, NULL) == TKR_OK && open_decoder(v, NULL) == TKR_OK;
    v->ended = false;
    v->next = 0;
    v->at = v->info.n_frames;
    return good;
}

static tkr_status open_stream(tkr_video *v, const uint8_t *bytes, size_t n_bytes, tkr_error *error) {
    av_log_set_level(AV_LOG_QUIET);
    v->source.bytes = bytes;
    v->source.size = n_bytes;
    v->packet = av_packet_alloc();
    v->frame = av_frame_alloc();
    tkr_status status = v->packet && v->frame ? tkr_video_source_open(&v->source, error)
                                              : TKR_FAIL(error, NO_MEMORY, "no memory to open a video");
    if (status == TKR_OK) status = tkr_video_index_read(&v->index, &v->source, v->options.max_frames, error);
    if (status == TKR_OK) status = fill_times(v, error);
    if (status == TKR_OK) status = open_decoder(v, error);
    v->next = v->info.n_frames; /* the packets have been read to their end: the first frame is sought, too */
    return status;
}

tkr_status tkr_video_open(tkr_video **out, const uint8_t *bytes, size_t n_bytes, const tkr_video_options *options,
                          tkr_error *error) {
    tkr_video *v = tkr_calloc(1, sizeof *v);
    if (!v) return TKR_FAIL(error, NO_MEMORY, "no memory to open a video");
    v->options = *options;
    tkr_status status = tkr_webp_is(bytes, n_bytes)
                            ? tkr_webp_open(&v->webp, &v->times, &v->info, bytes, n_bytes, options, error)
                            : open_stream(v, bytes, n_bytes, error);
    v->info.times = (const double *)(const void *)v->times.data;
    if (status != TKR_OK) tkr_video_close(&v);
    *out = v;
    return status;
}

void tkr_video_close(tkr_video **out) {
    if (!out || !*out) return;
    tkr_video *v = *out;
    tkr_webp_close(&v->webp);
    avcodec_free_context(&v->decoder);
    tkr_video_source_close(&v->source);
    av_packet_free(&v->packet);
    av_frame_free(&v->frame);
    tkr_rgb_converter_free(&v->converter);
    tkr_buf_free(&v->index.entries);
    tkr_buf_free(&v->times);
    tkr_free(v);
    *out = NULL;
}

const tkr_video_info *tkr_video_get_info(const tkr_video *video) { return &video->info; }

/* ---- decoding on ---- */

/* Damaged packets are the decoder's affair: what they spoil is missing afterwards. */
static int send(tkr_video *v) {
    const bool before = v->packet->pts != AV_NOPTS_VALUE && v->packet->pts < v->wanted;
    v->decoder->skip_frame = v->skips && before ? AVDISCARD_NONREF : AVDISCARD_DEFAULT;
    return avcodec_send_packet(v->decoder, v->packet);
}

/* Hands the decoder one more packet, or tells it that there is none. */
static void feed(tkr_video *v) {
    for (;;) {
        if (av_read_frame(v->source.format, v->packet) < 0) {
            (void)avcodec_send_packet(v->decoder, NULL);
            v->ended = true;
            return;
        }
        const bool wanted = v->packet->stream_index == v->source.stream->index;
        if (wanted) (void)send(v);
        av_packet_unref(v->packet);
        if (wanted) return;
    }
}

/* Decodes one more frame; false: there is none any more. */
static bool decode_next(tkr_video *v) {
    while (avcodec_receive_frame(v->decoder, v->frame) < 0) {
        if (v->ended) return false;
        feed(v);
    }
    return true;
}

/* The number of the frame in `frame`, told by its time; n_frames: none has this time. */
static size_t number_of(const tkr_video *v, int64_t pts) {
    size_t low = 0, high = v->info.n_frames;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (tkr_video_index_at(&v->index, middle)->pts < pts)
            low = middle + 1;
        else
            high = middle;
    }
    return low < v->info.n_frames && tkr_video_index_at(&v->index, low)->pts == pts ? low : v->info.n_frames;
}

/* Decodes until frame `index` or a later one is there. */
static bool decode_to(tkr_video *v, size_t index) {
    while (decode_next(v)) {
        const int64_t pts = v->frame->pts != AV_NOPTS_VALUE ? v->frame->pts : v->frame->best_effort_timestamp;
        const size_t number = v->index.timed ? number_of(v, pts) : v->next;
        if (number == v->info.n_frames) continue; /* a time that no packet has: not one of the frames */
        v->at = number;
        v->next = number + 1;
        if (number >= index) return number == index;
    }
    v->at = v->info.n_frames;
    v->next = v->info.n_frames;
    return false;
}

/* Begins at a key frame up to the one wanted: `at` is what the demuxer is asked for. False: it can't, or landed behind
 * it. */
static bool seek_at(tkr_video *v, const tkr_index_entry *key, int64_t at) {
    if (av_seek_frame(v->source.format, v->source.stream->index, at, AVSEEK_FLAG_BACKWARD) < 0) return false;
    avcodec_flush_buffers(v->decoder);
    v->ended = false;
    do {
        av_packet_unref(v->packet);
        if (av_read_frame(v->source.format, v->packet) < 0) return false;
    } while (v->packet->stream_index != v->source.stream->index);
    const bool good = v->packet->pts != AV_NOPTS_VALUE && v->packet->pts <= key->pts &&
                      (v->packet->flags & AV_PKT_FLAG_KEY) != 0 && send(v) >= 0;
    av_packet_unref(v->packet);
    v->at = v->info.n_frames;
    v->next = 0;
    return good;
}

/* Some demuxers look for the time of showing (MP4: asked for the time of decoding, they go one key frame too far back),
 * others for that of decoding. */
static bool seek(tkr_video *v, size_t key) {
    const tkr_index_entry *entry = tkr_video_index_at(&v->index, key);
    return seek_at(v, entry, entry->pts) ||
           (entry->dts != AV_NOPTS_VALUE && entry->dts < entry->pts && seek_at(v, entry, entry->dts));
}

/* Finds the frame by going on, or from a key frame before it where that is less work. */
static bool find(tkr_video *v, size_t index) {
    if (v->at == index) return true;
    v->wanted = tkr_video_index_at(&v->index, index)->pts;
    const size_t key = tkr_video_index_key(&v->index, index);
    const bool ahead = index >= v->next;
    if (v->index.timed && !v->sequential && (!ahead || key > v->next)) {
        if (seek(v, key) && decode_to(v, index)) return true;
        v->sequential = true;
    } else if (ahead) {
        return decode_to(v, index);
    }
    return restart(v) && decode_to(v, index);
}

tkr_status tkr_video_frame(uint8_t *rgb, size_t *width, size_t *height, tkr_video *v, size_t index, tkr_error *error) {
    if (index >= v->info.n_frames)
        return TKR_FAIL(error, INVALID_ARGUMENT, "frame %zu of a video of %zu", index, v->info.n_frames);
    if (v->webp) {
        *width = v->info.width;
        *height = v->info.height;
        return tkr_webp_frame(rgb, v->webp, index, error);
    }
    if (!find(v, index))
        return TKR_FAIL(error, FORMAT, "frame %zu of %zu can't be decoded: the video is damaged there", index,
                        v->info.n_frames);
    return tkr_rgb_from_frame(rgb, width, height, &v->converter, v->frame, v->quarters, v->options.max_pixels, error);
}
