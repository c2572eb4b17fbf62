/* SPDX-License-Identifier: Apache-2.0 */
/* server/ws_message: openings, ids, frames, media. */
#include "server/ws_message.h"

#include <stdio.h>
#include <string.h>

#include "server/read.h"
#include "server/routes/embed.h"

static const char *copy_text(tkr_arena *arena, const char *text) {
    return text != NULL ? tkr_arena_strndup(arena, text, strlen(text)) : NULL;
}

bool tkr_ws_copy_opening(tkr_http_request *to, tkr_arena *arena, const tkr_http_request *from) {
    static const char *const names[] = {"authorization", "x-api-key", "traceparent"};
    enum { N = sizeof names / sizeof *names };
    tkr_http_field *fields = tkr_arena_alloc(arena, N * sizeof *fields);
    *to = (tkr_http_request){.method = copy_text(arena, from->method),
                             .path = copy_text(arena, from->path),
                             .query = "",
                             .fields = fields,
                             .peer = copy_text(arena, from->peer),
                             .listener = from->listener,
                             .tls = from->tls};
    bool good = fields != NULL && to->method != NULL && to->path != NULL && to->peer != NULL;
    for (size_t i = 0; good && i < N; i++) {
        const char *value = tkr_http_field_of(from, names[i]);
        if (value != NULL) {
            fields[to->n_fields++] = (tkr_http_field){names[i], copy_text(arena, value)};
            good = fields[to->n_fields - 1].value != NULL;
        }
    }
    return good;
}

bool tkr_ws_read_id(char id[TKR_WS_ID], tkr_operation *op, const json_t *body) {
    const json_t *value = json_object_get(body, "id");
    tkr_buf text = {0};
    if (value == NULL || json_is_null(value)) {
        return true;
    }
    if (json_is_integer(value)) {
        (void)snprintf(id, TKR_WS_ID, "%lld", (long long)json_integer_value(value));
        return true;
    }
    if (!json_is_string(value)) {
        return tkr_refuse(op, TYPE, "id", "id: is %s, expected a string or a whole number", tkr_json_type_name(value));
    }
    tkr_json_write_string(&text, json_string_value(value), json_string_length(value));
    const bool fits = !text.failed && text.size < TKR_WS_ID;
    if (fits) {
        memcpy(id, text.data, text.size + 1);
    }
    tkr_buf_free(&text);
    return fits || tkr_refuse(op, VALUE, "id", "id: is longer than %d bytes", (int)TKR_WS_ID - 1);
}

void tkr_ws_add_id(tkr_buf *object, const char *id) {
    if (!object->failed && object->size > 0 && object->data[object->size - 1] == '}') {
        object->size--;
        tkr_buf_printf(object, ",\"id\":%s}", id);
    }
}

static void put_length(char out[4], size_t n) {
    for (unsigned i = 0; i < 4; i++) {
        out[i] = (char)(n >> 8 * i & 0xFF);
    }
}

bool tkr_ws_render_frame(tkr_operation *op, const char *id) {
    tkr_buf *out = &op->response->body;
    op->response->status = 200;
    tkr_buf_append(out, "\0\0\0\0{", 5);
    tkr_embed_put_facts(out, op);
    tkr_buf_printf(out, ",\"id\":%s}", id);
    if (out->failed) {
        return tkr_refuse(op, INTERNAL, NULL, "no memory for the reply");
    }
    put_length(out->data, out->size - 4);
    return tkr_embed_put_bytes(out, op) || tkr_refuse(op, INTERNAL, NULL, "no memory for the reply");
}

bool tkr_ws_split(tkr_ws_pieces *pieces, tkr_operation *op, const char *frame, size_t size) {
    size_t n = 0;
    for (unsigned i = 0; i < 4 && size >= 4; i++) {
        n |= (size_t)(unsigned char)frame[i] << 8 * i;
    }
    if (size < 4 || n > size - 4) {
        return tkr_refuse(
            op, MALFORMED, NULL,
            "the frame of %zu bytes is shorter than its length says: 4 bytes of length, the object, the media", size);
    }
    *pieces = (tkr_ws_pieces){.object = frame + 4, .n_object = n, .media = frame + 4 + n, .n_media = size - 4 - n};
    return true;
}

bool tkr_ws_has_documents(const json_t *body) {
    size_t i;
    const json_t *entry;
    json_array_foreach(json_object_get(body, "media"), i, entry) {
        const char *type = json_string_value(json_object_get(entry, "type"));
        if (type != NULL && strcmp(type, "document") == 0) {
            return true;
        }
    }
    return json_object_get(body, "documents") != NULL;
}

bool tkr_ws_read_media(tkr_operation *op, const json_t *list, const char *data, size_t size) {
    static const char *const names[] = {"size", "type", "name", NULL}, *const types[] = {"image", "video", "document",
                                                                                         NULL};
    const size_t n = json_array_size(list);
    if (list == NULL || json_is_null(list)) {
        return size == 0 ||
               tkr_refuse(op, MALFORMED, "media", "media: is missing, but %zu bytes follow the object", size);
    }
    if (!json_is_array(list)) {
        return tkr_refuse(op, TYPE, "media", "media: is %s, expected a list", tkr_json_type_name(list));
    }
    if (n > TKR_WS_MEDIA) {
        return tkr_refuse(op, TOO_MANY, "media", "media: %zu; at most %d go into a frame", n, (int)TKR_WS_MEDIA);
    }
    op->form = tkr_operation_alloc(op, (n + 1) * sizeof *op->form);
    for (size_t i = 0; op->form != NULL && i < n; i++) {
        char path[64];
        tkr_fields fields;
        size_t n_bytes = 0, type = 0;
        const json_t *given;
        const char *name = NULL;
        tkr_form_part *part = &op->form[op->n_form++];
        part->name = "media";
        (void)snprintf(path, sizeof path, "media[%zu].", i);
        if (!tkr_fields_of(&fields, op, json_array_get(list, i), path) || !tkr_fields_only(&fields, names) ||
            !tkr_fields_require(&given, &fields, "size") || !tkr_fields_count(&n_bytes, &fields, "size", 1, SIZE_MAX) ||
            !tkr_fields_word(&type, &fields, "type", types) || !tkr_fields_string(&name, &fields, "name")) {
            return false;
        }
        if (n_bytes > size) {
            return tkr_fields_refuse(&fields, TKR_FAULT_MALFORMED, "size", "is %zu, but %zu bytes are left", n_bytes,
                                     size);
        }
        part->file_name =
            name != NULL ? tkr_arena_strndup(op->arena, name, strlen(name)) : NULL; /* outlives the list */
        part->content_type = types[type];
        part->data = data;
        part->size = n_bytes;
        data += n_bytes;
        size -= n_bytes;
    }
    return op->form != NULL &&
           (size == 0 || tkr_refuse(op, MALFORMED, "media", "media: %zu bytes are left behind the last one", size));
}
