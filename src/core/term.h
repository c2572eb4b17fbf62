/* SPDX-License-Identifier: Apache-2.0 */
/* core/term: terminals and signals of a command-line program. The library itself never calls it. */
#ifndef TKR_CORE_TERM_H
#define TKR_CORE_TERM_H

#include <stdbool.h>
#include <stddef.h>

typedef enum tkr_stream { TKR_STREAM_IN = 0, TKR_STREAM_OUT = 1, TKR_STREAM_ERR = 2 } tkr_stream;

bool tkr_term_is(tkr_stream stream);
/* Columns of the terminal, 0 when it is none or doesn't say. */
size_t tkr_term_columns(tkr_stream stream);

/* From now on the first SIGINT or SIGTERM is only noted (and interrupts a blocked read); the second one ends the
 * process. SIGPIPE is ignored, so that a closed pipe is a write error. */
void tkr_signals_note(void);
/* From now on this thread takes no SIGINT, SIGTERM and SIGHUP any more: for a program that is ending and whose other
 * threads take none anyway. */
void tkr_signals_block(void);
/* The noted signal, 0 for none. */
int tkr_signals_pending(void);

/* Ends the program at once, with nothing flushed or freed: for a server that is told to end while a thread of it is in
 * the middle of something that can't be stopped. */
void tkr_program_end(int status);

#endif
