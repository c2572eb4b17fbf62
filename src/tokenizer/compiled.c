/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer/compiled: a tokenizer as flat arrays behind a header, and back by mapping them: nothing is parsed but the
 * small description. The bytes may come from anywhere: every index in them is checked once, here or by the model.
 */
#include "tokenizer/build.h"

#include <inttypes.h>
#include <string.h>

/* To be raised whenever an array changes its meaning. */
enum { VERSION = 3, ALIGNMENT = 64 };
static const char magic[8] = "tkrtok\r\n";

typedef struct header {
    char magic[8];
    uint32_t version;
    uint32_t endian; /* 0x01020304 as this machine writes it */
    uint64_t size;   /* of the whole, this included */
    uint32_t facts, n_parts;
    struct {
        uint64_t offset, size; /* bytes */
    } parts[TKR_TOK_N_PARTS];
    uint64_t checksum; /* of the bytes in front of it */
} header;

static uint64_t checksum_of(const header *head) {
    const uint64_t hash = tkr_tok_hash(0, (const char *)head, offsetof(header, checksum));
    return hash ^ hash >> 32;
}

/* ---- writing ---- */

static void collect(tkr_tok_block parts[TKR_TOK_N_PARTS], const tkr_tok *tok) {
    const tkr_tok_vocab *vocab = &tok->vocab;
    memcpy(parts, tok->parts, sizeof tok->parts);
    parts[TKR_TOK_PART_SKELETON] = (tkr_tok_block){tok->skeleton.data, tok->skeleton.size};
    parts[TKR_TOK_PART_POOL] = (tkr_tok_block){vocab->pool.data, vocab->pool.size};
    parts[TKR_TOK_PART_OFFSET] = (tkr_tok_block){vocab->offset, vocab->n_ids * sizeof *vocab->offset};
    parts[TKR_TOK_PART_LENGTH] = (tkr_tok_block){vocab->length, vocab->n_ids * sizeof *vocab->length};
    parts[TKR_TOK_PART_SCORE] = (tkr_tok_block){vocab->score, 0};
    if (vocab->score != NULL) {
        parts[TKR_TOK_PART_SCORE].size = vocab->n_ids * sizeof *vocab->score;
    }
    const tkr_tok_index *indices[] = {&vocab->index, &tok->continuing};
    for (int i = 0; i < 2; i++) {
        parts[TKR_TOK_PART_INDEX + i] = (tkr_tok_block){indices[i]->slots, 0};
        if (indices[i]->slots != NULL) {
            parts[TKR_TOK_PART_INDEX + i].size = (indices[i]->mask + 1) * sizeof *indices[i]->slots;
        }
    }
}

tkr_status tkr_tok_save(tkr_buf *out, const tkr_tok *tok, tkr_error *error) {
    static const char zeros[ALIGNMENT] = {0};
    tkr_tok_block parts[TKR_TOK_N_PARTS];
    collect(parts, tok);
    header head = {.version = VERSION, .endian = 0x01020304, .facts = tok->facts, .n_parts = TKR_TOK_N_PARTS};
    memcpy(head.magic, magic, sizeof magic);
    size_t at = tkr_align_up(sizeof head, ALIGNMENT);
    for (size_t i = 0; i < TKR_TOK_N_PARTS; i++) {
        head.parts[i].offset = at;
        head.parts[i].size = parts[i].size;
        at = tkr_align_up(at + parts[i].size, ALIGNMENT);
    }
    head.size = at;
    head.checksum = checksum_of(&head);
    const size_t start = out->size;
    bool ok = tkr_buf_reserve(out, at) && tkr_buf_append(out, &head, sizeof head);
    for (size_t i = 0; i < TKR_TOK_N_PARTS && ok; i++) {
        ok = tkr_buf_append(out, zeros, (size_t)head.parts[i].offset - (out->size - start)) &&
             tkr_buf_append(out, parts[i].data, parts[i].size);
    }
    ok = ok && tkr_buf_append(out, zeros, at - (out->size - start));
    return ok ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "no memory for a compiled tokenizer of %zu bytes", at);
}

/* ---- mapping ---- */

static tkr_status damaged(const tkr_tok_loader *loader, const char *what) {
    return TKR_FAIL(loader->error, FORMAT, "%s: the compiled tokenizer is damaged: %s", loader->what, what);
}

static tkr_status read_header(tkr_tok_loader *loader, const char *bytes, size_t size) {
    header head;
    if (size < sizeof head || memcmp(bytes, magic, sizeof magic) != 0) {
        return TKR_FAIL(loader->error, FORMAT, "%s: isn't a compiled tokenizer", loader->what);
    }
    memcpy(&head, bytes, sizeof head);
    if (head.version != VERSION || head.endian != 0x01020304) {
        return TKR_FAIL(loader->error, UNSUPPORTED,
                        "%s: a compiled tokenizer of version %" PRIu32 " and byte order %08" PRIx32
                        ", expected version %d of this machine",
                        loader->what, head.version, head.endian, VERSION);
    }
    if (head.checksum != checksum_of(&head) || head.size != size || head.n_parts != TKR_TOK_N_PARTS) {
        return damaged(loader, "its header or size");
    }
    if ((uintptr_t)bytes % 8 != 0) {
        return TKR_FAIL(loader->error, INVALID_ARGUMENT, "%s: a compiled tokenizer must lie at a multiple of 8",
                        loader->what);
    }
    for (size_t i = 0; i < TKR_TOK_N_PARTS; i++) {
        if (head.parts[i].offset % ALIGNMENT != 0 || head.parts[i].offset > size ||
            head.parts[i].size > size - head.parts[i].offset) {
            return damaged(loader, "a part lies outside");
        }
        loader->tok->parts[i] = (tkr_tok_block){bytes + head.parts[i].offset, (size_t)head.parts[i].size};
    }
    loader->tok->facts = head.facts;
    return TKR_OK;
}

/* The arrays aren't written to, though their owner's type could. */
static void *borrow(const tkr_tok_block *part) {
    void *data;
    memcpy(&data, &part->data, sizeof data);
    return part->size > 0 ? data : NULL;
}

static tkr_status map_vocab(tkr_tok_loader *loader) {
    tkr_tok *tok = loader->tok;
    tkr_tok_vocab *vocab = &tok->vocab;
    const tkr_tok_block *parts = tok->parts;
    const size_t n_ids = parts[TKR_TOK_PART_OFFSET].size / sizeof *vocab->offset;
    const size_t pool = parts[TKR_TOK_PART_POOL].size;
    if (parts[TKR_TOK_PART_OFFSET].size % sizeof *vocab->offset != 0 || n_ids > (size_t)TKR_TOK_MAX_ID + 1 ||
        parts[TKR_TOK_PART_LENGTH].size != n_ids * sizeof *vocab->length ||
        (parts[TKR_TOK_PART_SCORE].size != 0 && parts[TKR_TOK_PART_SCORE].size != n_ids * sizeof *vocab->score)) {
        return damaged(loader, "its arrays differ in length");
    }
    vocab->pool = (tkr_buf){.data = borrow(&parts[TKR_TOK_PART_POOL]), .size = pool};
    vocab->offset = borrow(&parts[TKR_TOK_PART_OFFSET]);
    vocab->length = borrow(&parts[TKR_TOK_PART_LENGTH]);
    vocab->score = borrow(&parts[TKR_TOK_PART_SCORE]);
    vocab->n_ids = n_ids;
    for (size_t id = 0; id < n_ids; id++) {
        const uint32_t offset = vocab->offset[id];
        if (offset == UINT32_MAX) {
            continue;
        }
        if (offset >= pool || vocab->length[id] >= pool - offset ||
            vocab->pool.data[offset + vocab->length[id]] != '\0') {
            return damaged(loader, "a piece lies outside");
        }
        vocab->n_pieces++;
    }
    if (vocab->score != NULL && vocab->n_pieces != n_ids) {
        return damaged(loader, "an id has no piece");
    }
    return tkr_tok_map_index(&vocab->index, loader, TKR_TOK_PART_INDEX, 0);
}

tkr_status tkr_tok_map_index(tkr_tok_index *index, const tkr_tok_loader *loader, int part, size_t n_prefix) {
    const tkr_tok_vocab *vocab = &loader->tok->vocab;
    const tkr_tok_block *block = &loader->tok->parts[part];
    const size_t n = block->size / sizeof *index->slots;
    if (block->size % sizeof *index->slots != 0 || n < 16 || (n & (n - 1)) != 0) {
        return damaged(loader, "the size of an index");
    }
    *index = (tkr_tok_index){.slots = borrow(block), .mask = n - 1, .skip = (uint32_t)n_prefix};
    size_t n_free = 0;
    for (size_t i = 0; i < n; i++) {
        const int32_t id = index->slots[i].id;
        if (id < 0) {
            n_free++;
            continue;
        }
        if ((size_t)id >= vocab->n_ids || vocab->offset[id] == UINT32_MAX || vocab->length[id] < n_prefix) {
            return damaged(loader, "an index names an id without a piece");
        }
        const uint32_t length = vocab->length[id] - index->skip;
        index->max_length = length > index->max_length ? length : index->max_length;
        index->lengths |= (uint64_t)1 << (length < 63 ? length : 63);
    }
    return n_free > 0 ? TKR_OK : damaged(loader, "an index without a free slot"); /* where searches end */
}

static tkr_status read_skeleton(tkr_tok_loader *loader, tkr_tok_blocks *blocks) {
    const tkr_tok_block *part = &loader->tok->parts[TKR_TOK_PART_SKELETON];
    json_t *tree = NULL;
    const tkr_status status = tkr_json_parse(&tree, part->data, part->size, loader->what, loader->error);
    if (status != TKR_OK) {
        return status;
    }
    blocks->normalizer = json_incref(json_object_get(tree, "normalizer"));
    blocks->pre_tokenizer = json_incref(json_object_get(tree, "pre_tokenizer"));
    blocks->post_processor = json_incref(json_object_get(tree, "post_processor"));
    blocks->decoder = json_incref(json_object_get(tree, "decoder"));
    blocks->added_tokens = json_incref(json_object_get(tree, "added_tokens"));
    blocks->lowercase = json_is_true(json_object_get(tree, "lowercase"));
    loader->tok->model_fields = json_incref(json_object_get(tree, "model"));
    json_decref(tree);
    return json_is_object(loader->tok->model_fields) ? TKR_OK : damaged(loader, "its description has no model");
}

tkr_status tkr_tok_map(tkr_tok **out, const void *bytes, size_t size, const char *what, tkr_error *error) {
    tkr_tok_loader loader;
    tkr_tok_blocks blocks = {0};
    tkr_error local = {.status = TKR_OK};
    tkr_status status = tkr_tok_begin(out, &loader, what, &local);
    if (status == TKR_OK) {
        loader.tok->mapped = true;
        status = read_header(&loader, bytes, size);
    }
    if (status == TKR_OK) {
        status = map_vocab(&loader);
    }
    if (status == TKR_OK) {
        status = read_skeleton(&loader, &blocks);
    }
    if (status == TKR_OK) {
        status = tkr_tok_build(&loader, &blocks);
    }
    return tkr_tok_finish(out, &loader, &blocks, status, error);
}
