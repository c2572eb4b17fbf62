/* SPDX-License-Identifier: Apache-2.0 */
/* cli/input_json: one JSON line as an input: a text, pictures, a video, or a document, with settings of its own.
 * Refuses keys that are probably misspelt. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "cli/stream.h"
#include "core/base64.h"
#include "core/json.h"
#include "core/near.h"

enum { MAX_IMAGES = 1024, BARE_BASE64 = 64 };

typedef enum known_key {
    KEY_ID,
    KEY_TEXT,
    KEY_IMAGE,
    KEY_IMAGES,
    KEY_VIDEO,
    KEY_DOCUMENT,
    KEY_PROMPT_NAME,
    KEY_PROMPT,
    KEY_INSTRUCT,
    KEY_INSTRUCTION,
    KEY_MIN_PIXELS,
    KEY_MAX_PIXELS,
    KEY_WIDTH,
    KEY_HEIGHT,
    KEY_INTERPOLATE,
    KEY_HUB_LIMITS,
    KEY_MAX_FRAMES, /* from here on of videos */
    KEY_FPS,
    KEY_START,
    KEY_END,
    KEY_VIDEO_POOLING,
    N_KEYS
} known_key;
static const char *const key_names[N_KEYS] = {
    "id",           "text",        "image",  "images",   "video",
    "document",     "prompt_name", "prompt", "instruct", "instruction",
    "min_pixels",   "max_pixels",  "width",  "height",   "interpolate_pos_encoding",
    "hub_limits",   "max_frames",  "fps",    "start_s",  "end_s",
    "video_pooling"};

/* One line while it is parsed. */
typedef struct line_parser {
    tkr_jr reader;
    tkr_cli_block *block;
    tkr_cli_item *item;
    const tkr_cli_source *source;
    const char *text; /* NULL: none */
    size_t n_text;
    tkr_buf parts;            /* tkr_part of the pictures and the video */
    tkr_part document, video; /* video: its settings */
    size_t video_at;          /* its number among the parts */
    bool seen[N_KEYS];
    char near[N_KEYS][24]; /* an unknown key that is probably this one, misspelt */
    tkr_error *error;
} line_parser;

static tkr_status no_memory(tkr_error *error) { return TKR_FAIL(error, NO_MEMORY, "out of memory"); }

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
        size_t distance = tkr_distance(plain, key_names[k], 1);
        if (distance == 0 || (distance == 1 && k != KEY_ID)) {
            memcpy(parser->near[k], key, size);
            parser->near[k][size] = '\0';
        }
    }
}

/* ---- pictures ---- */

static bool begins(const char *text, size_t size, const char *with) {
    size_t n = strlen(with);
    return size >= n && memcmp(text, with, n) == 0;
}

/* Base64 of a JPEG, PNG, GIF, WebP, BMP or TIFF: long, without a dot, and it begins as one of them does. */
static bool is_bare_base64(const char *text, size_t size) {
    static const char *const magic[] = {"/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR", "Qk", "SUkq", "TU0AK"};
    if (size < BARE_BASE64 || memchr(text, '.', size) != NULL) {
        return false;
    }
    for (size_t i = 0; i < sizeof magic / sizeof magic[0]; i++) {
        if (begins(text, size, magic[i])) {
            return true;
        }
    }
    return false;
}

static tkr_status fill_base64(tkr_part *part, tkr_cli_block *block, const char *text, size_t size, tkr_error *error) {
    tkr_buf bytes = {0};
    tkr_status status = tkr_base64_decode(&bytes, text, size, error);
    if (status == TKR_OK) {
        const char *copy = tkr_arena_strndup(&block->strings, bytes.data, bytes.size);
        *part = (tkr_part){.kind = TKR_PART_IMAGE, .data = copy, .n_data = bytes.size};
        block->bytes += bytes.size;
        status = copy != NULL ? TKR_OK : no_memory(error);
    }
    tkr_buf_free(&bytes);
    return status;
}

bool tkr_cli_is_url(const char *text, size_t size) {
    return begins(text, size, "data:") || begins(text, size, "http://") || begins(text, size, "https://");
}

tkr_status tkr_cli_fill_picture(tkr_part *part, tkr_cli_block *block, const char *text, size_t size, const char *folder,
                                tkr_error *error) {
    const bool url = tkr_cli_is_url(text, size);
    if (size == 0) {
        return TKR_FAIL(error, FORMAT, "the name of a picture is empty");
    }
    if (!url && is_bare_base64(text, size)) {
        return fill_base64(part, block, text, size, error);
    }
    const char *before = folder != NULL && !url && text[0] != '/' ? folder : "";
    char *copy = tkr_arena_alloc(&block->strings, strlen(before) + size + 1);
    if (copy == NULL) {
        return no_memory(error);
    }
    memcpy(copy, before, strlen(before));
    memcpy(copy + strlen(before), text, size);
    *part = (tkr_part){.kind = url ? TKR_PART_URL : TKR_PART_FILE, .data = copy, .n_data = strlen(before) + size};
    return TKR_OK;
}

/* {"path": ...}, {"url": ...} or {"base64": ...} */
static tkr_status parse_picture_object(line_parser *parser, tkr_part *part) {
    tkr_jr *reader = &parser->reader;
    tkr_status status = TKR_OK;
    size_t n = 0;
    tkr_jr_type type = TKR_JR_ERROR;
    while (status == TKR_OK && (type = tkr_jr_next(reader)) == TKR_JR_KEY) {
        bool base64 = reader->n_string == 6 && memcmp(reader->string, "base64", 6) == 0;
        bool other = (reader->n_string == 4 && memcmp(reader->string, "path", 4) == 0) ||
                     (reader->n_string == 3 && memcmp(reader->string, "url", 3) == 0);
        if (!base64 && !other) {
            return TKR_FAIL(parser->error, FORMAT, "unknown key \"%.*s\" of a picture: path, url or base64",
                            (int)(reader->n_string > 40 ? 40 : reader->n_string), reader->string);
        }
        type = tkr_jr_next(reader);
        if (type == TKR_JR_ERROR) {
            return TKR_FORMAT;
        }
        if (type != TKR_JR_STRING) {
            return TKR_FAIL(parser->error, FORMAT, "a picture's path, url or base64 must be a string");
        }
        n++;
        status = base64 ? fill_base64(part, parser->block, reader->string, reader->n_string, parser->error)
                        : tkr_cli_fill_picture(part, parser->block, reader->string, reader->n_string,
                                               parser->source->folder, parser->error);
    }
    if (status == TKR_OK && type == TKR_JR_ERROR) {
        return TKR_FORMAT;
    }
    if (status == TKR_OK && n != 1) {
        status = TKR_FAIL(parser->error, FORMAT, "a picture needs one of path, url and base64");
    }
    return status;
}

/* The value that the last event began. */
static tkr_status parse_picture(line_parser *parser, tkr_jr_type type) {
    tkr_part part = {0};
    tkr_status status = TKR_OK;
    if (type == TKR_JR_ERROR) {
        return TKR_FORMAT;
    }
    if (type == TKR_JR_STRING) {
        status = tkr_cli_fill_picture(&part, parser->block, parser->reader.string, parser->reader.n_string,
                                      parser->source->folder, parser->error);
    } else if (type == TKR_JR_OBJECT) {
        status = parse_picture_object(parser, &part);
    } else {
        return TKR_FAIL(parser->error, FORMAT,
                        "a picture must be a path, a URL, or an object such as {\"base64\": \"...\"}");
    }
    if (status == TKR_OK && parser->parts.size >= MAX_IMAGES * sizeof part) {
        return TKR_FAIL(parser->error, LIMIT, "more than %d pictures", (int)MAX_IMAGES);
    }
    return status != TKR_OK || tkr_buf_append(&parser->parts, &part, sizeof part) ? status : no_memory(parser->error);
}

static tkr_part *last_part(const line_parser *parser) {
    return (tkr_part *)(void *)(parser->parts.data + parser->parts.size) - 1;
}

/* The same forms; a video isn't fetched. */
static tkr_status parse_video(line_parser *parser, tkr_jr_type type) {
    tkr_status status = parse_picture(parser, type);
    if (status != TKR_OK) {
        return status;
    }
    tkr_part *part = last_part(parser);
    if (part->kind == TKR_PART_URL) {
        return TKR_FAIL(parser->error, UNSUPPORTED, "a video must be a path or {\"base64\": \"...\"}, not a URL");
    }
    part->kind = part->kind == TKR_PART_IMAGE ? TKR_PART_VIDEO : TKR_PART_VIDEO_FILE;
    parser->video_at = parser->parts.size / sizeof *part - 1;
    parser->item->kind = TKR_CLI_VIDEO;
    return TKR_OK;
}

/* The same forms; it stands alone. */
static tkr_status parse_document(line_parser *parser, tkr_jr_type type) {
    if (!parser->source->documents) {
        return TKR_FAIL(parser->error, UNSUPPORTED,
                        "a document is many passages: `tkr-embed embed` makes a row of each");
    }
    const tkr_status status = parse_picture(parser, type);
    if (status != TKR_OK) {
        return status;
    }
    parser->document = *last_part(parser);
    parser->parts.size -= sizeof parser->document;
    if (parser->document.kind == TKR_PART_URL) {
        return TKR_FAIL(parser->error, UNSUPPORTED, "a document must be a path or {\"base64\": \"...\"}, not a URL");
    }
    parser->item->kind = TKR_CLI_DOCUMENT;
    return TKR_OK;
}

static tkr_status parse_pictures(line_parser *parser) {
    tkr_jr_type type = tkr_jr_next(&parser->reader);
    if (type != TKR_JR_ARRAY) {
        return type == TKR_JR_NULL ? TKR_OK : TKR_FAIL(parser->error, FORMAT, "\"images\" must be a list");
    }
    while ((type = tkr_jr_next(&parser->reader)) != TKR_JR_ARRAY_END) {
        tkr_status status = parse_picture(parser, type);
        if (status != TKR_OK) {
            return status;
        }
    }
    return TKR_OK;
}

/* ---- other values ---- */

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
    parser->n_text = parser->reader.n_string;
    parser->text = tkr_arena_strndup(&parser->block->strings, parser->reader.string, parser->n_text);
    parser->block->bytes += parser->n_text;
    return parser->text != NULL ? TKR_OK : no_memory(parser->error);
}

static tkr_status parse_number(line_parser *parser, known_key key, tkr_jr_type type) {
    tkr_input *input = &parser->item->input;
    if (type != TKR_JR_NUMBER || !parser->reader.is_integer || parser->reader.integer < 1 ||
        parser->reader.integer > (int64_t)1 << 40) {
        return TKR_FAIL(parser->error, FORMAT, "\"%s\" must be a whole number from 1", key_names[key]);
    }
    size_t *to = key == KEY_MIN_PIXELS   ? &input->min_pixels
                 : key == KEY_MAX_PIXELS ? &input->max_pixels
                 : key == KEY_WIDTH      ? &input->width
                 : key == KEY_HEIGHT     ? &input->height
                                         : &parser->video.max_frames;
    *to = (size_t)parser->reader.integer;
    return TKR_OK;
}

static tkr_status parse_real(line_parser *parser, known_key key, tkr_jr_type type) {
    const double least = key == KEY_START ? 0 : 0.001;
    double *to = key == KEY_FPS ? &parser->video.fps : key == KEY_START ? &parser->video.start_s : &parser->video.end_s;
    if (type != TKR_JR_NUMBER || parser->reader.number < least || parser->reader.number > 1e9) {
        return TKR_FAIL(parser->error, FORMAT, "\"%s\" must be a number from %g", key_names[key], least);
    }
    *to = parser->reader.number;
    return TKR_OK;
}

static tkr_status parse_pooling(line_parser *parser) {
    const tkr_cli_option *option = &tkr_cli_options[TKR_OPT_FRAME_POOLING];
    const tkr_value_rule rule = {TKR_VALUE_CHOICE, option->argument, 0, 0};
    uint64_t number = 0;
    double real = 0;
    char *text = tkr_arena_strndup(&parser->block->strings, parser->reader.string, parser->reader.n_string);
    if (text == NULL) {
        return no_memory(parser->error);
    }
    if (tkr_value_read(&number, &real, &rule, text, key_names[KEY_VIDEO_POOLING], parser->error) != TKR_OK) {
        return TKR_FORMAT;
    }
    parser->item->input.video_pooling = (tkr_video_pooling)number;
    return TKR_OK;
}

static tkr_status parse_flag(line_parser *parser, known_key key, tkr_jr_type type) {
    if (type != TKR_JR_TRUE && type != TKR_JR_FALSE) {
        return TKR_FAIL(parser->error, FORMAT, "\"%s\" must be true or false", key_names[key]);
    }
    *(key == KEY_INTERPOLATE ? &parser->item->input.interpolate : &parser->item->input.hub_limits) =
        type == TKR_JR_TRUE;
    return TKR_OK;
}

static tkr_status parse_words(line_parser *parser, known_key key) {
    tkr_input *input = &parser->item->input;
    if (memchr(parser->reader.string, '\0', parser->reader.n_string) != NULL) {
        return TKR_FAIL(parser->error, FORMAT, "\"%s\" must not hold U+0000", key_names[key]);
    }
    const char *copy = tkr_arena_strndup(&parser->block->strings, parser->reader.string, parser->reader.n_string);
    *(key == KEY_PROMPT ? &input->prompt : key == KEY_PROMPT_NAME ? &input->prompt_name : &input->instruction) = copy;
    return copy != NULL ? TKR_OK : no_memory(parser->error);
}

static tkr_status parse_field(line_parser *parser, known_key key) {
    if (parser->seen[key]) {
        return TKR_FAIL(parser->error, FORMAT, "\"%s\" is there twice", key_names[key]);
    }
    parser->seen[key] = true;
    if (key == KEY_ID) {
        return parse_id(parser);
    }
    if (key == KEY_IMAGES) {
        return parse_pictures(parser);
    }
    tkr_jr_type type = tkr_jr_next(&parser->reader);
    if (type == TKR_JR_ERROR) {
        return TKR_FORMAT;
    }
    if (type == TKR_JR_NULL && key != KEY_TEXT) {
        return TKR_OK;
    }
    if (key == KEY_IMAGE) {
        return parse_picture(parser, type);
    }
    if (key == KEY_VIDEO) {
        return parse_video(parser, type);
    }
    if (key == KEY_DOCUMENT) {
        return parse_document(parser, type);
    }
    if (key == KEY_FPS || key == KEY_START || key == KEY_END) {
        return parse_real(parser, key, type);
    }
    if ((key >= KEY_MIN_PIXELS && key <= KEY_HEIGHT) || key == KEY_MAX_FRAMES) {
        return parse_number(parser, key, type);
    }
    if (key == KEY_INTERPOLATE || key == KEY_HUB_LIMITS) {
        return parse_flag(parser, key, type);
    }
    if (type != TKR_JR_STRING) {
        return TKR_FAIL(parser->error, FORMAT, "\"%s\" must be a string", key_names[key]);
    }
    return key == KEY_TEXT            ? take_text(parser)
           : key == KEY_VIDEO_POOLING ? parse_pooling(parser)
                                      : parse_words(parser, key);
}

/* What goes with what. */
static tkr_status check_object(const line_parser *parser) {
    const bool has_input = parser->text != NULL || parser->parts.size > 0;
    for (size_t k = 0; k < N_KEYS; k++) {
        if (!parser->seen[k] && parser->near[k][0] != '\0') {
            return TKR_FAIL(parser->error, FORMAT, "unknown key \"%s\", did you mean \"%s\"?", parser->near[k],
                            key_names[k]);
        }
        if (parser->seen[k] && k >= KEY_MAX_FRAMES && parser->item->kind != TKR_CLI_VIDEO) {
            return TKR_FAIL(parser->error, FORMAT, "\"%s\" goes with \"video\"", key_names[k]);
        }
        if (parser->seen[k] && k >= KEY_MIN_PIXELS && parser->item->kind == TKR_CLI_DOCUMENT) {
            return TKR_FAIL(parser->error, FORMAT, "\"%s\" goes with pictures and videos, not with \"document\"",
                            key_names[k]);
        }
    }
    if (parser->seen[KEY_INSTRUCT] && parser->seen[KEY_INSTRUCTION]) {
        return TKR_FAIL(parser->error, FORMAT, "\"instruct\" and \"instruction\" mean the same: give one");
    }
    if (parser->video.end_s > 0 && parser->video.end_s <= parser->video.start_s) {
        return TKR_FAIL(parser->error, FORMAT, "\"end_s\" %g is not behind \"start_s\" %g", parser->video.end_s,
                        parser->video.start_s);
    }
    if (parser->document.data != NULL) {
        return has_input ? TKR_FAIL(parser->error, FORMAT,
                                    "\"document\" goes without text, pictures and videos: each passage is an input")
                         : TKR_OK;
    }
    return has_input ? TKR_OK
                     : TKR_FAIL(parser->error, FORMAT,
                                "no \"text\", \"image\", \"images\", \"video\" or \"document\" in the object");
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
    return check_object(parser);
}

/* ---- the whole line ---- */

/* Names of the pictures and the video, and the text. */
static tkr_status make_label(line_parser *parser) {
    tkr_buf label = {0};
    const tkr_part *parts = (const tkr_part *)(const void *)parser->parts.data;
    for (size_t i = 0; i < parser->parts.size / sizeof *parts; i++) {
        const bool file = parts[i].kind == TKR_PART_FILE || parts[i].kind == TKR_PART_VIDEO_FILE;
        const char *name = file ? parts[i].data : parts[i].kind == TKR_PART_VIDEO ? "video" : "picture";
        const size_t n_name = strlen(name);
        tkr_buf_printf(&label, "%s%.*s", i > 0 ? ", " : "", (int)(n_name < 4096 ? n_name : 4096), name);
    }
    if (parser->n_text > 0) {
        tkr_buf_printf(&label, ": ");
        tkr_buf_append(&label, parser->text, parser->n_text);
    }
    parser->item->n_label = label.size;
    parser->item->label = label.failed ? NULL : tkr_arena_strndup(&parser->block->strings, label.data, label.size);
    tkr_buf_free(&label);
    return parser->item->label != NULL ? TKR_OK : no_memory(parser->error);
}

/* What the line and the options say of its video. */
static void fill_video(const line_parser *parser, tkr_part *part) {
    tkr_cli_videos_fill(part, &parser->source->videos);
    part->max_frames = parser->video.max_frames != 0 ? parser->video.max_frames : part->max_frames;
    part->fps = parser->video.fps > 0 ? parser->video.fps : part->fps;
    part->start_s = parser->video.start_s;
    part->end_s = parser->video.end_s;
    if (!parser->seen[KEY_VIDEO_POOLING]) {
        parser->item->input.video_pooling = parser->source->videos.pooling;
    }
}

/* What rows and messages name it by. */
static void take_source(tkr_cli_item *item, const tkr_part *part) {
    const bool named = part->kind == TKR_PART_FILE || part->kind == TKR_PART_VIDEO_FILE ||
                       (part->kind == TKR_PART_URL && !begins(part->data, part->n_data, "data:"));
    item->source = named ? part->data : NULL;
    item->n_source = named ? part->n_data : 0;
}

static tkr_status finish_document(line_parser *parser) {
    const tkr_part *part = &parser->document;
    tkr_cli_item *item = parser->item;
    take_source(item, part);
    item->label = item->source != NULL ? item->source : "document";
    item->n_label = strlen(item->label);
    if (item->source == NULL) {
        if (part->n_data == 0) {
            return TKR_FAIL(parser->error, FORMAT, "the document is empty");
        }
        item->bytes = part->data;
        item->n_bytes = part->n_data;
    }
    return TKR_OK;
}

static tkr_status finish(line_parser *parser) {
    tkr_input *input = &parser->item->input;
    const size_t n = parser->parts.size / sizeof(tkr_part);
    if (parser->document.data != NULL) {
        return finish_document(parser);
    }
    if (n == 0) {
        parser->item->label = input->text = parser->text;
        parser->item->n_label = input->n_text = parser->n_text;
        return TKR_OK;
    }
    tkr_part *parts = tkr_arena_alloc(&parser->block->strings, (n + 1) * sizeof *parts);
    if (parts == NULL) {
        return no_memory(parser->error);
    }
    memcpy(parts, parser->parts.data, n * sizeof *parts);
    parts[n] = (tkr_part){.kind = TKR_PART_TEXT, .data = parser->text, .n_data = parser->n_text};
    if (parser->item->kind == TKR_CLI_VIDEO) {
        fill_video(parser, &parts[parser->video_at]);
    } else {
        parser->item->kind = TKR_CLI_PICTURE;
    }
    if (n == 1) {
        take_source(parser->item, parts);
    }
    input->kind = TKR_INPUT_PARTS;
    input->parts = parts;
    input->n_parts = n + (parser->n_text > 0);
    input->min_pixels = input->min_pixels != 0 ? input->min_pixels : parser->source->min_pixels;
    return make_label(parser);
}

tkr_status tkr_cli_parse_item(tkr_cli_block *block, tkr_cli_item *item, const tkr_cli_source *source, const char *line,
                              size_t size, tkr_error *error) {
    line_parser parser = {.block = block, .item = item, .source = source, .error = error};
    tkr_status status = TKR_FORMAT;
    tkr_jr_init(&parser.reader, line, size, "JSON", error);
    tkr_jr_type type = tkr_jr_next(&parser.reader);
    if (type == TKR_JR_STRING) {
        status = take_text(&parser);
    } else if (type == TKR_JR_OBJECT) {
        status = parse_object(&parser);
    } else if (type != TKR_JR_ERROR) {
        status = TKR_FAIL(error, FORMAT,
                          "expected a JSON string or an object with \"text\", \"image\", \"video\" or \"document\"");
    }
    if (status == TKR_OK && tkr_jr_next(&parser.reader) != TKR_JR_END) {
        status = TKR_FORMAT;
    }
    if (status == TKR_OK) {
        status = finish(&parser);
    }
    tkr_jr_free(&parser.reader);
    tkr_buf_free(&parser.parts);
    return status;
}
