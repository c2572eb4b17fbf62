/* SPDX-License-Identifier: Apache-2.0 */
/* server/ws_message: what belongs to a message of /ws beside the fields of a request: its id, the media of a binary
 * frame, and what the opening said. */
#ifndef TKR_SERVER_WS_MESSAGE_H
#define TKR_SERVER_WS_MESSAGE_H

#include "server/operation.h"

enum { TKR_WS_ID = 256, TKR_WS_MEDIA = 1024 }; /* bytes of an id as JSON, NUL included; media of a frame */

/* Keeps of the opening what its messages need: the exchange may go before the last of them. false: no memory. */
bool tkr_ws_copy_opening(tkr_http_request *to, tkr_arena *arena, const tkr_http_request *from);

/* "id" as JSON text; without one id stays. false after tkr_refuse. */
bool tkr_ws_read_id(char id[TKR_WS_ID], tkr_operation *op, const json_t *body);

/* Puts the id into an object that is there as text. */
void tkr_ws_add_id(tkr_buf *object, const char *id);

/* A reply that comes as a binary frame: its object with the id, then the rows. false after tkr_refuse. */
bool tkr_ws_render_frame(tkr_operation *op, const char *id);

/* A binary frame, borrowed: 4 bytes of length (little-endian), an object, and the bytes of its media. */
typedef struct tkr_ws_pieces {
    const char *object, *media;
    size_t n_object, n_media;
} tkr_ws_pieces;
bool tkr_ws_split(tkr_ws_pieces *pieces, tkr_operation *op, const char *frame, size_t size);

/* The request has documents, as a field or as media. */
bool tkr_ws_has_documents(const json_t *body);

/* Makes op->form of "media" (NULL: none) and the bytes behind the object, which it must use up. */
bool tkr_ws_read_media(tkr_operation *op, const json_t *list, const char *data, size_t size);

#endif
