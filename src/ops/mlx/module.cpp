/* SPDX-License-Identifier: Apache-2.0 */
/* ops/mlx/module: the one symbol that libtkr-mlx.so shows; devices, backends and MLX's memory. Refuses devices that are
 * not there. */
#include <algorithm>
#include <array>
#include <memory>
#include <new>

#include "ops/mlx/mlx_ops.hpp"

extern "C" {
#include "core/cpu.h"
}

namespace tkr {
namespace {

constexpr uint64_t most_cache = UINT64_C(2) << 30;

mx::Device device_of(bool gpu, unsigned index) {
    return gpu ? mx::Device(mx::Device::gpu, static_cast<int>(index)) : mx::Device(mx::Device::cpu);
}

const char *version() { return mx::version(); }

size_t n_gpus() {
    try {
        const int n = mx::device_count(mx::Device::gpu);
        return n > 0 ? static_cast<size_t>(n) : 0;
    } catch (...) {
        return 0; /* a driver that doesn't answer: no GPU to use */
    }
}

tkr_status no_such_device(unsigned index, tkr_error *error) {
    const size_t n = n_gpus();
    if (n == 0)
        return TKR_FAIL(
            error, NOT_FOUND,
            "MLX %s finds no GPU here; it needs Apple silicon, or an NVIDIA GPU with a CUDA build of MLX and "
            "a driver as new as that",
            mx::version());
    return TKR_FAIL(error, NOT_FOUND, "there is no GPU %u: MLX finds %zu, counted from 0", index, n);
}

/* Bytes that weights and batches may share. */
uint64_t memory_of(const mx::Device &device) {
    if (device == mx::Device::cpu) {
        tkr_machine machine;
        tkr_machine_read(&machine);
        return machine.memory;
    }
    const auto &info = mx::device_info(device);
    /* Apple's GPUs share the machine's memory, and say how much of it they can work with. */
    for (const char *key : {"max_recommended_working_set_size", "total_memory", "memory_size"}) {
        const auto entry = info.find(key);
        if (entry == info.end()) continue;
        if (const size_t *bytes = std::get_if<size_t>(&entry->second); bytes && *bytes > 0) return *bytes;
    }
    return 0;
}

tkr_status device(tkr_mlx_device *out, bool gpu, unsigned index, tkr_error *error) noexcept {
    if (gpu && index >= n_gpus()) return no_such_device(index, error);
    try {
        const mx::Device which = device_of(gpu, index);
        std::string name = "cpu";
        if (gpu) {
            const auto &info = mx::device_info(which);
            const auto entry = info.find("device_name");
            const std::string *text = entry == info.end() ? nullptr : std::get_if<std::string>(&entry->second);
            name = text ? *text : "gpu";
        }
        *out = {};
        name.copy(out->name, sizeof out->name - 1);
        out->memory_bytes = memory_of(which);
        return TKR_OK;
    } catch (...) {
        return describe_exception(error, "asking MLX about its device");
    }
}

/* One for each device, for the life of the process: MLX keeps a stream, and on the CPU its thread, to the end anyway.
 */
mx::Stream stream_of(const mx::Device &which) {
    static std::mutex mutex;
    static std::vector<mx::Stream> streams;
    const std::lock_guard<std::mutex> lock(mutex);
    for (const mx::Stream &stream : streams)
        if (stream.device == which) return stream;
    streams.push_back(mx::new_thread_unsafe_stream(which));
    return streams.back();
}

tkr_status backend_create(tkr_backend **out, const tkr_mlx_options *options, tkr_error *error) noexcept {
    if (options->gpu && options->index >= n_gpus()) return no_such_device(options->index, error);
    try {
        const mx::Device which = device_of(options->gpu, options->index);
        uint64_t limit = options->memory_limit;
        if (limit == 0) limit = memory_of(which) / 4 * 3;
        if (limit == 0) limit = mx::get_memory_limit();
        const uint64_t cache = options->cache_limit ? options->cache_limit : std::min(most_cache, limit / 8);
        auto backend = std::make_unique<tkr_backend>(stream_of(which), options->gpu, limit);
        /* On the CPU compiling means to run a compiler on files with predictable names. */
        if (options->gpu)
            mx::enable_compile();
        else
            mx::disable_compile();
        /* MLX has one of each for all its devices: the backend that was opened last decides. */
        mx::set_memory_limit(limit);
        mx::set_cache_limit(cache);
        mx::reset_peak_memory();
        *out = backend.release();
        return TKR_OK;
    } catch (...) {
        return describe_exception(error, "starting MLX");
    }
}

void backend_free(tkr_backend **backend) noexcept {
    if (!backend || !*backend) return;
    try {
        mx::synchronize((*backend)->stream);
        mx::clear_cache();
    } catch (...) { /* a device that failed holds nothing that could be given back */
    }
    delete *backend;
    *backend = nullptr;
}

void memory(tkr_mlx_memory *out, const tkr_backend *backend) noexcept {
    try {
        *out = {mx::get_active_memory(), mx::get_peak_memory(), mx::get_cache_memory(), backend->limit};
    } catch (...) {
        *out = {0, 0, 0, backend->limit};
    }
}

const tkr_mlx_module the_module = {
    .abi = TKR_MLX_ABI,
    .built_against =
        TKR_STRINGIFY(MLX_VERSION_MAJOR) "." TKR_STRINGIFY(MLX_VERSION_MINOR) "." TKR_STRINGIFY(MLX_VERSION_PATCH),
    .version = version,
    .ops = &ops_mlx,
    .n_gpus = n_gpus,
    .device = device,
    .backend_create = backend_create,
    .backend_free = backend_free,
    .memory = memory,
};

} // namespace
} // namespace tkr

extern "C" {
TKR_API tkr_mlx_module_fn tkr_mlx_entry;

const tkr_mlx_module *tkr_mlx_entry(void) { return &tkr::the_module; }
}
