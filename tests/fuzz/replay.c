/* SPDX-License-Identifier: Apache-2.0 */
/* Stands in for libFuzzer in `make test`: gives a fuzz target each seed of a folder and 200 damaged copies of it,
 * always the same ones. Without clang there is no coverage to follow, but the target's own demands and the sanitizers
 * hold. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../mutate.h"
#include "core/file.h"

enum { COPIES = 200, MAX_SEED = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct replay {
    const char *folder;
    size_t n_seeds;
    uint64_t random;
} replay;

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

/* A block of exactly so many bytes: reading beyond shows. */
static void run(const tkr_buf *bytes) {
    uint8_t *exact = malloc(bytes->size > 0 ? bytes->size : 1);
    if (!exact) fail("no memory");
    if (bytes->size > 0) memcpy(exact, bytes->data, bytes->size);
    (void)LLVMFuzzerTestOneInput(exact, bytes->size);
    free(exact);
}

static tkr_status on_seed(void *user, const char *name, bool is_dir) {
    replay *r = user;
    tkr_error error = {TKR_OK, NULL, ""};
    char *path = tkr_path_join(r->folder, name);
    tkr_buf seed = {0};
    if (is_dir || !path || tkr_file_read(&seed, path, MAX_SEED, &error) != TKR_OK) fail(error.message);
    run(&seed);
    for (int i = 0; i < COPIES; i++) {
        tkr_buf copy = {0};
        if (!tkr_buf_append(&copy, seed.data ? seed.data : "", seed.size)) fail("no memory");
        for (int changes = 1 + i % 4; changes > 0; changes--) mutate_once(&copy, &r->random);
        run(&copy);
        tkr_buf_free(&copy);
    }
    r->n_seeds++;
    tkr_buf_free(&seed);
    tkr_free(path);
    return TKR_OK;
}

int main(int argc, char **argv) {
    replay r = {.folder = argc > 1 ? argv[1] : "", .random = 20261127};
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_dir_each(r.folder, on_seed, &r, &error) != TKR_OK) fail(error.message);
    if (r.n_seeds == 0) fail("no seeds");
    printf("%zu seeds, %zu damaged copies\n", r.n_seeds, r.n_seeds * COPIES);
    return 0;
}
