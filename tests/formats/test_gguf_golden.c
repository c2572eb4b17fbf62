/* SPDX-License-Identifier: Apache-2.0 */
/* GGUF files as gguf-py and llama.cpp write them: every block format decoded to the last bit and the linear layer
 * within its tolerance (golden/quant/gguf), the layout file's metadata and shapes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "formats/gguf.h"
#include "quant/matrix.h"

#define FOLDER TKR_TEST_DIR "/golden/quant/gguf/"

enum { N = 4, K = 512, M = 3 };

static tkr_tensors *open_expected(const char *name) {
    char path[512];
    tkr_tensors *set = NULL;
    tkr_error error;
    snprintf(path, sizeof path, FOLDER "%s.safetensors", name);
    if (tkr_tensors_open_file(&set, path, &error) != TKR_OK) fail_msg("%s", error.message);
    return set;
}

static tkr_gguf *open_gguf(const char *name) {
    char path[512];
    tkr_gguf *file = NULL;
    tkr_error error;
    snprintf(path, sizeof path, FOLDER "%s.gguf", name);
    if (tkr_gguf_open(&file, path, &error) != TKR_OK) fail_msg("%s", error.message);
    return file;
}

static tkr_tensors *tensors_of(const tkr_gguf *file) {
    tkr_tensors *set = NULL;
    tkr_error error;
    if (tkr_gguf_tensors(&set, file, NULL, NULL, &error) != TKR_OK) fail_msg("%s", error.message);
    return set;
}

static const float *expect(const tkr_tensors *set, const char *part, const char *what, size_t n) {
    char name[64];
    snprintf(name, sizeof name, "%s.%s", part, what);
    const tkr_tensor_view *view = tkr_tensors_find(set, name);
    assert_non_null(view);
    assert_int_equal(view->n_elements, n);
    return view->data;
}

/* value = code * scale + bias, as the q4 kernels take it; only a zero's sign may differ. */
static void check_group4(const tkr_matrix *m, const float *want, size_t row) {
    const size_t group = tkr_matrix_group4(m);
    uint8_t codes[K];
    float scale[K / 32], bias[K / 32];
    const bool takes = m->dtype == TKR_DTYPE_Q4_0 || m->dtype == TKR_DTYPE_Q4_1 || m->dtype == TKR_DTYPE_Q4_K;
    assert_int_equal(group, takes ? 32 : 0);
    if (!takes) return;
    tkr_matrix_row_group4(codes, scale, bias, m, row);
    for (size_t k = 0; k < K; k++) {
        const float product = (float)codes[k] * scale[k / group];
        assert_true(codes[k] < 16);
        assert_true(product + bias[k / group] == want[k]);
    }
}

static void check_part(const tkr_tensors *set, const tkr_tensors *expected, const char *part, tkr_dtype dtype) {
    float row[K];
    char name[64];
    tkr_tensors *source = open_expected("source");
    const float *x = tkr_tensors_find(source, "x")->data, *want = expect(expected, part, "dequantized", N * K);
    const float *y = expect(expected, part, "y", M * N), *y_abs = expect(expected, part, "y_abs", M * N);
    snprintf(name, sizeof name, "%s.weight", part);
    const tkr_tensor_view *view = tkr_tensors_find(set, name);
    assert_non_null(view);
    assert_int_equal(view->dtype, dtype);
    assert_int_equal(view->n_dims, 2);
    assert_true(view->shape[0] == N && view->shape[1] == K);
    const tkr_matrix m = {.data = view->data, .dtype = view->dtype, .rows = N, .cols = K};
    assert_int_equal(view->size, N * tkr_matrix_row_bytes(&m));
    for (size_t r = 0; r < N; r++) {
        tkr_matrix_row(row, &m, r);
        for (size_t k = 0; k < K; k++) {
            if (memcmp(&row[k], &want[r * K + k], 4) == 0) continue;
            fail_msg("%s of %s: [%zu, %zu] is %.9g, expected %.9g", tkr_dtype_name(dtype), part, r, k, (double)row[k],
                     (double)want[r * K + k]);
        }
        check_group4(&m, want + r * K, r);
        for (size_t i = 0; i < M; i++) {
            float sum = 0;
            for (size_t k = 0; k < K; k++) sum += x[i * K + k] * row[k];
            assert_true(fabsf(sum - y[i * N + r]) <= 1e-6f * y_abs[i * N + r]);
        }
    }
    tkr_tensors_free(&source);
}

static void test_formats(void **state) {
    (void)state;
    static const struct {
        const char *name;
        tkr_dtype dtype;
    } files[] = {{"f16", TKR_DTYPE_F16},       {"bf16", TKR_DTYPE_BF16},     {"q4_0", TKR_DTYPE_Q4_0},
                 {"q4_1", TKR_DTYPE_Q4_1},     {"q5_0", TKR_DTYPE_Q5_0},     {"q5_1", TKR_DTYPE_Q5_1},
                 {"q8_0", TKR_DTYPE_Q8_0},     {"q2_k", TKR_DTYPE_Q2_K},     {"q3_k", TKR_DTYPE_Q3_K},
                 {"q4_k", TKR_DTYPE_Q4_K},     {"q5_k", TKR_DTYPE_Q5_K},     {"q6_k", TKR_DTYPE_Q6_K},
                 {"iq4_nl", TKR_DTYPE_IQ4_NL}, {"iq4_xs", TKR_DTYPE_IQ4_XS}, {"mxfp4", TKR_DTYPE_MXFP4}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        tkr_gguf *file = open_gguf(files[i].name);
        tkr_tensors *set = tensors_of(file), *expected = open_expected(files[i].name);
        check_part(set, expected, "quantized", files[i].dtype);
        check_part(set, expected, "random", files[i].dtype);
        tkr_tensors_free(&expected);
        tkr_tensors_free(&set);
        tkr_gguf_free(&file);
    }
}

static void check_strings(const tkr_gguf *file) {
    static const char *const want[] = {"", "\xc3\xa9", "\xe6\x97\xa5\xe6\x9c\xac"};
    const tkr_gguf_value *strings = tkr_gguf_find(file, "tkr-test.strings");
    const char *text = NULL;
    size_t n = 0;
    assert_non_null(strings);
    assert_int_equal(strings->kind, TKR_GGUF_ARRAY);
    assert_int_equal(strings->element, TKR_GGUF_STRING);
    assert_int_equal(strings->n, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(tkr_gguf_array_string(&text, &n, strings, i));
        assert_int_equal(n, strlen(want[i]));
        assert_memory_equal(text, want[i], n);
    }
    assert_false(tkr_gguf_array_string(&text, &n, strings, 3));
    assert_true(tkr_gguf_array_number(strings, 0) == 0.0);
    assert_int_equal(tkr_gguf_array_integer(strings, 0), 0);
}

static void check_metadata(const tkr_gguf *file) {
    const tkr_gguf_value *arch = tkr_gguf_find(file, "general.architecture");
    assert_non_null(arch);
    assert_int_equal(arch->kind, TKR_GGUF_STRING);
    assert_int_equal(arch->n_text, 8);
    assert_memory_equal(arch->text, "tkr-test", 8);
    const tkr_gguf_value *u32 = tkr_gguf_find(file, "tkr-test.u32");
    assert_int_equal(u32->kind, TKR_GGUF_INT);
    assert_int_equal(u32->integer, 7);
    assert_true(u32->number == 7.0);
    const tkr_gguf_value *floats = tkr_gguf_find(file, "tkr-test.floats");
    assert_int_equal(floats->element, TKR_GGUF_FLOAT);
    assert_int_equal(floats->n, 2);
    assert_true(tkr_gguf_array_number(floats, 0) == 0.5 && tkr_gguf_array_number(floats, 1) == -1.25);
    assert_true(tkr_gguf_array_number(floats, 2) == 0.0);
    assert_int_equal(tkr_gguf_array_integer(floats, 0), 0);
    assert_int_equal(tkr_gguf_count(file), 4);
    assert_string_equal(tkr_gguf_at(file, 0)->key, "general.architecture");
    assert_null(tkr_gguf_at(file, 4));
    assert_null(tkr_gguf_find(file, "tkr-test"));
}

static void test_layout(void **state) {
    (void)state;
    tkr_gguf *file = open_gguf("layout");
    tkr_tensors *set = tensors_of(file), *expected = open_expected("layout");
    check_metadata(file);
    check_strings(file);
    assert_int_equal(tkr_tensors_count(set), 3);
    assert_int_equal(tkr_tensors_mapped_bytes(set), 896 + 32);
    for (size_t i = 0; i < 3; i++) {
        const tkr_tensor_view *got = tkr_tensors_at(set, i), *want = tkr_tensors_at(expected, i);
        float values[96];
        assert_string_equal(got->name, want->name);
        assert_string_equal(got->file, "layout.gguf");
        assert_int_equal(got->n_dims, want->n_dims);
        assert_memory_equal(got->shape, want->shape, sizeof got->shape);
        assert_int_equal(got->n_elements, want->n_elements);
        const tkr_matrix m = {.data = got->data, .dtype = got->dtype, .rows = 1, .cols = got->n_elements};
        tkr_matrix_row(values, &m, 0);
        assert_memory_equal(values, want->data, want->size);
    }
    tkr_tensors_free(&expected);
    tkr_tensors_free(&set);
    tkr_gguf_free(&file);
    assert_null(file);
    tkr_gguf_free(&file);
    tkr_gguf_free(NULL);
}

static bool rename_two(void *user, char *new_name, size_t size, const char *name) {
    if (name[0] == 'c') return false;
    snprintf(new_name, size, "%s%s", (const char *)user, name);
    return true;
}

static bool rename_alike(void *user, char *new_name, size_t size, const char *name) {
    (void)user;
    (void)name;
    snprintf(new_name, size, "same");
    return true;
}

static void test_rename(void **state) {
    (void)state;
    tkr_gguf *file = open_gguf("layout");
    tkr_tensors *set = NULL;
    tkr_error error;
    char prefix[] = "model.";
    assert_int_equal(tkr_gguf_tensors(&set, file, rename_two, prefix, &error), TKR_OK);
    assert_int_equal(tkr_tensors_count(set), 2);
    assert_non_null(tkr_tensors_find(set, "model.a.weight"));
    assert_non_null(tkr_tensors_find(set, "model.b.bias"));
    tkr_tensors_free(&set);
    assert_int_equal(tkr_gguf_tensors(&set, file, rename_alike, NULL, &error), TKR_FORMAT);
    assert_non_null(strstr(error.message, "tensor \"same\" is there twice"));
    tkr_gguf_free(&file);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_formats), cmocka_unit_test(test_layout),
                                       cmocka_unit_test(test_rename)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
