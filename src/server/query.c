/* SPDX-License-Identifier: Apache-2.0 */
/* server/query: the parameters of a request's query, percent-decoded. Refuses what can't be. */
#include <string.h>

#include "core/utf8.h"
#include "server/read.h"

static bool percent_decode(char *out, size_t size, const char *text, size_t n) {
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        char c = text[i] == '+' ? ' ' : text[i];
        if (text[i] == '%') {
            const int high = i + 2 < n ? tkr_hex_digit(text[i + 1]) : -1;
            const int low = i + 2 < n ? tkr_hex_digit(text[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return false;
            }
            c = (char)(high << 4 | low);
            i += 2;
        }
        if (c == '\0' || used + 1 >= size) {
            return false;
        }
        out[used++] = c;
    }
    out[used] = '\0';
    return true;
}

/* What stands behind "name=" [*n], still encoded; NULL: nothing does. */
static const char *find_query(size_t *n, const char *query, const char *name) {
    const size_t n_name = strlen(name);
    while (*query != '\0') {
        const size_t n_all = strcspn(query, "&");
        if (n_all > n_name && query[n_name] == '=' && memcmp(query, name, n_name) == 0) {
            *n = n_all - n_name - 1;
            return query + n_name + 1;
        }
        query += n_all + (query[n_all] == '&');
    }
    return NULL;
}

bool tkr_read_query(char *out, size_t size, const char *query, const char *name) {
    size_t n = 0;
    const char *text = find_query(&n, query, name);
    return text != NULL && percent_decode(out, size, text, n);
}

bool tkr_read_query_text(const char **out, tkr_operation *op, const char *name) {
    size_t n = 0;
    const char *text = find_query(&n, op->request->query, name);
    char *decoded = text != NULL ? tkr_operation_alloc(op, n + 1) : NULL;
    if (text == NULL || decoded == NULL) {
        return text == NULL;
    }
    if (!percent_decode(decoded, n + 1, text, n) ||
        tkr_utf8_valid_prefix(decoded, strlen(decoded)) != strlen(decoded)) {
        return tkr_refuse(op, VALUE, name, "%s: isn't UTF-8, percent-encoded", name);
    }
    *out = decoded;
    return true;
}
