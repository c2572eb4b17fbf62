/* SPDX-License-Identifier: Apache-2.0 */
/* server/settings: what settings must be together, and what somebody should know before the server starts. */
#include <string.h>

#include "core/file.h"
#include "core/fsops.h"
#include "core/service.h"
#include "server/settings.h"

enum { MAX_SOCKET_PATH = 107, GOOD_KEY = 16 };

/* "serve.yaml:12: server.port", "--port", "TKR_PORT". */
static const char *said_by(char out[256], const tkr_settings *settings, tkr_setting_id id) {
    const char *origin = settings->value[id].origin;
    tkr_buf text = {0};
    tkr_buf_printf(&text, strchr(origin, ':') != NULL ? "%s: %s" : "%s", origin, tkr_settings_table[id].key);
    const size_t n = text.failed ? 0 : text.size < 255 ? text.size : 255;
    if (n > 0) memcpy(out, text.data, n);
    out[n] = '\0';
    tkr_buf_free(&text);
    return out;
}

static bool starts(const char *text, const char *with) { return strncmp(text, with, strlen(with)) == 0; }

/* A host name or address with an optional port, nothing behind it. */
static bool is_host(const char *text) {
    if (text[0] == '\0') return false;
    return text[strcspn(text, " /@?#\\\"<>")] == '\0';
}

static tkr_status check_url(const tkr_settings *settings, tkr_setting_id id, const char *const *schemes,
                            const char *expected, tkr_error *error) {
    char who[256];
    const char *url = settings->value[id].text;
    if (url == NULL) return TKR_OK;
    for (; *schemes != NULL; schemes++)
        if (starts(url, *schemes) && url[strlen(*schemes)] != '\0' && strchr(url, ' ') == NULL) return TKR_OK;
    return TKR_FAIL(error, INVALID_ARGUMENT, "%s is not an address of the form %s", said_by(who, settings, id),
                    expected); /* not the value: it may hold a password */
}

static tkr_status check_lists(const tkr_settings *settings, tkr_error *error) {
    char who[256];
    const tkr_setting_value *origins = &settings->value[TKR_SET_CORS], *hosts = &settings->value[TKR_SET_ALLOW_URL];
    for (size_t i = 0; i < origins->n_list; i++) {
        const char *origin = origins->list[i];
        const char *rest = starts(origin, "https://") ? origin + 8 : starts(origin, "http://") ? origin + 7 : "";
        if (strcmp(origin, "*") != 0 && !is_host(rest)) {
            return TKR_FAIL(
                error, INVALID_ARGUMENT,
                "%s has \"%s\", expected \"*\" or an origin such as \"https://example.org\", without a path",
                said_by(who, settings, TKR_SET_CORS), origin);
        }
    }
    for (size_t i = 0; i < hosts->n_list; i++) {
        if (!is_host(hosts->list[i])) {
            return TKR_FAIL(error, INVALID_ARGUMENT, "%s has \"%s\", expected host names such as example.org",
                            said_by(who, settings, TKR_SET_ALLOW_URL), hosts->list[i]);
        }
    }
    return TKR_OK;
}

/* What `config show` prints in place of secrets is no secret. */
static tkr_status check_secrets(const tkr_settings *settings, tkr_error *error) {
    char who[256];
    const tkr_setting_value *keys = &settings->value[TKR_SET_API_KEY];
    for (size_t i = 0; i < keys->n_list; i++) {
        if (strcmp(keys->list[i], "***") == 0) {
            return TKR_FAIL(error, INVALID_ARGUMENT, "%s is the \"***\" that config show prints in place of a key",
                            said_by(who, settings, TKR_SET_API_KEY));
        }
    }
    return TKR_OK;
}

static tkr_status check_sockets(const tkr_settings *settings, tkr_error *error) {
    static const tkr_setting_id ids[] = {TKR_SET_SOCKET, TKR_SET_ADMIN_SOCKET};
    char who[256];
    const char *host = settings->value[TKR_SET_HOST].text;
    if (host == NULL || !is_host(host) || strchr(host, ',') != NULL) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "%s is \"%s\", expected an address such as 127.0.0.1, :: or 0.0.0.0",
                        said_by(who, settings, TKR_SET_HOST), host != NULL ? host : "");
    }
    for (size_t i = 0; i < 2; i++) {
        const char *path = settings->value[ids[i]].text;
        if (path != NULL && strlen(path) > MAX_SOCKET_PATH) {
            return TKR_FAIL(error, INVALID_ARGUMENT, "%s has %zu bytes; the path of a Unix socket has at most %d",
                            said_by(who, settings, ids[i]), strlen(path), MAX_SOCKET_PATH);
        }
    }
    const char *a = settings->value[TKR_SET_SOCKET].text, *b = settings->value[TKR_SET_ADMIN_SOCKET].text;
    if (a != NULL && b != NULL && strcmp(a, b) == 0) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "%s is the same path as server.socket",
                        said_by(who, settings, TKR_SET_ADMIN_SOCKET));
    }
    return TKR_OK;
}

/* Requests choose a model by its name, or by what it is loaded from: no later one may be called that (models.c). */
static tkr_status check_models(const tkr_settings *settings, tkr_error *error) {
    for (size_t i = 1; i <= settings->n_models; i++) {
        const char *name = tkr_settings_model_name(settings, i), *origin = settings->models[i - 1].origin;
        for (size_t j = 0; j < i; j++) {
            const char *from = j > 0 ? settings->models[j - 1].name : settings->value[TKR_SET_MODEL].text;
            if (strcmp(name, tkr_settings_model_name(settings, j)) == 0) {
                return TKR_FAIL(error, INVALID_ARGUMENT,
                                "%s: two models are called \"%s\"; give one of them an alias of its own", origin, name);
            }
            if (strcmp(name, from) == 0) {
                return TKR_FAIL(error, INVALID_ARGUMENT,
                                "%s: a model is called \"%s\", which is what \"%s\" is loaded from; give it another "
                                "alias",
                                origin, name, tkr_settings_model_name(settings, j));
            }
        }
    }
    return TKR_OK;
}

const char *tkr_settings_model_name(const tkr_settings *settings, size_t index) {
    const bool first = index == 0;
    const char *alias = first ? settings->value[TKR_SET_MODEL_ALIAS].text : settings->models[index - 1].alias;
    return alias != NULL ? alias : first ? settings->value[TKR_SET_MODEL].text : settings->models[index - 1].name;
}

tkr_status tkr_settings_check(const tkr_settings *settings, tkr_error *error) {
    static const char *const redis[] = {"redis://", "unix://", NULL};
    static const char *const http[] = {"http://", "https://", NULL};
    char who[256];
    const tkr_setting_value *certificate = &settings->value[TKR_SET_TLS_CERT], *key = &settings->value[TKR_SET_TLS_KEY];
    if (settings->value[TKR_SET_MODEL].text == NULL) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "%s is empty, expected a model such as minilm",
                        said_by(who, settings, TKR_SET_MODEL));
    }
    if ((certificate->text == NULL) != (key->text == NULL)) {
        const bool has_key = key->text != NULL;
        return TKR_FAIL(error, INVALID_ARGUMENT, "%s needs server.%s beside it",
                        said_by(who, settings, has_key ? TKR_SET_TLS_KEY : TKR_SET_TLS_CERT),
                        has_key ? "tls_certificate" : "tls_key");
    }
    tkr_status status = check_sockets(settings, error);
    if (status == TKR_OK) status = check_lists(settings, error);
    if (status == TKR_OK) status = check_models(settings, error);
    if (status == TKR_OK) {
        status = check_url(settings, TKR_SET_CACHE_URL, redis, "redis://host:port/db or unix:///path", error);
    }
    if (status == TKR_OK) status = check_url(settings, TKR_SET_OTLP, http, "http://host:4318", error);
    return status;
}

/* Files that will be made. */
static const tkr_setting_id places[] = {TKR_SET_LOG_FILE, TKR_SET_SOCKET, TKR_SET_ADMIN_SOCKET};

static tkr_status check_places(const tkr_settings *settings, tkr_error *error) {
    char who[256];
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *path = settings->value[places[i]].text;
        if (path != NULL && tkr_path_is_dir(path)) {
            return TKR_FAIL(error, INVALID_ARGUMENT, "%s: %s is a folder, expected the path of a file",
                            said_by(who, settings, places[i]), path);
        }
    }
    return TKR_OK;
}

/* A service manager may make the folder when it starts the server, so that this is no error yet. */
static void warn_of_places(const tkr_settings *settings, void (*fn)(void *user, const char *line), void *user) {
    char who[256];
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *path = settings->value[places[i]].text, *slash = path != NULL ? strrchr(path, '/') : NULL;
        char *folder = slash != NULL && slash != path ? tkr_strdup(path) : NULL;
        if (folder == NULL) continue;
        folder[slash - path] = '\0';
        tkr_buf line = {0};
        tkr_buf_printf(&line, "%s: there is no folder %s", said_by(who, settings, places[i]), folder);
        if (!tkr_path_is_dir(folder)) fn(user, line.failed ? "a folder is missing" : line.data);
        tkr_buf_free(&line);
        tkr_free(folder);
    }
}

tkr_status tkr_settings_check_files(const tkr_settings *settings, tkr_error *error) {
    static const tkr_setting_id files[] = {TKR_SET_TLS_CERT, TKR_SET_TLS_KEY};
    char who[256];
    tkr_status status = check_secrets(settings, error);
    if (status == TKR_OK) status = check_places(settings, error);
    for (size_t i = 0; i < sizeof files / sizeof *files && status == TKR_OK; i++) {
        const char *path = settings->value[files[i]].text;
        tkr_buf content = {0};
        if (path == NULL) continue;
        status = tkr_file_read(&content, path, (size_t)16 << 20, error);
        tkr_buf_free(&content);
        if (status != TKR_OK) (void)tkr_error_prefix(error, status, "%s", said_by(who, settings, files[i]));
    }
    const char *user = settings->value[TKR_SET_USER].text;
    if (status == TKR_OK && user != NULL) {
        status = tkr_user_find(user, error);
        if (status != TKR_OK) (void)tkr_error_prefix(error, status, "%s", said_by(who, settings, TKR_SET_USER));
    }
    return status;
}

void tkr_settings_each_warning(const tkr_settings *settings, void (*fn)(void *user, const char *line), void *user) {
    const tkr_setting_value *key = &settings->value[TKR_SET_API_KEY];
    const char *keys = settings->value[TKR_SET_KEYS_FILE].text;
    tkr_file_access access;
    warn_of_places(settings, fn, user);
    for (size_t i = 0; i < key->n_list; i++) {
        if (strlen(key->list[i]) >= GOOD_KEY) continue;
        fn(user, "the API key is short enough to be guessed: `tkr-embed key new NAME` makes good ones");
    }
    if (key->text != NULL && settings->file != NULL && starts(key->origin, settings->file) &&
        tkr_fs_access(&access, settings->file, NULL) == TKR_OK && (access.mode & 044) != 0) {
        fn(user, "others can read the configuration file, and auth.api_key in it: chmod 600, or use a keys file");
    }
    /* The group of a service may. */
    if (keys != NULL && tkr_fs_access(&access, keys, NULL) == TKR_OK && (access.mode & 04) != 0) {
        fn(user, "others can read the keys file: it holds hashes only, but chmod 640 is better");
    }
    if (tkr_setting_on(settings, TKR_SET_NO_AUTH)) {
        fn(user, "no authentication (insecure_no_auth): whoever reaches the server may use it");
    }
    if (tkr_setting_on(settings, TKR_SET_NO_JAIL)) {
        fn(user, "pictures are decoded without a jail (no_jail): a damaged one could do what this user can");
    }
    if (tkr_user_is_root() && settings->value[TKR_SET_USER].text == NULL) {
        fn(user, "runs as root: --user NAME gives that up once the sockets are open");
    }
    if (!settings->value[TKR_SET_MODEL].set) {
        fn(user, "no model was chosen: this is the demo model, which knows emoji only (-m minilm is a small real one)");
    }
}
