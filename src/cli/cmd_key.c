/* SPDX-License-Identifier: Apache-2.0 */
/* cli/cmd_key: makes, lists and revokes API keys of the server. A key is shown once; the file has its hash. */
#include <string.h>

#include "cli/cli.h"
#include "server/auth.h"

enum { NAME_COLUMNS = 24, SCOPES_COLUMNS = 22, LIMIT_COLUMNS = 14 };

typedef struct key_list {
    tkr_buf out;
    bool json;
    size_t n;
} key_list;

static void put_limit(tkr_buf *out, uint64_t limit) {
    char text[32] = "";
    if (limit > 0) {
        tkr_cli_number(text, limit);
    }
    tkr_buf_append(out, "  ", 2);
    tkr_cli_cell(out, text, strlen(text), LIMIT_COLUMNS, true);
}

static void add_key(void *user, const tkr_key_request *key) {
    key_list *list = user;
    char scopes[64];
    tkr_auth_scopes_text(scopes, key->scopes);
    if (list->json) {
        tkr_buf_printf(&list->out, "%s\n    {", list->n > 0 ? "," : "");
        tkr_cli_json_text(&list->out, "name", key->name);
        tkr_cli_json_text(&list->out, "scopes", scopes);
        tkr_cli_json_count(&list->out, "requests_per_minute", key->requests_per_minute);
        tkr_cli_json_count(&list->out, "tokens_per_minute", key->tokens_per_minute);
        tkr_cli_json_text(&list->out, "created", key->created);
        tkr_buf_putc(&list->out, '}');
    } else {
        tkr_cli_cell(&list->out, key->name, strlen(key->name), NAME_COLUMNS, true);
        tkr_buf_append(&list->out, "  ", 2);
        tkr_cli_cell(&list->out, scopes, strlen(scopes), SCOPES_COLUMNS, true);
        put_limit(&list->out, key->requests_per_minute);
        put_limit(&list->out, key->tokens_per_minute);
        tkr_buf_printf(&list->out, "  %s\n", key->created);
    }
    list->n++;
}

static int list_keys(const tkr_cli_args *args, const char *file) {
    key_list list = {.json = tkr_cli_on(args, TKR_OPT_JSON)};
    tkr_error error = {0};
    if (list.json) {
        tkr_buf_printf(&list.out, "{\"keys\": [");
    } else {
        tkr_buf_printf(&list.out, "%-*s  %-*s  %-*s  %-*s  %s\n", NAME_COLUMNS, "NAME", SCOPES_COLUMNS, "SCOPES",
                       LIMIT_COLUMNS, "REQUESTS/MIN", LIMIT_COLUMNS, "TOKENS/MIN", "CREATED");
    }
    if (tkr_auth_each_key(file, add_key, &list, &error) != TKR_OK) {
        tkr_buf_free(&list.out);
        return tkr_cli_report(&error);
    }
    if (list.json) {
        tkr_buf_printf(&list.out, list.n > 0 ? "\n  ]}\n" : "]}\n");
    }
    return tkr_cli_print(&list.out);
}

static int new_key(const tkr_cli_args *args, const char *file) {
    char key[64], scopes[64];
    tkr_error error = {0};
    tkr_buf text = {0};
    tkr_key_request request = {.file = file,
                               .name = args->operands[1],
                               .requests_per_minute = tkr_cli_get(args, TKR_OPT_KEY_REQUESTS)->number,
                               .tokens_per_minute = tkr_cli_get(args, TKR_OPT_KEY_TOKENS)->number};
    if (!tkr_auth_parse_scopes(&request.scopes, tkr_cli_get(args, TKR_OPT_SCOPES)->text)) {
        return tkr_cli_fail(TKR_EXIT_USAGE, "key: --scopes is \"%s\", expected some of embed,metrics,admin",
                            tkr_cli_get(args, TKR_OPT_SCOPES)->text);
    }
    if (tkr_auth_new_key(key, &request, &error) != TKR_OK) {
        return tkr_cli_report(&error);
    }
    tkr_auth_scopes_text(scopes, request.scopes);
    tkr_cli_note(args, "key \"%s\" (%s) is in %s; this is the only time that it is shown", request.name, scopes, file);
    tkr_buf_printf(&text, "%s\n", key);
    memset(key, 0, sizeof key);
    return tkr_cli_print(&text);
}

static int revoke_key(const tkr_cli_args *args, const char *file) {
    tkr_error error = {0};
    if (tkr_auth_revoke_key(file, args->operands[1], &error) != TKR_OK) {
        return tkr_cli_report(&error);
    }
    tkr_cli_note(args, "key \"%s\" is gone from %s; a running server notices within a second", args->operands[1], file);
    return TKR_EXIT_OK;
}

int tkr_cmd_key(const tkr_cli_args *args) {
    static const char *const verbs[] = {"new", "list", "revoke", NULL};
    enum { NEW, LIST };
    size_t verb = 0;
    tkr_settings *settings = NULL;
    if (!tkr_cli_verb(args, verbs, &verb)) {
        return TKR_EXIT_USAGE;
    }
    if ((args->n_operands == 2) == (verb == LIST)) {
        return tkr_cli_fail(TKR_EXIT_USAGE, "key: `key %s` takes %s", verbs[verb],
                            verb == LIST ? "no name" : "the name of a key");
    }
    int code = tkr_cli_settings(&settings, args);
    const char *file = code == TKR_EXIT_OK ? tkr_setting_of(settings, TKR_SET_KEYS_FILE)->text : NULL;
    if (code == TKR_EXIT_OK && file == NULL) {
        code = tkr_cli_fail(TKR_EXIT_USAGE, "key: which file? Give --keys-file FILE, or set TKR_KEYS_FILE, or "
                                            "auth.keys_file in the file of --config");
    } else if (code == TKR_EXIT_OK) {
        code = verb == NEW ? new_key(args, file) : verb == LIST ? list_keys(args, file) : revoke_key(args, file);
    }
    tkr_settings_free(&settings);
    return code;
}
