/* SPDX-License-Identifier: Apache-2.0 */
/* routes/jina: POST /v1/embeddings with Jina's fields: objects as inputs, tasks, several vectors an input.
 * task chooses the checkpoint's prompt: one of the task's own name, else retrieval.query and code.query -> as queries,
 * retrieval.passage and code.passage -> as documents, text-matching -> "similarity" or "sts", separation ->
 * "clustering"; checkpoints without such a prompt: the server's default. */
#include <stdio.h>
#include <string.h>

#include "server/routes/shape.h"

/* ---- errors: {"detail"} ---- */

static void error(tkr_operation *op) {
    const bool refused = op->fault.kind == TKR_FAULT_TYPE || op->fault.kind == TKR_FAULT_NO_MODEL;
    tkr_shape_detail(op, refused ? 400 : tkr_fault_status(op->fault.kind));
}

const tkr_api tkr_api_jina = {.name = "jina", .error = error};

/* ---- requests ---- */

static bool read_object(tkr_input *input, tkr_operation *op, const json_t *value, const char *path) {
    tkr_fields fields;
    char inside[66], param[72];
    (void)snprintf(inside, sizeof inside, "%s.", path);
    if (!tkr_fields_of(&fields, op, value, inside)) return false;
    const json_t *text = tkr_fields_get(&fields, "text"), *image = tkr_fields_get(&fields, "image");
    if (tkr_fields_get(&fields, "pdf"))
        return tkr_fields_refuse(&fields, TKR_FAULT_UNSUPPORTED, "pdf",
                                 "no PDF is read here; send its text, or its pages as pictures");
    if ((text != NULL) == (image != NULL))
        return tkr_fields_refuse(&fields, TKR_FAULT_VALUE, "text", "an input holds either \"text\" or \"image\"");
    if (image) {
        (void)snprintf(param, sizeof param, "%simage", inside);
        return tkr_shape_picture(input, op, image, param, TKR_READ_DATA_URI | TKR_READ_URL | TKR_READ_BASE64);
    }
    (void)snprintf(param, sizeof param, "%stext", inside);
    return tkr_shape_one_text(input, op, text, param);
}

/* A string, a list of strings, or a list with objects in it. */
static bool take_inputs(tkr_operation *op, const json_t *value) {
    static const tkr_shape_empty empty = {"input: is an empty list", NULL};
    const size_t n = json_array_size(value);
    char path[64];
    bool objects = false;
    for (size_t i = 0; i < n && !objects; i++) objects = json_is_object(json_array_get(value, i));
    if (!objects) return tkr_shape_inputs(op, value, "input", TKR_READ_TEXT | TKR_READ_IDS, &empty);
    tkr_input *inputs = tkr_operation_fits(op, n) ? tkr_operation_alloc(op, n * sizeof *inputs) : NULL;
    if (!inputs) return false;
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(value, i);
        (void)snprintf(path, sizeof path, "input[%zu]", i);
        if (!(json_is_object(item) ? read_object : tkr_shape_one_text)(&inputs[i], op, item, path)) return false;
    }
    return tkr_shape_take(op, inputs, n, "input");
}

typedef struct jina_task {
    const char *name;
    const char *const *prompts; /* beside its own name; NULL: none */
} jina_task;

static bool read_task(tkr_embed_options *options, const tkr_fields *fields) {
    static const char *const matching[] = {"similarity", "sts", NULL}, *const separation[] = {"clustering", NULL};
    static const jina_task tasks[] = {
        {"retrieval.query", tkr_shape_query}, {"retrieval.passage", tkr_shape_document},
        {"code.query", tkr_shape_query},      {"code.passage", tkr_shape_document},
        {"text-matching", matching},          {"classification", NULL},
        {"separation", separation},           {"clustering", NULL},
    };
    enum { N_TASKS = sizeof tasks / sizeof tasks[0] };
    const char *words[N_TASKS + 1] = {NULL};
    size_t task = SIZE_MAX;
    for (size_t i = 0; i < N_TASKS; i++) words[i] = tasks[i].name;
    if (!tkr_fields_word(&task, fields, "task", words)) return false;
    if (task == SIZE_MAX) return true;
    const char *const own[] = {tasks[task].name, NULL};
    if (tasks[task].prompts) tkr_shape_prompt(options, fields->op, tasks[task].prompts);
    tkr_shape_prompt(options, fields->op, own);
    return true;
}

static bool read_form(tkr_form *form, const tkr_fields *fields, const json_t *word) {
    static const char *const words[] = {"float", "base64", "binary", "ubinary"};
    static const tkr_form forms[] = {{0}, {.base64 = true}, {.type = TKR_WIRE_BINARY}, {.type = TKR_WIRE_UBINARY}};
    for (size_t i = 0; json_is_string(word) && i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(json_string_value(word), words[i]) != 0) continue;
        *form = forms[i];
        return true;
    }
    return tkr_fields_refuse(fields, TKR_FAULT_VALUE, "embedding_type",
                             "%.40s is none of float, base64, binary and ubinary",
                             json_is_string(word) ? json_string_value(word) : tkr_json_type_name(word));
}

/* A word, or a list of words. */
static bool read_forms(tkr_list_form *list, const tkr_fields *fields) {
    const json_t *types = tkr_fields_get(fields, "embedding_type");
    const size_t n = json_is_array(types) ? json_array_size(types) : 1;
    tkr_form *forms = tkr_operation_alloc(fields->op, (n ? n : 1) * sizeof *forms);
    if (!forms) return false;
    if (n == 0 || n > 4)
        return tkr_fields_refuse(fields, TKR_FAULT_VALUE, "embedding_type", "is a list of %zu words, expected 1 to 4",
                                 n);
    for (size_t i = 0; types && i < n; i++)
        if (!read_form(&forms[i], fields, json_is_array(types) ? json_array_get(types, i) : types)) return false;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            if (forms[i].type == forms[k].type && forms[i].base64 == forms[k].base64)
                return tkr_fields_refuse(fields, TKR_FAULT_VALUE, "embedding_type", "names one type twice");
    list->forms = forms;
    list->n = n;
    return types || tkr_shape_format(&forms[0], fields, "encoding_format"); /* OpenAI's name for it */
}

/* What would change vectors and can't be done is refused, not left out. */
static bool read_extras(tkr_list_form *list, const tkr_fields *fields) {
    const tkr_model_info *info = fields->op->model->info;
    bool late = false, tokenized = false;
    if (!tkr_fields_bool(&late, fields, "late_chunking") ||
        !tkr_fields_bool(&tokenized, fields, "return_tokenized_input") ||
        !tkr_fields_bool(&list->rows, fields, "return_multivector"))
        return false;
    if (late)
        return tkr_fields_refuse(fields, TKR_FAULT_UNSUPPORTED, "late_chunking",
                                 "is not done here; send each chunk as an input of its own, with false");
    if (tokenized)
        return tkr_fields_refuse(fields, TKR_FAULT_UNSUPPORTED, "return_tokenized_input",
                                 "is not done here; POST /tokenize gives the tokens");
    if (list->rows != (info->multi_vector != 0))
        return tkr_fields_refuse(fields, TKR_FAULT_UNSUPPORTED, "return_multivector",
                                 "must be %s: the model \"%.100s\" gives %s", list->rows ? "false" : "true",
                                 fields->op->model->name,
                                 list->rows ? "one vector an input" : "one vector a token, not one an input");
    return true;
}

static bool embeddings_parse(tkr_operation *op) {
    tkr_fields fields;
    const json_t *input;
    bool normalized = true;
    tkr_list_form *list = tkr_operation_alloc(op, sizeof *list);
    if (!list || !tkr_fields_of(&fields, op, op->body, "") || !tkr_fields_require(&input, &fields, "input") ||
        !take_inputs(op, input))
        return false;
    tkr_embed_options *options = tkr_shape_options(op);
    if (!read_task(options, &fields) || !read_forms(list, &fields) || !read_extras(list, &fields) ||
        !tkr_shape_dimensions(options, &fields, "dimensions") || !tkr_shape_truncate(options, &fields, "truncate") ||
        !tkr_fields_bool(&normalized, &fields, "normalized"))
        return false;
    options->normalize = normalized ? TKR_YES : TKR_NO;
    tkr_shape_share(op);
    op->state = list;
    return true;
}

static bool embeddings_render(tkr_operation *op) { return tkr_list_render(op, op->state); }

const tkr_handler tkr_handler_jina_embeddings = {
    .name = "jina_embeddings",
    .api = &tkr_api_jina,
    .body = TKR_BODY_JSON,
    .parse = embeddings_parse,
    .render = embeddings_render,
    .wants_model = true,
    .request_schema = TKR_SCHEMA({
        "type" : "object",
        "required" : ["input"],
        "properties" : {
            "model" : {"type" : "string"},
            "input" : {
                "anyOf" : [
                    {"type" : "string"}, {
                        "type" : "array",
                        "minItems" : 1,
                        "items" : {
                            "anyOf" : [
                                {"type" : "string"}, {
                                    "type" : "object",
                                    "required" : ["text"],
                                    "properties" : {"text" : {"type" : "string"}}
                                },
                                {
                                    "type" : "object",
                                    "required" : ["image"],
                                    "properties" : {"image" : {"type" : "string", "minLength" : 1}}
                                }
                            ]
                        }
                    }
                ]
            },
            "task" : {
                "enum" : [
                    "retrieval.query", "retrieval.passage", "code.query", "code.passage", "text-matching",
                    "classification", "separation", "clustering"
                ]
            },
            "dimensions" : {"type" : "integer", "minimum" : 1},
            "embedding_type" : {
                "anyOf" : [
                    {"enum" : [ "float", "base64", "binary", "ubinary" ]}, {
                        "type" : "array",
                        "minItems" : 1,
                        "uniqueItems" : true,
                        "items" : {"enum" : [ "float", "base64", "binary", "ubinary" ]}
                    }
                ]
            },
            "encoding_format" :
                {"enum" : [ "float", "base64" ], "description" : "means something without embedding_type only"},
            "normalized" : {"type" : "boolean", "default" : true},
            "late_chunking" : {"const" : false},
            "truncate" : {"type" : "boolean"},
            "return_multivector" : {"type" : "boolean", "default" : false}
        }
    }),
    .response_schema = TKR_SCHEMA({
        "type" : "object",
        "required" : [ "object", "data", "model", "usage" ],
        "properties" : {
            "object" : {"const" : "list"},
            "data" : {
                "type" : "array",
                "items" : {
                    "type" : "object",
                    "required" : [ "object", "index" ],
                    "properties" : {
                        "object" : {"const" : "embedding"},
                        "index" : {"type" : "integer"},
                        "embedding" : {"type" : [ "array", "string", "object" ]},
                        "embeddings" : {"type" : [ "array", "object" ]}
                    }
                }
            },
            "model" : {"type" : "string"},
            "usage" : {"type" : "object"}
        }
    }),
};
