/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors: good files and folders, and a table of broken ones, each refused with a message that names what is
 * wrong. */
#define _XOPEN_SOURCE 700
#include "formats/safetensors.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/safetensors_parse.h"

static char root[64];

static int make_root(void **state) {
    (void)state;
    strcpy(root, "/tmp/tkr-test-st-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place) {
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

static int remove_root(void **state) {
    (void)state;
    return nftw(root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static const char *path_of(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", root, name);
    return path;
}

static void put(const char *name, const void *data, size_t size) {
    assert_int_equal(tkr_file_write_atomic(path_of(name), data, size, NULL), TKR_OK);
}

/* Header length, header padded with blanks to a multiple of 8, data bytes 0, 1, 2, ... Returns the size; free *out. */
static size_t build(uint8_t **out, const char *header, size_t n_data) {
    const size_t n = strlen(header), n_header = (n + 7) / 8 * 8;
    uint8_t *bytes = tkr_malloc(8 + n_header + n_data);
    assert_non_null(bytes);
    for (unsigned i = 0; i < 8; i++) bytes[i] = (uint8_t)((uint64_t)n_header >> (8 * i));
    memset(bytes + 8, ' ', n_header);
    memcpy(bytes + 8, header, n);
    for (size_t i = 0; i < n_data; i++) bytes[8 + n_header + i] = (uint8_t)i;
    *out = bytes;
    return 8 + n_header + n_data;
}

static void put_file(const char *name, const char *header, size_t n_data) {
    uint8_t *bytes;
    const size_t size = build(&bytes, header, n_data);
    put(name, bytes, size);
    tkr_free(bytes);
}

static void assert_contains(const tkr_error *error, const char *text) {
    if (!strstr(error->message, text)) fail_msg("message \"%s\" lacks \"%s\"", error->message, text);
}

#define GOOD                                                                                    \
    "{\"__metadata__\":{\"format\":\"pt\"},"                                                    \
    "\"b.weight\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"                 \
    "\"a\":{\"data_offsets\":[24,28],\"new_key\":{\"x\":[1]},\"shape\":[2],\"dtype\":\"F16\"}," \
    "\"empty\":{\"dtype\":\"I64\",\"shape\":[0,5],\"data_offsets\":[28,28]},"                   \
    "\"scalar\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[28,30]}}"

static void test_good_file(void **state) {
    (void)state;
    put_file("model.safetensors", GOOD, 30);
    tkr_tensors *set = NULL;
    tkr_error error;
    assert_int_equal(tkr_tensors_open_file(&set, path_of("model.safetensors"), &error), TKR_OK);
    assert_int_equal(tkr_tensors_count(set), 4);
    static const char *const names[] = {"a", "b.weight", "empty", "scalar"};
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(tkr_tensors_at(set, i)->name, names[i]);
        assert_ptr_equal(tkr_tensors_find(set, names[i]), tkr_tensors_at(set, i));
    }
    assert_null(tkr_tensors_at(set, 4));
    assert_null(tkr_tensors_find(set, "b"));
    assert_null(tkr_tensors_find(set, ""));
    const tkr_tensor_view *b = tkr_tensors_find(set, "b.weight");
    assert_string_equal(b->file, "model.safetensors");
    assert_int_equal(b->dtype, TKR_DTYPE_F32);
    assert_int_equal(b->n_dims, 2);
    assert_int_equal(b->shape[0], 2);
    assert_int_equal(b->shape[1], 3);
    assert_int_equal(b->n_elements, 6);
    assert_int_equal(b->size, 24);
    assert_int_equal(((const uint8_t *)b->data)[23], 23);
    assert_int_equal(((const uint8_t *)tkr_tensors_find(set, "a")->data)[0], 24);
    const tkr_tensor_view *scalar = tkr_tensors_find(set, "scalar");
    assert_int_equal(scalar->n_dims, 0);
    assert_int_equal(scalar->n_elements, 1);
    assert_int_equal(tkr_tensors_find(set, "empty")->n_elements, 0);
    assert_true(tkr_tensors_mapped_bytes(set) > 30);
    tkr_tensors_free(&set);
    assert_null(set);
    tkr_tensors_free(&set);
    tkr_tensors_free(NULL);
    put_file("none.safetensors", "{}", 0);
    assert_int_equal(tkr_tensors_open_file(&set, path_of("none.safetensors"), &error), TKR_OK);
    assert_int_equal(tkr_tensors_count(set), 0);
    assert_null(tkr_tensors_find(set, "a"));
    tkr_tensors_free(&set);
    assert_int_equal(tkr_tensors_open_folder(&set, root, &error), TKR_OK);
    assert_int_equal(tkr_tensors_count(set), 4);
    tkr_tensors_free(&set);
}

/* A row of the header for tensor "t" */
#define T(dtype, shape, offsets) "{\"t\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define DEEP16 "[[[[[[[[[[[[[[[["

static const struct {
    const char *header;
    size_t n_data;
    const char *message; /* part of it */
} broken[] = {
    {"", 0, "does not begin with '{'"},
    {" {}", 0, "does not begin with '{'"},
    {"[]", 0, "does not begin with '{'"},
    {"{", 0, "ends too early"},
    {"{}x", 0, "unexpected 'x'"},
    {"{\"t\":1}", 0, "\"t\": its entry is a number, expected an object"},
    {"{\"t\":{}}", 0, "\"t\": dtype is missing"},
    {"{\"t\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "\"t\": shape is missing"},
    {"{\"t\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "\"t\": data_offsets is missing"},
    {T("\"F33\"", "[1]", "[0,4]"), 4, "dtype \"F33\" is unknown, expected one such as F32"},
    {T("\"\"", "[1]", "[0,4]"), 4, "dtype \"\" is unknown"},
    {T("7", "[1]", "[0,4]"), 4, "dtype is a number, expected a string"},
    {T("\"F32\"", "1", "[0,4]"), 4, "shape is a number, expected an array"},
    {T("\"F32\"", "[-1]", "[0,4]"), 4, "shape holds -1, expected whole numbers"},
    {T("\"F32\"", "[1.5]", "[0,4]"), 4, "shape holds 1.5, expected whole numbers"},
    {T("\"F32\"", "[1e0]", "[0,4]"), 4, "shape holds 1, expected whole numbers"},
    {T("\"F32\"", "[null]", "[0,4]"), 4, "shape holds null, expected whole numbers"},
    {T("\"F32\"", "[18446744073709551616]", "[0,4]"), 4, "shape holds 1.84"},
    {T("\"F32\"", "[1e999]", "[0,4]"), 4, "too large for a double"},
    {T("\"F32\"", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "shape has more than 8 values"},
    {T("\"F32\"", "[4294967296,4294967296]", "[0,4]"), 4, "shape [4294967296, 4294967296] of F32 is beyond any memory"},
    {T("\"F32\"", "[4611686018427387905]", "[0,4]"), 4, "is beyond any memory"}, /* 4 * (2^62 + 1) wraps to 4 */
    {T("\"F32\"", "[1]", "[0,8]"), 8, "span 8 bytes, but shape [1] of F32 needs 4"},
    {T("\"F32\"", "[2]", "[0,4]"), 4, "span 4 bytes, but shape [2] of F32 needs 8"},
    {T("\"F32\"", "[1]", "[0,4]"), 3, "\"t\" ends at byte 4 of the data, but the file has only 3 (truncated?)"},
    {T("\"F32\"", "[1]", "[0,4]"), 5, "the last 1 bytes of the file belong to no tensor"},
    {T("\"F32\"", "[1]", "[4,8]"), 8, "bytes 0 to 4 of the data, before tensor \"t\", belong to no tensor"},
    {T("\"F32\"", "[1]", "[4,0]"), 8, "begin at 4 and end before it, at 0"},
    {T("\"F32\"", "[1]", "[-4,0]"), 8, "data_offsets holds -4"},
    {T("\"F32\"", "[1]", "[0]"), 4, "data_offsets has 1 values, expected 2"},
    {T("\"F32\"", "[1]", "[0,4,8]"), 4, "data_offsets has more than 2 values"},
    {T("\"F32\"", "[1]", "{}"), 4, "data_offsets is an object, expected an array"},
    {T("\"F32\"", "[1]", "[9223372036854775804,9223372036854775807]"), 4, "ends at byte 9223372036854775807"},
    {"{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "shape is given twice"},
    {"{\"t\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype is given twice"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
     "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}",
     6, "\"a\" and \"b\" overlap"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
     "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}",
     4, "overlap"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
     "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[4,6]}}",
     6, "bytes 2 to 4 of the data, before tensor \"b\""},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
     "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[2,6]}}",
     6, "\"b\" of F32 starts at byte 2 of the data, which is not aligned to 4 bytes"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
     "\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}",
     4, "tensor \"a\" is there twice"},
    {"{\"a\\u0000b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 2, "NUL"},
    {"{\"t\":{\"x\":" DEEP16 DEEP16 DEEP16 DEEP16 DEEP16 "}}", 0, "nested deeper"},
    {"{\"__metadata__\":{\"a\":1}}", 0, "\"__metadata__\": a value is a number, expected a string"},
    {"{\"__metadata__\":[]}", 0, "expected an object"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ is given twice"},
    {"{\"\xff\":{}}", 0, "invalid UTF-8"},
};

static void test_broken_files(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        put_file("x.safetensors", broken[i].header, broken[i].n_data);
        tkr_tensors *set = NULL;
        tkr_error error = {.message = ""};
        const tkr_status status = tkr_tensors_open_file(&set, path_of("x.safetensors"), &error);
        if (status != TKR_FORMAT) fail_msg("case %zu (%s): status %d", i, broken[i].header, (int)status);
        assert_null(set);
        assert_contains(&error, broken[i].message);
        assert_contains(&error, "x.safetensors");
        assert_int_equal(tkr_tensors_open_file(&set, path_of("x.safetensors"), NULL), TKR_FORMAT);
    }
}

static void test_lengths(void **state) {
    (void)state;
    uint8_t *bytes;
    tkr_tensors *set = NULL;
    tkr_error error;
    const size_t size = build(&bytes, GOOD, 30);
    for (size_t n = 0; n < size; n++) { /* every truncation */
        put("cut.safetensors", bytes, n);
        assert_int_equal(tkr_tensors_open_file(&set, path_of("cut.safetensors"), &error), TKR_FORMAT);
        assert_contains(&error, "cut.safetensors");
    }
    assert_contains(&error, "(truncated?)");
    for (unsigned bit = 0; bit < 64; bit++) { /* every flipped bit of the length */
        bytes[bit / 8] = (uint8_t)(bytes[bit / 8] ^ 1u << bit % 8);
        assert_int_equal(tkr_tensors_open_memory(&set, tkr_safetensors_read, bytes, size, "flipped", &error),
                         TKR_FORMAT);
        bytes[bit / 8] = (uint8_t)(bytes[bit / 8] ^ 1u << bit % 8);
    }
    for (size_t i = 8; i < size - 30; i++) { /* any flipped bit of the header: no crash, and no leak */
        for (unsigned bit = 0; bit < 8; bit++) {
            bytes[i] = (uint8_t)(bytes[i] ^ 1u << bit);
            if (tkr_tensors_open_memory(&set, tkr_safetensors_read, bytes, size, "flipped", &error) == TKR_OK)
                tkr_tensors_free(&set);
            assert_null(set);
            bytes[i] = (uint8_t)(bytes[i] ^ 1u << bit);
        }
    }
    tkr_free(bytes);
    static const uint8_t huge[16] = {1, 0, 64, 6}; /* 100 MiB + 1 */
    assert_int_equal(tkr_tensors_open_memory(&set, tkr_safetensors_read, huge, sizeof huge, "huge", &error),
                     TKR_FORMAT);
    assert_string_equal(error.message,
                        "huge: a header of 104857601 bytes, expected at most 104857600: not a safetensors file?");
}

static void test_absent(void **state) {
    (void)state;
    tkr_tensors *set = NULL;
    tkr_error error;
    assert_int_equal(tkr_tensors_open_file(&set, path_of("absent"), &error), TKR_NOT_FOUND);
    assert_contains(&error, "absent");
    assert_int_equal(tkr_tensors_open_folder(&set, root, &error), TKR_NOT_FOUND);
    assert_contains(&error, "neither model.safetensors nor model.safetensors.index.json is there");
    assert_null(set);
}

/* ---- shards ---- */

#define SHARD1 "{\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"
#define SHARD2                                                        \
    "{\"c\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}," \
    "\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}"
#define INDEX_NAME "model.safetensors.index.json"

static void put_shards(const char *index) {
    put_file("m-1.safetensors", SHARD1, 4);
    put_file("m-2.safetensors", SHARD2, 3);
    put(INDEX_NAME, index, strlen(index));
}

static void test_good_shards(void **state) {
    (void)state;
    put_shards("{\"metadata\":{\"total_size\":7},\"weight_map\":"
               "{\"a\":\"m-2.safetensors\",\"b\":\"m-1.safetensors\",\"c\":\"m-2.safetensors\"}}");
    tkr_tensors *set = NULL;
    tkr_error error;
    assert_int_equal(tkr_tensors_open_folder(&set, root, &error), TKR_OK);
    assert_int_equal(tkr_tensors_count(set), 3);
    assert_string_equal(tkr_tensors_find(set, "b")->file, "m-1.safetensors");
    assert_string_equal(tkr_tensors_find(set, "a")->file, "m-2.safetensors");
    assert_int_equal(((const uint8_t *)tkr_tensors_find(set, "a")->data)[1], 2);
    tkr_tensors_free(&set);
}

#define MAP(text) "{\"weight_map\":{" text "}}"
#define A2 "\"a\":\"m-2.safetensors\""
#define B1 "\"b\":\"m-1.safetensors\""
#define C2 "\"c\":\"m-2.safetensors\""

static const struct {
    const char *index;
    tkr_status status;
    const char *message;
} broken_index[] = {
    {"", TKR_FORMAT, "ends too early"},
    {"[]", TKR_FORMAT, "expected an object with a weight_map"},
    {"{}", TKR_FORMAT, "weight_map is missing"},
    {MAP(""), TKR_FORMAT, "weight_map is empty"},
    {"{\"weight_map\":[]}", TKR_FORMAT, "weight_map is not an object"},
    {"{\"weight_map\":{" A2 "},\"weight_map\":{}}", TKR_FORMAT, "weight_map is given twice"},
    {MAP("\"a\":1"), TKR_FORMAT, "\"a\" is not a string, expected a file name"},
    {MAP("\"a\":\"../m-2.safetensors\""), TKR_FORMAT, "\"a\" is in \"../m-2.safetensors\", expected a plain file name"},
    {MAP("\"a\":\"..\""), TKR_FORMAT, "expected a plain file name"},
    {MAP("\"a\":\"/etc/passwd\""), TKR_FORMAT, "expected a plain file name"},
    {MAP("\"a\":\"x\\\\y\""), TKR_FORMAT, "expected a plain file name"},
    {MAP("\"a\":\"m-2.safetensors\\u0000\""), TKR_FORMAT, "expected a plain file name"},
    {MAP("\"a\":\"\""), TKR_FORMAT, "expected a plain file name"},
    {MAP(A2 "," B1 "," C2 ",\"d\":\"m-3.safetensors\""), TKR_NOT_FOUND, "m-3.safetensors"},
    {MAP(A2 "," B1 "," C2 ",\"d\":\"m-1.safetensors\""), TKR_FORMAT,
     "tensor \"d\" is not in m-1.safetensors, where the index says it is"},
    {MAP(A2 "," B1), TKR_FORMAT, "tensor \"c\" of m-2.safetensors is not in the index"},
    {MAP(A2 ",\"b\":\"m-2.safetensors\"," C2), TKR_FORMAT, "tensor \"b\" is not in m-2.safetensors"},
    {MAP(A2 "," B1 ",\"c\":\"m-1.safetensors\""), TKR_FORMAT,
     "tensor \"c\" is in m-2.safetensors, but the index says m-1.safetensors"},
    {MAP(A2 "," B1 "," C2 "," A2), TKR_FORMAT, "names tensor \"a\" twice"},
    {MAP(A2 "," B1 "," C2 ",\"a2\":\"m-4.safetensors\""), TKR_FORMAT, "\"a\" is both in m-"},
    {MAP(A2 "," B1 "," C2) "x", TKR_FORMAT, "unexpected 'x'"},
};

static void test_broken_shards(void **state) {
    (void)state;
    put_file("m-4.safetensors", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1);
    for (size_t i = 0; i < sizeof broken_index / sizeof broken_index[0]; i++) {
        put_shards(broken_index[i].index);
        tkr_tensors *set = NULL;
        tkr_error error = {.message = ""};
        const tkr_status status = tkr_tensors_open_folder(&set, root, &error);
        if (status != broken_index[i].status) {
            fail_msg("case %zu (%s): status %d, %s", i, broken_index[i].index, (int)status, error.message);
        }
        assert_null(set);
        assert_contains(&error, broken_index[i].message);
    }
}

/* ---- faults ---- */

static bool fail_nth(void *user, char kind) {
    (void)kind;
    size_t *left = user;
    return (*left)-- != 0;
}

/* Every allocation and read in turn fails: a clean error, no leak (under ASan), then success. */
static void test_faults(void **state) {
    (void)state;
    put_shards(MAP(A2 "," B1 "," C2));
    size_t n = 0;
    for (;; n++) {
        size_t left = n;
        tkr_tensors *set = NULL;
        tkr_error error = {.message = ""};
        tkr_seam_set(fail_nth, &left);
        const tkr_status status = tkr_tensors_open_folder(&set, root, &error);
        tkr_seam_set(NULL, NULL);
        if (status == TKR_OK) {
            tkr_tensors_free(&set);
            break;
        }
        assert_true(status == TKR_NO_MEMORY || status == TKR_IO);
        assert_true(error.status == status && *error.message);
        assert_null(set);
    }
    assert_true(n > 10);
}

static void test_shape_text(void **state) {
    (void)state;
    char text[32];
    const int64_t shape[3] = {2, 0, 4611686018427387904};
    tkr_shape_text(text, sizeof text, shape, 3);
    assert_string_equal(text, "[2, 0, 4611686018427387904]");
    tkr_shape_text(text, sizeof text, shape, 1);
    assert_string_equal(text, "[2]");
    tkr_shape_text(text, sizeof text, shape, 0);
    assert_string_equal(text, "[]");
    tkr_shape_text(text, 8, shape, 3);
    assert_string_equal(text, "[2, 0, ");
    tkr_shape_text(text, 0, shape, 3);
}

int main(void) {
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_root, remove_root)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_good_file), IN_FOLDER(test_broken_files),      IN_FOLDER(test_lengths),
        IN_FOLDER(test_absent),    IN_FOLDER(test_good_shards),       IN_FOLDER(test_broken_shards),
        IN_FOLDER(test_faults),    cmocka_unit_test(test_shape_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
