/* SPDX-License-Identifier: Apache-2.0 */
/* Stands in for tkr-decode where the host must bear what a hostile one does: the input's first byte says what. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/decoder_protocol.h"
#include "core/process.h"

static void reply(tkr_decoder_answer kind, uint64_t width, uint64_t height, uint64_t n_rows) {
    const tkr_decoder_reply answer = {
        .magic = TKR_DECODER_MAGIC, .kind = kind, .width = width, .height = height, .n_rows = n_rows};
    (void)tkr_helper_send(&answer, sizeof answer);
}

static void die(int number) {
    (void)signal(number, SIG_DFL); /* a sanitizer's handler would turn it into an exit */
    (void)raise(number);
}

/* One pixel, that says who answered. */
static void say_who(const tkr_shared *shared, size_t result) {
    for (size_t i = 0; i < 3; i++) shared->data[result + i] = (uint8_t)((unsigned)getpid() >> (8 * i));
    reply(TKR_DECODER_DONE, 1, 1, 1);
}

/* The input behind its first 8 bytes, as one row. */
static void repeat(const tkr_shared *shared, size_t result, size_t n_bytes) {
    const size_t n_pixels = (n_bytes - 8 + 2) / 3;
    memcpy(shared->data + result, shared->data + 8, n_bytes - 8);
    reply(TKR_DECODER_DONE, n_pixels, 1, 1);
}

static void act(char what, const tkr_shared *shared, size_t result, size_t n_bytes) {
    tkr_decoder_reply bad;
    switch (what) {
    case 'a': die(SIGABRT); break;
    case 's': die(SIGSEGV); break;
    case 'k': die(SIGSYS); break;
    case 'e': exit(7);
    case 'h': (void)pause(); break;
    case 'c': /* closes its end, and stays */
        (void)close(TKR_HELPER_SOCKET);
        (void)pause();
        break;
    case 'p': /* half an answer */
        memset(&bad, 0, sizeof bad);
        (void)tkr_helper_send(&bad, sizeof bad / 2);
        exit(0);
    case 'm':
        memset(&bad, 0x41, sizeof bad);
        (void)tkr_helper_send(&bad, sizeof bad);
        break;
    case 't': /* a message without an end */
        memset(&bad, 0x41, sizeof bad);
        bad.magic = TKR_DECODER_MAGIC;
        bad.kind = TKR_DECODER_DONE;
        (void)tkr_helper_send(&bad, sizeof bad);
        break;
    case '0': reply(TKR_DECODER_DONE, 0, 0, 0); break;
    case '1': reply(TKR_DECODER_DONE, UINT64_C(1) << 40, 1, 1); break;
    case '2': reply(TKR_DECODER_DONE, UINT64_C(1) << 32, UINT64_C(1) << 32, UINT64_C(1) << 32); break;
    case '3': reply(TKR_DECODER_DONE, 4, 4, 3); break; /* not all rows */
    case '4':                                          /* grows after rows were copied */
        reply(TKR_DECODER_PROGRESS, 4, 4, 2);
        reply(TKR_DECODER_DONE, 400, 400, 400);
        break;
    case '5': reply(TKR_DECODER_PROGRESS, 4, 4, 5); break;
    case '6': /* goes back, repeats: harmless */
        reply(TKR_DECODER_PROGRESS, 2, 2, 2);
        reply(TKR_DECODER_PROGRESS, 2, 2, 1);
        reply(TKR_DECODER_DONE, 2, 2, 2);
        break;
    case '7': reply(TKR_DECODER_READY, 2, 2, 2); break;
    case '8': /* for ever, never done */
        for (;;) {
            reply(TKR_DECODER_PROGRESS, 2, 2, 1);
            (void)usleep(1000);
        }
    case 'q': /* almost done, for ever */
        reply(TKR_DECODER_PROGRESS, 4, 4, 3);
        (void)pause();
        break;
    case 'r': /* the beginning of an answer */
        memset(&bad, 0, sizeof bad);
        (void)tkr_helper_send(&bad, sizeof bad / 2);
        (void)pause();
        break;
    case 'd': /* rows change after they were called final, and so does the input */
        memset(shared->data + result, 7, 48);
        reply(TKR_DECODER_PROGRESS, 4, 4, 2);
        (void)usleep(100000);
        memset(shared->data, 9, shared->size);
        reply(TKR_DECODER_DONE, 4, 4, 4);
        break;
    case 'w': /* works for a fifth of a second */
        (void)usleep(200000);
        say_who(shared, result);
        break;
    case 'E': repeat(shared, result, n_bytes); break;
    default: say_who(shared, result);
    }
}

int main(int argc, char **argv) {
    tkr_shared shared;
    tkr_decoder_request request;
    if (argc < 5) return 2;
    const size_t max_bytes = strtoul(argv[2], NULL, 10), max_pixels = strtoul(argv[4], NULL, 10);
    size_t size;
    if (!tkr_decoder_shared_size(&size, max_bytes, max_pixels)) return 1;
    if (tkr_helper_attach(&shared, size, NULL) != TKR_OK) return 1;
    if (getenv("HF_TOKEN") || getenv("PATH")) return 9; /* the host's environment is not for helpers */
    reply(TKR_DECODER_READY, TKR_DECODER_VERSION, 0, 0);
    while (tkr_helper_receive(&request, sizeof request, 0)) {
        act((char)shared.data[0], &shared, tkr_decoder_result_offset(max_bytes), (size_t)request.n_bytes);
    }
    return 0;
}
