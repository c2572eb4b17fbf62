/* SPDX-License-Identifier: Apache-2.0 */
/* cli/stream: texts in, in blocks; results out, in order; a progress bar beside it. */
#ifndef TKR_CLI_STREAM_H
#define TKR_CLI_STREAM_H

#include "cli/cli.h"
#include "cli/folder.h"

/* ---- input.c ---- */
typedef struct tkr_cli_item {
    tkr_input input; /* pointers into the block */
    size_t index;    /* among all items, from 0 */
    uint64_t line;   /* of the input, from 1; for TEXT arguments their number */
    const char *id;  /* JSON text of the id, [n_id]; NULL: none */
    size_t n_id;
    tkr_status status; /* not TKR_OK: the line is broken */
    const char *message;
    const char *fields; /* JSON members that its row has besides, '"name":value,...'; NULL: none */
    const char *label;  /* what tables show: the text, or the pictures' names; [n_label] */
    size_t n_label;
} tkr_cli_item;

typedef struct tkr_cli_block {
    tkr_cli_item *items; /* [n] */
    size_t n, room;
    tkr_arena strings;
    size_t bytes; /* of the texts */
} tkr_cli_block;

/* What the command line says of videos, and where the one at hand stands. */
typedef struct tkr_cli_videos {
    size_t max_frames;
    double fps, segment_s; /* 0: not given */
    tkr_video_pooling pooling;
    tkr_model *model;     /* that tells how long a video is; for segments, set by the command before it reads */
    double at_s, seconds; /* of the operand at hand, where seconds isn't 0 */
} tkr_cli_videos;

typedef struct tkr_cli_source {
    const char *name;         /* for messages: the path, "standard input", or NULL for TEXT arguments */
    tkr_lines *lines;         /* NULL: TEXT arguments */
    const tkr_cli_args *args; /* of TEXT arguments and pictures */
    char *folder;             /* that paths in JSON lines are relative to; NULL: as they are */
    size_t n_operands, next_operand, next_index;
    size_t min_pixels; /* of inputs with pictures that say nothing else */
    tkr_cli_videos videos;
    tkr_cli_files files; /* of --input-dir, in the place of operands */
    bool jsonl, end;
    tkr_error failure; /* of reading itself, reported once the lines before it are through */
} tkr_cli_source;

/* Opens what the command line says. TKR_INVALID_ARGUMENT is a usage error. */
tkr_status tkr_cli_source_open(tkr_cli_source *source, const tkr_cli_args *args, tkr_error *error);
/* Fills an item with one JSON line; strings go into the block. TKR_NO_MEMORY, or what is wrong with the line. */
tkr_status tkr_cli_parse_item(tkr_cli_block *block, tkr_cli_item *item, const tkr_cli_source *source, const char *line,
                              size_t size, tkr_error *error);
/* Whether a picture is named by a URL: data, http or https. */
bool tkr_cli_is_url(const char *text, size_t size);
/* Fills a part with a picture: a path, a URL or base64 of a known format; `folder` goes before relative paths (NULL:
 * none).
 */
tkr_status tkr_cli_fill_picture(tkr_part *part, tkr_cli_block *block, const char *text, size_t size, const char *folder,
                                tkr_error *error);
/* Reads --max-frames, --fps, --video-pooling, --segment. TKR_INVALID_ARGUMENT is a usage error. */
tkr_status tkr_cli_videos_open(tkr_cli_videos *videos, const tkr_cli_args *args, tkr_error *error);
/* Puts what the options say into a video's part. */
void tkr_cli_videos_fill(tkr_part *part, const tkr_cli_videos *videos);
/* The next segment of the video, or the whole of it. *done: it was the last. A video that can't be opened: its status.
 */
tkr_status tkr_cli_videos_next(tkr_part *part, bool *done, tkr_cli_videos *videos, tkr_error *error);
/* Reads up to max_items texts or about max_bytes, fewer when the input is slow, into the emptied block. Broken lines
 * are items with a status. block->n is 0 at the end. TKR_CANCELLED when a signal came while waiting. */
tkr_status tkr_cli_source_read(tkr_cli_block *block, tkr_cli_source *source, size_t max_items, size_t max_bytes,
                               tkr_error *error);
void tkr_cli_source_close(tkr_cli_source *source);
void tkr_cli_block_free(tkr_cli_block *block);
/* "texts.txt:12: message" on standard error; of a folder's file it is kept for tkr_cli_files_report. */
void tkr_cli_item_report(tkr_cli_source *source, const tkr_cli_item *item, const char *message);

/* ---- output.c ---- */
typedef enum tkr_cli_format {
    TKR_CLI_JSON,
    TKR_CLI_JSONL,
    TKR_CLI_NPY,
    TKR_CLI_F32
} tkr_cli_format; /* as in options.def */

typedef struct tkr_cli_writer tkr_cli_writer;
/* Returns a writer for rows of info->dimensions, or `dimensions` when that isn't 0. `all_rows`: an input may have
 * several, in "embeddings". */
tkr_status tkr_cli_writer_open(tkr_cli_writer **writer, const char *path, tkr_cli_format format, bool all_rows,
                               const tkr_model_info *info, size_t dimensions, tkr_error *error);
tkr_status tkr_cli_writer_row(tkr_cli_writer *writer, const tkr_cli_item *item, const tkr_result_item *row,
                              tkr_error *error);
/* The place of an item without a row; nothing in npy and f32. */
tkr_status tkr_cli_writer_failed(tkr_cli_writer *writer, const tkr_cli_item *item, const char *message,
                                 tkr_error *error);
/* Hands everything to the operating system; an npy file states the rows that it has from here on. */
tkr_status tkr_cli_writer_sync(tkr_cli_writer *writer, tkr_error *error);
/* Ends the document (also after an interruption: what is there is valid) and frees the writer. Accepts NULL. */
tkr_status tkr_cli_writer_close(tkr_cli_writer **writer, tkr_error *error);

/* ---- documents.c ---- */
typedef struct tkr_cli_documents {
    const tkr_cli_args *args;
    tkr_model *model;
    tkr_session *session;
    const tkr_embed_options *options;
    tkr_cli_writer *writer;
    bool skip;                     /* a file that can't be read is reported, the others are done */
    uint64_t n_written, n_skipped; /* rows, files and rows that failed */
    uint64_t n_tokens;
    size_t index; /* of the next row */
} tkr_cli_documents;
/* Embeds the documents among the operands and writes a row for each passage and page. */
tkr_status tkr_cli_embed_documents(tkr_cli_documents *documents, tkr_error *error);

/* ---- progress.c ---- */
typedef struct tkr_cli_progress {
    bool on; /* a terminal, not --quiet */
    bool drawn;
    double started, last_drawn;
    uint64_t n_texts, n_tokens; /* done before the pass that runs */
    double fraction;            /* of the input, before that pass; negative: unknown */
    double step;                /* part of the input that the pass that runs stands for */
    const char *unit;           /* what n_texts counts: "texts" after start */
} tkr_cli_progress;

/* `to_terminal`: results go to the terminal too, so a bar would run into them. */
void tkr_cli_progress_start(tkr_cli_progress *progress, const tkr_cli_args *args, bool to_terminal);
/* Draws at most ten times a second, with what the running pass has done. */
void tkr_cli_progress_draw(tkr_cli_progress *progress, uint64_t texts, uint64_t tokens, double part_of_step);
/* Takes the bar off the line, before something else is said. */
void tkr_cli_progress_clear(tkr_cli_progress *progress);
/* "name  [####----]  34.1 MB of 90.9 MB" for a download; total 0: unknown. */
void tkr_cli_progress_bytes(tkr_cli_progress *progress, const char *name, uint64_t done, uint64_t total);

#endif
