/* SPDX-License-Identifier: Apache-2.0 */
/* cli/folder: see folder.h. Whether a file is a picture is a guess from its first bytes; the decoder has the last word.
 */
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

static bool is_picture(const unsigned char *head, size_t n) {
    static const struct {
        size_t at, n;
        const char *bytes;
    } known[] = {
        {0, 3, "\xff\xd8\xff"}, {0, 4, "\x89PNG"},  {0, 4, "GIF8"},  {8, 4, "WEBP"},
        {0, 2, "BM"},           {0, 4, "II*\0"},    {0, 4, "MM\0*"}, {4, 8, "ftypavif"},
        {4, 8, "ftypheic"},     {4, 8, "ftypmif1"}, {0, 3, "P5\n"},  {0, 3, "P6\n"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (n >= known[i].at + known[i].n && memcmp(head + known[i].at, known[i].bytes, known[i].n) == 0) return true;
    return false;
}

/* A PDF, an archive, or text: without NULs where it doesn't begin with a mark of UTF-16. What it is in truth shows when
 * it is read. */
static bool is_document(const unsigned char *head, size_t n) {
    const size_t looked = n < HEAD ? n : HEAD;
    if (n == 0) {
        return false;
    }
    if (n > 4 && (memcmp(head, "%PDF", 4) == 0 || memcmp(head, "PK\3\4", 4) == 0)) {
        return true;
    }
    if (n > 2 && (memcmp(head, "\xFE\xFF", 2) == 0 || memcmp(head, "\xFF\xFE", 2) == 0)) {
        return true;
    }
    return memchr(head, 0, looked) == NULL;
}

bool tkr_cli_is_picture(const char *path) {
    tkr_map map = {0};
    if (tkr_map_open(&map, path, NULL) != TKR_OK) {
        return true;
    }
    const bool picture = is_picture(map.data, map.size);
    tkr_map_close(&map);
    return picture;
}

static tkr_status no_memory(tkr_error *error) { return TKR_FAIL(error, NO_MEMORY, "no memory for the list of files"); }

tkr_status tkr_cli_files_add(tkr_cli_files *files, const char *path, tkr_error *error) {
    if (files->n == files->room) {
        size_t room = files->room * 2 + 64;
        char **paths = tkr_realloc(files->paths, room * sizeof *paths);
        if (paths == NULL) {
            return no_memory(error);
        }
        files->paths = paths;
        files->room = room;
    }
    char *copy = tkr_arena_strndup(&files->strings, path, strlen(path));
    if (copy == NULL) {
        return no_memory(error);
    }
    files->paths[files->n++] = copy;
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
                     files->n_other == 1 ? " was" : "s were",
                     files->documents == NULL ? "pictures" : "pictures and no documents");
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
    bool picture = is_picture(map.data, map.size);
    bool document = !picture && w->files->documents != NULL && is_document(map.data, map.size);
    tkr_map_close(&map);
    if (document) {
        return tkr_cli_files_add(w->files->documents, path, w->error);
    }
    picture = picture && !w->files->no_pictures;
    w->files->n_other += !picture;
    return picture ? tkr_cli_files_add(w->files, path, w->error) : TKR_OK;
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
    return walk_folder(files, folder, 0, error);
}

tkr_status tkr_cli_files_pictures(tkr_cli_files *files, const char *folder, tkr_error *error) {
    tkr_status status = tkr_cli_files_walk(files, folder, error);
    if (status == TKR_OK && files->n == 0 && (files->documents == NULL || files->documents->n == 0)) {
        status = TKR_FAIL(error, NOT_FOUND, "%s: no %s in this folder (%zu other file%s, %zu hidden)", folder,
                          files->documents != NULL ? "picture or document" : "picture", files->n_other,
                          files->n_other == 1 ? "" : "s", files->n_hidden);
    }
    return status;
}

void tkr_cli_files_free(tkr_cli_files *files) {
    tkr_free(files->paths);
    tkr_arena_free(&files->strings);
    tkr_buf_free(&files->failures);
}
