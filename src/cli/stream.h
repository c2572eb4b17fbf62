/* SPDX-License-Identifier: Apache-2.0 */
/* cli/stream: texts and files in, in blocks; results out, in order; a progress bar beside it. */
#ifndef TKR_CLI_STREAM_H
#define TKR_CLI_STREAM_H

#include "cli/cli.h"
#include "cli/folder.h"

/* ---- input.c ---- */
typedef struct tkr_cli_item {
    tkr_cli_operand kind; /* DOCUMENT: many rows, and `input` has only its prompts */
    tkr_input input;      /* pointers into the block */
    uint64_t line;        /* of the input, from 1; for TEXT arguments their number */
    const char *id;       /* JSON text of the id, [n_id]; NULL: none */
    size_t n_id;
    tkr_status status; /* not TKR_OK: the line is broken */
    const char *message;
    const char *source; /* the one file or URL that it is made of, [n_source]; NULL: none, or several */
    size_t n_source;
    const void *bytes; /* of a document that came in base64, [n_bytes]; NULL: `source` is a file */
    size_t n_bytes;
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

/* What the command line says of videos. */
typedef struct tkr_cli_videos {
    size_t max_frames;
    double fps, segment_s; /* 0: not given */
    tkr_video_pooling pooling;
} tkr_cli_videos;

typedef struct tkr_cli_source {
    const char *name;         /* for messages: the path, "standard input", or NULL for TEXT arguments */
    tkr_lines *lines;         /* NULL: TEXT arguments */
    const tkr_cli_args *args; /* of TEXT arguments and pictures */
    char *folder;             /* that paths in JSON lines are relative to; NULL: as they are */
    size_t n_operands, next_operand;
    size_t min_pixels; /* of inputs with pictures that say nothing else */
    tkr_cli_videos videos;
    tkr_cli_files files; /* of --input-dir, in the place of operands */
    bool jsonl, end;
    bool documents;    /* may be items: of embed */
    tkr_error failure; /* of reading itself, reported once the lines before it are through */
} tkr_cli_source;

/* Opens what the command line says. TKR_INVALID_ARGUMENT is a usage error. */
tkr_status tkr_cli_source_open(tkr_cli_source *source, const tkr_cli_args *args, tkr_error *error);
/* Leaves out files of a folder that the model can't read. */
tkr_status tkr_cli_source_fit(tkr_cli_source *source, const tkr_cli_args *args, const tkr_model_info *info,
                              tkr_error *error);
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
/* Asks how long a video is. Fails for one that can't be opened, or would have too many segments. */
tkr_status tkr_cli_videos_probe(double *seconds, const tkr_part *part, double segment_s, tkr_model *model,
                                tkr_error *error);
/* Where segment `index`, from 0, of a video begins and ends; false: there is no such one. */
bool tkr_cli_segment(tkr_part *part, size_t index, double segment_s, double seconds);
/* Reads up to max_items texts or about max_bytes, fewer when the input is slow, into the emptied block. Broken lines
 * are items with a status. block->n is 0 at the end. TKR_CANCELLED when a signal came while waiting. */
tkr_status tkr_cli_source_read(tkr_cli_block *block, tkr_cli_source *source, size_t max_items, size_t max_bytes,
                               tkr_error *error);
void tkr_cli_source_close(tkr_cli_source *source);
void tkr_cli_block_free(tkr_cli_block *block);
/* "texts.txt:12: message" on standard error; of a folder's file it is kept for tkr_cli_files_report. */
void tkr_cli_item_report(tkr_cli_source *source, const tkr_cli_item *item, const char *message);

/* Why an input has no vector. */
static inline const char *tkr_cli_why(const tkr_result_item *item) {
    return item->message != NULL ? item->message : tkr_status_text(item->status);
}

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

/* ---- rows.c, documents.c, segments.c ---- */
/* What embed makes rows with. */
typedef struct tkr_cli_rows {
    const tkr_cli_args *args;
    tkr_model *model;
    tkr_session *session;
    const tkr_embed_options *options;
    tkr_cli_source *source;
    tkr_cli_progress *progress;
    tkr_cli_writer *writer;
    bool skip;     /* what can't be read is reported, the others are done */
    bool reported; /* what ends the run has been told */
    uint64_t n_written, n_skipped, n_cut, n_tokens;
} tkr_cli_rows;
/* Tells an item's failure; TKR_OK to go on without it. */
tkr_status tkr_cli_rows_fail(tkr_cli_rows *rows, const tkr_cli_item *item, tkr_status status, const char *message,
                             tkr_error *error);
/* Writes an item's row, or its failure. */
tkr_status tkr_cli_rows_put(tkr_cli_rows *rows, const tkr_cli_item *item, const tkr_result_item *one, tkr_error *error);
/* A note on a file: at once, or of a folder's at the end. */
void tkr_cli_rows_note(const tkr_cli_rows *rows, const tkr_cli_item *item, const char *message);
/* Writes a row for each passage, page and picture of a document. */
tkr_status tkr_cli_embed_document(tkr_cli_rows *rows, const tkr_cli_item *item, tkr_error *error);
/* Writes a row for each segment of the item's video. */
tkr_status tkr_cli_embed_segments(tkr_cli_rows *rows, const tkr_cli_item *item, tkr_error *error);
/* Whether the item is a whole video where --segment asks for parts. */
bool tkr_cli_has_segments(const tkr_cli_rows *rows, const tkr_cli_item *item);

#endif
