/* SPDX-License-Identifier: Apache-2.0 */
/* decode/document/charset: bytes of a text to UTF-8, by mark, declaration, validity, statistics, in this order. */
#include <string.h>
#include <unicode/ucnv.h>
#include <unicode/ucsdet.h>

#include "core/utf8.h"
#include "decode/document/document.h"

enum { SAMPLE = 64 << 10, LEAST_CONFIDENCE = 25 };

static tkr_status convert(tkr_buf *out, const uint8_t *bytes, size_t n, const char *name, tkr_error *error) {
    char piece[4096];
    UErrorCode code = U_ZERO_ERROR;
    UChar pivot[1024], *pivot_source = pivot, *pivot_target = pivot;
    UConverter *from = ucnv_open(name, &code), *to = ucnv_open("UTF-8", &code);
    const char *source = (const char *)bytes, *end = source + n;
    bool first = true, more = U_SUCCESS(code);
    while (more) {
        char *target = piece;
        code = U_ZERO_ERROR;
        ucnv_convertEx(to, from, &target, piece + sizeof piece, &source, end, pivot, &pivot_source, &pivot_target,
                       pivot + sizeof pivot / sizeof *pivot, first, 1, &code);
        first = false;
        more = code == U_BUFFER_OVERFLOW_ERROR;
        if (!tkr_buf_append(out, piece, (size_t)(target - piece))) more = false;
    }
    ucnv_close(from);
    ucnv_close(to);
    if (out->failed) return TKR_FAIL(error, LIMIT, "has more than %zu bytes of text", out->cap);
    return U_SUCCESS(code) ? TKR_OK : TKR_FAIL(error, FORMAT, "charset %s: %s", name, u_errorName(code));
}

static bool is_known(const char *name) {
    UErrorCode code = U_ZERO_ERROR;
    UConverter *converter = ucnv_open(name, &code);
    ucnv_close(converter);
    return U_SUCCESS(code);
}

/* Single-byte text without a better sign is Windows-1252, as browsers have it. */
static void guess(char name[64], const uint8_t *bytes, size_t n) {
    UErrorCode code = U_ZERO_ERROR;
    UCharsetDetector *detector = ucsdet_open(&code);
    memcpy(name, "windows-1252", sizeof "windows-1252");
    if (U_FAILURE(code)) return;
    ucsdet_setText(detector, (const char *)bytes, (int32_t)(n < SAMPLE ? n : SAMPLE), &code);
    const UCharsetMatch *match = ucsdet_detect(detector, &code);
    if (U_SUCCESS(code) && match) {
        const char *found = ucsdet_getName(match, &code);
        const int32_t confidence = ucsdet_getConfidence(match, &code);
        if (U_SUCCESS(code) && confidence >= LEAST_CONFIDENCE && strcmp(found, "ISO-8859-1") != 0 &&
            strlen(found) < 64 && strncmp(found, "UTF-8", 5) != 0 && is_known(found))
            memcpy(name, found, strlen(found) + 1);
    }
    ucsdet_close(detector);
}

tkr_status tkr_charset_to_utf8(tkr_buf *out, const uint8_t *bytes, size_t n, const char *declared, tkr_error *error) {
    UErrorCode code = U_ZERO_ERROR;
    char name[64];
    int32_t mark = 0;
    const char *by_mark = ucnv_detectUnicodeSignature((const char *)bytes, n < 16 ? (int32_t)n : 16, &mark, &code);
    if (U_SUCCESS(code) && by_mark && strcmp(by_mark, "UTF-8") != 0)
        return convert(out, bytes + mark, n - (size_t)mark, by_mark, error);
    if (U_SUCCESS(code) && by_mark) bytes += mark, n -= (size_t)mark;
    const bool valid = tkr_utf8_valid_prefix((const char *)bytes, n) == n;
    if (!by_mark && !valid && declared && is_known(declared)) return convert(out, bytes, n, declared, error);
    if (!by_mark && valid && declared && is_known(declared) && memchr(bytes, 0x1b, n)) /* ISO-2022: ASCII to the eye */
        return convert(out, bytes, n, declared, error);
    if (valid || by_mark) {
        return tkr_buf_append(out, bytes, n) ? TKR_OK
                                             : TKR_FAIL(error, LIMIT, "has more than %zu bytes of text", out->cap);
    }
    guess(name, bytes, n);
    return convert(out, bytes, n, name, error);
}
