/* SPDX-License-Identifier: Apache-2.0 */
/* core/error: status texts and the caller's tkr_error, always one clean line. Refuses to print. */
#include "core/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/sys.h"
#include "core/utf8.h"

const char *tkr_status_text(tkr_status status) {
    switch (status) {
#define TKR_X(name, value, text) \
    case TKR_##name: return text;
        TKR_STATUS_LIST(TKR_X)
#undef TKR_X
    }
    return "unknown status";
}

const char *tkr_version(void) {
    return TKR_STRINGIFY(TKR_VERSION_MAJOR) "." TKR_STRINGIFY(TKR_VERSION_MINOR) "." TKR_STRINGIFY(TKR_VERSION_PATCH);
}

/* C0, DEL, C1 and the two Unicode line separators would break the promise of one line or steer a terminal. */
static bool is_control(uint32_t c) { return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x2028 || c == 0x2029; }

size_t tkr_line_clean(char *out, size_t size, const char *text, size_t n, bool cut) {
    size_t used = 0, last_fit = 0, pos = 0;
    while (pos < n) {
        size_t start = pos;
        bool valid = true;
        uint32_t c = tkr_utf8_next(text, n, &pos, &valid);
        bool replace = !valid || is_control(c);
        size_t length = replace ? 1 : pos - start;
        if (used + length + 1 > size) {
            cut = true;
            break;
        }
        if (replace) {
            out[used] = '?';
        } else {
            memmove(out + used, text + start, length);
        }
        used += length;
        if (used + 4 <= size) {
            last_fit = used;
        }
    }
    if (cut) {
        memcpy(out + last_fit, "...", 3);
        used = last_fit + 3;
    }
    out[used] = '\0';
    return used;
}

tkr_status tkr_error_set(tkr_error *error, const char *origin, tkr_status status, const char *format, ...) {
    if (error == NULL) {
        return status;
    }
    char text[2 * TKR_ERROR_MESSAGE_SIZE]; /* a copy, since the arguments may point into error->message */
    va_list args;
    va_start(args, format);
    int needed = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (needed < 0) {
        text[0] = '\0';
    }
    error->status = status;
    error->origin = origin;
    bool cut = needed >= (int)sizeof text;
    tkr_line_clean(error->message, sizeof error->message, text, strlen(text), cut);
    return status;
}

tkr_status tkr_error_prefix(tkr_error *error, tkr_status status, const char *format, ...) {
    if (error == NULL) {
        return status;
    }
    char text[2 * TKR_ERROR_MESSAGE_SIZE];
    va_list args;
    va_start(args, format);
    int needed = vsnprintf(text, TKR_ERROR_MESSAGE_SIZE, format, args);
    va_end(args);
    if (needed < 0) {
        text[0] = '\0';
    }
    size_t n = strlen(text);
    int added = snprintf(text + n, sizeof text - n, ": %s", error->message);
    bool cut = added >= (int)(sizeof text - n);
    tkr_line_clean(error->message, sizeof error->message, text, strlen(text), cut);
    return error->status;
}
