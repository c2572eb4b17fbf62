/* SPDX-License-Identifier: Apache-2.0 */
/* Maps, whole reads, atomic writes, output streams, paths; every operation also with the seam failing its N-th step. */
#define _DEFAULT_SOURCE 1
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"

/* A folder of its own for each test, current while the test runs. */
static char folder[64];
static int home = -1;

static int enter_folder(void **state) {
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/tkr-test-file-XXXXXX");
    home = open(".", O_RDONLY | O_CLOEXEC);
    return home >= 0 && mkdtemp(folder) != NULL && chdir(folder) == 0 ? 0 : -1;
}

static tkr_status remove_entry(void *user, const char *name, bool is_dir) {
    (void)user;
    (void)is_dir;
    return remove(name) == 0 ? TKR_OK : TKR_IO;
}

static int leave_folder(void **state) {
    (void)state;
    tkr_seam_set(NULL, NULL);
    (void)tkr_dir_each(".", remove_entry, NULL, NULL);
    int failed = fchdir(home) != 0 || rmdir(folder) != 0;
    (void)close(home);
    return failed ? -1 : 0;
}

static void put(const char *path, const void *data, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void assert_content(const char *path, const char *expected) {
    tkr_buf text = {0};
    assert_int_equal(tkr_file_read(&text, path, 1000, NULL), TKR_OK);
    assert_int_equal(text.size, strlen(expected));
    assert_string_equal(text.data, expected);
    tkr_buf_free(&text);
}

typedef struct sweep {
    char kind;
    int left; /* operations of this kind that still work */
} sweep;

static bool allow_some(void *user, char kind) {
    sweep *s = user;
    return kind != s->kind || s->left-- > 0;
}

static tkr_status count_entry(void *user, const char *name, bool is_dir) {
    (void)name;
    (void)is_dir;
    ++*(int *)user;
    return TKR_OK;
}

static int n_entries(void) {
    int n = 0;
    assert_int_equal(tkr_dir_each(".", count_entry, &n, NULL), TKR_OK);
    return n;
}

/* ---- maps and reads ---- */

static void maps(void **state) {
    (void)state;
    tkr_error error;
    tkr_map map;
    put("a", "hello", 5);
    put("empty", "", 0);
    assert_int_equal(tkr_map_open(&map, "a", &error), TKR_OK);
    assert_int_equal(map.size, 5);
    assert_memory_equal(map.data, "hello", 5);
    tkr_map_close(&map);
    assert_null(map.data);
    tkr_map_close(&map);
    assert_int_equal(tkr_map_open(&map, "empty", &error), TKR_OK);
    assert_null(map.data);
    assert_int_equal(map.size, 0);
    tkr_map_close(&map);
    assert_int_equal(tkr_map_open(&map, "absent", &error), TKR_NOT_FOUND);
    assert_string_equal(error.message, "absent: cannot open: No such file or directory");
    assert_int_equal(tkr_map_open(&map, "a/b", &error), TKR_NOT_FOUND);
    assert_int_equal(tkr_map_open(&map, ".", &error), TKR_IO);
    assert_string_equal(error.message, ".: is a directory, expected a file");
    assert_int_equal(mkfifo("pipe", 0600), 0);
    assert_int_equal(tkr_map_open(&map, "pipe", &error), TKR_IO);
    assert_string_equal(error.message, "pipe: is not a regular file");
    for (int n = 0; n < 2; n++) {
        sweep s = {'r', n};
        tkr_seam_set(allow_some, &s);
        assert_int_equal(tkr_map_open(&map, "a", &error), TKR_IO);
        assert_non_null(strstr(error.message, "a: cannot "));
        assert_null(map.data);
    }
}

/* Released pages come back from the file; ranges of no whole page are left alone. */
static void maps_are_released(void **state) {
    (void)state;
    enum { SIZE = 1 << 20 };
    tkr_error error;
    tkr_map map;
    char *bytes = malloc(SIZE);
    assert_non_null(bytes);
    for (size_t i = 0; i < SIZE; i++) bytes[i] = (char)(i * 7 + i / 4096);
    put("big", bytes, SIZE);
    assert_int_equal(tkr_map_open(&map, "big", &error), TKR_OK);
    assert_memory_equal(map.data, bytes, SIZE);
    tkr_map_release(map.data, SIZE);
    assert_memory_equal(map.data, bytes, SIZE);
    tkr_map_release((const char *)map.data + 5, 100);
    tkr_map_release((const char *)map.data + 5, 0);
    tkr_map_release((const char *)map.data + 100, SIZE - 101);
    assert_memory_equal(map.data, bytes, SIZE);
    tkr_map_close(&map);
    free(bytes);
}

static void reads(void **state) {
    (void)state;
    tkr_error error;
    tkr_buf text = {0};
    put("a", "hello", 5);
    assert_int_equal(tkr_file_read(&text, "a", 5, &error), TKR_OK);
    assert_string_equal(text.data, "hello");
    assert_int_equal(tkr_file_read(&text, "a", 5, &error), TKR_OK); /* replaces what was there */
    assert_int_equal(text.size, 5);
    assert_int_equal(tkr_file_read(&text, "a", 4, &error), TKR_LIMIT);
    assert_string_equal(error.message, "a: 5 bytes are more than the limit of 4");
    assert_int_equal(tkr_file_read(&text, "absent", 4, &error), TKR_NOT_FOUND);
    assert_int_equal(tkr_file_read(&text, ".", 4, &error), TKR_IO);
    tkr_buf_free(&text);
    tkr_buf capped = {.cap = 3};
    assert_int_equal(tkr_file_read(&capped, "a", 100, &error), TKR_NO_MEMORY);
    tkr_buf_free(&capped);
    for (int n = 0; n < 2; n++) {
        sweep s = {'r', n};
        tkr_seam_set(allow_some, &s);
        assert_int_equal(tkr_file_read(&text, "a", 100, &error), TKR_IO);
    }
    tkr_seam_set(NULL, NULL);
    tkr_buf_free(&text);
}

#if defined(__linux__)
/* Files in /proc say that they are empty. */
static void reads_beyond_the_announced_size(void **state) {
    (void)state;
    tkr_buf text = {0};
    tkr_error error;
    assert_int_equal(tkr_file_read(&text, "/proc/self/status", 1 << 20, &error), TKR_OK);
    assert_non_null(strstr(text.data, "VmSize"));
    tkr_buf_free(&text);
    assert_int_equal(tkr_file_read(&text, "/proc/self/status", 10, &error), TKR_LIMIT);
    tkr_buf_free(&text);
}
#endif

/* ---- atomic writes ---- */

static void atomic_writes(void **state) {
    (void)state;
    tkr_error error;
    assert_int_equal(tkr_file_write_atomic("a", "one", 3, &error), TKR_OK);
    assert_content("a", "one");
    assert_int_equal(chmod("a", 0640), 0);
    assert_int_equal(tkr_file_write_atomic("a", "second", 6, &error), TKR_OK);
    assert_content("a", "second");
    struct stat info;
    assert_int_equal(stat("a", &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
    assert_int_equal(tkr_file_write_atomic("./empty", NULL, 0, &error), TKR_OK);
    assert_content("empty", "");
    assert_int_equal(n_entries(), 2);
    assert_int_equal(tkr_file_write_atomic("absent/a", "x", 1, &error), TKR_NOT_FOUND);
    assert_non_null(strstr(error.message, "absent/a: cannot create a temporary file beside it: "));
    assert_int_equal(tkr_file_write_atomic(".", "x", 1, &error), TKR_IO);
    assert_string_equal(error.message, ".: is a directory, expected a regular file");
    assert_int_equal(tkr_file_write_atomic("/dev/null", "x", 1, &error), TKR_IO);
}

static void failed_writes_leave_the_old_file(void **state) {
    (void)state;
    tkr_error error;
    const char kinds[] = {'w', 'a'};
    assert_int_equal(tkr_file_write_atomic("a", "old", 3, &error), TKR_OK);
    for (size_t k = 0; k < sizeof kinds; k++) {
        int n = 0;
        for (;; n++) {
            sweep s = {kinds[k], n};
            tkr_seam_set(allow_some, &s);
            tkr_status status = tkr_file_write_atomic("a", "new", 3, &error);
            tkr_seam_set(NULL, NULL);
            if (status == TKR_OK) {
                break;
            }
            assert_int_equal(status, kinds[k] == 'a' ? TKR_NO_MEMORY : TKR_IO);
            assert_content("a", "old");
            assert_int_equal(n_entries(), 1);
        }
        assert_true(n >= (kinds[k] == 'w' ? 3 : 1));
        assert_content("a", "new");
        assert_int_equal(tkr_file_write_atomic("a", "old", 3, &error), TKR_OK);
    }
}

/* ---- output streams ---- */

static void streams_write_and_patch(void **state) {
    (void)state;
    tkr_error error;
    tkr_out *out;
    assert_int_equal(tkr_out_open(&out, "a", &error), TKR_OK);
    assert_true(tkr_out_seekable(out));
    assert_int_equal(tkr_out_write(out, "HEAD", 4, &error), TKR_OK);
    enum { N = 300000 };
    char *block = malloc(N);
    assert_non_null(block);
    memset(block, 'x', N);
    for (size_t n = 1; n <= N; n *= 7) { /* smaller and larger than the buffer */
        assert_int_equal(tkr_out_write(out, block, n, &error), TKR_OK);
    }
    assert_int_equal(tkr_out_write(out, NULL, 0, &error), TKR_OK);
    assert_int_equal(tkr_out_patch(out, 1, "oo", 2, &error), TKR_OK);
    assert_int_equal(tkr_out_write(out, "TAIL", 4, &error), TKR_OK);
    assert_int_equal(tkr_out_patch(out, UINT64_MAX, "oo", 2, &error), TKR_INVALID_ARGUMENT);
    assert_int_equal(tkr_out_close(&out, &error), TKR_OK);
    assert_null(out);
    assert_int_equal(tkr_out_close(&out, &error), TKR_OK);
    tkr_buf text = {0};
    assert_int_equal(tkr_file_read(&text, "a", 1 << 20, &error), TKR_OK);
    assert_int_equal(text.size, 8 + 137257); /* 1 + 7 + ... + 7^6 */
    assert_memory_equal(text.data, "HooDxxxx", 8);
    assert_string_equal(text.data + text.size - 6, "xxTAIL");
    tkr_buf_free(&text);
    free(block);
    assert_int_equal(tkr_out_open(&out, ".", &error), TKR_IO);
    assert_string_equal(error.message, ".: cannot open for writing: Is a directory");
    assert_null(out);
    assert_int_equal(tkr_out_open(&out, "absent/a", &error), TKR_NOT_FOUND);
    for (int n = 0; n < 2; n++) {
        sweep s = {'a', n};
        tkr_seam_set(allow_some, &s);
        assert_int_equal(tkr_out_open(&out, "a", &error), TKR_NO_MEMORY);
    }
}

#if defined(__linux__)
static void a_full_disk_is_reported_and_stays_so(void **state) {
    (void)state;
    tkr_error error;
    tkr_out *out;
    assert_int_equal(tkr_out_open(&out, "/dev/full", &error), TKR_OK);
    assert_false(tkr_out_seekable(out));
    assert_int_equal(tkr_out_write(out, "x", 1, &error), TKR_OK); /* buffered */
    assert_int_equal(tkr_out_flush(out, &error), TKR_IO);
    assert_string_equal(error.message, "/dev/full: cannot write: No space left on device");
    assert_int_equal(tkr_out_write(out, "x", 1, &error), TKR_IO);
    assert_int_equal(tkr_out_close(&out, &error), TKR_IO);
    assert_int_equal(tkr_out_open(&out, "/dev/full", &error), TKR_OK);
    assert_int_equal(tkr_out_write(out, "x", 1, &error), TKR_OK);
    assert_int_equal(tkr_out_close(&out, &error), TKR_IO); /* the last chance to say it */
    assert_null(out);
}
#endif

static void a_closed_pipe_is_an_error_not_a_signal(void **state) {
    (void)state;
    tkr_error error;
    tkr_out *out;
    assert_int_equal(mkfifo("pipe", 0600), 0);
    int reader = open("pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(reader >= 0);
    assert_int_equal(tkr_out_open(&out, "pipe", &error), TKR_OK);
    assert_false(tkr_out_seekable(out));
    assert_int_equal(tkr_out_patch(out, 0, "x", 1, &error), TKR_INVALID_ARGUMENT);
    assert_int_equal(tkr_out_write(out, "x", 1, &error), TKR_OK);
    assert_int_equal(tkr_out_flush(out, &error), TKR_OK);
    assert_int_equal(close(reader), 0);
    assert_int_equal(tkr_out_write(out, "y", 1, &error), TKR_OK);
    assert_int_equal(tkr_out_flush(out, &error), TKR_IO);
    assert_string_equal(error.message, "pipe: cannot write: Broken pipe");
    assert_int_equal(tkr_out_close(&out, &error), TKR_IO);
}

static void a_dash_is_standard_output(void **state) {
    (void)state;
    tkr_error error;
    tkr_out *out;
    (void)fflush(stdout);
    int kept = dup(STDOUT_FILENO);
    put("a", "before-", 7);
    int file = open("a", O_WRONLY | O_CLOEXEC);
    assert_true(kept >= 0 && file >= 0 && lseek(file, 7, SEEK_SET) == 7);
    assert_true(dup2(file, STDOUT_FILENO) >= 0);
    tkr_status opened = tkr_out_open(&out, "-", &error);
    tkr_status written = opened == TKR_OK ? tkr_out_write(out, "result", 6, &error) : opened;
    tkr_status patched = opened == TKR_OK ? tkr_out_patch(out, 0, "R", 1, &error) : opened; /* counts from our start */
    tkr_status closed = opened == TKR_OK ? tkr_out_close(&out, &error) : opened;
    bool still_open = fcntl(STDOUT_FILENO, F_GETFD) >= 0;
    (void)dup2(kept, STDOUT_FILENO);
    (void)close(kept);
    (void)close(file);
    assert_int_equal(opened, TKR_OK);
    assert_int_equal(written, TKR_OK);
    assert_int_equal(patched, TKR_OK);
    assert_int_equal(closed, TKR_OK);
    assert_true(still_open);
    assert_content("a", "before-Result");
}

/* ---- paths ---- */

static void joins(void **state) {
    (void)state;
    const char *cases[][3] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"a//", "/b", "a/b"}, {"/", "b", "/b"},
                              {"//", "b", "/b"}, {"", "b", "b"},     {"", "/b", "/b"},     {"a", "b/c/", "a/b/c/"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *joined = tkr_path_join(cases[i][0], cases[i][1]);
        assert_string_equal(joined, cases[i][2]);
        tkr_free(joined);
    }
    sweep s = {'a', 0};
    tkr_seam_set(allow_some, &s);
    assert_null(tkr_path_join("a", "b"));
}

static void makes_folders(void **state) {
    (void)state;
    tkr_error error;
    char deep[128];
    (void)snprintf(deep, sizeof deep, "%s/x/y//z/", folder);
    assert_int_equal(tkr_mkdirs(deep, &error), TKR_OK);
    assert_int_equal(tkr_mkdirs(deep, &error), TKR_OK);
    assert_int_equal(tkr_mkdirs("x/y/w", &error), TKR_OK);
    assert_true(tkr_path_is_dir("x/y/z"));
    assert_true(tkr_path_is_dir("x/y/w"));
    assert_true(tkr_path_exists("x"));
    put("file", "x", 1);
    assert_int_equal(tkr_mkdirs("file", &error), TKR_IO);
    assert_string_equal(error.message, "file: cannot make this folder: File exists");
    assert_int_not_equal(tkr_mkdirs("file/sub", &error), TKR_OK);
    assert_false(tkr_path_is_dir("file"));
    assert_true(tkr_path_exists("file"));
    assert_false(tkr_path_exists("absent"));
    sweep s = {'w', 0};
    tkr_seam_set(allow_some, &s);
    assert_int_equal(tkr_mkdirs("new", &error), TKR_IO);
    tkr_seam_set(NULL, NULL);
    assert_true(tkr_path_free_bytes(".") > 0);
    assert_int_equal(rmdir("x/y/z") | rmdir("x/y/w") | rmdir("x/y"), 0);
    assert_true(tkr_path_free_bytes("x/not/there/yet") > 0);
    assert_true(tkr_path_free_bytes("nor-this") > 0);
    assert_true(tkr_path_free_bytes("/nor/this") > 0);
}

typedef struct listing {
    char text[128];
    int stop_after;
} listing;

static tkr_status note_entry(void *user, const char *name, bool is_dir) {
    listing *l = user;
    size_t n = strlen(l->text);
    (void)snprintf(l->text + n, sizeof l->text - n, "%s%s ", name, is_dir ? "/" : "");
    return --l->stop_after == 0 ? TKR_CANCELLED : TKR_OK;
}

static void lists_folders(void **state) {
    (void)state;
    tkr_error error;
    put("b", "", 0);
    put("a", "", 0);
    put(".c", "", 0);
    assert_int_equal(mkdir("dir", 0700), 0);
    assert_int_equal(symlink("dir", "link"), 0);
    assert_int_equal(symlink("nowhere", "dangling"), 0);
    listing all = {.stop_after = 0};
    assert_int_equal(tkr_dir_each(".", note_entry, &all, &error), TKR_OK);
    assert_string_equal(all.text, ".c a b dangling dir/ link/ ");
    listing two = {.stop_after = 2};
    assert_int_equal(tkr_dir_each(".", note_entry, &two, &error), TKR_CANCELLED);
    assert_string_equal(two.text, ".c a ");
    assert_int_equal(tkr_dir_each("absent", note_entry, &two, &error), TKR_NOT_FOUND);
    for (int n = 0; n < 2; n++) {
        sweep s = {'a', n};
        tkr_seam_set(allow_some, &s);
        assert_int_equal(tkr_dir_each(".", note_entry, &two, &error), TKR_NO_MEMORY);
    }
    sweep s = {'r', 0};
    tkr_seam_set(allow_some, &s);
    assert_int_equal(tkr_dir_each(".", note_entry, &two, &error), TKR_IO);
}

static void environment_and_clock(void **state) {
    (void)state;
    assert_int_equal(setenv("TKR_TEST_VALUE", "x", 1), 0);
    assert_string_equal(tkr_env("TKR_TEST_VALUE"), "x");
    assert_int_equal(setenv("TKR_TEST_VALUE", "", 1), 0);
    assert_null(tkr_env("TKR_TEST_VALUE"));
    assert_int_equal(unsetenv("TKR_TEST_VALUE"), 0);
    assert_null(tkr_env("TKR_TEST_VALUE"));
    double before = tkr_now();
    assert_true(tkr_now() >= before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, enter_folder, leave_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(maps),
        TEST(maps_are_released),
        TEST(reads),
#if defined(__linux__)
        TEST(reads_beyond_the_announced_size),
        TEST(a_full_disk_is_reported_and_stays_so),
#endif
        TEST(atomic_writes),
        TEST(failed_writes_leave_the_old_file),
        TEST(streams_write_and_patch),
        TEST(a_closed_pipe_is_an_error_not_a_signal),
        TEST(a_dash_is_standard_output),
        TEST(joins),
        TEST(makes_folders),
        TEST(lists_folders),
        TEST(environment_and_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
