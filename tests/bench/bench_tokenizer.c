/* SPDX-License-Identifier: Apache-2.0 */
/* Tokenizer speed on one thread: bench_tokenizer TOKENIZER.json [FILE [SECONDS]]; a text a line, or built-in sentences.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/file.h"
#include "tokenizer/tokenizer.h"

static const char *const sentences[] = {
    "The quick brown fox jumps over the lazy dog.",
    "How do I reset the password of my account if I no longer have access to the e-mail address?",
    "The company was founded in 2016 and has since grown to more than 1,200 employees in fourteen countries.",
    "A man is playing a guitar while a small crowd listens quietly in the park.",
    "Retrieval systems map queries and documents into the same vector space, so that near means similar.",
    "He didn't expect the unbelievably complicated thermodynamics homework to be due on Wednesday.",
    "Interest rates were left unchanged on Thursday; economists expect a cut of 25 basis points in June.",
    "Mix the flour, sugar and butter, then bake at 180 degrees for about forty minutes until golden brown.",
};

typedef struct corpus {
    const char **texts;
    size_t *sizes, n, bytes;
} corpus;

static int add(corpus *c, const char *text, size_t size) {
    const char **texts = tkr_realloc((void *)c->texts, (c->n + 1) * sizeof *texts);
    c->texts = texts != NULL ? texts : c->texts;
    size_t *sizes = tkr_realloc(c->sizes, (c->n + 1) * sizeof *sizes);
    c->sizes = sizes != NULL ? sizes : c->sizes;
    if (texts == NULL || sizes == NULL) {
        return 1;
    }
    c->texts[c->n] = text;
    c->sizes[c->n++] = size;
    c->bytes += size;
    return 0;
}

static int read_corpus(corpus *c, tkr_buf *file, const char *path, tkr_error *error) {
    if (path == NULL) {
        for (size_t i = 0; i < sizeof sentences / sizeof sentences[0]; i++) {
            size_t n = 0;
            while (sentences[i][n] != '\0') {
                n++;
            }
            if (add(c, sentences[i], n) != 0) {
                return 1;
            }
        }
        return 0;
    }
    if (tkr_file_read(file, path, (size_t)1 << 30, error) != TKR_OK) {
        return 1;
    }
    size_t begin = 0;
    for (size_t i = 0; i <= file->size; i++) {
        if (i == file->size || file->data[i] == '\n') {
            if (i > begin && add(c, file->data + begin, i - begin) != 0) {
                return 1;
            }
            begin = i + 1;
        }
    }
    return c->n == 0;
}

static int measure(const tkr_tok *tok, tkr_tok_scratch *scratch, const corpus *c, double seconds, tkr_error *error) {
    for (int offsets = 0; offsets < 2; offsets++) {
        double best = 1e30, begin = tkr_now();
        size_t tokens = 0;
        while (tkr_now() - begin < seconds) {
            const double start = tkr_now();
            tokens = 0;
            for (int repeat = 0; repeat < 10; repeat++) {
                for (size_t i = 0; i < c->n; i++) {
                    tkr_tok_request request = {.text = c->texts[i], .n_text = c->sizes[i], .special_tokens = true};
                    request.want_offsets = offsets != 0;
                    tkr_tok_result result;
                    if (tkr_tok_encode(&result, tok, scratch, &request, error) != TKR_OK) {
                        return 1;
                    }
                    tokens += result.n;
                }
            }
            const double took = (tkr_now() - start) / 10;
            best = took < best ? took : best;
        }
        printf("%-15s %8.3f us/text %12.0f texts/s %8.1f MB/s %8.2f M tokens/s\n", offsets ? "ids + offsets" : "ids",
               best * 1e6 / (double)c->n, (double)c->n / best, (double)c->bytes / best / 1e6,
               (double)tokens / 10 / best / 1e6);
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: bench_tokenizer TOKENIZER.json [FILE [SECONDS]]\n");
        return 2;
    }
    tkr_error error = {.status = TKR_OK};
    tkr_buf json = {0}, file = {0};
    corpus c = {0};
    tkr_tok *tok = NULL;
    tkr_tok_scratch *scratch = NULL;
    double load = 1e30;
    int failed = tkr_file_read(&json, argv[1], (size_t)1 << 28, &error) != TKR_OK;
    for (int i = 0; i < 10 && !failed; i++) {
        const double start = tkr_now();
        tkr_tok_free(&tok);
        failed = tkr_tok_load(&tok, json.data, json.size, argv[1], NULL, &error) != TKR_OK;
        const double took = tkr_now() - start;
        load = took < load ? took : load;
    }
    failed = failed || tkr_tok_scratch_create(&scratch, tok, &error) != TKR_OK ||
             read_corpus(&c, &file, argc > 2 ? argv[2] : NULL, &error) != 0;
    if (!failed) {
        printf("load %.2f ms, %zu texts, %zu bytes\n", load * 1e3, c.n, c.bytes);
        failed = measure(tok, scratch, &c, argc > 3 ? atof(argv[3]) : 1.0, &error);
    }
    if (failed) {
        fprintf(stderr, "bench_tokenizer: %s\n", error.message);
    }
    tkr_tok_scratch_free(&scratch);
    tkr_tok_free(&tok);
    tkr_free((void *)c.texts);
    tkr_free(c.sizes);
    tkr_buf_free(&json);
    tkr_buf_free(&file);
    return failed;
}
