/* SPDX-License-Identifier: Apache-2.0 */
/* Forms as clients send them, and everything that two readers could understand differently. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/multipart.h"

#define TYPE "multipart/form-data; boundary=xyz"
#define HEAD(name) "Content-Disposition: form-data; name=\"" name "\"\r\n\r\n"

typedef struct form {
    tkr_arena arena;
    tkr_form_part *parts;
    size_t n;
    tkr_error error;
    tkr_status status;
} form;

static void split(form *f, const char *type, const char *body, size_t size) {
    memset(f, 0, sizeof *f);
    f->status = tkr_multipart_read(&f->parts, &f->n, &f->arena, type, body, size, &f->error);
}

static void good(form *f, const char *type, const char *body, size_t size) {
    split(f, type, body, size);
    if (f->status != TKR_OK) {
        fail_msg("%s", f->error.message);
    }
}

static void bad(const char *type, const char *body, tkr_status status, const char *says) {
    form f;
    split(&f, type, body, strlen(body));
    if (f.status != status || strstr(f.error.message, says) == NULL) {
        fail_msg("status %d, \"%s\" for:\n%s", (int)f.status, f.error.message, body);
    }
    assert_null(f.parts);
    assert_int_equal(f.n, 0);
    tkr_arena_free(&f.arena);
}

static void check(const form *f, size_t i, const char *name, const char *file, const char *data) {
    assert_string_equal(f->parts[i].name, name);
    if (file == NULL) {
        assert_null(f->parts[i].file_name);
    } else {
        assert_string_equal(f->parts[i].file_name, file);
    }
    assert_int_equal(f->parts[i].size, strlen(data));
    assert_memory_equal(f->parts[i].data, data, strlen(data));
}

static void usual(void **state) {
    static const char body[] =
        "--xyz\r\n" HEAD("normalize") "true\r\n"
                                      "--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a b.png\"\r\n"
                                      "Content-Type: image/png\r\n\r\n\x89PNG\r\n\r\n--xy\r\n--xyz\r\n"
                                      "content-disposition:form-data;filename=plain;name=file\r\nX-Other: 1\r\n\r\n\r\n"
                                      "--xyz--\r\n";
    form f;
    (void)state;
    good(&f, TYPE, body, sizeof body - 1);
    assert_int_equal(f.n, 3);
    check(&f, 0, "normalize", NULL, "true");
    check(&f, 1, "file", "a b.png", "\x89PNG\r\n\r\n--xy");
    assert_string_equal(f.parts[1].content_type, "image/png");
    assert_null(f.parts[2].content_type);
    check(&f, 2, "file", "plain", "");
    tkr_arena_free(&f.arena);
}

static void spellings(void **state) {
    static const char quoted[] = "--a b'c\r\n" HEAD("x") "1\r\n--a b'c--";
    static const char names[] = "--xyz\r\nContent-Disposition: form-data; name=\"a\\\"b\\\\c\\d\"; "
                                "filename=\"C:\\x.jpg\"; filename*=UTF-8''x.jpg\r\n\r\n\r\n--xyz--\r\n";
    static const char zero[] = "--xyz\r\n" HEAD("x") "a\0b\r\n--xyz--\r\n";
    form f;
    (void)state;
    good(&f, "Multipart/Form-Data ; charset=utf-8 ;\tBOUNDARY=\"a b'c\"", quoted, sizeof quoted - 1);
    check(&f, 0, "x", NULL, "1");
    tkr_arena_free(&f.arena);
    good(&f, TYPE, names, sizeof names - 1);
    check(&f, 0, "a\"b\\c\\d", "C:\\x.jpg", "");
    tkr_arena_free(&f.arena);
    good(&f, TYPE, zero, sizeof zero - 1);
    assert_int_equal(f.parts[0].size, 3);
    assert_memory_equal(f.parts[0].data, "a\0b", 3);
    tkr_arena_free(&f.arena);
    good(&f, TYPE, "--xyz--\r\n", 9); /* a form without fields */
    assert_int_equal(f.n, 0);
    tkr_arena_free(&f.arena);
    /* an empty part whose boundary follows the head at once */
    good(&f, TYPE, "--xyz\r\n" HEAD("x") "\r\n--xyz--", 7 + strlen(HEAD("x")) + 9);
    check(&f, 0, "x", NULL, "");
    tkr_arena_free(&f.arena);
}

static void bad_types(void **state) {
    static const char body[] = "--xyz\r\n" HEAD("x") "1\r\n--xyz--";
    (void)state;
    bad("multipart/form-data", body, TKR_FORMAT, "without a boundary");
    bad("multipart/form-data; boundary=", body, TKR_FORMAT, "can't be read");
    bad("multipart/form-data; boundary=\"\"", body, TKR_FORMAT, "is not 1 to 70");
    bad("multipart/form-data; boundary=\"xyz", body, TKR_FORMAT, "can't be read");
    bad("multipart/form-data; boundary=\"xyz \"", body, TKR_FORMAT, "is not 1 to 70");
    bad("multipart/form-data; boundary=x{z", body, TKR_FORMAT, "can't be read");
    bad("multipart/form-data; boundary=\"x{z\"", body, TKR_FORMAT, "is not 1 to 70");
    bad("multipart/form-data; boundary=xyz; boundary=abc", body, TKR_FORMAT, "two boundaries");
    bad("multipart/form-data, boundary=xyz", body, TKR_FORMAT, "can't be read");
    bad("multipart/form-data; boundary=xyz; ", body, TKR_FORMAT, "can't be read");
    bad("multipart/mixed; boundary=xyz", body, TKR_FORMAT, "expected multipart/form-data");
    bad("multipart/form-data; "
        "boundary=12345678901234567890123456789012345678901234567890123456789012345678901",
        body, TKR_FORMAT, "is not 1 to 70");
}

static void bad_bodies(void **state) {
    static const struct {
        const char *body, *says;
    } rows[] = {
        {"", "does not begin"},
        {"\r\n--xyz\r\n" HEAD("x") "1\r\n--xyz--", "does not begin"},
        {"preamble\r\n--xyz\r\n" HEAD("x") "1\r\n--xyz--", "does not begin"},
        {"--xyz", "boundary 0 is not followed"},
        {"--xyz-", "boundary 0 is not followed"},
        {"--xyz\n" HEAD("x") "1\r\n--xyz--", "boundary 0 is not followed"},
        {"--xyz \r\n" HEAD("x") "1\r\n--xyz--", "boundary 0 is not followed"},
        {"--xyzw\r\n" HEAD("x") "1\r\n--xyz--", "boundary 0 is not followed"},
        {"--xyz\r\n", "part 0: the head does not end"},
        {"--xyz\r\nContent-Disposition: form-data; name=\"x\"\r", "the head does not end"},
        {"--xyz\r\nContent-Disposition: form-data; name=\"x\"\n\n1\r\n--xyz--", "does not end in CR LF"},
        {"--xyz\r\nContent-Disposition: form-data; name=\"x\"\r\rX: 1\r\n\r\n1\r\n--xyz--", "does not end in CR LF"},
        {"--xyz\r\n\r\n1\r\n--xyz--", "no Content-Disposition"},
        {"--xyz\r\nContent-Type: text/plain\r\n\r\n1\r\n--xyz--", "no Content-Disposition"},
        {"--xyz\r\nno colon\r\n\r\n1\r\n--xyz--", "without \"name:\""},
        {"--xyz\r\n: x\r\n\r\n1\r\n--xyz--", "without \"name:\""},
        {"--xyz\r\nContent-Disposition : form-data; name=\"x\"\r\n\r\n1\r\n--xyz--", "without \"name:\""},
        {"--xyz\r\nContent-Disposition: form-data;\r\n name=\"x\"\r\n\r\n1\r\n--xyz--", "can't be read"},
        {"--xyz\r\nContent-Disposition: attachment; name=\"x\"\r\n\r\n1\r\n--xyz--", "is not form-data"},
        {"--xyz\r\nContent-Disposition: form-data\r\n\r\n1\r\n--xyz--", "without a name"},
        {"--xyz\r\nContent-Disposition: form-data; name=\"\"\r\n\r\n1\r\n--xyz--", "without a name"},
        {"--xyz\r\nContent-Disposition: form-data; name=\"x\r\n\r\n1\r\n--xyz--", "can't be read"},
        {"--xyz\r\nContent-Disposition: form-data; name=x y\r\n\r\n1\r\n--xyz--", "can't be read"},
        {"--xyz\r\nContent-Disposition: form-data; name=x; name=y\r\n\r\n1\r\n--xyz--", "name stands there twice"},
        {"--xyz\r\nContent-Disposition: form-data; name=x; filename=a; filename=b\r\n\r\n1\r\n--xyz--", "twice"},
        {"--xyz\r\nContent-Disposition: form-data; name=\"a\tb\"\r\n\r\n1\r\n--xyz--", "control characters"},
        {"--xyz\r\nContent-Disposition: form-data; name=\"a\xff\"\r\n\r\n1\r\n--xyz--", "invalid UTF-8"},
        {"--xyz\r\nContent-Disposition: form-data; name=x\r\nContent-Disposition: form-data; "
         "name=x\r\n\r\n1\r\n--xyz--",
         "two Content-Disposition"},
        {"--xyz\r\nContent-Type: a/b\r\nContent-Type: a/b\r\n" HEAD("x") "1\r\n--xyz--", "two Content-Type"},
        {"--xyz\r\nContent-Type: multipart/mixed; boundary=q\r\n" HEAD("x") "1\r\n--xyz--", "within a part"},
        {"--xyz\r\nContent-Transfer-Encoding: base64\r\n" HEAD("x") "MQ==\r\n--xyz--", "is not allowed"},
        {"--xyz\r\n" HEAD("x") "1", "the boundary that ends it is missing"},
        {"--xyz\r\n" HEAD("x") "1--xyz--", "the boundary that ends it is missing"},
        {"--xyz\r\n" HEAD("x") "1\n--xyz--", "the boundary that ends it is missing"},
        {"--xyz\r\n" HEAD("x") "1\r\n--xyz", "boundary 1 is not followed"},
        {"--xyz\r\n" HEAD("x") "1\r\n--xyz--epilogue", "goes on behind its last boundary"},
        {"--xyz\r\n" HEAD("x") "1\r\n--xyz--\r\n\r\n", "goes on behind its last boundary"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bad(TYPE, rows[i].body, TKR_FORMAT, rows[i].says);
    }
}

/* Every shorter body is refused, and reads nothing beyond its end. */
static void cut_anywhere(void **state) {
    static const char body[] = "--xyz\r\n" HEAD("a") "1\r\n--xyz\r\n" HEAD("b") "\r\n--xyz--";
    (void)state;
    for (size_t n = 0; n < sizeof body - 1; n++) {
        form f;
        char *copy = tkr_malloc(n);
        assert_non_null(copy);
        memcpy(copy, body, n);
        split(&f, TYPE, copy, n);
        assert_int_equal(f.status, TKR_FORMAT);
        tkr_arena_free(&f.arena);
        tkr_free(copy);
    }
}

static void limits(void **state) {
    tkr_buf body = {0};
    form f;
    (void)state;
    for (int i = 0; i < TKR_MULTIPART_PARTS; i++) {
        tkr_buf_printf(&body, "%s--xyz\r\n" HEAD("x") "1", i > 0 ? "\r\n" : "");
    }
    const size_t n = body.size;
    tkr_buf_printf(&body, "\r\n--xyz--");
    good(&f, TYPE, body.data, body.size);
    assert_int_equal(f.n, TKR_MULTIPART_PARTS);
    tkr_arena_free(&f.arena);
    body.size = n;
    tkr_buf_printf(&body, "\r\n--xyz\r\n" HEAD("x") "1\r\n--xyz--");
    bad(TYPE, body.data, TKR_LIMIT, "more than 1024 parts");
    body.size = 0;
    tkr_buf_printf(&body, "--xyz\r\nX-Long: ");
    while (body.size < TKR_MULTIPART_HEAD + 20) {
        tkr_buf_putc(&body, 'a');
    }
    tkr_buf_printf(&body, "\r\n" HEAD("x") "1\r\n--xyz--");
    bad(TYPE, body.data, TKR_LIMIT, "a head of more than 8192 bytes");
    tkr_buf_free(&body);
}

/* A head full of parameters must not cost much more memory than it has bytes. */
static void no_amplification(void **state) {
    tkr_buf body = {0};
    form f;
    (void)state;
    tkr_buf_printf(&body, "--xyz\r\nContent-Disposition: form-data; name=x");
    while (body.size < TKR_MULTIPART_HEAD - 10) {
        tkr_buf_printf(&body, ";a=\"\"");
    }
    tkr_buf_printf(&body, "\r\n\r\n1\r\n--xyz--");
    good(&f, TYPE, body.data, body.size);
    assert_true(f.arena.used < (size_t)8 * TKR_MULTIPART_HEAD + TKR_MULTIPART_PARTS * sizeof(tkr_form_part));
    tkr_arena_free(&f.arena);
    tkr_buf_free(&body);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(usual),           cmocka_unit_test(spellings),
                                       cmocka_unit_test(bad_types),       cmocka_unit_test(bad_bodies),
                                       cmocka_unit_test(cut_anywhere),    cmocka_unit_test(limits),
                                       cmocka_unit_test(no_amplification)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
