/* SPDX-License-Identifier: Apache-2.0 */
/* routes/embed: what our own routes and the WebSocket share: requests read into a job, replies written from it. */
#ifndef TKR_SERVER_ROUTES_EMBED_H
#define TKR_SERVER_ROUTES_EMBED_H

#include "server/encode.h"
#include "server/read.h"

/* How the reply is to look. In op->state from parse on. */
typedef enum tkr_reply_format { TKR_REPLY_JSON, TKR_REPLY_BYTES, TKR_REPLY_NPY } tkr_reply_format;
typedef struct tkr_embed_reply {
    tkr_reply_format format;
    tkr_wire_type type;
    bool base64;      /* in JSON */
    const char *more; /* members behind the facts, each behind a comma; NULL: none */
} tkr_embed_reply;

/* Parse functions of the handlers. op->body is an object; op->form are files that came with it. */
bool tkr_embed_parse_texts(tkr_operation *op);  /* "texts" or "ids" */
bool tkr_embed_parse_images(tkr_operation *op); /* "images", or files */
bool tkr_embed_parse_videos(tkr_operation *op); /* "videos", or files */
/* "documents", or files. Blocks: reads them. */
bool tkr_embed_parse_documents(tkr_operation *op);
bool tkr_embed_parse_items(tkr_operation *op); /* "items", or one item's fields */
/* Whichever the fields mean. */
bool tkr_embed_parse_any(tkr_operation *op);
bool tkr_embed_render(tkr_operation *op);

/* ---- for these ---- */

/* The body's fields, of which those beyond the options and `more` (NULL-terminated) are refused. */
bool tkr_embed_begin(tkr_fields *fields, tkr_operation *op, const char *const *more);
/* Makes the job's items of `inputs`, all with the options of the request. A list of one is still a list: "texts[0]". */
bool tkr_embed_take(const tkr_fields *fields, const tkr_input *inputs, size_t n, const char *name, bool list);

/* Reads the fields that all requests may have, into op->state, the lane, and `options` (which has the server's
 * defaults). */
bool tkr_embed_read_options(tkr_embed_options *options, const tkr_fields *fields);
/* Their names, NULL-terminated. */
extern const char *const tkr_embed_option_names[];
/* prompt_name (one that the model has), prompt, and instruction or instruct. */
bool tkr_embed_read_prompts(const char **prompt_name, const char **prompt, const char **instruction,
                            const tkr_fields *fields);
/* A picture: a data URI, a URL, base64, or {"url": ...} or {"base64": ...}. */
bool tkr_embed_read_picture(tkr_part *part, tkr_operation *op, const json_t *value, const char *param);
/* The i-th file of op->form: a video where it is called one, else a picture. */
bool tkr_embed_take_file(tkr_part *part, tkr_operation *op, size_t index);
/* Its type is this one ("video", or "video/..."). */
bool tkr_embed_is_type(const tkr_form_part *file, const char *type);
/* How many inputs come as op->form or as `list` (nullable), the field `name`: one of both, and not none.
 * `expected`: "data URIs", in messages. */
bool tkr_embed_count_files(size_t *n, const tkr_fields *fields, const json_t *list, const char *name,
                           const char *expected);
/* A video: as tkr_read_file. */
bool tkr_embed_read_video(tkr_part *part, tkr_operation *op, const json_t *value, const char *param);
/* max_frames, pooling, fps, of all videos among the parts; absent: the configuration's. */
bool tkr_embed_read_frames(tkr_input *input, tkr_part *parts, size_t n, const tkr_fields *fields);
/* min_pixels, max_pixels, width, height, interpolate_pos_encoding, hub_limits: as in the command line's JSON lines. */
bool tkr_embed_read_sizes(tkr_input *input, const tkr_fields *fields);
/* Names of an item's fields but for its prompts, NULL-terminated. */
extern const char *const tkr_embed_item_names[];
/* One item: a string, or an object of texts, pictures and videos. `path` as for tkr_fields_of; `top`: the fields of the
 * request itself, which may have options beside it. */
bool tkr_embed_read_item(tkr_input *input, tkr_operation *op, const json_t *value, const char *path, bool top);

/* "shape":[n,d],...,"model":"...","usage":{...},"fingerprint":"...": all but the vectors, without braces. */
bool tkr_embed_put_facts(tkr_buf *out, const tkr_operation *op);
/* Bytes of all rows, one behind the other. */
bool tkr_embed_put_bytes(tkr_buf *out, const tkr_operation *op);

#endif
