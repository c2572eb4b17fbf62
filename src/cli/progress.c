/* SPDX-License-Identifier: Apache-2.0 */
/* cli/progress: one line on standard error that is drawn over itself. Refuses to show where nobody looks. */
#include <stdio.h>
#include <string.h>

#include "cli/stream.h"
#include "core/term.h"

enum { BAR_COLUMNS = 20, MIN_COLUMNS = 40 };
#define DRAW_EVERY 0.1
#define QUIET_AT_FIRST 0.3 /* what takes less needs no bar */

void tkr_cli_progress_start(tkr_cli_progress *progress, const tkr_cli_args *args, bool to_terminal) {
    memset(progress, 0, sizeof *progress);
    progress->on = tkr_term_is(TKR_STREAM_ERR) && !tkr_cli_on(args, TKR_OPT_QUIET) && !to_terminal;
    progress->started = tkr_now();
    progress->fraction = -1;
    progress->unit = "texts";
}

void tkr_cli_progress_clear(tkr_cli_progress *progress) {
    if (progress->drawn) {
        fputs("\r\033[K", stderr);
        progress->drawn = false;
    }
}

static void draw_line(tkr_cli_progress *progress, const tkr_buf *line) {
    size_t columns = tkr_term_columns(TKR_STREAM_ERR);
    columns = columns == 0 ? 80 : columns < MIN_COLUMNS ? MIN_COLUMNS : columns;
    tkr_buf cell = {0};
    if (!line->failed) {
        tkr_cli_cell(&cell, line->data, line->size, columns - 1, false);
    }
    if (!line->failed && !cell.failed && cell.size > 0) {
        fprintf(stderr, "\r%s\033[K", cell.data);
        fflush(stderr);
        progress->drawn = true;
    }
    tkr_buf_free(&cell);
}

static bool due(tkr_cli_progress *progress, double now) {
    if (!progress->on || now - progress->started < QUIET_AT_FIRST || now - progress->last_drawn < DRAW_EVERY) {
        return false;
    }
    progress->last_drawn = now;
    return true;
}

static void bar(tkr_buf *line, double fraction) {
    int full = (int)(fraction * BAR_COLUMNS);
    full = full < 0 ? 0 : full > BAR_COLUMNS ? BAR_COLUMNS : full;
    tkr_buf_putc(line, '[');
    for (int i = 0; i < BAR_COLUMNS; i++) {
        tkr_buf_putc(line, i < full ? '#' : '-');
    }
    tkr_buf_printf(line, "] %3d %%", (int)(fraction * 100 > 100 ? 100 : fraction * 100));
}

void tkr_cli_progress_draw(tkr_cli_progress *progress, uint64_t texts, uint64_t tokens, double part_of_step) {
    double now = tkr_now();
    char n_texts[32], rate[32], left[32];
    if (!due(progress, now)) {
        return;
    }
    tkr_buf line = {0};
    double seconds = now - progress->started;
    tkr_cli_number(n_texts, progress->n_texts + texts);
    tkr_cli_number(rate, (uint64_t)((double)(progress->n_tokens + tokens) / seconds));
    if (progress->fraction >= 0) {
        double fraction = progress->fraction + part_of_step * progress->step;
        bar(&line, fraction);
        tkr_buf_printf(&line, "  %s %s  %s tokens/s", n_texts, progress->unit, rate);
        if (fraction > 0.001) {
            tkr_cli_duration(left, seconds * (1 - fraction) / fraction);
            tkr_buf_printf(&line, "  %s left", left);
        }
    } else {
        tkr_cli_duration(left, seconds);
        tkr_buf_printf(&line, "%s %s  %s tokens/s  %s", n_texts, progress->unit, rate, left);
    }
    draw_line(progress, &line);
    tkr_buf_free(&line);
}

void tkr_cli_progress_bytes(tkr_cli_progress *progress, const char *name, uint64_t done, uint64_t total) {
    char have[32], all[32];
    if (!due(progress, tkr_now())) {
        return;
    }
    tkr_buf line = {0};
    tkr_cli_bytes(have, done, false);
    if (total > 0) {
        tkr_cli_bytes(all, total, false);
        bar(&line, (double)done / (double)total);
        tkr_buf_printf(&line, "  %s of %s  %s", have, all, name);
    } else {
        tkr_buf_printf(&line, "%s  %s", have, name);
    }
    draw_line(progress, &line);
    tkr_buf_free(&line);
}
