/* SPDX-License-Identifier: Apache-2.0 */
/* core/term: terminals and signals of a command-line program. Refuses to decide what an interruption means. */
#define _GNU_SOURCE
#include "core/term.h"

#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* A signal handler has no argument through which a caller could hand in state: this is the one place for a global. */
static volatile sig_atomic_t pending_signal;

static void note_signal(int signal_number) { pending_signal = signal_number; }

bool tkr_term_is(tkr_stream stream) { return isatty((int)stream) == 1; }

size_t tkr_term_columns(tkr_stream stream) {
    struct winsize size;
    memset(&size, 0, sizeof size);
    if (!tkr_term_is(stream) || ioctl((int)stream, TIOCGWINSZ, &size) != 0) {
        return 0;
    }
    return size.ws_col;
}

void tkr_signals_note(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = note_signal;
    action.sa_flags = (int)SA_RESETHAND; /* and no SA_RESTART */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = SIG_IGN;
    action.sa_flags = 0;
    sigaction(SIGPIPE, &action, NULL);
}

int tkr_signals_pending(void) { return pending_signal; }

void tkr_program_end(int status) { _exit(status); }

void tkr_signals_block(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
}
