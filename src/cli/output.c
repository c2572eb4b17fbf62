/* SPDX-License-Identifier: Apache-2.0 */
/* cli/output: vectors as JSON, JSON lines, npy or bare float32. Refuses half a row: what is written is valid. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/stream.h"
#include "core/json.h"
#include "core/npy.h"
#include "core/spool.h"

struct tkr_cli_writer {
    tkr_out *out;
    tkr_cli_format format;
    size_t dimensions;
    bool all_rows;
    uint64_t n_rows;
    uint64_t n_objects;
    tkr_spool *spool; /* npy that can't be patched: rows wait here for their number */
    tkr_buf line;
};

/* The bytes of float32 values as files have them, also on a big-endian machine. */
static tkr_status write_floats(tkr_cli_writer *writer, const float *values, size_t n, tkr_error *error) {
    writer->line.size = 0;
    if (!tkr_buf_reserve(&writer->line, n * 4)) {
        return TKR_FAIL(error, NO_MEMORY, "out of memory");
    }
    unsigned char *to = (unsigned char *)writer->line.data;
    for (size_t i = 0; i < n; i++, to += 4) {
        uint32_t bits;
        memcpy(&bits, &values[i], 4);
        to[0] = (unsigned char)(bits & 0xFF);
        to[1] = (unsigned char)(bits >> 8 & 0xFF);
        to[2] = (unsigned char)(bits >> 16 & 0xFF);
        to[3] = (unsigned char)(bits >> 24);
    }
    return writer->spool != NULL ? tkr_spool_write(writer->spool, writer->line.data, n * 4, error)
                                 : tkr_out_write(writer->out, writer->line.data, n * 4, error);
}

static tkr_status write_line(tkr_cli_writer *writer, tkr_error *error) {
    if (writer->line.failed) {
        return TKR_FAIL(error, NO_MEMORY, "out of memory");
    }
    return tkr_out_write(writer->out, writer->line.data, writer->line.size, error);
}

tkr_status tkr_cli_writer_open(tkr_cli_writer **writer, const char *path, tkr_cli_format format, bool all_rows,
                               const tkr_model_info *info, size_t dimensions, tkr_error *error) {
    char header[TKR_NPY_HEADER];
    *writer = NULL;
    tkr_cli_writer *made = tkr_calloc(1, sizeof *made);
    if (made == NULL) {
        return TKR_FAIL(error, NO_MEMORY, "out of memory");
    }
    made->format = format;
    made->all_rows = all_rows;
    made->dimensions = dimensions != 0 ? dimensions : info->dimensions;
    tkr_status status = tkr_out_open(&made->out, path, error);
    if (status == TKR_OK && format == TKR_CLI_NPY) {
        if (tkr_out_seekable(made->out)) {
            tkr_npy_header(header, "<f4", 0, made->dimensions);
            status = tkr_out_write(made->out, header, sizeof header, error);
        } else {
            status = tkr_spool_open(&made->spool, error);
        }
    } else if (status == TKR_OK && format == TKR_CLI_JSON) {
        tkr_buf_putc(&made->line, '{');
        tkr_cli_json_text(&made->line, "model", info->reference);
        tkr_cli_json_text(&made->line, "fingerprint", info->fingerprint);
        tkr_cli_json_count(&made->line, "dimensions", made->dimensions);
        tkr_buf_printf(&made->line, ", \"embeddings\": [");
        status = write_line(made, error);
    }
    if (status == TKR_OK) {
        *writer = made;
        return TKR_OK;
    }
    tkr_spool_close(&made->spool);
    (void)tkr_out_close(&made->out, NULL);
    tkr_buf_free(&made->line);
    tkr_free(made);
    return status;
}

/* What each object begins with: its number, and where it comes from. */
static void begin_object(tkr_cli_writer *writer, const tkr_cli_item *item, const tkr_result_item *row) {
    static const char *const kinds[] = {"text", "image", "video", "document"}; /* by tkr_cli_operand */
    tkr_buf *line = &writer->line;
    line->size = 0;
    if (writer->format == TKR_CLI_JSON) {
        tkr_buf_printf(line, "%s", writer->n_objects > 0 ? ",\n" : "\n");
    }
    tkr_buf_printf(line, "{\"index\":%" PRIu64, writer->n_objects++);
    if (item->id != NULL) {
        tkr_buf_append(line, ",\"id\":", 6);
        tkr_buf_append(line, item->id, item->n_id);
    }
    if (item->source != NULL) {
        tkr_buf_printf(line, ",\"source\":");
        tkr_json_write_string(line, item->source, item->n_source);
        tkr_buf_printf(line, ",\"kind\":\"%s\"", kinds[item->kind]);
    }
    if (item->fields != NULL) {
        tkr_buf_printf(line, ",%s", item->fields);
    }
    if (row != NULL && row->n_frames > 0) {
        tkr_buf_printf(line, ",\"start_s\":%.3f,\"end_s\":%.3f,\"frames\":%zu", row->start_s, row->end_s,
                       row->n_frames);
        if (row->n_lost_frames > 0) tkr_buf_printf(line, ",\"lost_frames\":%zu", row->n_lost_frames);
    }
}

static tkr_status end_object(tkr_cli_writer *writer, tkr_error *error) {
    tkr_buf_append(&writer->line, "}\n", writer->format == TKR_CLI_JSONL ? 2 : 1);
    return write_line(writer, error);
}

static void write_vector(tkr_buf *line, const float *values, size_t n) {
    tkr_buf_putc(line, '[');
    for (size_t i = 0; i < n; i++) {
        if (i > 0) {
            tkr_buf_putc(line, ',');
        }
        tkr_json_write_float(line, values[i]);
    }
    tkr_buf_putc(line, ']');
}

tkr_status tkr_cli_writer_row(tkr_cli_writer *writer, const tkr_cli_item *item, const tkr_result_item *row,
                              tkr_error *error) {
    if (row->n_rows != 1 && !writer->all_rows) {
        return TKR_FAIL(error, UNSUPPORTED, "an input gave %zu vectors; --multivector writes several", row->n_rows);
    }
    for (size_t i = 0; i < writer->dimensions * row->n_rows; i++) {
        if (!isfinite(row->rows[i])) {
            return TKR_FAIL(error, NUMERIC, "value %zu of row %" PRIu64 " is not a finite number", i, writer->n_rows);
        }
    }
    writer->n_rows++;
    if (writer->format == TKR_CLI_NPY || writer->format == TKR_CLI_F32) {
        return write_floats(writer, row->rows, writer->dimensions, error);
    }
    begin_object(writer, item, row);
    if (writer->all_rows) {
        tkr_buf_append(&writer->line, ",\"embeddings\":[", 15);
        for (size_t r = 0; r < row->n_rows; r++) {
            tkr_buf_append(&writer->line, ",", r > 0 ? 1 : 0);
            write_vector(&writer->line, row->rows + r * writer->dimensions, writer->dimensions);
        }
        tkr_buf_putc(&writer->line, ']');
    } else {
        tkr_buf_append(&writer->line, ",\"embedding\":", 13);
        write_vector(&writer->line, row->rows, writer->dimensions);
    }
    tkr_buf_printf(&writer->line, ",\"tokens\":%zu", row->n_tokens);
    if (row->n_tokens_untruncated > row->n_tokens) {
        tkr_buf_printf(&writer->line, ",\"tokens_untruncated\":%zu", row->n_tokens_untruncated);
    }
    return end_object(writer, error);
}

tkr_status tkr_cli_writer_failed(tkr_cli_writer *writer, const tkr_cli_item *item, const char *message,
                                 tkr_error *error) {
    if (writer->format == TKR_CLI_NPY || writer->format == TKR_CLI_F32) {
        return TKR_OK;
    }
    begin_object(writer, item, NULL);
    tkr_buf_append(&writer->line, ",\"error\":", 9);
    tkr_json_write_string(&writer->line, message, strlen(message));
    return end_object(writer, error);
}

tkr_status tkr_cli_writer_sync(tkr_cli_writer *writer, tkr_error *error) {
    char header[TKR_NPY_HEADER];
    if (writer->format == TKR_CLI_NPY && writer->spool == NULL) {
        tkr_npy_header(header, "<f4", writer->n_rows, writer->dimensions);
        return tkr_out_patch(writer->out, 0, header, sizeof header, error);
    }
    return tkr_out_flush(writer->out, error);
}

static tkr_status send_piece(void *user, const void *data, size_t size, tkr_error *error) {
    return tkr_out_write(user, data, size, error);
}

tkr_status tkr_cli_writer_close(tkr_cli_writer **writer, tkr_error *error) {
    tkr_cli_writer *old = *writer;
    char header[TKR_NPY_HEADER];
    tkr_status status = TKR_OK;
    if (old == NULL) {
        return TKR_OK;
    }
    *writer = NULL;
    if (old->spool != NULL) {
        tkr_npy_header(header, "<f4", old->n_rows, old->dimensions);
        status = tkr_out_write(old->out, header, sizeof header, error);
        if (status == TKR_OK) {
            status = tkr_spool_each(old->spool, send_piece, old->out, error);
        }
    } else if (old->format == TKR_CLI_JSON) {
        status = tkr_out_write(old->out, "\n]}\n", 4, error);
    } else {
        status = tkr_cli_writer_sync(old, error);
    }
    tkr_spool_close(&old->spool);
    if (status == TKR_OK) {
        status = tkr_out_close(&old->out, error);
    } else {
        (void)tkr_out_close(&old->out, NULL);
    }
    tkr_buf_free(&old->line);
    tkr_free(old);
    return status;
}
