/* SPDX-License-Identifier: Apache-2.0 */
/* cli/cmd_quantize: writes a quantised checkpoint and says what it cost. */
#include <string.h>

#include "cli/stream.h"
#include "core/term.h"
#include "engine/tools.h"

typedef struct quantize_run {
    tkr_cli_args args; /* with --quiet where the other commands have it */
    tkr_cli_progress progress;
    const char *output;
} quantize_run;

static int on_bytes(void *user, uint64_t done, uint64_t total) {
    quantize_run *run = user;
    tkr_cli_progress_bytes(&run->progress, run->output, done, total);
    return tkr_signals_pending() != 0;
}

/* A result that could not be checked is a result all the same. */
static void check(const quantize_run *run, tkr_buf *out, const char *reference, const tkr_model_options *given) {
    static const tkr_quantization formats[] = {TKR_QUANTIZATION_Q4, TKR_QUANTIZATION_Q8};
    tkr_accuracy a;
    tkr_error error = {0};
    tkr_model_options options = *given;
    options.quantization = formats[tkr_cli_get(&run->args, TKR_OPT_QUANTIZE_TO)->number];
    if (tkr_tools_compare(&a, reference, run->output, &options, &error) != TKR_OK) {
        tkr_cli_note(&run->args, "not compared with the source: %s", error.message);
        return;
    }
    tkr_buf_printf(out,
                   "against the source in %s on %zu texts: cosine min %.5f, 1st percentile %.5f, mean %.5f; top-10 "
                   "agreement %.3f\n",
                   a.reference_format, a.n_texts, a.min, a.first_percentile, a.mean, a.top10);
}

static int write_checkpoint(quantize_run *run, tkr_buf *out, const char *reference, const tkr_model_options *options) {
    static const size_t groups[] = {32, 64, 128};
    tkr_quantize_report report;
    tkr_error error = {0};
    char bytes[32];
    const tkr_quantize_options quantize = {
        .bits = tkr_cli_get(&run->args, TKR_OPT_QUANTIZE_TO)->number == 0 ? 4 : 8,
        .group = groups[tkr_cli_get(&run->args, TKR_OPT_GROUP_SIZE)->number],
        .output = run->output,
        .force = tkr_cli_on(&run->args, TKR_OPT_FORCE),
        .progress = on_bytes,
        .progress_user = run,
    };
    tkr_signals_note();
    tkr_cli_progress_start(&run->progress, &run->args, false);
    tkr_status status = tkr_tools_quantize(&report, reference, &quantize, options, &error);
    tkr_cli_progress_clear(&run->progress);
    if (status != TKR_OK) {
        if (tkr_signals_pending() != 0) {
            tkr_cli_note(&run->args, "interrupted: nothing was written");
            error.status = TKR_CANCELLED;
        }
        return tkr_cli_report(&error);
    }
    tkr_cli_bytes(bytes, report.bytes, false);
    tkr_buf_printf(
        out, "%s: %s, %zu matrices in q%u in groups of %zu, %zu other tensors; scales in %s; %.2f bits a weight\n",
        run->output, bytes, report.n_quantized, quantize.bits, quantize.group, report.n_plain, report.dtype,
        report.bits_per_weight);
    return TKR_EXIT_OK;
}

int tkr_cmd_quantize(const tkr_cli_args *args) {
    quantize_run run = {.args = *args, .output = tkr_cli_get(args, TKR_OPT_QUANTIZE_OUTPUT)->text};
    tkr_model_options options;
    tkr_buf out = {0};
    const char *reference = tkr_cli_model(args, true);
    if (reference == NULL) {
        return TKR_EXIT_USAGE;
    }
    if (run.output == NULL || run.output[0] == '\0') {
        return tkr_cli_fail(TKR_EXIT_USAGE, "quantize: where to? Give -o DIR");
    }
    run.args.value[TKR_OPT_QUIET] = run.args.value[TKR_OPT_QUIET_LONG];
    tkr_cli_model_options(&options, &run.args);
    int code = write_checkpoint(&run, &out, reference, &options);
    if (code == TKR_EXIT_OK && !tkr_cli_on(&run.args, TKR_OPT_NO_CHECK) && tkr_signals_pending() == 0) {
        check(&run, &out, reference, &options);
    }
    if (code != TKR_EXIT_OK) {
        tkr_buf_free(&out);
        return code;
    }
    return tkr_cli_print(&out);
}
