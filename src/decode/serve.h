/* SPDX-License-Identifier: Apache-2.0 */
/* decode/serve: what the programs of this room share: arguments, shared memory, confinement, requests one at a time. */
#ifndef TKR_DECODE_SERVE_H
#define TKR_DECODE_SERVE_H

#include "core/decoder_protocol.h"
#include "core/error.h"

/* Where a request's bytes lie and its result goes. */
typedef struct tkr_decode_room {
    const uint8_t *bytes; /* [max_bytes] */
    uint8_t *out;         /* [max_pixels, 3] */
    size_t max_bytes, max_pixels;
} tkr_decode_room;

typedef struct tkr_decode_service {
    const char *name; /* of the program, */
    const char *what; /* and of what it decodes */
    /* Answers one request whose magic and n_bytes have been checked; false: the host is gone or talks nonsense. */
    bool (*answer)(void *user, const tkr_decode_room *room, const tkr_decoder_request *request);
    void *user;
    /* Of programs that need more than memory: what they do before they are confined, the folders that they may read
     * ([], NULL behind the last), descriptors at a time, and address space beyond input and pixels. NULL and 0:
     * nothing, none, none, 256 MiB. */
    tkr_status (*prepare)(void *user, tkr_error *error);
    const char *const *readable;
    unsigned files;
    uint64_t memory;
} tkr_decode_service;

/* The whole of main: its exit status. */
int tkr_decode_serve(int argc, char **argv, const tkr_decode_service *service);
/* Puts a status and its message into a reply. */
void tkr_decode_say(tkr_decoder_reply *reply, tkr_status status, const tkr_error *error);

#endif
