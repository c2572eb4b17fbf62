/* SPDX-License-Identifier: Apache-2.0 */
/* formats/safetensors, one file: header length, JSON header, every tensor's type, shape and place. Trusts none of them:
 * refuses what does not add up to the whole file without hole or overlap. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "formats/safetensors_parse.h"

/* One file being read. */
typedef struct parser {
    tkr_tensors *set;
    const tkr_tensor_source *source;
    const uint8_t *data; /* behind the header */
    uint64_t n_data;
    tkr_jr reader;
    tkr_error *error;
} parser;

/* The tensor being read: which fields came, and what they said. */
typedef struct tensor {
    const char *name;
    bool has_dtype, has_shape, has_offsets;
    tkr_dtype dtype;
    unsigned n_dims;
    int64_t shape[TKR_MAX_DIMS];
    int64_t offsets[2];
} tensor;

static const char *event_name(tkr_jr_type type) {
    static const char *const names[] = {
        [TKR_JR_OBJECT] = "an object", [TKR_JR_ARRAY] = "an array", [TKR_JR_STRING] = "a string",
        [TKR_JR_NUMBER] = "a number",  [TKR_JR_TRUE] = "true",      [TKR_JR_FALSE] = "false",
        [TKR_JR_NULL] = "null",
    };
    const char *name = (size_t)type < sizeof names / sizeof names[0] ? names[type] : NULL;
    return name ? name : "something else";
}

/* Next event, which must be of this type. A reader's own error is already in place. */
static tkr_status expect(parser *p, tkr_jr_type type, const char *whose, const char *field) {
    const tkr_jr_type got = tkr_jr_next(&p->reader);
    if (got == type) return TKR_OK;
    if (got == TKR_JR_ERROR) return p->error->status;
    return tkr_jr_fail(&p->reader, "\"%.*s\": %s is %s, expected %s", TKR_NAME_SHOWN, whose, field, event_name(got),
                       event_name(type));
}

static bool reader_string_is(const parser *p, const char *text) {
    return p->reader.n_string == strlen(text) && memcmp(p->reader.string, text, p->reader.n_string) == 0;
}

/* Reads up to `max` whole numbers >= 0 of an array, whose start comes next. */
static tkr_status read_counts(parser *p, int64_t *out, unsigned *n, unsigned max, const tensor *t, const char *field) {
    tkr_status status = expect(p, TKR_JR_ARRAY, t->name, field);
    if (status != TKR_OK) return status;
    tkr_jr *r = &p->reader;
    for (*n = 0;; ++*n) {
        const tkr_jr_type type = tkr_jr_next(r);
        if (type == TKR_JR_ERROR) return p->error->status;
        if (type == TKR_JR_ARRAY_END) return TKR_OK;
        if (*n == max) {
            return tkr_jr_fail(r, "\"%.*s\": %s has more than %u values", TKR_NAME_SHOWN, t->name, field, max);
        }
        if (type != TKR_JR_NUMBER) {
            return tkr_jr_fail(r, "\"%.*s\": %s holds %s, expected whole numbers", TKR_NAME_SHOWN, t->name, field,
                               event_name(type));
        }
        if (!r->is_integer || r->integer < 0) {
            return tkr_jr_fail(r, "\"%.*s\": %s holds %.17g, expected whole numbers from 0 to 2^63 - 1", TKR_NAME_SHOWN,
                               t->name, field, r->number);
        }
        out[*n] = r->integer;
    }
}

static tkr_status read_dtype(parser *p, tensor *t) {
    tkr_status status = expect(p, TKR_JR_STRING, t->name, "dtype");
    if (status != TKR_OK) return status;
    t->dtype = tkr_dtype_parse(p->reader.string, p->reader.n_string);
    if (t->dtype != TKR_DTYPE_COUNT) return TKR_OK;
    return tkr_jr_fail(&p->reader, "\"%.*s\": dtype \"%.*s\" is unknown, expected one such as F32, F16, BF16, I64",
                       TKR_NAME_SHOWN, t->name, p->reader.n_string < 40 ? (int)p->reader.n_string : 40,
                       p->reader.string);
}

/* With the last event at a key of a tensor. Keys that the format does not define are passed over, as the reference
 * does. */
static tkr_status read_field(parser *p, tensor *t) {
    unsigned n = 0;
    bool *seen = NULL;
    tkr_status status;
    const bool dtype = reader_string_is(p, "dtype"), shape = reader_string_is(p, "shape");
    if (dtype)
        seen = &t->has_dtype;
    else if (shape)
        seen = &t->has_shape;
    else if (reader_string_is(p, "data_offsets"))
        seen = &t->has_offsets;
    else
        return tkr_jr_skip(&p->reader) ? TKR_OK : p->error->status;
    if (*seen) {
        return tkr_jr_fail(&p->reader, "\"%.*s\": %s is given twice", TKR_NAME_SHOWN, t->name,
                           dtype   ? "dtype"
                           : shape ? "shape"
                                   : "data_offsets");
    }
    *seen = true;
    if (dtype) return read_dtype(p, t);
    if (shape) return read_counts(p, t->shape, &t->n_dims, TKR_MAX_DIMS, t, "shape");
    if ((status = read_counts(p, t->offsets, &n, 2, t, "data_offsets")) != TKR_OK) return status;
    if (n == 2) return TKR_OK;
    return tkr_jr_fail(&p->reader, "\"%.*s\": data_offsets has %u values, expected 2", TKR_NAME_SHOWN, t->name, n);
}

static tkr_status check_tensor(parser *p, tkr_tensor_view *view, const tensor *t) {
    tkr_jr *r = &p->reader;
    char shape[160];
    if (!t->has_dtype || !t->has_shape || !t->has_offsets) {
        return tkr_jr_fail(r, "\"%.*s\": %s is missing", TKR_NAME_SHOWN, t->name,
                           !t->has_dtype   ? "dtype"
                           : !t->has_shape ? "shape"
                                           : "data_offsets");
    }
    tkr_shape_text(shape, sizeof shape, t->shape, t->n_dims);
    const uint64_t begin = (uint64_t)t->offsets[0], end = (uint64_t)t->offsets[1];
    if (begin > end) {
        return tkr_jr_fail(r, "\"%.*s\": data_offsets begin at %" PRIu64 " and end before it, at %" PRIu64,
                           TKR_NAME_SHOWN, t->name, begin, end);
    }
    if (end > p->n_data) {
        return tkr_jr_fail(
            r, "\"%.*s\" ends at byte %" PRIu64 " of the data, but the file has only %" PRIu64 " (truncated?)",
            TKR_NAME_SHOWN, t->name, end, p->n_data);
    }
    if (!tkr_tensor_measure(&view->n_elements, &view->size, t->shape, t->n_dims, t->dtype)) {
        return tkr_jr_fail(r, "\"%.*s\": shape %s of %s is beyond any memory", TKR_NAME_SHOWN, t->name, shape,
                           tkr_dtype_name(t->dtype));
    }
    if (end - begin != view->size) {
        return tkr_jr_fail(r, "\"%.*s\": data_offsets span %" PRIu64 " bytes, but shape %s of %s needs %zu",
                           TKR_NAME_SHOWN, t->name, end - begin, shape, tkr_dtype_name(t->dtype), view->size);
    }
    view->name = t->name;
    view->file = p->source->file;
    view->dtype = t->dtype;
    view->n_dims = t->n_dims;
    memcpy(view->shape, t->shape, sizeof view->shape);
    view->data = p->data + begin;
    if (view->size > 0 && (uintptr_t)view->data % tkr_dtype_size(t->dtype) != 0) {
        return tkr_jr_fail(r,
                           "\"%.*s\" of %s starts at byte %" PRIu64 " of the data, which is not aligned to %zu bytes: "
                           "save the file again with a current safetensors library",
                           TKR_NAME_SHOWN, t->name, tkr_dtype_name(t->dtype), begin, tkr_dtype_size(t->dtype));
    }
    return TKR_OK;
}

/* With the last event at the tensor's name. */
static tkr_status read_tensor(parser *p) {
    tkr_jr *r = &p->reader;
    tensor t;
    memset(&t, 0, sizeof t);
    if (memchr(r->string, '\0', r->n_string)) return tkr_jr_fail(r, "a tensor's name holds a NUL character");
    t.name = tkr_arena_strndup(&p->set->text, r->string, r->n_string);
    if (!t.name) return TKR_FAIL(p->error, NO_MEMORY, "%s: out of memory for tensor names", p->source->path);
    tkr_status status = expect(p, TKR_JR_OBJECT, t.name, "its entry");
    if (status != TKR_OK) return status;
    for (tkr_jr_type type; (type = tkr_jr_next(r)) != TKR_JR_OBJECT_END;) {
        if (type == TKR_JR_ERROR) return p->error->status;
        if ((status = read_field(p, &t)) != TKR_OK) return status;
    }
    tkr_tensor_view *view = tkr_tensors_next(p->set, p->source->path, p->error);
    if (!view) return p->error->status;
    if ((status = check_tensor(p, view, &t)) == TKR_OK) p->set->n_views++;
    return status;
}

/* Strings by name, of no use to us. */
static tkr_status read_metadata(parser *p) {
    tkr_status status = expect(p, TKR_JR_OBJECT, "__metadata__", "its value");
    if (status != TKR_OK) return status;
    for (tkr_jr_type type; (type = tkr_jr_next(&p->reader)) != TKR_JR_OBJECT_END;) {
        if (type == TKR_JR_ERROR) return p->error->status;
        if ((status = expect(p, TKR_JR_STRING, "__metadata__", "a value")) != TKR_OK) return status;
    }
    return TKR_OK;
}

static tkr_status read_header(parser *p) {
    bool has_metadata = false;
    tkr_status status = expect(p, TKR_JR_OBJECT, "header", "it");
    if (status != TKR_OK) return status;
    for (tkr_jr_type type; (type = tkr_jr_next(&p->reader)) != TKR_JR_OBJECT_END;) {
        if (type == TKR_JR_ERROR) return p->error->status;
        if (!reader_string_is(p, "__metadata__")) {
            status = read_tensor(p);
        } else if (has_metadata) {
            status = tkr_jr_fail(&p->reader, "__metadata__ is given twice");
        } else {
            has_metadata = true;
            status = read_metadata(p);
        }
        if (status != TKR_OK) return status;
    }
    return tkr_jr_next(&p->reader) == TKR_JR_END ? TKR_OK : p->error->status; /* nothing but blanks behind it */
}

static int by_place(const void *left, const void *right) {
    const tkr_tensor_view *a = left, *b = right;
    const uintptr_t at_a = (uintptr_t)a->data, at_b = (uintptr_t)b->data;
    if (at_a != at_b) return at_a < at_b ? -1 : 1;
    return a->size == b->size ? 0 : a->size < b->size ? -1 : 1;
}

/* The tensors must tile the data. */
static tkr_status check_places(parser *p, size_t first) {
    const size_t n = p->set->n_views - first;
    tkr_tensor_view *views = n > 0 ? p->set->views + first : NULL; /* there may be no array yet */
    const char *path = p->source->path;
    if (n > 1) qsort(views, n, sizeof *views, by_place);
    uint64_t end = 0;
    for (size_t i = 0; i < n; i++) {
        const uint64_t begin = (uint64_t)((const uint8_t *)views[i].data - p->data);
        if (begin < end) {
            return TKR_FAIL(p->error, FORMAT, "%s: tensors \"%.*s\" and \"%.*s\" overlap", path, TKR_NAME_SHOWN,
                            views[i - 1].name, TKR_NAME_SHOWN, views[i].name);
        }
        if (begin > end) {
            return TKR_FAIL(p->error, FORMAT,
                            "%s: bytes %" PRIu64 " to %" PRIu64
                            " of the data, before tensor \"%.*s\", belong to no tensor",
                            path, end, begin, TKR_NAME_SHOWN, views[i].name);
        }
        end = begin + views[i].size;
    }
    if (end == p->n_data) return TKR_OK;
    return TKR_FAIL(p->error, FORMAT, "%s: the last %" PRIu64 " bytes of the file belong to no tensor", path,
                    p->n_data - end);
}

tkr_status tkr_safetensors_read(tkr_tensors *set, const tkr_tensor_source *source, tkr_error *error) {
    const uint8_t *bytes = source->data;
    uint64_t n_header = 0;
    if (source->size < 8) {
        return TKR_FAIL(error, FORMAT, "%s: %zu bytes are too few for a safetensors file", source->path, source->size);
    }
    for (unsigned i = 0; i < 8; i++) n_header |= (uint64_t)bytes[i] << (8 * i);
    if (n_header > TKR_MAX_HEADER) {
        return TKR_FAIL(error, FORMAT,
                        "%s: a header of %" PRIu64 " bytes, expected at most %zu: not a safetensors file?",
                        source->path, n_header, TKR_MAX_HEADER);
    }
    if (n_header > source->size - 8) {
        return TKR_FAIL(error, FORMAT, "%s: a header of %" PRIu64 " bytes, but the file has only %zu (truncated?)",
                        source->path, n_header, source->size);
    }
    if (n_header == 0 || bytes[8] != '{') {
        return TKR_FAIL(error, FORMAT, "%s: the header does not begin with '{': not a safetensors file?", source->path);
    }
    tkr_error local; /* the reader says what went wrong only there */
    parser p = {set, source, bytes + 8 + n_header, source->size - 8 - n_header, {0}, error ? error : &local};
    tkr_jr_init(&p.reader, (const char *)bytes + 8, (size_t)n_header, source->path, p.error);
    const size_t first = set->n_views;
    tkr_status status = read_header(&p);
    tkr_jr_free(&p.reader);
    return status == TKR_OK ? check_places(&p, first) : status;
}
