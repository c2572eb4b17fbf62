/* SPDX-License-Identifier: Apache-2.0 */
/* server/http_body: see http_body.h. zlib and libzstd do the work. Refuses zstd windows above 8 MiB and rubbish behind
 * the end. */
#include "server/http_body.h"

#include <string.h>
#include <strings.h>

#include "core/compress.h"

#define ZLIB_CONST /* next_in points to const */
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

enum { STEP = 64 * 1024, MAX_WINDOW_LOG = 23, FAST = 1 };

/* ---- names ---- */

const char *tkr_http_coding_name(tkr_http_coding coding) {
    switch (coding) {
    case TKR_CODING_IDENTITY: return "identity";
    case TKR_CODING_GZIP: return "gzip";
    case TKR_CODING_DEFLATE: return "deflate";
    case TKR_CODING_ZSTD: return "zstd";
    case TKR_CODING_UNKNOWN: break;
    }
    return "unknown";
}

tkr_http_coding tkr_http_coding_of(const char *value) {
    if (!value || *value == '\0' || strcasecmp(value, "identity") == 0) return TKR_CODING_IDENTITY;
    if (strcasecmp(value, "gzip") == 0 || strcasecmp(value, "x-gzip") == 0) return TKR_CODING_GZIP;
    if (strcasecmp(value, "deflate") == 0) return TKR_CODING_DEFLATE;
    return strcasecmp(value, "zstd") == 0 ? TKR_CODING_ZSTD : TKR_CODING_UNKNOWN;
}

/* The weight of a list's element "gzip;q=0.5", in thousandths. */
static long weight_of(const char *element, size_t size) {
    const char *semicolon = memchr(element, ';', size);
    if (!semicolon) return 1000;
    const char *p = semicolon + 1, *end = element + size;
    while (p < end && (*p == ' ' || *p == '\t')) p++;
    if (end - p < 3 || (*p | 0x20) != 'q' || p[1] != '=') return 1000;
    p += 2;
    long weight = *p == '1' ? 1000 : 0;
    if (++p < end && *p == '.' && weight == 0) {
        long unit = 100;
        for (p++; p < end && *p >= '0' && *p <= '9' && unit > 0; p++, unit /= 10) weight += unit * (*p - '0');
    }
    return weight;
}

tkr_http_coding tkr_http_coding_accepted(const char *value) {
    long gzip = -1, zstd = -1, any = -1;
    for (const char *p = value; p && *p != '\0';) {
        while (*p == ' ' || *p == '\t' || *p == ',') p++;
        const size_t size = strcspn(p, ","), name = strcspn(p, ",; \t");
        if (name == 4 && strncasecmp(p, "gzip", 4) == 0) gzip = weight_of(p, size);
        if (name == 4 && strncasecmp(p, "zstd", 4) == 0) zstd = weight_of(p, size);
        if (name == 1 && *p == '*') any = weight_of(p, size);
        p += size;
    }
    gzip = gzip >= 0 ? gzip : any;
    if (zstd > 0 && zstd >= gzip) return TKR_CODING_ZSTD;
    return gzip > 0 ? TKR_CODING_GZIP : TKR_CODING_IDENTITY;
}

/* ---- decompressing ---- */

struct tkr_http_decoder {
    tkr_http_coding coding;
    bool ended; /* at the end of a member or frame */
    bool zlib;  /* z_stream is in use */
    z_stream z;
    ZSTD_DCtx *zstd;
};

tkr_http_decoder *tkr_http_decoder_new(tkr_http_coding coding) {
    tkr_http_decoder *d = tkr_calloc(1, sizeof *d);
    if (!d) return NULL;
    d->coding = coding;
    bool good;
    if (coding == TKR_CODING_ZSTD) {
        d->zstd = tkr_seam_allows('a') ? ZSTD_createDCtx() : NULL;
        good = d->zstd && !ZSTD_isError(ZSTD_DCtx_setParameter(d->zstd, ZSTD_d_windowLogMax, MAX_WINDOW_LOG));
    } else {
        d->z = (z_stream){.zalloc = tkr_zlib_alloc, .zfree = tkr_zlib_free};
        good = inflateInit2(&d->z, coding == TKR_CODING_GZIP ? MAX_WBITS + 16 : MAX_WBITS) == Z_OK;
        d->zlib = good;
    }
    if (!good) tkr_http_decoder_free(&d);
    return d;
}

void tkr_http_decoder_free(tkr_http_decoder **decoder) {
    if (!decoder || !*decoder) return;
    if ((*decoder)->zlib) (void)inflateEnd(&(*decoder)->z);
    (void)ZSTD_freeDCtx((*decoder)->zstd);
    tkr_free(*decoder);
    *decoder = NULL;
}

bool tkr_http_decoder_done(const tkr_http_decoder *decoder) { return decoder->ended; }

/* Room for the next piece, with a byte beyond the limit so that exceeding shows: bytes; 0: no memory. */
static size_t make_room(tkr_buf *out, size_t max) {
    const size_t left = max - out->size < STEP ? max - out->size + 1 : STEP;
    return tkr_buf_reserve(out, left) ? left : 0;
}

static unsigned inflate_step(tkr_http_decoder *d, char *out, size_t *n_out, const char **at, size_t *left) {
    if (d->ended) { /* a further gzip member (RFC 1952, 2.2) */
        if (d->coding != TKR_CODING_GZIP || inflateReset(&d->z) != Z_OK) return 400;
        d->ended = false;
    }
    const uInt given = (uInt)(*left < STEP ? *left : STEP), room = (uInt)*n_out;
    d->z.next_in = (const Bytef *)(const void *)*at;
    d->z.avail_in = given;
    d->z.next_out = (Bytef *)(void *)out;
    d->z.avail_out = room;
    const int code = inflate(&d->z, Z_NO_FLUSH);
    *at += given - d->z.avail_in;
    *left -= given - d->z.avail_in;
    *n_out = room - d->z.avail_out;
    d->ended = code == Z_STREAM_END;
    if (code == Z_MEM_ERROR) return 500;
    return code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR ? 0 : 400;
}

static unsigned zstd_step(tkr_http_decoder *d, char *out, size_t *n_out, const char **at, size_t *left) {
    ZSTD_inBuffer in = {*at, *left, 0};
    ZSTD_outBuffer to = {out, *n_out, 0};
    const size_t code = ZSTD_decompressStream(d->zstd, &to, &in);
    *at += in.pos;
    *left -= in.pos;
    *n_out = to.pos;
    if (ZSTD_isError(code)) return ZSTD_getErrorCode(code) == ZSTD_error_memory_allocation ? 500 : 400;
    d->ended = code == 0;
    return 0;
}

unsigned tkr_http_decode(tkr_http_decoder *d, tkr_buf *out, size_t max, const char *bytes, size_t n) {
    bool full = false;
    while (n > 0 || full) { /* full: more may come out of what went in */
        if (out->size > max) return 413;
        const size_t room = make_room(out, max);
        if (room == 0) return 500;
        size_t got = room;
        const size_t before = n;
        const unsigned status = d->coding == TKR_CODING_ZSTD ? zstd_step(d, out->data + out->size, &got, &bytes, &n)
                                                             : inflate_step(d, out->data + out->size, &got, &bytes, &n);
        out->size += got;
        out->data[out->size] = '\0';
        if (status != 0) return out->size > max ? 413 : status;
        full = got == room && !d->ended;
        if (got == 0 && n == before && n > 0) return 400;
    }
    return out->size > max ? 413 : 0;
}

/* ---- compressing ---- */

static size_t gzip(char *out, size_t room, const char *data, size_t size) {
    z_stream z = {.zalloc = tkr_zlib_alloc, .zfree = tkr_zlib_free};
    if (size > UINT32_MAX || deflateInit2(&z, FAST, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return 0;
    z.next_in = (const Bytef *)(const void *)data;
    z.avail_in = (uInt)size;
    z.next_out = (Bytef *)(void *)out;
    z.avail_out = (uInt)room;
    const bool whole = deflate(&z, Z_FINISH) == Z_STREAM_END;
    const size_t n = whole ? room - z.avail_out : 0;
    (void)deflateEnd(&z);
    return n;
}

bool tkr_http_compress(tkr_buf *out, tkr_http_coding coding, const char *data, size_t size) {
    out->size = 0;
    if (size < 2 || !tkr_buf_reserve(out, size - 1)) return false;
    size_t n; /* bytes; what doesn't fit isn't smaller */
    if (coding == TKR_CODING_ZSTD) {
        n = tkr_seam_allows('a') ? ZSTD_compress(out->data, size - 1, data, size, FAST) : 0;
        if (ZSTD_isError(n)) n = 0;
    } else {
        n = gzip(out->data, size - 1, data, size);
    }
    out->size = n;
    out->data[n] = '\0';
    return n > 0;
}
