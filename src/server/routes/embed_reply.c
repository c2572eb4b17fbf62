/* SPDX-License-Identifier: Apache-2.0 */
/* routes/embed_reply: the vectors of our own routes, as JSON, as bytes and as .npy. */
#include <string.h>

#include "server/routes/embed.h"
#include "server/routes/shape.h"

/* Values of a row as they are sent: of the binary types bytes. */
static size_t n_columns(const tkr_embed_reply *reply, const tkr_operation *op) {
    const size_t n = op->job.n_items > 0 ? op->job.items[0].dimensions : 0;
    const bool bits = reply->type == TKR_WIRE_BINARY || reply->type == TKR_WIRE_UBINARY;
    return bits ? tkr_wire_bytes(reply->type, n) : n;
}

static size_t n_all_rows(const tkr_operation *op) {
    size_t n = 0;
    for (size_t i = 0; i < op->job.n_items; i++) {
        n += op->job.items[i].n_rows;
    }
    return n;
}

static bool several_rows(const tkr_operation *op) { return op->model->info->multi_vector != 0; }

/* ",..." for all items of which `count` is told. */
static void put_rows_of_each(tkr_buf *out, const tkr_operation *op) {
    for (size_t i = 0; i < op->job.n_items; i++) {
        tkr_buf_printf(out, i > 0 ? ",%zu" : "%zu", op->job.items[i].n_rows);
    }
}

/* Indices of the inputs that were cut; returns how many. */
static size_t put_truncated(tkr_buf *out, const tkr_operation *op) {
    size_t n = 0;
    for (size_t i = 0; i < op->job.n_items; i++) {
        if (op->job.items[i].n_tokens_untruncated > op->job.items[i].n_tokens) {
            tkr_buf_printf(out, n++ > 0 ? ",%zu" : "%zu", i);
        }
    }
    return n;
}

/* Frames of each input, 0 of those without videos. */
static void put_frames_of_each(tkr_buf *out, const tkr_operation *op) {
    for (size_t i = 0; i < op->job.n_items; i++) {
        tkr_buf_printf(out, i > 0 ? ",%zu" : "%zu", op->job.items[i].n_frames);
    }
}

static size_t count_frames(const tkr_operation *op) {
    size_t n = 0;
    for (size_t i = 0; i < op->job.n_items; i++) {
        n += op->job.items[i].n_frames;
    }
    return n;
}

/* Of requests with videos: frames, and those that are damaged, where there are any. */
static void put_frames(tkr_buf *out, const tkr_operation *op) {
    size_t n_lost = 0;
    if (count_frames(op) == 0) {
        return;
    }
    tkr_buf_printf(out, ",\"frames\":[");
    put_frames_of_each(out, op);
    for (size_t i = 0; i < op->job.n_items; i++) {
        n_lost += op->job.items[i].n_lost_frames;
    }
    for (size_t i = 0; n_lost > 0 && i < op->job.n_items; i++) {
        tkr_buf_printf(out, i > 0 ? ",%zu" : "],\"lost_frames\":[%zu", op->job.items[i].n_lost_frames);
    }
    tkr_buf_putc(out, ']');
}

bool tkr_embed_put_facts(tkr_buf *out, const tkr_operation *op) {
    const tkr_embed_reply *reply = op->state;
    const size_t n_tokens = tkr_shape_tokens(op);
    tkr_buf cut = {0};
    if (several_rows(op)) { /* an input has as many rows as it has tokens */
        tkr_buf_printf(out, "\"shape\":[%zu,null,%zu],\"rows\":[", op->job.n_items, n_columns(reply, op));
        put_rows_of_each(out, op);
        tkr_buf_putc(out, ']');
    } else {
        tkr_buf_printf(out, "\"shape\":[%zu,%zu]", n_all_rows(op), n_columns(reply, op));
    }
    put_frames(out, op);
    if (reply->type != TKR_WIRE_FLOAT) {
        tkr_buf_printf(out, ",\"dtype\":\"%s\"", tkr_wire_type_name(reply->type));
    }
    tkr_buf_printf(out, ",\"model\":");
    tkr_put_text(out, op->model->name);
    tkr_buf_printf(out, ",\"usage\":{\"prompt_tokens\":%zu,\"total_tokens\":%zu", n_tokens, n_tokens);
    if (put_truncated(&cut, op) > 0) {
        tkr_buf_printf(out, ",\"truncated\":[%s]", cut.data);
    }
    tkr_buf_printf(out, "},\"fingerprint\":");
    tkr_put_text(out, op->model->info->fingerprint);
    tkr_buf_printf(out, "%s", reply->more != NULL ? reply->more : "");
    out->failed = out->failed || cut.failed;
    tkr_buf_free(&cut);
    return !out->failed;
}

bool tkr_embed_put_bytes(tkr_buf *out, const tkr_operation *op) {
    const tkr_embed_reply *reply = op->state;
    for (size_t i = 0; i < op->job.n_items; i++) {
        const tkr_job_item *item = &op->job.items[i];
        const size_t n = tkr_wire_bytes(reply->type, item->dimensions);
        if (!tkr_buf_reserve(out, n * item->n_rows)) {
            return false;
        }
        for (size_t r = 0; r < item->n_rows; r++) {
            tkr_wire_pack(out->data + out->size, reply->type, item->rows + r * item->dimensions, item->dimensions);
            out->size += n;
        }
        out->data[out->size] = '\0';
    }
    return true;
}

/* What a body of bytes can't say stands in fields. */
static bool put_fields(tkr_operation *op) {
    const tkr_embed_reply *reply = op->state;
    tkr_http_response *response = op->response;
    tkr_buf text = {0};
    tkr_http_add_field(response, "x-shape", "%zu,%zu", n_all_rows(op), n_columns(reply, op));
    tkr_http_add_field(response, "x-dtype", "%s",
                       reply->type == TKR_WIRE_FLOAT ? "float32" : tkr_wire_type_name(reply->type));
    tkr_http_add_field(response, "x-model", "%s", op->model->name);
    if (several_rows(op)) {
        put_rows_of_each(&text, op);
        tkr_buf_printf(&response->fields, "x-rows: %s\r\n", text.failed ? "" : text.data); /* of any length */
        text.size = 0;
    }
    if (put_truncated(&text, op) > 0) {
        tkr_buf_printf(&response->fields, "x-truncated: %s\r\n", text.failed ? "" : text.data);
    }
    text.size = 0;
    if (count_frames(op) > 0) {
        put_frames_of_each(&text, op);
        tkr_buf_printf(&response->fields, "x-frames: %s\r\n", text.failed ? "" : text.data);
    }
    const bool good = !text.failed && !response->fields.failed;
    tkr_buf_free(&text);
    return good;
}

static void put_json(tkr_operation *op) {
    const tkr_embed_reply *reply = op->state;
    const tkr_form form = {.type = reply->type, .base64 = reply->base64};
    tkr_buf *out = tkr_shape_reply(op, 200);
    tkr_buf_printf(out, "{\"embeddings\":[");
    for (size_t i = 0; i < op->job.n_items; i++) {
        const tkr_job_item *item = &op->job.items[i];
        if (several_rows(op)) {
            tkr_put_comma(out, i);
            tkr_put_rows(out, form, item);
            continue;
        }
        for (size_t r = 0; r < item->n_rows; r++) { /* of a window of a document some */
            tkr_put_comma(out, i + r);
            tkr_put_vector(out, form, item->rows + r * item->dimensions, item->dimensions);
        }
    }
    tkr_buf_printf(out, "],");
    tkr_embed_put_facts(out, op);
    tkr_buf_putc(out, '}');
}

bool tkr_embed_render(tkr_operation *op) {
    const tkr_embed_reply *reply = op->state;
    if (reply->format == TKR_REPLY_JSON) {
        put_json(op);
        return true;
    }
    tkr_buf *out = tkr_shape_reply(op, 200);
    op->response->content_type = reply->format == TKR_REPLY_NPY ? "application/x-npy" : "application/octet-stream";
    const size_t dimensions = op->job.n_items > 0 ? op->job.items[0].dimensions : 0;
    if (reply->format == TKR_REPLY_NPY) {
        tkr_put_npy_header(out, reply->type, n_all_rows(op), dimensions);
    }
    return (tkr_embed_put_bytes(out, op) && put_fields(op)) ||
           tkr_refuse(op, INTERNAL, NULL, "no memory for the reply");
}
