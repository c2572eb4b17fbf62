/* SPDX-License-Identifier: Apache-2.0 */
/* cli/cmd_doctor: prints the findings of the self-test. */
#include <string.h>

#include "cli/cli.h"
#include "core/term.h"
#include "engine/tools.h"

enum { MARK_COLUMNS = 9, TOPIC_COLUMNS = 28, PIPE_COLUMNS = 100 };

typedef struct doctor_run {
    const tkr_cli_args *args;
    tkr_out *out;
    tkr_buf text;
    bool json, failed;
    tkr_error error;
    size_t n, n_by_severity[TKR_FINDING_PROBLEM + 1];
} doctor_run;

/* A finding appears at once: the tests of a large model take a while. */
static void emit(doctor_run *run) {
    if (!run->failed &&
        (run->text.failed ? TKR_FAIL(&run->error, NO_MEMORY, "out of memory")
                          : tkr_out_write(run->out, run->text.data, run->text.size, &run->error)) != TKR_OK) {
        run->failed = true;
    }
    if (!run->failed && tkr_out_flush(run->out, &run->error) != TKR_OK) {
        run->failed = true;
    }
    run->text.size = 0;
}

static void add_finding(void *user, const tkr_finding *finding) {
    static const char *const marks[] = {"OK", "NOTE", "WARN", "PROBLEM"};
    doctor_run *run = user;
    size_t columns = tkr_term_columns(TKR_STREAM_OUT);
    columns = columns < 60 ? PIPE_COLUMNS : columns;
    run->n_by_severity[finding->severity]++;
    if (run->json) {
        tkr_buf_printf(&run->text, "%s\n  {", run->n > 0 ? "," : "");
        tkr_cli_json_text(&run->text, "severity", marks[finding->severity]);
        tkr_cli_json_text(&run->text, "topic", finding->topic);
        tkr_cli_json_text(&run->text, "text", finding->text);
        tkr_cli_json_text(&run->text, "advice", finding->advice);
        tkr_buf_putc(&run->text, '}');
    } else {
        tkr_cli_cell(&run->text, marks[finding->severity], strlen(marks[finding->severity]), MARK_COLUMNS, true);
        tkr_cli_cell(&run->text, finding->topic, strlen(finding->topic), TOPIC_COLUMNS, true);
        tkr_buf_append(&run->text, "  ", 2);
        tkr_cli_wrap(&run->text, finding->text, MARK_COLUMNS + TOPIC_COLUMNS + 2, columns);
        if (finding->advice != NULL) {
            tkr_buf_printf(&run->text, "%*s-> ", MARK_COLUMNS + TOPIC_COLUMNS + 2, "");
            tkr_cli_wrap(&run->text, finding->advice, MARK_COLUMNS + TOPIC_COLUMNS + 5, columns);
        }
    }
    run->n++;
    emit(run);
}

int tkr_cmd_doctor(const tkr_cli_args *args) {
    doctor_run run = {.args = args, .json = tkr_cli_on(args, TKR_OPT_JSON)};
    tkr_model_options options;
    const char *reference = args->n_operands > 0 ? args->operands[0] : tkr_cli_get(args, TKR_OPT_MODEL)->text;
    tkr_cli_model_options(&options, args);
    if (tkr_cli_on(args, TKR_OPT_ACCURACY) && reference == NULL) {
        return tkr_cli_fail(TKR_EXIT_USAGE, "doctor: --accuracy needs a model: give -m MODEL");
    }
    if (tkr_out_open(&run.out, "-", &run.error) != TKR_OK) {
        return tkr_cli_report(&run.error);
    }
    if (run.json) {
        tkr_buf_printf(&run.text, "{\"findings\": [");
        emit(&run);
    }
    tkr_status status =
        tkr_tools_doctor(add_finding, &run, reference, tkr_cli_on(args, TKR_OPT_ACCURACY), &options, &run.error);
    const size_t *n = run.n_by_severity;
    if (run.json) {
        tkr_buf_printf(&run.text, "\n], \"problems\": %zu, \"warnings\": %zu}\n", n[TKR_FINDING_PROBLEM],
                       n[TKR_FINDING_WARNING]);
    } else {
        tkr_buf_printf(&run.text, "\n%zu ok, %zu notes, %zu warnings, %zu problems\n", n[TKR_FINDING_OK],
                       n[TKR_FINDING_NOTE], n[TKR_FINDING_WARNING], n[TKR_FINDING_PROBLEM]);
    }
    emit(&run);
    if (tkr_out_close(&run.out, run.failed || status != TKR_OK ? NULL : &run.error) != TKR_OK) {
        run.failed = true;
    }
    tkr_buf_free(&run.text);
    if (run.failed || status != TKR_OK) {
        return tkr_cli_report(&run.error);
    }
    return n[TKR_FINDING_PROBLEM] > 0 ? TKR_EXIT_RUNTIME : TKR_EXIT_OK;
}
