/* SPDX-License-Identifier: Apache-2.0 */
/* server/auth: reads and changes the keys file. Never writes a key, only its hash. */
#include "server/auth_keys.h"

#include <nettle/sha2.h>
#include <stdlib.h>
#include <string.h>

#include "core/fsops.h"
#include "core/near.h"
#include "core/service.h"
#include "core/sync.h"
#include "server/auth.h"

enum { MAX_FILE = 4 << 20, MAX_KEYS = 2000, RANDOM_LETTERS = 40, LOCK_TRIES = 100 };

static const struct {
    const char *word;
    unsigned bit;
} scope_words[] = {{"embed", TKR_SCOPE_EMBED}, {"metrics", TKR_SCOPE_METRICS}, {"admin", TKR_SCOPE_ADMIN}};
enum { N_SCOPES = sizeof scope_words / sizeof *scope_words };

void tkr_key_hash(uint8_t hash[TKR_KEY_HASH_SIZE], const char *key, size_t n) {
    struct sha256_ctx context;
    sha256_init(&context);
    sha256_update(&context, n, (const uint8_t *)key);
    sha256_digest(&context, TKR_KEY_HASH_SIZE, hash);
}

bool tkr_auth_parse_scopes(unsigned *scopes, const char *text) {
    unsigned bits = 0;
    while (*text != '\0') {
        const size_t n = strcspn(text, ",");
        size_t i = 0;
        while (i < N_SCOPES && (strlen(scope_words[i].word) != n || memcmp(scope_words[i].word, text, n) != 0)) i++;
        if (i == N_SCOPES) return false;
        bits |= scope_words[i].bit;
        text += n + (text[n] == ',');
    }
    *scopes = bits;
    return bits != 0;
}

void tkr_auth_scopes_text(char out[64], unsigned scopes) {
    size_t used = 0;
    for (size_t i = 0; i < N_SCOPES; i++) {
        if ((scopes & scope_words[i].bit) == 0) continue;
        const size_t n = strlen(scope_words[i].word);
        if (used > 0) out[used++] = ',';
        memcpy(out + used, scope_words[i].word, n);
        used += n;
    }
    out[used] = '\0';
}

/* ---- reading ---- */

static bool is_name(const char *text) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@+-";
    const size_t n = strlen(text);
    return n > 0 && n < TKR_KEY_NAME_SIZE && text[0] != '-' && strspn(text, letters) == n;
}

static bool read_hash(uint8_t hash[TKR_KEY_HASH_SIZE], const char *text) {
    static const char digits[] = "0123456789abcdef";
    if (strncmp(text, "sha256:", 7) != 0 || strlen(text + 7) != 2 * TKR_KEY_HASH_SIZE) return false;
    for (size_t i = 0; i < TKR_KEY_HASH_SIZE; i++) {
        const char *high = strchr(digits, text[7 + 2 * i]), *low = strchr(digits, text[8 + 2 * i]);
        if (high == NULL || low == NULL) return false;
        hash[i] = (uint8_t)((high - digits) << 4 | (low - digits));
    }
    return true;
}

static bool read_limit(uint64_t *limit, const char *text) {
    double real = 0;
    const tkr_value_rule rule = {TKR_VALUE_COUNT, NULL, 0, 1e12};
    return tkr_value_read(limit, &real, &rule, text, "", NULL) == TKR_OK;
}

/* One "name=value" behind the hash. */
static bool read_property(tkr_key_line *key, const char *word) {
    if (strncmp(word, "scopes=", 7) == 0) return tkr_auth_parse_scopes(&key->scopes, word + 7);
    if (strncmp(word, "requests=", 9) == 0) return read_limit(&key->requests_per_minute, word + 9);
    if (strncmp(word, "tokens=", 7) == 0) return read_limit(&key->tokens_per_minute, word + 7);
    if (strncmp(word, "created=", 8) != 0 || strlen(word + 8) >= sizeof key->created) return false;
    memcpy(key->created, word + 8, strlen(word + 8) + 1);
    return true;
}

/* Cuts the next word off *at; NULL at the end. */
static char *next_word(char **at) {
    char *word = *at + strspn(*at, " \t\r");
    if (*word == '\0') return NULL;
    char *end = word + strcspn(word, " \t\r");
    *at = *end != '\0' ? end + 1 : end;
    *end = '\0';
    return word;
}

/* A line, which is changed; *is_key stays false for a blank one and a comment. */
static tkr_status read_line(tkr_key_line *key, bool *is_key, char *line, const char *where, size_t number,
                            tkr_error *error) {
    char *at = line, *name = next_word(&at);
    if (name == NULL || name[0] == '#') return TKR_OK;
    if (!is_name(name)) {
        return TKR_FAIL(error, FORMAT,
                        "%s:%zu: the name of a key is \"%s\", expected 1 to 63 letters, digits and \"._@+-\"", where,
                        number, name);
    }
    const char *hash = next_word(&at);
    if (hash == NULL) { /* not what is there: somebody may have put the key itself */
        return TKR_FAIL(error, FORMAT,
                        "%s:%zu: one word only, expected NAME sha256:... as `tkr-embed key new` prints it", where,
                        number);
    }
    memcpy(key->name, name, strlen(name) + 1);
    key->scopes = TKR_SCOPE_EMBED;
    if (!read_hash(key->hash, hash)) {
        return TKR_FAIL(error, FORMAT, "%s:%zu: key \"%s\" has no hash \"sha256:...\" of 64 hexadecimal digits", where,
                        number, name); /* not what is there: somebody may have put the key itself */
    }
    for (const char *word; (word = next_word(&at)) != NULL;) {
        if (!read_property(key, word)) {
            return TKR_FAIL(
                error, FORMAT,
                "%s:%zu: key \"%s\" has \"%s\", expected scopes=embed,metrics,admin, requests=N, tokens=N or "
                "created=TIME",
                where, number, name, word);
        }
    }
    *is_key = true;
    return TKR_OK;
}

static tkr_status check_unique(const tkr_key_lines *lines, const tkr_key_line *key, const char *where, size_t number,
                               tkr_error *error) {
    for (size_t i = 0; i < lines->n; i++) {
        const tkr_key_line *other = &lines->keys[i];
        if (strcmp(other->name, key->name) == 0 || memcmp(other->hash, key->hash, sizeof key->hash) == 0) {
            return TKR_FAIL(error, FORMAT, "%s:%zu: key \"%s\" has the name or the hash of another line", where, number,
                            key->name);
        }
    }
    return TKR_OK;
}

tkr_status tkr_key_lines_parse(tkr_key_lines *lines, const char *name, tkr_error *error) {
    const char *text = lines->text.data != NULL ? lines->text.data : "";
    const size_t size = lines->text.size;
    size_t room = 0, number = 0;
    if (memchr(text, '\0', size) != NULL) return TKR_FAIL(error, FORMAT, "%s: holds a NUL character", name);
    for (size_t begin = 0; begin < size;) {
        const char *end = memchr(text + begin, '\n', size - begin);
        const size_t n = end != NULL ? (size_t)(end - text) - begin : size - begin;
        const size_t next = begin + n + (end != NULL);
        tkr_key_line key = {.begin = begin, .end = next};
        bool is_key = false;
        char *line = tkr_strndup(text + begin, n);
        if (line == NULL) return TKR_FAIL(error, NO_MEMORY, "%s: out of memory", name);
        tkr_status status = read_line(&key, &is_key, line, name, ++number, error);
        tkr_free(line);
        if (status == TKR_OK && is_key) status = check_unique(lines, &key, name, number, error);
        if (status != TKR_OK) return status;
        if (is_key && lines->n == MAX_KEYS) return TKR_FAIL(error, LIMIT, "%s: more than %d keys", name, MAX_KEYS);
        if (is_key && lines->n == room) {
            room = room > 0 ? 2 * room : 8;
            tkr_key_line *grown = tkr_realloc(lines->keys, room * sizeof *grown);
            if (grown == NULL) return TKR_FAIL(error, NO_MEMORY, "%s: out of memory", name);
            lines->keys = grown;
        }
        if (is_key) lines->keys[lines->n++] = key;
        begin = next;
    }
    return TKR_OK;
}

tkr_status tkr_key_lines_read(tkr_key_lines *lines, const char *path, const char *user, tkr_error *error) {
    tkr_file_access access;
    tkr_status status = tkr_fs_access(&access, path, error);
    if (status == TKR_OK && (access.mode & 022) != 0) {
        status = TKR_FAIL(error, DENIED, "%s: others may write this keys file (mode %o); chmod 600 makes it safe", path,
                          access.mode);
    } else if (status == TKR_OK && !access.trusted && (user == NULL || !tkr_user_owns(user, path))) {
        status = TKR_FAIL(error, DENIED, "%s: this keys file belongs to another user; chown root makes it safe", path);
    }
    if (status == TKR_OK) status = tkr_file_read(&lines->text, path, MAX_FILE, error);
    if (status == TKR_OK) status = tkr_key_lines_parse(lines, path, error);
    if (status != TKR_OK) tkr_key_lines_free(lines);
    return status;
}

void tkr_key_lines_free(tkr_key_lines *lines) {
    tkr_free(lines->keys);
    tkr_buf_free(&lines->text);
    *lines = (tkr_key_lines){0};
}

/* ---- changing ---- */

/* Locks a file that is there against a second `tkr-embed key`; TKR_OK without a lock when it isn't. */
static tkr_status lock_file(tkr_fs_lock **lock, const char *path, tkr_error *error) {
    tkr_status status = TKR_OK;
    if (!tkr_path_exists(path)) return TKR_OK;
    for (int i = 0; i < LOCK_TRIES; i++) {
        status = tkr_fs_lock_try(lock, path, error);
        if (status != TKR_BUSY) return status;
        tkr_sleep(0.02);
    }
    return status;
}

/* A file that is there keeps its mode and owner, so that the server's user can go on reading it. */
static tkr_status write_file(const char *path, const tkr_buf *text, tkr_error *error) {
    if (text->failed) return TKR_FAIL(error, NO_MEMORY, "%s: out of memory", path);
    return tkr_path_exists(path) ? tkr_file_write_atomic(path, text->data, text->size, error)
                                 : tkr_file_write_private(path, text->data, text->size, error);
}

/* "tkr_" and letters that nobody can guess: 40 of 62 are 238 bits. */
static bool make_key(char key[64]) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    const unsigned n_letters = sizeof letters - 1, fair = 256 / n_letters * n_letters;
    size_t used = 4;
    memcpy(key, "tkr_", 4);
    while (used < 4 + RANDOM_LETTERS) {
        unsigned char bytes[64];
        if (!tkr_random_bytes(bytes, sizeof bytes)) return false;
        for (size_t i = 0; i < sizeof bytes && used < 4 + RANDOM_LETTERS; i++)
            if (bytes[i] < fair) key[used++] = letters[bytes[i] % n_letters];
    }
    key[used] = '\0';
    return true;
}

static void put_line(tkr_buf *out, const char *key, const tkr_key_request *request) {
    uint8_t hash[TKR_KEY_HASH_SIZE];
    char scopes[64], now[25];
    tkr_key_hash(hash, key, strlen(key));
    tkr_auth_scopes_text(scopes, request->scopes);
    tkr_wall_clock_text(now, tkr_wall_clock());
    if (out->size == 0) {
        tkr_buf_printf(out, "# Keys of tkr-embed: name, hash, scopes, limits a minute. `tkr-embed key` writes them.\n");
    } else if (out->data[out->size - 1] != '\n') {
        tkr_buf_putc(out, '\n');
    }
    tkr_buf_printf(out, "%s sha256:", request->name);
    for (size_t i = 0; i < sizeof hash; i++) tkr_buf_printf(out, "%02x", hash[i]);
    tkr_buf_printf(out, " scopes=%s", scopes);
    if (request->requests_per_minute > 0) {
        tkr_buf_printf(out, " requests=%llu", (unsigned long long)request->requests_per_minute);
    }
    if (request->tokens_per_minute > 0) {
        tkr_buf_printf(out, " tokens=%llu", (unsigned long long)request->tokens_per_minute);
    }
    tkr_buf_printf(out, " created=%.19sZ\n", now);
}

static const tkr_key_line *find_key(const tkr_key_lines *lines, const char *name) {
    for (size_t i = 0; i < lines->n; i++)
        if (strcmp(lines->keys[i].name, name) == 0) return &lines->keys[i];
    return NULL;
}

tkr_status tkr_auth_new_key(char key[64], const tkr_key_request *request, tkr_error *error) {
    tkr_key_lines lines = {0};
    tkr_fs_lock *lock = NULL;
    if (!is_name(request->name)) {
        return TKR_FAIL(error, INVALID_ARGUMENT,
                        "the name of a key is \"%s\", expected 1 to 63 letters, digits and \"._@+-\"", request->name);
    }
    tkr_status status = lock_file(&lock, request->file, error);
    if (status == TKR_OK && lock != NULL) status = tkr_key_lines_read(&lines, request->file, NULL, error);
    if (status == TKR_OK && find_key(&lines, request->name) != NULL) {
        status =
            TKR_FAIL(error, INVALID_ARGUMENT, "%s has a key \"%s\" already; revoke it first or choose another name",
                     request->file, request->name);
    }
    if (status == TKR_OK && !make_key(key)) status = TKR_FAIL(error, IO, "the system gives no random numbers");
    if (status == TKR_OK) {
        put_line(&lines.text, key, request);
        status = write_file(request->file, &lines.text, error);
    }
    tkr_key_lines_free(&lines);
    tkr_fs_unlock(&lock);
    return status;
}

tkr_status tkr_auth_each_key(const char *file, void (*fn)(void *user, const tkr_key_request *key), void *user,
                             tkr_error *error) {
    tkr_key_lines lines = {0};
    const tkr_status status = tkr_key_lines_read(&lines, file, NULL, error);
    for (size_t i = 0; i < lines.n; i++) {
        const tkr_key_line *line = &lines.keys[i];
        const tkr_key_request key = {
            file, line->name, line->scopes, line->requests_per_minute, line->tokens_per_minute, line->created};
        fn(user, &key);
    }
    tkr_key_lines_free(&lines);
    return status;
}

static tkr_status no_such_key(const tkr_key_lines *lines, const char *file, const char *name, tkr_error *error) {
    const char **words = tkr_calloc(lines->n + 1, sizeof *words);
    tkr_buf names = {0};
    for (size_t i = 0; i < lines->n; i++) {
        if (words != NULL) words[i] = lines->keys[i].name;
        if (i < 20) tkr_buf_printf(&names, "%s%s", i > 0 ? ", " : "", lines->keys[i].name);
    }
    const char *near = words != NULL ? tkr_nearest(name, words) : NULL;
    const tkr_status status =
        near != NULL ? TKR_FAIL(error, NOT_FOUND, "%s has no key \"%s\", did you mean \"%s\"?", file, name, near)
                     : TKR_FAIL(error, NOT_FOUND, "%s has no key \"%s\"; it has %s", file, name,
                                lines->n == 0 || names.failed ? "none" : names.data);
    tkr_buf_free(&names);
    tkr_free(words);
    return status;
}

tkr_status tkr_auth_revoke_key(const char *file, const char *name, tkr_error *error) {
    tkr_key_lines lines = {0};
    tkr_fs_lock *lock = NULL;
    tkr_status status = lock_file(&lock, file, error);
    if (status == TKR_OK) status = tkr_key_lines_read(&lines, file, NULL, error);
    if (status == TKR_OK) {
        const tkr_key_line *line = find_key(&lines, name);
        if (line != NULL) {
            tkr_buf *text = &lines.text;
            memmove(text->data + line->begin, text->data + line->end, text->size - line->end);
            text->size -= line->end - line->begin;
            status = write_file(file, text, error);
        } else {
            status = no_such_key(&lines, file, name, error);
        }
    }
    tkr_key_lines_free(&lines);
    tkr_fs_unlock(&lock);
    return status;
}
