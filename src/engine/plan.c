/* SPDX-License-Identifier: Apache-2.0 */
/* engine/plan: chooses number formats and proves that weights and workspace fit before anything large is allocated. */
#include <stdio.h>
#include <string.h>

#include "engine/engine.h"
#include "engine/plan_rule.h"

#define DEFAULT_CHUNK_TOKENS 256
#define LEAST_CHUNK_TOKENS 64
/* Longer inputs are computed by all workers together, one at a time: else each would need room for the longest. */
#define ALONE_TOKENS 2048
#define LARGE_MODEL ((uint64_t)1000000000) /* parameters */
#define MIDDLE_MODEL ((uint64_t)100000000)

static void note(tkr_plan *plan, tkr_arena *arena, const char *name, const char *value) {
    char *copy = tkr_arena_strndup(arena, value, strlen(value));
    if (copy && plan->n_notes < sizeof plan->notes / sizeof *plan->notes)
        plan->notes[plan->n_notes++] = (tkr_pair){name, copy};
}

static double mib(uint64_t bytes) { return (double)bytes / (1 << 20); }

/* ---- memory ---- */

static size_t workspace_for(const tkr_plan_request *r, size_t tokens, size_t longest, unsigned workers) {
    const tkr_arch_config *c = &r->checkpoint->config;
    size_t widest = tkr_arch_widest(c);
    size_t activations = tkr_arch_workspace(c, tokens, 1024) + TKR_POOL_MODES * 4 * tokens * sizeof(float);
    return activations + workers * r->ops->scratch_bytes(r->backend, tokens, longest, widest, c->head_dim) +
           ((size_t)1 << 20);
}

/* Workspace for chunks of `chunk` tokens and inputs up to the model's limit. */
static void plan_workspace(tkr_plan *plan, const tkr_plan_request *r, size_t chunk) {
    size_t longest = r->checkpoint->max_tokens, alone = longest < ALONE_TOKENS ? longest : ALONE_TOKENS;
    plan->chunk_tokens = chunk < LEAST_CHUNK_TOKENS ? LEAST_CHUNK_TOKENS : chunk;
    plan->alone_tokens = plan->chunk_tokens > alone ? plan->chunk_tokens : alone;
    plan->workspace_per_worker = workspace_for(r, plan->alone_tokens, plan->alone_tokens, 1);
    plan->workspace_together = plan->workspace_per_worker * r->n_workers;
    if (longest > plan->alone_tokens) {
        size_t together = workspace_for(r, longest, longest, r->n_workers);
        if (together > plan->workspace_together) plan->workspace_together = together;
    }
    plan->workspace_bytes =
        (uint64_t)plan->workspace_together + (uint64_t)plan->workspace_per_worker * (r->n_workers - 1);
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
                                            .ops = r->ops,
                                            .backend = r->backend,
                                            .mode = (tkr_gemm_mode)mode,
                                            .group = plan->group,
                                            .spared = plan->spared,
                                            .quantization = r->checkpoint->quantization};
        const tkr_arch_spec spec = {.arch = r->checkpoint->arch, .config = &r->checkpoint->config};
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
    const tkr_plan_facts facts = {.memory = r->machine->memory,
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
    uint64_t budget = r->machine->memory / 2 < plan->limit ? r->machine->memory / 2 : plan->limit;
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
    if (r->quantised && level == TKR_PLAN_NONE)
        note(plan, r->arena, "checkpoint", "is quantised; its weights are decoded once and computed unquantised");
    plan->mode = level == TKR_PLAN_Q4 ? TKR_GEMM_Q4 : level == TKR_PLAN_Q8 ? TKR_GEMM_Q8 : plain;
    plan->precision = plan->mode == TKR_GEMM_BF16 ? "bf16" : "f32";
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
    return TKR_FAIL(
        error, LIMIT,
        "the model in %s needs %.0f MiB (weights %.0f, workspace %.0f for %u threads and up to %zu tokens), "
        "the limit is %.0f MiB; %s; or raise --max-memory, or lower --max-tokens or --threads",
        strcmp(plan->quantization, "none") == 0 ? plan->precision : plan->quantization,
        mib(plan->weights_bytes + plan->workspace_bytes) + 1, mib(plan->weights_bytes), mib(plan->workspace_bytes),
        r->n_workers, r->checkpoint->max_tokens, mib(plan->limit), advice);
}

tkr_status tkr_plan_make(tkr_plan *plan, const tkr_plan_request *r, tkr_error *error) {
    size_t chunk = r->options->batch_tokens ? r->options->batch_tokens / r->n_workers : DEFAULT_CHUNK_TOKENS;
    tkr_status status = check_choices(r->options, error);
    set_q4_layout(plan, r);
    if (status == TKR_OK) status = measure_weights(plan, r, error);
    if (status != TKR_OK) return status;
    plan->limit = r->options->max_memory ? r->options->max_memory : r->machine->memory / 4 * 3;
    for (;;) {
        plan_workspace(plan, r, chunk);
        choose_mode(plan, r);
        if (plan->weights_bytes + plan->workspace_bytes <= plan->limit) break;
        if (chunk <= LEAST_CHUNK_TOKENS || plan->chunk_tokens < plan->alone_tokens) return too_large(plan, r, error);
        chunk /= 2; /* a smaller budget costs speed, not correctness */
    }
    plan->batch_tokens = plan->chunk_tokens * r->n_workers;
    return TKR_OK;
}
