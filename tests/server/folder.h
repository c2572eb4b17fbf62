/* SPDX-License-Identifier: Apache-2.0 */
/* A folder of its own for each test program, which is the current one; and files in it. */
#ifndef TESTS_SERVER_FOLDER_H
#define TESTS_SERVER_FOLDER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/fsops.h"
#include "server/settings.h"

static inline int enter_folder(void **state) {
    static char folder[] = "/tmp/tkr-server-XXXXXX";
    for (size_t i = 0; i < TKR_N_SETTINGS; i++)
        if (tkr_settings_table[i].environment != NULL) unsetenv(tkr_settings_table[i].environment);
    unsetenv("TKR_CONFIG");
    *state = mkdtemp(folder);
    return *state == NULL || chdir(folder) != 0;
}

static inline int leave_folder(void **state) { return chdir("/") != 0 || tkr_fs_remove_tree(*state, NULL) != TKR_OK; }

static inline void write_file(const char *path, const char *text) {
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(text, 1, strlen(text), out), strlen(text));
    assert_int_equal(fclose(out), 0);
}

#endif
