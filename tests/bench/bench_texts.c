/* SPDX-License-Identifier: Apache-2.0 */
/* bench/bench_texts: what the library does in one process with the texts that bench_load sends to a server: tokens a
 * second with many at a time, and the time of one alone. Prints one JSON object.
 *
 * bench_texts MODEL QUANTIZATION BODIES SECONDS BATCH      (BODIES: lines of {"texts": [...]}) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/fsops.h"
#include "core/json.h"
#include "tkr/embed.h"

typedef struct texts {
    tkr_input *inputs;
    size_t n;
} texts;

static void die(const tkr_error *error) {
    fprintf(stderr, "bench_texts: %s\n", error->message);
    exit(1);
}

/* Never freed: the inputs borrow from the parsed lines. */
static void read_texts(texts *t, const char *path) {
    tkr_error error;
    tkr_lines *lines = NULL;
    const char *line = NULL;
    size_t size = 0;
    bool end = false;
    if (tkr_lines_open(&lines, path, 1u << 26, &error) != TKR_OK) die(&error);
    while (tkr_lines_next(lines, &line, &size, &end, &error) == TKR_OK && !end) {
        json_t *body = NULL, *text = NULL;
        size_t i;
        if (tkr_json_parse(&body, line, size, path, &error) != TKR_OK) die(&error);
        json_array_foreach(json_object_get(body, "texts"), i, text) {
            t->inputs = realloc(t->inputs, (t->n + 1) * sizeof *t->inputs);
            t->inputs[t->n++] = (tkr_input){
                .kind = TKR_INPUT_TEXT, .text = json_string_value(text), .n_text = json_string_length(text)};
        }
    }
    tkr_lines_close(&lines);
}

static size_t embed(tkr_session *session, const tkr_input *inputs, size_t n) {
    tkr_error error;
    tkr_result *result = NULL;
    size_t tokens = 0;
    if (tkr_embed(&result, session, inputs, n, NULL, &error) != TKR_OK) die(&error);
    for (size_t i = 0; i < n; i++) tokens += tkr_result_get(result, i).n_tokens;
    tkr_result_free(&result);
    return tokens;
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv) {
    tkr_error error;
    tkr_model *model = NULL;
    tkr_session *session = NULL;
    tkr_model_options options;
    texts t = {0};
    if (argc != 6) {
        fprintf(stderr, "usage: bench_texts MODEL QUANTIZATION BODIES SECONDS BATCH\n");
        return 2;
    }
    tkr_model_options_init(&options);
    options.quantization = strcmp(argv[2], "q8") == 0   ? TKR_QUANTIZATION_Q8
                           : strcmp(argv[2], "q4") == 0 ? TKR_QUANTIZATION_Q4
                                                        : TKR_QUANTIZATION_NONE;
    read_texts(&t, argv[3]);
    const double seconds = strtod(argv[4], NULL);
    const size_t batch = (size_t)strtoull(argv[5], NULL, 10);
    if (tkr_model_load(&model, argv[1], &options, &error) != TKR_OK) die(&error);
    if (tkr_session_create(&session, model, &error) != TKR_OK) die(&error);
    embed(session, t.inputs, t.n < batch ? t.n : batch);
    size_t tokens = 0, at = 0;
    const double begin = tkr_now();
    double end = begin;
    while (end < begin + seconds) {
        const size_t n = t.n - at < batch ? t.n - at : batch;
        tokens += embed(session, t.inputs + at, n);
        at = at + n < t.n ? at + n : 0;
        end = tkr_now();
    }
    enum { TIMES = 301 };
    static double alone[TIMES];
    size_t shortest = 0;
    for (size_t i = 0; i < t.n; i++)
        if (t.inputs[i].n_text < t.inputs[shortest].n_text) shortest = i;
    for (size_t i = 0; i < TIMES; i++) {
        const double from = tkr_now();
        embed(session, &t.inputs[shortest], 1);
        alone[i] = tkr_now() - from;
        tkr_sleep(0.002);
    }
    qsort(alone, TIMES, sizeof alone[0], by_value);
    printf("{\"texts\": %zu, \"tokens_per_s\": %.1f, \"one_text_median_ms\": %.4f, \"one_text_bytes\": %zu}\n", t.n,
           (double)tokens / (end - begin), alone[TIMES / 2] * 1e3, t.inputs[shortest].n_text);
    tkr_session_free(&session);
    tkr_model_free(&model);
    return 0;
}
