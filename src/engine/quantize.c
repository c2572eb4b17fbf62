/* SPDX-License-Identifier: Apache-2.0 */
/* engine/quantize: a checkpoint's weights in MLX's affine groups, written in a stream. Every matrix whose rows are
 * whole groups is quantised, embedding tables too; everything else is stored in the checkpoint's 16-bit type. Codes,
 * scales and biases are those of mlx.core.quantize on the cast weights. */
#include "engine/quantize.h"

#include <stdatomic.h>
#include <string.h>

#include "core/mem.h"
#include "engine/engine.h"
#include "formats/safetensors_write.h"
#include "quant/matrix.h"

#define ROWS_AT_ONCE 256

typedef enum part_kind { PART_PLAIN, PART_CODES, PART_SCALES, PART_BIASES } part_kind;

/* One tensor of the output. */
typedef struct part {
    part_kind kind;
    const tkr_tensor_view *view; /* of the source */
    char *name;                  /* in the arena */
} part;

typedef struct quantizer {
    const tkr_quantize_options *options;
    tkr_tensors *set;
    tkr_dtype dtype; /* F16 or BF16 */
    tkr_pool *pool;
    tkr_tensor_writer *writer;
    tkr_arena arena;
    part *parts; /* [n] */
    tkr_tensor_plan *plans;
    size_t n;
    /* Scales and biases of the matrix that was encoded last: [rows, groups] in `dtype`. */
    const tkr_tensor_view *encoded;
    tkr_buf scales, biases;
    tkr_buf codes; /* of a block of rows */
    tkr_error *error;
} quantizer;

static tkr_status no_memory(const quantizer *q) {
    return TKR_FAIL(q->error, NO_MEMORY, "no memory to quantize a model");
}

/* ---- what becomes of each tensor ---- */

static bool ends_with(const char *name, const char *end) {
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

static bool is_float(const tkr_tensor_view *view) { return tkr_dtype_class(view->dtype) == 1; }

/* A table of biases by distance is no weight of a layer. */
static bool is_matrix(const quantizer *q, const tkr_tensor_view *view) {
    return is_float(view) && view->n_dims == 2 && ends_with(view->name, ".weight") && view->shape[0] > 0 &&
           view->shape[1] > 0 && view->shape[1] % (int64_t)q->options->group == 0 &&
           !strstr(view->name, "relative_attention_bias");
}

static tkr_status add_part(quantizer *q, part_kind kind, const tkr_tensor_view *view, const char *name) {
    tkr_tensor_plan *plan = &q->plans[q->n];
    part *p = &q->parts[q->n++];
    *p = (part){kind, view, tkr_arena_strndup(&q->arena, name, strlen(name))};
    if (!p->name) return no_memory(q);
    plan->name = p->name;
    plan->n_dims = view->n_dims;
    memcpy(plan->shape, view->shape, sizeof plan->shape);
    plan->dtype = is_float(view) ? q->dtype : view->dtype;
    if (kind == PART_CODES) {
        plan->dtype = TKR_DTYPE_U32;
        plan->shape[1] = view->shape[1] * (int64_t)q->options->bits / 32;
    } else if (kind != PART_PLAIN) {
        plan->shape[1] = view->shape[1] / (int64_t)q->options->group;
    }
    return TKR_OK;
}

static tkr_status add_matrix(quantizer *q, const tkr_tensor_view *view) {
    const int stem = (int)(strlen(view->name) - strlen(".weight"));
    const char *scales = tkr_arena_printf(&q->arena, "%.*s.scales", stem, view->name),
               *biases = tkr_arena_printf(&q->arena, "%.*s.biases", stem, view->name);
    if (!scales || !biases) return no_memory(q);
    if (tkr_tensors_find(q->set, scales))
        return TKR_FAIL(q->error, INVALID_ARGUMENT, "%s: has a tensor \"%s\": the checkpoint is quantised already",
                        view->file, scales);
    tkr_status status = add_part(q, PART_CODES, view, view->name);
    if (status == TKR_OK) status = add_part(q, PART_SCALES, view, scales);
    return status == TKR_OK ? add_part(q, PART_BIASES, view, biases) : status;
}

static tkr_status plan_parts(quantizer *q, tkr_quantize_report *report) {
    size_t count = tkr_tensors_count(q->set);
    q->parts = tkr_arena_alloc(&q->arena, 3 * count * sizeof *q->parts);
    q->plans = tkr_arena_alloc(&q->arena, 3 * count * sizeof *q->plans);
    if (!q->parts || !q->plans) return no_memory(q);
    tkr_status status = TKR_OK;
    for (size_t i = 0; status == TKR_OK && i < count; i++) {
        const tkr_tensor_view *view = tkr_tensors_at(q->set, i);
        if (is_matrix(q, view)) {
            report->n_quantized++;
            status = add_matrix(q, view);
        } else {
            report->n_plain++;
            status = add_part(q, PART_PLAIN, view, view->name);
        }
    }
    if (status == TKR_OK && report->n_quantized == 0)
        status =
            TKR_FAIL(q->error, UNSUPPORTED, "no matrix has rows of whole groups of %zu weights", q->options->group);
    return status;
}

/* ---- numbers ---- */

static uint16_t narrow(const quantizer *q, float x) {
    return q->dtype == TKR_DTYPE_F16 ? tkr_f32_to_f16(x) : tkr_f32_to_bf16(x);
}

static float widen(const quantizer *q, uint16_t x) {
    return q->dtype == TKR_DTYPE_F16 ? tkr_f16_to_f32(x) : tkr_bf16_to_f32(x);
}

static tkr_status check_row(const quantizer *q, const tkr_tensor_view *view, const float *row, size_t n) {
    if (tkr_all_finite(row, n)) return TKR_OK;
    return TKR_FAIL(q->error, NUMERIC, "%s: tensor \"%s\" holds NaN, or a value that is no finite %s", view->file,
                    view->name, q->dtype == TKR_DTYPE_F16 ? "float16" : "bfloat16");
}

/* Rows [first, first + n) of a matrix, in parallel. */
typedef struct encode_job {
    const quantizer *q;
    tkr_matrix matrix;
    size_t first, n;
    uint8_t *packed;           /* [n, row_bytes] */
    uint16_t *scales, *biases; /* [n, groups] */
    float *work;               /* [workers, 3 * cols] values, scales, biases */
    uint8_t *codes;            /* [workers, cols] */
    atomic_bool bad;
} encode_job;

static void encode_rows(void *arg, unsigned worker, unsigned n_workers) {
    encode_job *job = arg;
    const quantizer *q = job->q;
    const size_t cols = job->matrix.cols, groups = cols / q->options->group, row_bytes = cols * q->options->bits / 8;
    float *row = job->work + worker * 3 * cols, *scale = row + cols, *bias = scale + cols;
    uint8_t *codes = job->codes + worker * cols;
    for (size_t r = worker; r < job->n; r += n_workers) {
        tkr_matrix_row(row, &job->matrix, job->first + r);
        for (size_t i = 0; i < cols; i++) row[i] = widen(q, narrow(q, row[i]));
        if (!tkr_all_finite(row, cols)) {
            atomic_store(&job->bad, true);
            return;
        }
        tkr_quantize_affine_row(codes, scale, bias, row, cols, q->options->bits, q->options->group);
        tkr_pack_codes(job->packed + r * row_bytes, codes, cols, q->options->bits);
        for (size_t g = 0; g < groups; g++) {
            job->scales[r * groups + g] = narrow(q, scale[g]);
            job->biases[r * groups + g] = narrow(q, bias[g]);
        }
    }
}

static bool take_room(tkr_buf *buf, size_t bytes) {
    buf->size = 0;
    return tkr_buf_reserve(buf, bytes);
}

static tkr_status tell(const quantizer *q) {
    uint64_t done = 0, total = 0;
    tkr_tensor_writer_progress(q->writer, &done, &total);
    if (q->options->progress && q->options->progress(q->options->progress_user, done, total))
        return TKR_FAIL(q->error, CANCELLED, "cancelled");
    return TKR_OK;
}

/* Encodes a whole matrix: scales and biases are kept, codes go to the writer when `write`. */
static tkr_status encode_matrix(quantizer *q, const tkr_tensor_view *view, bool write) {
    const size_t rows = (size_t)view->shape[0], cols = (size_t)view->shape[1], workers = tkr_pool_size(q->pool);
    const size_t groups = cols / q->options->group, row_bytes = cols * q->options->bits / 8;
    float *work = tkr_calloc(workers * 3 * cols, sizeof *work);
    uint8_t *codes = tkr_malloc(workers * cols);
    tkr_status status = TKR_OK;
    q->encoded = NULL;
    if (!work || !codes || !take_room(&q->scales, rows * groups * 2) || !take_room(&q->biases, rows * groups * 2) ||
        !take_room(&q->codes, ROWS_AT_ONCE * row_bytes))
        status = no_memory(q);
    encode_job job = {.q = q,
                      .matrix = {.data = view->data, .dtype = view->dtype, .rows = rows, .cols = cols},
                      .packed = (uint8_t *)q->codes.data,
                      .work = work,
                      .codes = codes};
    for (size_t first = 0; status == TKR_OK && first < rows; first += ROWS_AT_ONCE) {
        job.first = first;
        job.n = rows - first < ROWS_AT_ONCE ? rows - first : ROWS_AT_ONCE;
        job.scales = (uint16_t *)(void *)q->scales.data + first * groups;
        job.biases = (uint16_t *)(void *)q->biases.data + first * groups;
        status = tkr_pool_run(q->pool, encode_rows, &job);
        if (status != TKR_OK) status = TKR_FAIL(q->error, BUSY, "quantizing was called from inside a worker thread");
        if (atomic_load(&job.bad))
            status = TKR_FAIL(q->error, NUMERIC, "%s: tensor \"%s\" holds NaN, or a value that is no finite %s",
                              view->file, view->name, q->dtype == TKR_DTYPE_F16 ? "float16" : "bfloat16");
        if (status == TKR_OK && write)
            status = tkr_tensor_writer_append(q->writer, q->codes.data, job.n * row_bytes, q->error);
        if (status == TKR_OK) status = tell(q);
    }
    tkr_map_release(view->data, view->size);
    tkr_free(work);
    tkr_free(codes);
    if (status == TKR_OK) q->encoded = view;
    return status;
}

/* ---- writing ---- */

static tkr_status write_plain(quantizer *q, const tkr_tensor_view *view) {
    if (!is_float(view)) return tkr_tensor_writer_append(q->writer, view->data, view->size, q->error);
    const size_t width = tkr_dtype_size(view->dtype), step = 4096;
    float wide[4096];
    uint16_t out[4096];
    tkr_status status = TKR_OK;
    for (size_t i = 0; status == TKR_OK && i < view->n_elements; i += step) {
        size_t n = view->n_elements - i < step ? view->n_elements - i : step;
        tkr_widen(wide, (const char *)view->data + i * width, view->dtype, n);
        for (size_t k = 0; k < n; k++) {
            out[k] = narrow(q, wide[k]);
            wide[k] = widen(q, out[k]);
        }
        status = check_row(q, view, wide, n);
        if (status == TKR_OK) status = tkr_tensor_writer_append(q->writer, out, n * sizeof *out, q->error);
    }
    return status;
}

static tkr_status write_part(quantizer *q, const part *p) {
    if (p->kind == PART_PLAIN) return write_plain(q, p->view);
    if (p->kind == PART_CODES) return encode_matrix(q, p->view, true);
    tkr_status status = q->encoded == p->view ? TKR_OK : encode_matrix(q, p->view, false);
    const tkr_buf *values = p->kind == PART_SCALES ? &q->scales : &q->biases;
    const size_t bytes = (size_t)p->view->shape[0] * ((size_t)p->view->shape[1] / q->options->group) * 2;
    return status == TKR_OK ? tkr_tensor_writer_append(q->writer, values->data, bytes, q->error) : status;
}

static tkr_status write_all(quantizer *q, const char *folder, tkr_quantize_report *report) {
    tkr_status status = tkr_tensor_writer_open(&q->writer, folder, q->plans, q->n, "mlx", TKR_SHARD_BYTES, q->error);
    uint64_t done = 0, total = 0;
    for (size_t next; status == TKR_OK && (next = tkr_tensor_writer_next(q->writer)) < q->n;) {
        status = write_part(q, &q->parts[next]);
        if (status == TKR_OK) status = tell(q);
    }
    if (status == TKR_OK) tkr_tensor_writer_progress(q->writer, &done, &total);
    if (status == TKR_OK) status = tkr_tensor_writer_finish(&q->writer, q->error);
    tkr_tensor_writer_abort(&q->writer);
    report->bytes = total;
    return status;
}

/* MLX computes in the type of the scales: bf16 where the checkpoint is, for its range; f16, which is finer, where it is
 * f16 or f32. */
static tkr_dtype dtype_of(const tkr_tensors *set) {
    for (size_t i = 0; i < tkr_tensors_count(set); i++)
        if (tkr_tensors_at(set, i)->dtype == TKR_DTYPE_BF16) return TKR_DTYPE_BF16;
    return TKR_DTYPE_F16;
}

static tkr_status check_choices(tkr_quantize_options *q, const tkr_checkpoint *source, tkr_error *error) {
    if (q->bits != 4 && q->bits != 8) return TKR_FAIL(error, INVALID_ARGUMENT, "%u bits; supported: 4 and 8", q->bits);
    if (q->group == 0) q->group = 64;
    if (q->group != 32 && q->group != 64 && q->group != 128)
        return TKR_FAIL(error, INVALID_ARGUMENT, "groups of %zu; supported: 32, 64, 128", q->group);
    if (source->gguf)
        return TKR_FAIL(error, INVALID_ARGUMENT,
                        "%s: is a GGUF file; quantize needs the folder of the model that it was made from",
                        source->folder);
    if (source->quantization)
        return TKR_FAIL(error, INVALID_ARGUMENT,
                        "%s: is quantised already; quantize needs the unquantised model it was made from",
                        source->folder);
    if (source->adapter)
        return TKR_FAIL(error, UNSUPPORTED,
                        "%s: is an adapter; quantize writes whole models: save the merged one first, or use "
                        "--quantization, which quantises while loading",
                        source->adapter_folder);
    return TKR_OK;
}

static tkr_status run(quantizer *q, tkr_target *target, const char *source, tkr_quantize_report *report) {
    uint64_t n_parameters = 0;
    q->dtype = dtype_of(q->set);
    report->dtype = q->dtype == TKR_DTYPE_F16 ? "f16" : "bf16";
    for (size_t i = 0; i < tkr_tensors_count(q->set); i++) n_parameters += tkr_tensors_at(q->set, i)->n_elements;
    tkr_status status = plan_parts(q, report);
    if (status == TKR_OK) status = tkr_target_copy_files(target, source, q->error);
    if (status == TKR_OK) status = write_all(q, target->inner, report);
    if (status == TKR_OK)
        status = tkr_target_write_config(target, source, q->options->bits, q->options->group, q->error);
    if (status == TKR_OK) status = tkr_target_finish(target, q->error);
    if (n_parameters) report->bits_per_weight = 8.0 * (double)report->bytes / (double)n_parameters;
    return status;
}

tkr_status tkr_tools_quantize(tkr_quantize_report *report, const char *reference, const tkr_quantize_options *quantize,
                              const tkr_model_options *options, tkr_error *error) {
    tkr_quantize_options own = *quantize;
    tkr_checkpoint checkpoint;
    tkr_target target = {0};
    tkr_machine machine;
    quantizer q = {.options = &own, .error = error};
    memset(&checkpoint, 0, sizeof checkpoint);
    memset(report, 0, sizeof *report);
    tkr_machine_read(&machine);
    tkr_status status = tkr_checkpoint_open(&checkpoint, reference, options, false, error);
    if (status == TKR_OK) status = tkr_checkpoint_config(&checkpoint, options, error);
    if (status == TKR_OK) status = check_choices(&own, &checkpoint, error);
    if (status == TKR_OK) status = tkr_tensors_open_folder(&q.set, checkpoint.folder, error);
    if (status == TKR_OK)
        status = tkr_pool_create(&q.pool, options->threads ? options->threads : machine.n_threads, error);
    if (status == TKR_OK) status = tkr_target_open(&target, checkpoint.folder, own.output, own.force, error);
    if (status == TKR_OK) status = run(&q, &target, checkpoint.folder, report);
    tkr_target_close(&target);
    tkr_pool_free(&q.pool);
    tkr_buf_free(&q.scales);
    tkr_buf_free(&q.biases);
    tkr_buf_free(&q.codes);
    tkr_tensors_free(&q.set);
    tkr_arena_free(&q.arena);
    tkr_checkpoint_close(&checkpoint);
    return status;
}
