/* SPDX-License-Identifier: Apache-2.0 */
/* decode/document/mail: subject, people and text of a message (RFC 5322, MIME). Attachments are left out. */
#include <string.h>
#include <strings.h>

#include "core/utf8.h"
#include "decode/document/pictures.h"

enum { MAX_NESTING = 16, MAX_HEADERS = 64 << 10 };

/* A header and body; all borrowed. */
typedef struct part {
    const char *head, *body;
    size_t n_head, n_body;
} part;

static part split(const char *text, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (text[i] != '\n') continue;
        const size_t next = i + 1 < n && text[i + 1] == '\r' ? i + 2 : i + 1;
        if (next < n && text[next] == '\n') return (part){text, text + next + 1, i + 1, n - next - 1};
    }
    return (part){text, text + n, n, 0};
}

/* Appends a field's value, unfolded; false: there is none. */
static bool field(tkr_buf *out, const part *p, const char *name) {
    const size_t length = strlen(name);
    out->size = 0;
    for (size_t at = 0; at < p->n_head;) {
        const char *line = p->head + at, *end = memchr(line, '\n', p->n_head - at);
        const size_t n = end ? (size_t)(end - line) + 1 : p->n_head - at;
        at += n;
        if (n <= length || line[length] != ':' || strncasecmp(line, name, length) != 0) continue;
        tkr_doc_squeeze(out, line + length + 1, n - length - 1);
        while (at < p->n_head && (p->head[at] == ' ' || p->head[at] == '\t')) {
            line = p->head + at;
            end = memchr(line, '\n', p->n_head - at);
            const size_t more = end ? (size_t)(end - line) + 1 : p->n_head - at;
            tkr_doc_squeeze(out, line, more);
            at += more;
        }
        while (out->size > 0 && out->data[out->size - 1] == ' ') out->data[--out->size] = '\0';
        return !out->failed;
    }
    return false;
}

/* `word`: of a header, where "_" is a blank. */
static void unquote(tkr_buf *out, const char *text, size_t n, bool word) {
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '=' && i + 2 < n && tkr_hex_digit(text[i + 1]) >= 0 && tkr_hex_digit(text[i + 2]) >= 0) {
            tkr_buf_putc(out, (char)(tkr_hex_digit(text[i + 1]) * 16 + tkr_hex_digit(text[i + 2])));
            i += 2;
        } else if (text[i] == '=' && i + 1 < n && (text[i + 1] == '\n' || text[i + 1] == '\r')) {
            i += text[i + 1] == '\r' && i + 2 < n && text[i + 2] == '\n' ? 2 : 1;
        } else {
            tkr_buf_putc(out, word && text[i] == '_' ? ' ' : text[i]);
        }
    }
}

/* Six bits of each letter of the alphabet; all else, line ends included, is left out. */
static void unbase64(tkr_buf *out, const char *text, size_t n) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t bits = 0;
    unsigned n_bits = 0;
    for (size_t i = 0; i < n && text[i] != '='; i++) {
        const char *at = text[i] ? strchr(letters, text[i]) : NULL;
        if (!at) continue;
        bits = bits << 6 | (uint32_t)(at - letters);
        n_bits += 6;
        if (n_bits < 8) continue;
        n_bits -= 8;
        tkr_buf_putc(out, (char)(bits >> n_bits & 0xFF));
    }
}

/* Appends a header's value with its encoded words (RFC 2047) in UTF-8. */
static tkr_status add_words(tkr_buf *out, const char *text, size_t n, tkr_error *error) {
    tkr_status status = TKR_OK;
    for (size_t i = 0; i < n && status == TKR_OK;) {
        const char *begin = text + i, *end = text + n;
        const char *q1 = n - i > 2 && memcmp(begin, "=?", 2) == 0 ? memchr(begin + 2, '?', n - i - 2) : NULL;
        const char *q2 = q1 && end - q1 > 2 && q1[2] == '?' ? q1 + 2 : NULL;
        const char *q3 = q2 ? memchr(q2 + 1, '?', (size_t)(end - q2) - 1) : NULL;
        if (!q3 || q3 + 1 == end || q3[1] != '=' || q1 - begin > 60) {
            tkr_buf_putc(out, text[i++]);
            continue;
        }
        char charset[64];
        tkr_buf raw = {0};
        memcpy(charset, begin + 2, (size_t)(q1 - begin) - 2);
        charset[q1 - begin - 2] = '\0';
        if (q1[1] == 'b' || q1[1] == 'B') {
            unbase64(&raw, q2 + 1, (size_t)(q3 - q2) - 1);
        } else {
            unquote(&raw, q2 + 1, (size_t)(q3 - q2) - 1, true);
        }
        if (raw.size > 0) status = tkr_charset_to_utf8(out, (const uint8_t *)raw.data, raw.size, charset, error);
        tkr_buf_free(&raw);
        i = (size_t)(q3 - text) + 2;
        size_t next = i; /* blanks between encoded words belong to neither */
        while (next < n && text[next] == ' ') next++;
        if (n - next > 2 && memcmp(text + next, "=?", 2) == 0) i = next;
    }
    return status;
}

/* A parameter of a field such as Content-Type. */
static bool parameter(char *out, size_t room, const tkr_buf *value, const char *name) {
    const size_t length = strlen(name);
    for (const char *at = value->size ? strchr(value->data, ';') : NULL; at; at = strchr(at, ';')) {
        at += 1 + strspn(at + 1, " ");
        if (strncasecmp(at, name, length) != 0 || at[length] != '=') continue;
        at += length + 1;
        const bool quoted = *at == '"';
        at += quoted;
        const size_t n = strcspn(at, quoted ? "\"" : "; ");
        if (n == 0 || n >= room) return false;
        memcpy(out, at, n);
        out[n] = '\0';
        return true;
    }
    return false;
}

static bool begins(const tkr_buf *value, const char *word) {
    return value->size > 0 && strncasecmp(value->data, word, strlen(word)) == 0;
}

void tkr_mail_decode(tkr_buf *out, uint32_t coding, const char *text, size_t n) {
    if (coding == TKR_CODING_BASE64) {
        unbase64(out, text, n);
    } else if (coding == TKR_CODING_QUOTED) {
        unquote(out, text, n, false);
    } else {
        tkr_buf_append(out, text, n);
    }
}

/* Where the part's bytes lie in the message. */
static tkr_picture_place place_of(const tkr_doc *doc, const part *p) {
    tkr_buf encoding = {0};
    tkr_picture_place place = {.outer = {(uint64_t)((const uint8_t *)p->body - doc->bytes), p->n_body}};
    (void)field(&encoding, p, "Content-Transfer-Encoding");
    if (begins(&encoding, "base64")) place.outer_coding = TKR_CODING_BASE64;
    if (begins(&encoding, "quoted-printable")) place.outer_coding = TKR_CODING_QUOTED;
    tkr_buf_free(&encoding);
    return place;
}

static void note_picture(tkr_doc *doc, const part *p) {
    tkr_buf id = {0};
    const tkr_picture_place place = place_of(doc, p);
    tkr_doc_picture_part(doc, &place, field(&id, p, "Content-ID") && id.size > 0 ? id.data : "");
    tkr_buf_free(&id);
}

static tkr_status read_leaf(tkr_doc *doc, const part *p, const tkr_buf *type, tkr_error *error) {
    char charset[64];
    tkr_buf raw = {0}, text = {.cap = doc->max_text};
    const char *declared = parameter(charset, sizeof charset, type, "charset") ? charset : NULL;
    const tkr_picture_place place = place_of(doc, p);
    tkr_mail_decode(&raw, place.outer_coding, p->body, p->n_body);
    tkr_doc_container(doc, &place, NULL, raw.data, raw.size);
    tkr_status status = raw.failed ? TKR_FAIL(error, NO_MEMORY, "no memory for a part of a message") : TKR_OK;
    if (status == TKR_OK && raw.size > 0 && begins(type, "text/html")) {
        status = tkr_doc_html(doc, (const uint8_t *)raw.data, raw.size, declared, error);
    } else if (status == TKR_OK && raw.size > 0) {
        status = tkr_charset_to_utf8(&text, (const uint8_t *)raw.data, raw.size, declared, error);
        if (status == TKR_OK) status = tkr_doc_text(doc, text.data, text.size, false, error);
    }
    tkr_buf_free(&text);
    tkr_doc_container(doc, &place, NULL, NULL, 0);
    tkr_buf_free(&raw);
    return status;
}

/* Whether text[n] begins with a boundary line: its boundary is all that stands there, "--" at the last one apart. */
static bool is_boundary(const char *text, size_t n, const char *boundary) {
    const size_t length = 2 + strlen(boundary);
    if (n < length || memcmp(text, "--", 2) != 0 || memcmp(text + 2, boundary, length - 2) != 0) return false;
    if (n >= length + 2 && memcmp(text + length, "--", 2) == 0) return true;
    for (size_t i = length; i < n && text[i] != '\n'; i++) {
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r') return false;
    }
    return true;
}

/* The next part between boundary lines; false: there is none. */
static bool next_part(part *out, const part *whole, const char *boundary, size_t *at) {
    const size_t length = strlen(boundary);
    const char *begin = NULL;
    for (size_t i = *at; i + 2 + length <= whole->n_body;) {
        const char *line = whole->body + i, *end = memchr(line, '\n', whole->n_body - i);
        const size_t next = end ? (size_t)(end - whole->body) + 1 : whole->n_body;
        if (is_boundary(line, whole->n_body - i, boundary)) {
            if (begin) {
                *out = split(begin, (size_t)(line - begin));
                *at = i;
                return true;
            }
            if (i + 4 + length <= whole->n_body && memcmp(line + 2 + length, "--", 2) == 0) return false;
            begin = whole->body + next;
        }
        i = next;
    }
    if (!begin || begin >= whole->body + whole->n_body) return false;
    *out = split(begin, (size_t)(whole->body + whole->n_body - begin)); /* cut off */
    *at = whole->n_body;
    return true;
}

static tkr_status read_part(tkr_doc *doc, const part *p, unsigned nesting, bool only_pictures, tkr_error *error);

/* Of alternatives the plain text, else the first: they say the same; but pictures of all. */
static tkr_status read_parts(tkr_doc *doc, const part *p, const tkr_buf *type, unsigned nesting, bool only_pictures,
                             tkr_error *error) {
    char boundary[256];
    tkr_buf value = {0};
    part one, chosen = {0};
    tkr_status status = TKR_OK;
    const bool alternative = begins(type, "multipart/alternative") && !only_pictures;
    if (!parameter(boundary, sizeof boundary, type, "boundary")) return TKR_OK;
    for (size_t at = 0; status == TKR_OK && next_part(&one, p, boundary, &at);) {
        if (!alternative) {
            status = read_part(doc, &one, nesting + 1, only_pictures, error);
            continue;
        }
        const bool plain = !field(&value, &one, "Content-Type") || begins(&value, "text/plain");
        if (!chosen.head || plain) chosen = one;
        if (plain) break;
    }
    tkr_buf_free(&value);
    if (status == TKR_OK && chosen.head) status = read_part(doc, &chosen, nesting + 1, only_pictures, error);
    for (size_t at = 0; alternative && doc->pictures && status == TKR_OK && next_part(&one, p, boundary, &at);) {
        if (one.head != chosen.head) status = read_part(doc, &one, nesting + 1, true, error);
    }
    return status;
}

static tkr_status read_part(tkr_doc *doc, const part *p, unsigned nesting, bool only_pictures, tkr_error *error) {
    tkr_buf type = {0}, disposition = {0};
    tkr_status status = TKR_OK;
    if (nesting > MAX_NESTING) return TKR_FAIL(error, LIMIT, "is a message nested more than %d deep", (int)MAX_NESTING);
    const bool typed = field(&type, p, "Content-Type");
    const bool attached = field(&disposition, p, "Content-Disposition") && begins(&disposition, "attachment");
    if (typed && begins(&type, "multipart/")) {
        status = read_parts(doc, p, &type, nesting, only_pictures, error);
    } else if (!attached && begins(&type, "image/")) {
        note_picture(doc, p);
    } else if (!attached && !only_pictures && (!typed || begins(&type, "text/"))) {
        status = read_leaf(doc, p, &type, error);
    }
    tkr_buf_free(&type);
    tkr_buf_free(&disposition);
    return status;
}

bool tkr_doc_is_mail(const uint8_t *bytes, size_t n) {
    static const char *const names[] = {"From",       "Date",         "Subject",  "To",
                                        "Message-ID", "MIME-Version", "Received", "Return-Path"};
    const part p = split((const char *)bytes, n < MAX_HEADERS ? n : MAX_HEADERS);
    unsigned found = 0;
    tkr_buf value = {0};
    if (n == 0 || memchr(p.head, ':', p.n_head < 80 ? p.n_head : 80) == NULL) return false;
    size_t name = 0;
    while (name < n && bytes[name] > ' ' && bytes[name] != ':') name++;
    if (name == n || bytes[name] != ':') return false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) found += field(&value, &p, names[i]);
    tkr_buf_free(&value);
    return found >= 3;
}

tkr_status tkr_doc_mail(tkr_doc *doc, tkr_error *error) {
    static const char *const people[] = {"From", "To", "Date"};
    const part p = split((const char *)doc->bytes, doc->n_bytes);
    tkr_buf value = {0}, line = {.cap = doc->max_text};
    tkr_status status = TKR_OK;
    if (field(&value, &p, "Subject")) status = add_words(&line, value.data, value.size, error);
    if (status == TKR_OK) status = tkr_doc_take(doc, TKR_BLOCK_HEADING, 1, &line, error);
    for (size_t i = 0; status == TKR_OK && i < sizeof people / sizeof *people; i++) {
        if (!field(&value, &p, people[i])) continue;
        tkr_buf_printf(&line, "%s%s: ", line.size > 0 ? "\n" : "", people[i]);
        status = add_words(&line, value.data, value.size, error);
    }
    if (status == TKR_OK) status = tkr_doc_take(doc, TKR_BLOCK_PARAGRAPH, 0, &line, error);
    tkr_buf_free(&value);
    tkr_buf_free(&line);
    return status == TKR_OK ? read_part(doc, &p, 0, false, error) : status;
}
