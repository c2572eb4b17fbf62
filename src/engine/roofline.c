/* SPDX-License-Identifier: Apache-2.0 */
/* engine/roofline: what this machine gives at most, measured now: multiply-accumulates by number format, memory reads.
 */
#include "engine/roofline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cpu.h"
#include "engine/tools.h"

#define PEAK_ROUNDS 9
#define PEAK_SECONDS 0.004
#define STREAM_BYTES ((size_t)256 << 20)
#define STREAM_ROUNDS 5

typedef struct peak_job {
    tkr_peak_fn *fn;
    size_t iterations;
    double operations[64];
} peak_job;

static void peak_worker(void *arg, unsigned worker, unsigned n_workers) {
    (void)n_workers;
    peak_job *job = arg;
    double done = job->fn(job->iterations);
    if (worker < 64) job->operations[worker] = done;
}

/* Operations per second of all workers; the best of a few short windows, since anything else only slows it down. */
double tkr_measure_peak(tkr_peak_fn *fn, tkr_pool *pool) {
    peak_job job = {.fn = fn, .iterations = 1000};
    if (!fn) return 0;
    double seconds = 0, best = 0;
    while (seconds < PEAK_SECONDS && job.iterations < ((size_t)1 << 32)) {
        double start = tkr_now();
        fn(job.iterations);
        seconds = tkr_now() - start;
        if (seconds < PEAK_SECONDS) job.iterations *= seconds * 4 < PEAK_SECONDS ? 4 : 2;
    }
    unsigned n = tkr_pool_size(pool);
    for (int round = 0; round < PEAK_ROUNDS; round++) {
        double start = tkr_now(), total = 0;
        if (tkr_pool_run(pool, peak_worker, &job) != TKR_OK) return 0;
        double elapsed = tkr_now() - start;
        for (unsigned i = 0; i < n && i < 64; i++) total += job.operations[i];
        if (n > 64) total *= (double)n / 64;
        best = total / elapsed > best ? total / elapsed : best;
    }
    return best;
}

typedef struct stream_job {
    const uint64_t *data;
    size_t n_words;
    uint64_t sums[64];
} stream_job;

static void stream_worker(void *arg, unsigned worker, unsigned n_workers) {
    stream_job *job = arg;
    size_t begin = job->n_words / n_workers * worker, end = job->n_words / n_workers * (worker + 1);
    uint64_t a = 0, b = 0, c = 0, d = 0;
    for (size_t i = begin; i + 4 <= end; i += 4) {
        a += job->data[i];
        b += job->data[i + 1];
        c += job->data[i + 2];
        d += job->data[i + 3];
    }
    job->sums[worker % 64] = a + b + c + d; /* kept, so that the reads are not optimised away */
}

static double measure_bandwidth(tkr_pool *pool) {
    stream_job job = {.n_words = STREAM_BYTES / sizeof(uint64_t)};
    void *block = tkr_aligned_alloc(STREAM_BYTES);
    double best = 0;
    if (!block) return 0;
    memset(block, 1, STREAM_BYTES);
    job.data = block;
    for (int round = 0; round < STREAM_ROUNDS; round++) {
        double start = tkr_now();
        if (tkr_pool_run(pool, stream_worker, &job) != TKR_OK) break;
        double rate = (double)STREAM_BYTES / (tkr_now() - start);
        best = rate > best ? rate : best;
    }
    tkr_aligned_free(block, STREAM_BYTES);
    return best;
}

static void measure_device(tkr_roofline *roofline, const tkr_device *device) {
    roofline->f32 = tkr_device_peak(device, TKR_GEMM_F32);
    roofline->bf16 = tkr_device_peak(device, TKR_GEMM_BF16);
    roofline->q8 = tkr_device_peak(device, TKR_GEMM_Q8);
    memcpy(roofline->rung, device->id, sizeof roofline->rung);
    memcpy(roofline->cpu, device->text, sizeof roofline->cpu);
}

tkr_status tkr_tools_roofline(tkr_roofline *roofline, const tkr_model_options *options, tkr_error *error) {
    tkr_cpu_flags flags = 0;
    tkr_kernels kernels;
    tkr_machine machine;
    tkr_pool *pool = NULL;
    tkr_status status = tkr_cpu_detect(&flags, options->cpu ? options->cpu : tkr_env("TKR_CPU"), error);
    if (status != TKR_OK) return status;
    tkr_kernels_init(&kernels, flags);
    tkr_machine_read(&machine);
    unsigned threads = options->threads ? options->threads : machine.n_threads;
    status = tkr_pool_create(&pool, threads, error);
    if (status != TKR_OK) return status;
    memset(roofline, 0, sizeof *roofline);
    tkr_device device = {0};
    const tkr_device_request request = {options, &machine, &kernels, pool};
    status = tkr_device_open(&device, &request, error);
    if (status != TKR_OK || device.mlx) {
        if (status == TKR_OK) measure_device(roofline, &device);
        tkr_device_close(&device);
        tkr_pool_free(&pool);
        return status;
    }
    tkr_device_close(&device);
    roofline->f32 = tkr_measure_peak(kernels.peak[TKR_GEMM_F32], pool);
    roofline->bf16 = tkr_measure_peak(kernels.peak[TKR_GEMM_BF16], pool);
    roofline->q8 = tkr_measure_peak(kernels.peak[TKR_GEMM_Q8], pool);
    roofline->bandwidth = measure_bandwidth(pool);
    roofline->threads = threads;
    snprintf(roofline->rung, sizeof roofline->rung, "%s", kernels.rung);
    snprintf(roofline->cpu, sizeof roofline->cpu, "%s", machine.cpu_name);
    tkr_pool_free(&pool);
    return TKR_OK;
}
