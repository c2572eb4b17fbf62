/* SPDX-License-Identifier: Apache-2.0 */
/*
 * formats/pickle: private to formats: what a torch state dict's pickle describes, as data. A stack machine for the
 * opcodes that torch.save writes for dicts of tensors; it calls nothing, and refuses every other opcode and every
 * global that is not in its table, by name.
 */
#ifndef TKR_FORMATS_PICKLE_H
#define TKR_FORMATS_PICKLE_H

#include "core/mem.h"
#include "formats/safetensors.h"

typedef enum tkr_pickle_kind {
    TKR_PICKLE_OTHER, /* None, floats, lists: nothing here needs their content */
    TKR_PICKLE_INT,   /* also bools */
    TKR_PICKLE_TEXT,
    TKR_PICKLE_TUPLE,
    TKR_PICKLE_DICT,
    TKR_PICKLE_GLOBAL,
    TKR_PICKLE_STORAGE,
    TKR_PICKLE_TENSOR
} tkr_pickle_kind;

typedef struct tkr_pickle_value tkr_pickle_value;

/* A run of a dict's items, in the order of the pickle. */
typedef struct tkr_pickle_items {
    struct tkr_pickle_items *next;
    size_t n;
    const tkr_pickle_value **pairs; /* [2 n]: key, value, key, value ... */
} tkr_pickle_items;

struct tkr_pickle_value {
    tkr_pickle_kind kind;
    int global; /* private */
    union {
        int64_t integer;
        struct {
            const char *data;
            size_t n;
        } text;
        struct {
            const tkr_pickle_value **items;
            size_t n;
        } tuple;
        struct {
            tkr_pickle_items *first, *last;
        } dict;
        struct {
            tkr_dtype dtype;
            const tkr_pickle_value *key; /* TEXT: name of the member that holds it */
            int64_t n;                   /* elements */
        } storage;
        struct {
            const tkr_pickle_value *storage, *offset, *shape, *stride; /* INT; TUPLEs of INTs >= 0, of one length */
        } tensor;
    } as;
};

/* Runs the pickle. *root lives in `arena` and borrows `data`. `path` for messages. */
tkr_status tkr_pickle_read(const tkr_pickle_value **root, tkr_arena *arena, const uint8_t *data, size_t size,
                           const char *path, tkr_error *error);
/* The last value under a key; NULL when there is none. */
const tkr_pickle_value *tkr_pickle_get(const tkr_pickle_value *dict, const char *key);

#endif
