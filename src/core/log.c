/* SPDX-License-Identifier: Apache-2.0 */
/* core/log: formats one clean line for the caller's hook. Refuses to print by itself. */
#include "core/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/sys.h"

void tkr_log_line(const tkr_log *log, int level, const char *format, ...) {
    if (log == NULL || log->fn == NULL) {
        return;
    }
    char text[1024], line[1024];
    va_list args;
    va_start(args, format);
    int needed = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (needed < 0) {
        return;
    }
    tkr_line_clean(line, sizeof line, text, strlen(text), needed >= (int)sizeof text);
    log->fn(log->user, level, line);
}
