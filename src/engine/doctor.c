/* SPDX-License-Identifier: Apache-2.0 */
/* engine/doctor: checks the machine, each kernel, and a model's files, and says what to do about what it finds. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "engine/engine.h"
#include "engine/selftest.h"
#include "engine/tools.h"
#include "engine/weight_cache.h"

typedef struct doctor {
    void (*fn)(void *user, const tkr_finding *finding);
    void *user;
    const tkr_model_options *options;
} doctor;

static void say(const doctor *d, tkr_severity severity, const char *topic, const char *advice, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
static void say(const doctor *d, tkr_severity severity, const char *topic, const char *advice, const char *format,
                ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const tkr_finding finding = {severity, topic, text, advice};
    d->fn(d->user, &finding);
}

static void check_kernel(const doctor *d, const char *name, double error, double bound) {
    char topic[64];
    snprintf(topic, sizeof topic, "kernel %s", name);
    if (error <= bound)
        say(d, TKR_FINDING_OK, topic, NULL, "error %.1e against double precision (bound %.0e)", error, bound);
    else
        say(d, TKR_FINDING_PROBLEM, topic, "run with TKR_CPU=generic and report this line with the output of lscpu",
            "error %.1e is above its bound of %.0e", error, bound);
}

static void check_kernels(const doctor *d, const tkr_kernels *kernels) {
    static const double bounds[TKR_GEMM_MODES] = {1e-5, 1e-2, 2e-2, 2e-2},
                        attention_bounds[TKR_GEMM_MODES] = {1e-5, 1e-2, 1e-2, 1e-2};
    tkr_kernels_thread_enter(kernels);
    for (int mode = 0; mode < TKR_GEMM_MODES; mode++)
        check_kernel(d, kernels->gemm[mode]->name, tkr_selftest_gemm(kernels->gemm[mode]), bounds[mode]);
    for (int mode = 0; mode < TKR_GEMM_MODES; mode++) {
        char name[48];
        bool seen = false;
        for (int before = 0; before < mode; before++)
            seen = seen || kernels->attention[before] == kernels->attention[mode];
        snprintf(name, sizeof name, "attention %s", kernels->attention[mode]->name);
        if (!seen) check_kernel(d, name, tkr_selftest_attention(kernels->attention[mode]), attention_bounds[mode]);
    }
    check_kernel(d, "layer norm", tkr_selftest_layer_norm(kernels->layer_norm), 1e-5);
    tkr_kernels_thread_leave(kernels);
}

/* ---- the device beside the CPU ---- */

static void check_operation(void *user, const tkr_device_check *check) {
    char topic[64];
    snprintf(topic, sizeof topic, "device %s", check->name);
    if (check->error <= check->bound)
        say(user, TKR_FINDING_OK, topic, NULL, "differs from the CPU by %.1e (bound %.0e)", check->error, check->bound);
    else
        say(user, TKR_FINDING_PROBLEM, topic, "compute with --device cpu, and report this line",
            check->failure ? "fails: %.400s" : "differs from the CPU by more than its bound%s",
            check->failure ? check->failure : "");
}

/* The module against the CPU backend. Where `auto` takes the CPU, MLX's own CPU device stands in for the GPU: the
 * module and its MLX are tested all the same. */
static void check_device(const doctor *d, const tkr_kernels *kernels, const tkr_machine *machine) {
    tkr_device device = {0};
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_device_kind kind = TKR_DEVICE_CPU;
    unsigned index;
    tkr_model_options options = *d->options;
    const tkr_device_request request = {&options, machine, kernels, NULL};
    const char *advice = "docs/gpu.md says what a GPU needs; --device cpu computes without one";
    tkr_status status = tkr_device_parse(&kind, &index, options.device, &error);
    if (status == TKR_OK && kind == TKR_DEVICE_CPU) return;
    if (status == TKR_OK) status = tkr_device_open(&device, &request, &error);
    if (status == TKR_OK && !device.mlx) {
        say(d, TKR_FINDING_OK, "device", NULL, "%s", device.note);
        tkr_device_close(&device);
        options.device = "mlx-cpu";
        if (tkr_device_open(&device, &request, NULL) != TKR_OK) {
            tkr_device_close(&device);
            return;
        }
    }
    if (status == TKR_OK)
        say(d, TKR_FINDING_OK, "device", NULL, "%s, %.1f GiB, module %s", device.text,
            (double)device.memory / (1024.0 * 1024 * 1024), tkr_module_path(device.module));
    if (status == TKR_OK) status = tkr_device_selftest(check_operation, (void *)(uintptr_t)d, &device, kernels, &error);
    if (status != TKR_OK) say(d, TKR_FINDING_PROBLEM, "device", advice, "%s", error.message);
    tkr_device_close(&device);
}

static tkr_status check_machine(const doctor *d, tkr_error *error) {
    tkr_cpu_flags flags = 0;
    tkr_kernels kernels;
    tkr_machine m;
    char text[160];
    const char *cap = d->options->cpu ? d->options->cpu : tkr_env("TKR_CPU");
    tkr_status status = tkr_cpu_detect(&flags, cap, error);
    if (status != TKR_OK) return status;
    tkr_kernels_init(&kernels, flags);
    tkr_machine_read(&m);
    tkr_cpu_flags_text(text, sizeof text, flags);
    say(d, TKR_FINDING_OK, "cpu", NULL, "%s; uses: %s; kernels: %s", m.cpu_name,
        *text ? text : "nothing beyond the base instruction set", kernels.rung);
    if (cap && *cap)
        say(d, TKR_FINDING_NOTE, "cpu", "unset TKR_CPU (or --cpu) for full speed", "capped at \"%s\"", cap);
    say(d, TKR_FINDING_OK, "threads", NULL, "%u of %u processors%s", m.n_threads, m.n_online,
        m.cgroup_cpus > 0 ? " (limited by the cgroup's quota)" : "");
    double gib = 1024.0 * 1024 * 1024;
    say(d, TKR_FINDING_OK, "memory", NULL, "%.1f GiB may be used, %.1f available now, machine %.1f",
        (double)m.memory / gib, (double)m.memory_available / gib, (double)m.memory_total / gib);
    if (m.memory_available < m.memory / 10)
        say(d, TKR_FINDING_WARNING, "memory", "close other programs, or set --max-memory",
            "less than a tenth of the memory is free");
    check_kernels(d, &kernels);
    check_device(d, &kernels, &m);
    return TKR_OK;
}

/* A blob of the cache is named by its hash: 64 hex digits are the SHA-256 of what the link points to. */
static void check_hash(const doctor *d, const char *folder, const char *name) {
    char hex[65], *path = tkr_path_join(folder, name), *target = path ? tkr_path_link_target(path) : NULL;
    if (path && tkr_path_exists(path)) {
        const char *blob = target ? strrchr(target, '/') : NULL;
        blob = blob ? blob + 1 : "";
        if (tkr_hub_sha256(hex, path, NULL) != TKR_OK)
            say(d, TKR_FINDING_PROBLEM, name, "check the disk; pull the model again", "can't be read to its end");
        else if (strlen(blob) == 64 && strcmp(blob, hex) != 0)
            say(d, TKR_FINDING_PROBLEM, name, "remove the file and pull the model again",
                "its SHA-256 is %s, the cache says %s", hex, blob);
        else
            say(d, TKR_FINDING_OK, name, NULL, "SHA-256 %.16s...%s", hex,
                strlen(blob) == 64 ? " as the cache says" : "");
    }
    tkr_free(path);
    tkr_free(target);
}

static void check_cache(const doctor *d, const tkr_model *model) {
    tkr_error error = {TKR_OK, NULL, ""};
    const char *advice = "remove the file and check the disk: the next start packs the weights again";
    if (tkr_weight_cache_mapped_bytes(model->cache) > 0) {
        if (tkr_weight_cache_verify(model->cache, &error) == TKR_OK)
            say(d, TKR_FINDING_OK, "weight cache", NULL, "%s: every byte as it was written",
                tkr_weight_cache_path(model->cache));
        else
            say(d, TKR_FINDING_PROBLEM, "weight cache", advice, "%s", error.message);
    }
    if (model->tokenizer.tok_file && tkr_cache_file_verify(model->tokenizer.tok_file, &error) != TKR_OK)
        say(d, TKR_FINDING_PROBLEM, "tokenizer cache", advice, "%s", error.message);
}

static void check_settings(const doctor *d, const tkr_model *model) {
    const tkr_model_info *info = &model->info;
    size_t pieces = tkr_tok_vocab_size(model->tokenizer.tok);
    if (pieces > info->vocab_size)
        say(d, TKR_FINDING_WARNING, "tokenizer.json", "use the tokenizer that belongs to these weights",
            "has %zu ids, the embedding table %zu rows: texts that need the others fail", pieces, info->vocab_size);
    char *modules = tkr_path_join(info->path, "modules.json");
    if (modules && !model->checkpoint.gguf && !tkr_path_exists(modules))
        say(d, TKR_FINDING_NOTE, "modules.json", "check with the model's page that pooling and normalisation are right",
            "is missing: pooling %s, normalised", info->pooling);
    tkr_free(modules);
    say(d, TKR_FINDING_OK, "model", NULL, "%s, %zu dimensions, pooling %s, up to %zu tokens, %s%s%s",
        info->architecture, info->dimensions, info->pooling, info->max_tokens, info->precision,
        strcmp(info->quantization, "none") ? " + " : "", strcmp(info->quantization, "none") ? info->quantization : "");
}

/* Embeds three sentences and asks for what any embedding model must give: finite, and related closer than unrelated. */
static void check_sense(const doctor *d, tkr_model *model) {
    static const char *const texts[3] = {"A cat sleeps on the sofa.", "A kitten is napping on the couch.",
                                         "The central bank raised interest rates."};
    tkr_session *session = NULL;
    tkr_result *result = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_input inputs[3] = {{0}};
    for (size_t i = 0; i < 3; i++) inputs[i] = (tkr_input){.text = texts[i], .n_text = strlen(texts[i])};
    tkr_status status = tkr_session_create(&session, model, &error);
    if (status == TKR_OK) status = tkr_embed(&result, session, inputs, 3, NULL, &error);
    tkr_result_item items[3] = {{0}};
    for (size_t i = 0; status == TKR_OK && i < 3; i++) {
        items[i] = tkr_result_get(result, i);
        if (items[i].status != TKR_OK)
            status = tkr_error_set(&error, TKR_HERE, items[i].status, "%s", items[i].message);
    }
    if (status != TKR_OK) {
        say(d, TKR_FINDING_PROBLEM, "vectors", "pull the model again; if that doesn't help, report it", "%s",
            error.message);
    } else {
        size_t n = tkr_result_dimensions(result);
        double near = tkr_cosine(items[0].rows, items[1].rows, n), far = tkr_cosine(items[0].rows, items[2].rows, n);
        say(d, near > far ? TKR_FINDING_OK : TKR_FINDING_WARNING, "vectors",
            near > far
                ? NULL
                : "untrained or damaged weights give such vectors; check the model's page for the prompts it needs",
            "two sentences about a cat: %.3f, a cat and a bank: %.3f", near, far);
    }
    tkr_result_free(&result);
    tkr_session_free(&session);
}

static void check_accuracy(const doctor *d, const char *reference) {
    tkr_accuracy a;
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_tools_accuracy(&a, reference, d->options, &error) != TKR_OK) {
        say(d, TKR_FINDING_PROBLEM, "accuracy", "an unquantised model must fit into memory to be compared with", "%s",
            error.message);
        return;
    }
    const bool low = a.mean < 0.97 || a.top10 < 0.9;
    say(d, low ? TKR_FINDING_WARNING : TKR_FINDING_OK, "accuracy",
        low ? "use a format with more bits: --quantization q8 or none" : NULL,
        "%s (%.2f bits a weight) against %s on %zu texts: cosine min %.5f, 1st percentile %.5f, mean %.5f; top-10 "
        "agreement %.3f",
        a.format, a.bits_per_weight, a.reference_format, a.n_texts, a.min, a.first_percentile, a.mean, a.top10);
}

static void check_model(const doctor *d, const char *reference) {
    tkr_model *model = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_model_load(&model, reference, d->options, &error) != TKR_OK) {
        say(d, TKR_FINDING_PROBLEM, "model", "fix what the message names; tkr-embed pull fetches a model anew", "%s",
            error.message);
        return;
    }
    static const char *const files[] = {"model.safetensors", "tokenizer.json"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) check_hash(d, model->info.path, files[i]);
    check_cache(d, model);
    check_settings(d, model);
    check_sense(d, model);
    tkr_model_free(&model);
}

tkr_status tkr_tools_doctor(void (*fn)(void *user, const tkr_finding *finding), void *user, const char *reference,
                            bool accuracy, const tkr_model_options *options, tkr_error *error) {
    const doctor d = {fn, user, options};
    tkr_status status = check_machine(&d, error);
    if (status == TKR_OK && reference) check_model(&d, reference);
    if (status == TKR_OK && reference && accuracy) check_accuracy(&d, reference);
    return status;
}
