/* SPDX-License-Identifier: Apache-2.0 */
/* cli/cmd_models: the alias table and what the Hugging Face cache holds. */
#include <string.h>

#include "cli/cli.h"
#include "engine/tools.h"

enum { ALIAS_COLUMNS = 16, REPOSITORY_COLUMNS = 44, ARCHITECTURE_COLUMNS = 14, SIZE_COLUMNS = 10 };

typedef struct models_run {
    tkr_buf out;
    bool json;
    size_t n;
} models_run;

static void cell(tkr_buf *out, const char *text, size_t columns) {
    tkr_cli_cell(out, text, strlen(text), columns, true);
    tkr_buf_append(out, "  ", 2);
}

static void trim_line(tkr_buf *out) {
    while (out->size > 0 && out->data[out->size - 1] == ' ') {
        out->size--;
    }
    tkr_buf_putc(out, '\n');
}

static void begin_row(models_run *run) {
    if (run->json) {
        tkr_buf_printf(&run->out, "%s\n    {", run->n > 0 ? "," : "");
    }
    run->n++;
}

static tkr_status add_alias(void *user, const tkr_tools_alias *alias) {
    models_run *run = user;
    begin_row(run);
    if (run->json) {
        tkr_cli_json_text(&run->out, "alias", alias->alias);
        tkr_cli_json_text(&run->out, "repository", alias->repository);
        tkr_cli_json_text(&run->out, "architecture", alias->architecture);
        tkr_cli_json_bool(&run->out, "runnable", alias->runnable);
        tkr_cli_json_bool(&run->out, "cached", alias->cached);
        tkr_buf_putc(&run->out, '}');
        return TKR_OK;
    }
    cell(&run->out, alias->alias, ALIAS_COLUMNS);
    cell(&run->out, alias->repository, REPOSITORY_COLUMNS);
    cell(&run->out, alias->architecture, ARCHITECTURE_COLUMNS);
    cell(&run->out, alias->runnable ? "yes" : "no", 4);
    cell(&run->out, alias->cached ? "yes" : "", 6);
    trim_line(&run->out);
    return TKR_OK;
}

static tkr_status add_cached(void *user, const tkr_tools_cached *model) {
    models_run *run = user;
    char size[32];
    if (run->n == 0 && !run->json) {
        tkr_buf_printf(&run->out, "\nIn the cache:\n");
    }
    begin_row(run);
    if (run->json) {
        tkr_cli_json_text(&run->out, "repository", model->repository);
        tkr_cli_json_text(&run->out, "revision", model->revision);
        tkr_cli_json_text(&run->out, "folder", model->folder);
        tkr_cli_json_text(&run->out, "architecture", model->architecture);
        tkr_cli_json_count(&run->out, "bytes", model->bytes);
        tkr_cli_json_bool(&run->out, "complete", model->complete);
        tkr_cli_json_bool(&run->out, "runnable", model->runnable);
        tkr_buf_putc(&run->out, '}');
        return TKR_OK;
    }
    tkr_cli_bytes(size, model->bytes, false);
    cell(&run->out, model->repository, REPOSITORY_COLUMNS);
    cell(&run->out, model->revision, 12);
    cell(&run->out, size, SIZE_COLUMNS);
    cell(&run->out, model->architecture != NULL ? model->architecture : "?", ARCHITECTURE_COLUMNS);
    cell(&run->out,
         !model->complete  ? "incomplete: `tkr-embed pull` fetches the rest"
         : model->runnable ? ""
                           : "not runnable",
         46);
    trim_line(&run->out);
    return TKR_OK;
}

static void print_architectures(models_run *run) {
    const char *const *names = tkr_tools_architectures();
    tkr_buf_printf(&run->out, run->json ? "],\n  \"architectures\": [" : "\nArchitectures of this build:");
    for (size_t i = 0; names[i] != NULL; i++) {
        tkr_buf_printf(&run->out, run->json ? "%s\"%s\"" : "%s %s", i == 0 ? "" : run->json ? ", " : ",", names[i]);
    }
    tkr_buf_printf(&run->out, run->json ? "]\n}\n" : "\n");
}

int tkr_cmd_models(const tkr_cli_args *args) {
    models_run run = {.json = tkr_cli_on(args, TKR_OPT_JSON)};
    tkr_model_options options;
    tkr_error error = {0};
    tkr_cli_model_options(&options, args);
    if (run.json) {
        tkr_buf_printf(&run.out, "{\n  \"aliases\": [");
    } else {
        cell(&run.out, "ALIAS", ALIAS_COLUMNS);
        cell(&run.out, "MODEL", REPOSITORY_COLUMNS);
        cell(&run.out, "ARCHITECTURE", ARCHITECTURE_COLUMNS);
        tkr_buf_printf(&run.out, "RUNS  CACHED\n");
    }
    tkr_status status = tkr_tools_aliases(add_alias, &run, &options, &error);
    if (status == TKR_OK) {
        run.n = 0;
        if (run.json) {
            tkr_buf_printf(&run.out, "],\n  \"cached\": [");
        }
        status = tkr_tools_cache(add_cached, &run, &options, &error);
    }
    if (status != TKR_OK) {
        tkr_buf_free(&run.out);
        return tkr_cli_report(&error);
    }
    if (run.n == 0 && !run.json) {
        tkr_buf_printf(&run.out, "\nThe cache is empty: `tkr-embed pull minilm` fetches a small model.\n");
    }
    print_architectures(&run);
    return tkr_cli_print(&run.out);
}
