/* SPDX-License-Identifier: Apache-2.0 */
/* routes/schema: JSON Schemas of our own requests and replies, for /openapi.json and /docs. */
#ifndef TKR_SERVER_ROUTES_SCHEMA_H
#define TKR_SERVER_ROUTES_SCHEMA_H

extern const char tkr_schema_embed_text[], tkr_schema_embed_image[], tkr_schema_embed_video[],
    tkr_schema_embed_multimodal[], tkr_schema_embed_document[], tkr_schema_embeddings[], tkr_schema_document[],
    tkr_schema_error[];

/* Errors of the APIs of others. */
#define TKR_SCHEMA_OPENAI_ERROR                                                                                   \
    "{\"type\":\"object\",\"required\":[\"error\"],\"properties\":{\"error\":{\"type\":\"object\",\"required\":[" \
    "\"message\"],"                                                                                               \
    "\"properties\":{\"message\":{\"type\":\"string\"},\"type\":{\"type\":\"string\"}}}}}"
#define TKR_SCHEMA_TEI_ERROR                                                                                        \
    "{\"type\":\"object\",\"required\":[\"error\",\"error_type\"],\"properties\":{\"error\":{\"type\":\"string\"}," \
    "\"error_type\":{\"type\":\"string\"}}}"
#define TKR_SCHEMA_MESSAGE_ERROR \
    "{\"type\":\"object\",\"required\":[\"message\"],\"properties\":{\"message\":{\"type\":\"string\"}}}"
#define TKR_SCHEMA_DETAIL_ERROR \
    "{\"type\":\"object\",\"required\":[\"detail\"],\"properties\":{\"detail\":{\"type\":\"string\"}}}"
#define TKR_SCHEMA_TEXT_ERROR \
    "{\"type\":\"object\",\"required\":[\"error\"],\"properties\":{\"error\":{\"type\":\"string\"}}}"

#endif
