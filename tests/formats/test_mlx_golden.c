/* SPDX-License-Identifier: Apache-2.0 */
/* Matrices that MLX quantised: every file of golden/quant/mlx decoded to the last bit, the linear layer within its
 * tolerance, and the affine encoder against MLX's own codes, scales and biases. */
#include "quant/matrix.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "formats/safetensors.h"

#define FOLDER TKR_TEST_DIR "/golden/quant/mlx/"

enum { N = 16, K = 256, M = 5 };

static tkr_tensors *open_set(const char *name) {
    char path[512];
    tkr_tensors *set = NULL;
    tkr_error error;
    snprintf(path, sizeof path, FOLDER "%s.safetensors", name);
    if (tkr_tensors_open_file(&set, path, &error) != TKR_OK) fail_msg("%s", error.message);
    return set;
}

static const tkr_tensor_view *get(const tkr_tensors *set, const char *name, size_t n_elements) {
    const tkr_tensor_view *view = tkr_tensors_find(set, name);
    assert_non_null(view);
    assert_int_equal(view->n_elements, n_elements);
    return view;
}

static tkr_matrix matrix_of(const tkr_tensors *set, tkr_group_mode mode, unsigned bits, unsigned group) {
    const tkr_tensor_view *weight = get(set, "linear.weight", N * K * bits / 32);
    const tkr_tensor_view *scales = get(set, "linear.scales", N * K / group), *biases = NULL;
    if (mode == TKR_GROUP_AFFINE) biases = get(set, "linear.biases", N * K / group);
    return (tkr_matrix){.data = weight->data,
                        .dtype = TKR_DTYPE_U32,
                        .rows = N,
                        .cols = K,
                        .mode = mode,
                        .bits = bits,
                        .group_size = group,
                        .scale_dtype = scales->dtype,
                        .scales = scales->data,
                        .biases = biases ? biases->data : NULL};
}

/* Decoding to the bit; y = x W^T within what f32 accumulation may differ. */
static void check_decoding(const tkr_matrix *m, const tkr_tensors *set, const char *name) {
    float row[K];
    tkr_tensors *source = open_set("source");
    const float *want = get(set, "dequantized", N * K)->data, *x = get(source, "x", M * K)->data;
    const float *y = get(set, "y", M * N)->data, *y_abs = get(set, "y_abs", M * N)->data;
    for (size_t r = 0; r < N; r++) {
        tkr_matrix_row(row, m, r);
        if (memcmp(row, want + r * K, sizeof row) != 0) fail_msg("%s: row %zu differs", name, r);
        for (size_t i = 0; i < M; i++) {
            float sum = 0;
            for (size_t k = 0; k < K; k++) sum += x[i * K + k] * row[k];
            if (!(fabsf(sum - y[i * N + r]) <= 1e-6f * y_abs[i * N + r])) {
                fail_msg("%s: y[%zu, %zu] is %.9g, expected %.9g", name, i, r, (double)sum, (double)y[i * N + r]);
            }
        }
    }
    tkr_tensors_free(&source);
}

/* The bit stream by its definition. */
static unsigned code_at(const uint8_t *row, size_t index, unsigned bits) {
    unsigned code = 0;
    for (unsigned b = 0; b < bits; b++) {
        const size_t at = index * bits + b;
        code |= (unsigned)(row[at / 8] >> (at % 8) & 1) << b;
    }
    return code;
}

/* Codes and groups as the q4 kernels take them; the value follows from them exactly. */
static void check_group4(const tkr_matrix *m, const char *name) {
    if (m->bits > 4) {
        assert_int_equal(tkr_matrix_group4(m), 0);
        return;
    }
    uint8_t codes[K];
    float scale[K / 32], bias[K / 32], row[K];
    assert_int_equal(tkr_matrix_group4(m), m->group_size);
    for (size_t r = 0; r < N; r++) {
        tkr_matrix_row_group4(codes, scale, bias, m, r);
        tkr_matrix_row(row, m, r);
        for (size_t k = 0; k < K; k++) {
            const float product = (float)codes[k] * scale[k / m->group_size];
            assert_int_equal(codes[k], code_at((const uint8_t *)m->data + r * tkr_matrix_row_bytes(m), k, m->bits));
            if (product + bias[k / m->group_size] != row[k]) fail_msg("%s: [%zu, %zu]", name, r, k);
        }
    }
}

static void check_number(float got, const void *stored, size_t index, tkr_dtype dtype, const char *name) {
    uint32_t want32;
    uint16_t want16, got16 = dtype == TKR_DTYPE_F16 ? tkr_f32_to_f16(got) : tkr_f32_to_bf16(got);
    if (dtype == TKR_DTYPE_F32) {
        memcpy(&want32, (const char *)stored + 4 * index, 4);
        if (memcmp(&got, &want32, 4) != 0) fail_msg("%s: group %zu", name, index);
        return;
    }
    memcpy(&want16, (const char *)stored + 2 * index, 2);
    if (want16 != got16) fail_msg("%s: group %zu is %04x, expected %04x", name, index, got16, want16);
}

/* Encodes the source anew: MLX's own codes, scales and biases come out. */
static void check_encoding(const tkr_matrix *m, const tkr_tensors *source, const char *name) {
    const tkr_tensor_view *weight = get(source, "weight", N * K);
    const size_t n_groups = K / m->group_size;
    uint8_t codes[K], packed[K];
    float w[K], scale[K / 32], bias[K / 32];
    for (size_t r = 0; r < N; r++) {
        const uint8_t *row = (const uint8_t *)m->data + r * tkr_matrix_row_bytes(m);
        tkr_widen(w, (const char *)weight->data + r * K * tkr_dtype_size(weight->dtype), weight->dtype, K);
        tkr_quantize_affine_row(codes, scale, bias, w, K, m->bits, m->group_size);
        for (size_t k = 0; k < K; k++) {
            if (codes[k] != code_at(row, k, m->bits)) fail_msg("%s: code [%zu, %zu]", name, r, k);
        }
        for (size_t g = 0; g < n_groups; g++) {
            check_number(scale[g], m->scales, r * n_groups + g, m->scale_dtype, name);
            check_number(bias[g], m->biases, r * n_groups + g, m->scale_dtype, name);
        }
        if (m->bits != 4 && m->bits != 8) continue;
        tkr_pack_codes(packed, codes, K, m->bits);
        assert_memory_equal(packed, row, tkr_matrix_row_bytes(m));
    }
}

static void test_affine(void **state) {
    (void)state;
    static const unsigned bits[] = {2, 3, 4, 5, 6, 8}, groups[] = {32, 64, 128};
    static const char *const dtypes[] = {"f32", "f16", "bf16"}, *const sources[] = {"source", "source_f16",
                                                                                    "source_bf16"};
    for (size_t b = 0; b < 6; b++) {
        for (size_t g = 0; g < 3; g++) {
            for (size_t d = 0; d < 3; d++) {
                char name[64];
                snprintf(name, sizeof name, "affine_b%u_g%u_%s", bits[b], groups[g], dtypes[d]);
                tkr_tensors *set = open_set(name), *source = open_set(sources[d]);
                const tkr_matrix m = matrix_of(set, TKR_GROUP_AFFINE, bits[b], groups[g]);
                check_decoding(&m, set, name);
                check_group4(&m, name);
                check_encoding(&m, source, name);
                tkr_tensors_free(&source);
                tkr_tensors_free(&set);
            }
        }
    }
}

static void test_block_floats(void **state) {
    (void)state;
    static const struct {
        const char *name;
        tkr_group_mode mode;
        unsigned bits, group;
    } files[] = {
        {"mxfp4", TKR_GROUP_MXFP4, 4, 32}, {"mxfp8", TKR_GROUP_MXFP8, 8, 32}, {"nvfp4", TKR_GROUP_NVFP4, 4, 16}};
    for (size_t i = 0; i < 3; i++) {
        tkr_tensors *set = open_set(files[i].name);
        const tkr_matrix m = matrix_of(set, files[i].mode, files[i].bits, files[i].group);
        check_decoding(&m, set, files[i].name);
        assert_int_equal(tkr_matrix_group4(&m), 0);
        tkr_tensors_free(&set);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_affine), cmocka_unit_test(test_block_floats)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
