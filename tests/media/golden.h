/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers of the picture tests: golden tensors, hashes, kernels. */
#ifndef TKR_TEST_MEDIA_GOLDEN_H
#define TKR_TEST_MEDIA_GOLDEN_H

#define _DEFAULT_SOURCE 1 /* popen */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <nettle/sha2.h>

#include "core/file.h"
#include "core/json.h"
#include "kernels/kernels.h"
#include "media/image.h"

/* A safetensors file in memory. */
typedef struct golden {
    tkr_buf bytes;
    json_t *header;
    size_t data; /* offset of the tensors' bytes */
} golden;

/* Reads TKR_TEST_DIR/relative, decompressed where its name ends in .xz, or fails. */
static inline tkr_buf golden_bytes(const char *relative) {
    tkr_buf buf = {0};
    tkr_error error = {TKR_OK, NULL, ""};
    char path[512], command[600], block[1 << 14];
    size_t n = strlen(relative);
    snprintf(path, sizeof path, "%s/%s", TKR_TEST_DIR, relative);
    if (n < 3 || strcmp(relative + n - 3, ".xz") != 0) {
        if (tkr_file_read(&buf, path, (size_t)1 << 26, &error) != TKR_OK) fail_msg("%s", error.message);
        return buf;
    }
    snprintf(command, sizeof command, "xz -dc '%s'", path);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    while ((n = fread(block, 1, sizeof block, pipe)) > 0) {
        assert_true(tkr_buf_append(&buf, block, n));
    }
    if (pclose(pipe) != 0 || buf.size == 0) fail_msg("%s: failed", command);
    return buf;
}

static inline json_t *golden_json(const char *relative) {
    json_t *json = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_buf bytes = golden_bytes(relative);
    if (tkr_json_parse(&json, bytes.data, bytes.size, relative, &error) != TKR_OK) fail_msg("%s", error.message);
    tkr_buf_free(&bytes);
    return json;
}

static inline golden golden_open(const char *relative) {
    golden g = {.bytes = golden_bytes(relative)};
    tkr_error error = {TKR_OK, NULL, ""};
    uint64_t n = 0;
    assert_true(g.bytes.size > 8);
    memcpy(&n, g.bytes.data, sizeof n);
    assert_true(n < g.bytes.size - 8);
    if (tkr_json_parse(&g.header, g.bytes.data + 8, (size_t)n, relative, &error) != TKR_OK) {
        fail_msg("%s", error.message);
    }
    g.data = 8 + (size_t)n;
    return g;
}

static inline void golden_close(golden *g) {
    json_decref(g->header);
    tkr_buf_free(&g->bytes);
}

/* The bytes of a tensor and its shape, or fails; NULL for no such tensor. The bytes may lie unaligned. */
static inline const void *golden_find(const golden *g, const char *name, size_t *n_bytes, size_t shape[4]) {
    const json_t *entry = json_object_get(g->header, name);
    if (!entry) return NULL;
    const json_t *offsets = json_object_get(entry, "data_offsets"), *dims = json_object_get(entry, "shape");
    const size_t begin = (size_t)json_integer_value(json_array_get(offsets, 0));
    const size_t end = (size_t)json_integer_value(json_array_get(offsets, 1));
    assert_true(begin <= end && end <= g->bytes.size - g->data && json_array_size(dims) <= 4);
    for (size_t i = 0; i < json_array_size(dims); i++) {
        shape[i] = (size_t)json_integer_value(json_array_get(dims, i));
    }
    *n_bytes = end - begin;
    return g->bytes.data + g->data + begin;
}

/* A copy of a [height, width, 3] tensor as a picture, ending exactly at its last byte. */
static inline tkr_image golden_image(const golden *g, const char *name) {
    size_t shape[4] = {0}, n = 0;
    const void *data = golden_find(g, name, &n, shape);
    if (!data) fail_msg("no tensor %s", name);
    assert_int_equal(n, shape[0] * shape[1] * 3);
    tkr_image image = {.width = shape[1], .height = shape[0], .rgb = tkr_malloc(n)};
    assert_non_null(image.rgb);
    memcpy(image.rgb, data, n);
    return image;
}

static inline const char *golden_string(const json_t *object, const char *field) {
    const char *text = json_string_value(json_object_get(object, field));
    if (!text) fail_msg("no field %s", field);
    return text;
}

static inline void golden_sha256(char hex[65], const void *data, size_t size) {
    struct sha256_ctx context;
    uint8_t digest[32];
    sha256_init(&context);
    sha256_update(&context, size, data);
    sha256_digest(&context, sizeof digest, digest);
    for (size_t i = 0; i < sizeof digest; i++) {
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    }
}

/* What this CPU has. */
static inline void golden_kernels(tkr_kernels *kernels) {
    tkr_cpu_flags flags = 0;
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_cpu_detect(&flags, NULL, &error) != TKR_OK) fail_msg("%s", error.message);
    tkr_kernels_init(kernels, flags);
}

#endif
