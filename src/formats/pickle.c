/* SPDX-License-Identifier: Apache-2.0 */
/* formats/pickle: the stack machine. Memory grows with the pickle's own bytes: no opcode makes more than it reads. */
#include "formats/pickle.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Globals that stand for something; storages carry their type. */
enum { G_ORDERED_DICT = 1, G_REBUILD_TENSOR, G_REBUILD_PARAMETER, G_STORAGE };

static const struct {
    const char *module, *name;
    int global;
    tkr_dtype dtype;
} globals[] = {
    {"collections", "OrderedDict", G_ORDERED_DICT, TKR_DTYPE_COUNT},
    {"torch._utils", "_rebuild_tensor_v2", G_REBUILD_TENSOR, TKR_DTYPE_COUNT},
    {"torch._utils", "_rebuild_parameter", G_REBUILD_PARAMETER, TKR_DTYPE_COUNT},
    {"torch", "FloatStorage", G_STORAGE, TKR_DTYPE_F32},
    {"torch", "HalfStorage", G_STORAGE, TKR_DTYPE_F16},
    {"torch", "BFloat16Storage", G_STORAGE, TKR_DTYPE_BF16},
    {"torch", "DoubleStorage", G_STORAGE, TKR_DTYPE_F64},
    {"torch", "LongStorage", G_STORAGE, TKR_DTYPE_I64},
    {"torch", "IntStorage", G_STORAGE, TKR_DTYPE_I32},
    {"torch", "ShortStorage", G_STORAGE, TKR_DTYPE_I16},
    {"torch", "CharStorage", G_STORAGE, TKR_DTYPE_I8},
    {"torch", "ByteStorage", G_STORAGE, TKR_DTYPE_U8},
    {"torch", "BoolStorage", G_STORAGE, TKR_DTYPE_BOOL},
};

/* Pointers that grow. */
typedef struct list {
    const tkr_pickle_value **items;
    size_t n, room;
} list;

typedef struct machine {
    tkr_arena *arena;
    const uint8_t *begin, *at, *end;
    list stack; /* NULL: a mark */
    list memo;
    const char *path;
    tkr_error *error;
} machine;

static tkr_status fail_memory(const machine *m) {
    return TKR_FAIL(m->error, NO_MEMORY, "%s: out of memory for the pickle", m->path);
}

static tkr_status fail(const machine *m, const char *what) {
    return TKR_FAIL(m->error, FORMAT, "%s: the pickle is damaged before byte %zu: %s", m->path,
                    (size_t)(m->at - m->begin), what);
}

/* ---- stack and memo -------------------------------------------------------------------------------------------- */

static tkr_status append(machine *m, list *l, const tkr_pickle_value *value) {
    if (l->n == l->room) {
        const size_t room = l->room ? l->room * 2 : 64;
        const tkr_pickle_value **items = tkr_realloc((void *)l->items, room * sizeof(void *));
        if (!items) return fail_memory(m);
        l->items = items;
        l->room = room;
    }
    l->items[l->n++] = value;
    return TKR_OK;
}

static tkr_status push(machine *m, const tkr_pickle_value *value) { return append(m, &m->stack, value); }

static tkr_pickle_value *new_value(machine *m, tkr_pickle_kind kind) {
    tkr_pickle_value *value = tkr_arena_alloc(m->arena, sizeof *value);
    if (value)
        value->kind = kind;
    else
        (void)fail_memory(m);
    return value;
}

/* What is never changed is there once: None, floats and lists, bools, the empty tuple. */
static const tkr_pickle_value other = {.kind = TKR_PICKLE_OTHER}, empty_tuple = {.kind = TKR_PICKLE_TUPLE},
                              bools[2] = {{.kind = TKR_PICKLE_INT}, {.kind = TKR_PICKLE_INT, .as.integer = 1}};

static tkr_status push_dict(machine *m) {
    const tkr_pickle_value *value = new_value(m, TKR_PICKLE_DICT);
    return value ? push(m, value) : TKR_NO_MEMORY;
}

static tkr_status push_integer(machine *m, int64_t integer) {
    tkr_pickle_value *value = new_value(m, TKR_PICKLE_INT);
    if (!value) return TKR_NO_MEMORY;
    value->as.integer = integer;
    return push(m, value);
}

/* Never a mark. */
static const tkr_pickle_value *pop(machine *m) {
    if (m->stack.n == 0 || !m->stack.items[m->stack.n - 1]) {
        (void)fail(m, "the stack has no value");
        return NULL;
    }
    return m->stack.items[--m->stack.n];
}

/* Takes what lies above the last mark, and the mark. *items is good until the next push. */
static tkr_status pop_mark(machine *m, const tkr_pickle_value ***items, size_t *n) {
    size_t at = m->stack.n;
    while (at > 0 && m->stack.items[at - 1]) at--;
    if (at == 0) return fail(m, "the stack has no mark");
    *items = m->stack.items + at;
    *n = m->stack.n - at;
    m->stack.n = at - 1;
    return TKR_OK;
}

/* Picklers number the memo in order, so that it can't be larger than the pickle. */
static tkr_status put(machine *m, uint64_t index) {
    if (m->stack.n == 0 || !m->stack.items[m->stack.n - 1]) return fail(m, "the stack has no value to remember");
    const tkr_pickle_value *value = m->stack.items[m->stack.n - 1];
    if (index > m->memo.n) return fail(m, "the memo has a hole");
    if (index == m->memo.n) return append(m, &m->memo, value);
    m->memo.items[index] = value;
    return TKR_OK;
}

static tkr_status get(machine *m, uint64_t index) {
    return index < m->memo.n ? push(m, m->memo.items[index]) : fail(m, "the memo has no such value");
}

/* ---- operands -------------------------------------------------------------------------------------------------- */

/* Little-endian; false at the pickle's end. */
static bool take(machine *m, uint64_t *value, unsigned bytes) {
    if ((size_t)(m->end - m->at) < bytes) return false;
    *value = 0;
    for (unsigned i = 0; i < bytes; i++) *value |= (uint64_t)m->at[i] << (8 * i);
    m->at += bytes;
    return true;
}

static tkr_status push_text(machine *m) {
    uint64_t n;
    if (!take(m, &n, 4) || n > (size_t)(m->end - m->at)) return fail(m, "it ends inside of a string");
    tkr_pickle_value *value = new_value(m, TKR_PICKLE_TEXT);
    if (!value) return TKR_NO_MEMORY;
    value->as.text.data = (const char *)m->at;
    value->as.text.n = (size_t)n;
    m->at += n;
    return push(m, value);
}

/* Two's complement of up to eight bytes. */
static tkr_status push_long(machine *m) {
    uint64_t n, value = 0;
    if (!take(m, &n, 1) || n > (size_t)(m->end - m->at)) return fail(m, "it ends inside of a number");
    if (n > 8) return fail(m, "a number of more than 64 bits");
    (void)take(m, &value, (unsigned)n);
    if (n > 0 && n < 8 && value >> (8 * n - 1) != 0) value |= UINT64_MAX << (8 * n);
    int64_t integer;
    memcpy(&integer, &value, sizeof integer);
    return push_integer(m, integer);
}

/* "module\nname\n" */
static tkr_status push_global(machine *m) {
    const char *text[2];
    size_t n[2];
    for (int i = 0; i < 2; i++) {
        const uint8_t *line = memchr(m->at, '\n', (size_t)(m->end - m->at));
        if (!line) return fail(m, "it ends inside of a global's name");
        text[i] = (const char *)m->at;
        n[i] = (size_t)(line - m->at);
        m->at = line + 1;
    }
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++) {
        if (strlen(globals[i].module) != n[0] || memcmp(globals[i].module, text[0], n[0]) != 0) continue;
        if (strlen(globals[i].name) != n[1] || memcmp(globals[i].name, text[1], n[1]) != 0) continue;
        tkr_pickle_value *value = new_value(m, TKR_PICKLE_GLOBAL);
        if (!value) return TKR_NO_MEMORY;
        value->global = globals[i].global;
        value->as.storage.dtype = globals[i].dtype;
        return push(m, value);
    }
    return TKR_FAIL(m->error, UNSUPPORTED, "%s: GLOBAL %.*s.%.*s is refused: only dicts of tensors are read", m->path,
                    n[0] < 100 ? (int)n[0] : 100, text[0], n[1] < 100 ? (int)n[1] : 100, text[1]);
}

/* ---- containers ------------------------------------------------------------------------------------------------ */

static tkr_status push_tuple(machine *m, const tkr_pickle_value *const *items, size_t n) {
    tkr_pickle_value *value = new_value(m, TKR_PICKLE_TUPLE);
    if (!value) return TKR_NO_MEMORY;
    value->as.tuple.n = n;
    value->as.tuple.items = tkr_arena_alloc(m->arena, (n + 1) * sizeof(void *));
    if (!value->as.tuple.items) return fail_memory(m);
    if (n > 0) memcpy((void *)value->as.tuple.items, (const void *)items, n * sizeof(void *));
    return push(m, value);
}

static tkr_status push_last(machine *m, size_t n) {
    const size_t left = m->stack.n;
    if (left < n) return fail(m, "the stack has too few values");
    for (size_t i = 0; i < n; i++) {
        if (!m->stack.items[left - 1 - i]) return fail(m, "the stack has too few values");
    }
    m->stack.n -= n;
    return push_tuple(m, m->stack.items + left - n, n);
}

static tkr_status push_marked_tuple(machine *m) {
    const tkr_pickle_value **items = NULL;
    size_t n = 0;
    const tkr_status status = pop_mark(m, &items, &n);
    return status == TKR_OK ? push_tuple(m, items, n) : status;
}

/* Adds pairs to the dict on top of the stack. */
static tkr_status set_items(machine *m, const tkr_pickle_value *const *pairs, size_t n) {
    if (n % 2 != 0) return fail(m, "a key without a value");
    if (m->stack.n == 0 || !m->stack.items[m->stack.n - 1] || m->stack.items[m->stack.n - 1]->kind != TKR_PICKLE_DICT) {
        return fail(m, "items of what is not a dict");
    }
    if (n == 0) return TKR_OK;
    tkr_pickle_value *dict = (tkr_pickle_value *)(uintptr_t)m->stack.items[m->stack.n - 1]; /* from our own arena */
    tkr_pickle_items *run = tkr_arena_alloc(m->arena, sizeof *run);
    if (!run) return fail_memory(m);
    run->n = n / 2;
    run->pairs = tkr_arena_alloc(m->arena, n * sizeof(void *));
    if (!run->pairs) return fail_memory(m);
    memcpy((void *)run->pairs, (const void *)pairs, n * sizeof(void *));
    if (dict->as.dict.last)
        dict->as.dict.last->next = run;
    else
        dict->as.dict.first = run;
    dict->as.dict.last = run;
    return TKR_OK;
}

static tkr_status set_marked_items(machine *m) {
    const tkr_pickle_value **items = NULL;
    size_t n = 0;
    const tkr_status status = pop_mark(m, &items, &n);
    return status == TKR_OK ? set_items(m, items, n) : status;
}

static tkr_status set_item(machine *m) {
    const tkr_pickle_value *pair[2];
    if (!(pair[1] = pop(m)) || !(pair[0] = pop(m))) return TKR_FORMAT;
    return set_items(m, pair, 2);
}

/* Elements are of no use: the list stays what it is. */
static tkr_status append_items(machine *m, bool marked) {
    const tkr_pickle_value **items = NULL;
    size_t n = 0;
    if (marked) {
        const tkr_status status = pop_mark(m, &items, &n);
        if (status != TKR_OK) return status;
    } else if (!pop(m)) {
        return TKR_FORMAT;
    }
    const size_t left = m->stack.n;
    if (left == 0 || !m->stack.items[left - 1] || m->stack.items[left - 1]->kind != TKR_PICKLE_OTHER) {
        return fail(m, "elements of what is not a list");
    }
    return TKR_OK;
}

/* ---- objects --------------------------------------------------------------------------------------------------- */

/* ("storage", type, key, location, elements), and None behind them in files of older versions. */
static tkr_status push_storage(machine *m) {
    const tkr_pickle_value *id = pop(m);
    if (!id) return TKR_FORMAT;
    const tkr_pickle_value *const *items = id->as.tuple.items;
    if (id->kind != TKR_PICKLE_TUPLE || id->as.tuple.n < 5 || items[0]->kind != TKR_PICKLE_TEXT ||
        items[0]->as.text.n != 7 || memcmp(items[0]->as.text.data, "storage", 7) != 0 ||
        items[1]->kind != TKR_PICKLE_GLOBAL || items[1]->global != G_STORAGE || items[2]->kind != TKR_PICKLE_TEXT ||
        items[4]->kind != TKR_PICKLE_INT || items[4]->as.integer < 0) {
        return fail(m, "a persistent id is not a storage");
    }
    tkr_pickle_value *value = new_value(m, TKR_PICKLE_STORAGE);
    if (!value) return TKR_NO_MEMORY;
    value->as.storage.dtype = items[1]->as.storage.dtype;
    value->as.storage.key = items[2];
    value->as.storage.n = items[4]->as.integer;
    return push(m, value);
}

static bool is_shape(const tkr_pickle_value *value) {
    if (value->kind != TKR_PICKLE_TUPLE) return false;
    for (size_t i = 0; i < value->as.tuple.n; i++) {
        const tkr_pickle_value *item = value->as.tuple.items[i];
        if (item->kind != TKR_PICKLE_INT || item->as.integer < 0) return false;
    }
    return true;
}

/* (storage, offset, shape, stride, requires_grad, hooks[, metadata]) */
static tkr_status push_tensor(machine *m, const tkr_pickle_value *args) {
    const tkr_pickle_value *const *items = args->as.tuple.items;
    if (args->as.tuple.n < 6 || items[0]->kind != TKR_PICKLE_STORAGE || items[1]->kind != TKR_PICKLE_INT ||
        items[1]->as.integer < 0 || !is_shape(items[2]) || !is_shape(items[3]) ||
        items[2]->as.tuple.n != items[3]->as.tuple.n) {
        return fail(m, "_rebuild_tensor_v2 is not given a storage, an offset, a shape and strides");
    }
    tkr_pickle_value *value = new_value(m, TKR_PICKLE_TENSOR);
    if (!value) return TKR_NO_MEMORY;
    value->as.tensor.storage = items[0];
    value->as.tensor.offset = items[1];
    value->as.tensor.shape = items[2];
    value->as.tensor.stride = items[3];
    return push(m, value);
}

static tkr_status reduce(machine *m) {
    const tkr_pickle_value *args = pop(m), *callee = args ? pop(m) : NULL;
    if (!callee) return TKR_FORMAT;
    if (callee->kind != TKR_PICKLE_GLOBAL || args->kind != TKR_PICKLE_TUPLE) return fail(m, "REDUCE of no global");
    switch (callee->global) {
    case G_ORDERED_DICT: return args->as.tuple.n == 0 ? push_dict(m) : fail(m, "OrderedDict with arguments");
    case G_REBUILD_TENSOR: return push_tensor(m, args);
    case G_REBUILD_PARAMETER:
        if (args->as.tuple.n == 0 || args->as.tuple.items[0]->kind != TKR_PICKLE_TENSOR) {
            return fail(m, "_rebuild_parameter is not given a tensor");
        }
        return push(m, args->as.tuple.items[0]);
    default: return fail(m, "a storage type is called");
    }
}

/* The attributes of an OrderedDict (its _metadata) are of no use here. */
static tkr_status build(machine *m) {
    if (!pop(m)) return TKR_FORMAT;
    const size_t n = m->stack.n;
    if (n == 0 || !m->stack.items[n - 1] || m->stack.items[n - 1]->kind != TKR_PICKLE_DICT) {
        return fail(m, "BUILD of what is not a dict");
    }
    return TKR_OK;
}

/* ---- the machine ------------------------------------------------------------------------------------------------ */

/* Names of opcodes that are refused, for the message (pickletools). */
static const char *opcode_name(uint8_t code) {
    static const struct {
        char code;
        const char *name;
    } names[] = {{'i', "INST"},
                 {'o', "OBJ"},
                 {'\x81', "NEWOBJ"},
                 {'\x92', "NEWOBJ_EX"},
                 {'\x82', "EXT1"},
                 {'\x83', "EXT2"},
                 {'\x84', "EXT4"},
                 {'\x93', "STACK_GLOBAL"},
                 {'P', "PERSID"},
                 {'2', "DUP"},
                 {'0', "POP"},
                 {'1', "POP_MARK"},
                 {'d', "DICT"},
                 {'l', "LIST"},
                 {'\x8f', "EMPTY_SET"},
                 {'\x96', "BYTEARRAY8"},
                 {'I', "INT"},
                 {'L', "LONG"},
                 {'S', "STRING"},
                 {'V', "UNICODE"},
                 {'T', "BINSTRING"},
                 {'U', "SHORT_BINSTRING"},
                 {'B', "BINBYTES"},
                 {'C', "SHORT_BINBYTES"},
                 {'\x95', "FRAME"},
                 {'\x94', "MEMOIZE"},
                 {'\x8c', "SHORT_BINUNICODE"},
                 {'F', "FLOAT"},
                 {'p', "PUT"},
                 {'g', "GET"},
                 {'\x8b', "LONG4"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if ((uint8_t)names[i].code == code) return names[i].name;
    }
    return "unknown";
}

static tkr_status read_number_opcode(machine *m, uint8_t code) {
    uint64_t value;
    switch (code) {
    case 0x80: /* PROTO */
        if (!take(m, &value, 1)) break;
        if (value == 2) return TKR_OK;
        return TKR_FAIL(m->error, UNSUPPORTED, "%s: pickle protocol %" PRIu64 ", expected 2 as torch.save writes it",
                        m->path, value);
    case 'q': return take(m, &value, 1) ? put(m, value) : fail(m, "it ends inside of BINPUT");
    case 'r': return take(m, &value, 4) ? put(m, value) : fail(m, "it ends inside of LONG_BINPUT");
    case 'h': return take(m, &value, 1) ? get(m, value) : fail(m, "it ends inside of BINGET");
    case 'j': return take(m, &value, 4) ? get(m, value) : fail(m, "it ends inside of LONG_BINGET");
    case 'K':
        if (take(m, &value, 1)) return push_integer(m, (int64_t)value);
        break;
    case 'M':
        if (take(m, &value, 2)) return push_integer(m, (int64_t)value);
        break;
    case 'J':
        if (take(m, &value, 4)) return push_integer(m, (int32_t)(uint32_t)value);
        break;
    default: /* 'G', BINFLOAT */
        if (take(m, &value, 8)) return push(m, &other);
        break;
    }
    return fail(m, "it ends inside of a number");
}

static tkr_status step(machine *m, uint8_t code) {
    switch (code) {
    case 0x80:
    case 'q':
    case 'r':
    case 'h':
    case 'j':
    case 'K':
    case 'M':
    case 'J':
    case 'G': return read_number_opcode(m, code);
    case 0x8a: return push_long(m);
    case 'X': return push_text(m);
    case 'c': return push_global(m);
    case '(': return push(m, NULL);
    case 'N':
    case ']': return push(m, &other);
    case '}': return push_dict(m);
    case 0x88: return push(m, &bools[1]);
    case 0x89: return push(m, &bools[0]);
    case ')': return push(m, &empty_tuple);
    case 't': return push_marked_tuple(m);
    case 0x85: return push_last(m, 1);
    case 0x86: return push_last(m, 2);
    case 0x87: return push_last(m, 3);
    case 's': return set_item(m);
    case 'u': return set_marked_items(m);
    case 'a': return append_items(m, false);
    case 'e': return append_items(m, true);
    case 'Q': return push_storage(m);
    case 'R': return reduce(m);
    case 'b': return build(m);
    default:
        return TKR_FAIL(m->error, UNSUPPORTED,
                        "%s: pickle opcode 0x%02x (%s) is refused: only dicts of tensors are read", m->path, code,
                        opcode_name(code));
    }
}

tkr_status tkr_pickle_read(const tkr_pickle_value **root, tkr_arena *arena, const uint8_t *data, size_t size,
                           const char *path, tkr_error *error) {
    machine m = {.arena = arena, .begin = data, .at = data, .end = data + size, .path = path, .error = error};
    tkr_status status = TKR_OK;
    for (;;) {
        if (m.at == m.end) {
            status = fail(&m, "it ends without STOP");
            break;
        }
        const uint8_t code = *m.at++;
        if (code == '.') { /* STOP */
            *root = pop(&m);
            status = *root ? TKR_OK : TKR_FORMAT;
            break;
        }
        if ((status = step(&m, code)) != TKR_OK) break;
    }
    tkr_free((void *)m.stack.items);
    tkr_free((void *)m.memo.items);
    return status;
}

const tkr_pickle_value *tkr_pickle_get(const tkr_pickle_value *dict, const char *key) {
    const size_t n = strlen(key);
    const tkr_pickle_value *found = NULL;
    for (const tkr_pickle_items *run = dict->as.dict.first; run; run = run->next) {
        for (size_t i = 0; i < run->n; i++) {
            const tkr_pickle_value *name = run->pairs[2 * i];
            if (name->kind != TKR_PICKLE_TEXT || name->as.text.n != n) continue;
            if (memcmp(name->as.text.data, key, n) == 0) found = run->pairs[2 * i + 1];
        }
    }
    return found;
}
