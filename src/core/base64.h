/* SPDX-License-Identifier: Apache-2.0 */
/* core/base64: RFC 4648, both alphabets on the way in. */
#ifndef TKR_CORE_BASE64_H
#define TKR_CORE_BASE64_H

#include "core/mem.h"

/* Appends the bytes that `text` stands for; line breaks, blanks and missing padding are accepted, anything else is
 * TKR_FORMAT with the byte's place. */
tkr_status tkr_base64_decode(tkr_buf *out, const char *text, size_t size, tkr_error *error);
/* Appends the text, padded, without line breaks. false without memory. */
bool tkr_base64_encode(tkr_buf *out, const void *bytes, size_t size);

#endif
