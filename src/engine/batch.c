/* SPDX-License-Identifier: Apache-2.0 */
/* engine/batch: lays inputs one after another without padding: ids, positions, pooled spans, pictures. */
#include "engine/batch.h"

#include <string.h>

typedef struct batch_arrays {
    int32_t *ids, *types, *positions;
    size_t *cu_seqlens, *visual_rows;
    tkr_span *spans;
    tkr_visual *visuals;
    float *patches;
} batch_arrays;

/* What the arrays hold. */
typedef struct batch_sizes {
    size_t n_tokens, n_seqs, n_spans, n_axes, n_visuals, n_patch_values;
} batch_sizes;

static void *cut(char *base, size_t *at, size_t n, size_t each) {
    void *out = base ? base + *at : NULL;
    *at += tkr_align_up(n * each, 64);
    return out;
}

/* Bytes that the arrays take; places them when there is a base. */
static size_t place(batch_arrays *a, char *base, const batch_sizes *s) {
    size_t at = 0;
    a->patches = cut(base, &at, s->n_patch_values, sizeof *a->patches);
    a->ids = cut(base, &at, s->n_tokens, sizeof *a->ids);
    a->types = cut(base, &at, s->n_tokens, sizeof *a->types);
    a->positions = cut(base, &at, s->n_axes * s->n_tokens, sizeof *a->positions);
    a->cu_seqlens = cut(base, &at, s->n_seqs + 1, sizeof *a->cu_seqlens);
    a->visual_rows = cut(base, &at, s->n_visuals ? s->n_tokens : 0, sizeof *a->visual_rows);
    a->spans = cut(base, &at, s->n_spans, sizeof *a->spans);
    a->visuals = cut(base, &at, s->n_visuals, sizeof *a->visuals);
    return at;
}

static bool carve(batch_arrays *a, tkr_buf *buf, const batch_sizes *sizes) {
    const size_t bytes = place(a, NULL, sizes);
    buf->size = 0;
    if (!tkr_buf_reserve(buf, bytes + 64)) {
        buf->failed = false;
        return false;
    }
    place(a, (char *)(((uintptr_t)buf->data + 63) & ~(uintptr_t)63), sizes);
    return true;
}

/* Positions from 0; or, as RoBERTa has them, from behind the padding id, which is the position of padding itself: the
 * reference counts ids, so a padding token that a user typed is left out, too. */
static void fill_positions(int32_t *positions, const tkr_arch_config *config, const int32_t *ids, size_t n) {
    int32_t next = config->positions_from_pad ? config->pad_id + 1 : 0;
    for (size_t t = 0; t < n; t++) {
        const bool pad = config->positions_from_pad && ids[t] == config->pad_id;
        positions[t] = pad ? config->pad_id : next++;
    }
}

static const tkr_picture *pictures_of(const tkr_call *call, const tkr_item *item) {
    return (const tkr_picture *)(const void *)call->session->pictures.data + item->first_picture;
}

/* Grids and patches of all pictures; one picture's patches are used where they lie. */
static void fill_pictures(tkr_batch *batch, const batch_arrays *a, const tkr_batch_request *r) {
    size_t at = 0, values = 0;
    for (size_t i = r->chunk->begin; i < r->chunk->end; i++) {
        const tkr_item *item = &r->call->result->items[r->order[i].index];
        const tkr_picture *pictures = item->n_pictures ? pictures_of(r->call, item) : NULL;
        for (size_t p = 0; p < item->n_pictures; p++) {
            const tkr_patches *from = &pictures[p].patches;
            const size_t n = from->t * from->h * from->w * from->n_cols;
            a->visuals[at++] = (tkr_visual){from->t, from->h, from->w};
            batch->patches = from->rows;
            if (r->chunk->n_pictures > 1) memcpy(a->patches + values, from->rows, n * sizeof *from->rows);
            values += n;
        }
    }
    if (r->chunk->n_pictures > 1) batch->patches = a->patches;
    batch->visuals = a->visuals;
    batch->n_visuals = at;
    batch->n_patches = r->chunk->n_patches;
    batch->group_patches = r->call->session->model->plan.group_patches;
    batch->patch_cols = r->call->session->model->checkpoint.vision.patch_cols;
}

/* Rows that the model pools of texts. */
static size_t count_spans(const tkr_batch_request *r) {
    const tkr_result_kind kind = r->call->result->kind;
    size_t n = 0;
    if (r->chunk->tower || kind == TKR_RESULT_TOKENS) return 0;
    if (kind == TKR_RESULT_MULTI_VECTOR) return r->chunk->n_tokens;
    for (size_t i = r->chunk->begin; i < r->chunk->end; i++) n += r->call->result->items[r->order[i].index].n_rows;
    return n;
}

/* Each of an input's own spans is a row. */
static void put_own_spans(tkr_batch *batch, const batch_arrays *a, const tkr_input *input, size_t first) {
    for (size_t s = 0; s < input->n_spans; s++)
        a->spans[batch->n_spans++] = (tkr_span){first + input->spans[2 * s], first + input->spans[2 * s + 1], first};
}

/* One text's positions, its placeholders' rows and what is pooled of it. */
typedef struct text_place {
    size_t token, visual; /* where it begins in the batch */
} text_place;

static tkr_status fill_text(tkr_batch *batch, const batch_arrays *a, const tkr_call *call, size_t index,
                            const text_place *place, tkr_error *error) {
    const tkr_item *item = &call->result->items[index];
    const tkr_checkpoint *c = &call->session->model->checkpoint;
    const tkr_vision_arch *vision = c->arch->vision;
    const int32_t *ids = a->ids + place->token;
    const size_t n = item->n_tokens, first = place->token;
    for (size_t t = 0; item->n_pictures && t < n; t++)
        if (tkr_is_placeholder(&c->vision, ids[t])) a->visual_rows[batch->n_visual_tokens++] = first + t;
    if (call->result->kind == TKR_RESULT_MULTI_VECTOR) {
        for (size_t t = 0; t < n; t++) a->spans[batch->n_spans++] = (tkr_span){first + t, first + t + 1, first};
    } else if (call->result->kind == TKR_RESULT_DENSE && call->inputs[index].n_spans > 0) {
        put_own_spans(batch, a, &call->inputs[index], first);
    } else if (call->result->kind == TKR_RESULT_DENSE) {
        const size_t end = vision && vision->text_end ? vision->text_end(&c->vision, ids, n) : n;
        a->spans[batch->n_spans++] = (tkr_span){first + item->n_prompt_tokens, first + end, first};
    }
    if (batch->n_position_axes == 1) {
        fill_positions(a->positions + first, &c->config, ids, n);
        return TKR_OK;
    }
    const tkr_mrope_options options = {.ids = ids,
                                       .n = n,
                                       .stride = batch->n_tokens,
                                       .visuals = a->visuals + place->visual,
                                       .n_visuals = item->n_pictures,
                                       .frames_apart = vision && vision->frames_apart};
    return tkr_mrope_positions(a->positions + first, &c->vision, &options, error);
}

static tkr_status fill_texts(tkr_batch *batch, const batch_arrays *a, const tkr_batch_request *r, tkr_error *error) {
    const tkr_call *call = r->call;
    const bool one_type =
        call->session->model->checkpoint.config.type_vocab_size == 1; /* RoBERTa: pairs have it, too */
    text_place place = {0, 0};
    tkr_status status = TKR_OK;
    a->cu_seqlens[0] = 0;
    for (size_t i = r->chunk->begin; status == TKR_OK && i < r->chunk->end; i++) {
        const tkr_item *item = &call->result->items[r->order[i].index];
        const tkr_worker *owner = &call->session->workers[item->worker];
        const int32_t *ids = (const int32_t *)(const void *)owner->ids.data + item->at;
        const uint8_t *types = (const uint8_t *)owner->types.data + item->at;
        for (size_t t = 0; t < item->n_tokens; t++) {
            a->ids[place.token + t] = ids[t];
            a->types[place.token + t] = one_type ? 0 : types[t];
        }
        status = fill_text(batch, a, call, r->order[i].index, &place, error);
        place.token += item->n_tokens;
        place.visual += item->n_pictures;
        a->cu_seqlens[i - r->chunk->begin + 1] = place.token;
    }
    return status;
}

tkr_status tkr_batch_fill(tkr_batch *batch, tkr_buf *buf, const tkr_batch_request *r, tkr_error *error) {
    const tkr_chunk *c = r->chunk;
    const tkr_checkpoint *checkpoint = &r->call->session->model->checkpoint;
    batch_arrays a;
    batch_sizes sizes = {.n_tokens = c->n_tokens,
                         .n_seqs = c->tower ? 0 : c->end - c->begin,
                         .n_axes = checkpoint->config.n_position_axes > 1 ? checkpoint->config.n_position_axes : 1,
                         .n_visuals = c->n_pictures,
                         .n_patch_values = c->n_pictures > 1 ? c->n_patches * checkpoint->vision.patch_cols : 0};
    sizes.n_spans = count_spans(r);
    if (!carve(&a, buf, &sizes))
        return TKR_FAIL(error, NO_MEMORY, "no memory for a batch of %zu tokens and %zu patches", c->n_tokens,
                        c->n_patches);
    *batch = (tkr_batch){.n_tokens = c->n_tokens,
                         .n_seqs = sizes.n_seqs,
                         .ids = a.ids,
                         .type_ids = a.types,
                         .positions = a.positions,
                         .n_position_axes = (unsigned)sizes.n_axes,
                         .cu_seqlens = a.cu_seqlens,
                         .spans = a.spans,
                         .visual_rows = a.visual_rows};
    fill_pictures(batch, &a, r);
    return c->tower ? TKR_OK : fill_texts(batch, &a, r, error);
}
