/* SPDX-License-Identifier: Apache-2.0 */
/* A stand-in for libtkr-mlx.so: the CPU's operations behind the module's table. Words of the environment variable
 * TKR_FAKE_MLX, read at every call, make it old, broken, small or failing:
 *   abi=N  built=VERSION  gpus=N  memory=BYTES  nocreate  nopeak (no large matrices)  wrong (results)  fail=N (the N-th
 * read from the first on)  hang=SECONDS (before it is made) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cpu.h"
#include "core/fsops.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/mlx/module.h"

TKR_API tkr_mlx_module_fn tkr_mlx_entry;

typedef struct fake_backend {
    tkr_backend cpu; /* first: the operations see this one */
    tkr_kernels kernels;
    uint64_t limit;
} fake_backend;

/* What follows `word` in the environment; NULL where it isn't there. */
static const char *setting(const char *word) {
    const char *all = getenv("TKR_FAKE_MLX"), *at = all ? strstr(all, word) : NULL;
    return at ? at + strlen(word) : NULL;
}

static unsigned long long number(const char *word, unsigned long long fallback) {
    const char *text = setting(word);
    return text ? strtoull(text, NULL, 10) : fallback;
}

static const char *version(void) { return "0.32.4"; }
static size_t n_gpus(void) { return (size_t)number("gpus=", 1); }

static tkr_status device(tkr_mlx_device *out, bool gpu, unsigned index, tkr_error *error) {
    if (gpu && index >= n_gpus()) return TKR_FAIL(error, NOT_FOUND, "no such GPU");
    snprintf(out->name, sizeof out->name, gpu ? "Fake GPU (%u)" : "cpu", index);
    out->memory_bytes = number("memory=", 1ull << 34);
    return TKR_OK;
}

static void backend_free(tkr_backend **backend) {
    if (!backend || !*backend) return;
    fake_backend *fake = (fake_backend *)(void *)*backend;
    tkr_pool_free(&fake->cpu.pool);
    tkr_free(fake);
    *backend = NULL;
}

static tkr_status backend_create(tkr_backend **out, const tkr_mlx_options *options, tkr_error *error) {
    tkr_cpu_flags flags = 0;
    if (setting("nocreate")) return TKR_FAIL(error, NO_MEMORY, "the fake GPU gives nothing");
    tkr_sleep((double)number("hang=", 0));
    fake_backend *fake = tkr_calloc(1, sizeof *fake);
    if (!fake) return TKR_FAIL(error, NO_MEMORY, "no memory for the fake backend");
    tkr_backend *backend = &fake->cpu;
    tkr_status status = tkr_cpu_detect(&flags, NULL, error);
    if (status == TKR_OK) status = tkr_pool_create(&fake->cpu.pool, 1, error);
    if (status != TKR_OK) {
        backend_free(&backend);
        return status;
    }
    tkr_kernels_init(&fake->kernels, flags);
    fake->cpu.kernels = &fake->kernels;
    fake->limit = options->memory_limit;
    *out = backend;
    return TKR_OK;
}

static void memory(tkr_mlx_memory *out, const tkr_backend *backend) {
    const fake_backend *fake = (const fake_backend *)(const void *)backend;
    *out = (tkr_mlx_memory){.active = 1 << 20, .peak = 3 << 20, .cached = 2 << 20, .limit = fake->limit};
}

static tkr_status fake_read(tkr_run *run, float *out, const tkr_tensor *x) {
    static unsigned long long n_reads, counted_for;
    const unsigned long long at = number("fail=", 0);
    if (at != counted_for) n_reads = 0;
    counted_for = at;
    if (at > 0 && ++n_reads == at) tkr_ops_cpu.fail(run, TKR_NO_MEMORY, "the fake GPU is out of memory");
    const tkr_status status = tkr_ops_cpu.read(run, out, x);
    if (status == TKR_OK && setting("wrong")) out[0] += 1.0f;
    return status;
}

static tkr_status linear(tkr_weight **weight, tkr_backend *backend, const tkr_linear_spec *spec, tkr_error *error) {
    if (spec->shape.rows >= 256 && setting("nopeak")) return TKR_FAIL(error, NO_MEMORY, "a matrix too large");
    return tkr_ops_cpu.linear(weight, backend, spec, error);
}

static const void *no_packed(size_t *bytes, const tkr_weight *weight) {
    (void)weight;
    *bytes = 0;
    return NULL;
}

static const char *kernel_name(const tkr_backend *backend, tkr_gemm_mode mode, bool attention) {
    (void)backend;
    (void)mode;
    return attention ? "fake attention" : "fake matmul";
}

const tkr_mlx_module *tkr_mlx_entry(void) {
    static tkr_ops ops;
    static tkr_mlx_module module;
    static char built[32];
    ops = tkr_ops_cpu;
    ops.name = "mlx";
    ops.linear = linear;
    ops.linear_packed = no_packed;
    ops.read = fake_read;
    ops.kernel_name = kernel_name;
    const char *text = setting("built=");
    snprintf(built, sizeof built, "%.*s", text ? (int)strcspn(text, " ") : 6, text ? text : "0.32.4");
    module = (tkr_mlx_module){.abi = (uint32_t)number("abi=", TKR_MLX_ABI),
                              .built_against = built,
                              .version = version,
                              .ops = &ops,
                              .n_gpus = n_gpus,
                              .device = device,
                              .backend_create = backend_create,
                              .backend_free = backend_free,
                              .memory = memory};
    return &module;
}
