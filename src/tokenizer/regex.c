/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer/regex: PCRE2 with limits, JIT-compiled where the CPU allows it, for patterns that aren't known. Its Unicode
 * version is the library's own (14 in Debian 12). Refuses constructs that Oniguruma reads differently. */
#include "tokenizer/regex.h"

#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* What one match may cost: backtracking steps, then KiB of heap; and the stack of the compiled code. */
enum { MATCH_LIMIT = 2000000, HEAP_LIMIT_KIB = 64 << 10, STACK_FIRST = 32 << 10, STACK_MOST = 4 << 20 };

struct tkr_tok_regex {
    tkr_tok_tile_fn tile; /* NULL: code */
    pcre2_code *code;
    const char *pattern; /* for messages */
    struct tkr_tok_regex *next;
};

/* What a thread needs to match. */
typedef struct tkr_tok_matching {
    pcre2_general_context *general;
    pcre2_match_context *context;
    pcre2_match_data *data;
    pcre2_jit_stack *stack;
} tkr_tok_matching;

static void *take(size_t size, void *user) {
    (void)user;
    return tkr_malloc(size);
}

static void give(void *block, void *user) {
    (void)user;
    tkr_free(block);
}

/* ---- from Oniguruma's syntax ---- */

/* The reference's \s; PCRE2's own also holds U+180E. */
static const char spaces[] =
    "\\t-\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}";

typedef struct translation {
    tkr_buf out;
    const char *p; /* the pattern, [n] */
    size_t n, at;
    const char *difference; /* what the two libraries read differently, NULL: nothing so far */
} translation;

static void copy(translation *t, size_t count) {
    for (; count > 0 && t->at < t->n; count--) {
        (void)tkr_buf_putc(&t->out, t->p[t->at++]);
    }
}

static char peek(const translation *t, size_t ahead) { return t->n - t->at > ahead ? t->p[t->at + ahead] : '\0'; }

/* At a backslash. */
static void translate_escape(translation *t, bool in_class) {
    const char c = peek(t, 1);
    if (c == 'h' || c == 'H') {
        t->difference = "\\h (a hexadecimal digit to the one, white space to the other)";
    } else if (c != '\0' && strchr("QENyYO", c) != NULL) {
        t->difference = "an escape that the two libraries read differently";
    }
    if (c == 's' || (c == 'S' && !in_class)) {
        (void)tkr_buf_printf(&t->out, in_class ? "%s" : c == 's' ? "[%s]" : "[^%s]", spaces);
        t->at += 2;
        return;
    }
    const char *close = peek(t, 2) == '{' ? memchr(t->p + t->at, '}', t->n - t->at) : NULL; /* \p{L}, \x{85} */
    copy(t, close != NULL ? (size_t)(close - (t->p + t->at)) + 1 : 2);
}

/* At the bracket that opens a class. */
static void translate_class(translation *t) {
    copy(t, peek(t, 1) == '^' ? 2 : 1);
    if (peek(t, 0) == ']') { /* a literal bracket in both */
        copy(t, 1);
    }
    while (t->at < t->n && peek(t, 0) != ']') {
        if (peek(t, 0) == '\\') {
            translate_escape(t, true);
        } else if (peek(t, 0) == '[' && peek(t, 1) == ':') { /* [:alpha:] */
            const char *close = memchr(t->p + t->at, ']', t->n - t->at);
            copy(t, close != NULL ? (size_t)(close - (t->p + t->at)) + 1 : t->n);
        } else {
            if (peek(t, 0) == '[' || (peek(t, 0) == '&' && peek(t, 1) == '&')) {
                t->difference = "a class or an intersection inside a class";
            }
            copy(t, 1);
        }
    }
    copy(t, 1);
}

/* (?i) and (?x) are the same in both; Oniguruma's (?m) is PCRE2's (?s). */
static void check_options(translation *t) {
    for (size_t k = 2; peek(t, k) != '\0' && strchr("imsxnaJUWDS-", peek(t, k)) != NULL; k++) {
        if (peek(t, k) != 'i' && peek(t, k) != '-' && peek(t, k) != 'x') {
            t->difference = "an inline option other than i and x";
        }
    }
}

static void translate(translation *t) {
    while (t->at < t->n) {
        switch (peek(t, 0)) {
        case '\\': translate_escape(t, false); break;
        case '[': translate_class(t); break;
        case '(':
            if (peek(t, 1) == '?') {
                check_options(t);
            }
            copy(t, 1);
            break;
        case '}':
            if (peek(t, 1) == '+') {
                t->difference = "a possessive {n,m}+";
            }
            copy(t, 1);
            break;
        default: copy(t, 1); break;
        }
    }
}

/* ---- compiling ---- */

/* NULL when out of memory. */
static tkr_tok_regex *new_regex(tkr_tok *tok, const char *pattern, size_t n) {
    tkr_tok_regex *regex = tkr_arena_alloc(&tok->arena, sizeof *regex);
    char *kept = tkr_arena_strndup(&tok->arena, pattern, n);
    if (regex == NULL || kept == NULL) {
        return NULL;
    }
    regex->pattern = kept;
    regex->next = tok->regexes;
    tok->regexes = regex;
    return regex;
}

static tkr_status no_memory(const tkr_tok_loader *loader) {
    return TKR_FAIL(loader->error, NO_MEMORY, "%s: no memory for a regular expression", loader->what);
}

/* NULL: *code says why. */
static pcre2_code *compile(const tkr_buf *text, int *code, size_t *at) {
    pcre2_code *compiled = NULL;
    pcre2_general_context *general = pcre2_general_context_create(take, give, NULL);
    pcre2_compile_context *context = general != NULL ? pcre2_compile_context_create(general) : NULL;
    *code = PCRE2_ERROR_HEAP_FAILED;
    if (context != NULL) {
        const char *pattern = text->size > 0 ? text->data : "";
        /* In Ruby's syntax ^ and $ are those of lines. */
        compiled = pcre2_compile((PCRE2_SPTR)pattern, text->size,
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, code, at, context);
    }
    pcre2_compile_context_free(context);
    pcre2_general_context_free(general);
    if (compiled != NULL) {
        (void)pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE); /* without it, it is only slower */
    }
    return compiled;
}

tkr_status tkr_tok_regex_compile(const tkr_tok_regex **out, tkr_tok_loader *loader, const char *pattern, size_t n) {
    tkr_tok_regex *regex = new_regex(loader->tok, pattern, n);
    if (regex == NULL) {
        return no_memory(loader);
    }
    translation t = {.p = pattern, .n = n};
    translate(&t);
    int code = PCRE2_ERROR_HEAP_FAILED;
    size_t at = 0;
    if (t.difference == NULL && !t.out.failed) {
        regex->code = compile(&t.out, &code, &at);
    }
    tkr_buf_free(&t.out);
    if (t.difference != NULL) {
        return TKR_FAIL(loader->error, UNSUPPORTED, "%s: the regular expression \"%.80s\" is not supported: it has %s",
                        loader->what, regex->pattern, t.difference);
    }
    if (regex->code == NULL && code == PCRE2_ERROR_HEAP_FAILED) {
        return no_memory(loader);
    }
    if (regex->code == NULL) {
        char why[120] = "";
        (void)pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        return TKR_FAIL(loader->error, UNSUPPORTED, "%s: the regular expression \"%.80s\" is not supported: %s at %zu",
                        loader->what, regex->pattern, why, at);
    }
    *out = regex;
    return TKR_OK;
}

tkr_status tkr_tok_regex_add(const tkr_tok_regex **out, tkr_tok_loader *loader, const char *pattern, size_t n) {
    const tkr_tok_tile_fn tile = tkr_tok_known_pattern(pattern, n);
    if (tile == NULL) {
        return tkr_tok_regex_compile(out, loader, pattern, n);
    }
    tkr_tok_regex *regex = new_regex(loader->tok, pattern, n);
    if (regex == NULL) {
        return no_memory(loader);
    }
    regex->tile = tile;
    *out = regex;
    return TKR_OK;
}

tkr_tok_tile_fn tkr_tok_regex_tile(const tkr_tok_regex *regex) { return regex->tile; }

void tkr_tok_regexes_free(tkr_tok *tok) {
    for (tkr_tok_regex *regex = tok->regexes; regex != NULL; regex = regex->next) {
        pcre2_code_free(regex->code);
        regex->code = NULL;
    }
    tok->regexes = NULL;
}

void tkr_tok_matching_free(tkr_tok_matching **matching) {
    tkr_tok_matching *m = *matching;
    if (m == NULL) {
        return;
    }
    pcre2_jit_stack_free(m->stack);
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->context);
    pcre2_general_context_free(m->general);
    tkr_free(m);
    *matching = NULL;
}

static tkr_tok_matching *new_matching(void) {
    tkr_tok_matching *m = tkr_calloc(1, sizeof *m);
    if (m == NULL) {
        return NULL;
    }
    m->general = pcre2_general_context_create(take, give, NULL);
    m->context = m->general != NULL ? pcre2_match_context_create(m->general) : NULL;
    m->data = m->general != NULL ? pcre2_match_data_create(1, m->general) : NULL;
    m->stack = m->general != NULL ? pcre2_jit_stack_create(STACK_FIRST, STACK_MOST, m->general) : NULL;
    if (m->context == NULL || m->data == NULL) {
        tkr_tok_matching_free(&m);
        return NULL;
    }
    (void)pcre2_set_match_limit(m->context, MATCH_LIMIT);
    (void)pcre2_set_heap_limit(m->context, HEAP_LIMIT_KIB);
    if (m->stack != NULL) {
        pcre2_jit_stack_assign(m->context, NULL, m->stack);
    }
    return m;
}

/* PCRE2's part of a step: a match at or behind search->from. */
static tkr_tok_found match(tkr_tok_search *search) {
    tkr_tok_scratch *scratch = search->scratch;
    if (scratch->matching == NULL) {
        scratch->matching = new_matching();
    }
    tkr_tok_matching *m = scratch->matching;
    if (m == NULL) {
        return TKR_TOK_SEARCH_FAILED;
    }
    /* search->text is valid UTF-8: a check at each call would make the walk quadratic. */
    const int rc = pcre2_match(search->regex->code, (PCRE2_SPTR)search->text, search->size, search->from,
                               PCRE2_NO_UTF_CHECK, m->data, m->context);
    if (rc == PCRE2_ERROR_NOMATCH) {
        return TKR_TOK_NOT_FOUND;
    }
    if (rc < 0) {
        scratch->problem = rc == PCRE2_ERROR_NOMEMORY ? NULL : search->regex->pattern;
        return TKR_TOK_SEARCH_FAILED;
    }
    const PCRE2_SIZE *range = pcre2_get_ovector_pointer(m->data);
    search->begin = range[0] < range[1] ? range[0] : range[1]; /* \K can swap them */
    search->end = range[1];
    return TKR_TOK_FOUND;
}

tkr_tok_found tkr_tok_search_next(tkr_tok_search *search) {
    if (search->regex->tile != NULL) {
        if (search->from >= search->size) {
            return TKR_TOK_NOT_FOUND;
        }
        search->begin = search->from;
        search->end = search->regex->tile(search->text, search->size, search->from);
        search->from = search->end;
        return TKR_TOK_FOUND;
    }
    while (search->from <= search->size) {
        const tkr_tok_found found = match(search);
        if (found != TKR_TOK_FOUND) {
            return found;
        }
        if (search->begin < search->end || search->end != search->last) {
            search->from = search->end;
            search->last = search->end;
            return TKR_TOK_FOUND;
        }
        /* An empty match right behind the last match doesn't count: on with the next character. */
        search->from += search->from < search->size ? tkr_tok_char_size(search->text[search->from]) : 1;
    }
    return TKR_TOK_NOT_FOUND;
}
