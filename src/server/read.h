/* SPDX-License-Identifier: Apache-2.0 */
/* server/read: the values of a request's JSON, checked: one fault that names the field, what it holds and what would be
 * right. All functions return false after tkr_refuse; outputs of absent fields are left alone. What comes out is
 * borrowed from the body or lies in the operation's arena. */
#ifndef TKR_SERVER_READ_H
#define TKR_SERVER_READ_H

#include "server/operation.h"

/* ---- fields of an object ---- */

typedef struct tkr_fields {
    tkr_operation *op;
    const json_t *object;
    const char *path;   /* in front of names in faults: "" or "items[2]." */
    bool null_is_wrong; /* an explicit null is of the wrong type; otherwise it means that the field is absent */
    bool from_text;     /* values came as text, from a form: "true" and "12" are read as what is expected */
} tkr_fields;

/* TYPE unless `value` is an object. `path` as above; it must live as long as the fields. */
bool tkr_fields_of(tkr_fields *fields, tkr_operation *op, const json_t *value, const char *path);
/* NULL when absent. With null_is_wrong a null is returned as it is. */
const json_t *tkr_fields_get(const tkr_fields *fields, const char *name);
/* TYPE when absent. */
bool tkr_fields_require(const json_t **value, const tkr_fields *fields, const char *name);
/* VALUE for a field that isn't in `names` (NULL-terminated): names the nearest one. For our own APIs. */
bool tkr_fields_only(const tkr_fields *fields, const char *const *names);
/* Faults with the path before the field's name. */
bool tkr_fields_refuse(const tkr_fields *fields, tkr_fault_kind kind, const char *name, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

bool tkr_fields_bool(bool *out, const tkr_fields *fields, const char *name);
/* TKR_YES or TKR_NO; TKR_DEFAULT stays. */
bool tkr_fields_choice(tkr_choice *out, const tkr_fields *fields, const char *name);
/* A whole number within min..max: TYPE for what is none (1.5, "3"), VALUE out of range. 3.0 is a whole number. */
bool tkr_fields_count(size_t *out, const tkr_fields *fields, const char *name, size_t min, size_t max);
bool tkr_fields_integer(int64_t *out, const tkr_fields *fields, const char *name, int64_t min, int64_t max);
/* A string without U+0000. */
bool tkr_fields_string(const char **out, const tkr_fields *fields, const char *name);
/* Index of the string in `words` (NULL-terminated); VALUE lists them. */
bool tkr_fields_word(size_t *out, const tkr_fields *fields, const char *name, const char *const *words);

/* ---- texts and token ids ---- */

enum {
    TKR_READ_TEXT = 1,      /* a string, a list of strings */
    TKR_READ_IDS = 2,       /* a list of token ids, a list of such lists; with TEXT also mixed lists, as TEI has */
    TKR_READ_NOT_EMPTY = 4, /* EMPTY for "" and for a list without ids */
    TKR_READ_NONE_OK = 8    /* an empty list is fine: *n = 0; else EMPTY */
};

/* Reads `value` (NULL: TYPE, "missing") into *inputs [*n] (kinds TEXT and TOKENS), and counts op->n_characters. Ids are
 * checked against the vocabulary when op->model is held. `param`: the field, in faults ("texts", "texts[3]"). *single
 * (nullable): one text or one list of ids, not a list of inputs. */
bool tkr_read_inputs(tkr_input **inputs, size_t *n, bool *single, tkr_operation *op, const json_t *value,
                     const char *param, unsigned allow);

/* ---- pictures ---- */

enum {
    TKR_READ_DATA_URI = 1, /* "data:image/png;base64,..." */
    TKR_READ_URL = 2,      /* "http://", "https://": becomes TKR_PART_URL; whether the host may be asked shows later */
    TKR_READ_BASE64 = 4    /* base64 alone */
};

/* Never reads files. Base64 is decoded into the arena (TKR_PART_IMAGE), which may take a while for large pictures.
 * part->name is the param, for messages. MEDIA: no base64; VALUE: nothing that `allow` has. */
bool tkr_read_picture(tkr_part *part, tkr_operation *op, const char *text, size_t size, const char *param,
                      unsigned allow);

/* A file of another kind, in JSON: a data URI, base64, or {"base64": ..., "name": ...}; URLs aren't fetched. part->data
 * and n_data are its bytes, the rest as above. `what`: "video", in messages. *name: as given, or NULL. */
bool tkr_read_file(tkr_part *part, const char **name, tkr_operation *op, const json_t *value, const char *param,
                   const char *what);

/* UNSUPPORTED for an input that op->model can't read: pictures where it reads texts only, both where it has a vector
 * for either; TOO_MANY for more pictures than it takes. */
bool tkr_read_fits(tkr_operation *op, const tkr_input *input, const char *param);

/* ---- the rest of a request ---- */

/* The value of a query parameter, percent-decoded, into out[size]; false: absent, too long, or not decodable. */
bool tkr_read_query(char *out, size_t size, const char *query, const char *name);
/* The same of any length, in the arena; *out stays where it is absent. VALUE where it can't be decoded. */
bool tkr_read_query_text(const char **out, tkr_operation *op, const char *name);
/* The field "Accept" lists this type by name (not by a wildcard), with a weight above 0 and no less than that of
 * another of the types that replies may have: JSON, application/octet-stream, application/x-npy. */
bool tkr_accepts(const tkr_http_request *request, const char *type);

#endif
