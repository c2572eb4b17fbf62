/* SPDX-License-Identifier: Apache-2.0 */
/* engine/device: the names of devices, the module's checks (ABI, MLX's version, the GPU), and what `auto` takes. */
#include "engine/device.h"

#include <stdio.h>
#include <string.h>

#include "core/file.h"

#define MODULE_VARIABLE "TKR_MLX_MODULE"
#define HOW_TO_GET "scripts/deps --mlx and cmake -DTKR_MLX=ON make it, " MODULE_VARIABLE " may name it (docs/gpu.md)"

/* ---- names ---- */

static bool parse_index(unsigned *index, const char *text) {
    unsigned value = 0, digits = 0;
    for (; *text >= '0' && *text <= '9' && digits < 4; text++, digits++) value = value * 10 + (unsigned)(*text - '0');
    *index = value;
    return digits > 0 && *text == '\0';
}

tkr_status tkr_device_parse(tkr_device_kind *kind, unsigned *index, const char *name, tkr_error *error) {
    static const struct {
        const char *name;
        tkr_device_kind kind;
    } names[] = {
        {"auto", TKR_DEVICE_AUTO}, {"cpu", TKR_DEVICE_CPU}, {"gpu", TKR_DEVICE_GPU}, {"mlx-cpu", TKR_DEVICE_MLX_CPU}};
    *index = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!name || strcmp(name, names[i].name) == 0) {
            *kind = names[i].kind;
            return TKR_OK;
        }
    *kind = TKR_DEVICE_GPU;
    if (strncmp(name, "gpu:", 4) == 0 && parse_index(index, name + 4)) return TKR_OK;
    return TKR_FAIL(error, INVALID_ARGUMENT, "device \"%.40s\" is unknown; known: auto, cpu, gpu, gpu:N", name);
}

/* ---- the module ---- */

static tkr_status check_version(const tkr_mlx_module *mlx, const char *path, tkr_error *error) {
    if (mlx->abi != TKR_MLX_ABI)
        return TKR_FAIL(error, UNSUPPORTED,
                        "%s: has version %u of the module interface, this program needs %u; build both from one source",
                        path, (unsigned)mlx->abi, (unsigned)TKR_MLX_ABI);
    const char *loaded = mlx->version();
    if (strcmp(mlx->built_against, loaded) != 0)
        return TKR_FAIL(
            error, UNSUPPORTED,
            "%s: was built against MLX %.40s, but MLX %.40s is what was loaded; install that version, or build "
            "the module anew",
            path, mlx->built_against, loaded);
    return TKR_OK;
}

static tkr_status load_module(tkr_device *device, tkr_error *error) {
    char *path = NULL;
    tkr_module_fn *entry = NULL;
    tkr_status status = tkr_module_find(&path, TKR_MLX_FILE, MODULE_VARIABLE, error);
    if (status == TKR_OK) status = tkr_module_open(&device->module, path, error);
    if (status == TKR_OK) status = tkr_module_symbol(&entry, device->module, TKR_MLX_ENTRY, error);
    if (status == TKR_OK) {
        device->mlx = ((tkr_mlx_module_fn *)entry)();
        status = check_version(device->mlx, path, error);
    }
    tkr_free(path);
    return status;
}

/* ---- the GPU ---- */

/* "gpu:0 (NVIDIA A10), gpu:1 (NVIDIA A10)" */
static void list_gpus(char *out, size_t size, const tkr_mlx_module *mlx, size_t n) {
    size_t at = 0;
    for (size_t i = 0; i < n && at < size; i++) {
        tkr_mlx_device about = {0};
        const bool named = mlx->device(&about, true, (unsigned)i, NULL) == TKR_OK;
        const int more = snprintf(out + at, size - at, "%sgpu:%zu (%s)", i ? ", " : "", i, named ? about.name : "?");
        at += more > 0 ? (size_t)more : 0;
    }
}

static tkr_status check_gpu(const tkr_device *device, unsigned index, tkr_error *error) {
    const tkr_mlx_module *mlx = device->mlx;
    const size_t n = mlx->n_gpus();
    char list[240] = "";
    if (n == 0)
        return TKR_FAIL(
            error, NOT_FOUND,
            "MLX %s finds no GPU that it can use: no hardware, no driver, one that is too old, or an MLX that "
            "was built without GPUs; --device cpu computes without one",
            mlx->version());
    if (index < n) return TKR_OK;
    list_gpus(list, sizeof list, mlx, n);
    return TKR_FAIL(error, INVALID_ARGUMENT, "device gpu:%u; this machine has %s", index, list);
}

/* Lower-case letters and digits, runs of others as one '-'. */
static void slug(char *out, size_t size, const char *text) {
    size_t n = 0;
    for (; *text && n + 1 < size; text++) {
        const char c = *text >= 'A' && *text <= 'Z' ? (char)(*text - 'A' + 'a') : *text;
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            out[n++] = c;
        else if (n > 0 && out[n - 1] != '-')
            out[n++] = '-';
    }
    while (n > 0 && out[n - 1] == '-') n--;
    out[n] = '\0';
}

static void describe(tkr_device *device, bool gpu, unsigned index) {
    char name[64];
    const char *version = device->mlx->version();
    device->gpu = gpu;
    slug(name, sizeof name, device->about.name);
    snprintf(device->id, sizeof device->id, "mlx-%.24s/%s", version, gpu ? name : "cpu");
    if (gpu)
        snprintf(device->text, sizeof device->text, "gpu:%u %s (MLX %.24s)", index, device->about.name, version);
    else
        snprintf(device->text, sizeof device->text, "MLX's CPU device, for tests (MLX %.24s)", version);
}

static tkr_status open_mlx(tkr_device *device, const tkr_device_request *request, bool gpu, unsigned index,
                           tkr_error *error) {
    tkr_status status = load_module(device, error);
    if (status == TKR_OK && gpu) status = check_gpu(device, index, error);
    if (status == TKR_OK) status = device->mlx->device(&device->about, gpu, index, error);
    if (status != TKR_OK) return status;
    device->memory = device->about.memory_bytes ? device->about.memory_bytes : request->machine->memory;
    device->limit = request->options->max_memory ? request->options->max_memory : device->memory / 4 * 3;
    const tkr_mlx_options options = {
        .gpu = gpu, .index = index, .memory_limit = device->limit, .cache_limit = request->options->device_cache};
    status = device->mlx->backend_create(&device->backend, &options, error);
    if (status != TKR_OK) return status;
    device->ops = device->mlx->ops;
    describe(device, gpu, index);
    return TKR_OK;
}

static tkr_status open_cpu(tkr_device *device, const tkr_device_request *request, tkr_error *error) {
    device->ops = &tkr_ops_cpu;
    device->memory = request->machine->memory;
    device->limit = request->options->max_memory ? request->options->max_memory : device->memory / 4 * 3;
    snprintf(device->text, sizeof device->text, "cpu");
    return tkr_backend_cpu_create(&device->backend, request->kernels, request->pool, error);
}

tkr_status tkr_device_open(tkr_device *device, const tkr_device_request *request, tkr_error *error) {
    tkr_device_kind kind;
    unsigned index;
    tkr_status status = tkr_device_parse(&kind, &index, request->options->device, error);
    if (status != TKR_OK) return status;
    if (kind == TKR_DEVICE_CPU) return open_cpu(device, request, error);
    tkr_error reason = {TKR_OK, NULL, ""};
    status = open_mlx(device, request, kind != TKR_DEVICE_MLX_CPU, index, &reason);
    if (status != TKR_OK && (kind != TKR_DEVICE_AUTO || status == TKR_NO_MEMORY)) {
        if (status == TKR_NOT_FOUND && !device->module)
            return TKR_FAIL(error, NOT_FOUND, "a GPU needs MLX and its module: %s; %s", reason.message, HOW_TO_GET);
        if (error) *error = reason;
        return status;
    }
    if (status == TKR_OK) {
        if (kind == TKR_DEVICE_AUTO) snprintf(device->note, sizeof device->note, "a GPU is there and its module works");
        return TKR_OK;
    }
    tkr_device_close(device);
    snprintf(device->note, sizeof device->note, "cpu: %s", reason.message);
    return open_cpu(device, request, error);
}

void tkr_device_close(tkr_device *device) {
    if (device->mlx && device->backend) device->mlx->backend_free(&device->backend);
    tkr_backend_cpu_free(&device->backend); /* the CPU's; else it is NULL by now */
    tkr_module_close(&device->module);
    memset(device, 0, sizeof *device);
}
