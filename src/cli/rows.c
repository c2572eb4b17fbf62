/* SPDX-License-Identifier: Apache-2.0 */
/* cli/rows: what becomes of one item's vector or failure, in whatever way it was made. */
#include <string.h>

#include "cli/stream.h"

tkr_status tkr_cli_rows_fail(tkr_cli_rows *rows, const tkr_cli_item *item, tkr_status status, const char *message,
                             tkr_error *error) {
    tkr_cli_progress_clear(rows->progress);
    tkr_cli_item_report(rows->source, item, message);
    rows->n_skipped++;
    rows->reported = !rows->skip;
    return rows->skip ? tkr_cli_writer_failed(rows->writer, item, message, error) : status;
}

tkr_status tkr_cli_rows_put(tkr_cli_rows *rows, const tkr_cli_item *item, const tkr_result_item *one,
                            tkr_error *error) {
    if (one->status != TKR_OK) {
        return tkr_cli_rows_fail(rows, item, one->status, tkr_cli_why(one), error);
    }
    rows->n_written++;
    rows->n_tokens += one->n_tokens;
    rows->n_cut += one->n_tokens_untruncated > one->n_tokens;
    return tkr_cli_writer_row(rows->writer, item, one, error);
}

void tkr_cli_rows_note(const tkr_cli_rows *rows, const tkr_cli_item *item, const char *message) {
    tkr_cli_progress_clear(rows->progress);
    if (rows->source->files.n > 0) {
        tkr_cli_files_failed(&rows->source->files, item->label, message);
    } else if (strncmp(message, item->label, item->n_label) == 0) { /* most messages name the file already */
        tkr_cli_note(rows->args, "%s", message);
    } else {
        tkr_cli_note(rows->args, "%.*s: %s", (int)(item->n_label < 200 ? item->n_label : 200), item->label, message);
    }
}
