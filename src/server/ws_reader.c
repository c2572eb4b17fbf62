/* SPDX-License-Identifier: Apache-2.0 */
/* server/ws_reader: see ws_reader.h. Refuses unmasked frames, reserved bits and opcodes, and text that isn't UTF-8. */
#include "server/ws_reader.h"

#include <string.h>
#include <wslay/wslay.h>

#include "core/mem.h"
#include "core/utf8.h"
#include "server/budget.h"

enum {
    PROTOCOL = 1002,
    NOT_UTF8 = 1007,
    TOO_BIG = 1009,
    INTERNAL = 1011,
    TRY_LATER = 1013,
    NO_CODE = 1005,
    MAX_CONTROL = 125,
    KEPT = 16 * 1024 /* room of a message's buffer that is kept for the next, and not counted */
};

struct tkr_ws_reader {
    wslay_frame_context_ptr frames;
    size_t max_message;
    atomic_size_t *taken; /* with other readers */
    size_t limit, counted;
    const char *in;
    size_t n_in;
    tkr_buf message;
    bool in_message, binary; /* between a message's first frame and its last */
    bool in_frame, given;    /* given: message was handed out */
    bool ended;
    uint64_t left; /* bytes of this frame that are to come */
    size_t n_control;
    char control[MAX_CONTROL];
};

static ssize_t on_more(uint8_t *out, size_t n, int flags, void *user) {
    tkr_ws_reader *r = user;
    (void)flags;
    if (r->n_in == 0) return -1;
    if (n > r->n_in) n = r->n_in;
    memcpy(out, r->in, n);
    r->in += n;
    r->n_in -= n;
    return (ssize_t)n;
}

tkr_ws_reader *tkr_ws_reader_new(size_t max_message, atomic_size_t *taken, size_t limit) {
    const struct wslay_frame_callbacks callbacks = {.recv_callback = on_more};
    tkr_ws_reader *r = tkr_calloc(1, sizeof *r);
    if (!r) return NULL;
    r->max_message = max_message;
    r->message.cap = max_message;
    r->taken = taken;
    r->limit = limit;
    if (tkr_seam_allows('a') && wslay_frame_context_init(&r->frames, &callbacks, r) == 0) return r;
    tkr_free(r);
    return NULL;
}

static void free_message(tkr_ws_reader *r) {
    tkr_buf_free(&r->message);
    atomic_fetch_sub(r->taken, r->counted);
    r->counted = 0;
}

void tkr_ws_reader_free(tkr_ws_reader **reader) {
    if (!reader || !*reader) return;
    wslay_frame_context_free((*reader)->frames);
    free_message(*reader);
    tkr_free(*reader);
    *reader = NULL;
}

bool tkr_ws_reader_is_within(const tkr_ws_reader *reader, size_t *size) {
    *size = reader->message.size;
    return reader->in_message;
}

static tkr_ws_event fail(tkr_ws_reader *r, unsigned code) {
    r->ended = true;
    return (tkr_ws_event){.kind = TKR_WS_ERROR, .code = code};
}

/* What the head of a frame says: 0, or the code to close with. */
static unsigned check_head(const tkr_ws_reader *r, const struct wslay_frame_iocb *frame) {
    if (!frame->mask || frame->rsv != 0) return PROTOCOL;
    if (wslay_is_ctrl_frame(frame->opcode))
        return frame->opcode > WSLAY_PONG || frame->payload_length > MAX_CONTROL || !frame->fin ? PROTOCOL : 0;
    if (frame->opcode > WSLAY_BINARY_FRAME || (frame->opcode == WSLAY_CONTINUATION_FRAME) != r->in_message)
        return PROTOCOL;
    return frame->payload_length > r->max_message - r->message.size ? TOO_BIG : 0;
}

static bool is_code(unsigned code) {
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

static tkr_ws_event end_control(tkr_ws_reader *r, unsigned opcode) {
    tkr_ws_event event = {.kind = TKR_WS_PONG, .data = r->control, .size = r->n_control};
    if (opcode == WSLAY_PONG) return event;
    if (opcode == WSLAY_PING) {
        event.kind = TKR_WS_PING;
        return event;
    }
    const unsigned code = r->n_control >= 2 ? (unsigned)(uint8_t)r->control[0] << 8 | (uint8_t)r->control[1] : NO_CODE;
    if (r->n_control == 1 || (r->n_control > 0 && !is_code(code))) return fail(r, PROTOCOL);
    if (r->n_control > 2 && tkr_utf8_valid_prefix(r->control + 2, r->n_control - 2) != r->n_control - 2)
        return fail(r, NOT_UTF8);
    r->ended = true;
    return (tkr_ws_event){.kind = TKR_WS_CLOSE, .code = code};
}

static tkr_ws_event end_message(tkr_ws_reader *r) {
    r->in_message = false;
    if (!r->binary && tkr_utf8_valid_prefix(r->message.data, r->message.size) != r->message.size)
        return fail(r, NOT_UTF8);
    r->given = true;
    const char *data = r->message.data ? r->message.data : "";
    return (tkr_ws_event){.kind = TKR_WS_MESSAGE, .binary = r->binary, .data = data, .size = r->message.size};
}

/* Makes room for n more bytes of the message: 0, or the code to close with. */
static unsigned make_room(tkr_ws_reader *r, size_t n) {
    const tkr_buf *message = &r->message;
    const size_t wanted = message->size + n + 1; /* max_message + 1 at most: see check_head */
    if (wanted <= message->room) return 0;
    size_t room = message->room < r->max_message / 2 ? 2 * message->room : r->max_message + 1;
    if (room < wanted) room = wanted;
    const size_t counted = room > KEPT ? room : 0;
    if (!tkr_budget_take(r->taken, r->limit, counted - r->counted)) return TRY_LATER;
    r->counted = counted;
    return tkr_buf_reserve(&r->message, room - 1 - message->size) ? 0 : INTERNAL;
}

/* Takes what came of a frame; true: *event is something. */
static bool take(tkr_ws_reader *r, const struct wslay_frame_iocb *frame, tkr_ws_event *event) {
    const bool control = wslay_is_ctrl_frame(frame->opcode);
    if (!r->in_frame) {
        const unsigned code = check_head(r, frame);
        if (code != 0) {
            *event = fail(r, code);
            return true;
        }
        r->in_frame = true;
        r->left = frame->payload_length;
        if (control)
            r->n_control = 0;
        else if (frame->opcode != WSLAY_CONTINUATION_FRAME)
            r->binary = frame->opcode == WSLAY_BINARY_FRAME;
        if (!control) r->in_message = true;
    }
    if (control) {
        if (frame->data_length > 0) memcpy(r->control + r->n_control, frame->data, frame->data_length);
        r->n_control += frame->data_length;
    } else {
        const unsigned code = make_room(r, frame->data_length);
        if (code != 0) {
            *event = fail(r, code);
            return true;
        }
        (void)tkr_buf_append(&r->message, frame->data, frame->data_length);
    }
    r->left -= frame->data_length;
    if (r->left > 0) return false;
    r->in_frame = false;
    if (!control && !frame->fin) return false;
    *event = control ? end_control(r, frame->opcode) : end_message(r);
    return true;
}

tkr_ws_event tkr_ws_read(tkr_ws_reader *r, const char **bytes, size_t *n) {
    tkr_ws_event event = {.kind = TKR_WS_NONE};
    if (r->given) {
        r->given = false;
        r->message.size = 0;
        if (r->message.room > KEPT) free_message(r);
    }
    r->in = *bytes;
    r->n_in = *n;
    while (!r->ended) {
        struct wslay_frame_iocb frame;
        memset(&frame, 0, sizeof frame);
        const ssize_t got = wslay_frame_recv(r->frames, &frame);
        if (got == WSLAY_ERR_WANT_READ) break;
        if (got < 0) {
            event = fail(r, PROTOCOL);
            break;
        }
        if (take(r, &frame, &event)) break;
    }
    if (r->ended) r->n_in = 0;
    *bytes = r->in;
    *n = r->n_in;
    return event;
}

size_t tkr_ws_frame_head(char out[TKR_WS_HEAD], unsigned opcode, size_t size) {
    out[0] = (char)(0x80u | opcode);
    const size_t n = size < 126 ? 0 : size <= UINT16_MAX ? 2 : 8;
    out[1] = (char)(n == 0 ? size : n == 2 ? 126 : 127);
    for (size_t i = 0; i < n; i++) out[2 + i] = (char)((uint64_t)size >> (8 * (n - 1 - i)));
    return 2 + n;
}
