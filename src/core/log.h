/* SPDX-License-Identifier: Apache-2.0 */
/* core/log: the hook through which the library speaks; silent without one. */
#ifndef TKR_CORE_LOG_H
#define TKR_CORE_LOG_H

#include "tkr/embed.h"

typedef struct tkr_log {
    tkr_log_fn fn; /* NULL: silent */
    void *user;
} tkr_log;
enum { TKR_LOG_ERROR = 0, TKR_LOG_WARNING = 1, TKR_LOG_INFO = 2, TKR_LOG_DEBUG = 3 };
void tkr_log_line(const tkr_log *log, int level, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
