/* SPDX-License-Identifier: Apache-2.0 */
/* cli/input: texts from arguments, lines or JSON lines, a block at a time. A broken line is an item with a message; it
 * refuses nothing else. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/stream.h"
#include "core/json.h"
#include "core/term.h"

enum { MAX_LINE = 64 * 1024 * 1024, FIRST_ROOM = 256 };
#define SLOW_INPUT_SECONDS 0.2

tkr_status tkr_cli_source_open(tkr_cli_source *source, const tkr_cli_args *args, tkr_error *error) {
    const tkr_cli_value *input = tkr_cli_get(args, TKR_OPT_INPUT);
    memset(source, 0, sizeof *source);
    source->jsonl = tkr_cli_on(args, TKR_OPT_JSONL);
    if (args->n_operands > 0) {
        if (input->set || source->jsonl) {
            return TKR_FAIL(error, INVALID_ARGUMENT, "TEXT arguments and --%s exclude each other (found \"%s\")",
                            input->set ? "input" : "jsonl", args->operands[0]);
        }
        source->operands = args->operands;
        source->n_operands = args->n_operands;
        return TKR_OK;
    }
    if (!input->set && tkr_term_is(TKR_STREAM_IN)) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "no text: give it as an argument, or a file with --input");
    }
    const char *path = input->set ? input->text : "-";
    source->name = strcmp(path, "-") == 0 ? "standard input" : path;
    tkr_status status = tkr_lines_open(&source->lines, path, MAX_LINE, error);
    /* A wrong path is no wrong command line. */
    return status == TKR_INVALID_ARGUMENT ? TKR_IO : status;
}

void tkr_cli_source_close(tkr_cli_source *source) { tkr_lines_close(&source->lines); }

void tkr_cli_block_free(tkr_cli_block *block) {
    tkr_free(block->items);
    tkr_arena_free(&block->strings);
    memset(block, 0, sizeof *block);
}

void tkr_cli_item_report(const tkr_cli_source *source, const tkr_cli_item *item, const char *message) {
    if (source->name != NULL) {
        fprintf(stderr, "%s:%" PRIu64 ": %s\n", source->name, item->line, message);
    } else {
        fprintf(stderr, "text %" PRIu64 ": %s\n", item->line, message);
    }
}

static tkr_status no_memory(tkr_error *error) { return TKR_FAIL(error, NO_MEMORY, "out of memory"); }

/* Appends an empty item. NULL when there is no memory. */
static tkr_cli_item *add_item(tkr_cli_block *block, tkr_cli_source *source, uint64_t line) {
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
    item->index = source->next_index++;
    item->line = line;
    return item;
}

/* ---- JSON lines ---- */
typedef enum known_key { KEY_ID, KEY_TEXT, KEY_PROMPT_NAME, KEY_PROMPT, KEY_INSTRUCT, N_KEYS } known_key;
static const char *const key_names[N_KEYS] = {"id", "text", "prompt_name", "prompt", "instruct"};

/* One line while it is parsed. */
typedef struct line_parser {
    tkr_jr reader;
    tkr_cli_block *block;
    tkr_cli_item *item;
    bool seen[N_KEYS];
    char near[N_KEYS][24]; /* an unknown key that is probably this one, misspelt */
    tkr_error *error;
} line_parser;

/* Remembers an unknown key that differs from a known one in a letter, in case or in its separators. */
static void note_misspelling(line_parser *parser, const char *key, size_t size) {
    char plain[24] = "";
    size_t n = 0;
    if (size == 0 || size >= sizeof plain) {
        return;
    }
    for (size_t i = 0; i < size; i++) {
        plain[n++] = (char)(key[i] == '-' || key[i] == ' ' ? '_' : tolower((unsigned char)key[i]));
    }
    for (size_t k = 0; k < N_KEYS; k++) {
        size_t distance = tkr_cli_distance(plain, key_names[k], 1);
        if (distance == 0 || (distance == 1 && k != KEY_ID)) {
            memcpy(parser->near[k], key, size);
            parser->near[k][size] = '\0';
        }
    }
}

/* The value of "id": its JSON text is kept as it is. */
static tkr_status parse_id(line_parser *parser) {
    const char *begin = parser->reader.at;
    tkr_jr_type type = tkr_jr_next(&parser->reader);
    if (type == TKR_JR_ERROR) {
        return TKR_FORMAT;
    }
    if (type == TKR_JR_NULL) {
        return TKR_OK;
    }
    if (type != TKR_JR_STRING && type != TKR_JR_NUMBER) {
        return TKR_FAIL(parser->error, FORMAT, "\"id\" must be a string or a number");
    }
    while (begin < parser->reader.at && strchr(" \t\r\n:", *begin) != NULL) {
        begin++;
    }
    parser->item->n_id = (size_t)(parser->reader.at - begin);
    parser->item->id = tkr_arena_strndup(&parser->block->strings, begin, parser->item->n_id);
    return parser->item->id != NULL ? TKR_OK : no_memory(parser->error);
}

static tkr_status take_text(line_parser *parser) {
    tkr_input *input = &parser->item->input;
    input->n_text = parser->reader.n_string;
    input->text = tkr_arena_strndup(&parser->block->strings, parser->reader.string, input->n_text);
    parser->block->bytes += input->n_text;
    return input->text != NULL ? TKR_OK : no_memory(parser->error);
}

static tkr_status parse_field(line_parser *parser, known_key key) {
    if (parser->seen[key]) {
        return TKR_FAIL(parser->error, FORMAT, "\"%s\" is there twice", key_names[key]);
    }
    parser->seen[key] = true;
    if (key == KEY_ID) {
        return parse_id(parser);
    }
    tkr_jr_type type = tkr_jr_next(&parser->reader);
    if (type == TKR_JR_ERROR) {
        return TKR_FORMAT;
    }
    if (type == TKR_JR_NULL && key != KEY_TEXT) {
        return TKR_OK;
    }
    if (type != TKR_JR_STRING) {
        return TKR_FAIL(parser->error, FORMAT, "\"%s\" must be a string", key_names[key]);
    }
    if (key == KEY_TEXT) {
        return take_text(parser);
    }
    if (memchr(parser->reader.string, '\0', parser->reader.n_string) != NULL) {
        return TKR_FAIL(parser->error, FORMAT, "\"%s\" must not hold U+0000", key_names[key]);
    }
    const char *copy = tkr_arena_strndup(&parser->block->strings, parser->reader.string, parser->reader.n_string);
    tkr_input *input = &parser->item->input;
    *(key == KEY_PROMPT ? &input->prompt : key == KEY_INSTRUCT ? &input->instruction : &input->prompt_name) = copy;
    return copy != NULL ? TKR_OK : no_memory(parser->error);
}

static tkr_status parse_object(line_parser *parser) {
    tkr_jr *reader = &parser->reader;
    tkr_jr_type type;
    while ((type = tkr_jr_next(reader)) == TKR_JR_KEY) {
        size_t key = 0;
        while (key < N_KEYS && (strlen(key_names[key]) != reader->n_string ||
                                memcmp(key_names[key], reader->string, reader->n_string) != 0)) {
            key++;
        }
        if (key < N_KEYS) {
            tkr_status status = parse_field(parser, (known_key)key);
            if (status != TKR_OK) {
                return status;
            }
            continue;
        }
        note_misspelling(parser, reader->string, reader->n_string);
        if (!tkr_jr_skip(reader)) {
            return TKR_FORMAT;
        }
    }
    if (type == TKR_JR_ERROR) {
        return TKR_FORMAT;
    }
    for (size_t k = 0; k < N_KEYS; k++) {
        if (!parser->seen[k] && parser->near[k][0] != '\0') {
            return TKR_FAIL(parser->error, FORMAT, "unknown key \"%s\", did you mean \"%s\"?", parser->near[k],
                            key_names[k]);
        }
    }
    return parser->seen[KEY_TEXT] ? TKR_OK : TKR_FAIL(parser->error, FORMAT, "no \"text\" in the object");
}

static tkr_status parse_line(line_parser *parser, const char *line, size_t size) {
    tkr_jr_init(&parser->reader, line, size, "JSON", parser->error);
    tkr_jr_type type = tkr_jr_next(&parser->reader);
    tkr_status status = TKR_FORMAT;
    if (type == TKR_JR_STRING) {
        status = take_text(parser);
    } else if (type == TKR_JR_OBJECT) {
        status = parse_object(parser);
    } else if (type != TKR_JR_ERROR) {
        status = TKR_FAIL(parser->error, FORMAT, "expected a JSON string or an object with \"text\"");
    }
    if (status == TKR_OK && tkr_jr_next(&parser->reader) != TKR_JR_END) {
        status = TKR_FORMAT;
    }
    tkr_jr_free(&parser->reader);
    return status;
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
    tkr_cli_item *item = add_item(block, source, number);
    if (item == NULL) {
        return no_memory(error);
    }
    if (!source->jsonl) {
        item->input.text = tkr_arena_strndup(&block->strings, line, size);
        item->input.n_text = size;
        block->bytes += size;
        return item->input.text != NULL ? TKR_OK : no_memory(error);
    }
    tkr_error why = {0};
    line_parser parser = {.block = block, .item = item, .error = &why};
    tkr_status status = parse_line(&parser, line, size);
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
        tkr_cli_item *item = add_item(block, source, tkr_lines_number(source->lines));
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

tkr_status tkr_cli_source_read(tkr_cli_block *block, tkr_cli_source *source, size_t max_items, size_t max_bytes,
                               tkr_error *error) {
    tkr_arena_free(&block->strings);
    block->n = 0;
    block->bytes = 0;
    while (source->lines == NULL && source->next_index < source->n_operands && block->n < max_items &&
           block->bytes < max_bytes) {
        char *text = source->operands[source->next_index];
        tkr_cli_item *item = add_item(block, source, source->next_index + 1);
        if (item == NULL) {
            return no_memory(error);
        }
        item->input.text = text;
        item->input.n_text = strlen(text);
        block->bytes += item->input.n_text;
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
