/* SPDX-License-Identifier: Apache-2.0 */
/* cli/folder: the pictures, videos and documents below a folder. */
#ifndef TKR_CLI_FOLDER_H
#define TKR_CLI_FOLDER_H

#include "cli/cli.h"

typedef struct tkr_cli_files {
    char **paths;         /* [n] */
    unsigned char *kinds; /* [n] tkr_cli_operand: PICTURE, VIDEO or DOCUMENT */
    size_t n, room;
    uint64_t wanted; /* what is taken from a folder, as in --modality: 0 all, 1 pictures, 2 videos, 3 documents */
    size_t n_other;  /* files that are nothing wanted */
    size_t n_hidden; /* files and folders whose name begins with a dot: left out */
    tkr_arena strings;
    tkr_buf failures; /* lines "path: reason" of what could not be read */
    size_t n_failures;
} tkr_cli_files;

/* What a file is, by its first bytes; TKR_CLI_TEXT: none of these. Of what can't be opened a document, which any model
 * takes: its reader says why. */
tkr_cli_operand tkr_cli_kind_of(const char *path);
/* Adds `path` as it is. */
tkr_status tkr_cli_files_add(tkr_cli_files *files, const char *path, tkr_cli_operand kind, tkr_error *error);
/* Adds every wanted file below `folder`, told by its first bytes, in the order of names; follows links to files but not
 * to folders, so that a loop of links ends. A folder that can't be listed at all, or has nothing wanted, is an error:
 * what can't be read below it is kept in `failures`. */
tkr_status tkr_cli_files_walk(tkr_cli_files *files, const char *folder, tkr_error *error);
/* Leaves out, with a note, what the model can't read. An error where nothing is left of something. */
tkr_status tkr_cli_files_fit(tkr_cli_files *files, const tkr_cli_args *args, const tkr_model_info *info,
                             tkr_error *error);
size_t tkr_cli_files_count(const tkr_cli_files *files, tkr_cli_operand kind);
/* "path: reason", for what fails later. */
void tkr_cli_files_failed(tkr_cli_files *files, const char *path, const char *reason);
/* Says on standard error what could not be read, all at once, and how many files are nothing wanted. */
void tkr_cli_files_report(const tkr_cli_files *files, const tkr_cli_args *args);
void tkr_cli_files_free(tkr_cli_files *files);

#endif
