/* SPDX-License-Identifier: Apache-2.0 */
/* cli/folder: see folder.h. What a file is is a guess from its first bytes; its decoder has the last word. */
#include "cli/folder.h"

#include <stdio.h>
#include <string.h>

enum { MAX_DEPTH = 64, FAILURES_SHOWN = 20, HEAD = 4096 };

typedef struct walk {
    tkr_cli_files *files;
    const char *folder;
    size_t depth;
    tkr_error *error;
} walk;

typedef struct magic {
    size_t at, n;
    const char *bytes;
} magic;

static bool has(const unsigned char *head, size_t n, size_t at, const char *bytes, size_t n_bytes) {
    return n >= at + n_bytes && memcmp(head + at, bytes, n_bytes) == 0;
}

static bool has_one(const unsigned char *head, size_t n, const magic *known, size_t n_known) {
    for (size_t i = 0; i < n_known; i++) {
        if (has(head, n, known[i].at, known[i].bytes, known[i].n)) {
            return true;
        }
    }
    return false;
}

/* Somewhere in the first bytes. */
static bool holds(const unsigned char *head, size_t n, const char *word) {
    const size_t looked = n < HEAD ? n : HEAD, size = strlen(word);
    for (size_t i = 0; i + size <= looked; i++) {
        if (memcmp(head + i, word, size) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_picture(const unsigned char *head, size_t n) {
    static const magic known[] = {
        {0, 3, "\xff\xd8\xff"}, {0, 4, "\x89PNG"}, {0, 4, "GIF8"},     {8, 4, "WEBP"},
        {0, 4, "II*\0"},        {0, 4, "MM\0*"},   {4, 8, "ftypavif"}, {4, 8, "ftypheic"},
        {4, 8, "ftypmif1"},     {0, 3, "P5\n"},    {0, 3, "P6\n"},
    };
    const bool bmp = has(head, n, 0, "BM", 2) && has(head, n, 6, "\0\0\0\0", 4); /* words may begin so */
    return bmp || has_one(head, n, known, sizeof known / sizeof *known);
}

/* GIF and WebP that say they are played. */
static bool is_animation(const unsigned char *head, size_t n) {
    enum { WEBP_FLAGS = 20, WEBP_ANIMATED = 2 };
    return (has(head, n, 0, "GIF8", 4) && holds(head, n, "NETSCAPE2.0")) ||
           (has(head, n, 8, "WEBPVP8X", 8) && n > WEBP_FLAGS && (head[WEBP_FLAGS] & WEBP_ANIMATED) != 0);
}

static bool is_video(const unsigned char *head, size_t n) {
    static const magic sound[] = {{4, 7, "ftypM4A"}, {4, 7, "ftypM4B"}};
    static const magic known[] = {
        {4, 4, "ftyp"}, /* MP4, MOV, 3GP */
        {4, 4, "moov"},
        {4, 4, "mdat"},
        {0, 8, "\0\0\0\x08wide"},   /* older QuickTime */
        {0, 4, "\x1A\x45\xDF\xA3"}, /* Matroska, WebM */
        {8, 4, "AVI "},
        {0, 4, "FLV\x01"},
        {0, 4, "\0\0\x01\xBA"},
        {0, 4, "\0\0\x01\xB3"},                     /* MPEG */
        {0, 8, "\x30\x26\xB2\x75\x8E\x66\xCF\x11"}, /* WMV */
        {0, 9, "YUV4MPEG2"},
        {0, 4, "DKIF"},
        {0, 4, ".RMF"},
        {0, 4, "\x06\x0E\x2B\x34"}, /* MXF */
    };
    enum { PACKET = 188 };
    const bool stream = n > 2 * PACKET && head[0] == 0x47 && head[PACKET] == 0x47 && head[2 * PACKET] == 0x47;
    return stream || (has(head, n, 0, "OggS", 4) && holds(head, n, "theora")) ||
           (has_one(head, n, known, sizeof known / sizeof *known) &&
            !has_one(head, n, sound, sizeof sound / sizeof *sound));
}

/* A PDF, an archive, an old office file, or text: without NULs where it doesn't begin with a mark of UTF-16. What it is
 * in truth shows when it is read. */
static bool is_document(const unsigned char *head, size_t n) {
    static const magic known[] = {
        {0, 4, "%PDF"}, {0, 4, "PK\3\4"}, {0, 4, "\xD0\xCF\x11\xE0"}, {0, 2, "\xFE\xFF"}, {0, 2, "\xFF\xFE"},
    };
    static const magic sound[] = {{0, 3, "ID3"}, {0, 4, "fLaC"}, {0, 4, "OggS"}, {0, 2, "\xFF\xFB"}};
    return n > 0 &&
           (has_one(head, n, known, sizeof known / sizeof *known) ||
            (memchr(head, 0, n < HEAD ? n : HEAD) == NULL && !has_one(head, n, sound, sizeof sound / sizeof *sound)));
}

/* What the first bytes look like. */
static tkr_cli_operand kind_of(const unsigned char *head, size_t n) {
    return is_animation(head, n)  ? TKR_CLI_VIDEO
           : is_picture(head, n)  ? TKR_CLI_PICTURE
           : is_video(head, n)    ? TKR_CLI_VIDEO
           : is_document(head, n) ? TKR_CLI_DOCUMENT
                                  : TKR_CLI_TEXT;
}

tkr_cli_operand tkr_cli_kind_of(const char *path) {
    tkr_map map = {0};
    if (tkr_map_open(&map, path, NULL) != TKR_OK) {
        return TKR_CLI_DOCUMENT;
    }
    const tkr_cli_operand kind = kind_of(map.data, map.size);
    tkr_map_close(&map);
    return kind;
}

/* What is wanted, in words, by `wanted`. */
static const char *const plural[] = {"pictures, videos or documents", "pictures", "videos", "documents"};
static const char *const singular[] = {"picture, video or document", "picture", "video", "document"};

static tkr_status no_memory(tkr_error *error) { return TKR_FAIL(error, NO_MEMORY, "no memory for the list of files"); }

tkr_status tkr_cli_files_add(tkr_cli_files *files, const char *path, tkr_cli_operand kind, tkr_error *error) {
    if (files->n == files->room) {
        const size_t room = files->room * 2 + 64;
        char **paths = tkr_realloc(files->paths, room * sizeof *paths);
        files->paths = paths != NULL ? paths : files->paths;
        unsigned char *kinds = tkr_realloc(files->kinds, room * sizeof *kinds);
        files->kinds = kinds != NULL ? kinds : files->kinds;
        if (paths == NULL || kinds == NULL) {
            return no_memory(error);
        }
        files->room = room;
    }
    char *copy = tkr_arena_strndup(&files->strings, path, strlen(path));
    if (copy == NULL) {
        return no_memory(error);
    }
    files->kinds[files->n] = (unsigned char)kind;
    files->paths[files->n++] = copy;
    return TKR_OK;
}

size_t tkr_cli_files_count(const tkr_cli_files *files, tkr_cli_operand kind) {
    size_t n = 0;
    for (size_t i = 0; i < files->n; i++) {
        n += files->kinds[i] == kind;
    }
    return n;
}

tkr_status tkr_cli_files_fit(tkr_cli_files *files, const tkr_cli_args *args, const tkr_model_info *info,
                             tkr_error *error) {
    const size_t n_pictures = tkr_cli_files_count(files, TKR_CLI_PICTURE);
    const size_t n_videos = tkr_cli_files_count(files, TKR_CLI_VIDEO);
    size_t n = 0;
    if (info->max_images > 0 || n_pictures + n_videos == 0) {
        return TKR_OK;
    }
    if (n_pictures + n_videos == files->n) {
        return TKR_FAIL(error, INVALID_ARGUMENT,
                        "%s reads %s only; pictures and videos need a model for them, such as "
                        "siglip",
                        info->reference, info->modalities);
    }
    for (size_t i = 0; i < files->n; i++) {
        if (files->kinds[i] == TKR_CLI_DOCUMENT) {
            files->kinds[n] = TKR_CLI_DOCUMENT;
            files->paths[n++] = files->paths[i];
        }
    }
    files->n = n;
    for (int kind = TKR_CLI_PICTURE; kind <= TKR_CLI_VIDEO; kind++) {
        const size_t left_out = kind == TKR_CLI_PICTURE ? n_pictures : n_videos;
        if (left_out > 0) {
            tkr_cli_note(args, "%zu %s%s left out: %s reads %s only", left_out, singular[kind],
                         left_out == 1 ? " was" : "s were", info->reference, info->modalities);
        }
    }
    return TKR_OK;
}

void tkr_cli_files_failed(tkr_cli_files *files, const char *path, const char *reason) {
    size_t n = strlen(path);
    files->n_failures++;
    if (files->n_failures > FAILURES_SHOWN) {
        return;
    }
    if (strncmp(reason, path, n) != 0) { /* most messages name the file already */
        tkr_buf_printf(&files->failures, "%s: ", path);
    }
    tkr_buf_printf(&files->failures, "%s\n", reason);
}

void tkr_cli_files_report(const tkr_cli_files *files, const tkr_cli_args *args) {
    const char *at = files->failures.data;
    if (files->n > 0 && files->n_other > 0) {
        tkr_cli_note(args, "%zu file%s left out: no %s, by their first bytes", files->n_other,
                     files->n_other == 1 ? " was" : "s were", plural[files->wanted]);
    }
    if (files->n_failures == 0) {
        return;
    }
    tkr_cli_note(args, "%zu file%s could not be used:", files->n_failures, files->n_failures == 1 ? "" : "s");
    while (at != NULL) {
        const char *end = strchr(at, '\n');
        if (end == NULL) {
            break;
        }
        tkr_cli_note(args, "  %.*s", (int)(end - at), at);
        at = end + 1;
    }
    if (files->n_failures > FAILURES_SHOWN) {
        tkr_cli_note(args, "  and %zu more", files->n_failures - FAILURES_SHOWN);
    }
}

static tkr_status walk_folder(tkr_cli_files *files, const char *folder, size_t depth, tkr_error *error);

static tkr_status take_file(const walk *w, const char *path) {
    tkr_map map = {0};
    tkr_error why = {0};
    if (tkr_map_open(&map, path, &why) != TKR_OK) {
        tkr_cli_files_failed(w->files, path, why.message);
        return TKR_OK;
    }
    const tkr_cli_operand kind = kind_of(map.data, map.size);
    tkr_map_close(&map);
    const bool wanted = kind != TKR_CLI_TEXT && (w->files->wanted == 0 || w->files->wanted == (uint64_t)kind);
    w->files->n_other += !wanted;
    return wanted ? tkr_cli_files_add(w->files, path, kind, w->error) : TKR_OK;
}

static tkr_status take_entry(void *user, const char *name, bool is_dir) {
    const walk *w = user;
    tkr_error why = {0};
    if (name[0] == '.') {
        w->files->n_hidden++;
        return TKR_OK;
    }
    char *path = tkr_path_join(w->folder, name);
    if (path == NULL) {
        return no_memory(w->error);
    }
    tkr_status status = TKR_OK;
    char *link = is_dir ? tkr_path_link_target(path) : NULL;
    if (!is_dir) {
        status = take_file(w, path);
    } else if (link == NULL && w->depth + 1 < MAX_DEPTH) {
        status = walk_folder(w->files, path, w->depth + 1, &why);
        if (status != TKR_OK && status != TKR_NO_MEMORY) {
            tkr_cli_files_failed(w->files, path, why.message);
            status = TKR_OK;
        } else if (status != TKR_OK) {
            status = no_memory(w->error);
        }
    }
    tkr_free(link);
    tkr_free(path);
    return status;
}

static tkr_status walk_folder(tkr_cli_files *files, const char *folder, size_t depth, tkr_error *error) {
    walk w = {.files = files, .folder = folder, .depth = depth, .error = error};
    return tkr_dir_each(folder, take_entry, &w, error);
}

tkr_status tkr_cli_files_walk(tkr_cli_files *files, const char *folder, tkr_error *error) {
    tkr_status status = walk_folder(files, folder, 0, error);
    if (status == TKR_OK && files->n == 0) {
        status = TKR_FAIL(error, NOT_FOUND, "%s: no %s in this folder (%zu other file%s, %zu hidden)", folder,
                          singular[files->wanted], files->n_other, files->n_other == 1 ? "" : "s", files->n_hidden);
    }
    return status;
}

void tkr_cli_files_free(tkr_cli_files *files) {
    tkr_free(files->paths);
    tkr_free(files->kinds);
    tkr_arena_free(&files->strings);
    tkr_buf_free(&files->failures);
}
