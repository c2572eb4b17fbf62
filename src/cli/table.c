/* SPDX-License-Identifier: Apache-2.0 */
/* cli/table: text for people (cells of a given width, numbers, sizes, times) and small JSON for programs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "core/json.h"
#include "core/utf8.h"

/* Control characters would break the line or drive the terminal. */
static bool is_control(uint32_t code_point) {
    return code_point < 0x20 || (code_point >= 0x7F && code_point < 0xA0) || code_point == 0x2028 ||
           code_point == 0x2029 || (code_point >= 0x202A && code_point <= 0x202E) ||
           (code_point >= 0x2066 && code_point <= 0x2069);
}

void tkr_cli_cell(tkr_buf *out, const char *text, size_t size, size_t columns, bool pad) {
    size_t start = out->size, used = 0, keep_size = 0, keep_used = 0;
    bool cut = false;
    for (size_t pos = 0; pos < size && !out->failed;) {
        char bytes[4];
        uint32_t code_point = tkr_utf8_next(text, size, &pos, NULL);
        size_t n = tkr_utf8_put(bytes, is_control(code_point) ? ' ' : code_point);
        size_t width = tkr_utf8_width(bytes, n);
        if (used + width > columns) {
            cut = true;
            break;
        }
        tkr_buf_append(out, bytes, n);
        used += width;
        if (used + 1 <= columns) {
            keep_size = out->size - start;
            keep_used = used;
        }
    }
    if (cut && columns > 0 && !out->failed) {
        out->size = start + keep_size;
        tkr_buf_append(out, "\xE2\x80\xA6", 3);
        used = keep_used + 1;
    }
    for (; pad && used < columns; used++) {
        tkr_buf_putc(out, ' ');
    }
}

void tkr_cli_number(char out[32], uint64_t value) {
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
    size_t to = 0;
    for (int i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0) {
            out[to++] = ',';
        }
        out[to++] = digits[i];
    }
    out[to] = '\0';
}

void tkr_cli_bytes(char out[32], uint64_t bytes, bool binary) {
    static const char *const units[2][5] = {{"B", "kB", "MB", "GB", "TB"}, {"B", "KiB", "MiB", "GiB", "TiB"}};
    double value = (double)bytes, step = binary ? 1024 : 1000;
    size_t unit = 0;
    while (value >= step * 0.9995 && unit < 4) {
        value /= step;
        unit++;
    }
    snprintf(out, 32, unit == 0 || value >= 99.95 ? "%.0f %s" : "%.1f %s", value, units[binary][unit]);
}

void tkr_cli_duration(char out[32], double seconds) {
    unsigned long total = seconds < 0 ? 0 : seconds > 3.6e7 ? 36000000 : (unsigned long)(seconds + 0.5);
    unsigned long hours = total / 3600, minutes = total / 60 % 60;
    if (hours > 0) {
        snprintf(out, 32, "%lu:%02lu:%02lu", hours, minutes, total % 60);
    } else {
        snprintf(out, 32, "%lu:%02lu", minutes, total % 60);
    }
}

void tkr_cli_json_key(tkr_buf *out, const char *name) {
    if (out->size > 0 && out->data[out->size - 1] != '{') {
        tkr_buf_append(out, ", ", 2);
    }
    tkr_json_write_string(out, name, strlen(name));
    tkr_buf_append(out, ": ", 2);
}

void tkr_cli_json_text(tkr_buf *out, const char *name, const char *value) {
    tkr_cli_json_key(out, name);
    if (value == NULL) {
        tkr_buf_append(out, "null", 4);
    } else {
        tkr_json_write_string(out, value, strlen(value));
    }
}

void tkr_cli_json_number(tkr_buf *out, const char *name, double value) {
    char text[40];
    tkr_cli_json_key(out, name);
    if (!isfinite(value)) {
        tkr_buf_append(out, "null", 4);
        return;
    }
    snprintf(text, sizeof text, "%.15g", value);
    if (strtod(text, NULL) != value) {
        snprintf(text, sizeof text, "%.17g", value);
    }
    tkr_buf_append(out, text, strlen(text));
}

void tkr_cli_json_count(tkr_buf *out, const char *name, uint64_t value) {
    tkr_cli_json_key(out, name);
    tkr_buf_printf(out, "%llu", (unsigned long long)value);
}

void tkr_cli_json_bool(tkr_buf *out, const char *name, bool value) {
    tkr_cli_json_key(out, name);
    tkr_buf_printf(out, "%s", value ? "true" : "false");
}
