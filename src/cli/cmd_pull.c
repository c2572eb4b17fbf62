/* SPDX-License-Identifier: Apache-2.0 */
/* cli/cmd_pull: downloads a model and prints its folder. */
#include <string.h>

#include "cli/stream.h"
#include "core/term.h"
#include "engine/tools.h"

typedef struct pull_run {
    const tkr_cli_args *args;
    tkr_cli_progress progress;
    char file[256]; /* the one that comes in */
    uint64_t total;
} pull_run;

static void file_done(pull_run *run) {
    char size[32];
    if (run->file[0] == '\0') {
        return;
    }
    tkr_cli_progress_clear(&run->progress);
    tkr_cli_bytes(size, run->total, false);
    tkr_cli_note(run->args, "%s: %s", run->file, size);
    run->file[0] = '\0';
}

static int on_bytes(void *user, const char *file, uint64_t done, uint64_t total) {
    pull_run *run = user;
    if (strncmp(run->file, file, sizeof run->file - 1) != 0) {
        file_done(run);
        strncpy(run->file, file, sizeof run->file - 1);
        if (done > 0 && (total == 0 || done < total)) {
            char have[32];
            tkr_cli_bytes(have, done, false);
            tkr_cli_progress_clear(&run->progress);
            tkr_cli_note(run->args, "%s: going on after %s", file, have);
        }
    }
    run->total = total > done ? total : done;
    tkr_cli_progress_bytes(&run->progress, file, done, total);
    return tkr_signals_pending() != 0;
}

int tkr_cmd_pull(const tkr_cli_args *args) {
    pull_run run = {.args = args};
    tkr_model_options options;
    tkr_error error = {0};
    char *folder = NULL;
    tkr_buf out = {0};
    const char *reference = tkr_cli_model(args, true);
    if (reference == NULL) {
        return TKR_EXIT_USAGE;
    }
    tkr_cli_model_options(&options, args);
    options.download = on_bytes;
    options.download_user = &run;
    tkr_signals_note();
    tkr_cli_progress_start(&run.progress, args, false);
    tkr_status status = tkr_tools_pull(&folder, reference, &options, &error);
    if (status == TKR_OK) {
        file_done(&run);
    }
    tkr_cli_progress_clear(&run.progress);
    if (status != TKR_OK) {
        if (tkr_signals_pending() != 0) {
            tkr_cli_note(args, "interrupted: the next `tkr-embed pull %s` goes on from here", reference);
            error.status = TKR_CANCELLED;
        }
        return tkr_cli_report(&error);
    }
    tkr_buf_printf(&out, "%s\n", folder);
    tkr_tools_free(&folder);
    return tkr_cli_print(&out);
}
