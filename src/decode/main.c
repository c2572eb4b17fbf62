/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tkr-decode: decodes pictures that nobody vouches for, one at a time, in a process of its own that can touch nothing
 * else. tkr-embed starts it (media/jail); it has no other use. Apart from tkr-decode-video, whose libraries take longer
 * to load than a picture to decode.
 */
#include "core/process.h"
#include "decode/decode.h"
#include "decode/serve.h"

/* Long decodings tell the host how far they are, so that it copies beside: once at three quarters of a small picture,
 * every 4 MiB of a large one. */
typedef struct report {
    const tkr_decoding *d;
    size_t told; /* rows */
} report;

static void on_progress(void *user, size_t n_rows) {
    enum { STEP = 4 << 20, SMALLEST = 64 << 10 };
    report *r = user;
    const size_t stride = r->d->width * 3, total = stride * r->d->height;
    const size_t step = total / 4 * 3 < STEP ? total / 4 * 3 : STEP;
    if (n_rows == r->d->height || total < SMALLEST || (n_rows - r->told) * stride < step) return;
    r->told = n_rows;
    const tkr_decoder_reply reply = {.magic = TKR_DECODER_MAGIC,
                                     .kind = TKR_DECODER_PROGRESS,
                                     .width = r->d->width,
                                     .height = r->d->height,
                                     .n_rows = n_rows};
    (void)tkr_helper_send(&reply, sizeof reply); /* a host that has gone shows at the end */
}

static bool answer(void *user, const tkr_decode_room *room, const tkr_decoder_request *request) {
    tkr_error error = {0};
    tkr_decoder_reply reply = {.magic = TKR_DECODER_MAGIC, .kind = TKR_DECODER_DONE};
    (void)user;
    if (request->kind != TKR_DECODER_IMAGE) return false;
    tkr_decoding d = {.bytes = room->bytes,
                      .n_bytes = (size_t)request->n_bytes,
                      .out = room->out,
                      .max_pixels = room->max_pixels,
                      .on_white = request->on_white == 1};
    report r = {.d = &d};
    d.progress = on_progress;
    d.user = &r;
    const tkr_status status = tkr_decode_image(&d, &error);
    tkr_decode_say(&reply, status, &error);
    reply.width = d.width;
    reply.height = d.height;
    reply.n_rows = d.height;
    return tkr_helper_send(&reply, sizeof reply);
}

int main(int argc, char **argv) {
    const tkr_decode_service service = {.name = "tkr-decode", .what = "pictures", .answer = answer};
    return tkr_decode_serve(argc, argv, &service);
}
