/* SPDX-License-Identifier: Apache-2.0 */
/* Forms: the first line is the Content-Type, the rest the body. What is taken must lie in the body and, written again,
 * read back the same. */
#include <stdlib.h>
#include <string.h>

#include "core/utf8.h"
#include "server/multipart.h"

static void demand(bool condition) {
    if (!condition) {
        abort();
    }
}

/* The same form in our own spelling. */
static void read_back(const tkr_form_part *parts, size_t n) {
    static const char boundary[] = "0123456789abcdef0123456789abcdef";
    tkr_buf body = {0};
    tkr_arena arena = {0};
    tkr_form_part *again;
    size_t n_again = 0;
    for (size_t i = 0; i < n; i++) {
        if (parts[i].size >= sizeof boundary || strchr(parts[i].name, '\\') != NULL ||
            strchr(parts[i].name, '"') != NULL) {
            tkr_buf_free(&body);
            return; /* may hold the boundary, or needs escapes */
        }
        tkr_buf_printf(&body, "%s--%s\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n", i > 0 ? "\r\n" : "",
                       boundary, parts[i].name);
        tkr_buf_append(&body, parts[i].data, parts[i].size);
    }
    tkr_buf_printf(&body, "%s--%s--", n > 0 ? "\r\n" : "", boundary);
    demand(!body.failed);
    demand(tkr_multipart_read(&again, &n_again, &arena,
                              "multipart/form-data; boundary=0123456789abcdef0123456789abcdef", body.data, body.size,
                              NULL) == TKR_OK);
    demand(n_again == n);
    for (size_t i = 0; i < n; i++) {
        demand(strcmp(again[i].name, parts[i].name) == 0 && again[i].size == parts[i].size &&
               memcmp(again[i].data, parts[i].data, parts[i].size) == 0);
    }
    tkr_arena_free(&arena);
    tkr_buf_free(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data, *line = memchr(text, '\n', size);
    tkr_arena arena = {0};
    tkr_form_part *parts = NULL;
    size_t n = 0;
    tkr_error error = {.status = TKR_OK};
    if (size == 0 || line == NULL) {
        return 0;
    }
    char *type = tkr_arena_strndup(&arena, text, (size_t)(line - text));
    const size_t n_body = size - (size_t)(line + 1 - text);
    char *body = tkr_malloc(n_body); /* of its own, so that a read beyond it shows */
    demand(type != NULL && body != NULL);
    memcpy(body, line + 1, n_body);
    const tkr_status status = tkr_multipart_read(&parts, &n, &arena, type, body, n_body, &error);
    demand(status == TKR_OK ? error.status == TKR_OK : (error.status == status && n == 0 && error.message[0] != '\0'));
    demand(arena.used <= 64 * size + TKR_MULTIPART_PARTS * sizeof(tkr_form_part) + 4096);
    for (size_t i = 0; i < n; i++) {
        demand(parts[i].name != NULL && parts[i].name[0] != '\0');
        demand(tkr_utf8_valid_prefix(parts[i].name, strlen(parts[i].name)) == strlen(parts[i].name));
        demand(parts[i].data >= body && parts[i].data + parts[i].size <= body + n_body);
    }
    if (status == TKR_OK) {
        read_back(parts, n);
    }
    tkr_free(body);
    tkr_arena_free(&arena);
    return 0;
}
