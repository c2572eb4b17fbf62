/* SPDX-License-Identifier: Apache-2.0 */
/* server/http_head: see http_head.h. Refuses bare line feeds, folded lines, doubled single-valued fields, a length
 * beside a transfer coding, and every byte that the grammar doesn't have. */
#include "server/http_head.h"

#include <limits.h>
#include <string.h>
#include <strings.h>

enum { MAX_METHOD = 32, MAX_LENGTH_DIGITS = 18, SCHEME_MAX = 8 };

/* Sets of bytes, one bit each. */
typedef struct byte_set {
    uint64_t bits[4];
} byte_set;
/* letters, digits, !#$%&'*+-.^_`|~ */
static const byte_set token_bytes = {{0x03FF6CFA00000000, 0x57FFFFFFC7FFFFFE, 0, 0}};
/* what is printed, without "#<>\^`{|} */
static const byte_set target_bytes = {{0xAFFFFFF200000000, 0x47FFFFFEAFFFFFFF, 0, 0}};
/* tab, and all that is no control character */
static const byte_set value_bytes = {{0xFFFFFFFF00000200, 0x7FFFFFFFFFFFFFFF, UINT64_MAX, UINT64_MAX}};
/* letters, digits, -._~:[]!$&'()*+,;=% */
static const byte_set host_bytes = {{0x2FFF7FF200000000, 0x47FFFFFEAFFFFFFE, 0, 0}};

static bool in(const byte_set *set, char c) {
    const uint8_t byte = (uint8_t)c;
    return (set->bits[byte >> 6] >> (byte & 63) & 1) != 0;
}

bool tkr_http_is_token(uint8_t c) { return in(&token_bytes, (char)c); }
bool tkr_http_is_value(uint8_t c) { return in(&value_bytes, (char)c); }

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

static bool same(const char *text, size_t size, const char *wanted) {
    return size == strlen(wanted) && strncasecmp(text, wanted, size) == 0;
}

bool tkr_http_list_has(const char *value, size_t size, const char *token) {
    for (size_t i = 0; i < size;) {
        size_t end = i;
        while (end < size && value[end] != ',') end++;
        size_t begin = i, stop = end;
        while (begin < stop && is_blank(value[begin])) begin++;
        while (stop > begin && is_blank(value[stop - 1])) stop--;
        if (same(value + begin, stop - begin, token)) return true;
        i = end + 1;
    }
    return false;
}

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    const char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

size_t tkr_http_percent_decode(char *text, size_t size) {
    size_t out = 0;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (c == '%' && size - i > 2) {
            c = (char)((unsigned)hex(text[i + 1]) << 4 | (unsigned)hex(text[i + 2]));
            i += 2;
        }
        text[out++] = c;
    }
    return out;
}

/* ---- reading ---- */

typedef struct reader {
    tkr_http_head *head;
    const char *bytes, *at, *end; /* the whole head, with its empty line */
    bool host, transfer, connection_upgrade, websocket, key;
    unsigned seen; /* bits of `singles` */
} reader;

static int refuse(tkr_http_head *head, int status, const char *why) {
    head->why = why;
    return -status;
}

static tkr_http_span span_of(const reader *r, const char *from, const char *to) {
    return (tkr_http_span){(uint32_t)(from - r->bytes), (uint32_t)(to - from)};
}

/* Fields that may come once: what we or an application look at. */
static const char *const singles[] = {"host",         "expect",           "content-length",    "transfer-encoding",
                                      "content-type", "content-encoding", "authorization",     "origin",
                                      "x-api-key",    "upgrade",          "sec-websocket-key", "sec-websocket-version"};

/* A request's first line is in the reader's bytes as a whole. */
static bool read_path(reader *r, const char *begin, const char *end) {
    const char *question = memchr(begin, '?', (size_t)(end - begin));
    const char *stop = question ? question : end;
    for (const char *p = begin; p < stop; p++) {
        if (*p != '%') continue;
        if (stop - p < 3 || hex(p[1]) < 0 || hex(p[2]) < 0) return false;
        const int byte = hex(p[1]) << 4 | hex(p[2]);
        if (byte < 0x20 || byte == 0x7F) return false;
    }
    r->head->path = span_of(r, begin, stop);
    r->head->query = question ? span_of(r, question + 1, end) : span_of(r, end, end);
    return true;
}

static bool is_method(const reader *r, const char *name) {
    return r->head->method.size == strlen(name) && memcmp(r->bytes + r->head->method.at, name, strlen(name)) == 0;
}

static bool read_target(reader *r, const char *begin, const char *end) {
    const size_t size = (size_t)(end - begin);
    if (*begin == '/') return read_path(r, begin, end);
    if (size == 1 && *begin == '*') {
        r->head->path = span_of(r, begin, end);
        r->head->query = span_of(r, end, end);
        return is_method(r, "OPTIONS");
    }
    const size_t scheme = size > SCHEME_MAX && strncasecmp(begin, "https://", SCHEME_MAX) == 0      ? SCHEME_MAX
                          : size > SCHEME_MAX && strncasecmp(begin, "http://", SCHEME_MAX - 1) == 0 ? SCHEME_MAX - 1
                                                                                                    : 0;
    const char *slash = scheme > 0 ? memchr(begin + scheme, '/', size - scheme) : NULL;
    if (!slash || slash == begin + scheme) return false;
    for (const char *p = begin + scheme; p < slash; p++)
        if (!in(&host_bytes, *p)) return false;
    return read_path(r, slash, end);
}

static int read_request_line(reader *r) {
    const char *p = r->at;
    while (in(&token_bytes, *p)) p++; /* ends at the latest at the line's end */
    if (p == r->at || *p != ' ' || p - r->at > MAX_METHOD) return refuse(r->head, 400, "the request line is malformed");
    r->head->method = span_of(r, r->at, p);
    const char *target = ++p;
    while (in(&target_bytes, *p)) p++;
    if (p == target || *p != ' ') return refuse(r->head, 400, "the request's target is malformed");
    const char *target_end = p++;
    if (r->end - p < 10 || memcmp(p, "HTTP/", 5) != 0 || p[5] < '0' || p[5] > '9' || p[6] != '.' || p[7] < '0' ||
        p[7] > '9' || p[8] != '\r' || p[9] != '\n')
        return refuse(r->head, 400, "the request line is malformed");
    if (p[5] != '1' || p[7] > '1') return refuse(r->head, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    r->head->minor = (unsigned)(p[7] - '0');
    r->at = p + 10;
    if (!read_target(r, target, target_end)) return refuse(r->head, 400, "the request's target is malformed");
    return 0;
}

static int read_length(tkr_http_head *head, const char *value, size_t size) {
    if (size == 0 || size > MAX_LENGTH_DIGITS) return refuse(head, 400, "Content-Length is not a number of bytes");
    int64_t length = 0;
    for (size_t i = 0; i < size; i++) {
        if (value[i] < '0' || value[i] > '9') return refuse(head, 400, "Content-Length is not a number of bytes");
        length = length * 10 + (value[i] - '0');
    }
    head->length = length;
    return 0;
}

static int read_host(reader *r, const char *value, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (!in(&host_bytes, value[i])) return refuse(r->head, 400, "Host is malformed");
    r->host = true;
    return 0;
}

static void read_connection(reader *r, const char *value, size_t size) {
    if (tkr_http_list_has(value, size, "close"))
        r->head->keep_alive = false;
    else if (r->head->minor == 0 && tkr_http_list_has(value, size, "keep-alive"))
        r->head->keep_alive = true;
    if (tkr_http_list_has(value, size, "upgrade")) r->connection_upgrade = true;
}

/* What a field means to the transport. */
static int understand(reader *r, const char *name, size_t n_name, const char *value, size_t size) {
    tkr_http_head *head = r->head;
    if (same(name, n_name, "connection")) {
        read_connection(r, value, size);
        return 0;
    }
    for (unsigned i = 0; i < sizeof singles / sizeof *singles; i++) {
        if (!same(name, n_name, singles[i])) continue;
        if (r->seen >> i & 1) return refuse(head, 400, "a field that may come once came twice");
        r->seen |= 1u << i;
        break;
    }
    if (same(name, n_name, "host")) return read_host(r, value, size);
    if (same(name, n_name, "content-length")) return read_length(head, value, size);
    if (same(name, n_name, "transfer-encoding")) {
        if (!same(value, size, "chunked"))
            return refuse(head, 501, "of transfer codings only \"chunked\" is known here");
        head->chunked = true;
    } else if (same(name, n_name, "expect")) {
        if (!same(value, size, "100-continue")) return refuse(head, 417, "Expect knows 100-continue only");
        head->expect = true;
    } else if (same(name, n_name, "upgrade")) {
        r->websocket = tkr_http_list_has(value, size, "websocket");
    } else if (same(name, n_name, "sec-websocket-version")) {
        head->version13 = same(value, size, "13");
    } else if (same(name, n_name, "sec-websocket-key")) {
        r->key = size == 24 && value[22] == '=' && value[23] == '='; /* 16 bytes in base64 */
    }
    return 0;
}

static int read_field(reader *r) {
    tkr_http_head *head = r->head;
    if (head->n_fields == TKR_HTTP_MAX_FIELDS) return refuse(head, 431, "too many header fields");
    const char *name = r->at, *p = name;
    while (in(&token_bytes, *p)) p++;
    if (p == name || *p != ':') return refuse(head, 400, "a header field is malformed");
    const char *name_end = p++;
    while (is_blank(*p)) p++;
    const char *value = p;
    while (in(&value_bytes, *p)) p++;
    if (p[0] != '\r' || p[1] != '\n') return refuse(head, 400, "a header field is malformed");
    const char *value_end = p;
    while (value_end > value && is_blank(value_end[-1])) value_end--;
    head->fields[head->n_fields].name = span_of(r, name, name_end);
    head->fields[head->n_fields].value = span_of(r, value, value_end);
    head->n_fields++;
    r->at = p + 2;
    return understand(r, name, (size_t)(name_end - name), value, (size_t)(value_end - value));
}

static int read_all(reader *r) {
    tkr_http_head *head = r->head;
    int status = read_request_line(r);
    if (status < 0) return status;
    head->keep_alive = head->minor == 1;
    while (r->end - r->at > 2)
        if ((status = read_field(r)) < 0) return status;
    if (r->at[0] != '\r') return refuse(head, 400, "a header field is malformed");
    if (head->chunked && (head->length >= 0 || head->minor == 0))
        return refuse(head, 400, "Transfer-Encoding beside Content-Length or in HTTP/1.0");
    if (!r->host && head->minor == 1) return refuse(head, 400, "the Host field is missing");
    head->upgrade = head->minor == 1 && r->connection_upgrade && r->websocket;
    head->websocket =
        head->upgrade && head->version13 && r->key && is_method(r, "GET") && head->length <= 0 && !head->chunked;
    return (int)(r->end - r->bytes);
}

/* Finds the empty line that ends the head which begins at `start`: its end, NULL: not there yet. */
static const char *find_end(const char *bytes, size_t n, size_t start, size_t from, bool *bare) {
    for (const char *p = bytes + from; (p = memchr(p, '\n', n - (size_t)(p - bytes))) != NULL; p++) {
        if ((size_t)(p - bytes) == start || p[-1] != '\r') {
            *bare = true;
            return NULL;
        }
        if ((size_t)(p - bytes) - start >= 3 && p[-2] == '\n') return p + 1;
        if ((size_t)(p + 1 - bytes) == n) break;
    }
    return NULL;
}

int tkr_http_head_read(tkr_http_head *head, size_t *scanned, const char *bytes, size_t n, size_t max) {
    head->n_fields = 0;
    head->length = -1;
    head->chunked = head->keep_alive = head->expect = head->upgrade = head->websocket = head->version13 = false;
    head->why = "";
    size_t start = 0; /* up to two empty lines before a request are ignored (RFC 9112, 2.2: at least one) */
    while (start < 4 && n - start >= 2 && bytes[start] == '\r' && bytes[start + 1] == '\n') start += 2;
    bool bare = false;
    const char *end = n > start ? find_end(bytes, n, start, *scanned > start ? *scanned : start, &bare) : NULL;
    if (bare) return refuse(head, 400, "a line ends without a carriage return");
    if (!end) {
        *scanned = n;
        if (n > start && bytes[start] != '\r' && !in(&token_bytes, bytes[start]))
            return refuse(head, 400, "this is not HTTP");
        return n > max ? refuse(head, 431, "the request's head is too large") : 0;
    }
    if ((size_t)(end - bytes) > max || end - bytes > INT_MAX / 2)
        return refuse(head, 431, "the request's head is too large");
    reader r = {.head = head, .bytes = bytes, .at = bytes + start, .end = end};
    return read_all(&r);
}
