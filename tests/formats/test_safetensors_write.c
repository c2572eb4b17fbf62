/* SPDX-License-Identifier: Apache-2.0 */
/* Written safetensors folders, read back by the strict reader: one file, shards, odd sizes, every failing operation. */
#define _XOPEN_SOURCE 700
#include "formats/safetensors_write.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/tkr-test-stw-XXXXXX";

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

/* Removes the folder's files; returns how many there were. */
static int clear(void) {
    int n = 0;
    char path[512];
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        assert_int_equal(unlink(path), 0);
        n++;
    }
    assert_int_equal(closedir(dir), 0);
    return n;
}

static int remove_folder(void **state) {
    (void)state;
    (void)clear();
    return rmdir(folder);
}

/* Odd sizes among others: 6, 5, 2 and 12 bytes. */
static const tkr_tensor_plan plans[] = {
    {"a.weight", TKR_DTYPE_U32, 2, {4, 6}}, {"a.scales", TKR_DTYPE_F16, 2, {1, 3}}, {"a.biases", TKR_DTYPE_U8, 1, {5}},
    {"none", TKR_DTYPE_F32, 2, {0, 7}},     {"scalar", TKR_DTYPE_BF16, 0, {0}},     {"three", TKR_DTYPE_F32, 1, {3}},
    {"b \"q\"", TKR_DTYPE_I64, 1, {30000}},
};
enum { N_PLANS = sizeof plans / sizeof *plans };

static uint8_t byte_of(size_t plan, size_t at) { return (uint8_t)(plan * 37 + at * 11 + at / 256); }

static size_t bytes_of(size_t plan) {
    size_t n = tkr_dtype_size(plans[plan].dtype);
    for (unsigned d = 0; d < plans[plan].n_dims; d++) n *= (size_t)plans[plan].shape[d];
    return n;
}

/* Writes all in pieces of at most `piece` bytes. */
static tkr_status write_all(uint64_t max_shard, size_t piece, tkr_error *error) {
    tkr_tensor_writer *writer = NULL;
    uint8_t *bytes = malloc(piece);
    size_t plan, before = N_PLANS, at = 0;
    assert_non_null(bytes);
    tkr_status status = tkr_tensor_writer_open(&writer, folder, plans, N_PLANS, "mlx", max_shard, error);
    while (status == TKR_OK && (plan = tkr_tensor_writer_next(writer)) < N_PLANS) {
        at = plan == before ? at : 0;
        before = plan;
        const size_t left = bytes_of(plan) - at, n = left < piece ? left : piece;
        for (size_t i = 0; i < n; i++) bytes[i] = byte_of(plan, at + i);
        status = tkr_tensor_writer_append(writer, bytes, n, error);
        at += n;
    }
    free(bytes);
    if (status == TKR_OK) return tkr_tensor_writer_finish(&writer, error);
    tkr_tensor_writer_abort(&writer);
    return status;
}

static void check_folder(void) {
    tkr_tensors *set = NULL;
    tkr_error error;
    if (tkr_tensors_open_folder(&set, folder, &error) != TKR_OK) fail_msg("%s", error.message);
    assert_int_equal(tkr_tensors_count(set), N_PLANS);
    for (size_t p = 0; p < N_PLANS; p++) {
        const tkr_tensor_view *view = tkr_tensors_find(set, plans[p].name);
        assert_non_null(view);
        assert_int_equal(view->dtype, plans[p].dtype);
        assert_int_equal(view->n_dims, plans[p].n_dims);
        for (unsigned d = 0; d < view->n_dims; d++) assert_int_equal(view->shape[d], plans[p].shape[d]);
        for (size_t i = 0; i < view->size; i++) assert_int_equal(((const uint8_t *)view->data)[i], byte_of(p, i));
    }
    tkr_tensors_free(&set);
}

static void test_one_file(void **state) {
    (void)state;
    static const size_t pieces[] = {1, 7, 4096, 300000};
    tkr_error error;
    for (size_t i = 0; i < 4; i++) {
        if (write_all(TKR_SHARD_BYTES, pieces[i], &error) != TKR_OK) fail_msg("%s", error.message);
        check_folder();
        assert_int_equal(clear(), 1);
    }
}

static void test_shards(void **state) {
    (void)state;
    tkr_error error;
    char path[512];
    tkr_buf index = {0};
    if (write_all(100, 1000, &error) != TKR_OK) fail_msg("%s", error.message);
    check_folder();
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", folder);
    assert_int_equal(tkr_file_read(&index, path, 1 << 20, &error), TKR_OK);
    assert_non_null(strstr(index.data, "\"metadata\": {\"total_size\": 240121}"));
    assert_non_null(strstr(index.data, "\"a.weight\": \"model-00001-of-00003.safetensors\""));
    assert_non_null(strstr(index.data, "\"b \\\"q\\\"\": \"model-00002-of-00003.safetensors\""));
    tkr_buf_free(&index);
    assert_int_equal(clear(), 4);
    if (write_all(0, 1000, &error) != TKR_OK) fail_msg("%s", error.message); /* each in a file of its own */
    check_folder();
    assert_int_equal(clear(), N_PLANS + 1);
}

static void test_order(void **state) {
    (void)state;
    static const size_t want[] = {0, 3, 6, 5, 1, 4, 2}; /* those of whole 8 bytes, then wide numbers first */
    tkr_tensor_writer *writer = NULL;
    tkr_error error;
    uint64_t done, total;
    uint8_t *bytes = calloc(1, bytes_of(6));
    assert_int_equal(tkr_tensor_writer_open(&writer, folder, plans, N_PLANS, "mlx", TKR_SHARD_BYTES, &error), TKR_OK);
    tkr_tensor_writer_progress(writer, &done, &total);
    assert_true(done == 0 && total == 240121);
    for (size_t i = 0; i < N_PLANS; i++) {
        if (bytes_of(want[i]) == 0) continue; /* nothing to give */
        assert_int_equal(tkr_tensor_writer_next(writer), want[i]);
        assert_int_equal(tkr_tensor_writer_append(writer, bytes, bytes_of(want[i]), &error), TKR_OK);
    }
    assert_int_equal(tkr_tensor_writer_next(writer), N_PLANS);
    tkr_tensor_writer_progress(writer, &done, &total);
    assert_int_equal(done, total);
    assert_int_equal(tkr_tensor_writer_append(writer, bytes, 1, &error), TKR_INVALID_ARGUMENT);
    tkr_tensor_writer_abort(&writer);
    assert_null(writer);
    tkr_tensor_writer_abort(&writer);
    free(bytes);
    assert_int_equal(clear(), 0);
}

static void test_misuse(void **state) {
    (void)state;
    static const tkr_tensor_plan twice[] = {{"x", TKR_DTYPE_F32, 1, {2}}, {"x", TKR_DTYPE_F16, 1, {4}}},
                                 bad[] = {{"", TKR_DTYPE_F32, 1, {2}},
                                          {"__metadata__", TKR_DTYPE_F32, 1, {2}},
                                          {"x", TKR_DTYPE_Q4_0, 1, {32}},
                                          {"x", TKR_DTYPE_COUNT, 1, {2}},
                                          {"x", TKR_DTYPE_F32, 9, {1, 1, 1, 1, 1, 1, 1, 1}},
                                          {"x", TKR_DTYPE_F32, 1, {-1}},
                                          {"x", TKR_DTYPE_F32, 2, {INT64_MAX, 8}}},
                                 huge = {"x", TKR_DTYPE_F32, 1, {(int64_t)1 << 58}};
    tkr_tensor_writer *writer = NULL;
    tkr_error error;
    uint8_t bytes[9] = {0};
    assert_int_equal(tkr_tensor_writer_open(&writer, folder, plans, 0, "mlx", 1, &error), TKR_INVALID_ARGUMENT);
    assert_int_equal(tkr_tensor_writer_open(&writer, folder, twice, 2, "mlx", 1, &error), TKR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "tensor \"x\" is to be written twice"));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(tkr_tensor_writer_open(&writer, folder, &bad[i], 1, "mlx", 1, &error), TKR_INVALID_ARGUMENT);
    }
    assert_int_equal(tkr_tensor_writer_open(&writer, folder, &huge, 1, "mlx", TKR_SHARD_BYTES, &error), TKR_IO);
    assert_non_null(strstr(error.message, "MiB free"));
    assert_int_equal(tkr_tensor_writer_open(&writer, "/tmp/tkr-no-such-folder", twice, 1, "mlx", 1, &error),
                     TKR_NOT_FOUND);
    assert_null(writer);
    assert_int_equal(clear(), 0);
    assert_int_equal(tkr_tensor_writer_open(&writer, folder, twice, 1, "mlx", 1, &error), TKR_OK);
    assert_int_equal(tkr_tensor_writer_append(writer, bytes, 9, &error), TKR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "9 bytes more than tensor \"x\" has"));
    assert_int_equal(tkr_tensor_writer_append(writer, bytes, 7, &error), TKR_OK);
    assert_int_equal(tkr_tensor_writer_finish(&writer, &error), TKR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "7 of 8 bytes"));
    assert_null(writer);
    assert_int_equal(clear(), 0);
}

static char kind_to_fail;
static size_t n_allowed, n_seen;

static bool allow_some(void *user, char kind) {
    (void)user;
    return kind != kind_to_fail || n_seen++ != n_allowed;
}

/* Fails the n-th allocation, then the n-th file operation, for every n: nothing is left, not even half. */
static void test_faults(void **state) {
    (void)state;
    tkr_error error;
    for (int k = 0; k < 2; k++) {
        tkr_status status = TKR_IO;
        kind_to_fail = "aw"[k];
        for (n_allowed = 0; status != TKR_OK; n_allowed++) {
            assert_true(n_allowed < 200);
            n_seen = 0;
            tkr_seam_set(allow_some, NULL);
            status = write_all(100, 100000, &error);
            tkr_seam_set(NULL, NULL);
            if (status != TKR_OK) assert_int_equal(status, k == 0 ? TKR_NO_MEMORY : TKR_IO);
            if (status != TKR_OK) assert_int_equal(clear(), 0);
        }
        assert_true(n_allowed > 5);
        check_folder();
        assert_int_equal(clear(), 4);
    }
}

/* A file that a killed run left does no harm. */
static void test_stale_part(void **state) {
    (void)state;
    char path[512];
    tkr_error error;
    snprintf(path, sizeof path, "%s/model.safetensors.part", folder);
    assert_int_equal(tkr_file_write_atomic(path, "rubbish", 7, &error), TKR_OK);
    assert_int_equal(write_all(TKR_SHARD_BYTES, 4096, &error), TKR_OK);
    check_folder();
    assert_int_equal(clear(), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_file), cmocka_unit_test(test_shards), cmocka_unit_test(test_order),
        cmocka_unit_test(test_misuse),   cmocka_unit_test(test_faults), cmocka_unit_test(test_stale_part),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
