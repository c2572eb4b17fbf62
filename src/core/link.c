/* SPDX-License-Identifier: Apache-2.0 */
/* core/link: where a symbolic link points to. */
#define _GNU_SOURCE
#include <unistd.h>

#include "core/file.h"

char *tkr_path_link_target(const char *path) {
    char target[4096];
    ssize_t n = readlink(path, target, sizeof target);
    return n <= 0 || (size_t)n >= sizeof target ? NULL : tkr_strndup(target, (size_t)n);
}
