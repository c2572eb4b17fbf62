/* SPDX-License-Identifier: Apache-2.0 */
/* core/spool: a temporary file without a name, for output that must be known before it can be sent. */
#ifndef TKR_CORE_SPOOL_H
#define TKR_CORE_SPOOL_H

#include <stddef.h>

#include "core/error.h"

typedef struct tkr_spool tkr_spool;
/* Opens one in TMPDIR, else /tmp; it is gone when closed or when the process ends. Returns a spool. */
tkr_status tkr_spool_open(tkr_spool **spool, tkr_error *error);
tkr_status tkr_spool_write(tkr_spool *spool, const void *data, size_t size, tkr_error *error);
/* Calls fn with all that was written, in order and in pieces. Stops at a status other than TKR_OK and returns it. */
tkr_status tkr_spool_each(tkr_spool *spool,
                          tkr_status (*fn)(void *user, const void *data, size_t size, tkr_error *error), void *user,
                          tkr_error *error);
void tkr_spool_close(tkr_spool **spool);

#endif
