/* SPDX-License-Identifier: Apache-2.0 */
/* hub/settings: options and environment, read as huggingface_hub reads them. Refuses tokens that could split a header.
 */
#include <stdlib.h>
#include <string.h>

#include "hub/hub_internal.h"

const tkr_hub_tuning tkr_hub_default_tuning = {
    .backoff_s = 1.0, .backoff_max_s = 30.0, .retry_after_max_s = 120.0, .stall_s = 0.0, .attempts = 6};

static bool is_true(const char *value) {
    static const char *const words[] = {"1", "on", "yes", "true"};
    for (size_t i = 0; value != NULL && i < sizeof words / sizeof words[0]; i++) {
        size_t n = 0;
        while (value[n] != '\0' && (value[n] | 0x20) == (words[i][n] | 0x20)) {
            n++;
        }
        if (value[n] == '\0' && words[i][n] == '\0') {
            return true;
        }
    }
    return false;
}

/* "~/x" is below HOME, as in Python's expanduser. */
static char *expand(const char *path) {
    const char *home = tkr_env("HOME");
    if (path[0] == '~' && (path[1] == '/' || path[1] == '\0') && home != NULL) {
        return path[1] == '\0' ? tkr_strdup(home) : tkr_path_join(home, path + 2);
    }
    return tkr_strdup(path);
}

/* The folder that HF_HOME means, or NULL without memory; *known false when there is not even a home folder. */
static char *hf_home(bool *known) {
    const char *home = tkr_env("HF_HOME"), *xdg = tkr_env("XDG_CACHE_HOME");
    *known = true;
    if (home != NULL) {
        return expand(home);
    }
    *known = xdg != NULL || tkr_env("HOME") != NULL;
    char *base = expand(xdg != NULL ? xdg : "~/.cache");
    char *joined = base != NULL ? tkr_path_join(base, "huggingface") : NULL;
    tkr_free(base);
    return joined;
}

tkr_status tkr_hub_settings_open(tkr_hub_settings *settings, const tkr_hub_options *options, tkr_error *error) {
    *settings = (tkr_hub_settings){0};
    const char *given = options->cache_dir;
    given = given != NULL ? given : tkr_env("HF_HUB_CACHE");
    given = given != NULL ? given : tkr_env("HUGGINGFACE_HUB_CACHE");
    if (given != NULL) {
        settings->cache_dir = expand(given);
    } else {
        bool known = false;
        char *home = hf_home(&known);
        if (!known) {
            tkr_free(home);
            return TKR_FAIL(error, INVALID_ARGUMENT, "no place for the model cache: set HF_HOME or HOME");
        }
        settings->cache_dir = home != NULL ? tkr_path_join(home, "hub") : NULL;
        tkr_free(home);
    }
    if (settings->cache_dir == NULL) {
        return TKR_FAIL(error, NO_MEMORY, "out of memory");
    }
    if (options->offline) {
        settings->offline_by = "offline was asked for";
    } else if (is_true(tkr_env("HF_HUB_OFFLINE"))) {
        settings->offline_by = "HF_HUB_OFFLINE is set";
    } else if (tkr_env("HF_HUB_OFFLINE") == NULL && is_true(tkr_env("TRANSFORMERS_OFFLINE"))) {
        settings->offline_by = "TRANSFORMERS_OFFLINE is set";
    }
    return TKR_OK;
}

static tkr_status set_endpoint(tkr_hub_settings *settings, const tkr_hub_options *options, tkr_error *error) {
    const char *given = options->endpoint != NULL ? options->endpoint : tkr_env("HF_ENDPOINT");
    given = given != NULL ? given : "https://huggingface.co";
    size_t n = strlen(given);
    while (n > 0 && given[n - 1] == '/') {
        n--;
    }
    bool good = strncmp(given, "https://", 8) == 0 || strncmp(given, "http://", 7) == 0;
    for (size_t i = 0; i < n && good; i++) {
        good = given[i] > ' ' && given[i] < 127 && given[i] != '?' && given[i] != '#' && given[i] != '@';
    }
    if (!good) {
        return TKR_FAIL(
            error, INVALID_ARGUMENT,
            "HF_ENDPOINT \"%.100s\" is no address such as https://huggingface.co (http or https, host, path)", given);
    }
    settings->endpoint = tkr_strndup(given, n);
    return settings->endpoint != NULL ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "out of memory");
}

/* Copies the token without white space around it; nothing remains of an empty one. */
static tkr_status set_token(tkr_hub_settings *settings, const char *text, const char *source, tkr_error *error) {
    size_t n = strlen(text);
    while (n > 0 && (unsigned char)text[n - 1] <= ' ') {
        n--;
    }
    while (n > 0 && (unsigned char)text[0] <= ' ') {
        text++;
        n--;
    }
    for (size_t i = 0; i < n; i++) {
        if (text[i] <= ' ' || text[i] >= 127) {
            return TKR_FAIL(error, INVALID_ARGUMENT, "the token from %s holds a character that no token has (byte %zu)",
                            source, i + 1);
        }
    }
    if (n == 0) {
        return TKR_OK;
    }
    settings->token = tkr_strndup(text, n);
    settings->token_source = source;
    return settings->token != NULL ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "out of memory");
}

static tkr_status token_from_file(tkr_hub_settings *settings, tkr_error *error) {
    const char *given = tkr_env("HF_TOKEN_PATH");
    bool known = true;
    char *home = given == NULL ? hf_home(&known) : NULL;
    char *path = given != NULL ? expand(given) : (home != NULL && known ? tkr_path_join(home, "token") : NULL);
    tkr_status status = TKR_OK;
    tkr_buf text = {0};
    if (path == NULL && known) {
        status = TKR_FAIL(error, NO_MEMORY, "out of memory");
    } else if (path != NULL && tkr_path_exists(path)) {
        status = tkr_file_read(&text, path, 4096, error);
        if (status == TKR_OK) {
            status = set_token(settings, text.data != NULL ? text.data : "",
                               given != NULL ? "HF_TOKEN_PATH" : "HF_HOME/token", error);
        }
    }
    tkr_buf_free(&text);
    tkr_free(path);
    tkr_free(home);
    return status;
}

tkr_status tkr_hub_settings_online(tkr_hub_settings *settings, const tkr_hub_options *options, tkr_error *error) {
    tkr_status status = set_endpoint(settings, options, error);
    if (status != TKR_OK) {
        return status;
    }
    static const char *const bundles[] = {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"};
    for (size_t i = 0; i < sizeof bundles / sizeof bundles[0] && settings->ca_bundle == NULL; i++) {
        settings->ca_bundle = tkr_env(bundles[i]);
    }
    settings->stall_s = 30.0;
    const char *timeout = tkr_env("HF_HUB_DOWNLOAD_TIMEOUT");
    if (timeout != NULL) {
        char *end = NULL;
        double seconds = strtod(timeout, &end);
        if (*end != '\0' || !(seconds >= 1.0 && seconds <= 86400.0)) {
            return TKR_FAIL(error, INVALID_ARGUMENT, "HF_HUB_DOWNLOAD_TIMEOUT \"%.40s\" is not 1 to 86400 seconds",
                            timeout);
        }
        settings->stall_s = seconds;
    }
    if (options->token != NULL) {
        return set_token(settings, options->token, "the options", error);
    }
    if (is_true(tkr_env("HF_HUB_DISABLE_IMPLICIT_TOKEN"))) {
        return TKR_OK;
    }
    if (tkr_env("HF_TOKEN") != NULL) {
        return set_token(settings, tkr_env("HF_TOKEN"), "HF_TOKEN", error);
    }
    if (tkr_env("HUGGING_FACE_HUB_TOKEN") != NULL) {
        return set_token(settings, tkr_env("HUGGING_FACE_HUB_TOKEN"), "HUGGING_FACE_HUB_TOKEN", error);
    }
    return token_from_file(settings, error);
}

void tkr_hub_settings_close(tkr_hub_settings *settings) {
    tkr_free(settings->cache_dir);
    tkr_free(settings->endpoint);
    if (settings->token != NULL) {
        memset(settings->token, 0, strlen(settings->token));
        tkr_free(settings->token);
    }
    *settings = (tkr_hub_settings){0};
}
