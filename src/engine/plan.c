/* SPDX-License-Identifier: Apache-2.0 */
/* engine/plan: chooses number formats and proves that weights and workspace fit before anything large is allocated. */
#include <stdio.h>
#include <string.h>

#include "engine/engine.h"
#include "engine/plan_rule.h"

#define DEFAULT_CHUNK_TOKENS 256
#define LEAST_CHUNK_TOKENS 64
#define CHUNK_ROWS 1024
/* A GPU is slow in anything small. */
#define GPU_CHUNK_TOKENS 16384
#define GPU_LEAST_CHUNK_TOKENS 256
#define GPU_CHUNK_ROWS 8192
/* Longer inputs are computed by all workers together, one at a time: else each would need room for the longest. */
#define ALONE_TOKENS 2048
#define LARGE_MODEL ((uint64_t)1000000000) /* parameters */
#define MIDDLE_MODEL ((uint64_t)100000000)
#define SEVERAL_PICTURES 4
#define PICTURE_BYTES ((size_t)64 << 20)
#define PICTURES_PART 32 /* of the memory may go to the patches of one input */

static void note(tkr_plan *plan, tkr_arena *arena, const char *name, const char *value) {
    char *copy = tkr_arena_strndup(arena, value, strlen(value));
    if (copy && plan->n_notes < sizeof plan->notes / sizeof *plan->notes)
        plan->notes[plan->n_notes++] = (tkr_pair){name, copy};
}

static double mib(uint64_t bytes) { return (double)bytes / (1 << 20); }

/* ---- memory ---- */

static size_t chunk_rows(const tkr_plan_request *r) { return r->device->mlx ? GPU_CHUNK_ROWS : CHUNK_ROWS; }

static size_t workspace_for(const tkr_plan_request *r, size_t tokens, size_t longest, unsigned workers) {
    const tkr_arch_config *c = &r->checkpoint->config;
    const tkr_device *d = r->device;
    size_t widest = tkr_arch_widest(c);
    size_t activations = tkr_arch_workspace(c, tokens, chunk_rows(r)) + TKR_POOL_MODES * 4 * tokens * sizeof(float);
    return activations + workers * d->ops->scratch_bytes(d->backend, tokens, longest, widest, c->head_dim) +
           ((size_t)1 << 20);
}

static bool is_fused(const tkr_plan_request *r) { return !r->checkpoint->arch->vision->two_towers; }

/* The same for a batch that also has, or in models with two towers has instead, patches of pictures. */
static size_t workspace_with(const tkr_plan_request *r, size_t tokens, size_t longest, size_t patches,
                             unsigned workers) {
    const size_t text = workspace_for(r, tokens, longest, workers);
    const tkr_vision_config *v = &r->checkpoint->vision;
    const tkr_device *d = r->device;
    if (r->picture_patches == 0) return text;
    const size_t widest = tkr_vision_widest(v);
    const size_t vision = tkr_vision_workspace(v, patches, chunk_rows(r)) +
                          workers * d->ops->scratch_bytes(d->backend, patches, patches, widest, v->tower.head_dim) +
                          ((size_t)1 << 20);
    return is_fused(r) ? text + vision : text > vision ? text : vision;
}

/* Patches that an input's tokens can stand for. */
static size_t patches_that_fit(const tkr_plan_request *r) {
    const size_t merge = r->checkpoint->vision.merge_size;
    return is_fused(r) ? r->checkpoint->max_tokens * merge * merge : SEVERAL_PICTURES * r->picture_patches;
}

/* Patches that a tower reads at a time: several of the largest pictures, as far as an input's tokens go. */
static size_t wanted_group(const tkr_plan_request *r) {
    if (r->picture_patches == 0) return 0;
    const size_t several = SEVERAL_PICTURES * r->picture_patches, fit = patches_that_fit(r);
    return several <= fit ? several : fit > r->picture_patches ? fit : r->picture_patches;
}

static size_t patch_bytes(const tkr_plan_request *r) { return r->checkpoint->vision.patch_cols * sizeof(float); }

/* Patches of one input, which are held twice: as far as its tokens go, and a small part of the memory. */
static size_t wanted_patches(const tkr_plan *plan, const tkr_plan_request *r) {
    if (r->picture_patches == 0) return 0;
    const uint64_t room = plan->limit / PICTURES_PART / (2 * patch_bytes(r));
    const size_t fit = patches_that_fit(r), most = room < fit ? (size_t)room : fit;
    return most > plan->group_patches ? most : plan->group_patches;
}

/* Tokens of a batch, before memory runs short: the caller's choice, or on a GPU as many as an eighth of its memory
 * holds, so that large batches never are what makes quantisation necessary. */
static size_t first_chunk(const tkr_plan_request *r) {
    if (r->options->batch_tokens) return r->options->batch_tokens / r->n_workers;
    if (!r->device->mlx) return DEFAULT_CHUNK_TOKENS;
    size_t chunk = GPU_CHUNK_TOKENS;
    while (chunk > GPU_LEAST_CHUNK_TOKENS && workspace_for(r, chunk, chunk, 1) > r->device->limit / 8) chunk /= 2;
    return chunk;
}

/* What groups of pictures leave for deeper layers until all have been read; one group's share is the tower's. */
static size_t deep_features(const tkr_plan *plan, const tkr_plan_request *r) {
    const tkr_vision_config *v = &r->checkpoint->vision;
    if (plan->max_patches <= plan->group_patches || v->n_deepstack == 0) return 0;
    const size_t n = plan->max_patches / (v->merge_size * v->merge_size);
    return n * sizeof(size_t) + v->n_deepstack * tkr_tensor_room(n * v->out_size * sizeof(float) + 128);
}

/* Workspace for chunks of `chunk` tokens and inputs up to the model's limit. */
static void plan_workspace(tkr_plan *plan, const tkr_plan_request *r, size_t chunk) {
    const size_t longest = r->checkpoint->max_tokens, patches = plan->group_patches;
    const size_t most = longest > patches ? longest : patches;
    size_t alone = most < ALONE_TOKENS ? most : ALONE_TOKENS;
    plan->chunk_tokens = chunk < LEAST_CHUNK_TOKENS ? LEAST_CHUNK_TOKENS : chunk;
    plan->alone_tokens = plan->chunk_tokens > alone ? plan->chunk_tokens : alone;
    alone = plan->alone_tokens;
    plan->workspace_per_worker = workspace_with(r, alone, alone, alone, 1);
    plan->workspace_together = plan->workspace_per_worker * r->n_workers;
    if (most > alone) {
        const size_t tokens = longest > alone ? longest : alone;
        const size_t together =
            workspace_with(r, tokens, tokens, patches > alone ? patches : alone, r->n_workers) + deep_features(plan, r);
        if (together > plan->workspace_together) plan->workspace_together = together;
    }
    plan->workspace_bytes =
        (uint64_t)plan->workspace_together + (uint64_t)plan->workspace_per_worker * (r->n_workers - 1);
    if (patches > 0) {
        const size_t most_input = plan->max_patches * patch_bytes(r), batch = patches * patch_bytes(r);
        plan->picture_bytes =
            plan->limit / PICTURES_PART < PICTURE_BYTES ? (size_t)(plan->limit / PICTURES_PART) : PICTURE_BYTES;
        plan->workspace_bytes += (plan->picture_bytes > most_input ? plan->picture_bytes : most_input) +
                                 (uint64_t)most_input + (uint64_t)batch * (r->n_workers - 1);
    }
}

/* The smaller a model, the more it loses to 4 bits: below 1 G parameters finer groups and the sensitive layers in 8,
 * below 100 M all layers but the attention's output (figures in docs/numerics.md). */
static void set_q4_layout(tkr_plan *plan, const tkr_plan_request *r) {
    plan->group = r->n_parameters >= LARGE_MODEL ? 64 : 32;
    plan->spared = r->n_parameters >= LARGE_MODEL    ? 0
                   : r->n_parameters >= MIDDLE_MODEL ? TKR_SENSITIVE_WEIGHT
                                                     : TKR_SENSITIVE_WEIGHT | TKR_SENSITIVE_SMALL;
}

/* What the weights will take in each format: measured on this checkpoint, whose own groups decide about some layers. */
static tkr_status measure_weights(tkr_plan *plan, const tkr_plan_request *r, tkr_error *error) {
    for (int mode = 0; mode < TKR_GEMM_MODES; mode++) {
        const tkr_binder_options options = {.set = r->tensors,
                                            .ops = r->device->ops,
                                            .backend = r->device->backend,
                                            .mode = (tkr_gemm_mode)mode,
                                            .group = plan->group,
                                            .spared = plan->spared,
                                            .quantization = r->checkpoint->quantization};
        const tkr_arch_spec spec = tkr_checkpoint_spec(r->checkpoint);
        tkr_status status = tkr_arch_measure(&plan->mode_bytes[mode], &options, &spec, error);
        if (status == TKR_NO_MEMORY) return status;
        if (status != TKR_OK) return tkr_error_prefix(error, status, "%s", r->checkpoint->folder);
    }
    return TKR_OK;
}

static uint64_t weight_bytes(const tkr_plan *plan, tkr_gemm_mode mode) { return plan->mode_bytes[mode]; }

/* ---- number formats ---- */

static tkr_status check_choices(const tkr_model_options *o, tkr_error *error) {
    if (o->precision < TKR_PRECISION_AUTO || o->precision > TKR_PRECISION_BF16)
        return TKR_FAIL(error, INVALID_ARGUMENT, "precision %d is unknown; known: auto, f32, bf16", (int)o->precision);
    if (o->quantization < TKR_QUANTIZATION_AUTO || o->quantization > TKR_QUANTIZATION_Q4)
        return TKR_FAIL(error, INVALID_ARGUMENT, "quantization %d is unknown; known: auto, none, q8, q4",
                        (int)o->quantization);
    return TKR_OK;
}

/* f32 takes twice the memory of the bf16 or f16 that large models are published in: where the choice is ours, bf16
 * before it is too much. */
static tkr_gemm_mode plain_mode(tkr_plan *plan, const tkr_plan_request *r, uint64_t budget, const char **why) {
    const tkr_precision asked = r->options->precision;
    *why = NULL;
    if (asked != TKR_PRECISION_AUTO) return asked == TKR_PRECISION_BF16 ? TKR_GEMM_BF16 : TKR_GEMM_F32;
    if (r->device->mlx) {
        const bool half = r->unquantised_bytes < 3 * r->n_parameters;
        *why = half ? "bf16: the weights are 16-bit numbers, which a GPU multiplies faster than f32"
                    : "f32: so are the weights; bf16 is faster on most GPUs and less exact";
        return half ? TKR_GEMM_BF16 : TKR_GEMM_F32;
    }
    if (r->kernels->bf16_is_fast) {
        *why = "bf16: this CPU multiplies it faster than f32";
        return TKR_GEMM_BF16;
    }
    if (weight_bytes(plan, TKR_GEMM_F32) + plan->workspace_bytes > budget &&
        weight_bytes(plan, TKR_GEMM_BF16) < weight_bytes(plan, TKR_GEMM_F32)) {
        *why = "bf16: this CPU multiplies f32 faster, but f32 weights would take more than half of the memory";
        return TKR_GEMM_BF16;
    }
    *why = "f32: this CPU has no faster bf16 multiplication";
    return TKR_GEMM_F32;
}

static tkr_plan_level auto_level(tkr_plan *plan, const tkr_plan_request *r, tkr_gemm_mode plain) {
    const tkr_plan_facts facts = {.memory = r->device->memory,
                                  .limit = plan->limit,
                                  .unquantised = r->unquantised_bytes,
                                  .n_parameters = r->n_parameters,
                                  .need = {weight_bytes(plan, plain) + plan->workspace_bytes,
                                           weight_bytes(plan, TKR_GEMM_Q8) + plan->workspace_bytes,
                                           weight_bytes(plan, TKR_GEMM_Q4) + plan->workspace_bytes}};
    tkr_plan_choice choice;
    tkr_plan_rule(&choice, &facts);
    note(plan, r->arena, "quantization", choice.because);
    return choice.level;
}

static void choose_mode(tkr_plan *plan, const tkr_plan_request *r) {
    static const tkr_plan_level levels[] = {TKR_PLAN_NONE, TKR_PLAN_NONE, TKR_PLAN_Q8, TKR_PLAN_Q4};
    const char *why = NULL;
    plan->n_notes = 0;
    uint64_t budget = r->device->memory / 2 < plan->limit ? r->device->memory / 2 : plan->limit;
    tkr_gemm_mode plain = plain_mode(plan, r, budget, &why);
    tkr_plan_level level = r->options->quantization == TKR_QUANTIZATION_AUTO ? auto_level(plan, r, plain)
                                                                             : levels[r->options->quantization];
    if (level == TKR_PLAN_NONE && why) note(plan, r->arena, "precision", why);
    if (level == TKR_PLAN_Q4) {
        char text[96];
        snprintf(text, sizeof text, "groups of %zu%s", plan->group,
                 plan->spared & TKR_SENSITIVE_SMALL
                     ? "; so small a model keeps all layers but the attention's output in q8"
                 : plan->spared & TKR_SENSITIVE_WEIGHT ? "; the most sensitive layers in q8"
                                                       : "");
        note(plan, r->arena, "q4", text);
    }
    if (r->quantised && r->checkpoint->quantization && r->device->mlx)
        note(plan, r->arena, "checkpoint", "is quantised; its groups are multiplied as they are");
    else if (r->quantised && level == TKR_PLAN_NONE)
        note(plan, r->arena, "checkpoint", "is quantised; its weights are decoded once and computed unquantised");
    plan->mode = level == TKR_PLAN_Q4 ? TKR_GEMM_Q4 : level == TKR_PLAN_Q8 ? TKR_GEMM_Q8 : plain;
    const bool half = plan->mode == TKR_GEMM_BF16 || (r->device->gpu && plan->mode != TKR_GEMM_F32);
    plan->precision = half ? "bf16" : "f32"; /* a GPU multiplies quantised weights by bf16 */
    plan->quantization = tkr_plan_level_name(level);
    plan->weights_bytes = weight_bytes(plan, plan->mode);
}

/* What to do about a model that is too large, the gentlest first. */
static tkr_status too_large(tkr_plan *plan, const tkr_plan_request *r, tkr_error *error) {
    static const struct {
        tkr_gemm_mode mode;
        const char *advice;
    } smaller[] = {
        {TKR_GEMM_BF16, "--precision bf16"}, {TKR_GEMM_Q8, "--quantization q8"}, {TKR_GEMM_Q4, "--quantization q4"}};
    char advice[96] = "no quantization fits";
    for (size_t i = 0; i < sizeof smaller / sizeof *smaller; i++) {
        uint64_t bytes = weight_bytes(plan, smaller[i].mode);
        if (bytes >= plan->weights_bytes || bytes + plan->workspace_bytes > plan->limit) continue;
        snprintf(advice, sizeof advice, "%s fits (%.0f MiB)", smaller[i].advice, mib(bytes + plan->workspace_bytes));
        break;
    }
    char limit[224] = "the limit";
    if (r->device->mlx) snprintf(limit, sizeof limit, "the limit on %s", r->device->text);
    return TKR_FAIL(
        error, LIMIT,
        "the model in %s needs %.0f MiB (weights %.0f, workspace %.0f for %u threads and up to %zu tokens), "
        "%s is %.0f MiB; %s; or raise --max-memory, or lower --max-tokens%s",
        strcmp(plan->quantization, "none") == 0 ? plan->precision : plan->quantization,
        mib(plan->weights_bytes + plan->workspace_bytes) + 1, mib(plan->weights_bytes), mib(plan->workspace_bytes),
        r->n_workers, r->checkpoint->max_tokens, limit, mib(plan->limit), advice,
        r->device->mlx ? ", or compute with --device cpu" : " or --threads");
}

static size_t halved(size_t n, size_t least) { return n / 2 > least ? n / 2 : least; }

tkr_status tkr_plan_make(tkr_plan *plan, const tkr_plan_request *r, tkr_error *error) {
    size_t chunk = first_chunk(r);
    tkr_status status = check_choices(r->options, error);
    set_q4_layout(plan, r);
    if (status == TKR_OK) status = measure_weights(plan, r, error);
    if (status != TKR_OK) return status;
    plan->limit = r->device->limit;
    plan->chunk_rows = chunk_rows(r);
    plan->group_patches = wanted_group(r);
    plan->max_patches = wanted_patches(plan, r);
    for (;;) {
        plan_workspace(plan, r, chunk);
        choose_mode(plan, r);
        if (plan->weights_bytes + plan->workspace_bytes <= plan->limit) break;
        if (chunk > LEAST_CHUNK_TOKENS && plan->chunk_tokens >= plan->alone_tokens)
            chunk /= 2; /* a smaller budget costs speed, not correctness */
        else if (plan->max_patches > plan->group_patches)
            plan->max_patches = halved(plan->max_patches, plan->group_patches);
        else if (plan->group_patches > r->picture_patches)
            plan->max_patches = plan->group_patches = halved(plan->group_patches, r->picture_patches);
        else
            return too_large(plan, r, error);
    }
    plan->batch_tokens = plan->chunk_tokens * r->n_workers;
    return TKR_OK;
}
