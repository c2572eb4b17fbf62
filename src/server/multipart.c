/* SPDX-License-Identifier: Apache-2.0 */
/* server/multipart: boundary, heads, names. */
#include "server/multipart.h"

#include <string.h>

#include "core/utf8.h"

enum { MAX_BOUNDARY = 70 }; /* RFC 2046, 5.1.1 */

typedef struct splitter {
    const char *at, *end;
    char mark[MAX_BOUNDARY + 5]; /* CR LF - - boundary */
    size_t n_mark;
    tkr_form_part *parts; /* [n], room for TKR_MULTIPART_PARTS */
    size_t n;
    tkr_arena *arena;
    tkr_error *error;
} splitter;

/* A piece of the body. */
typedef struct piece {
    const char *text;
    size_t size;
} piece;

static char lower(char c) { return (char)(c >= 'A' && c <= 'Z' ? c + 32 : c); }

/* Whether text begins with the word, whatever its case. */
static bool begins(piece text, const char *word) {
    size_t i = 0;
    while (i < text.size && word[i] != '\0' && lower(text.text[i]) == word[i]) {
        i++;
    }
    return word[i] == '\0';
}

static bool is(piece text, const char *word) { return text.size == strlen(word) && begins(text, word); }

static void skip(piece *text, size_t n) {
    text->text += n;
    text->size -= n;
}

static void skip_blanks(piece *text) {
    while (text->size > 0 && (*text->text == ' ' || *text->text == '\t')) {
        skip(text, 1);
    }
}

static bool is_token(char c) { /* RFC 9110, 5.6.2 */
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static piece take_token(piece *text) {
    piece token = {text->text, 0};
    while (token.size < text->size && is_token(text->text[token.size])) {
        token.size++;
    }
    skip(text, token.size);
    return token;
}

/* `"..."`, in which \" and \\ stand for " and \ (other backslashes are themselves: paths of Windows). NULL: not closed,
 * or no memory. */
static char *take_quoted(piece *text, tkr_arena *arena, size_t *n) {
    size_t end = 1;
    while (end < text->size && text->text[end] != '"') {
        const bool escape = text->text[end] == '\\' && end + 1 < text->size &&
                            (text->text[end + 1] == '"' || text->text[end + 1] == '\\');
        end += escape ? 2 : 1;
    }
    char *out = end < text->size ? tkr_arena_alloc(arena, end) : NULL;
    *n = 0;
    for (size_t i = 1; out != NULL && i < end; i++) {
        i += text->text[i] == '\\' && (text->text[i + 1] == '"' || text->text[i + 1] == '\\');
        out[(*n)++] = text->text[i];
    }
    skip(text, end < text->size ? end + 1 : text->size);
    return out;
}

/* The value of one parameter, behind ';': `name=token` or `name="text"`. NULL: something else stands there. */
static char *take_parameter(piece *text, piece *name, tkr_arena *arena, size_t *n) {
    skip_blanks(text);
    *name = take_token(text);
    if (name->size == 0 || text->size == 0 || *text->text != '=') {
        return NULL;
    }
    skip(text, 1);
    if (text->size > 0 && *text->text == '"') {
        return take_quoted(text, arena, n);
    }
    const piece token = take_token(text);
    *n = token.size;
    return token.size > 0 ? tkr_arena_strndup(arena, token.text, token.size) : NULL;
}

/* Takes the next parameter: true behind ';', false at the end; *good is false for anything that can't be read. */
static bool next_parameter(piece *text, piece *name, const char **value, size_t *n, const splitter *s, bool *good) {
    skip_blanks(text);
    *good = text->size == 0 || *text->text == ';';
    if (text->size == 0 || !*good) {
        return false;
    }
    skip(text, 1);
    *value = take_parameter(text, name, s->arena, n);
    *good = *value != NULL;
    return *good;
}

/* ---- the boundary ---- */

static tkr_status find_boundary(splitter *s, const char *content_type) {
    piece text = {content_type, strlen(content_type)}, name;
    bool good = true;
    const char *boundary = NULL, *value = NULL;
    size_t n_boundary = 0, n = 0;
    if (!begins(text, "multipart/form-data")) {
        return TKR_FAIL(s->error, FORMAT, "Content-Type is \"%.80s\", expected multipart/form-data", content_type);
    }
    skip(&text, strlen("multipart/form-data"));
    while (next_parameter(&text, &name, &value, &n, s, &good)) {
        if (!is(name, "boundary")) {
            continue;
        }
        if (boundary != NULL) {
            return TKR_FAIL(s->error, FORMAT, "Content-Type names two boundaries");
        }
        boundary = value;
        n_boundary = n;
    }
    if (!good) {
        return TKR_FAIL(s->error, FORMAT, "Content-Type \"%.100s\" has a parameter that can't be read", content_type);
    }
    if (boundary == NULL) {
        return TKR_FAIL(s->error, FORMAT, "Content-Type multipart/form-data without a boundary");
    }
    bool plain = n_boundary > 0 && n_boundary <= MAX_BOUNDARY && boundary[n_boundary - 1] != ' ';
    for (size_t i = 0; i < n_boundary && plain; i++) {
        const char c = boundary[i];
        plain = (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z') ||
                (c != '\0' && strchr("'()+_,-./:=? ", c) != NULL);
    }
    if (!plain) {
        return TKR_FAIL(s->error, FORMAT, "the boundary \"%.80s\" is not 1 to %d of the characters that it may have",
                        boundary, (int)MAX_BOUNDARY);
    }
    memcpy(s->mark, "\r\n--", 4);
    memcpy(s->mark + 4, boundary, n_boundary);
    s->n_mark = n_boundary + 4;
    return TKR_OK;
}

/* The next delimiter from `at`, NULL: none. */
static const char *find_mark(const splitter *s, const char *at) {
    while ((size_t)(s->end - at) >= s->n_mark) {
        at = memchr(at, '\r', (size_t)(s->end - at) - s->n_mark + 1);
        if (at == NULL || memcmp(at, s->mark, s->n_mark) == 0) {
            return at;
        }
        at++;
    }
    return NULL;
}

/* ---- a part ---- */

/* Texts in names and messages: UTF-8 without control characters. */
static bool is_clean(const char *text, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7F) {
            return false;
        }
    }
    return tkr_utf8_valid_prefix(text, n) == n;
}

static tkr_status read_disposition(splitter *s, tkr_form_part *part, piece text) {
    piece name;
    bool good = true;
    const char *value = NULL;
    size_t n = 0;
    const piece kind = take_token(&text);
    if (!is(kind, "form-data")) {
        return TKR_FAIL(s->error, FORMAT, "part %zu: Content-Disposition is not form-data", s->n);
    }
    if (part->name != NULL) {
        return TKR_FAIL(s->error, FORMAT, "part %zu: two Content-Disposition fields", s->n);
    }
    while (next_parameter(&text, &name, &value, &n, s, &good)) {
        if (!is_clean(value, n)) {
            return TKR_FAIL(s->error, FORMAT, "part %zu: a name holds control characters or invalid UTF-8", s->n);
        }
        const bool is_name = is(name, "name"), is_file = is(name, "filename"), is_other = is(name, "filename*");
        if ((is_name && part->name != NULL) || (is_file && part->file_name != NULL)) {
            return TKR_FAIL(s->error, FORMAT, "part %zu: %.*s stands there twice", s->n, (int)name.size, name.text);
        }
        if (is_name) {
            part->name = value;
        } else if (is_file || (is_other && part->file_name == NULL)) {
            part->file_name = value;
        }
    }
    if (!good) {
        return TKR_FAIL(s->error, FORMAT, "part %zu: Content-Disposition has a parameter that can't be read", s->n);
    }
    if (part->name == NULL || part->name[0] == '\0') {
        return TKR_FAIL(s->error, FORMAT, "part %zu: Content-Disposition without a name", s->n);
    }
    return TKR_OK;
}

static tkr_status read_field(splitter *s, tkr_form_part *part, piece line) {
    const piece name = take_token(&line);
    if (name.size == 0 || line.size == 0 || *line.text != ':') {
        return TKR_FAIL(s->error, FORMAT, "part %zu: a head line without \"name:\"", s->n);
    }
    skip(&line, 1);
    skip_blanks(&line);
    if (is(name, "content-disposition")) {
        return read_disposition(s, part, line);
    }
    if (is(name, "content-type")) {
        if (part->content_type != NULL) {
            return TKR_FAIL(s->error, FORMAT, "part %zu: two Content-Type fields", s->n);
        }
        if (begins(line, "multipart/")) {
            return TKR_FAIL(s->error, FORMAT, "part %zu: a multipart body within a part", s->n);
        }
        if (!is_clean(line.text, line.size)) {
            return TKR_FAIL(s->error, FORMAT, "part %zu: Content-Type holds control characters", s->n);
        }
        part->content_type = tkr_arena_strndup(s->arena, line.text, line.size);
        return part->content_type != NULL ? TKR_OK : TKR_FAIL(s->error, NO_MEMORY, "no memory for the form");
    }
    if (is(name, "content-transfer-encoding") && !is(line, "binary") && !is(line, "8bit") && !is(line, "7bit")) {
        return TKR_FAIL(s->error, FORMAT,
                        "part %zu: Content-Transfer-Encoding \"%.*s\" is not allowed; send it as it is", s->n,
                        (int)(line.size < 20 ? line.size : 20), line.text);
    }
    return TKR_OK; /* others say nothing that we need */
}

/* From behind a delimiter's line end: fields, an empty line. */
static tkr_status read_head(splitter *s, tkr_form_part *part) {
    const char *begin = s->at;
    for (;;) {
        const char *line = s->at, *cr = memchr(line, '\r', (size_t)(s->end - line));
        if (cr == NULL || cr + 1 == s->end) {
            return TKR_FAIL(s->error, FORMAT, "part %zu: the head does not end", s->n);
        }
        if (cr[1] != '\n' || memchr(line, '\n', (size_t)(cr - line)) != NULL) {
            return TKR_FAIL(s->error, FORMAT, "part %zu: a head line does not end in CR LF", s->n);
        }
        if (cr - begin > TKR_MULTIPART_HEAD) {
            return TKR_FAIL(s->error, LIMIT, "part %zu: a head of more than %d bytes", s->n, (int)TKR_MULTIPART_HEAD);
        }
        s->at = cr + 2;
        if (cr == line) {
            break;
        }
        const tkr_status status = read_field(s, part, (piece){line, (size_t)(cr - line)});
        if (status != TKR_OK) {
            return status;
        }
    }
    return part->name != NULL ? TKR_OK
                              : TKR_FAIL(s->error, FORMAT, "part %zu: no Content-Disposition: form-data", s->n);
}

/* Behind a delimiter: *last when "--" and the end follow, else a line end. */
static tkr_status end_mark(splitter *s, bool *last) {
    const size_t left = (size_t)(s->end - s->at);
    *last = left >= 2 && memcmp(s->at, "--", 2) == 0;
    if (*last) {
        s->at += 2;
        s->at += left >= 4 && memcmp(s->at, "\r\n", 2) == 0 ? 2 : 0;
        return s->at == s->end ? TKR_OK : TKR_FAIL(s->error, FORMAT, "the form goes on behind its last boundary");
    }
    if (left < 2 || memcmp(s->at, "\r\n", 2) != 0) {
        return TKR_FAIL(s->error, FORMAT, "boundary %zu is not followed by a line end or \"--\"", s->n);
    }
    s->at += 2;
    return TKR_OK;
}

static tkr_status split(splitter *s) {
    bool last = false;
    tkr_status status = end_mark(s, &last);
    while (status == TKR_OK && !last) {
        if (s->n == TKR_MULTIPART_PARTS) {
            return TKR_FAIL(s->error, LIMIT, "a form of more than %d parts", (int)TKR_MULTIPART_PARTS);
        }
        tkr_form_part *part = &s->parts[s->n];
        status = read_head(s, part);
        if (status != TKR_OK) {
            break;
        }
        /* an empty part ends with the CR LF that ends its head */
        const char *mark = find_mark(s, s->at - 2);
        if (mark == NULL) {
            return TKR_FAIL(s->error, FORMAT, "part %zu (\"%.60s\"): the boundary that ends it is missing", s->n,
                            part->name);
        }
        part->data = mark < s->at ? mark : s->at;
        part->size = mark < s->at ? 0 : (size_t)(mark - s->at);
        s->at = mark + s->n_mark;
        s->n++;
        status = end_mark(s, &last);
    }
    return status;
}

tkr_status tkr_multipart_read(tkr_form_part **parts, size_t *n, tkr_arena *arena, const char *content_type,
                              const char *body, size_t size, tkr_error *error) {
    splitter s = {.at = body, .end = body + size, .arena = arena, .error = error};
    *parts = NULL;
    *n = 0;
    tkr_status status = find_boundary(&s, content_type);
    if (status != TKR_OK) {
        return status;
    }
    if (size < s.n_mark - 2 || memcmp(body, s.mark + 2, s.n_mark - 2) != 0) {
        return TKR_FAIL(error, FORMAT, "the form does not begin with \"--\" and its boundary");
    }
    s.at += s.n_mark - 2;
    s.parts = tkr_arena_alloc(arena, TKR_MULTIPART_PARTS * sizeof *s.parts);
    if (s.parts == NULL) {
        return TKR_FAIL(error, NO_MEMORY, "no memory for the form");
    }
    status = split(&s);
    if (status == TKR_OK) {
        *parts = s.parts;
        *n = s.n;
    }
    return status;
}
