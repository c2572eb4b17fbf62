/* SPDX-License-Identifier: Apache-2.0 */
/* cli/input: texts and files from arguments, a folder, lines or JSON lines, a block at a time. A broken line is an item
 * with a message; it refuses nothing else. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/stream.h"
#include "core/json.h"
#include "core/term.h"

enum { MAX_LINE = 64 * 1024 * 1024, FIRST_ROOM = 256 };
#define SLOW_INPUT_SECONDS 0.2

static tkr_status no_memory(tkr_error *error) { return TKR_FAIL(error, NO_MEMORY, "out of memory"); }

static tkr_status open_folder(tkr_cli_source *source, const tkr_cli_args *args, tkr_error *error) {
    const char *folder = tkr_cli_get(args, TKR_OPT_INPUT_DIR)->text;
    if (args->n_operands > 0 || tkr_cli_get(args, TKR_OPT_INPUT)->set || source->jsonl) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "--input-dir and other inputs exclude each other");
    }
    source->files.wanted = tkr_cli_get(args, TKR_OPT_MODALITY)->number;
    tkr_status status = tkr_cli_files_walk(&source->files, folder, error);
    source->n_operands = source->files.n;
    /* A wrong path is no wrong command line. */
    return status == TKR_INVALID_ARGUMENT ? TKR_IO : status;
}

tkr_status tkr_cli_source_open(tkr_cli_source *source, const tkr_cli_args *args, tkr_error *error) {
    const tkr_cli_value *input = tkr_cli_get(args, TKR_OPT_INPUT);
    memset(source, 0, sizeof *source);
    source->jsonl = tkr_cli_on(args, TKR_OPT_JSONL);
    source->documents = args->command == TKR_CMD_EMBED;
    source->min_pixels = (size_t)tkr_cli_get(args, TKR_OPT_MIN_PIXELS)->number;
    tkr_status given = tkr_cli_videos_open(&source->videos, args, error);
    if (given != TKR_OK) {
        return given;
    }
    if (tkr_cli_get(args, TKR_OPT_MODALITY)->set && !tkr_cli_get(args, TKR_OPT_INPUT_DIR)->set) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "--modality goes with --input-dir: what to take of a folder");
    }
    if (tkr_cli_get(args, TKR_OPT_INPUT_DIR)->set) {
        return open_folder(source, args, error);
    }
    if (args->n_operands > 0) {
        if (input->set || source->jsonl) {
            return TKR_FAIL(error, INVALID_ARGUMENT, "%s and --%s exclude each other (found \"%s\")",
                            args->kinds != NULL ? "arguments" : "TEXT arguments", input->set ? "input" : "jsonl",
                            args->operands[0]);
        }
        source->args = args;
        source->n_operands = args->n_operands;
        return TKR_OK;
    }
    if (!input->set && tkr_term_is(TKR_STREAM_IN)) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "no text: give it as an argument, or a file with --input");
    }
    const char *path = input->set ? input->text : "-";
    source->name = strcmp(path, "-") == 0 ? "standard input" : path;
    const char *slash = strrchr(path, '/');
    if (source->jsonl && slash != NULL) {
        source->folder = tkr_strndup(path, (size_t)(slash - path) + 1);
        if (source->folder == NULL) {
            return no_memory(error);
        }
    }
    tkr_status status = tkr_lines_open(&source->lines, path, MAX_LINE, error);
    /* A wrong path is no wrong command line. */
    return status == TKR_INVALID_ARGUMENT ? TKR_IO : status;
}

tkr_status tkr_cli_source_fit(tkr_cli_source *source, const tkr_cli_args *args, const tkr_model_info *info,
                              tkr_error *error) {
    if (source->files.n == 0) {
        return TKR_OK;
    }
    const tkr_status status = tkr_cli_files_fit(&source->files, args, info, error);
    source->n_operands = source->files.n;
    return status;
}

void tkr_cli_source_close(tkr_cli_source *source) {
    tkr_lines_close(&source->lines);
    tkr_cli_files_free(&source->files);
    tkr_free(source->folder);
    source->folder = NULL;
}

void tkr_cli_block_free(tkr_cli_block *block) {
    tkr_free(block->items);
    tkr_arena_free(&block->strings);
    memset(block, 0, sizeof *block);
}

void tkr_cli_item_report(tkr_cli_source *source, const tkr_cli_item *item, const char *message) {
    if (source->files.n > 0) {
        tkr_cli_files_failed(&source->files, item->label, message);
    } else if (source->name != NULL) {
        fprintf(stderr, "%s:%" PRIu64 ": %s\n", source->name, item->line, message);
    } else {
        fprintf(stderr, "%s %" PRIu64 ": %s\n", item->kind == TKR_CLI_TEXT ? "text" : "input", item->line, message);
    }
}

/* Appends an empty item. NULL when there is no memory. */
static tkr_cli_item *add_item(tkr_cli_block *block, uint64_t line) {
    if (block->n == block->room) {
        size_t room = block->room == 0 ? FIRST_ROOM : block->room * 2;
        tkr_cli_item *items = tkr_realloc(block->items, room * sizeof *items);
        if (items == NULL) {
            return NULL;
        }
        block->items = items;
        block->room = room;
    }
    tkr_cli_item *item = &block->items[block->n++];
    memset(item, 0, sizeof *item);
    item->line = line;
    return item;
}

/* ---- blocks ---- */
static bool is_blank(const char *line, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r') {
            return false;
        }
    }
    return true;
}

/* Makes the item a broken one. false when there is no memory for its message. */
static bool break_item(tkr_cli_block *block, tkr_cli_item *item, const tkr_error *why) {
    item->status = why->status;
    item->message = tkr_arena_strndup(&block->strings, why->message, strlen(why->message));
    return item->message != NULL;
}

static tkr_status add_line(tkr_cli_block *block, tkr_cli_source *source, const char *line, size_t size,
                           tkr_error *error) {
    uint64_t number = tkr_lines_number(source->lines);
    if (number == 1 && size >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0) {
        line += 3; /* the mark that some editors put in front of UTF-8 */
        size -= 3;
    }
    if (source->jsonl && is_blank(line, size)) {
        return TKR_OK;
    }
    tkr_cli_item *item = add_item(block, number);
    if (item == NULL) {
        return no_memory(error);
    }
    if (!source->jsonl) {
        item->input.text = tkr_arena_strndup(&block->strings, line, size);
        item->input.n_text = size;
        item->label = item->input.text;
        item->n_label = size;
        block->bytes += size;
        return item->input.text != NULL ? TKR_OK : no_memory(error);
    }
    tkr_error why = {0};
    tkr_status status = tkr_cli_parse_item(block, item, source, line, size, &why);
    if (status == TKR_NO_MEMORY || (status != TKR_OK && !break_item(block, item, &why))) {
        return no_memory(error);
    }
    return TKR_OK;
}

/* One more line. *end is set at the end of the input and after a failure to read. */
static tkr_status read_line(tkr_cli_block *block, tkr_cli_source *source, bool *end, tkr_error *error) {
    const char *line = NULL;
    size_t size = 0;
    tkr_error why = {0};
    tkr_status status = tkr_lines_next(source->lines, &line, &size, end, &why);
    if (status == TKR_OK) {
        return *end ? TKR_OK : add_line(block, source, line, size, error);
    }
    if (status == TKR_LIMIT) {
        tkr_cli_item *item = add_item(block, tkr_lines_number(source->lines));
        return item != NULL && break_item(block, item, &why) ? TKR_OK : no_memory(error);
    }
    if (status == TKR_CANCELLED) {
        if (error != NULL) {
            *error = why;
        }
        return status;
    }
    source->failure = why;
    *end = true;
    return TKR_OK;
}

/* A file of a folder has its path as id, so that rows tell what they belong to. */
static tkr_status set_path_id(tkr_cli_block *block, tkr_cli_item *item, const char *path) {
    tkr_buf quoted = {0};
    if (tkr_json_write_string(&quoted, path, strlen(path))) {
        item->id = tkr_arena_strndup(&block->strings, quoted.data, quoted.size);
        item->n_id = quoted.size;
    }
    tkr_buf_free(&quoted);
    return item->id != NULL ? TKR_OK : TKR_NO_MEMORY;
}

/* Makes a picture or video the item's only part. */
static tkr_status set_part(tkr_cli_block *block, tkr_cli_item *item, const tkr_cli_source *source, bool is_path,
                           tkr_error *error) {
    tkr_part *part = tkr_arena_alloc(&block->strings, sizeof *part);
    if (part == NULL) {
        return no_memory(error);
    }
    item->input = (tkr_input){.kind = TKR_INPUT_PARTS, .parts = part, .n_parts = 1, .min_pixels = source->min_pixels};
    *part = (tkr_part){.kind = item->kind == TKR_CLI_VIDEO ? TKR_PART_VIDEO_FILE : TKR_PART_FILE,
                       .data = item->label,
                       .n_data = item->n_label};
    if (item->kind == TKR_CLI_VIDEO) {
        tkr_cli_videos_fill(part, &source->videos);
        item->input.video_pooling = source->videos.pooling;
    }
    if (item->kind == TKR_CLI_VIDEO || is_path) {
        return TKR_OK;
    }
    const tkr_status status = tkr_cli_fill_picture(part, block, item->label, item->n_label, NULL, error);
    const bool named = part->kind == TKR_PART_FILE ||
                       (part->kind == TKR_PART_URL && item->n_label > 5 && memcmp(item->label, "data:", 5) != 0);
    item->source = named ? item->source : NULL;
    return status;
}

/* The next argument or file of the folder. */
static tkr_status add_operand(tkr_cli_block *block, tkr_cli_source *source, tkr_error *error) {
    const size_t index = source->next_operand++;
    const bool from_folder = source->files.n > 0;
    const char *text = from_folder ? source->files.paths[index] : source->args->operands[index];
    const unsigned char *kinds = from_folder ? source->files.kinds : source->args->kinds;
    tkr_cli_item *item = add_item(block, index + 1);
    if (item == NULL) {
        return no_memory(error);
    }
    item->kind = kinds != NULL ? (tkr_cli_operand)kinds[index] : TKR_CLI_TEXT;
    item->label = text;
    item->n_label = strlen(text);
    block->bytes += item->n_label;
    if (item->kind == TKR_CLI_TEXT) {
        item->input.text = text;
        item->input.n_text = item->n_label;
        return TKR_OK;
    }
    item->source = text;
    item->n_source = item->n_label;
    if (from_folder && set_path_id(block, item, text) != TKR_OK) {
        return no_memory(error);
    }
    /* what a folder has is a path, whatever it looks like */
    return item->kind == TKR_CLI_DOCUMENT ? TKR_OK : set_part(block, item, source, from_folder, error);
}

tkr_status tkr_cli_source_read(tkr_cli_block *block, tkr_cli_source *source, size_t max_items, size_t max_bytes,
                               tkr_error *error) {
    tkr_arena_free(&block->strings);
    block->n = 0;
    block->bytes = 0;
    while (source->lines == NULL && source->next_operand < source->n_operands && block->n < max_items &&
           block->bytes < max_bytes) {
        tkr_status status = add_operand(block, source, error);
        if (status != TKR_OK) {
            return status;
        }
    }
    double first = 0;
    while (source->lines != NULL && !source->end && block->n < max_items && block->bytes < max_bytes) {
        tkr_status status = read_line(block, source, &source->end, error);
        if (status != TKR_OK) {
            return status;
        }
        double now = tkr_now();
        first = first > 0 ? first : now;
        if (block->n > 0 && now - first > SLOW_INPUT_SECONDS) {
            break; /* somebody waits at the other end of a slow pipe */
        }
    }
    if (block->n == 0 && source->failure.status != TKR_OK) {
        if (error != NULL) {
            *error = source->failure;
        }
        return source->failure.status;
    }
    return TKR_OK;
}
