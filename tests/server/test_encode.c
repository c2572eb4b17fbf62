/* SPDX-License-Identifier: Apache-2.0 */
/* Vectors on the wire, against what numpy 2 makes of the same values: astype(float16); clip(rint(127 v)) as int8;
 * packbits(v > 0), less 128 for binary, as sentence-transformers' quantize_embeddings packs; base64.b64encode; save. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base64.h"
#include "core/file.h"
#include "core/json.h"
#include "server/encode.h"

enum { N = 34 };
/* Zeros, halves between two of every small type, the ends of float16's ranges, and some in between. */
static const uint32_t bits[N] = {
    0x00000000u, 0x80000000u, 0x3f800000u, 0xbf800000u, 0x3f000000u, 0x3e800000u, 0x3eaaaaabu, 0xbeaaaaabu, 0x3dcccccdu,
    0xbdcccccdu, 0x3b810204u, 0x3c418306u, 0x3ca14285u, 0xbb810204u, 0x3f7fffffu, 0xbf7fffffu, 0x3fc00000u, 0xc0000000u,
    0x477fe000u, 0x477ff000u, 0xc788b800u, 0x38800000u, 0x387fc000u, 0x33800000u, 0x33000000u, 0x33c00000u, 0x32fffae5u,
    0x2edbe6ffu, 0xb649539cu, 0x3d4c8000u, 0x3d4ccccdu, 0x3d4cc000u, 0x3f801000u, 0x3f803000u};
/* numpy has 0x7c00 and 0xfc00, infinities, at the 20th and 21st: ours end at 65504 */
static const uint16_t halves[N] = {0x0000, 0x8000, 0x3c00, 0xbc00, 0x3800, 0x3400, 0x3555, 0xb555, 0x2e66,
                                   0xae66, 0x1c08, 0x220c, 0x250a, 0x9c08, 0x3c00, 0xbc00, 0x3e00, 0xc000,
                                   0x7bff, 0x7bff, 0xfbff, 0x0400, 0x03ff, 0x0001, 0x0000, 0x0002, 0x0000,
                                   0x0000, 0x8032, 0x2a64, 0x2a66, 0x2a66, 0x3c00, 0x3c02};
static const int8_t int8s[N] = {0,    0,   127, -127, 64, 32, 42, -42, 13, -13, 0, 2, 2, 0, 127, -127, 127,
                                -127, 127, 127, -127, 0,  0,  0,  0,   0,  0,   0, 0, 6, 6, 6,   127,  127};
static const uint8_t uint8s[N] = {128, 128, 255, 1, 192, 160, 170, 86,  141, 115, 128, 130, 130, 128, 255, 1,   255,
                                  1,   255, 255, 1, 128, 128, 128, 128, 128, 128, 128, 128, 134, 134, 134, 255, 255};
static const uint8_t ubinary[5] = {46, 186, 183, 247, 192};
static const int8_t binary[5] = {-82, 58, 55, 119, 64};

static const float *values(void) {
    static float out[N];
    memcpy(out, bits, sizeof out);
    return out;
}

static void packed(void **state) {
    uint8_t out[4 * N];
    (void)state;
    tkr_wire_pack(out, TKR_WIRE_FLOAT, values(), N);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(out[4 * i] | out[4 * i + 1] << 8 | out[4 * i + 2] << 16 |
                             (int)((unsigned)out[4 * i + 3] << 24),
                         (int)bits[i]);
    }
    tkr_wire_pack(out, TKR_WIRE_FLOAT16, values(), N);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(out[2 * i] | out[2 * i + 1] << 8, halves[i]);
    }
    tkr_wire_pack(out, TKR_WIRE_INT8, values(), N);
    assert_memory_equal(out, int8s, N);
    tkr_wire_pack(out, TKR_WIRE_UINT8, values(), N);
    assert_memory_equal(out, uint8s, N);
    assert_int_equal(tkr_wire_bytes(TKR_WIRE_BINARY, N), 5);
    tkr_wire_pack(out, TKR_WIRE_UBINARY, values(), N);
    assert_memory_equal(out, ubinary, 5);
    tkr_wire_pack(out, TKR_WIRE_BINARY, values(), N);
    assert_memory_equal(out, binary, 5);
    assert_int_equal(tkr_wire_bytes(TKR_WIRE_UBINARY, 8), 1);
    assert_int_equal(tkr_wire_bytes(TKR_WIRE_BINARY, 0), 0);
    assert_int_equal(tkr_wire_bytes(TKR_WIRE_FLOAT16, 3), 6);
}

static void check_json(tkr_wire_type type, size_t n, const char *expected) {
    tkr_buf out = {0};
    assert_true(tkr_put_json_vector(&out, type, values(), n));
    assert_string_equal(out.data, expected);
    assert_int_equal(out.size, strlen(expected));
    tkr_buf_free(&out);
}

static void json(void **state) {
    (void)state;
    check_json(TKR_WIRE_FLOAT, 11, "[0,-0.0,1,-1,0.5,0.25,0.33333334,-0.33333334,0.1,-0.1,0.003937008]");
    check_json(TKR_WIRE_FLOAT16, 10, "[0,-0.0,1,-1,0.5,0.25,0.33325195,-0.33325195,0.099975586,-0.099975586]");
    check_json(TKR_WIRE_INT8, 14, "[0,0,127,-127,64,32,42,-42,13,-13,0,2,2,0]");
    check_json(TKR_WIRE_UINT8, 10, "[128,128,255,1,192,160,170,86,141,115]");
    check_json(TKR_WIRE_BINARY, N, "[-82,58,55,119,64]");
    check_json(TKR_WIRE_UBINARY, N, "[46,186,183,247,192]");
    check_json(TKR_WIRE_FLOAT, 0, "[]");
}

/* What is written reads back as the same bits, behind what was there before. */
static void json_reads_back(void **state) {
    float many[1000], back;
    tkr_buf out = {0};
    json_t *list = NULL;
    uint32_t seed = 1;
    (void)state;
    for (size_t i = 0; i < 1000; i++) {
        seed = seed * 1664525u + 1013904223u;
        many[i] = (float)((double)(seed >> 8) / 0x1p24 - 0.5) * (i % 3 == 0 ? 1e-3f : 1.0f);
    }
    assert_true(tkr_buf_append(&out, "  ", 2));
    assert_true(tkr_put_json_vector(&out, TKR_WIRE_FLOAT, many, 1000));
    assert_int_equal(tkr_json_parse(&list, out.data, out.size, "vector", NULL), TKR_OK);
    assert_int_equal(json_array_size(list), 1000);
    for (size_t i = 0; i < 1000; i++) {
        back = (float)json_number_value(json_array_get(list, i));
        assert_memory_equal(&back, &many[i], sizeof back);
    }
    json_decref(list);
    tkr_buf_free(&out);
}

static void no_numbers(void **state) {
    const uint32_t nan_bits = 0x7fc00000u;
    float value;
    tkr_buf out = {0}, small = {.cap = 8};
    (void)state;
    memcpy(&value, &nan_bits, sizeof value);
    assert_false(tkr_put_json_vector(&out, TKR_WIRE_FLOAT, &value, 1));
    assert_true(out.failed);
    assert_false(tkr_put_json_vector(&small, TKR_WIRE_FLOAT, values(), N));
    assert_true(small.failed);
    tkr_buf_free(&out);
    tkr_buf_free(&small);
}

static void base64(void **state) {
    tkr_buf out = {0};
    float many[2000];
    (void)state;
    assert_true(tkr_put_base64_vector(&out, TKR_WIRE_FLOAT, values(), 5));
    assert_string_equal(out.data, "\"AAAAAAAAAIAAAIA/AACAvwAAAD8=\"");
    out.size = 0;
    assert_true(tkr_put_base64_vector(&out, TKR_WIRE_INT8, values(), N));
    assert_string_equal(out.data, "\"AAB/gUAgKtYN8wACAgB/gX+Bf3+BAAAAAAAAAAAGBgZ/fw==\"");
    for (size_t i = 0; i < 2000; i++) { /* pieces join without a seam */
        many[i] = (float)i - 1000.0f;
    }
    for (int type = 0; type < TKR_N_WIRE_TYPES; type++) {
        uint8_t bytes[8000];
        tkr_buf back = {0};
        const size_t n = tkr_wire_bytes((tkr_wire_type)type, 2000);
        out.size = 0;
        assert_true(tkr_put_base64_vector(&out, (tkr_wire_type)type, many, 2000));
        assert_int_equal(tkr_base64_decode(&back, out.data + 1, out.size - 2, NULL), TKR_OK);
        tkr_wire_pack(bytes, (tkr_wire_type)type, many, 2000);
        assert_int_equal(back.size, n);
        assert_memory_equal(back.data, bytes, n);
        tkr_buf_free(&back);
    }
    tkr_buf_free(&out);
}

static void npy(void **state) {
    static const char head[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 384), }";
    tkr_buf out = {0};
    (void)state;
    assert_true(tkr_put_npy_header(&out, TKR_WIRE_FLOAT, 3, 384));
    assert_int_equal(out.size, 128);
    assert_memory_equal(out.data, "\x93NUMPY\x01\x00v\x00", 10);
    assert_memory_equal(out.data + 10, head, sizeof head - 1);
    for (size_t i = 10 + sizeof head - 1; i < 127; i++) {
        assert_int_equal(out.data[i], ' ');
    }
    assert_int_equal(out.data[127], '\n');
    out.size = 0;
    assert_true(tkr_put_npy_header(&out, TKR_WIRE_UBINARY, 2, 384));
    assert_non_null(strstr(out.data + 10, "'|u1'"));
    assert_non_null(strstr(out.data + 10, "(2, 48)"));
    tkr_buf_free(&out);
}

static void names(void **state) {
    tkr_wire_type type;
    (void)state;
    for (int i = 0; i < TKR_N_WIRE_TYPES; i++) {
        assert_true(tkr_wire_type_parse(&type, tkr_wire_type_name((tkr_wire_type)i)));
        assert_int_equal(type, i);
    }
    assert_true(tkr_wire_type_parse(&type, "float32"));
    assert_int_equal(type, TKR_WIRE_FLOAT);
    assert_false(tkr_wire_type_parse(&type, "Float"));
    assert_false(tkr_wire_type_parse(&type, ""));
}

/* 2048 vectors of 384 values must not take 100 ms on a quiet machine (35 ms on a Zen 3 core); ten times that also under
 * a sanitizer. */
static void speed(void **state) {
    enum { ROWS = 2048, COLUMNS = 384 };
    float row[COLUMNS];
    double best = 1e9;
    (void)state;
    for (size_t i = 0; i < COLUMNS; i++) {
        row[i] = (float)((double)(i * 7919 % 1000) / 3000.0 - 0.16) * 0.7f;
    }
    for (int round = 0; round < 5; round++) {
        tkr_buf out = {0};
        const double began = tkr_now();
        for (size_t i = 0; i < ROWS; i++) {
            assert_true(tkr_put_json_vector(&out, TKR_WIRE_FLOAT, row, COLUMNS));
        }
        const double took = tkr_now() - began;
        best = took < best ? took : best;
        tkr_buf_free(&out);
    }
    print_message("%.1f ms for %d x %d as JSON\n", best * 1e3, (int)ROWS, (int)COLUMNS);
    assert_true(best < 1.0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(packed),          cmocka_unit_test(json),
                                       cmocka_unit_test(json_reads_back), cmocka_unit_test(no_numbers),
                                       cmocka_unit_test(base64),          cmocka_unit_test(npy),
                                       cmocka_unit_test(names),           cmocka_unit_test(speed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
