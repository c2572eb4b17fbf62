/* SPDX-License-Identifier: Apache-2.0 */
/* cli/cmd_info: what a model is and how this machine would run it. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "core/json.h"
#include "core/term.h"

enum { NAME_COLUMNS = 16, PIPE_COLUMNS = 100 };

static void row(tkr_buf *out, const char *name, const char *value) {
    tkr_buf_printf(out, "%-*s", NAME_COLUMNS, name);
    size_t columns = tkr_term_columns(TKR_STREAM_OUT);
    tkr_cli_wrap(out, value != NULL ? value : "none", NAME_COLUMNS, columns < 60 ? PIPE_COLUMNS : columns);
}

static void size_row(tkr_buf *out, const char *name, uint64_t bytes) {
    char text[32];
    tkr_cli_bytes(text, bytes, true);
    row(out, name, text);
}

static void number_row(tkr_buf *out, const char *name, uint64_t value) {
    char text[32];
    tkr_cli_number(text, value);
    row(out, name, text);
}

static void pair_rows(tkr_buf *out, const char *title, const tkr_pair *pairs, size_t n, bool quoted) {
    if (n > 0) {
        tkr_buf_printf(out, "\n%s\n", title);
    }
    for (size_t i = 0; i < n; i++) {
        tkr_buf line = {0};
        tkr_buf_printf(&line, "  %s", pairs[i].name);
        for (size_t used = line.size; used + 2 < NAME_COLUMNS; used++) {
            tkr_buf_putc(&line, ' ');
        }
        tkr_buf_append(&line, "  ", 2);
        tkr_buf_append(out, line.data, line.failed ? 0 : line.size);
        size_t indent = line.size, columns = tkr_term_columns(TKR_STREAM_OUT);
        line.size = 0;
        if (quoted) {
            tkr_json_write_string(&line, pairs[i].value, strlen(pairs[i].value)); /* shows the blank at its end */
        } else {
            tkr_buf_printf(&line, "%s", pairs[i].value);
        }
        out->failed = out->failed || line.failed;
        tkr_cli_wrap(out, line.failed ? "" : line.data, indent, columns < 60 ? PIPE_COLUMNS : columns);
        tkr_buf_free(&line);
    }
}

static bool on_gpu(const tkr_device_memory *memory) { return memory->limit > 0; }

static void print_text(tkr_buf *out, const tkr_model_info *info, const tkr_device_memory *memory) {
    char shape[160], parameters[32], active[32], peak[32], cached[32];
    tkr_cli_number(parameters, info->n_parameters);
    snprintf(shape, sizeof shape, "%zu layers, hidden %zu, %zu heads, intermediate %zu, vocabulary %zu", info->n_layers,
             info->hidden_size, info->n_heads, info->intermediate_size, info->vocab_size);
    row(out, "Model", info->reference);
    row(out, "Folder", info->path);
    row(out, "Architecture", info->architecture);
    row(out, "Shape", shape);
    row(out, "Parameters", parameters);
    row(out, "Pooling", info->pooling);
    number_row(out, "Dimensions", info->dimensions);
    row(out, "Reads", info->modalities);
    if (info->max_images > 0) {
        if (info->max_images == SIZE_MAX) {
            snprintf(shape, sizeof shape, "as many of an input as fit its tokens, and %zu patches together",
                     info->max_image_patches);
        } else {
            snprintf(shape, sizeof shape, "%zu of an input, at most %zu patches", info->max_images,
                     info->max_image_patches);
        }
        row(out, "Pictures", shape);
        row(out, "Processor", info->processor);
    }
    row(out, "Vectors", info->multi_vector ? "one a token; compared by MaxSim" : "one an input");
    row(out, "Normalized", info->normalizes ? "yes: vectors have length 1" : "no");
    number_row(out, "Max tokens", info->max_tokens);
    if (info->default_prompt != NULL) {
        row(out, "Default prompt", info->default_prompt);
    }
    tkr_buf_putc(out, '\n');
    row(out, "Device", info->device);
    row(out, "Precision", info->precision);
    row(out, "Quantization", info->quantization);
    snprintf(shape, sizeof shape, "%.2f", info->bits_per_weight);
    row(out, "Bits a weight", shape);
    number_row(out, "Threads", info->threads);
    number_row(out, "Batch tokens", info->batch_tokens);
    size_row(out, "Weights", info->weights_bytes);
    size_row(out, "Mapped file", info->mapped_bytes);
    size_row(out, "Workspace", info->workspace_bytes);
    size_row(out, "Memory limit", info->memory_limit);
    if (on_gpu(memory)) {
        size_row(out, "Device memory", memory->total);
        tkr_cli_bytes(active, memory->active, true);
        tkr_cli_bytes(peak, memory->peak, true);
        tkr_cli_bytes(cached, memory->cached, true);
        snprintf(shape, sizeof shape, "%s, %s at most since the start, %s cached", active, peak, cached);
        row(out, "In use", shape);
    }
    row(out, "Fingerprint", info->fingerprint);
    pair_rows(out, "Prompts", info->prompts, info->n_prompts, true);
    pair_rows(out, "Kernels", info->kernels, info->n_kernels, false);
    pair_rows(out, "Why", info->notes, info->n_notes, false);
}

static void json_pairs(tkr_buf *out, const char *name, const tkr_pair *pairs, size_t n) {
    tkr_cli_json_key(out, name);
    tkr_buf_putc(out, '[');
    for (size_t i = 0; i < n; i++) {
        tkr_buf_append(out, ", {", 3);
        if (i == 0) {
            out->size -= out->failed ? 0 : 3;
            tkr_buf_putc(out, '{');
        }
        tkr_cli_json_text(out, "name", pairs[i].name);
        tkr_cli_json_text(out, "value", pairs[i].value);
        tkr_buf_putc(out, '}');
    }
    tkr_buf_putc(out, ']');
}

static void print_json(tkr_buf *out, const tkr_model_info *info, const tkr_device_memory *memory) {
    tkr_buf_putc(out, '{');
    tkr_cli_json_text(out, "reference", info->reference);
    tkr_cli_json_text(out, "path", info->path);
    tkr_cli_json_text(out, "architecture", info->architecture);
    tkr_cli_json_text(out, "pooling", info->pooling);
    tkr_cli_json_text(out, "precision", info->precision);
    tkr_cli_json_text(out, "quantization", info->quantization);
    tkr_cli_json_text(out, "fingerprint", info->fingerprint);
    tkr_cli_json_text(out, "device", info->device);
    tkr_cli_json_text(out, "default_prompt", info->default_prompt);
    tkr_cli_json_count(out, "dimensions", info->dimensions);
    tkr_cli_json_count(out, "max_tokens", info->max_tokens);
    tkr_cli_json_count(out, "vocab_size", info->vocab_size);
    tkr_cli_json_count(out, "hidden_size", info->hidden_size);
    tkr_cli_json_count(out, "n_layers", info->n_layers);
    tkr_cli_json_count(out, "n_heads", info->n_heads);
    tkr_cli_json_count(out, "intermediate_size", info->intermediate_size);
    tkr_cli_json_count(out, "n_parameters", info->n_parameters);
    tkr_cli_json_number(out, "bits_per_weight", info->bits_per_weight);
    tkr_cli_json_count(out, "weights_bytes", info->weights_bytes);
    tkr_cli_json_count(out, "mapped_bytes", info->mapped_bytes);
    tkr_cli_json_count(out, "workspace_bytes", info->workspace_bytes);
    tkr_cli_json_count(out, "memory_limit", info->memory_limit);
    if (on_gpu(memory)) {
        tkr_cli_json_count(out, "device_memory_bytes", memory->total);
        tkr_cli_json_count(out, "device_active_bytes", memory->active);
        tkr_cli_json_count(out, "device_peak_bytes", memory->peak);
        tkr_cli_json_count(out, "device_cached_bytes", memory->cached);
    }
    tkr_cli_json_count(out, "threads", info->threads);
    tkr_cli_json_count(out, "batch_tokens", info->batch_tokens);
    tkr_cli_json_text(out, "modalities", info->modalities);
    tkr_cli_json_number(out, "max_images", info->max_images == SIZE_MAX ? HUGE_VAL : (double)info->max_images);
    tkr_cli_json_count(out, "max_image_patches", info->max_image_patches);
    tkr_cli_json_text(out, "processor", info->processor);
    tkr_cli_json_bool(out, "multi_vector", info->multi_vector != 0);
    tkr_cli_json_bool(out, "normalizes", info->normalizes != 0);
    json_pairs(out, "prompts", info->prompts, info->n_prompts);
    json_pairs(out, "kernels", info->kernels, info->n_kernels);
    json_pairs(out, "notes", info->notes, info->n_notes);
    tkr_buf_append(out, "}\n", 2);
}

int tkr_cmd_info(const tkr_cli_args *args) {
    tkr_model_options options;
    tkr_model *model = NULL;
    tkr_error error = {0};
    tkr_buf out = {0};
    const char *reference = tkr_cli_model(args, true);
    if (reference == NULL) {
        return TKR_EXIT_USAGE;
    }
    tkr_cli_model_options(&options, args);
    if (tkr_model_load(&model, reference, &options, &error) != TKR_OK) {
        return tkr_cli_report(&error);
    }
    tkr_device_memory memory;
    tkr_model_get_device_memory(&memory, model);
    (tkr_cli_on(args, TKR_OPT_JSON) ? print_json : print_text)(&out, tkr_model_get_info(model), &memory);
    int code = tkr_cli_print(&out);
    tkr_model_free(&model);
    return code;
}
