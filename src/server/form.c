/* SPDX-License-Identifier: Apache-2.0 */
/* server/form: a request's form as what handlers read: files, and an object of the other fields. */
#include <string.h>

#include "core/utf8.h"
#include "server/multipart.h"

static bool add_text(tkr_operation *op, const tkr_form_part *part) {
    if (json_object_get(op->body, part->name) != NULL) {
        return tkr_refuse(op, MALFORMED, part->name, "%.60s: stands twice in the form", part->name);
    }
    if (tkr_utf8_valid_prefix(part->data, part->size) != part->size) {
        return tkr_refuse(op, MALFORMED, part->name, "%.60s: is not valid UTF-8", part->name);
    }
    json_t *value = json_stringn_nocheck(part->data, part->size);
    return (value != NULL && json_object_set_new_nocheck(op->body, part->name, value) == 0) ||
           tkr_refuse(op, INTERNAL, NULL, "no memory for the form");
}

bool tkr_form_read(tkr_operation *op) {
    const tkr_http_request *request = op->request;
    tkr_form_part *parts;
    size_t n, n_files = 0;
    tkr_error error;
    const tkr_status status = tkr_multipart_read(&parts, &n, op->arena, tkr_http_field_of(request, "content-type"),
                                                 request->body, request->n_body, &error);
    if (status != TKR_OK) {
        return status == TKR_NO_MEMORY ? tkr_refuse(op, INTERNAL, NULL, "%s", error.message)
               : status == TKR_LIMIT   ? tkr_refuse(op, TOO_MANY, NULL, "%s", error.message)
                                       : tkr_refuse(op, MALFORMED, NULL, "%s", error.message);
    }
    op->body = json_object();
    if (op->body == NULL) {
        return tkr_refuse(op, INTERNAL, NULL, "no memory for the form");
    }
    for (size_t i = 0; i < n; i++) {
        const bool is_file = strcmp(parts[i].name, "file") == 0;
        if (!is_file && parts[i].file_name != NULL) {
            return tkr_refuse(op, VALUE, parts[i].name, "%.60s: is a file; files are sent as \"file\"", parts[i].name);
        }
        if (is_file) {
            parts[n_files++] = parts[i]; /* behind i: what stood there was read */
        } else if (!add_text(op, &parts[i])) {
            return false;
        }
    }
    op->form = parts; /* also without files: says that this is a form */
    op->n_form = n_files;
    return true;
}
