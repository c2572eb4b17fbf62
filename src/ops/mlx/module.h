/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ops/mlx/module: what libtkr-mlx.so, the only C++ of the project, shows to the library. The engine loads it on demand
 * (core/module.h) and finds everything through `tkr_mlx_entry`; nothing else refers to MLX.
 */
#ifndef TKR_OPS_MLX_MODULE_H
#define TKR_OPS_MLX_MODULE_H

#include "ops/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TKR_MLX_ABI 1                 /* grows with every change of this file or of ops.h */
#define TKR_MLX_ENTRY "tkr_mlx_entry" /* a tkr_mlx_module_fn, the one symbol that the module exports */

typedef struct tkr_mlx_device {
    char name[96];         /* "cpu", or what the driver calls the GPU */
    uint64_t memory_bytes; /* that weights and batches may share; 0: not known */
} tkr_mlx_device;

typedef struct tkr_mlx_options {
    bool gpu;              /* false: MLX's CPU device, for tests */
    unsigned index;        /* of the GPU */
    uint64_t memory_limit; /* bytes; 0: 75 % of the device's memory */
    uint64_t cache_limit;  /* bytes of freed buffers that MLX keeps; 0: 2 GiB or an eighth of the limit, the smaller */
} tkr_mlx_options;

typedef struct tkr_mlx_memory {
    uint64_t active, peak, cached, limit;
} tkr_mlx_memory;

typedef struct tkr_mlx_module {
    uint32_t abi;                 /* TKR_MLX_ABI */
    const char *built_against;    /* MLX's version at compile time, "0.32.4" */
    const char *(*version)(void); /* of the libmlx that is loaded */
    const tkr_ops *ops;
    size_t (*n_gpus)(void);
    /* Describes GPU `index`, or the CPU device. */
    tkr_status (*device)(tkr_mlx_device *device, bool gpu, unsigned index, tkr_error *error);
    /* Returns a backend. */
    tkr_status (*backend_create)(tkr_backend **backend, const tkr_mlx_options *options, tkr_error *error);
    void (*backend_free)(tkr_backend **backend); /* gives MLX's cache back as well */
    void (*memory)(tkr_mlx_memory *memory, const tkr_backend *backend);
} tkr_mlx_module;

typedef const tkr_mlx_module *tkr_mlx_module_fn(void);

#ifdef __cplusplus
}
#endif
#endif
