/* SPDX-License-Identifier: Apache-2.0 */
/* server/ws_reader: what a WebSocket's peer sends (RFC 6455), from bytes to messages, without a socket. libwslay reads
 * the frames. */
#ifndef TKR_SERVER_WS_READER_H
#define TKR_SERVER_WS_READER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum tkr_ws_event_kind {
    TKR_WS_NONE, /* all bytes are read */
    TKR_WS_MESSAGE,
    TKR_WS_PING,
    TKR_WS_PONG,
    TKR_WS_CLOSE, /* the peer's close frame was right */
    TKR_WS_ERROR  /* to be closed with `code` */
} tkr_ws_event_kind;

typedef struct tkr_ws_event {
    tkr_ws_event_kind kind;
    bool binary;      /* a message: not text; text is valid UTF-8 */
    const char *data; /* of a message or ping: valid until the next call */
    size_t size;
    unsigned code; /* of a close frame: 1005 when it names none */
} tkr_ws_event;

typedef struct tkr_ws_reader tkr_ws_reader;
/* Messages above max_message bytes are errors (1009). Their memory, beyond what each reader may keep, is counted in
 * *taken before it is taken; where it would be too much that is an error, too (1013). NULL: no memory. */
tkr_ws_reader *tkr_ws_reader_new(size_t max_message, atomic_size_t *taken, size_t limit);
void tkr_ws_reader_free(tkr_ws_reader **reader);
/* Within a message, between frames or in one: *size is what it has so far. */
bool tkr_ws_reader_is_within(const tkr_ws_reader *reader, size_t *size);
/* Reads on, first in what it still has, then in bytes[n], moving both forward: to be called until it gives TKR_WS_NONE.
 * After CLOSE and ERROR there is nothing more. */
tkr_ws_event tkr_ws_read(tkr_ws_reader *reader, const char **bytes, size_t *n);

/* Bytes of a frame's head at most. */
enum { TKR_WS_HEAD = 10 };
/* Writes the head of an unmasked, final frame; returns its bytes. */
size_t tkr_ws_frame_head(char out[TKR_WS_HEAD], unsigned opcode, size_t size);
enum { TKR_WS_TEXT = 1, TKR_WS_BINARY = 2, TKR_WS_CLOSE_FRAME = 8, TKR_WS_PING_FRAME = 9, TKR_WS_PONG_FRAME = 10 };

#endif
