/* SPDX-License-Identifier: Apache-2.0 */
/* Documents as a model embeds them: late chunking against tokens and means that are found here, by another way; the
 * same from several threads; limits and stops. */
#include <math.h>

#include "core/sync.h"
#include "engine/tools.h"
#include "golden.h"

#define TOLERANCE 1e-6 /* of each component of vectors of length 1 */

enum { MOST = 16384 };

/* Sentences of words that all vocabularies spell; paragraphs of two to four. */
static size_t make_text(char *text, size_t n_paragraphs) {
    static const char *const words[] = {"water", "the", "computes", "fast", "river", "of", "bank", "and"};
    size_t at = 0;
    for (size_t p = 0; p < n_paragraphs; p++) {
        for (size_t s = 0; s < 2 + p % 3; s++) {
            for (size_t w = 0; w < 4 + (p + s) % 4; w++)
                at += (size_t)snprintf(text + at, MOST - at, "%s%s", w > 0 ? " " : "", words[(p * 5 + s + w * w) % 8]);
            at += (size_t)snprintf(text + at, MOST - at, ". ");
        }
        at += (size_t)snprintf(text + at - 1, MOST - at, "\n\n") - 1;
    }
    assert_true(at < MOST);
    return at;
}

static void open_model(embedder *e, const char *folder) {
    char path[1400];
    snprintf(path, sizeof path, "%s/golden/%s/model", TKR_TEST_DIR, folder);
    embedder_open(e, path, &(embedder_options){.threads = 2, .device = "cpu"});
}

static tkr_tools_document *open_text(const embedder *e, const char *text, size_t n,
                                     const tkr_tools_document_options *options) {
    tkr_tools_document *d = NULL;
    tkr_error error;
    if (tkr_tools_document_open(&d, e->model, "text", text, n, options, &error) != TKR_OK)
        fail_msg("%s", error.message);
    return d;
}

static void same_vector(const float *got, const float *want, size_t n, const char *what, size_t index) {
    for (size_t i = 0; i < n; i++)
        if (!(got[i] - want[i] < TOLERANCE && want[i] - got[i] < TOLERANCE))
            fail_msg("%s: passage %zu, value %zu: %.9g, expected %.9g", what, index, i, (double)got[i],
                     (double)want[i]);
}

/* Bytes [begin, end) of a passage in the document's text. */
static void range_of(size_t range[2], const tkr_tools_document *d, size_t index) {
    size_t n = 0;
    const char *text = tkr_tools_document_text(d, &n);
    const tkr_tools_passage passage = tkr_tools_document_get(d, index);
    range[0] = (size_t)(passage.text - text);
    range[1] = range[0] + passage.n_text;
    assert_true(range[1] <= n);
}

/* The mean of the states of tokens [begin, end), of length 1. */
static void mean_of(float *out, const tkr_result_item *states, size_t begin, size_t end) {
    double sums[2048] = {0}, length = 0;
    const size_t n = states->dimensions;
    assert_true(n <= 2048 && begin < end && end <= states->n_rows);
    for (size_t t = begin; t < end; t++)
        for (size_t i = 0; i < n; i++) sums[i] += (double)states->rows[t * n + i];
    for (size_t i = 0; i < n; i++) length += sums[i] * sums[i];
    for (size_t i = 0; i < n; i++) out[i] = (float)(sums[i] / sqrt(length));
}

/* A document of one window: its ids are those of the whole text; a passage has the tokens whose first letter it has;
 * its vector is their mean. */
static void one_window(const char *folder, const char *prompt_name, size_t n_prompt, size_t chunk_tokens) {
    embedder e;
    char text[MOST];
    tkr_error error;
    tkr_tokens tokens;
    tkr_embed_options embed;
    const size_t n = make_text(text, 1);
    tkr_embed_options_init(&embed);
    embed.prompt_name = prompt_name;
    open_model(&e, folder);
    const tkr_tools_document_options options = {.chunk_tokens = chunk_tokens, .late = true, .embed = &embed};
    tkr_tools_document *d = open_text(&e, text, n, &options);
    const size_t n_passages = tkr_tools_document_n(d);
    if (n_passages < 2 || tkr_tools_document_n_windows(d) != 1)
        fail_msg("%s: %zu passages, %zu windows", folder, n_passages, tkr_tools_document_n_windows(d));
    size_t first = 1, whole[2], range[2];
    const tkr_input window = tkr_tools_document_window(d, 0, &first);
    assert_int_equal(first, 0);
    assert_int_equal(window.n_spans, n_passages);
    range_of(whole, d, n_passages - 1);
    const char *own = tkr_tools_document_text(d, &(size_t){0});
    const tkr_input input = {.text = own, .n_text = whole[1]};
    assert_int_equal(tkr_tokenize(&tokens, tkr_tools_tokenizer(e.model), &input, &embed, &error), TKR_OK);
    assert_int_equal(tokens.n, window.n_ids);
    assert_memory_equal(tokens.ids, window.ids, tokens.n * sizeof *tokens.ids);
    embed.kind = TKR_RESULT_TOKENS;
    tkr_result *states =
        embed_all(&e, &(tkr_input){.kind = TKR_INPUT_TOKENS, .ids = tokens.ids, .n_ids = tokens.n}, 1, &embed);
    embed.kind = TKR_RESULT_DENSE;
    tkr_result *rows = embed_all(&e, &window, 1, &embed);
    const tkr_result_item got = tkr_result_get(rows, 0), all = tkr_result_get(states, 0);
    assert_int_equal(got.n_rows, n_passages);
    for (size_t p = 0; p < n_passages; p++) {
        size_t begin = SIZE_MAX, end = 0;
        float mean[2048];
        range_of(range, d, p);
        for (size_t t = 0; t < tokens.n; t++) {
            size_t at = (size_t)tokens.offsets[2 * t];
            if (tokens.special[t] || at < n_prompt) continue;
            while (strchr(" \n", own[at - n_prompt]) && at + 1 < tokens.offsets[2 * t + 1]) at++;
            if (at - n_prompt < range[0] || at - n_prompt >= range[1]) continue;
            if (begin == SIZE_MAX) begin = t;
            end = t + 1;
        }
        if (p == 0) begin = 0; /* with what stands before the text and behind it */
        if (p + 1 == n_passages) end = tokens.n;
        assert_int_equal(window.spans[2 * p], begin);
        assert_int_equal(window.spans[2 * p + 1], end);
        mean_of(mean, &all, begin, end);
        if (got.dimensions == all.dimensions)
            same_vector(got.rows + p * got.dimensions, mean, got.dimensions, folder, p);
    }
    tkr_tokens_free(&tokens);
    tkr_result_free(&rows);
    tkr_result_free(&states);
    tkr_tools_document_free(&d);
    embedder_close(&e);
}

static void passages_of_one_window(void **state) {
    (void)state;
    one_window("bert/bert-mean", NULL, 0, 16);
    one_window("roberta/roberta", NULL, 0, 16);
    one_window("mpnet/mpnet", NULL, 0, 16);
    one_window("modernbert/modernbert-mlm", NULL, 0, 20);
    one_window("modernbert/modernbert-mean", "search_document", strlen("search_document: "), 24);
    one_window("nomic_bert/nomic-bert", "passage", strlen("search_document: "), 24);
    one_window("eurobert/eurobert", NULL, 0, 16);
    one_window("xlm_roberta/xlmr-e5", "passage", strlen("passage: "), 20);
    one_window("distilbert/distilbert", NULL, 0, 16);
}

/* A document of one passage has the vector that it has without late chunking; with Dense modules, too. */
static void one_passage(void **state) {
    static const char *const folders[] = {"bert/bert-mean", "modernbert/modernbert-mlm", "xlm_roberta/xlmr-e5",
                                          "gemma3_text/gemma3-dense", "roberta/roberta"};
    (void)state;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        embedder e;
        char text[MOST];
        const size_t n = make_text(text, 1);
        open_model(&e, folders[i]);
        tkr_tools_document *d = open_text(&e, text, n, &(tkr_tools_document_options){.late = true}),
                           *plain = open_text(&e, text, n, &(tkr_tools_document_options){.mode = TKR_TOOLS_TEXT});
        assert_int_equal(tkr_tools_document_n(d), 1);
        assert_int_equal(tkr_tools_document_n(plain), 1);
        assert_int_equal(tkr_tools_document_n_windows(plain), 0);
        const tkr_tools_passage passage = tkr_tools_document_get(plain, 0);
        const tkr_input inputs[2] = {tkr_tools_document_window(d, 0, &(size_t){0}),
                                     {.text = passage.input, .n_text = passage.n_input}};
        tkr_result *rows = embed_all(&e, inputs, 2, NULL);
        const tkr_result_item late = tkr_result_get(rows, 0), ordinary = tkr_result_get(rows, 1);
        assert_int_equal(late.n_rows, 1);
        assert_int_equal(late.n_tokens, ordinary.n_tokens);
        same_vector(late.rows, ordinary.rows, ordinary.dimensions, folders[i], 0);
        tkr_result_free(&rows);
        tkr_tools_document_free(&d);
        tkr_tools_document_free(&plain);
        embedder_close(&e);
    }
}

static size_t without_blanks(char *out, const char *text, size_t n) {
    size_t at = 0;
    for (size_t i = 0; i < n; i++)
        if (text[i] != ' ' && text[i] != '\n') out[at++] = text[i];
    return at;
}

/* The tokens of each passage spell it. `overlap`: they stand in several. */
static void check_spelling(const embedder *e, const tkr_tools_document *d, const tkr_input *window, size_t first) {
    for (size_t i = 0; i < window->n_spans; i++) {
        char *text = NULL, got[MOST], want[MOST];
        size_t n = 0;
        tkr_error error;
        const size_t begin = window->spans[2 * i], end = window->spans[2 * i + 1];
        assert_int_equal(
            tkr_decode(&text, &n, tkr_tools_tokenizer(e->model), window->ids + begin, end - begin, 1, &error), TKR_OK);
        const tkr_tools_passage passage = tkr_tools_document_get(d, first + i);
        const size_t n_got = without_blanks(got, text, n), n_want = without_blanks(want, passage.text, passage.n_text);
        if (n_got != n_want || memcmp(got, want, n_got) != 0)
            fail_msg("passage %zu \"%.*s\" has the tokens of \"%.*s\"", first + i, (int)n_want, want, (int)n_got, got);
        tkr_text_free(&text);
    }
}

/* Longer documents: windows that the model can read, each passage in one of them and whole, with something before it
 * where there is room. Passages are those of ordinary chunking. */
static void windows(const char *folder, size_t chunk_tokens, size_t overlap, bool has_context) {
    embedder e;
    char text[MOST];
    const size_t n = make_text(text, 40);
    tkr_tools_document_options options = {.chunk_tokens = chunk_tokens, .overlap = overlap};
    open_model(&e, folder);
    tkr_tools_document *plain = open_text(&e, text, n, &options);
    options.late = true;
    tkr_tools_document *d = open_text(&e, text, n, &options);
    const size_t n_windows = tkr_tools_document_n_windows(d),
                 most = tkr_tokenizer_max_tokens(tkr_tools_tokenizer(e.model));
    size_t next = 0, n_context = 0;
    assert_true(n_windows > 2);
    assert_int_equal(tkr_tools_document_n(d), tkr_tools_document_n(plain));
    for (size_t w = 0; w < n_windows; w++) {
        size_t first = 0;
        const tkr_input window = tkr_tools_document_window(d, w, &first);
        assert_int_equal(first, next);
        assert_true(window.n_spans > 0 && window.n_ids <= most);
        assert_true(w + 1 == n_windows || window.n_ids == most);
        n_context += w > 0 && window.spans[0] > 1;
        check_spelling(&e, d, &window, first);
        next = first + window.n_spans;
        tkr_result *rows = embed_all(&e, &window, 1, NULL);
        assert_int_equal(tkr_result_get(rows, 0).n_rows, window.n_spans);
        tkr_result_free(&rows);
    }
    assert_int_equal(next, tkr_tools_document_n(d));
    assert_true(!has_context || n_context == n_windows - 1);
    for (size_t i = 0; i < next; i++) {
        size_t a[2], b[2];
        range_of(a, d, i);
        range_of(b, plain, i);
        assert_memory_equal(a, b, sizeof a);
    }
    tkr_tools_document_free(&d);
    tkr_tools_document_free(&plain);
    embedder_close(&e);
}

static void long_documents(void **state) {
    (void)state;
    windows("bert/bert-mean", 20, 0, true);
    windows("bert/bert-mean", 20, 8, true);
    windows("bert/bert-mean", 0, 0, false); /* a passage fills a window */
    windows("roberta/roberta", 20, 0, true);
    windows("modernbert/modernbert-mlm", 20, 8, true);
}

static void refused(const char *folder, const char *words) {
    embedder e;
    tkr_error error;
    tkr_tools_document *d = NULL;
    open_model(&e, folder);
    const tkr_tools_document_options options = {.late = true};
    assert_int_equal(tkr_tools_document_open(&d, e.model, "text", "A text.", 7, &options, &error),
                     TKR_INVALID_ARGUMENT);
    if (!strstr(error.message, words)) fail_msg("\"%s\" lacks \"%s\"", error.message, words);
    assert_null(d);
    embedder_close(&e);
}

static void other_pooling(void **state) {
    (void)state;
    refused("bert/bert-cls", "pools by cls");
    refused("qwen3/qwen3-last", "pools by lasttoken");
    refused("bert/bert-pooling", "pools by cls+max+mean");
}

/* Spans that a caller gives by himself. */
static void bad_spans(void **state) {
    static const int32_t ids[100] = {2, 5, 6, 7, 3};
    static const size_t good[] = {1, 3, 0, 5}, empty[] = {2, 2}, beyond[] = {3, 6};
    embedder e;
    tkr_result *result = NULL;
    (void)state;
    open_model(&e, "bert/bert-mean");
    const tkr_input inputs[] = {
        {.kind = TKR_INPUT_TOKENS, .ids = ids, .n_ids = 5, .spans = good, .n_spans = 2},
        {.kind = TKR_INPUT_TOKENS, .ids = ids, .n_ids = 5, .spans = empty, .n_spans = 1},
        {.kind = TKR_INPUT_TOKENS, .ids = ids, .n_ids = 5, .spans = beyond, .n_spans = 1},
        {.kind = TKR_INPUT_TOKENS, .ids = ids, .n_ids = 5, .n_spans = 1},
        {.text = "river", .n_text = 5, .spans = good, .n_spans = 2},
        {.kind = TKR_INPUT_TOKENS, .ids = ids, .n_ids = 100, .spans = good, .n_spans = 2}, /* would have to be cut */
        {.kind = TKR_INPUT_TOKENS, .ids = ids, .n_ids = 5},
    };
    const size_t n = sizeof inputs / sizeof *inputs;
    assert_int_equal(tkr_embed(&result, e.session, inputs, n, NULL, NULL), TKR_OK);
    const tkr_result_item first = tkr_result_get(result, 0), last = tkr_result_get(result, n - 1);
    assert_int_equal(first.n_rows, 2);
    same_vector(first.rows + first.dimensions, last.rows, last.dimensions, "all tokens", 0);
    for (size_t i = 1; i + 1 < n; i++)
        assert_int_equal(tkr_result_get(result, i).status, i == 5 ? TKR_LIMIT : TKR_INVALID_ARGUMENT);
    tkr_result_free(&result);
    tkr_embed_options options;
    tkr_embed_options_init(&options);
    options.kind = TKR_RESULT_TOKENS;
    assert_int_equal(tkr_embed(&result, e.session, inputs, 1, &options, NULL), TKR_OK);
    assert_int_equal(tkr_result_get(result, 0).status, TKR_INVALID_ARGUMENT);
    tkr_result_free(&result);
    embedder_close(&e);
}

/* ---- threads, limits, stops ---- */

typedef struct reading {
    const embedder *e;
    const char *text;
    size_t n, n_ids;
    uint64_t sum;
} reading;

static void read_document(void *arg) {
    reading *r = arg;
    for (size_t round = 0; round < 3; round++) {
        const tkr_tools_document_options options = {.chunk_tokens = 20, .overlap = 6, .late = round != 1};
        tkr_tools_document *d = NULL;
        if (tkr_tools_document_open(&d, r->e->model, "text", r->text, r->n, &options, NULL) != TKR_OK) return;
        for (size_t w = 0; w < tkr_tools_document_n_windows(d); w++) {
            size_t first = 0;
            const tkr_input window = tkr_tools_document_window(d, w, &first);
            r->n_ids += window.n_ids;
            for (size_t i = 0; i < window.n_ids; i++) r->sum = r->sum * 31 + (uint64_t)window.ids[i];
        }
        tkr_tools_document_free(&d);
    }
}

static void several_threads(void **state) {
    enum { THREADS = 4 };
    embedder e;
    char text[MOST];
    reading readings[THREADS];
    tkr_thread *threads[THREADS];
    (void)state;
    open_model(&e, "bert/bert-mean");
    const size_t n = make_text(text, 20);
    for (size_t i = 0; i < THREADS; i++) {
        readings[i] = (reading){.e = &e, .text = text, .n = n};
        assert_int_equal(tkr_thread_start(&threads[i], "reader", read_document, &readings[i], NULL), TKR_OK);
    }
    for (size_t i = 0; i < THREADS; i++) tkr_thread_join(&threads[i]);
    for (size_t i = 0; i < THREADS; i++) {
        assert_true(readings[i].n_ids > 0);
        assert_int_equal(readings[i].n_ids, readings[0].n_ids);
        assert_true(readings[i].sum == readings[0].sum);
    }
    embedder_close(&e);
}

static tkr_status count_down(void *user) {
    size_t *left = user;
    return *left > 0 && --*left > 0 ? TKR_OK : TKR_CANCELLED;
}

/* Between its passages, too: a caller who goes at any of the points that ask is heard. */
static void limits_and_stops(void **state) {
    embedder e;
    char text[MOST];
    tkr_error error;
    tkr_tools_document *d = NULL;
    (void)state;
    open_model(&e, "bert/bert-mean");
    const size_t n = make_text(text, 20);
    tkr_tools_document_options options = {.chunk_tokens = 20, .max_passages = 5};
    assert_int_equal(tkr_tools_document_open(&d, e.model, "text", text, n, &options, &error), TKR_LIMIT);
    assert_non_null(strstr(error.message, "more than 5 passages"));
    size_t left = 0;
    const tkr_stop stop = {.ask = count_down, .user = &left};
    options = (tkr_tools_document_options){.chunk_tokens = 20, .stop = &stop, .late = true};
    tkr_status status = TKR_CANCELLED;
    size_t n_points = 0;
    for (; status != TKR_OK; n_points++) {
        left = n_points + 1;
        status = tkr_tools_document_open(&d, e.model, "text", text, n, &options, &error);
        if (status != TKR_OK) {
            assert_int_equal(status, TKR_CANCELLED);
            assert_null(d);
        }
        n_points += n_points / 8;
    }
    assert_true(n_points > 20);
    tkr_tools_document_free(&d);
    embedder_close(&e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passages_of_one_window), cmocka_unit_test(one_passage), cmocka_unit_test(long_documents),
        cmocka_unit_test(other_pooling),          cmocka_unit_test(bad_spans),   cmocka_unit_test(several_threads),
        cmocka_unit_test(limits_and_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
