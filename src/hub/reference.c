/* SPDX-License-Identifier: Apache-2.0 */
/* hub/reference: aliases and the syntax of "org/name@revision". Refuses names that could mean another path or URL. */
#include <string.h>

#include "hub/hub_internal.h"

static const tkr_hub_alias aliases[] = {
#define TKR_ALIAS(alias, repository, architecture) {alias, repository, architecture},
#include "hub/aliases.def"
#undef TKR_ALIAS
};
enum { N_ALIASES = sizeof aliases / sizeof aliases[0], DISTANCE_TEXT = 64 };

const tkr_hub_alias *tkr_hub_aliases(size_t *count) {
    *count = N_ALIASES;
    return aliases;
}

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }

static bool is_alnum(char c) { return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9'); }

bool tkr_hub_is_hex(const char *text, size_t n) {
    size_t i = 0;
    while (i < n && ((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f'))) {
        i++;
    }
    return i == n && text[n] == '\0';
}

bool tkr_hub_is_commit(const char *text) { return tkr_hub_is_hex(text, 40); }

static bool equals(const char *alias, const char *text, size_t n) {
    size_t i = 0;
    while (i < n && alias[i] != '\0' && alias[i] == lower(text[i])) {
        i++;
    }
    return i == n && alias[i] == '\0';
}

/* Levenshtein distance without regard to case; SIZE_MAX when the lengths alone make it `limit` or more, and for texts
 * of more than DISTANCE_TEXT bytes. */
static size_t distance(const char *a, const char *b, size_t limit) {
    size_t n = strlen(a), m = strlen(b);
    if (n > DISTANCE_TEXT || m > DISTANCE_TEXT || (n > m ? n - m : m - n) >= limit) {
        return SIZE_MAX;
    }
    size_t row[DISTANCE_TEXT + 1];
    for (size_t j = 0; j <= m; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = diagonal + (lower(a[i - 1]) != lower(b[j - 1]));
            best = row[j] + 1 < best ? row[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[m];
}

const tkr_hub_alias *tkr_hub_closest_alias(const char *text) {
    const tkr_hub_alias *closest = NULL;
    size_t best = strlen(text) / 2 + 1; /* farther than half the word is no help */
    for (size_t i = 0; i < N_ALIASES; i++) {
        const char *name = strchr(aliases[i].repository, '/') + 1;
        size_t by_alias = distance(text, aliases[i].alias, best), by_name = distance(text, name, best);
        size_t by_id = distance(text, aliases[i].repository, best);
        size_t nearest = by_alias < by_name ? by_alias : by_name;
        nearest = by_id < nearest ? by_id : nearest;
        if (nearest < best) {
            best = nearest;
            closest = &aliases[i];
        }
    }
    return closest;
}

/* One half of an id. The hub forbids "--" and ".."; so does the folder name models--org--name. */
static bool valid_name(const char *name, size_t n) {
    if (n == 0 || n > 96 || name[0] == '.' || name[0] == '-' || name[n - 1] == '.' || name[n - 1] == '-') {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (!is_alnum(name[i]) && strchr("._-", name[i]) == NULL) {
            return false;
        }
        if (i > 0 && name[i] == name[i - 1] && (name[i] == '-' || name[i] == '.')) {
            return false;
        }
    }
    return n < 4 || memcmp(name + n - 4, ".git", 4) != 0;
}

/* A branch, tag or commit by git's rules, which also make it a safe path below refs/. */
static bool valid_revision(const char *revision) {
    size_t n = strlen(revision);
    if (n == 0 || n > TKR_HUB_REVISION_MAX || revision[n - 1] == '/' || revision[n - 1] == '.') {
        return false;
    }
    char before = '/';
    for (size_t i = 0; i < n; before = revision[i++]) {
        char c = revision[i];
        if (c <= ' ' || c >= 127 || strchr("~^:?*[\\@{}<>|\"'`$&;", c) != NULL) {
            return false;
        }
        if ((before == '/' && (c == '/' || c == '.' || c == '-')) || (before == '.' && c == '.')) {
            return false;
        }
    }
    return true;
}

static tkr_status unknown(const char *reference, const char *name, tkr_error *error) {
    const tkr_hub_alias *closest = tkr_hub_closest_alias(name);
    bool path = name[0] == '/' || name[0] == '.' || name[0] == '~';
    const char *slash = strchr(name, '/');
    if (path || (slash != NULL && (slash[1] == '\0' || strchr(slash + 1, '/') != NULL))) {
        tkr_status status = tkr_path_check_access(reference, error);
        if (status != TKR_OK) {
            return status;
        }
        return TKR_FAIL(
            error, NOT_FOUND,
            "%.160s: no such folder or file; give a model's folder, a GGUF file, an id such as %s, or an alias such "
            "as minilm",
            reference, aliases[0].repository);
    }
    if (closest != NULL) {
        return TKR_FAIL(error, NOT_FOUND,
                        "\"%.160s\" is neither a folder, an alias nor an id org/name; did you mean \"%s\" (%s)?",
                        reference, closest->alias, closest->repository);
    }
    return TKR_FAIL(error, NOT_FOUND,
                    "\"%.160s\" is neither a folder, an alias nor an id org/name (letters, digits, '.', '_', '-'); "
                    "`tkr-embed models` lists the aliases",
                    reference);
}

tkr_status tkr_hub_ref_parse(tkr_hub_ref *ref, const char *reference, tkr_error *error) {
    if (reference == NULL || reference[0] == '\0') {
        return TKR_FAIL(error, INVALID_ARGUMENT,
                        "the model reference is empty; give a folder, an id org/name or an alias");
    }
    const char *at = strchr(reference, '@');
    size_t n = at != NULL ? (size_t)(at - reference) : strlen(reference);
    char name[TKR_HUB_ID_MAX + 1];
    if (n > TKR_HUB_ID_MAX) {
        return TKR_FAIL(error, NOT_FOUND, "\"%.60s...\" is too long for an id org/name and is no folder", reference);
    }
    memcpy(name, reference, n);
    name[n] = '\0';
    const char *repository = NULL;
    for (size_t i = 0; i < N_ALIASES && repository == NULL; i++) {
        repository = equals(aliases[i].alias, name, n) ? aliases[i].repository : NULL;
    }
    if (repository == NULL) {
        const char *slash = strchr(name, '/');
        if (slash == NULL || !valid_name(name, (size_t)(slash - name)) || !valid_name(slash + 1, strlen(slash + 1))) {
            return unknown(reference, name, error);
        }
        repository = name;
    }
    const char *revision = at != NULL ? at + 1 : "main";
    if (!valid_revision(revision)) {
        return TKR_FAIL(error, INVALID_ARGUMENT,
                        "%s: \"%.100s\" is no revision; a branch, tag or commit comes behind the '@'", name, revision);
    }
    memcpy(ref->repository, repository, strlen(repository) + 1);
    memcpy(ref->revision, revision, strlen(revision) + 1);
    return TKR_OK;
}
