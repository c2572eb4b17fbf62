/* SPDX-License-Identifier: Apache-2.0 */
/* decode/serve: takes requests of media/jail from the socket, one at a time, in a process that has given up the rest.
 */
#include "decode/serve.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static void say_what_this_is(const tkr_decode_service *service) {
    char text[160];
    tkr_out *out = NULL;
    (void)snprintf(text, sizeof text, "%s decodes %s for tkr-embed, which starts it; it is of no use by hand.\n",
                   service->name, service->what);
    if (tkr_out_open(&out, "-", NULL) != TKR_OK) return;
    (void)tkr_out_write(out, text, strlen(text), NULL);
    (void)tkr_out_close(&out, NULL);
}

/* Maps the memory and gives up what isn't needed. Address space: 2 to 8 bytes a pixel for coefficients and planes (most
 * formats need a row or two), what the codecs copy of their input, and their own. */
static tkr_status prepare(tkr_shared *shared, const options *o, const tkr_decode_service *service, tkr_error *error) {
    const uint64_t own = service->memory > 0 ? service->memory : (uint64_t)256 << 20;
    size_t size;
    if (!tkr_decoder_shared_size(&size, (size_t)o->max_bytes, (size_t)o->max_pixels)) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "limits larger than this machine");
    }
    tkr_status status = tkr_helper_attach(shared, size, error);
    if (status == TKR_OK && service->prepare) status = service->prepare(service->user, error);
    if (status != TKR_OK || !tkr_decode_confinable()) return status;
    const tkr_helper_limits limits = {
        .memory = own + 2 * o->max_bytes + 12 * o->max_pixels, .cpu_seconds = o->cpu_seconds, .files = service->files};
    status = tkr_helper_limit(&limits, error);
    return status == TKR_OK && !o->unconfined ? tkr_decode_confine(service->readable, error) : status;
}

void tkr_decode_say(tkr_decoder_reply *reply, tkr_status status, const tkr_error *error) {
    reply->status = (uint32_t)status;
    if (status == TKR_OK) return;
    const size_t n = strlen(error->message), room = sizeof reply->message - 1;
    memcpy(reply->message, error->message, n < room ? n : room);
}

static double how_long_awake(double worked) {
    const double wanted = 1.5 * worked;
    if (wanted < TKR_DECODER_LEAST_AWAKE) return TKR_DECODER_LEAST_AWAKE;
    return wanted < TKR_DECODER_MOST_AWAKE ? wanted : TKR_DECODER_MOST_AWAKE;
}

int tkr_decode_serve(int argc, char **argv, const tkr_decode_service *service) {
    options o = {0};
    tkr_error error = {0};
    tkr_shared shared = {.fd = -1};
    tkr_decoder_request request;
    if (!read_options(&o, argc, argv)) {
        say_what_this_is(service);
        return 2;
    }
    tkr_decoder_reply hello = {.magic = TKR_DECODER_MAGIC, .kind = TKR_DECODER_READY, .width = TKR_DECODER_VERSION};
    const tkr_status status = prepare(&shared, &o, service, &error);
    tkr_decode_say(&hello, status, &error);
    if (!tkr_helper_send(&hello, sizeof hello) || status != TKR_OK) return 1;
    const tkr_decode_room room = {.bytes = shared.data,
                                  .out = shared.data + tkr_decoder_result_offset((size_t)o.max_bytes),
                                  .max_bytes = (size_t)o.max_bytes,
                                  .max_pixels = (size_t)o.max_pixels};
    double awake = 0;
    while (tkr_helper_receive(&request, sizeof request, awake)) {
        const double began = tkr_now();
        if (request.magic != TKR_DECODER_MAGIC || request.n_bytes > o.max_bytes) return 1;
        if (!service->answer(service->user, &room, &request)) return 1;
        awake = how_long_awake(tkr_now() - began);
    }
    return 0;
}
