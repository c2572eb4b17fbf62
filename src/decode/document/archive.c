/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode/document/archive: the text files of a ZIP archive, in memory: names are names, nothing is written. Refuses
 * passwords, and more entries, bytes or expansion than a document has.
 */
#include <archive.h>
#include <archive_entry.h>
#include <string.h>

#include "core/utf8.h"
#include "decode/document/document.h"

enum {
    MAX_ENTRIES = 50000,
    MAX_RATIO = 400, /* of all that is read to the archive; XML of tables shrinks to a hundredth */
};
static const size_t MAX_BYTES = (size_t)256 << 20, FREE_BYTES = (size_t)8 << 20;

struct tkr_package {
    tkr_buf members; /* tkr_member */
    size_t n_bytes, limit;
};

static tkr_member *members_of(const tkr_package *p) { return (tkr_member *)(void *)p->members.data; }
static size_t n_members(const tkr_package *p) { return p->members.size / sizeof(tkr_member); }

static bool ends_in(const char *name, const char *end) {
    const size_t n = strlen(name), m = strlen(end);
    return n >= m && memcmp(name + n - m, end, m) == 0;
}

/* Media is nothing that text is made of. */
static bool is_wanted(const char *name) {
    static const char *const ends[] = {".xml", ".rels", ".xhtml", ".html", ".htm", ".opf", ".XML", ".HTML", ".HTM"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        if (ends_in(name, ends[i])) return true;
    }
    return false;
}

/* Appends what the file holds; *n_bytes counts that of all files. */
static tkr_status read_data(tkr_buf *out, size_t *n_bytes, size_t limit, struct archive *archive, const char *name,
                            tkr_error *error) {
    char piece[16384];
    for (;;) {
        const la_ssize_t n = archive_read_data(archive, piece, sizeof piece);
        if (n == 0) return TKR_OK;
        if (n < 0) {
            const char *why = archive_error_string(archive);
            return TKR_FAIL(error, FORMAT, "%.80s in the archive: %s", name, why ? why : "damaged");
        }
        *n_bytes += (size_t)n;
        if (*n_bytes > limit)
            return TKR_FAIL(error, LIMIT, "expands to more than %zu bytes: a ZIP bomb, or too large a document", limit);
        if (!tkr_buf_append(out, piece, (size_t)n)) return TKR_FAIL(error, NO_MEMORY, "no memory for %.80s", name);
    }
}

static tkr_status add(tkr_package *p, struct archive *archive, const char *name, tkr_error *error) {
    const tkr_member empty = {.name = tkr_strdup(name)};
    if (!empty.name || !tkr_buf_append(&p->members, &empty, sizeof empty)) {
        tkr_free(empty.name);
        return TKR_FAIL(error, NO_MEMORY, "no memory for %.80s", name);
    }
    return read_data(&members_of(p)[n_members(p) - 1].data, &p->n_bytes, p->limit, archive, name, error);
}

/* The next file, which is number *n from 0; NULL at the end, or with *status set after a failure. */
static struct archive_entry *next_file(const char **name, size_t *n, tkr_status *status, struct archive *archive,
                                       tkr_error *error) {
    struct archive_entry *entry;
    for (++*n;; ++*n) {
        const int code = archive_read_next_header(archive, &entry);
        if (code == ARCHIVE_EOF) return NULL;
        if (code != ARCHIVE_OK && code != ARCHIVE_WARN) {
            const char *why = archive_error_string(archive);
            *status = TKR_FAIL(error, FORMAT, "is a damaged ZIP archive: %s", why ? why : "not readable");
            return NULL;
        }
        if (*n == MAX_ENTRIES) {
            *status = TKR_FAIL(error, LIMIT, "has more than %d files in its archive", (int)MAX_ENTRIES);
            return NULL;
        }
        *name = archive_entry_pathname_utf8(entry);
        if (!*name) *name = archive_entry_pathname(entry);
        if (*name && archive_entry_filetype(entry) == AE_IFREG) return entry;
    }
}

static tkr_status read_all(tkr_package *p, struct archive *archive, tkr_error *error) {
    const char *name = NULL;
    size_t n = (size_t)-1;
    tkr_status status = TKR_OK;
    for (struct archive_entry *entry; (entry = next_file(&name, &n, &status, archive, error)) != NULL;) {
        if (!is_wanted(name)) continue;
        if (archive_entry_is_data_encrypted(entry))
            return TKR_FAIL(error, UNSUPPORTED, "is encrypted: it needs a password");
        status = add(p, archive, name, error);
        if (status != TKR_OK) return status;
    }
    return status;
}

static tkr_status open_archive(struct archive **out, const uint8_t *bytes, size_t n, tkr_error *error) {
    *out = archive_read_new();
    if (!*out) return TKR_FAIL(error, NO_MEMORY, "no memory for an archive");
    if (archive_read_support_format_zip(*out) == ARCHIVE_OK && archive_read_open_memory(*out, bytes, n) == ARCHIVE_OK)
        return TKR_OK;
    (void)archive_read_free(*out);
    *out = NULL;
    return TKR_FAIL(error, FORMAT, "is a damaged ZIP archive");
}

tkr_status tkr_package_open(tkr_package **out, const uint8_t *bytes, size_t n, tkr_error *error) {
    tkr_package *p = tkr_calloc(1, sizeof *p);
    struct archive *archive = NULL;
    *out = NULL;
    if (!p) return TKR_FAIL(error, NO_MEMORY, "no memory for an archive");
    p->limit = n > (MAX_BYTES - FREE_BYTES) / MAX_RATIO ? MAX_BYTES : FREE_BYTES + n * MAX_RATIO;
    tkr_status status = open_archive(&archive, bytes, n, error);
    if (status == TKR_OK) status = read_all(p, archive, error);
    (void)archive_read_free(archive);
    if (status != TKR_OK) tkr_package_free(&p);
    *out = p;
    return status;
}

tkr_status tkr_archive_visit(const uint8_t *bytes, size_t n_bytes, const tkr_archive_visitor *visitor,
                             tkr_error *error) {
    struct archive *archive = NULL;
    const char *name = NULL;
    size_t n = (size_t)-1, all = 0;
    bool more = true;
    tkr_status status = open_archive(&archive, bytes, n_bytes, error);
    tkr_buf data = {0};
    while (status == TKR_OK && more) {
        tkr_error why = {TKR_OK, NULL, ""};
        size_t own = 0;
        struct archive_entry *entry = next_file(&name, &n, &status, archive, error);
        if (!entry) break;
        if (!visitor->wants(visitor->user, name, n)) continue;
        const size_t left = visitor->max_all - all;
        data.size = 0;
        data.failed = false;
        if (archive_entry_is_data_encrypted(entry)) {
            (void)TKR_FAIL(&why, UNSUPPORTED, "%.80s: is encrypted: it needs a password", name);
        } else {
            (void)read_data(&data, &own, left < visitor->max_bytes ? left : visitor->max_bytes, archive, name, &why);
        }
        all += own < left ? own : left;
        more = visitor->take(visitor->user, name, n, &data, why.status != TKR_OK ? &why : NULL);
    }
    tkr_buf_free(&data);
    (void)archive_read_free(archive);
    return status;
}

void tkr_package_free(tkr_package **out) {
    if (!out || !*out) return;
    for (size_t i = 0; i < n_members(*out); i++) {
        tkr_free(members_of(*out)[i].name);
        tkr_buf_free(&members_of(*out)[i].data);
    }
    tkr_buf_free(&(*out)->members);
    tkr_free(*out);
    *out = NULL;
}

const tkr_member *tkr_package_find(const tkr_package *package, const char *name) {
    for (size_t i = 0; i < n_members(package); i++) {
        if (strcmp(members_of(package)[i].name, name) == 0) return &members_of(package)[i];
    }
    return NULL;
}

/* Drops the last part of a path: "a/b/" and "a/b" become "a/". */
static void up(tkr_buf *path) {
    if (path->size > 0) path->size--;
    while (path->size > 0 && path->data[path->size - 1] != '/') path->size--;
}

bool tkr_package_path(tkr_buf *path, const char *from, const char *target) {
    const char *slash = strrchr(from, '/');
    path->size = 0;
    path->failed = false;
    path->cap = 4096;
    if (*target == '/') {
        target++;
    } else if (slash) {
        tkr_buf_append(path, from, (size_t)(slash - from) + 1);
    }
    while (*target && *target != '#') {
        if (strncmp(target, "../", 3) == 0) {
            up(path);
            target += 3;
        } else if (strncmp(target, "./", 2) == 0) {
            target += 2;
        } else {
            while (*target && *target != '#') {
                const bool escaped = *target == '%' && tkr_hex_digit(target[1]) >= 0 && tkr_hex_digit(target[2]) >= 0;
                const char c = escaped ? (char)(tkr_hex_digit(target[1]) * 16 + tkr_hex_digit(target[2])) : *target;
                tkr_buf_putc(path, c);
                target += escaped ? 3 : 1;
                if (c == '/') break;
            }
        }
    }
    return tkr_buf_putc(path, '\0');
}

const tkr_member *tkr_package_follow(const tkr_package *package, const char *from, const char *target) {
    tkr_buf path = {0};
    const tkr_member *found = tkr_package_path(&path, from, target) ? tkr_package_find(package, path.data) : NULL;
    tkr_buf_free(&path);
    return found;
}
