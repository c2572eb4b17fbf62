/* SPDX-License-Identifier: Apache-2.0 */
/* engine/device: where a model computes: on the CPU, or through the module libtkr-mlx.so on a GPU. Refuses to guess: a
 * device asked for by name is that one or an error. */
#ifndef TKR_ENGINE_DEVICE_H
#define TKR_ENGINE_DEVICE_H

#include "core/cpu.h"
#include "core/module.h"
#include "ops/mlx/module.h"
#include "tkr/embed.h"

#define TKR_MLX_FILE "libtkr-mlx.so"

typedef struct tkr_device {
    const tkr_ops *ops;
    tkr_backend *backend;
    tkr_module *module;        /* NULL on the CPU, as the next four are */
    const tkr_mlx_module *mlx; /* the module's table: a backend other than the CPU's */
    tkr_mlx_device about;
    bool gpu;        /* not MLX's CPU device */
    uint64_t memory; /* bytes that weights and batches may share: what the process or the device has */
    uint64_t limit;  /* bytes that the backend may hold */
    char id[96];     /* in fingerprints: "mlx-0.32.4/nvidia-h100-80gb"; "" on the CPU */
    char text[160];  /* to read: "cpu", "gpu:0 NVIDIA H100 80GB (MLX 0.32.4)" */
    char note[240];  /* what `auto` decided and why; "" where nothing was to decide */
} tkr_device;

/* All borrowed; kernels and pool for the life of the device. */
typedef struct tkr_device_request {
    const tkr_model_options *options;
    const tkr_machine *machine;
    const tkr_kernels *kernels;
    tkr_pool *pool;
} tkr_device_request;

/* Opens the device that options->device names: NULL or "auto", "cpu", "gpu", "gpu:N", or "mlx-cpu", MLX's CPU device,
 * for tests. Fills *device, zeroed by the caller; tkr_device_close afterwards, also after an error. */
tkr_status tkr_device_open(tkr_device *device, const tkr_device_request *request, tkr_error *error);
void tkr_device_close(tkr_device *device);

/* What the checks of a name need no hardware for. TKR_INVALID_ARGUMENT lists the names. */
typedef enum tkr_device_kind { TKR_DEVICE_AUTO, TKR_DEVICE_CPU, TKR_DEVICE_GPU, TKR_DEVICE_MLX_CPU } tkr_device_kind;
tkr_status tkr_device_parse(tkr_device_kind *kind, unsigned *index, const char *name, tkr_error *error);

/* One operation of a device against the CPU backend on built-in numbers. */
typedef struct tkr_device_check {
    const char *name;    /* "linear q4", "attention causal" */
    double error, bound; /* largest difference relative to the largest value; infinity when it could not run */
    const char *failure; /* why it could not run, or NULL */
} tkr_device_check;
/* Calls fn for each operation. */
tkr_status tkr_device_selftest(void (*fn)(void *user, const tkr_device_check *check), void *user,
                               const tkr_device *device, const tkr_kernels *kernels, tkr_error *error);

/* Operations per second of large matrix products in a number format through the device's own operations; 0 where that
 * can't be measured. */
double tkr_device_peak(const tkr_device *device, tkr_gemm_mode mode);

#endif
