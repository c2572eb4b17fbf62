/* SPDX-License-Identifier: Apache-2.0 */
/* server/multipart: multipart/form-data (RFC 7578) of a whole body, read strictly: no preamble, no epilogue, no nested
 * parts, no transfer encodings, one meaning of every byte. A pure function of bytes. */
#ifndef TKR_SERVER_MULTIPART_H
#define TKR_SERVER_MULTIPART_H

#include "server/operation.h"

enum { TKR_MULTIPART_PARTS = 1024, TKR_MULTIPART_HEAD = 8192 }; /* parts of a body; bytes of a part's fields */

/* Splits body[size] by the boundary that `content_type` names, into *parts [*n]: names are copied into the arena, data
 * is borrowed from the body. TKR_FORMAT says what is wrong, in which part; TKR_LIMIT: too many parts, too large a head.
 */
tkr_status tkr_multipart_read(tkr_form_part **parts, size_t *n, tkr_arena *arena, const char *content_type,
                              const char *body, size_t size, tkr_error *error);

/* Reads the request's form: files become op->form, the other fields an object of strings, op->body. false after
 * tkr_refuse: also for a field that comes twice, and for a file that isn't called "file". */
bool tkr_form_read(tkr_operation *op);

#endif
