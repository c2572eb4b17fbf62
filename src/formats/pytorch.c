/* SPDX-License-Identifier: Apache-2.0 */
/* formats/pytorch: from the archive and its pickle to a set of tensors. Refuses strided views, storages that the
 * archive lacks, big-endian files, and the format from before torch 1.6. */
#include "formats/pytorch.h"

#include <inttypes.h>
#include <string.h>

#include "formats/pickle.h"
#include "formats/pytorch_read.h"
#include "formats/zip.h"

#define MAX_PICKLE ((size_t)8 << 20)   /* bytes: it describes weights, a few hundred bytes each */
#define MAX_VALUES ((size_t)256 << 20) /* bytes of what is made of it */
#define PICKLE_NAME "data.pkl"

typedef struct archive {
    tkr_tensors *set;
    const tkr_tensor_source *source;
    tkr_zip zip;
    const char *prefix; /* folder of all members, with its slash; not NUL-terminated */
    size_t n_prefix;
    tkr_arena arena; /* values of the pickle */
    tkr_error *error;
} archive;

/* The one member whose name is data.pkl tells the folder that all are in. NULL with the error filled. */
static const tkr_zip_member *find_pickle(archive *a) {
    const size_t n = strlen(PICKLE_NAME);
    const tkr_zip_member *pickle = NULL;
    for (size_t i = 0; i < a->zip.n; i++) {
        const tkr_zip_member *m = &a->zip.members[i];
        if (m->n_name < n || memcmp(m->name + m->n_name - n, PICKLE_NAME, n) != 0) continue;
        const size_t n_prefix = m->n_name - n;
        if (n_prefix > 0 && (m->name[n_prefix - 1] != '/' || memchr(m->name, '/', n_prefix - 1))) continue;
        if (pickle) {
            (void)TKR_FAIL(a->error, FORMAT, "%s: the archive has two " PICKLE_NAME, a->source->path);
            return NULL;
        }
        pickle = m;
        a->prefix = m->name;
        a->n_prefix = n_prefix;
    }
    if (!pickle) {
        (void)TKR_FAIL(a->error, FORMAT, "%s: the archive has no " PICKLE_NAME ": not made by torch.save?",
                       a->source->path);
    } else if (pickle->size > MAX_PICKLE) {
        (void)TKR_FAIL(a->error, LIMIT, "%s: a " PICKLE_NAME " of %zu bytes, expected at most %zu", a->source->path,
                       pickle->size, MAX_PICKLE);
        pickle = NULL;
    }
    return pickle;
}

static tkr_status check_byte_order(const archive *a) {
    const tkr_zip_member *order = tkr_zip_find(&a->zip, a->prefix, a->n_prefix, "byteorder", 9);
    if (!order || (order->size == 6 && memcmp(order->data, "little", 6) == 0)) return TKR_OK;
    return TKR_FAIL(a->error, UNSUPPORTED, "%s: byte order \"%.*s\", expected little", a->source->path,
                    order->size < 20 ? (int)order->size : 20, (const char *)order->data);
}

/* Row-major without gaps; strides of dimensions of one element don't count. */
static bool is_contiguous(const tkr_pickle_value *tensor, const tkr_tensor_view *view) {
    size_t want = 1;
    for (unsigned i = view->n_dims; i-- > 0;) {
        const int64_t stride = tensor->as.tensor.stride->as.tuple.items[i]->as.integer;
        if (view->shape[i] > 1 && (uint64_t)stride != want) return false;
        want *= (size_t)view->shape[i]; /* can't overflow: the product was checked */
    }
    return true;
}

/* Finds the tensor's bytes. */
static tkr_status place(const archive *a, tkr_tensor_view *view, const tkr_pickle_value *tensor) {
    const char *path = a->source->path;
    const tkr_pickle_value *storage = tensor->as.tensor.storage, *key = storage->as.storage.key;
    const size_t element = tkr_dtype_size(view->dtype);
    const uint64_t offset = (uint64_t)tensor->as.tensor.offset->as.integer, n = (uint64_t)storage->as.storage.n;
    char folder[64 + sizeof "data/"] = "data/";
    if (key->as.text.n > 64) {
        return TKR_FAIL(a->error, FORMAT, "%s: tensor \"%.*s\": a storage's name of %zu bytes", path, TKR_NAME_SHOWN,
                        view->name, key->as.text.n);
    }
    memcpy(folder + 5, key->as.text.data, key->as.text.n);
    const tkr_zip_member *m = tkr_zip_find(&a->zip, a->prefix, a->n_prefix, folder, 5 + key->as.text.n);
    if (!m) {
        return TKR_FAIL(a->error, FORMAT, "%s: tensor \"%.*s\" is in storage \"%.*s\", which the archive lacks", path,
                        TKR_NAME_SHOWN, view->name, (int)key->as.text.n, key->as.text.data);
    }
    if (n != m->size / element || m->size % element != 0) {
        return TKR_FAIL(a->error, FORMAT,
                        "%s: storage \"%.*s\" has %zu bytes, but %" PRIu64 " elements of %s were said", path,
                        (int)key->as.text.n, key->as.text.data, m->size, n, tkr_dtype_name(view->dtype));
    }
    if (view->n_elements > n || offset > n - view->n_elements) {
        return TKR_FAIL(a->error, FORMAT,
                        "%s: tensor \"%.*s\" has %zu elements from %" PRIu64 " on, but its storage only %" PRIu64, path,
                        TKR_NAME_SHOWN, view->name, view->n_elements, offset, n);
    }
    view->data = m->data + offset * element;
    if (view->size > 0 && (uintptr_t)view->data % element != 0) {
        return TKR_FAIL(a->error, FORMAT,
                        "%s: tensor \"%.*s\" of %s is not aligned to %zu bytes: save the file again with torch.save",
                        path, TKR_NAME_SHOWN, view->name, tkr_dtype_name(view->dtype), element);
    }
    return TKR_OK;
}

static tkr_status add_tensor(archive *a, const tkr_pickle_value *name, const tkr_pickle_value *tensor) {
    const tkr_pickle_value *shape = tensor->as.tensor.shape;
    char text[160];
    tkr_tensor_view *view = tkr_tensors_next(a->set, a->source->path, a->error);
    if (!view) return a->error->status;
    if (name->as.text.n == 0 || memchr(name->as.text.data, '\0', name->as.text.n)) {
        return TKR_FAIL(a->error, FORMAT, "%s: a tensor's name is empty or holds a NUL character", a->source->path);
    }
    view->name = tkr_arena_strndup(&a->set->text, name->as.text.data, name->as.text.n);
    if (!view->name) return TKR_FAIL(a->error, NO_MEMORY, "%s: out of memory for tensor names", a->source->path);
    view->file = a->source->file;
    view->dtype = tensor->as.tensor.storage->as.storage.dtype;
    if (shape->as.tuple.n > TKR_MAX_DIMS) {
        return TKR_FAIL(a->error, FORMAT, "%s: tensor \"%.*s\" has %zu dimensions, expected at most %d",
                        a->source->path, TKR_NAME_SHOWN, view->name, shape->as.tuple.n, TKR_MAX_DIMS);
    }
    view->n_dims = (unsigned)shape->as.tuple.n;
    for (unsigned i = 0; i < view->n_dims; i++) view->shape[i] = shape->as.tuple.items[i]->as.integer;
    tkr_shape_text(text, sizeof text, view->shape, view->n_dims);
    if (!tkr_tensor_measure(&view->n_elements, &view->size, view->shape, view->n_dims, view->dtype)) {
        return TKR_FAIL(a->error, FORMAT, "%s: tensor \"%.*s\": shape %s is beyond any memory", a->source->path,
                        TKR_NAME_SHOWN, view->name, text);
    }
    if (view->n_elements > 0 && !is_contiguous(tensor, view)) {
        return TKR_FAIL(a->error, UNSUPPORTED,
                        "%s: tensor \"%.*s\" of shape %s is a strided view, which is not supported: save it after "
                        ".contiguous()",
                        a->source->path, TKR_NAME_SHOWN, view->name, text);
    }
    const tkr_status status = place(a, view, tensor);
    if (status == TKR_OK) a->set->n_views++;
    return status;
}

/* Training scripts put the weights beside other things. */
static const tkr_pickle_value *state_dict_of(const tkr_pickle_value *root) {
    static const char *const keys[] = {"state_dict", "model"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const tkr_pickle_value *inner = tkr_pickle_get(root, keys[i]);
        if (inner && inner->kind == TKR_PICKLE_DICT) return inner;
    }
    return root;
}

static tkr_status add_all(archive *a, const tkr_pickle_value *root) {
    if (root->kind != TKR_PICKLE_DICT) {
        return TKR_FAIL(a->error, FORMAT, "%s: holds no dict of tensors", a->source->path);
    }
    const size_t before = a->set->n_views;
    for (const tkr_pickle_items *run = state_dict_of(root)->as.dict.first; run; run = run->next) {
        for (size_t i = 0; i < run->n; i++) {
            const tkr_pickle_value *name = run->pairs[2 * i], *value = run->pairs[2 * i + 1];
            if (value->kind != TKR_PICKLE_TENSOR || name->kind != TKR_PICKLE_TEXT) continue; /* a step count, say */
            const tkr_status status = add_tensor(a, name, value);
            if (status != TKR_OK) return status;
        }
    }
    if (a->set->n_views > before) return TKR_OK;
    return TKR_FAIL(a->error, FORMAT, "%s: holds no tensors under their names", a->source->path);
}

/* torch.save before 1.6 wrote several pickles, the first of them this number. */
static bool is_legacy(const tkr_tensor_source *source) {
    static const uint8_t magic[] = {0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
    return source->size >= sizeof magic && memcmp(source->data, magic, sizeof magic) == 0;
}

static tkr_status read_archive(archive *a) {
    const tkr_pickle_value *root = NULL;
    tkr_status status = tkr_zip_read(&a->zip, a->source, a->error);
    if (status != TKR_OK) return status;
    const tkr_zip_member *pickle = find_pickle(a);
    if (!pickle) return a->error->status;
    if ((status = check_byte_order(a)) != TKR_OK) return status;
    status = tkr_pickle_read(&root, &a->arena, pickle->data, pickle->size, a->source->path, a->error);
    return status == TKR_OK ? add_all(a, root) : status;
}

tkr_status tkr_pytorch_read(tkr_tensors *set, const tkr_tensor_source *source, tkr_error *error) {
    tkr_error local; /* statuses travel in it */
    archive a = {.set = set, .source = source, .error = error ? error : &local};
    a.arena.limit = MAX_VALUES;
    if (is_legacy(source)) {
        return TKR_FAIL(error, UNSUPPORTED,
                        "%s: is in the format from before torch 1.6; convert it: python3 -c 'import torch; f = \"%s\"; "
                        "torch.save(torch.load(f, map_location=\"cpu\"), f)'",
                        source->path, source->file);
    }
    if (source->size < 4 || memcmp(source->data, "PK\3\4", 4) != 0) {
        return TKR_FAIL(error, FORMAT, "%s: does not begin as a zip archive: not made by torch.save?", source->path);
    }
    const tkr_status status = read_archive(&a);
    tkr_zip_free(&a.zip);
    tkr_arena_free(&a.arena);
    return status;
}

tkr_status tkr_pytorch_open_file(tkr_tensors **set, const char *path, tkr_error *error) {
    return tkr_tensors_open_with(set, tkr_pytorch_read, path, error);
}
