/* SPDX-License-Identifier: Apache-2.0 */
/* engine/plan: chooses number formats and proves that weights and workspace fit before anything large is allocated. */
#include <stdio.h>

#include "engine/engine.h"

#define GIB ((uint64_t)1 << 30)
#define DEFAULT_CHUNK_TOKENS 256
#define LEAST_CHUNK_TOKENS 64

static void note(tkr_plan *plan, tkr_arena *arena, const char *name, const char *value) {
    char *copy = value ? tkr_arena_strndup(arena, value, __builtin_strlen(value)) : NULL;
    if (copy && plan->n_notes < sizeof plan->notes / sizeof *plan->notes)
        plan->notes[plan->n_notes++] = (tkr_pair){name, copy};
}

static double mib(uint64_t bytes) { return (double)bytes / (1 << 20); }

/* The rule of docs/numerics.md: small models stay as they are; else by the memory this process may use. */
static bool auto_q8(tkr_plan *plan, const tkr_plan_request *r, uint64_t workspace) {
    uint64_t memory = r->machine->memory, stored = r->checkpoint_bytes;
    char text[256];
    if (stored <= memory / 16) {
        snprintf(text, sizeof text, "none: the checkpoint's %.0f MiB are at most 1/16 of %.0f MiB of memory",
                 mib(stored), mib(memory));
        note(plan, r->arena, "quantization", text);
        return false;
    }
    bool q8 = memory <= 32 * GIB;
    if (!q8 && stored + workspace > memory / 2) q8 = true;
    snprintf(text, sizeof text, "%s: checkpoint %.0f MiB, workspace %.0f MiB, memory %.0f MiB%s", q8 ? "q8" : "none",
             mib(stored), mib(workspace), mib(memory),
             memory <= 16 * GIB && r->n_parameters >= 1000000000u ? " (q4 would be chosen; this build has q8)" : "");
    note(plan, r->arena, "quantization", text);
    return q8;
}

static size_t workspace_for(const tkr_plan_request *r, size_t tokens) {
    const tkr_arch_config *c = &r->checkpoint->config;
    size_t widest = c->intermediate_size > c->hidden_size ? c->intermediate_size : c->hidden_size;
    size_t longest = r->checkpoint->max_tokens;
    size_t activations =
        tokens * r->checkpoint->arch->live_columns(c) * sizeof(float) + TKR_POOL_MODES * 4 * tokens * sizeof(float);
    return activations + r->ops->scratch_bytes(r->backend, tokens, longest, widest, c->head_dim) + (1u << 20);
}

static tkr_status choose_mode(tkr_plan *plan, const tkr_plan_request *r, tkr_error *error) {
    const tkr_model_options *o = r->options;
    if (o->precision < TKR_PRECISION_AUTO || o->precision > TKR_PRECISION_BF16)
        return TKR_FAIL(error, INVALID_ARGUMENT, "precision %d is unknown; known: auto, f32, bf16", (int)o->precision);
    if (o->quantization < TKR_QUANTIZATION_AUTO || o->quantization > TKR_QUANTIZATION_Q8)
        return TKR_FAIL(error, INVALID_ARGUMENT, "quantization %d is unknown; known: auto, none, q8",
                        (int)o->quantization);
    bool q8 = o->quantization == TKR_QUANTIZATION_Q8;
    if (o->quantization == TKR_QUANTIZATION_AUTO) q8 = auto_q8(plan, r, (uint64_t)plan->workspace_bytes);
    bool bf16 = o->precision == TKR_PRECISION_BF16 || (o->precision == TKR_PRECISION_AUTO && r->kernels->bf16_is_fast);
    if (!q8 && o->precision == TKR_PRECISION_AUTO)
        note(plan, r->arena, "precision",
             bf16 ? "bf16: this CPU multiplies it faster than f32" : "f32: this CPU has no faster bf16 multiplication");
    plan->mode = q8 ? TKR_GEMM_Q8 : bf16 ? TKR_GEMM_BF16 : TKR_GEMM_F32;
    plan->precision = bf16 && !q8 ? "bf16" : "f32";
    plan->quantization = q8 ? "q8" : "none";
    return TKR_OK;
}

tkr_status tkr_plan_make(tkr_plan *plan, const tkr_plan_request *r, tkr_error *error) {
    size_t chunk = r->options->batch_tokens ? r->options->batch_tokens / r->n_workers : DEFAULT_CHUNK_TOKENS;
    size_t longest = r->checkpoint->max_tokens;
    plan->limit = r->options->max_memory ? r->options->max_memory : r->machine->memory / 4 * 3;
    for (;;) {
        plan->chunk_tokens = chunk < LEAST_CHUNK_TOKENS ? LEAST_CHUNK_TOKENS : chunk;
        size_t tokens = plan->chunk_tokens > longest ? plan->chunk_tokens : longest;
        plan->workspace_per_worker = workspace_for(r, tokens);
        plan->workspace_bytes = (uint64_t)plan->workspace_per_worker * r->n_workers;
        plan->n_notes = 0;
        tkr_status status = choose_mode(plan, r, error);
        if (status != TKR_OK) return status;
        plan->weights_bytes = r->checkpoint->arch->weight_bytes(&r->checkpoint->config, r->ops, r->backend, plan->mode);
        if (plan->weights_bytes + plan->workspace_bytes <= plan->limit) break;
        if (chunk > longest && chunk > LEAST_CHUNK_TOKENS) { /* a smaller budget costs speed, not correctness */
            chunk /= 2;
            continue;
        }
        return TKR_FAIL(error, LIMIT,
                        "the model needs %.0f MiB (weights %.0f, workspace %.0f for %u threads of up to %zu tokens), "
                        "the limit is %.0f MiB; "
                        "raise --max-memory, or lower --max-tokens or --threads%s",
                        mib(plan->weights_bytes + plan->workspace_bytes) + 1, mib(plan->weights_bytes),
                        mib(plan->workspace_bytes), r->n_workers, longest, mib(plan->limit),
                        plan->mode == TKR_GEMM_Q8 ? "" : ", or use --quantization q8");
    }
    plan->batch_tokens = plan->chunk_tokens * r->n_workers;
    return TKR_OK;
}
