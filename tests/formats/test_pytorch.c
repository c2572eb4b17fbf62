/* SPDX-License-Identifier: Apache-2.0 */
/* pytorch_model.bin: files made by torch itself, folders with one file and with shards, and a table of pickles and
 * archives that are refused by name. */
#define _XOPEN_SOURCE 700
#include "formats/pytorch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "formats/pytorch_read.h"

#define FOLDER TKR_TEST_DIR "/golden/pytorch/"

/* ---- files of torch -------------------------------------------------------------------------------------------- */

static void compare(const tkr_tensors *got, const tkr_tensors *want, const char *file) {
    assert_int_equal(tkr_tensors_count(got), tkr_tensors_count(want));
    for (size_t i = 0; i < tkr_tensors_count(got); i++) {
        const tkr_tensor_view *a = tkr_tensors_at(got, i), *b = tkr_tensors_at(want, i);
        assert_string_equal(a->name, b->name);
        if (file) assert_string_equal(a->file, file);
        assert_int_equal(a->dtype, b->dtype);
        assert_int_equal(a->n_dims, b->n_dims);
        assert_memory_equal(a->shape, b->shape, sizeof a->shape);
        assert_int_equal(a->n_elements, b->n_elements);
        assert_int_equal(a->size, b->size);
        if (a->size > 0) assert_memory_equal(a->data, b->data, a->size);
    }
}

static void check_file(const char *name) {
    char path[512];
    tkr_tensors *got = NULL, *want = NULL;
    tkr_error error;
    snprintf(path, sizeof path, FOLDER "%s", name);
    if (tkr_pytorch_open_file(&got, path, &error) != TKR_OK) fail_msg("%s", error.message);
    assert_int_equal(tkr_tensors_open_file(&want, FOLDER "expected.safetensors", &error), TKR_OK);
    compare(got, want, name);
    assert_true(tkr_tensors_mapped_bytes(got) > 0);
    tkr_tensors_free(&want);
    tkr_tensors_free(&got);
}

/* The same tensors of every type: a state dict, one in a training script's dict, a dict of parameters. */
static void test_torch(void **state) {
    (void)state;
    check_file("plain.bin");
    check_file("state_dict.bin");
    check_file("model.bin");
    check_file("parameters.bin");
    check_file("generated.bin");
}

static void refuse_file(const char *name, const char *message) {
    char path[512];
    tkr_tensors *set = NULL;
    tkr_error error;
    snprintf(path, sizeof path, FOLDER "%s", name);
    const tkr_status status = tkr_pytorch_open_file(&set, path, &error);
    assert_null(set);
    if (status != TKR_UNSUPPORTED || !strstr(error.message, message)) fail_msg("%d: %s", (int)status, error.message);
}

static void test_torch_refused(void **state) {
    (void)state;
    refuse_file("legacy.bin", "legacy.bin: is in the format from before torch 1.6; convert it: python3 -c");
    refuse_file("transposed.bin", "tensor \"w\" of shape [3, 2] is a strided view, which is not supported");
    refuse_file("module.bin", "GLOBAL torch.nn.modules.linear.Linear is refused: only dicts of tensors are read");
    refuse_file("script.bin", "linear.py\" is compressed (method 8), expected stored members");
    refuse_file("protocol4.bin", "pickle protocol 4, expected 2 as torch.save writes it");
}

/* ---- folders --------------------------------------------------------------------------------------------------- */

static void link_to(const char *folder, const char *name, const char *target) {
    char path[512], from[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    snprintf(from, sizeof from, FOLDER "%s", target);
    assert_int_equal(symlink(from, path), 0);
}

static void unlink_all(const char *folder) {
    static const char *const names[] = {"pytorch_model.bin", "pytorch_model.bin.index.json",
                                        "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin",
                                        "model.safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
}

static void test_folder(void **state) {
    (void)state;
    char folder[] = "/tmp/tkr-test-pt-XXXXXX";
    tkr_tensors *got = NULL, *want = NULL;
    tkr_error error;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(tkr_tensors_open_file(&want, FOLDER "expected.safetensors", &error), TKR_OK);
    assert_int_equal(tkr_tensors_open_folder(&got, folder, &error), TKR_NOT_FOUND);
    link_to(folder, "pytorch_model.bin.index.json", "shards.index.json");
    assert_int_equal(tkr_tensors_open_folder(&got, folder, &error), TKR_NOT_FOUND);
    assert_non_null(strstr(error.message, "shard named in pytorch_model.bin.index.json"));
    link_to(folder, "pytorch_model-00001-of-00002.bin", "shard1.bin");
    link_to(folder, "pytorch_model-00002-of-00002.bin", "shard2.bin");
    if (tkr_tensors_open_folder(&got, folder, &error) != TKR_OK) fail_msg("%s", error.message);
    compare(got, want, NULL);
    tkr_tensors_free(&got);
    link_to(folder, "pytorch_model.bin", "plain.bin");
    assert_int_equal(tkr_tensors_open_folder(&got, folder, &error), TKR_OK);
    compare(got, want, "pytorch_model.bin");
    tkr_tensors_free(&got);
    link_to(folder, "model.safetensors", "expected.safetensors"); /* comes first */
    assert_int_equal(tkr_tensors_open_folder(&got, folder, &error), TKR_OK);
    compare(got, want, "model.safetensors");
    tkr_tensors_free(&got);
    tkr_tensors_free(&want);
    unlink_all(folder);
    assert_int_equal(rmdir(folder), 0);
}

/* ---- archives by hand ------------------------------------------------------------------------------------------ */

static void put(tkr_buf *b, const void *data, size_t n) { assert_true(tkr_buf_append(b, data, n)); }
static void put16(tkr_buf *b, unsigned v) {
    const uint16_t u = (uint16_t)v;
    put(b, &u, 2);
}
static void put32(tkr_buf *b, size_t v) {
    const uint32_t u = (uint32_t)v;
    put(b, &u, 4);
}

/* An archive under construction: members, and the directory that will follow them. */
typedef struct zip {
    tkr_buf data, directory;
    unsigned n;
} zip;

static void put_member(zip *z, const char *name, const void *data, size_t n) {
    const size_t offset = z->data.size, n_name = strlen(name), pad = (64 - (offset + 30 + n_name) % 64) % 64;
    static const char blanks[64];
    put(&z->data, "PK\3\4", 4), put32(&z->data, 0), put16(&z->data, 0), put32(&z->data, 0), put32(&z->data, 0);
    put32(&z->data, n), put32(&z->data, n), put16(&z->data, (unsigned)n_name), put16(&z->data, (unsigned)pad);
    put(&z->data, name, n_name), put(&z->data, blanks, pad), put(&z->data, data, n);
    tkr_buf *d = &z->directory;
    put(d, "PK\1\2", 4), put32(d, 0), put16(d, 0), put16(d, 0), put32(d, 0), put32(d, 0), put32(d, n), put32(d, n);
    put16(d, (unsigned)n_name), put16(d, 0), put16(d, 0), put16(d, 0), put16(d, 0), put32(d, 0), put32(d, offset);
    put(d, name, n_name);
    z->n++;
}

static void put_end(zip *z) {
    const size_t offset = z->data.size;
    put(&z->data, z->directory.data, z->directory.size);
    put(&z->data, "PK\5\6", 4), put32(&z->data, 0), put16(&z->data, z->n), put16(&z->data, z->n);
    put32(&z->data, z->directory.size), put32(&z->data, offset), put16(&z->data, 0);
    tkr_buf_free(&z->directory);
    z->directory = (tkr_buf){0};
}

static tkr_status open_bytes(const void *data, size_t size, tkr_error *error) {
    tkr_tensors *set = NULL;
    uint8_t *copy = tkr_aligned_alloc(size + 1);
    assert_non_null(copy);
    if (size > 0) memcpy(copy, data, size);
    const tkr_status status = tkr_tensors_open_memory(&set, tkr_pytorch_read, copy, size, "test.bin", error);
    tkr_tensors_free(&set);
    tkr_aligned_free(copy, size + 1);
    return status;
}

/* An archive of a pickle and a storage "0" of 24 bytes. */
static void build(zip *z, const void *pickle, size_t n) {
    uint8_t storage[24];
    memset(storage, 7, sizeof storage);
    put_member(z, "a/data.pkl", pickle, n);
    put_member(z, "a/data/0", storage, sizeof storage);
    put_end(z);
}

static void expect(zip *z, tkr_status want, const char *message) {
    tkr_error error = {0};
    const tkr_status status = open_bytes(z->data.data, z->data.size, &error);
    if (status != want || (message && !strstr(error.message, message))) {
        fail_msg("got %d \"%s\", expected %d \"%s\"", (int)status, error.message, (int)want, message ? message : "");
    }
    tkr_buf_free(&z->data);
    *z = (zip){0};
}

#define TEXT(n, text) "X" n "\0\0\0" text
#define STORAGE(type, key, count) \
    "(" TEXT("\7", "storage") "ctorch\n" type "\n" TEXT("\1", key) TEXT("\3", "cpu") count "tQ"
#define TENSOR(storage, offset, shape, stride)                                \
    "ctorch._utils\n_rebuild_tensor_v2\n(" storage offset shape stride "\x89" \
    "ccollections\nOrderedDict\n)RtR"
#define DICT(item) "\x80\2}" TEXT("\1", "t") item "s."
#define PLAIN TENSOR(STORAGE("FloatStorage", "0", "K\6"), "K\0", "K\3\x85", "K\1\x85")

/* text, size without the NUL */
#define P(text) text, sizeof(text) - 1

static const struct {
    const char *pickle;
    size_t n;
    tkr_status status;
    const char *message;
} cases[] = {
    {P(DICT(PLAIN)), TKR_OK, NULL},
    {P(DICT(TENSOR(STORAGE("FloatStorage", "0", "K\6"), "K\3", "K\3\x85", "K\1\x85"))), TKR_OK, NULL},
    {P(DICT(TENSOR(STORAGE("FloatStorage", "0", "K\6"), "K\0", "K\1K\6\x86", "K\1K\1\x86"))), TKR_OK, NULL},
    {P(DICT(TENSOR(STORAGE("FloatStorage", "0", "K\6"), "K\6", ")", ")"))), TKR_FORMAT,
     "tensor \"t\" has 1 elements from 6 on, but its storage only 6"},
    {P(DICT(TENSOR(STORAGE("FloatStorage", "0", "K\6"), "K\4", "K\3\x85", "K\1\x85"))), TKR_FORMAT,
     "tensor \"t\" has 3 elements from 4 on, but its storage only 6"},
    {P(DICT(TENSOR(STORAGE("FloatStorage", "0", "K\7"), "K\0", "K\3\x85", "K\1\x85"))), TKR_FORMAT,
     "storage \"0\" has 24 bytes, but 7 elements of F32 were said"},
    {P(DICT(TENSOR(STORAGE("FloatStorage", "1", "K\6"), "K\0", "K\3\x85", "K\1\x85"))), TKR_FORMAT,
     "tensor \"t\" is in storage \"1\", which the archive lacks"},
    {P(DICT(TENSOR(STORAGE("FloatStorage", "0", "K\6"), "K\0", "K\3K\2\x86", "K\1K\3\x86"))), TKR_UNSUPPORTED,
     "tensor \"t\" of shape [3, 2] is a strided view"},
    {P(DICT(TENSOR(STORAGE("FloatStorage", "0", "K\6"), "K\0", "K\3\x85", "K\2\x85"))), TKR_UNSUPPORTED, "strided"},
    {P(DICT(TENSOR(STORAGE("FloatStorage", "0", "K\6"), "K\0", "K\3\x85", "K\1K\1\x86"))), TKR_FORMAT,
     "_rebuild_tensor_v2 is not given a storage"},
    {P(DICT(TENSOR(STORAGE("FloatStorage", "0", "K\6"), "J\xff\xff\xff\xff", "K\3\x85", "K\1\x85"))), TKR_FORMAT,
     "_rebuild_tensor_v2 is not given a storage"},
    {P(DICT(TENSOR(STORAGE("FloatStorage", "0", "K\6"), "K\0", "J\xff\xff\xff\xff\x85", "K\1\x85"))), TKR_FORMAT,
     "_rebuild_tensor_v2 is not given a storage"},
    {P(DICT(TENSOR(STORAGE("FloatStorage", "0", "K\6"), "K\0", "\x8a\7\0\0\0\0\0\0\1\x8a\7\0\0\0\0\0\0\1\x86",
                   "K\1K\1\x86"))),
     TKR_FORMAT, "is beyond any memory"},
    {P(DICT(TENSOR(STORAGE("FloatStorage", "0", "\x8a\7\0\0\0\0\0\0\1"), "K\0", "K\3\x85", "K\1\x85"))), TKR_FORMAT,
     "were said"},
    {P(DICT(TENSOR(STORAGE("FloatStorage", "0", "K\6"), "K\0", "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t",
                   "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t"))),
     TKR_FORMAT, "has 9 dimensions, expected at most 8"},
    {P(DICT(TENSOR(STORAGE("QInt8Storage", "0", "K\6"), "K\0", "K\3\x85", "K\1\x85"))), TKR_UNSUPPORTED,
     "GLOBAL torch.QInt8Storage is refused"},
    {P("\x80\2cos\nsystem\n" TEXT("\2", "ls") "\x85R."), TKR_UNSUPPORTED,
     "GLOBAL os.system is refused: only dicts of tensors are read"},
    {P("\x80\2"
       "c__builtin__\neval\n" TEXT("\1", "1") "\x85R."),
     TKR_UNSUPPORTED, "GLOBAL __builtin__.eval is refused"},
    {P("\x80\2"
       "ctorch._utils\n_rebuild_tensor_v2x\n."),
     TKR_UNSUPPORTED, "_rebuild_tensor_v2x is refused"},
    {P("\x80\2"
       "ctorch\nFloatStorage\n)R."),
     TKR_FORMAT, "a storage type is called"},
    {P("\x80\2"
       "ccollections\nOrderedDict\n]\x85R."),
     TKR_FORMAT, "OrderedDict with arguments"},
    {P("\x80\2K\1)R."), TKR_FORMAT, "REDUCE of no global"},
    {P("\x80\2K\1Q."), TKR_FORMAT, "a persistent id is not a storage"},
    {P("\x80\2(i__main__\nX\n."), TKR_UNSUPPORTED, "pickle opcode 0x69 (INST) is refused"},
    {P("\x80\2)\x81."), TKR_UNSUPPORTED, "pickle opcode 0x81 (NEWOBJ) is refused"},
    {P("\x80\2\xff."), TKR_UNSUPPORTED, "pickle opcode 0xff (unknown) is refused"},
    {P("\x80\5."), TKR_UNSUPPORTED, "pickle protocol 5, expected 2"},
    {P("\x80\2K\1."), TKR_FORMAT, "holds no dict of tensors"},
    {P("\x80\2}."), TKR_FORMAT, "holds no tensors"},
    {P("\x80\2."), TKR_FORMAT, "the stack has no value"},
    {P("\x80\2(."), TKR_FORMAT, "the stack has no value"},
    {P("\x80\2}t."), TKR_FORMAT, "the stack has no mark"},
    {P("\x80\2K\1\x86."), TKR_FORMAT, "the stack has too few values"},
    {P("\x80\2(K\1\x86."), TKR_FORMAT, "the stack has too few values"},
    {P("\x80\2}(K\1u."), TKR_FORMAT, "a key without a value"},
    {P("\x80\2](K\1K\1u."), TKR_FORMAT, "items of what is not a dict"},
    {P("\x80\2)K\1a."), TKR_FORMAT, "elements of what is not a list"},
    {P("\x80\2)Nb."), TKR_FORMAT, "BUILD of what is not a dict"},
    {P("\x80\2}q\1."), TKR_FORMAT, "the memo has a hole"},
    {P("\x80\2}r\xff\xff\xff\xff."), TKR_FORMAT, "the memo has a hole"},
    {P("\x80\2(q\0."), TKR_FORMAT, "the stack has no value to remember"},
    {P("\x80\2h\0."), TKR_FORMAT, "the memo has no such value"},
    {P("\x80\2\x8a\x09"
       "123456789."),
     TKR_FORMAT, "a number of more than 64 bits"},
    {P("\x80\2X\xff\xff\xff\xff"
       "abc."),
     TKR_FORMAT, "it ends inside of a string"},
    {P("\x80\2"
       "ctorch\n"),
     TKR_FORMAT, "it ends inside of a global's name"},
    {P("\x80\2K"), TKR_FORMAT, "it ends inside of a number"},
    {P("\x80\2}"), TKR_FORMAT, "it ends without STOP"},
    {P(""), TKR_FORMAT, "it ends without STOP"},
};

static void test_pickles(void **state) {
    (void)state;
    zip z = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        build(&z, cases[i].pickle, cases[i].n);
        expect(&z, cases[i].status, cases[i].message);
    }
}

static void test_archives(void **state) {
    (void)state;
    zip z = {0};
    put(&z.data, "", 0);
    expect(&z, TKR_FORMAT, "does not begin as a zip archive");
    put(&z.data, "{\"a\": 1}", 8);
    expect(&z, TKR_FORMAT, "does not begin as a zip archive");
    put(&z.data, "PK\3\4 and no more", 16);
    expect(&z, TKR_FORMAT, "the end of a zip archive is missing (truncated?)");
    put_member(&z, "a/other", "x", 1), put_end(&z);
    expect(&z, TKR_FORMAT, "the archive has no data.pkl");
    put_member(&z, "a/b/data.pkl", "x", 1), put_end(&z);
    expect(&z, TKR_FORMAT, "the archive has no data.pkl");
    put_member(&z, "a/data.pkl", "x", 1), put_member(&z, "b/data.pkl", "x", 1), put_end(&z);
    expect(&z, TKR_FORMAT, "the archive has two data.pkl");
    put_member(&z, "a/data.pkl", "x", 1), put_member(&z, "a/data.pkl", "x", 1), put_end(&z);
    expect(&z, TKR_FORMAT, "member \"a/data.pkl\" is there twice");
    put_member(&z, "a/data.pkl", "x", 1), put_member(&z, "a/byteorder", "big", 3), put_end(&z);
    expect(&z, TKR_UNSUPPORTED, "byte order \"big\", expected little");
}

/* Changes one number of a good archive: `at` bytes behind the last place of `signature`. */
static void patch(zip *z, const char *signature, size_t at, const char *bytes, size_t n) {
    build(z, P(DICT(PLAIN)));
    for (size_t i = z->data.size - 4;; i--) {
        if (memcmp(z->data.data + i, signature, 4) != 0) continue;
        memcpy(z->data.data + i + at, bytes, n);
        return;
    }
}

static void test_lying_archives(void **state) {
    (void)state;
    static const struct {
        const char *signature;
        size_t at;
        const char *bytes;
        size_t n;
        tkr_status status;
        const char *message;
    } lies[] = {
        {"PK\5\6", 10, "\xff", 1, TKR_UNSUPPORTED, "of several parts"},
        {"PK\5\6", 8, "\xff\0\xff\0", 4, TKR_FORMAT, "a zip directory of 255 entries"},
        {"PK\5\6", 8, "\3\0\3\0", 4, TKR_FORMAT, "a zip directory of 3 entries"},
        {"PK\5\6", 12, "\xff\xff\xff", 3, TKR_FORMAT, "does not fit the file's"},
        {"PK\5\6", 16, "\xff\xff\xff", 3, TKR_FORMAT, "does not fit the file's"},
        {"PK\5\6", 16, "\1", 1, TKR_FORMAT, "the zip directory ends too early"},
        {"PK\5\6", 20, "\1", 1, TKR_FORMAT, "the end of a zip archive is missing"},
        {"PK\1\2", 8, "\1", 1, TKR_UNSUPPORTED, "member \"a/data/0\" is encrypted"},
        {"PK\1\2", 10, "\10", 1, TKR_UNSUPPORTED, "member \"a/data/0\" is compressed (method 8)"},
        {"PK\1\2", 20, "\1", 1, TKR_UNSUPPORTED, "is compressed"},
        {"PK\1\2", 20, "\xff\xff\0\0\xff\xff\0\0", 8, TKR_FORMAT, "member \"a/data/0\" of 65535 bytes leaves"},
        {"PK\1\2", 20, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, TKR_FORMAT,
         "member \"a/data/0\" has a damaged extra field"},
        {"PK\1\2", 20, "\1\0\0\0\1\0\0\0", 8, TKR_FORMAT, "is described differently"},
        {"PK\1\2", 28, "\xff\xff", 2, TKR_FORMAT, "the zip directory ends too early"},
        {"PK\1\2", 42, "\xff\xff\xff\x7f", 4, TKR_FORMAT, "has no header at byte 2147483647"},
        {"PK\1\2", 42, "\1", 1, TKR_FORMAT, "has no header at byte"},
        {"PK\1\2", 46, "b", 1, TKR_FORMAT, "member \"b/data/0\" is described differently"},
        {"PK\3\4", 8, "\10", 1, TKR_FORMAT, "is described differently"},
        {"PK\3\4", 28, "\xff\xff", 2, TKR_FORMAT, "leaves the archive"},
    };
    zip z = {0};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        patch(&z, lies[i].signature, lies[i].at, lies[i].bytes, lies[i].n);
        expect(&z, lies[i].status, lies[i].message);
    }
}

/* No prefix is a good archive, no flipped bit does harm, no failing allocation leaks. */
static void test_damage(void **state) {
    (void)state;
    zip z = {0};
    tkr_error error;
    build(&z, P(DICT(PLAIN)));
    for (size_t n = 0; n < z.data.size; n++) assert_int_equal(open_bytes(z.data.data, n, &error), TKR_FORMAT);
    for (size_t i = 0; i < z.data.size; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            z.data.data[i] ^= (char)(1u << bit);
            (void)open_bytes(z.data.data, z.data.size, &error);
            z.data.data[i] ^= (char)(1u << bit);
        }
    }
    tkr_buf_free(&z.data);
}

static size_t n_allowed, n_seen;

static bool count_allocations(void *user, char kind) {
    (void)user;
    return kind != 'a' || n_seen++ < n_allowed;
}

static void test_memory_faults(void **state) {
    (void)state;
    tkr_tensors *set = NULL;
    tkr_error error;
    tkr_status status = TKR_NO_MEMORY;
    for (n_allowed = 0; status != TKR_OK; n_allowed++) {
        assert_true(n_allowed < 300);
        n_seen = 0;
        tkr_seam_set(count_allocations, NULL);
        status = tkr_pytorch_open_file(&set, FOLDER "plain.bin", &error);
        tkr_seam_set(NULL, NULL);
        if (status != TKR_OK) assert_int_equal(status, TKR_NO_MEMORY);
        tkr_tensors_free(&set);
    }
    assert_true(n_allowed > 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_torch),   cmocka_unit_test(test_torch_refused), cmocka_unit_test(test_folder),
        cmocka_unit_test(test_pickles), cmocka_unit_test(test_archives),      cmocka_unit_test(test_lying_archives),
        cmocka_unit_test(test_damage),  cmocka_unit_test(test_memory_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
