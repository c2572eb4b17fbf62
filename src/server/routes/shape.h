/* SPDX-License-Identifier: Apache-2.0 */
/* routes/shape: what the APIs of others have in common: inputs with shared options, prompts by purpose, vectors in the
 * wanted form, OpenAI's list. Not for our own routes. */
#ifndef TKR_SERVER_ROUTES_SHAPE_H
#define TKR_SERVER_ROUTES_SHAPE_H

#include "server/encode.h"
#include "server/read.h"

/* JSON as a C string. */
#define TKR_SCHEMA(...) #__VA_ARGS__

/* ---- requests ---- */

/* How vectors are written. */
typedef struct tkr_form {
    tkr_wire_type type;
    bool base64;
} tkr_form;

/* Makes the job's items of read inputs and calls them `name` in messages. */
bool tkr_shape_take(tkr_operation *op, const tkr_input *inputs, size_t n, const char *name);

/* What an API says to inputs that are refused although they are well-formed. */
typedef struct tkr_shape_empty {
    const char *list, *item; /* no inputs; an empty one. NULL: fine */
} tkr_shape_empty;
/* tkr_read_inputs and tkr_shape_take. */
bool tkr_shape_inputs(tkr_operation *op, const json_t *value, const char *name, unsigned allow,
                      const tkr_shape_empty *empty);

/* Options of all items: change what this gives, then share. Never NULL after tkr_shape_take; no item: a spare. */
tkr_embed_options *tkr_shape_options(tkr_operation *op);
void tkr_shape_share(tkr_operation *op);

/* Whether a longer text is cut (true: at its end) or refused; absent: the server's default. */
bool tkr_shape_truncate(tkr_embed_options *options, const tkr_fields *fields, const char *name);
/* 1 to the model's dimensions; VALUE says which. */
bool tkr_shape_dimensions(tkr_embed_options *options, const tkr_fields *fields, const char *name);
/* The first of the names (NULL-terminated) that the model has a prompt of; none: the default stays. */
void tkr_shape_prompt(tkr_embed_options *options, const tkr_operation *op, const char *const *names);
/* Names of prompts for queries and for documents, as checkpoints have them. */
extern const char *const tkr_shape_query[], *const tkr_shape_document[];
/* UNSUPPORTED where the model gives several vectors an input, which `api` has no place for. */
bool tkr_shape_one_vector(tkr_operation *op, const char *api);

/* encoding_format: "float" or "base64". Absent: `form` stays. */
bool tkr_shape_format(tkr_form *form, const tkr_fields *fields, const char *name);

/* "inputs": [{"content": [{"type": "text"|"image_url"|"image_base64", ...}, ...]}, ...], as Cohere and Voyage have it:
 * tkr_shape_take. Texts that follow each other become one, a blank between them, and texts alone a TKR_INPUT_TEXT.
 * *n_images: pictures of all. */
bool tkr_shape_contents(tkr_operation *op, size_t *n_images, const json_t *inputs);
/* An input that is one text; TYPE for all but a string. */
bool tkr_shape_one_text(tkr_input *input, tkr_operation *op, const json_t *value, const char *path);
/* A picture; TYPE for all but a string, else as tkr_read_picture. */
bool tkr_shape_part(tkr_part *part, tkr_operation *op, const json_t *value, const char *path, unsigned allow);
/* An input that is one picture. */
bool tkr_shape_picture(tkr_input *input, tkr_operation *op, const json_t *value, const char *path, unsigned allow);

/* ---- tokens ---- */

/* Without a limit; with the model's template, its prompts and special tokens as the options say. Free *tokens. */
bool tkr_shape_tokenize(tkr_tokens *tokens, tkr_operation *op, const tkr_input *input,
                        const tkr_embed_options *options);
/* A text alone, as tkr_tools_tokenize. Free *tokens. */
bool tkr_shape_tokenize_alone(tkr_tokens *tokens, tkr_operation *op, const char *text, size_t n_text, bool special);
/* The text of ids. Free with tkr_text_free. */
bool tkr_shape_text_of(char **text, size_t *n_text, tkr_operation *op, const int32_t *ids, size_t n, bool skip_special);
/* Appends it as a JSON string. */
bool tkr_shape_decode(tkr_buf *out, tkr_operation *op, const int32_t *ids, size_t n, bool skip_special);

/* ---- replies ---- */

/* The reply's body, emptied: JSON of this status. */
tkr_buf *tkr_shape_reply(tkr_operation *op, unsigned status);
/* The same of a finished job, status 200; says in the field x-truncated-inputs how many inputs were cut. */
tkr_buf *tkr_shape_result(tkr_operation *op);
/* The last step of a reply: false after tkr_refuse when there was no memory for it. */
bool tkr_shape_done(tkr_operation *op);
bool tkr_put_text(tkr_buf *out, const char *text); /* as a JSON string; NULL: null */
/* A comma before all but the first. */
void tkr_put_comma(tkr_buf *out, size_t index);

void tkr_put_vector(tkr_buf *out, tkr_form form, const float *values, size_t n);
/* "[row, row]" */
void tkr_put_rows(tkr_buf *out, tkr_form form, const tkr_job_item *item);
size_t tkr_shape_tokens(const tkr_operation *op); /* of all items */
/* Those of texts: of an item with pictures what its texts alone have, of others all. */
bool tkr_shape_text_tokens(size_t *n, tkr_operation *op);

/* {"object":"list","data":[...],"model":"...","usage":{"prompt_tokens":n,"total_tokens":n}}, each entry with
 * "embedding"; with `rows` with "embeddings", a list. `forms` of one: that form; of more: an object by the forms'
 * names. */
typedef struct tkr_list_form {
    const tkr_form *forms; /* [n] */
    size_t n;
    bool rows;
    bool named;        /* entries in base64 say so, as llama-server's do */
    const char *model; /* the name to tell; NULL: the served model's */
} tkr_list_form;
bool tkr_list_render(tkr_operation *op, const tkr_list_form *form);
/* The same without what comes behind "usage":. */
tkr_buf *tkr_list_begin(tkr_operation *op, const tkr_list_form *form);

/* ---- errors ---- */

enum { TKR_SHAPE_MESSAGE = 720 };

/* Of a text that was too long: its tokens and the limit. false: the fault is of another kind. */
bool tkr_shape_too_long(size_t *n_tokens, size_t *limit, tkr_operation *op);
/* The fault's message, behind the input that it is about where several came and it doesn't say: "input[2]: ...". */
const char *tkr_shape_message(char out[static TKR_SHAPE_MESSAGE], const tkr_operation *op);
/* {"detail":"..."} of Jina and Voyage. */
void tkr_shape_detail(tkr_operation *op, unsigned status);

#endif
