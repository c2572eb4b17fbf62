/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tkr-decode: decodes what nobody vouches for, one input at a time, in a process of its own that can touch nothing
 * else. tkr-embed starts it (media/jail); it has no other use. The only program here that links codecs.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/decoder_protocol.h"
#include "core/file.h"
#include "core/process.h"
#include "decode/decode.h"

typedef struct options {
    uint64_t max_bytes, max_pixels, cpu_seconds;
    bool unconfined;
} options;

static bool read_number(uint64_t *out, const char *text) {
    char *end;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0') return false;
    *out = value;
    return true;
}

static bool read_options(options *o, int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--unconfined") == 0) {
            o->unconfined = true;
            continue;
        }
        uint64_t *number = strcmp(argv[i], "--max-bytes") == 0     ? &o->max_bytes
                           : strcmp(argv[i], "--max-pixels") == 0  ? &o->max_pixels
                           : strcmp(argv[i], "--cpu-seconds") == 0 ? &o->cpu_seconds
                                                                   : NULL;
        if (!number || i + 1 == argc || !read_number(number, argv[++i])) return false;
    }
    return o->max_bytes > 0 && o->max_pixels > 0 && o->cpu_seconds > 0;
}

static void say_what_this_is(void) {
    static const char text[] = "tkr-decode decodes pictures for tkr-embed, which starts it; it is of no use by hand.\n";
    tkr_out *out = NULL;
    if (tkr_out_open(&out, "-", NULL) != TKR_OK) return;
    (void)tkr_out_write(out, text, sizeof text - 1, NULL);
    (void)tkr_out_close(&out, NULL);
}

/* Maps the memory and gives up what isn't needed. Address space: 2 to 8 bytes a pixel for coefficients and planes (most
 * formats need a row or two), what the codecs copy of their input, and their own. */
static tkr_status prepare(tkr_shared *shared, const options *o, tkr_error *error) {
    size_t size;
    if (!tkr_decoder_shared_size(&size, (size_t)o->max_bytes, (size_t)o->max_pixels)) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "limits larger than this machine");
    }
    tkr_status status = tkr_helper_attach(shared, size, error);
    if (status != TKR_OK || !tkr_decode_confinable()) return status;
    const tkr_helper_limits limits = {.memory = ((uint64_t)256 << 20) + 2 * o->max_bytes + 12 * o->max_pixels,
                                      .cpu_seconds = o->cpu_seconds};
    status = tkr_helper_limit(&limits, error);
    return status == TKR_OK && !o->unconfined ? tkr_decode_confine(error) : status;
}

static void set_message(tkr_decoder_reply *reply, tkr_status status, const tkr_error *error) {
    reply->status = (uint32_t)status;
    if (status == TKR_OK) return;
    const size_t n = strlen(error->message), room = sizeof reply->message - 1;
    memcpy(reply->message, error->message, n < room ? n : room);
}

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

static bool answer(const tkr_shared *shared, const options *o, const tkr_decoder_request *request) {
    tkr_error error = {0};
    tkr_decoder_reply reply = {.magic = TKR_DECODER_MAGIC, .kind = TKR_DECODER_DONE};
    if (request->magic != TKR_DECODER_MAGIC || request->kind != TKR_DECODER_IMAGE || request->n_bytes > o->max_bytes) {
        return false;
    }
    tkr_decoding d = {.bytes = shared->data,
                      .n_bytes = (size_t)request->n_bytes,
                      .out = shared->data + tkr_decoder_result_offset((size_t)o->max_bytes),
                      .max_pixels = (size_t)o->max_pixels,
                      .on_white = request->on_white == 1};
    report r = {.d = &d};
    d.progress = on_progress;
    d.user = &r;
    const tkr_status status = tkr_decode_image(&d, &error);
    set_message(&reply, status, &error);
    reply.width = d.width;
    reply.height = d.height;
    reply.n_rows = d.height;
    return tkr_helper_send(&reply, sizeof reply);
}

static double how_long_awake(double worked) {
    const double wanted = 1.5 * worked;
    if (wanted < TKR_DECODER_LEAST_AWAKE) return TKR_DECODER_LEAST_AWAKE;
    return wanted < TKR_DECODER_MOST_AWAKE ? wanted : TKR_DECODER_MOST_AWAKE;
}

int main(int argc, char **argv) {
    options o = {0};
    tkr_error error = {0};
    tkr_shared shared = {.fd = -1};
    tkr_decoder_request request;
    if (!read_options(&o, argc, argv)) {
        say_what_this_is();
        return 2;
    }
    tkr_decoder_reply hello = {.magic = TKR_DECODER_MAGIC, .kind = TKR_DECODER_READY, .width = TKR_DECODER_VERSION};
    const tkr_status status = prepare(&shared, &o, &error);
    set_message(&hello, status, &error);
    if (!tkr_helper_send(&hello, sizeof hello) || status != TKR_OK) return 1;
    double awake = 0;
    while (tkr_helper_receive(&request, sizeof request, awake)) {
        const double began = tkr_now();
        if (!answer(&shared, &o, &request)) return 1;
        awake = how_long_awake(tkr_now() - began);
    }
    return 0;
}
