/* SPDX-License-Identifier: Apache-2.0 */
/* decode/document/pictures: notes pictures, finds their bytes, leaves out small and repeated ones, lists the rest. */
#include "decode/document/pictures.h"

#include <stdio.h>

#include "core/digest.h"
#include "core/utf8.h"

enum { MAX_ALT = 2000, MAX_NOTED = 10000 };
static const size_t MAX_ALL_ALT = (size_t)1 << 20, MAX_ALL_NAMES = (size_t)8 << 20, MAX_ALL_BYTES = (size_t)512 << 20;

typedef enum state { WANTED, KNOWN, DROPPED } state;

typedef struct noted {
    tkr_picture_entry entry; /* `at` of one that isn't settled: of the block's text */
    size_t name;             /* of the member or the id that gives it, in `names`; 0: it has its place */
    uint32_t choice;         /* 0: none */
    state state;
    const char *why; /* of one that is dropped of a choice; static */
} noted;

struct tkr_pictures {
    tkr_buf list; /* noted */
    tkr_buf names, alt;
    size_t n_settled;
    uint32_t choice, n_choices;
    bool in_choice;
    /* what data: addresses lie in */
    tkr_picture_place place;
    size_t member; /* in names; 0: none */
    const char *bytes;
    size_t n_bytes, searched;
    uint32_t n_failed;
    char note[256];
};

static noted *list_of(const tkr_pictures *p) { return (noted *)(void *)p->list.data; }
static size_t count(const tkr_pictures *p) { return p->list.size / sizeof(noted); }
static const char *name_of(const tkr_pictures *p, size_t name) { return p->names.data + name; }

bool tkr_pictures_full(const tkr_pictures *p) { return count(p) >= TKR_MAX_DOCUMENT_PICTURES; }

void tkr_pictures_fail(tkr_pictures *p, const char *name, const char *why) {
    if (p->n_failed++ > 0) return;
    char room[sizeof p->note];
    (void)snprintf(room, sizeof room, "%.100s%s%.140s", name, *name ? ": " : "", why);
    memcpy(p->note, room, tkr_utf8_valid_prefix(room, strlen(room)));
}

bool tkr_pictures_add(tkr_pictures *p, const tkr_picture_entry *entry) {
    const noted one = {.entry = *entry, .state = KNOWN};
    return tkr_buf_append(&p->list, &one, sizeof one);
}

/* 0: no memory, or too many. */
static size_t add_name(tkr_pictures *p, const char *name) {
    if (p->names.size == 0) tkr_buf_putc(&p->names, '\0');
    const size_t at = p->names.size;
    return tkr_buf_append(&p->names, name, strlen(name) + 1) ? at : 0;
}

/* ---- noting ---- */

/* NULL: there are too many. */
static noted *add(tkr_doc *doc, const char *alt, const tkr_buf *pending) {
    tkr_pictures *p = doc->pictures;
    noted one = {.entry = {.page = doc->page, .at = pending ? pending->size : 0}, .choice = p->choice};
    if (count(p) == MAX_NOTED || !tkr_buf_append(&p->list, &one, sizeof one)) return NULL;
    noted *added = &list_of(p)[count(p) - 1];
    if (!pending) tkr_doc_settle_pictures(doc, doc->text.size, 0, 0);
    if (alt && *alt) {
        const size_t n = strlen(alt);
        const bool in_choice = p->in_choice;
        p->in_choice = true;
        tkr_doc_picture_alt(doc, alt, n);
        p->in_choice = in_choice;
    }
    return added;
}

void tkr_doc_picture_alt(tkr_doc *doc, const char *alt, size_t n) {
    tkr_pictures *p = doc->pictures;
    if (!p || count(p) == 0 || !p->in_choice) return;
    noted *last = &list_of(p)[count(p) - 1];
    if (last->choice != p->choice || last->entry.n_alt > 0) return;
    const size_t begin = p->alt.size;
    tkr_buf words = {0};
    p->alt.cap = MAX_ALL_ALT;
    n = tkr_utf8_valid_prefix(alt, n < MAX_ALT ? n : MAX_ALT);
    tkr_doc_squeeze(&words, alt, n);
    while (words.size > 0 && words.data[words.size - 1] == ' ') words.size--;
    for (size_t i = 0; i < words.size; i++) {
        if ((unsigned char)words.data[i] < ' ' || words.data[i] == 0x7f) words.data[i] = ' ';
    }
    if (words.size > 0 && tkr_buf_append(&p->alt, words.data, words.size)) {
        last->entry.alt = begin;
        last->entry.n_alt = words.size;
    }
    tkr_buf_free(&words);
}

void tkr_doc_picture_choice(tkr_doc *doc, bool begins) {
    tkr_pictures *p = doc->pictures;
    if (!p) return;
    p->in_choice = begins;
    p->choice = begins ? ++p->n_choices : 0;
}

void tkr_doc_container(tkr_doc *doc, const tkr_picture_place *place, const char *member, const void *bytes, size_t n) {
    tkr_pictures *p = doc->pictures;
    if (!p) return;
    p->place = *place;
    p->member = member ? add_name(p, member) : 0;
    p->bytes = bytes;
    p->n_bytes = n;
    p->searched = 0;
}

const char *tkr_doc_member(const tkr_doc *doc) {
    return doc->pictures && doc->pictures->member > 0 ? name_of(doc->pictures, doc->pictures->member) : NULL;
}

/* Where the text stands in the bytes that are read; they come in this order. */
static bool find_range(uint64_t range[2], tkr_pictures *p, const char *text, size_t n) {
    const char *end = p->bytes + p->n_bytes;
    for (const char *at = p->bytes + p->searched; n > 0 && (size_t)(end - at) >= n; at++) {
        at = memchr(at, *text, (size_t)(end - at) - n + 1);
        if (!at) break;
        if (memcmp(at, text, n) != 0) continue;
        range[0] = (uint64_t)(at - p->bytes);
        range[1] = n;
        p->searched = (size_t)(at - p->bytes) + n;
        return true;
    }
    return false;
}

/* A picture in an address: base64 behind the first comma. */
static void add_data(tkr_doc *doc, const char *source, const char *alt, const tkr_buf *pending) {
    tkr_pictures *p = doc->pictures;
    const char *comma = strchr(source, ',');
    tkr_picture_place place = p->place;
    if (strncmp(source, "data:image/", 11) != 0) return;
    if (!comma || comma - source < 7 || memcmp(comma - 7, ";base64", 7) != 0) {
        tkr_pictures_fail(p, "a data: address", "isn't in base64");
    } else if (!p->bytes || !find_range(place.inner, p, comma + 1, strlen(comma + 1))) {
        tkr_pictures_fail(p, "a data: address", "is written in an unusual way");
    } else {
        noted *one = add(doc, alt, pending);
        if (!one) return;
        place.inner_coding = TKR_CODING_BASE64;
        one->entry.place = place;
        one->name = p->member;
    }
}

void tkr_doc_picture(tkr_doc *doc, const char *from, const char *source, const char *alt, const tkr_buf *pending) {
    tkr_pictures *p = doc->pictures;
    if (!p) return;
    if (strncmp(source, "data:", 5) == 0) {
        add_data(doc, source, alt, pending);
        return;
    }
    const bool cid = strncmp(source, "cid:", 4) == 0;
    if (!cid && (!from || *source == '\0' || strstr(source, "://") || strncmp(source, "//", 2) == 0)) return;
    tkr_buf path = {0};
    noted *one = add(doc, alt, pending);
    if (one && (cid || tkr_package_path(&path, from, source))) {
        one->name = add_name(p, cid ? source : path.data);
        if (!cid) one->entry.place.outer_coding = TKR_CODING_ARCHIVE;
    }
    tkr_buf_free(&path);
}

void tkr_doc_picture_part(tkr_doc *doc, const tkr_picture_place *place, const char *id) {
    tkr_pictures *p = doc->pictures;
    if (!p) return;
    const size_t skip = *id == '<', n = strcspn(id + skip, ">");
    for (size_t i = 0; n > 0 && i < count(p); i++) {
        noted *one = &list_of(p)[i];
        const char *name = one->name > 0 ? name_of(p, one->name) : "";
        if (strncmp(name, "cid:", 4) != 0 || strlen(name) != n + 4 || memcmp(name + 4, id + skip, n) != 0) continue;
        one->name = 0;
        one->entry.place = *place;
        return;
    }
    noted *one = add(doc, NULL, NULL);
    if (one) one->entry.place = *place;
}

void tkr_doc_settle_pictures(tkr_doc *doc, size_t begin, size_t skipped, size_t size) {
    tkr_pictures *p = doc->pictures;
    if (!p) return;
    for (; p->n_settled < count(p); p->n_settled++) {
        tkr_picture_entry *entry = &list_of(p)[p->n_settled].entry;
        size_t at = entry->at > skipped ? (size_t)entry->at - skipped : 0;
        at = at < size ? at : size;
        while (at > 0 && at < size && tkr_utf8_goes_on(doc->text.data[begin + at])) at--;
        entry->at = begin + at;
    }
}

/* ---- Office Open XML ---- */

tkr_status tkr_drawing_open(tkr_drawing *drawing, const tkr_doc *doc, const tkr_package *package, const char *part,
                            tkr_error *error) {
    *drawing = (tkr_drawing){.part = part};
    return doc->pictures ? tkr_relations_read(&drawing->relations, package, part, error) : TKR_OK;
}

void tkr_drawing_close(tkr_drawing *drawing) { tkr_relations_free(&drawing->relations); }

void tkr_drawing_see(tkr_drawing *drawing, tkr_doc *doc, const tkr_xml *xml, const tkr_buf *pending) {
    char id[64];
    if (!doc->pictures) return;
    if (tkr_xml_is(xml, "docPr") || tkr_xml_is(xml, "cNvPr") || tkr_xml_is(xml, "shape")) {
        drawing->alt[0] = '\0';
        (void)tkr_xml_attribute(xml, drawing->alt, sizeof drawing->alt, tkr_xml_is(xml, "shape") ? "alt" : "descr");
    } else if ((tkr_xml_is(xml, "blip") && tkr_xml_attribute(xml, id, sizeof id, "embed")) ||
               (tkr_xml_is(xml, "imagedata") && tkr_xml_attribute(xml, id, sizeof id, "id"))) {
        const tkr_relation *relation = tkr_relations_find(&drawing->relations, id, NULL);
        if (relation)
            tkr_doc_picture(doc, drawing->part, relation->target, drawing->alt, pending);
        else
            tkr_pictures_fail(doc->pictures, drawing->part, "has a picture that names no file");
    }
}

tkr_status tkr_drawing_read(tkr_doc *doc, const tkr_package *package, const char *of, const char *id,
                            tkr_error *error) {
    tkr_relations relations = {0};
    tkr_drawing drawing = {0};
    tkr_xml xml = {0};
    if (!doc->pictures) return TKR_OK;
    tkr_status status = tkr_relations_read(&relations, package, of, error);
    const tkr_relation *relation = status == TKR_OK ? tkr_relations_find(&relations, id, NULL) : NULL;
    const tkr_member *member = relation ? tkr_package_follow(package, of, relation->target) : NULL;
    if (member) status = tkr_drawing_open(&drawing, doc, package, member->name, error);
    if (member && status == TKR_OK) status = tkr_xml_open(&xml, member, error);
    while (member && status == TKR_OK && tkr_xml_next(&xml, &status, error)) {
        if (xml.kind == TKR_XML_BEGIN) tkr_drawing_see(&drawing, doc, &xml, NULL);
    }
    tkr_xml_close(&xml);
    tkr_drawing_close(&drawing);
    tkr_relations_free(&relations);
    return status;
}

/* ---- finding them ---- */

static void drop(tkr_pictures *p, noted *one, const char *why) {
    one->state = DROPPED;
    one->why = why;
    if (one->choice == 0) tkr_pictures_fail(p, one->name > 0 ? name_of(p, one->name) : "a picture", why);
}

/* `text`: what the outer place gives. */
static bool inner(tkr_buf *out, const tkr_picture_place *place, const char *text, size_t n) {
    if (place->inner[0] > n || place->inner[1] > n - place->inner[0]) return false;
    tkr_mail_decode(out, place->inner_coding, text + place->inner[0], (size_t)place->inner[1]);
    return !out->failed;
}

/* Looks at the picture in what its outer place gives; *work is room. */
static void describe(tkr_pictures *p, noted *one, const char *text, size_t n, size_t max_bytes, tkr_buf *work) {
    tkr_picture_entry *e = &one->entry;
    work->size = 0;
    work->failed = false;
    if (e->place.inner[1] > 0) {
        if (!inner(work, &e->place, text, n)) {
            drop(p, one, "can't be decoded");
            return;
        }
        text = work->data ? work->data : "";
        n = work->size;
    }
    if (n == 0 || n > max_bytes) {
        drop(p, one, n == 0 ? "is empty" : "is too large");
        return;
    }
    if (!tkr_picture_known(&e->width, &e->height, text, n)) {
        drop(p, one, "is not a JPEG, PNG, WebP, GIF, BMP, TIFF, PPM or PGM picture");
        return;
    }
    tkr_digest digest;
    tkr_digest_init(&digest);
    tkr_digest_add(&digest, text, n);
    e->digest = tkr_digest_end(&digest);
    e->n_bytes = n;
    one->state = KNOWN;
}

typedef struct search {
    tkr_pictures *pictures;
    size_t max_bytes;
    tkr_buf work;
} search;

static bool waits_for(const tkr_pictures *p, const noted *one, const char *name) {
    return one->state == WANTED && one->name > 0 && one->entry.place.outer_coding == TKR_CODING_ARCHIVE &&
           strcmp(name_of(p, one->name), name) == 0;
}

static bool wants(void *user, const char *name, size_t number) {
    const tkr_pictures *p = ((search *)user)->pictures;
    (void)number;
    for (size_t i = 0; i < count(p); i++) {
        if (waits_for(p, &list_of(p)[i], name)) return true;
    }
    return false;
}

static bool take(void *user, const char *name, size_t number, const tkr_buf *data, const tkr_error *why) {
    search *s = user;
    tkr_pictures *p = s->pictures;
    for (size_t i = 0; i < count(p); i++) {
        noted *one = &list_of(p)[i];
        if (!waits_for(p, one, name)) continue;
        one->entry.place.outer[0] = number;
        if (why) {
            one->state = DROPPED;
            tkr_pictures_fail(p, strncmp(why->message, name, strlen(name)) == 0 ? "" : name, why->message);
        } else {
            describe(p, one, data->data ? data->data : "", data->size, s->max_bytes, &s->work);
        }
    }
    return true;
}

static bool lies_in(const uint64_t range[2], size_t n) { return range[0] <= n && range[1] <= n - range[0]; }

static bool is_same_part(const tkr_picture_place *a, const tkr_picture_place *b) {
    return a->outer[0] == b->outer[0] && a->outer[1] == b->outer[1] && a->outer_coding == b->outer_coding;
}

/* Those that lie in the file itself. */
static void look_in_file(search *s, const tkr_doc *doc) {
    tkr_buf outer = {.cap = s->max_bytes * 2};
    tkr_picture_place held = {0}; /* what `outer` is: pictures of one part of a message follow each other */
    for (size_t i = 0; i < count(s->pictures); i++) {
        noted *one = &list_of(s->pictures)[i];
        const tkr_picture_place *place = &one->entry.place;
        if (one->state != WANTED || one->name > 0) continue;
        const char *text = (const char *)doc->bytes;
        size_t n = doc->n_bytes;
        const bool is_part = place->outer[1] > 0 && lies_in(place->outer, n);
        if (is_part && !is_same_part(place, &held)) {
            outer.size = 0;
            outer.failed = false;
            tkr_mail_decode(&outer, place->outer_coding, text + place->outer[0], (size_t)place->outer[1]);
            held = *place;
        }
        if (is_part) {
            text = outer.data ? outer.data : "";
            n = outer.size;
        }
        if (is_part && outer.failed)
            drop(s->pictures, one, "is too large");
        else
            describe(s->pictures, one, text, n, s->max_bytes, &s->work);
    }
    tkr_buf_free(&outer);
}

/* Keeps one of a choice, the first of equal ones, and none that is small. */
static void choose(tkr_pictures *p) {
    noted *list = list_of(p);
    size_t n_kept = 0;
    for (size_t i = 0; i < count(p); i++) {
        if (list[i].state != KNOWN) continue;
        const tkr_picture_entry *e = &list[i].entry;
        bool left_out = (e->width > 0 && e->width < TKR_LEAST_PICTURE) ||
                        (e->height > 0 && e->height < TKR_LEAST_PICTURE) || n_kept == TKR_MAX_DOCUMENT_PICTURES;
        for (size_t k = 0; !left_out && k < n_kept; k++) {
            left_out = (list[k].choice > 0 && list[k].choice == list[i].choice) ||
                       (list[k].entry.digest == e->digest && list[k].entry.n_bytes == e->n_bytes);
        }
        if (!left_out) list[n_kept++] = list[i];
    }
    p->list.size = n_kept * sizeof *list;
}

/* What wasn't found; and choices none of which is possible. */
static void report_missing(tkr_pictures *p) {
    noted *list = list_of(p);
    for (size_t i = 0; i < count(p); i++) {
        if (list[i].state != WANTED) continue;
        const bool cid = list[i].name > 0 && strncmp(name_of(p, list[i].name), "cid:", 4) == 0;
        drop(p, &list[i], cid ? "is not in the message" : "is not in the archive");
    }
    for (size_t i = 0; i < count(p);) {
        const uint32_t choice = list[i].choice;
        size_t end = i + 1;
        bool possible = list[i].state == KNOWN;
        for (; choice > 0 && end < count(p) && list[end].choice == choice; end++)
            possible = possible || list[end].state == KNOWN;
        if (choice > 0 && !possible && list[i].why)
            tkr_pictures_fail(p, list[i].name > 0 ? name_of(p, list[i].name) : "a picture", list[i].why);
        i = end;
    }
}

static tkr_status look(tkr_pictures *p, tkr_doc *doc, size_t max_bytes, tkr_error *error) {
    search s = {.pictures = p, .max_bytes = max_bytes, .work = {.cap = max_bytes + 1}};
    bool archive = false;
    for (size_t i = 0; i < count(p); i++)
        archive = archive || list_of(p)[i].entry.place.outer_coding == TKR_CODING_ARCHIVE;
    const tkr_archive_visitor visitor = {
        .wants = wants, .take = take, .user = &s, .max_bytes = max_bytes, .max_all = MAX_ALL_BYTES};
    tkr_error why = {TKR_OK, NULL, ""};
    if (archive && tkr_archive_visit(doc->bytes, doc->n_bytes, &visitor, &why) != TKR_OK)
        tkr_pictures_fail(p, "", why.message);
    look_in_file(&s, doc);
    report_missing(p);
    choose(p);
    tkr_buf_free(&s.work);
    return p->list.failed || p->names.failed ? TKR_FAIL(error, NO_MEMORY, "no memory for a list of pictures") : TKR_OK;
}

/* ---- the list ---- */

static tkr_status write_list(uint8_t *out, size_t *size, const tkr_pictures *p, size_t room, uint32_t next_page,
                             uint32_t next_picture, tkr_error *error) {
    tkr_picture_header header = {.magic = TKR_PICTURES_MAGIC,
                                 .n = (uint32_t)count(p),
                                 .n_failed = p->n_failed,
                                 .next_page = next_page,
                                 .next_picture = next_picture,
                                 .n_text = p->alt.size};
    *size = sizeof header + header.n * sizeof(tkr_picture_entry) + p->alt.size;
    if (*size > room) return TKR_FAIL(error, LIMIT, "has a list of pictures of %zu bytes", *size);
    memcpy(header.note, p->note, sizeof header.note);
    memcpy(out, &header, sizeof header);
    out += sizeof header;
    for (size_t i = 0; i < count(p); i++, out += sizeof(tkr_picture_entry))
        memcpy(out, &list_of(p)[i].entry, sizeof(tkr_picture_entry));
    if (p->alt.size > 0) memcpy(out, p->alt.data, p->alt.size);
    return TKR_OK;
}

tkr_status tkr_doc_list_pictures(uint8_t *out, size_t *size, tkr_doc *doc, size_t room, uint32_t page, uint32_t picture,
                                 uint64_t most, tkr_error *error) {
    tkr_pictures p = {.names = {.cap = MAX_ALL_NAMES}};
    tkr_status status = TKR_OK;
    if (tkr_doc_is_pdf(doc)) {
        status = tkr_pdf_list_pictures(&p, doc, &page, &picture, most, room / 3, error);
        choose(&p);
    } else {
        const tkr_picture_place whole = {0};
        page = picture = 0;
        doc->pictures = &p;
        tkr_doc_container(doc, &whole, NULL, doc->bytes, doc->n_bytes);
        status = tkr_doc_read(doc, error);
        tkr_doc_settle_pictures(doc, doc->text.size, 0, 0);
        if (status == TKR_OK) status = look(&p, doc, room, error);
        doc->pictures = NULL;
    }
    if (status == TKR_OK) status = write_list(out, size, &p, room, page, picture, error);
    tkr_buf_free(&p.list);
    tkr_buf_free(&p.names);
    tkr_buf_free(&p.alt);
    return status;
}

/* ---- one picture ---- */

typedef struct one_member {
    uint64_t number;
    tkr_buf data;
    tkr_error error;
    bool found;
} one_member;

static bool is_member(void *user, const char *name, size_t number) {
    (void)name;
    return number == ((one_member *)user)->number;
}

static bool take_member(void *user, const char *name, size_t number, const tkr_buf *data, const tkr_error *why) {
    one_member *m = user;
    (void)name;
    (void)number;
    m->found = true;
    if (why) m->error = *why;
    if (!why) tkr_buf_append(&m->data, data->data, data->size);
    return false;
}

tkr_status tkr_doc_get_picture(uint8_t *out, size_t *width, size_t *height, const tkr_doc *doc,
                               const tkr_picture_place *place, size_t max_pixels, tkr_error *error) {
    const size_t room = 3 * max_pixels;
    one_member m = {.number = place->outer[0], .data = {.cap = 2 * room}};
    tkr_buf work = {.cap = room};
    tkr_status status = TKR_OK;
    if (place->outer_coding == TKR_CODING_PDF)
        return tkr_pdf_picture(out, width, height, doc, place->outer[0], place->outer[1], max_pixels, error);
    const char *text = (const char *)doc->bytes;
    size_t n = doc->n_bytes;
    const bool archive = place->outer_coding == TKR_CODING_ARCHIVE;
    if (archive) {
        const tkr_archive_visitor visitor = {
            .wants = is_member, .take = take_member, .user = &m, .max_bytes = room, .max_all = room};
        status = tkr_archive_visit(doc->bytes, doc->n_bytes, &visitor, error);
        if (status == TKR_OK && m.error.status != TKR_OK)
            status = tkr_error_set(error, TKR_HERE, m.error.status, "%s", m.error.message);
    } else if (place->outer[1] > 0 && lies_in(place->outer, n)) {
        tkr_mail_decode(&m.data, place->outer_coding, text + place->outer[0], (size_t)place->outer[1]);
    }
    if (archive || place->outer[1] > 0) {
        text = m.data.data ? m.data.data : "";
        n = m.data.size;
    }
    if (status == TKR_OK && place->inner[1] > 0) {
        if (!inner(&work, place, text, n)) status = TKR_FAIL(error, FORMAT, "a picture can't be found again");
        text = work.data ? work.data : "";
        n = work.size;
    }
    if (status == TKR_OK && (n == 0 || n > room || m.data.failed))
        status = TKR_FAIL(error, FORMAT, "a picture of %zu bytes can't be given: at most %zu", n, room);
    if (status == TKR_OK) {
        memcpy(out, text, n);
        *width = (n + 2) / 3;
        *height = 1;
    }
    tkr_buf_free(&work);
    tkr_buf_free(&m.data);
    return status;
}
