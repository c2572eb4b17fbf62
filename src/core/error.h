/* SPDX-License-Identifier: Apache-2.0 */
/* core/error: filling the caller's tkr_error. Refuses to print. */
#ifndef TKR_CORE_ERROR_H
#define TKR_CORE_ERROR_H

#include "tkr/embed.h"

#define TKR_STRINGIFY_(x) #x
#define TKR_STRINGIFY(x) TKR_STRINGIFY_(x)
#define TKR_HERE __FILE__ ":" TKR_STRINGIFY(__LINE__)

/* Formats one line into *error (nullable) and returns `status`, so that `return TKR_FAIL(error, FORMAT, "...")` reads
 * well. Control characters and invalid UTF-8 in the formatted text are replaced by '?'; too long a text ends in "...".
 */
tkr_status tkr_error_set(tkr_error *error, const char *origin, tkr_status status, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
#define TKR_FAIL(error, name, ...) tkr_error_set((error), TKR_HERE, TKR_##name, __VA_ARGS__)

/* Puts "context: " in front of the message that *error holds already. Returns error's status (or `status` if error is
 * NULL). */
tkr_status tkr_error_prefix(tkr_error *error, tkr_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
