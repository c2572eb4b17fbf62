/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode/document/bidi: words of right-to-left scripts as they are read. poppler gives a line's words from left to
 * right and marks those that it has turned; the marks go, the words get their order, and what ends them stands behind
 * them.
 */
#include <string.h>

#include "decode/document/document.h"

static const char begins_turned[] = {(char)0xE2, (char)0x80, (char)0xAB}; /* U+202B */

typedef struct word {
    const char *text;
    size_t n;
    enum { NEUTRAL, LEFT, RIGHT } kind; /* RIGHT: of a script that is written from right to left */
} word;

static word word_of(const char *text, size_t n) {
    word w = {.text = text, .n = n};
    for (size_t i = 0; i < n; i++) {
        if (tkr_doc_is_mark(text + i, n - i)) {
            if (memcmp(text + i, begins_turned, 3) == 0) w.kind = RIGHT;
            i += 2;
        } else if (w.kind == NEUTRAL && ((text[i] >= 'A' && text[i] <= 'Z') || (text[i] >= 'a' && text[i] <= 'z') ||
                                         (unsigned char)text[i] >= 0x80)) {
            w.kind = LEFT;
        }
    }
    return w;
}

/* Punctuation that a word begins with, in the order on paper, and that ends it in the order of reading. */
static size_t stops(char out[8], const word *w) {
    size_t n = 0;
    for (size_t i = 0; i < w->n && n < 8;) {
        if (tkr_doc_is_mark(w->text + i, w->n - i)) {
            i += 3;
        } else if (strchr(".,;:!?", w->text[i]) && w->text[i] != '\0') {
            out[n++] = w->text[i++];
        } else {
            return n;
        }
    }
    return 0; /* nothing else */
}

static void put(tkr_buf *out, const word *w, size_t skip) {
    if (out->size > 0 && out->data[out->size - 1] != '\n') tkr_buf_putc(out, ' ');
    for (size_t i = 0; i < w->n;) {
        if (tkr_doc_is_mark(w->text + i, w->n - i)) {
            i += 3;
        } else if (skip > 0) {
            skip--, i++;
        } else {
            tkr_buf_putc(out, w->text[i++]);
        }
    }
}

/* A line of a script from left to right: each run of turned words, numbers among them, is read backwards. */
static void put_left(tkr_buf *out, const word *words, size_t n) {
    for (size_t i = 0; i < n;) {
        size_t last = i;
        if (words[i].kind != RIGHT) {
            put(out, &words[i++], 0);
            continue;
        }
        for (size_t k = i; k < n && words[k].kind != LEFT; k++) {
            if (words[k].kind == RIGHT) last = k;
        }
        char end[8];
        const size_t n_end = stops(end, &words[last]);
        put(out, &words[last], n_end);
        for (size_t k = last; k-- > i;) put(out, &words[k], 0);
        tkr_buf_append(out, end, n_end);
        i = last + 1;
    }
}

/* A line from right to left: all is read backwards but runs of words from left to right. */
static void put_right(tkr_buf *out, const word *words, size_t n) {
    for (size_t i = n; i-- > 0;) {
        if (words[i].kind == LEFT) {
            size_t first = i;
            for (size_t k = i + 1; k-- > 0 && words[k].kind != RIGHT;) {
                if (words[k].kind == LEFT) first = k;
            }
            for (size_t k = first; k <= i; k++) put(out, &words[k], 0);
            i = first;
            continue;
        }
        char end[8];
        const size_t n_end = stops(end, &words[i]);
        put(out, &words[i], n_end);
        tkr_buf_append(out, end, n_end);
    }
}

static void put_line(tkr_buf *out, tkr_buf *words, const char *line, size_t n) {
    size_t n_left = 0, n_right = 0;
    words->size = 0;
    for (size_t at = 0; at < n;) {
        const char *blank = memchr(line + at, ' ', n - at);
        const size_t size = blank ? (size_t)(blank - line) - at : n - at;
        const word w = word_of(line + at, size);
        if (size > 0) tkr_buf_append(words, &w, sizeof w);
        n_left += w.kind == LEFT;
        n_right += w.kind == RIGHT;
        at += size + 1;
    }
    const word *list = (const word *)(const void *)words->data;
    const size_t n_words = words->size / sizeof *list;
    if (n_right > n_left) {
        put_right(out, list, n_words);
    } else {
        put_left(out, list, n_words);
    }
}

void tkr_doc_reading_order(tkr_buf *text) {
    tkr_buf out = {.cap = text->cap}, words = {.cap = text->cap};
    bool any = false;
    for (size_t i = 0; i < text->size && !any; i++) {
        const char *at = memchr(text->data + i, begins_turned[0], text->size - i);
        if (!at) return;
        i = (size_t)(at - text->data);
        any = tkr_doc_is_mark(at, text->size - i);
    }
    if (!any) return;
    for (size_t at = 0; at < text->size;) {
        const char *line = text->data + at, *end = memchr(line, '\n', text->size - at);
        const size_t n = end ? (size_t)(end - line) : text->size - at;
        put_line(&out, &words, line, n);
        if (end) tkr_buf_putc(&out, '\n');
        at += n + 1;
    }
    out.failed = out.failed || words.failed;
    tkr_buf_free(&words);
    tkr_buf_free(text);
    *text = out;
}
