/* SPDX-License-Identifier: Apache-2.0 */
/* server/encode: vectors as JSON numbers, base64, small types, raw bytes and .npy. */
#ifndef TKR_SERVER_ENCODE_H
#define TKR_SERVER_ENCODE_H

#include "core/mem.h"

/* Values of a vector on the wire (core/value has those of options). int8: 127 times the value, rounded to nearest even
 * and clamped to -127..127; uint8: that plus 128; binary: a bit a value (1: above zero), eight to a byte, first value
 * in the highest bit, the byte minus 128 as a signed number; ubinary: the byte itself. As sentence-transformers'
 * quantize_embeddings packs them. float16: to nearest even, at most 65504. */
typedef enum tkr_wire_type {
    TKR_WIRE_FLOAT,
    TKR_WIRE_FLOAT16,
    TKR_WIRE_INT8,
    TKR_WIRE_UINT8,
    TKR_WIRE_BINARY,
    TKR_WIRE_UBINARY,
    TKR_N_WIRE_TYPES
} tkr_wire_type;
const char *tkr_wire_type_name(tkr_wire_type type); /* "float", "float16", ... */
/* false: no such word ("float32" is float). */
bool tkr_wire_type_parse(tkr_wire_type *type, const char *word);
/* Bytes of n values: binary types round up to whole bytes. */
size_t tkr_wire_bytes(tkr_wire_type type, size_t n);
/* Writes tkr_wire_bytes(type, n) bytes, little-endian. */
void tkr_wire_pack(void *out, tkr_wire_type type, const float *values, size_t n);

/* Each appends; false without memory. JSON array of numbers (floats: shortest text that reads back as the same float32;
 * small types: integers; float16: as floats). */
bool tkr_put_json_vector(tkr_buf *out, tkr_wire_type type, const float *values, size_t n);
/* "base64 of the packed bytes", with quotes. */
bool tkr_put_base64_vector(tkr_buf *out, tkr_wire_type type, const float *values, size_t n);
/* A .npy file's header for [n_rows, n] of float32 (or float16, int8, uint8). */
bool tkr_put_npy_header(tkr_buf *out, tkr_wire_type type, size_t n_rows, size_t n);

#endif
