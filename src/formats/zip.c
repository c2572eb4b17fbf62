/* SPDX-License-Identifier: Apache-2.0 */
/* formats/zip: the central directory of a zip file. Refuses compressed and encrypted members, archives of several
 * disks, and whatever leaves the file. Layout: PKWARE APPNOTE 6.3.10, sections 4.3.7 to 4.3.16. */
#include "formats/zip.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { LOCAL = 30, CENTRAL = 46, END = 22, END64 = 56, LOCATOR64 = 20 }; /* bytes of the fixed parts */
enum { FLAG_ENCRYPTED = 1, FLAG_DESCRIPTOR = 8 };

static uint64_t load(const uint8_t *at, unsigned bytes) {
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++) value |= (uint64_t)at[i] << (8 * i);
    return value;
}

/* What the end of the archive says about the central directory. */
typedef struct directory {
    uint64_t n, size, offset;
} directory;

static tkr_status read_end64(directory *d, const tkr_tensor_source *source, uint64_t at, tkr_error *error) {
    const uint8_t *end = source->data;
    const bool fits = source->size >= END64 && at <= source->size - END64;
    if (fits) end += at;
    if (!fits || load(end, 4) != 0x06064b50u) {
        return TKR_FAIL(error, FORMAT, "%s: zip64: no end of the directory at byte %" PRIu64, source->path, at);
    }
    if (load(end + 16, 4) != 0 || load(end + 20, 4) != 0 || load(end + 24, 8) != load(end + 32, 8)) {
        return TKR_FAIL(error, UNSUPPORTED, "%s: a zip archive of several parts is not supported", source->path);
    }
    *d = (directory){load(end + 32, 8), load(end + 40, 8), load(end + 48, 8)};
    return TKR_OK;
}

/* The end record is the last thing in the file but for a comment. */
static tkr_status find_directory(directory *d, const tkr_tensor_source *source, tkr_error *error) {
    const uint8_t *data = source->data;
    const size_t size = source->size, last = size < END ? 0 : size - END, first = last > 0xffffu ? last - 0xffffu : 0;
    size_t at = last + 1;
    while (size >= END && at > first) {
        at--;
        const uint8_t *end = data + at;
        if (load(end, 4) != 0x06054b50u || load(end + 20, 2) != size - END - at) continue;
        if (at >= LOCATOR64 && load(end - LOCATOR64, 4) == 0x07064b50u) {
            return read_end64(d, source, load(end - LOCATOR64 + 8, 8), error);
        }
        if (load(end + 4, 2) != 0 || load(end + 6, 2) != 0 || load(end + 8, 2) != load(end + 10, 2)) {
            return TKR_FAIL(error, UNSUPPORTED, "%s: a zip archive of several parts is not supported", source->path);
        }
        *d = (directory){load(end + 10, 2), load(end + 12, 4), load(end + 16, 4)};
        return TKR_OK;
    }
    return TKR_FAIL(error, FORMAT, "%s: the end of a zip archive is missing (truncated?)", source->path);
}

/* Sizes and place of a member; those that do not fit 32 bits are in the extra field 1, in this order. */
typedef struct entry {
    uint64_t size, packed, offset;
} entry;

static bool read_extra64(entry *e, const uint8_t *extra, size_t n) {
    uint64_t *const values[] = {&e->size, &e->packed, &e->offset};
    const bool any = e->size == UINT32_MAX || e->packed == UINT32_MAX || e->offset == UINT32_MAX;
    while (n >= 4) {
        const size_t length = (size_t)load(extra + 2, 2);
        if (length > n - 4) return false;
        if (load(extra, 2) == 1) {
            const uint8_t *at = extra + 4, *end = at + length;
            for (size_t i = 0; i < 3; i++) {
                if (*values[i] != UINT32_MAX) continue;
                if (end - at < 8) return false;
                *values[i] = load(at, 8);
                at += 8;
            }
            return true;
        }
        extra += 4 + length;
        n -= 4 + length;
    }
    return !any;
}

enum { SHOWN = 120 }; /* bytes of a name in a message */
static int shown(const tkr_zip_member *m) { return m->n_name < SHOWN ? (int)m->n_name : SHOWN; }

static tkr_status check_local(tkr_zip_member *m, const entry *e, const uint8_t *central, uint64_t limit,
                              const tkr_tensor_source *source, tkr_error *error) {
    const uint8_t *local = source->data;
    const bool fits = limit >= LOCAL && e->offset <= limit - LOCAL;
    if (fits) local += e->offset;
    if (!fits || load(local, 4) != 0x04034b50u) {
        return TKR_FAIL(error, FORMAT, "%s: member \"%.*s\" has no header at byte %" PRIu64, source->path, shown(m),
                        m->name, e->offset);
    }
    const uint64_t n_name = load(local + 26, 2), n_extra = load(local + 28, 2),
                   begin = e->offset + LOCAL + n_name + n_extra;
    if (begin > limit || e->size > limit - begin) {
        return TKR_FAIL(error, FORMAT, "%s: member \"%.*s\" of %" PRIu64 " bytes leaves the archive", source->path,
                        shown(m), m->name, e->size);
    }
    bool alike = n_name == m->n_name && memcmp(local + LOCAL, m->name, m->n_name) == 0;
    alike = alike && load(local + 8, 2) == load(central + 10, 2);
    if (!(load(local + 6, 2) & FLAG_DESCRIPTOR)) { /* else the sizes follow the data */
        const uint64_t size = load(local + 22, 4);
        alike = alike && (size == UINT32_MAX || size == e->size);
    }
    if (!alike) {
        return TKR_FAIL(error, FORMAT,
                        "%s: member \"%.*s\" is described differently in the directory and before its data",
                        source->path, shown(m), m->name);
    }
    m->data = (const uint8_t *)source->data + begin;
    m->size = (size_t)e->size;
    return TKR_OK;
}

/* Reads the directory's entry at *at and moves on; `limit` is where the directory begins. */
static tkr_status read_member(tkr_zip_member *m, const uint8_t **at, const uint8_t *end, uint64_t limit,
                              const tkr_tensor_source *source, tkr_error *error) {
    const uint8_t *central = *at;
    if (end - central < CENTRAL || load(central, 4) != 0x02014b50u) {
        return TKR_FAIL(error, FORMAT, "%s: the zip directory ends too early", source->path);
    }
    const size_t n_name = (size_t)load(central + 28, 2), n_extra = (size_t)load(central + 30, 2);
    const size_t n_comment = (size_t)load(central + 32, 2);
    if ((size_t)(end - central) - CENTRAL < n_name + n_extra + n_comment) {
        return TKR_FAIL(error, FORMAT, "%s: the zip directory ends too early", source->path);
    }
    m->name = (const char *)central + CENTRAL;
    m->n_name = n_name;
    *at = central + CENTRAL + n_name + n_extra + n_comment;
    entry e = {load(central + 24, 4), load(central + 20, 4), load(central + 42, 4)};
    if (!read_extra64(&e, central + CENTRAL + n_name, n_extra)) {
        return TKR_FAIL(error, FORMAT, "%s: member \"%.*s\" has a damaged extra field", source->path, shown(m),
                        m->name);
    }
    if (load(central + 8, 2) & FLAG_ENCRYPTED) {
        return TKR_FAIL(error, UNSUPPORTED, "%s: member \"%.*s\" is encrypted", source->path, shown(m), m->name);
    }
    if (load(central + 10, 2) != 0 || e.size != e.packed) {
        return TKR_FAIL(error, UNSUPPORTED,
                        "%s: member \"%.*s\" is compressed (method %" PRIu64 "), expected stored members as torch.save "
                        "writes them",
                        source->path, shown(m), m->name, load(central + 10, 2));
    }
    return check_local(m, &e, central, limit, source, error);
}

static int compare(const char *a, size_t n_a, const char *b, size_t n_b) {
    const int order = memcmp(a, b, n_a < n_b ? n_a : n_b);
    return order != 0 ? order : n_a < n_b ? -1 : n_a > n_b;
}

static int by_name(const void *left, const void *right) {
    const tkr_zip_member *a = left, *b = right;
    return compare(a->name, a->n_name, b->name, b->n_name);
}

tkr_status tkr_zip_read(tkr_zip *zip, const tkr_tensor_source *source, tkr_error *error) {
    directory d = {0};
    *zip = (tkr_zip){0};
    tkr_status status = find_directory(&d, source, error);
    if (status != TKR_OK) return status;
    if (d.size > source->size || d.offset > source->size - d.size || d.n > d.size / CENTRAL) {
        return TKR_FAIL(error, FORMAT,
                        "%s: a zip directory of %" PRIu64 " entries in %" PRIu64 " bytes at byte %" PRIu64
                        " does not fit the file's %zu bytes",
                        source->path, d.n, d.size, d.offset, source->size);
    }
    zip->members = tkr_calloc((size_t)d.n + 1, sizeof *zip->members);
    if (!zip->members) return TKR_FAIL(error, NO_MEMORY, "%s: out of memory for the zip directory", source->path);
    const uint8_t *at = (const uint8_t *)source->data + d.offset, *end = at + d.size;
    for (; zip->n < d.n; zip->n++) {
        status = read_member(&zip->members[zip->n], &at, end, d.offset, source, error);
        if (status != TKR_OK) return status;
    }
    if (zip->n > 1) qsort(zip->members, zip->n, sizeof *zip->members, by_name);
    for (size_t i = 1; i < zip->n; i++) {
        if (by_name(&zip->members[i - 1], &zip->members[i]) == 0) {
            return TKR_FAIL(error, FORMAT, "%s: member \"%.*s\" is there twice", source->path, shown(&zip->members[i]),
                            zip->members[i].name);
        }
    }
    return TKR_OK;
}

void tkr_zip_free(tkr_zip *zip) {
    tkr_free(zip->members);
    *zip = (tkr_zip){0};
}

const tkr_zip_member *tkr_zip_find(const tkr_zip *zip, const char *prefix, size_t n_prefix, const char *name,
                                   size_t n_name) {
    size_t low = 0, high = zip->n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const tkr_zip_member *m = &zip->members[middle];
        const size_t n_head = m->n_name < n_prefix ? m->n_name : n_prefix;
        int order = compare(m->name, n_head, prefix, n_prefix);
        if (order == 0) order = compare(m->name + n_prefix, m->n_name - n_prefix, name, n_name);
        if (order == 0) return m;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}
