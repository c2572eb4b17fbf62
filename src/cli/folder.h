/* SPDX-License-Identifier: Apache-2.0 */
/* cli/folder: the pictures and documents below a folder. */
#ifndef TKR_CLI_FOLDER_H
#define TKR_CLI_FOLDER_H

#include "cli/cli.h"

typedef struct tkr_cli_files tkr_cli_files;
struct tkr_cli_files {
    char **paths; /* [n] */
    size_t n, room;
    size_t n_other;  /* files that are no pictures */
    size_t n_hidden; /* files and folders whose name begins with a dot: left out */
    tkr_arena strings;
    tkr_buf failures; /* lines "path: reason" of what could not be read */
    size_t n_failures;
    tkr_cli_files *documents; /* that documents go to, or NULL: they are no pictures */
    bool no_pictures;         /* they are left out */
};

/* Adds `path` as it is. */
tkr_status tkr_cli_files_add(tkr_cli_files *files, const char *path, tkr_error *error);
/* Adds every picture below `folder`, told by its first bytes, in the order of names; follows links to files but not to
 * folders, so that a loop of links ends. Only a folder that can't be listed at all is an error: what can't be read
 * below it is kept in `failures`. */
tkr_status tkr_cli_files_walk(tkr_cli_files *files, const char *folder, tkr_error *error);
/* The same; a folder without any picture is an error, too. */
tkr_status tkr_cli_files_pictures(tkr_cli_files *files, const char *folder, tkr_error *error);
/* Whether a file's first bytes are those of a picture; of what can't be read: yes, its reader says why. */
bool tkr_cli_is_picture(const char *path);
/* "path: reason", for what fails later. */
void tkr_cli_files_failed(tkr_cli_files *files, const char *path, const char *reason);
/* Says on standard error what could not be read, all at once, and how many files are no pictures. */
void tkr_cli_files_report(const tkr_cli_files *files, const tkr_cli_args *args);
void tkr_cli_files_free(tkr_cli_files *files);

#endif
