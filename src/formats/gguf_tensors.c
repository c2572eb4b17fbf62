/* SPDX-License-Identifier: Apache-2.0 */
/* formats/gguf, tensor descriptions: type, shape and place of each. Refuses types that nothing here decodes (by name),
 * rows that are no whole blocks, and tensors that overlap or leave the file. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf_read.h"
#include "formats/tensors.h"

enum { MAX_DIMS = 4, MIN_ALIGNMENT = 8, DEFAULT_ALIGNMENT = 32 };

/* X(number in the file, name, TKR_DTYPE_ or COUNT where it isn't supported); ggml.h, enum ggml_type. */
#define GGML_TYPES(X)          \
    X(0, "F32", F32)           \
    X(1, "F16", F16)           \
    X(2, "Q4_0", Q4_0)         \
    X(3, "Q4_1", Q4_1)         \
    X(6, "Q5_0", Q5_0)         \
    X(7, "Q5_1", Q5_1)         \
    X(8, "Q8_0", Q8_0)         \
    X(9, "Q8_1", COUNT)        \
    X(10, "Q2_K", Q2_K)        \
    X(11, "Q3_K", Q3_K)        \
    X(12, "Q4_K", Q4_K)        \
    X(13, "Q5_K", Q5_K)        \
    X(14, "Q6_K", Q6_K)        \
    X(15, "Q8_K", COUNT)       \
    X(16, "IQ2_XXS", COUNT)    \
    X(17, "IQ2_XS", COUNT)     \
    X(18, "IQ3_XXS", COUNT)    \
    X(19, "IQ1_S", COUNT)      \
    X(20, "IQ4_NL", IQ4_NL)    \
    X(21, "IQ3_S", COUNT)      \
    X(22, "IQ2_S", COUNT)      \
    X(23, "IQ4_XS", IQ4_XS)    \
    X(24, "I8", I8)            \
    X(25, "I16", I16)          \
    X(26, "I32", I32)          \
    X(27, "I64", I64)          \
    X(28, "F64", F64)          \
    X(29, "IQ1_M", COUNT)      \
    X(30, "BF16", BF16)        \
    X(31, "Q4_0_4_4", COUNT)   \
    X(32, "Q4_0_4_8", COUNT)   \
    X(33, "Q4_0_8_8", COUNT)   \
    X(34, "TQ1_0", COUNT)      \
    X(35, "TQ2_0", COUNT)      \
    X(36, "IQ4_NL_4_4", COUNT) \
    X(37, "IQ4_NL_4_8", COUNT) \
    X(38, "IQ4_NL_8_8", COUNT) \
    X(39, "MXFP4", MXFP4)      \
    X(40, "NVFP4", COUNT)

static tkr_status read_dtype(tkr_gguf_reader *r, tkr_tensor_view *tensor, const char *what) {
    uint32_t type = 0;
    const char *name = NULL;
    const tkr_status status = tkr_gguf_u32(&type, r, what);
    if (status != TKR_OK) return status;
    tensor->dtype = TKR_DTYPE_COUNT;
    switch (type) {
#define TKR_X(number, text, supported)         \
    case number:                               \
        name = text;                           \
        tensor->dtype = TKR_DTYPE_##supported; \
        break;
        GGML_TYPES(TKR_X)
#undef TKR_X
    default: break;
    }
    if (tensor->dtype != TKR_DTYPE_COUNT) return TKR_OK;
    if (!name) {
        return TKR_FAIL(r->error, UNSUPPORTED, "%s: %s is of type number %" PRIu32 ", which is not known",
                        r->file->path, what, type);
    }
    return TKR_FAIL(r->error, UNSUPPORTED,
                    "%s: %s is of type %s, which is not supported; supported are F32, F16, BF16, Q4_0, Q4_1, Q5_0, "
                    "Q5_1, Q8_0, Q2_K to Q6_K, IQ4_NL, IQ4_XS and MXFP4",
                    r->file->path, what, name);
}

/* Dimensions come fastest first. */
static tkr_status read_shape(tkr_gguf_reader *r, tkr_tensor_view *tensor, const char *what) {
    uint32_t n_dims = 0;
    tkr_status status = tkr_gguf_u32(&n_dims, r, what);
    if (status != TKR_OK) return status;
    if (n_dims > MAX_DIMS) {
        return TKR_FAIL(r->error, FORMAT, "%s: %s has %" PRIu32 " dimensions, expected at most %d", r->file->path, what,
                        n_dims, MAX_DIMS);
    }
    tensor->n_dims = n_dims;
    for (unsigned i = 0; i < n_dims; i++) {
        uint64_t extent = 0;
        if ((status = tkr_gguf_u64(&extent, r, what)) != TKR_OK) return status;
        if (extent > INT64_MAX) {
            return TKR_FAIL(r->error, FORMAT, "%s: %s has a dimension of %" PRIu64, r->file->path, what, extent);
        }
        tensor->shape[n_dims - 1 - i] = (int64_t)extent;
    }
    return TKR_OK;
}

static tkr_status check_size(tkr_gguf_reader *r, tkr_tensor_view *tensor, const char *what) {
    char shape[160];
    const size_t block = tkr_dtype_block(tensor->dtype);
    if (tkr_tensor_measure(&tensor->n_elements, &tensor->size, tensor->shape, tensor->n_dims, tensor->dtype)) {
        return TKR_OK;
    }
    tkr_shape_text(shape, sizeof shape, tensor->shape, tensor->n_dims);
    if (block > 1 && (tensor->n_dims == 0 || (size_t)tensor->shape[tensor->n_dims - 1] % block != 0)) {
        return TKR_FAIL(r->error, FORMAT, "%s: %s has shape %s, but rows of %s are whole blocks of %zu", r->file->path,
                        what, shape, tkr_dtype_name(tensor->dtype), block);
    }
    return TKR_FAIL(r->error, FORMAT, "%s: %s: shape %s of %s is beyond any memory", r->file->path, what, shape,
                    tkr_dtype_name(tensor->dtype));
}

/* Name, dimensions, type, offset; what the offset counts from is known only behind the last description. */
static tkr_status read_tensor(tkr_gguf_reader *r, tkr_tensor_view *tensor, uint64_t *offset) {
    char what[160];
    tkr_status status = tkr_gguf_name(&tensor->name, r, "a tensor's name");
    if (status != TKR_OK) return status;
    snprintf(what, sizeof what, "tensor \"%.*s\"", TKR_NAME_SHOWN, tensor->name);
    tensor->file = r->file->file;
    if ((status = read_shape(r, tensor, what)) != TKR_OK) return status;
    if ((status = read_dtype(r, tensor, what)) != TKR_OK) return status;
    if ((status = check_size(r, tensor, what)) != TKR_OK) return status;
    return tkr_gguf_u64(offset, r, what);
}

static tkr_status read_alignment(const tkr_gguf_reader *r, size_t *alignment) {
    const tkr_gguf_value *value = tkr_gguf_find(r->file, "general.alignment");
    *alignment = DEFAULT_ALIGNMENT;
    if (!value) return TKR_OK;
    if (value->kind != TKR_GGUF_INT) {
        return TKR_FAIL(r->error, FORMAT, "%s: general.alignment is not a whole number", r->file->path);
    }
    const int64_t n = value->integer;
    if (n < MIN_ALIGNMENT || n > TKR_GGUF_MAX_ALIGNMENT || (n & (n - 1)) != 0) {
        return TKR_FAIL(r->error, FORMAT, "%s: general.alignment is %" PRId64 ", expected a power of two from %d to %d",
                        r->file->path, n, MIN_ALIGNMENT, TKR_GGUF_MAX_ALIGNMENT);
    }
    *alignment = (size_t)n;
    return TKR_OK;
}

/* Turns an offset into an address inside of the file. */
static tkr_status place(const tkr_gguf_reader *r, tkr_tensor_view *tensor, uint64_t offset, size_t start,
                        size_t alignment) {
    const size_t size = (size_t)(r->end - r->begin), room = start < size ? size - start : 0;
    if (offset % alignment != 0) {
        return TKR_FAIL(r->error, FORMAT,
                        "%s: tensor \"%.*s\" begins at byte %" PRIu64
                        " of the data, which is not a multiple of the alignment, %zu",
                        r->file->path, TKR_NAME_SHOWN, tensor->name, offset, alignment);
    }
    if (tensor->size > room || offset > room - tensor->size) {
        return TKR_FAIL(r->error, FORMAT,
                        "%s: tensor \"%.*s\" has %zu bytes from byte %" PRIu64
                        " of the data on, but the data has only %zu (truncated?)",
                        r->file->path, TKR_NAME_SHOWN, tensor->name, tensor->size, offset, room);
    }
    tensor->data = r->begin + (room > 0 ? start + offset : size); /* an empty tensor may lie behind the file */
    return TKR_OK;
}

static int by_place(const void *left, const void *right) {
    const tkr_tensor_view *a = left, *b = right;
    const uintptr_t at_a = (uintptr_t)a->data, at_b = (uintptr_t)b->data;
    if (at_a != at_b) return at_a < at_b ? -1 : 1;
    return a->size == b->size ? 0 : a->size < b->size ? -1 : 1;
}

static tkr_status check_overlap(const tkr_gguf_reader *r) {
    tkr_gguf *file = r->file;
    if (file->n_tensors > 1) qsort(file->tensors, file->n_tensors, sizeof *file->tensors, by_place);
    for (size_t i = 1; i < file->n_tensors; i++) {
        const tkr_tensor_view *a = &file->tensors[i - 1], *b = &file->tensors[i];
        if ((const uint8_t *)a->data + a->size <= (const uint8_t *)b->data) continue;
        return TKR_FAIL(r->error, FORMAT, "%s: tensors \"%.*s\" and \"%.*s\" overlap", file->path, TKR_NAME_SHOWN,
                        a->name, TKR_NAME_SHOWN, b->name);
    }
    return TKR_OK;
}

static int by_name(const void *left, const void *right) {
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static tkr_status check_names(const tkr_gguf_reader *r) {
    const tkr_gguf *file = r->file;
    tkr_status status = TKR_OK;
    const char **names = tkr_calloc(file->n_tensors, sizeof *names);
    if (!names) return TKR_FAIL(r->error, NO_MEMORY, "%s: out of memory for names", file->path);
    for (size_t i = 0; i < file->n_tensors; i++) names[i] = file->tensors[i].name;
    if (file->n_tensors > 1) qsort(names, file->n_tensors, sizeof *names, by_name);
    for (size_t i = 1; i < file->n_tensors && status == TKR_OK; i++) {
        if (strcmp(names[i - 1], names[i]) != 0) continue;
        status = TKR_FAIL(r->error, FORMAT, "%s: tensor \"%.*s\" is there twice", file->path, TKR_NAME_SHOWN, names[i]);
    }
    tkr_free(names);
    return status;
}

/* Room for one more tensor and its offset. */
static bool grow(tkr_gguf *file, uint64_t **offsets) {
    if (file->n_tensors < file->tensors_room) return true;
    const size_t room = file->tensors_room ? file->tensors_room * 2 : 32;
    uint64_t *more = tkr_realloc(*offsets, room * sizeof *more);
    if (!more) return false;
    *offsets = more;
    tkr_tensor_view *tensors = tkr_realloc(file->tensors, room * sizeof *tensors);
    if (!tensors) return false;
    file->tensors = tensors;
    file->tensors_room = room;
    return true;
}

tkr_status tkr_gguf_read_tensors(tkr_gguf_reader *r, uint64_t n) {
    tkr_gguf *file = r->file;
    uint64_t *offsets = NULL;
    size_t alignment = 0;
    tkr_status status = read_alignment(r, &alignment);
    if (status != TKR_OK) return status;
    if (n > TKR_MAX_TENSORS) {
        return TKR_FAIL(r->error, LIMIT, "%s: %" PRIu64 " tensors, expected at most %u", file->path, n,
                        TKR_MAX_TENSORS);
    }
    for (uint64_t i = 0; i < n && status == TKR_OK; i++) {
        if (!grow(file, &offsets)) {
            status = TKR_FAIL(r->error, NO_MEMORY, "%s: out of memory for %zu tensors", file->path, file->n_tensors);
            break;
        }
        tkr_tensor_view *tensor = memset(&file->tensors[file->n_tensors], 0, sizeof *tensor);
        status = read_tensor(r, tensor, &offsets[file->n_tensors]);
        if (status == TKR_OK) file->n_tensors++;
    }
    const size_t start = tkr_align_up((size_t)(r->at - r->begin), alignment);
    for (size_t i = 0; offsets && i < file->n_tensors && status == TKR_OK; i++) {
        status = place(r, &file->tensors[i], offsets[i], start, alignment);
    }
    tkr_free(offsets);
    if (status == TKR_OK) status = check_names(r);
    return status == TKR_OK ? check_overlap(r) : status;
}
