/* SPDX-License-Identifier: Apache-2.0 */
/* server/auth: the keys file: a line a key, "NAME sha256:HEX scopes=embed,metrics requests=60 tokens=100000
 * created=2026-11-26T08:00:00Z"; only name and hash must be there. Blank lines and such that begin with '#' are left
 * alone. */
#ifndef TKR_SERVER_AUTH_KEYS_H
#define TKR_SERVER_AUTH_KEYS_H

#include "core/mem.h"

enum { TKR_KEY_NAME_SIZE = 64, TKR_KEY_HASH_SIZE = 32 };

typedef struct tkr_key_line {
    char name[TKR_KEY_NAME_SIZE];
    uint8_t hash[TKR_KEY_HASH_SIZE];
    unsigned scopes;
    uint64_t requests_per_minute, tokens_per_minute; /* 0: the settings' */
    char created[32];                                /* "" when it isn't said */
    size_t begin, end;                               /* bytes of the line in the file, its line end included */
} tkr_key_line;

typedef struct tkr_key_lines {
    tkr_key_line *keys; /* [n] */
    size_t n;
    tkr_buf text; /* of the whole file */
} tkr_key_lines;

/* Reads a file that nobody but its owner may write, which is this user, root, or for root `user`, whom it will become
 * (NULL: none): TKR_DENIED otherwise. */
tkr_status tkr_key_lines_read(tkr_key_lines *lines, const char *path, const char *user, tkr_error *error);
/* The same of lines->text. Two keys of one name or hash are an error. */
tkr_status tkr_key_lines_parse(tkr_key_lines *lines, const char *name, tkr_error *error);
void tkr_key_lines_free(tkr_key_lines *lines);
void tkr_key_hash(uint8_t hash[TKR_KEY_HASH_SIZE], const char *key, size_t n);

#endif
