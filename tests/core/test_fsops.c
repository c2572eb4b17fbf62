/* SPDX-License-Identifier: Apache-2.0 */
/* What a cache needs of the file system: identity of files, private folders, locks on a file that is renamed; tasks. */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/fsops.h"
#include "core/task.h"

static char folder[512];

static int make_folder(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "%s/fsops-XXXXXX", TKR_BUILD_DIR);
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    char command[600];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static void path_of(char out[600], const char *name) { snprintf(out, 600, "%s/%s", folder, name); }

static void ids_tell_files_apart(void **state) {
    (void)state;
    char a[600], b[600];
    tkr_file_id first, same, other;
    tkr_map map;
    path_of(a, "a");
    path_of(b, "b");
    assert_int_equal(tkr_fs_id(&first, a, NULL), TKR_NOT_FOUND);
    assert_int_equal(tkr_file_write_atomic(a, "12345", 5, NULL), TKR_OK);
    assert_int_equal(tkr_file_write_atomic(b, "12345", 5, NULL), TKR_OK);
    assert_int_equal(tkr_fs_id(&first, a, NULL), TKR_OK);
    assert_int_equal(tkr_fs_id(&other, b, NULL), TKR_OK);
    assert_int_equal(first.size, 5);
    assert_true(first.device == other.device && first.inode != other.inode);
    assert_int_equal(tkr_map_open(&map, a, NULL), TKR_OK);
    assert_true(map.id.inode == first.inode && map.id.size == 5 && map.id.modified_ns == first.modified_ns);
    tkr_map_close(&map);
    usleep(20000); /* file times advance by the kernel's tick */
    tkr_fs_touch(a);
    assert_int_equal(tkr_fs_id(&same, a, NULL), TKR_OK);
    assert_true(same.inode == first.inode && same.modified_ns > first.modified_ns);
    assert_int_equal(tkr_fs_id(&other, folder, NULL), TKR_NOT_FOUND);
}

static void private_folders(void **state) {
    (void)state;
    char made[600], open[600], file[600];
    struct stat info;
    tkr_error error;
    path_of(made, "x/y/z");
    path_of(open, "open");
    path_of(file, "file");
    assert_int_equal(tkr_fs_private_dir(made, NULL), TKR_OK);
    assert_int_equal(stat(made, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    assert_int_equal(tkr_fs_private_dir(made, NULL), TKR_OK);
    assert_int_equal(mkdir(open, 0700), 0);
    static const mode_t modes[] = {0750, 0701, 0720, 0777};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(chmod(open, modes[i]), 0);
        assert_int_equal(tkr_fs_private_dir(open, &error), TKR_DENIED);
        assert_non_null(strstr(error.message, "chmod 700"));
    }
    assert_int_equal(tkr_file_write_atomic(file, "", 0, NULL), TKR_OK);
    assert_int_equal(tkr_fs_private_dir(file, NULL), TKR_IO);
    path_of(file, "file/below");
    assert_int_not_equal(tkr_fs_private_dir(file, NULL), TKR_OK);
}

/* The lock stays with the file when it is renamed; its name is then free for the next writer. */
static void locks_follow_the_file(void **state) {
    (void)state;
    char temporary[600], final[600];
    tkr_fs_lock *lock = NULL, *second = NULL;
    path_of(temporary, "t");
    path_of(final, "f");
    assert_int_equal(tkr_fs_lock_try(&lock, temporary, NULL), TKR_OK);
    assert_int_equal(tkr_fs_lock_try(&second, temporary, NULL), TKR_BUSY);
    assert_int_equal(tkr_fs_rename(temporary, final, NULL), TKR_OK);
    assert_int_equal(tkr_fs_lock_try(&second, temporary, NULL), TKR_OK);
    tkr_fs_unlock(&second);
    tkr_fs_unlock(&lock);
}

static void count(void *arg) { atomic_fetch_add((atomic_int *)arg, 1); }

static bool no_memory(void *user, char kind) {
    (void)user;
    return kind != 'a';
}

static void access_of_files(void **state) {
    (void)state;
    char a[600];
    struct stat info;
    tkr_file_access access = {0};
    tkr_error error = {0};
    path_of(a, "private");
    assert_int_equal(tkr_file_write_private(a, "x", 1, &error), TKR_OK);
    assert_int_equal(tkr_fs_access(&access, a, &error), TKR_OK);
    assert_int_equal(access.mode, 0600);
    assert_true(access.trusted);
    assert_int_equal(chmod(a, 0664), 0);
    assert_int_equal(tkr_fs_access(&access, a, &error), TKR_OK);
    assert_int_equal(access.mode, 0664);
    assert_int_equal(tkr_file_write_private(a, "y", 1, &error), TKR_OK); /* whatever was there */
    assert_int_equal(stat(a, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    if (geteuid() == 0) { /* a file of somebody else stays theirs, and isn't trusted */
        assert_int_equal(chown(a, 12345, 12346), 0);
        assert_int_equal(tkr_fs_access(&access, a, &error), TKR_OK);
        assert_false(access.trusted);
        assert_int_equal(tkr_file_write_atomic(a, "z", 1, &error), TKR_OK);
        assert_int_equal(stat(a, &info), 0);
        assert_true(info.st_uid == 12345 && info.st_gid == 12346 && (info.st_mode & 07777) == 0600);
    }
    path_of(a, "absent");
    assert_int_equal(tkr_fs_access(&access, a, &error), TKR_NOT_FOUND);
}

static void tasks_run_once(void **state) {
    (void)state;
    atomic_int n = 0;
    tkr_task *task = tkr_task_start(count, &n);
    assert_non_null(task);
    tkr_task_wait(&task);
    assert_null(task);
    assert_int_equal(atomic_load(&n), 1);
    tkr_seam_set(no_memory, NULL);
    task = tkr_task_start(count, &n);
    tkr_seam_set(NULL, NULL);
    assert_null(task);
    assert_int_equal(atomic_load(&n), 2); /* right there */
    tkr_task_wait(&task);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(ids_tell_files_apart), cmocka_unit_test(private_folders),
                                       cmocka_unit_test(locks_follow_the_file), cmocka_unit_test(access_of_files),
                                       cmocka_unit_test(tasks_run_once)};
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
