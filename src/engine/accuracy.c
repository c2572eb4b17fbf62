/* SPDX-License-Identifier: Apache-2.0 */
/* engine/accuracy: cosines and neighbours of the built-in texts in two number formats, one model in memory at a time.
 */
#include "engine/accuracy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "engine/engine.h"

#define NEIGHBOURS 10

tkr_status tkr_accuracy_embed(float **out, size_t *dimensions, tkr_model *model, tkr_error *error) {
    const size_t n = tkr_accuracy_n_texts;
    tkr_session *session = NULL;
    tkr_result *result = NULL;
    tkr_embed_options options;
    tkr_embed_options_init(&options);
    options.prompt = "";
    tkr_input *inputs = tkr_calloc(n, sizeof *inputs);
    float *rows = NULL;
    tkr_status status = inputs ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "no memory to compare vectors");
    for (size_t i = 0; inputs && status == TKR_OK && i < n; i++)
        inputs[i] = (tkr_input){.text = tkr_accuracy_texts[i], .n_text = strlen(tkr_accuracy_texts[i])};
    if (status == TKR_OK) status = tkr_session_create(&session, model, error);
    if (status == TKR_OK) status = tkr_embed(&result, session, inputs, n, &options, error);
    if (status == TKR_OK) {
        *dimensions = tkr_result_dimensions(result);
        rows = tkr_calloc(n * *dimensions, sizeof *rows);
        if (!rows) status = TKR_FAIL(error, NO_MEMORY, "no memory to compare vectors");
    }
    for (size_t i = 0; rows && status == TKR_OK && i < n; i++) {
        const tkr_result_item item = tkr_result_get(result, i);
        if (item.status != TKR_OK)
            status = tkr_error_set(error, TKR_HERE, item.status, "%s", item.message);
        else
            for (size_t k = 0; k < item.n_rows * *dimensions; k++) /* of a multi-vector the sum */
                rows[i * *dimensions + k % *dimensions] += item.rows[k];
    }
    tkr_result_free(&result);
    tkr_session_free(&session);
    tkr_free(inputs);
    if (status != TKR_OK)
        tkr_free(rows);
    else
        *out = rows;
    return status;
}

/* ---- neighbours ---- */

typedef struct neighbour {
    double cosine;
    size_t index;
} neighbour;

static int nearest_first(const void *a, const void *b) {
    const neighbour *x = a, *y = b;
    if (x->cosine != y->cosine) return x->cosine < y->cosine ? 1 : -1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* The neighbours of text `query`, the nearest first; all [n - 1]. */
static void rank(neighbour *all, const float *rows, size_t n, size_t dimensions, size_t query) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        if (i != query)
            all[count++] = (neighbour){tkr_cosine(rows + query * dimensions, rows + i * dimensions, dimensions), i};
    qsort(all, count, sizeof *all, nearest_first);
}

static size_t shared(const neighbour *a, const neighbour *b) {
    size_t count = 0;
    for (size_t i = 0; i < NEIGHBOURS; i++)
        for (size_t j = 0; j < NEIGHBOURS; j++) count += a[i].index == b[j].index;
    return count;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

tkr_status tkr_accuracy_compare(tkr_accuracy *out, const float *reference, const float *rows, size_t dimensions,
                                tkr_error *error) {
    const size_t n = tkr_accuracy_n_texts;
    neighbour *near = tkr_calloc(2 * n, sizeof *near);
    double *cosines = tkr_calloc(n, sizeof *cosines), sum = 0;
    size_t agreed = 0;
    if (!near || !cosines) {
        tkr_free(near);
        tkr_free(cosines);
        return TKR_FAIL(error, NO_MEMORY, "no memory to compare vectors");
    }
    for (size_t i = 0; i < n; i++) {
        cosines[i] = tkr_cosine(reference + i * dimensions, rows + i * dimensions, dimensions);
        sum += cosines[i];
        rank(near, reference, n, dimensions, i);
        rank(near + n, rows, n, dimensions, i);
        agreed += shared(near, near + n);
    }
    qsort(cosines, n, sizeof *cosines, ascending);
    out->n_texts = n;
    out->min = cosines[0];
    out->first_percentile = cosines[n / 100];
    out->mean = sum / (double)n;
    out->top10 = (double)agreed / (double)(n * NEIGHBOURS);
    tkr_free(near);
    tkr_free(cosines);
    return TKR_OK;
}

/* ---- a model against its f32 self ---- */

/* `format` (size bytes) receives "f32", "bf16", "q8" or "q4". */
static tkr_status embed_with(float **rows, size_t *dimensions, char *format, size_t size, double *bits,
                             const char *reference, const tkr_model_options *options, tkr_error *error) {
    tkr_model *model = NULL;
    tkr_status status = tkr_model_load(&model, reference, options, error);
    if (status == TKR_OK) {
        const tkr_model_info *info = tkr_model_get_info(model);
        const bool plain = strcmp(info->quantization, "none") == 0;
        snprintf(format, size, "%s", plain ? info->precision : info->quantization);
        *bits = info->bits_per_weight;
        status = tkr_accuracy_embed(rows, dimensions, model, error);
    }
    tkr_model_free(&model);
    return status;
}

tkr_status tkr_tools_compare(tkr_accuracy *out, const char *a, const char *b, const tkr_model_options *options,
                             tkr_error *error) {
    float *exact = NULL, *rows = NULL;
    size_t dimensions = 0;
    double bits = 0;
    tkr_model_options plain = *options;
    memset(out, 0, sizeof *out);
    plain.quantization = TKR_QUANTIZATION_NONE;
    plain.precision = TKR_PRECISION_F32;
    tkr_status status =
        embed_with(&exact, &dimensions, out->reference_format, sizeof out->reference_format, &bits, a, &plain, error);
    if (status == TKR_LIMIT) { /* f32 doesn't fit: bf16 is close to it (docs/numerics.md) */
        plain.precision = TKR_PRECISION_BF16;
        status = embed_with(&exact, &dimensions, out->reference_format, sizeof out->reference_format, &bits, a, &plain,
                            error);
    }
    if (status == TKR_OK)
        status =
            embed_with(&rows, &dimensions, out->format, sizeof out->format, &out->bits_per_weight, b, options, error);
    if (status == TKR_OK) status = tkr_accuracy_compare(out, exact, rows, dimensions, error);
    tkr_free(exact);
    tkr_free(rows);
    return status;
}

tkr_status tkr_tools_accuracy(tkr_accuracy *out, const char *reference, const tkr_model_options *options,
                              tkr_error *error) {
    return tkr_tools_compare(out, reference, reference, options, error);
}
