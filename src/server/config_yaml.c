/* SPDX-License-Identifier: Apache-2.0 */
/* server/config: the YAML file, event by event, so that every message names its line. Refuses what isn't in the tables,
 * keys that come twice, anchors, aliases, tags and a second document. */
#include <string.h>
#include <yaml.h>

#include "core/file.h"
#include "core/near.h"
#include "server/config.h"

enum { MAX_FILE = 1 << 20, MAX_MODELS = 64 };

typedef struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the last one, freed by next() */
    bool has_event;
    tkr_settings *settings;
    const char *name;
    size_t line;                        /* of the event, from 1 */
    size_t seen[TKR_N_SETTINGS];        /* line of each setting, 0: not yet */
    size_t seen_models;                 /* line of `models` */
    tkr_model_entry models[MAX_MODELS]; /* [n_models] */
    size_t n_models;
    tkr_error *error;
} reader;

#define FAIL_AT(r, line, format, ...) \
    TKR_FAIL((r)->error, FORMAT, "%s:%zu: " format, (r)->name, (size_t)(line), __VA_ARGS__)

static tkr_status no_memory(const reader *r) { return TKR_FAIL(r->error, NO_MEMORY, "%s: out of memory", r->name); }

/* ---- events ---- */

static tkr_status next(reader *r) {
    if (r->has_event) yaml_event_delete(&r->event);
    r->has_event = false;
    if (yaml_parser_parse(&r->parser, &r->event) == 0) {
        if (r->parser.error == YAML_MEMORY_ERROR) return no_memory(r);
        return FAIL_AT(r, r->parser.problem_mark.line + 1, "not valid YAML: %s%s%s",
                       r->parser.problem != NULL ? r->parser.problem : "unreadable",
                       r->parser.context != NULL ? ", " : "", r->parser.context != NULL ? r->parser.context : "");
    }
    r->has_event = true;
    r->line = r->event.start_mark.line + 1;
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (r->event.type == YAML_ALIAS_EVENT) {
        return FAIL_AT(r, r->line, "*%s: aliases aren't read; write the value itself",
                       (const char *)r->event.data.alias.anchor);
    }
    if (r->event.type == YAML_SCALAR_EVENT) {
        anchor = r->event.data.scalar.anchor;
        tag = r->event.data.scalar.tag;
    } else if (r->event.type == YAML_MAPPING_START_EVENT) {
        anchor = r->event.data.mapping_start.anchor;
        tag = r->event.data.mapping_start.tag;
    } else if (r->event.type == YAML_SEQUENCE_START_EVENT) {
        anchor = r->event.data.sequence_start.anchor;
        tag = r->event.data.sequence_start.tag;
    }
    if (anchor != NULL) return FAIL_AT(r, r->line, "&%s: anchors aren't read; remove it", (const char *)anchor);
    if (tag != NULL) return FAIL_AT(r, r->line, "%s: tags aren't read; remove it", (const char *)tag);
    return TKR_OK;
}

/* Copies the text of the scalar that was just read. NULL without memory or when it holds a NUL (error filled). */
static const char *scalar_text(reader *r) {
    const char *text = (const char *)r->event.data.scalar.value;
    const size_t n = r->event.data.scalar.length;
    if (memchr(text, '\0', n) != NULL) {
        (void)FAIL_AT(r, r->line, "%s", "holds a NUL character");
        return NULL;
    }
    char *copy = tkr_arena_strndup(&r->settings->arena, text, n);
    if (copy == NULL) (void)no_memory(r);
    return copy;
}

/* A key without a value, "null" or "~": as if it weren't there. */
static bool is_null(const reader *r) {
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    if (r->event.type != YAML_SCALAR_EVENT || r->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return false;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp((const char *)r->event.data.scalar.value, words[i]) == 0) return true;
    return false;
}

static const char *kind_of(const reader *r) {
    return r->event.type == YAML_MAPPING_START_EVENT    ? "a section"
           : r->event.type == YAML_SEQUENCE_START_EVENT ? "a list"
                                                        : "a value";
}

/* ---- values ---- */

/* A list, or a text with commas, as one text with commas. */
static tkr_status read_list(reader *r, const char *key, tkr_buf *text) {
    while (true) {
        const tkr_status status = next(r);
        if (status != TKR_OK) return status;
        if (r->event.type == YAML_SEQUENCE_END_EVENT) return TKR_OK;
        if (r->event.type != YAML_SCALAR_EVENT || is_null(r)) {
            return FAIL_AT(r, r->line, "%s holds %s, expected texts", key, is_null(r) ? "nothing" : kind_of(r));
        }
        const char *item = scalar_text(r);
        if (item == NULL) return r->error->status;
        if (strchr(item, ',') != NULL) {
            return FAIL_AT(r, r->line, "%s holds \"%s\", expected texts without a comma", key, item);
        }
        if (!tkr_buf_printf(text, "%s%s", text->size > 0 ? "," : "", item)) return no_memory(r);
    }
}

/* The value of a setting, whose first event has been read. */
static tkr_status read_setting(reader *r, tkr_setting_id id) {
    const tkr_setting *row = &tkr_settings_table[id];
    const tkr_value_rule rule = tkr_setting_rule(id);
    const size_t line = r->line;
    char expected[128];
    tkr_buf list = {0};
    const char *text = NULL;
    tkr_status status = TKR_OK;
    if (is_null(r)) return TKR_OK;
    if (r->event.type == YAML_SEQUENCE_START_EVENT && row->type == TKR_VALUE_LIST) {
        status = read_list(r, row->key, &list);
        text = list.size > 0 ? list.data : "";
    } else if (r->event.type == YAML_SCALAR_EVENT) {
        text = scalar_text(r);
        if (text == NULL) return r->error->status;
    } else {
        tkr_value_expected(expected, sizeof expected, &rule);
        return FAIL_AT(r, line, "%s is %s, expected %s", row->key, kind_of(r), expected);
    }
    tkr_arena *arena = &r->settings->arena;
    const tkr_setting_source from = {tkr_arena_printf(arena, "%s:%zu: %s", r->name, line, row->key),
                                     tkr_arena_printf(arena, "%s:%zu", r->name, line)};
    if (status == TKR_OK && (from.source == NULL || from.origin == NULL)) status = no_memory(r);
    if (status == TKR_OK) status = tkr_setting_set(r->settings, id, text, &from, r->error);
    tkr_buf_free(&list);
    return status;
}

/* ---- the `models` list ---- */

typedef struct model_field {
    const char *name;
    tkr_setting_id like; /* the setting that has the same rule */
    size_t offset;       /* of the text in tkr_model_entry; SIZE_MAX: a field of its own */
} model_field;
static const model_field model_fields[TKR_N_MODEL_KEYS] = {
    [TKR_KEY_NAME] = {"name", TKR_SET_MODEL, offsetof(tkr_model_entry, name)},
    [TKR_KEY_ALIAS] = {"alias", TKR_SET_MODEL_ALIAS, offsetof(tkr_model_entry, alias)},
    [TKR_KEY_QUANTIZATION] = {"quantization", TKR_SET_QUANTIZATION, offsetof(tkr_model_entry, quantization)},
    [TKR_KEY_PRECISION] = {"precision", TKR_SET_PRECISION, offsetof(tkr_model_entry, precision)},
    [TKR_KEY_DEVICE] = {"device", TKR_SET_DEVICE, offsetof(tkr_model_entry, device)},
    [TKR_KEY_POOLING] = {"pooling", TKR_SET_POOLING, offsetof(tkr_model_entry, pooling)},
    [TKR_KEY_MAX_TEXT_LENGTH] = {"max_text_length", TKR_SET_MAX_TEXT_LENGTH, SIZE_MAX},
    [TKR_KEY_LAZY] = {"lazy", TKR_SET_OFFLINE, SIZE_MAX}, /* any FLAG */
};

static tkr_status read_model_field(reader *r, tkr_model_entry *model, size_t field) {
    const tkr_value_rule rule = tkr_setting_rule(model_fields[field].like);
    char expected[128];
    uint64_t number = 0;
    double real = 0;
    if (is_null(r)) return TKR_OK;
    if (r->event.type != YAML_SCALAR_EVENT) {
        tkr_value_expected(expected, sizeof expected, &rule);
        return FAIL_AT(r, r->line, "models: %s is %s, expected %s", model_fields[field].name, kind_of(r), expected);
    }
    const char *text = scalar_text(r);
    if (text == NULL) return r->error->status;
    const char *source =
        tkr_arena_printf(&r->settings->arena, "%s:%zu: models: %s", r->name, r->line, model_fields[field].name);
    if (source == NULL) return no_memory(r);
    tkr_status status = tkr_setting_check_text(text, source, r->error);
    if (status == TKR_OK) status = tkr_value_read(&number, &real, &rule, text, source, r->error);
    if (status != TKR_OK) return status;
    if (rule.type == TKR_VALUE_COUNT) {
        model->max_tokens = number;
    } else if (rule.type == TKR_VALUE_FLAG) {
        model->lazy = number != 0;
    } else if (text[0] != '\0' || field == TKR_KEY_POOLING) {
        memcpy((char *)model + model_fields[field].offset, &text, sizeof text);
    } else {
        return TKR_OK; /* says nothing */
    }
    model->origins[field] = tkr_arena_printf(&r->settings->arena, "%s:%zu", r->name, r->line);
    return model->origins[field] != NULL ? TKR_OK : no_memory(r);
}

static tkr_status unknown_model_field(reader *r, const char *key) {
    const char *words[TKR_N_MODEL_KEYS + 1] = {NULL};
    for (size_t i = 0; i < TKR_N_MODEL_KEYS; i++) words[i] = model_fields[i].name;
    const char *near = tkr_nearest(key, words);
    if (near != NULL) {
        return FAIL_AT(r, r->line, "unknown key \"%s\" of a model in \"models\", did you mean \"%s\"?", key, near);
    }
    return FAIL_AT(
        r, r->line,
        "unknown key \"%s\" of a model in \"models\"; there are name, alias, quantization, precision, device, "
        "pooling, max_text_length and lazy",
        key);
}

/* One model; its mapping has just begun. */
static tkr_status read_model(reader *r) {
    if (r->n_models == MAX_MODELS) return FAIL_AT(r, r->line, "more than %d models", MAX_MODELS);
    tkr_model_entry *model = &r->models[r->n_models];
    size_t seen[TKR_N_MODEL_KEYS] = {0};
    const size_t line = r->line;
    model->origin = tkr_arena_printf(&r->settings->arena, "%s:%zu", r->name, line);
    tkr_status status = model->origin != NULL ? next(r) : no_memory(r);
    for (; status == TKR_OK && r->event.type != YAML_MAPPING_END_EVENT; status = status == TKR_OK ? next(r) : status) {
        if (r->event.type != YAML_SCALAR_EVENT) return FAIL_AT(r, r->line, "a key is %s, expected a word", kind_of(r));
        const char *key = scalar_text(r);
        size_t field = 0;
        if (key == NULL) return r->error->status;
        while (field < TKR_N_MODEL_KEYS && strcmp(key, model_fields[field].name) != 0) field++;
        if (field == TKR_N_MODEL_KEYS) return unknown_model_field(r, key);
        if (seen[field] > 0) return FAIL_AT(r, r->line, "key \"%s\" was given in line %zu already", key, seen[field]);
        seen[field] = r->line;
        status = next(r);
        if (status == TKR_OK) status = read_model_field(r, model, field);
    }
    if (status != TKR_OK) return status;
    if (model->name == NULL) return FAIL_AT(r, line, "%s", "models: a model without \"name\"");
    r->n_models++;
    return TKR_OK;
}

static tkr_status read_models(reader *r) {
    tkr_status status = TKR_OK;
    if (is_null(r)) return TKR_OK;
    if (r->event.type != YAML_SEQUENCE_START_EVENT) {
        return FAIL_AT(r, r->line, "models is %s, expected a list of models: \"- name: minilm\"", kind_of(r));
    }
    while ((status = next(r)) == TKR_OK && r->event.type != YAML_SEQUENCE_END_EVENT) {
        if (r->event.type != YAML_MAPPING_START_EVENT) {
            return FAIL_AT(r, r->line, "models holds %s, expected models such as \"- name: minilm\"", kind_of(r));
        }
        status = read_model(r);
        if (status != TKR_OK) return status;
    }
    return status;
}

/* ---- sections ---- */

/* Length of a row's section, without the dot; 0: it stands outside of sections. */
static size_t section_length(size_t id) {
    const char *dot = strchr(tkr_settings_table[id].key, '.');
    return dot != NULL ? (size_t)(dot - tkr_settings_table[id].key) : 0;
}

static bool in_section(size_t id, const char *section) {
    const size_t n = section_length(id);
    return n > 0 && strlen(section) == n && memcmp(tkr_settings_table[id].key, section, n) == 0;
}

/* The row of that key in that section ("": outside of sections); TKR_N_SETTINGS: none. */
static size_t find_setting(const char *section, const char *key) {
    for (size_t i = 0; i < TKR_N_SETTINGS; i++) {
        const size_t n = section_length(i);
        const bool here = section[0] == '\0' ? n == 0 : in_section(i, section);
        if (here && strcmp(tkr_settings_table[i].key + (n > 0 ? n + 1 : 0), key) == 0) return i;
    }
    return TKR_N_SETTINGS;
}

static tkr_status unknown_key(reader *r, const char *section, const char *key) {
    const char *words[TKR_N_SETTINGS + 1] = {NULL};
    size_t n = 0;
    for (size_t i = 0; i < TKR_N_SETTINGS; i++) {
        const char *name = tkr_settings_table[i].key + section_length(i) + 1;
        if (in_section(i, section)) {
            words[n++] = name;
        } else if (section_length(i) > 0 && strcmp(name, key) == 0) {
            return FAIL_AT(r, r->line, "unknown key \"%s\" in section \"%s\"; it belongs to section \"%.*s\"", key,
                           section, (int)section_length(i), tkr_settings_table[i].key);
        }
    }
    const char *near = tkr_nearest(key, words);
    return near != NULL
               ? FAIL_AT(r, r->line, "unknown key \"%s\" in section \"%s\", did you mean \"%s\"?", key, section, near)
               : FAIL_AT(r, r->line, "unknown key \"%s\" in section \"%s\" (docs/operations.md lists them)", key,
                         section);
}

static tkr_status unknown_section(reader *r, const char *name) {
    const char *words[TKR_N_SETTINGS + 2] = {"models"};
    size_t n = 1;
    tkr_buf all = {0};
    tkr_buf_printf(&all, "models");
    for (size_t i = 0; i < TKR_N_SETTINGS; i++) {
        const size_t length = section_length(i);
        const char *key = tkr_settings_table[i].key;
        if (i > 0 && length > 0 && section_length(i - 1) == length &&
            memcmp(key, tkr_settings_table[i - 1].key, length) == 0) {
            continue; /* rows of a section follow one another */
        }
        const char *word = length > 0 ? tkr_arena_strndup(&r->settings->arena, key, length) : key;
        if (word == NULL) break;
        words[n++] = word;
        tkr_buf_printf(&all, ", %s", word);
    }
    const char *near = tkr_nearest(name, words);
    const tkr_status status =
        near != NULL ? FAIL_AT(r, r->line, "unknown section \"%s\", did you mean \"%s\"?", name, near)
                     : FAIL_AT(r, r->line, "unknown section \"%s\"; there are %s", name, all.failed ? "" : all.data);
    tkr_buf_free(&all);
    return status;
}

/* A setting's key has just been read: checks that it is the first one, reads its value. */
static tkr_status read_key(reader *r, size_t id) {
    if (r->seen[id] > 0) {
        return FAIL_AT(r, r->line, "%s was given in line %zu already", tkr_settings_table[id].key, r->seen[id]);
    }
    r->seen[id] = r->line;
    const tkr_status status = next(r);
    return status == TKR_OK ? read_setting(r, (tkr_setting_id)id) : status;
}

static tkr_status read_section(reader *r, const char *section) {
    if (is_null(r)) return TKR_OK;
    if (r->event.type != YAML_MAPPING_START_EVENT) {
        return FAIL_AT(r, r->line, "section \"%s\" is %s, expected keys with values below it", section, kind_of(r));
    }
    tkr_status status = TKR_OK;
    while ((status = next(r)) == TKR_OK && r->event.type != YAML_MAPPING_END_EVENT) {
        if (r->event.type != YAML_SCALAR_EVENT) return FAIL_AT(r, r->line, "a key is %s, expected a word", kind_of(r));
        const char *key = scalar_text(r);
        if (key == NULL) return r->error->status;
        const size_t id = find_setting(section, key);
        status = id < TKR_N_SETTINGS ? read_key(r, id) : unknown_key(r, section, key);
        if (status != TKR_OK) return status;
    }
    return status;
}

/* One key of the document and what belongs to it. `seen` has the line of each section, at its first row. */
static tkr_status read_top(reader *r, size_t *seen) {
    const char *key = scalar_text(r);
    if (key == NULL) return r->error->status;
    const size_t id = find_setting("", key);
    if (id < TKR_N_SETTINGS) return read_key(r, id);
    const bool models = strcmp(key, "models") == 0;
    size_t first = 0;
    while (first < TKR_N_SETTINGS && !in_section(first, key)) first++;
    if (!models && first == TKR_N_SETTINGS) return unknown_section(r, key);
    size_t *line = models ? &r->seen_models : &seen[first];
    if (*line > 0) return FAIL_AT(r, r->line, "section \"%s\" was given in line %zu already", key, *line);
    *line = r->line;
    const tkr_status status = next(r);
    return status != TKR_OK ? status : models ? read_models(r) : read_section(r, key);
}

static tkr_status read_document(reader *r) {
    size_t seen[TKR_N_SETTINGS] = {0};
    if (is_null(r)) return next(r); /* nothing but comments */
    if (r->event.type != YAML_MAPPING_START_EVENT) {
        return FAIL_AT(r, r->line, "the file is %s, expected sections such as \"server:\"", kind_of(r));
    }
    tkr_status status = TKR_OK;
    while ((status = next(r)) == TKR_OK && r->event.type != YAML_MAPPING_END_EVENT) {
        if (r->event.type != YAML_SCALAR_EVENT) return FAIL_AT(r, r->line, "a key is %s, expected a word", kind_of(r));
        status = read_top(r, seen);
        if (status != TKR_OK) return status;
    }
    return status == TKR_OK ? next(r) : status;
}

/* Stream, document, its content, and the end of both. */
static tkr_status read_stream(reader *r) {
    tkr_status status = next(r);
    if (status == TKR_OK) status = next(r);
    if (status != TKR_OK || r->event.type == YAML_STREAM_END_EVENT) return status;
    status = next(r);
    if (status == TKR_OK) status = read_document(r);
    if (status == TKR_OK) status = next(r);
    if (status == TKR_OK && r->event.type != YAML_STREAM_END_EVENT) {
        return FAIL_AT(r, r->line, "%s", "a second document begins; settings are one document");
    }
    return status;
}

tkr_status tkr_config_parse(tkr_settings *settings, const char *text, size_t size, const char *name, tkr_error *error) {
    tkr_error own = {0};
    reader *r = tkr_calloc(1, sizeof *r);
    if (r == NULL) return TKR_FAIL(error, NO_MEMORY, "%s: out of memory", name);
    r->settings = settings;
    r->name = name;
    r->error = error != NULL ? error : &own;
    tkr_status status = TKR_OK;
    if (yaml_parser_initialize(&r->parser) == 0) {
        tkr_free(r);
        return TKR_FAIL(error, NO_MEMORY, "%s: out of memory", name);
    }
    yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)text, size);
    status = read_stream(r);
    if (status == TKR_OK && r->n_models > 0) {
        settings->models = tkr_arena_alloc(&settings->arena, r->n_models * sizeof *r->models);
        if (settings->models != NULL) {
            memcpy(settings->models, r->models, r->n_models * sizeof *r->models);
            settings->n_models = r->n_models;
        } else {
            status = no_memory(r);
        }
    }
    if (r->has_event) yaml_event_delete(&r->event);
    yaml_parser_delete(&r->parser);
    tkr_free(r);
    return status;
}

tkr_status tkr_config_read(tkr_settings *settings, const char *path, tkr_error *error) {
    tkr_buf text = {0};
    tkr_status status = tkr_file_read(&text, path, MAX_FILE, error);
    if (status == TKR_OK) status = tkr_config_parse(settings, text.data, text.size, path, error);
    tkr_buf_free(&text);
    return status;
}
