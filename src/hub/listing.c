/* SPDX-License-Identifier: Apache-2.0 */
/* hub/listing: what a repository holds, as the API tells it, and which of it is wanted. Trusts no name, size or hash.
 */
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/utf8.h"
#include "hub/hub_internal.h"

#define MAX_FILE_BYTES ((int64_t)1 << 40) /* 1 TiB: no checkpoint file is near it */
enum { MAX_PATH = 512, MAX_FILES = 20000, MAX_SMALL_BYTES = 64 << 20 };

bool tkr_hub_safe_path(const char *path) {
    size_t n = strlen(path), start = 0;
    if (n == 0 || n > MAX_PATH || tkr_utf8_valid_prefix(path, n) != n) {
        return false;
    }
    for (size_t i = 0; i <= n; i++) {
        unsigned char c = (unsigned char)path[i];
        if (c == '/' || c == '\0') {
            size_t length = i - start;
            if (length == 0 || (length == 1 && path[start] == '.') ||
                (length == 2 && path[start] == '.' && path[start + 1] == '.')) {
                return false;
            }
            start = i + 1;
        } else if (c < ' ' || c == 127 || c == '\\') {
            return false;
        }
    }
    return true;
}

/* Size and hash: an LFS file's own, else the git blob's. */
static tkr_status read_file(tkr_hub_file *file, const json_t *entry, const char *what, tkr_error *error) {
    const json_t *lfs = json_object_get(entry, "lfs");
    const char *hash = NULL;
    int64_t size = -1;
    file->lfs = json_is_object(lfs);
    const json_t *from = file->lfs ? lfs : entry;
    tkr_status status = tkr_json_get_string(&hash, from, file->lfs ? "sha256" : "blobId", true, what, error);
    if (status == TKR_OK) {
        status = tkr_json_get_int(&size, from, "size", 0, MAX_FILE_BYTES, true, what, error);
    }
    if (status != TKR_OK) {
        return tkr_error_prefix(error, status, "file \"%.120s\"", file->path);
    }
    size_t digits = file->lfs ? 64 : 40;
    if (!tkr_hub_is_hex(hash, digits)) {
        return TKR_FAIL(error, FORMAT, "%s: file \"%.120s\" has hash \"%.80s\", expected %zu hexadecimal digits", what,
                        file->path, hash, digits);
    }
    memcpy(file->hash, hash, digits + 1);
    file->size = (uint64_t)size;
    return TKR_OK;
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* Part of a path behind its last slash. */
static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* Folders that hold other programs' forms of the same model. */
static bool foreign_folder(const char *path) {
    static const char *const names[] = {"onnx/",   "openvino/", "coreml/", "gguf/",   "tf/",         "flax/",
                                        "assets/", "original/", "runs/",   "images/", "checkpoint-", "eval/",
                                        "logs/",   "results/",  "mlx/",    "litert/", "tflite/",     "torchscript/"};
    if (path[0] == '.') {
        return true;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strncmp(path, names[i], strlen(names[i])) == 0) {
            return true;
        }
    }
    return false;
}

/* Configuration and tokenizer files. */
static bool is_small_file(const tkr_hub_file *file) {
    static const char *const exact[] = {"modules.json",
                                        "tokenizer.json",
                                        "special_tokens_map.json",
                                        "added_tokens.json",
                                        "vocab.json",
                                        "vocab.txt",
                                        "merges.txt",
                                        "sentencepiece.bpe.model",
                                        "tokenizer.model",
                                        "spiece.model",
                                        "chat_template.json",
                                        "chat_template.jinja",
                                        "additional_chat_templates.json"};
    const char *name = base_name(file->path);
    if (file->size > MAX_SMALL_BYTES) {
        return false;
    }
    if (ends_with(name, ".json") && (strncmp(name, "config", 6) == 0 || ends_with(name, "_config.json"))) {
        return true;
    }
    for (size_t i = 0; i < sizeof exact / sizeof exact[0]; i++) {
        if (strcmp(name, exact[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* How a folder's weights may be stored; the first that is there counts. */
static const struct {
    const char *single, *index, *shard; /* a shard's name with 0 for any digit */
} forms[] = {
    {"model.safetensors", "model.safetensors.index.json", "model-00000-of-00000.safetensors"},
    {"pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-00000-of-00000.bin"},
};
enum { N_FORMS = sizeof forms / sizeof forms[0] };

static bool is_shard(const char *name, const char *pattern) {
    size_t i = 0;
    for (; pattern[i] != '\0' && name[i] != '\0'; i++) {
        bool digit = name[i] >= '0' && name[i] <= '9';
        if (pattern[i] == '0' ? !digit : name[i] != pattern[i]) {
            return false;
        }
    }
    return pattern[i] == name[i];
}

typedef struct folder_kind {
    int form; /* of its weights; N_FORMS: none of ours */
    bool single;
} folder_kind;

/* What the folder of `path` holds: one level below the root at most, the root too. */
static folder_kind look_around(const tkr_hub_listing *listing, const char *path) {
    folder_kind kind = {N_FORMS, false};
    size_t n = (size_t)(base_name(path) - path);
    for (int form = 0; form < N_FORMS && kind.form == N_FORMS; form++) {
        for (size_t i = 0; i < listing->n; i++) {
            const char *other = listing->files[i].path;
            if (strncmp(other, path, n) != 0) {
                continue;
            }
            bool single = strcmp(other + n, forms[form].single) == 0;
            if (single || strcmp(other + n, forms[form].index) == 0) {
                kind.form = form;
                kind.single |= single;
            }
        }
    }
    return kind;
}

static bool is_weight_file(const tkr_hub_listing *listing, const tkr_hub_file *file) {
    const char *name = base_name(file->path);
    bool safetensors = ends_with(name, ".safetensors"), index = ends_with(name, ".index.json");
    if (!safetensors && !index && !ends_with(name, ".bin")) {
        return false;
    }
    if (strcmp(name, "adapter_model.safetensors") == 0) {
        return true;
    }
    folder_kind kind = look_around(listing, file->path);
    if (kind.form == N_FORMS) {
        return safetensors; /* under other names: the message at loading will tell */
    }
    if (kind.single) {
        return strcmp(name, forms[kind.form].single) == 0;
    }
    return strcmp(name, forms[kind.form].index) == 0 || is_shard(name, forms[kind.form].shard);
}

static bool is_wanted(const tkr_hub_listing *listing, const tkr_hub_file *file, bool tokenizer_only) {
    const char *slash = strchr(file->path, '/');
    if (foreign_folder(file->path) || (slash != NULL && strchr(slash + 1, '/') != NULL)) {
        return false;
    }
    return is_small_file(file) || (!tokenizer_only && is_weight_file(listing, file));
}

static int by_size(const void *a, const void *b) {
    const tkr_hub_file *left = a, *right = b;
    if (left->size != right->size) {
        return left->size < right->size ? -1 : 1;
    }
    return strcmp(left->path, right->path);
}

tkr_status tkr_hub_listing_select(tkr_hub_listing *listing, bool tokenizer_only, const char *what, tkr_error *error) {
    size_t n = 0, n_weights = 0;
    const char *other = NULL;
    bool *wanted = tkr_calloc(listing->n + 1, sizeof *wanted);
    if (wanted == NULL) {
        return TKR_FAIL(error, NO_MEMORY, "out of memory");
    }
    for (size_t i = 0; i < listing->n; i++) {
        const tkr_hub_file *file = &listing->files[i];
        wanted[i] = is_wanted(listing, file, tokenizer_only);
        n_weights += wanted[i] && (ends_with(file->path, ".safetensors") || ends_with(file->path, ".bin"));
        if (ends_with(file->path, ".bin") || ends_with(file->path, ".gguf") || ends_with(file->path, ".onnx")) {
            other = other == NULL ? file->path : other;
        }
    }
    for (size_t i = 0; i < listing->n; i++) { /* the choice above looks at all: move only now */
        if (wanted[i]) {
            listing->files[n++] = listing->files[i];
        }
    }
    listing->n = n;
    tkr_free(wanted);
    if (!tokenizer_only && n_weights == 0) {
        return TKR_FAIL(error, UNSUPPORTED,
                        "%s has neither *.safetensors nor pytorch_model.bin%s%.80s%s; choose a revision that has them "
                        "or convert it",
                        what, other != NULL ? " (only " : "", other != NULL ? other : "", other != NULL ? ")" : "");
    }
    if (n == 0) {
        return TKR_FAIL(error, UNSUPPORTED, "%s has no configuration or tokenizer files", what);
    }
    qsort(listing->files, n, sizeof *listing->files, by_size);
    return TKR_OK;
}

tkr_status tkr_hub_listing_parse(tkr_hub_listing *listing, const char *text, size_t size, const char *what,
                                 tkr_error *error) {
    json_t *root = NULL;
    const char *sha = NULL;
    *listing = (tkr_hub_listing){0};
    tkr_status status = tkr_json_parse(&root, text, size, what, error);
    if (status == TKR_OK) {
        status = tkr_json_get_string(&sha, root, "sha", true, what, error);
    }
    if (status != TKR_OK) {
        goto fail;
    }
    json_t *siblings = json_object_get(root, "siblings");
    if (!tkr_hub_is_commit(sha) || !json_is_array(siblings)) {
        status =
            TKR_FAIL(error, FORMAT, "%s: expected \"sha\" (40 hexadecimal digits) and \"siblings\" (an array)", what);
        goto fail;
    }
    memcpy(listing->commit, sha, 41);
    size_t n = json_array_size(siblings);
    if (n > MAX_FILES) {
        status = TKR_FAIL(error, LIMIT, "%s: %zu files, expected at most %d", what, n, (int)MAX_FILES);
        goto fail;
    }
    listing->files = tkr_calloc(n + 1, sizeof *listing->files);
    if (listing->files == NULL) {
        status = TKR_FAIL(error, NO_MEMORY, "out of memory");
        goto fail;
    }
    for (size_t i = 0; i < n && status == TKR_OK; i++) {
        const json_t *entry = json_array_get(siblings, i);
        const json_t *name = json_object_get(entry, "rfilename");
        const char *path = json_string_value(name);
        if (path == NULL || strlen(path) != json_string_length(name) || !tkr_hub_safe_path(path)) {
            status = TKR_FAIL(error, FORMAT,
                              "%s: file name \"%.120s\" is unsafe (absolute, \"..\", '\\' or control character)", what,
                              path != NULL ? path : "");
            break;
        }
        tkr_hub_file *file = &listing->files[listing->n];
        file->path = tkr_arena_strndup(&listing->arena, path, strlen(path));
        status = file->path != NULL ? read_file(file, entry, what, error) : TKR_FAIL(error, NO_MEMORY, "out of memory");
        listing->n++;
    }
fail:
    json_decref(root);
    if (status != TKR_OK) {
        tkr_hub_listing_free(listing);
    }
    return status;
}

void tkr_hub_listing_free(tkr_hub_listing *listing) {
    tkr_arena_free(&listing->arena);
    tkr_free(listing->files);
    *listing = (tkr_hub_listing){0};
}
