/* SPDX-License-Identifier: Apache-2.0 */
/* engine/gguf_model: a GGUF file as a checkpoint: its metadata as config.json would say it, its tensors under the names
 * that the architecture binds, its tokenizer. Refuses architectures that the registry does not map. */
#ifndef TKR_ENGINE_GGUF_MODEL_H
#define TKR_ENGINE_GGUF_MODEL_H

#include <jansson.h>

#include "formats/gguf.h"
#include "models/model.h"
#include "tokenizer/tokenizer.h"

/* The architecture of general.architecture; TKR_UNSUPPORTED names it and those that are supported. */
tkr_status tkr_gguf_arch(const tkr_arch **arch, const tkr_gguf *file, const char *path, tkr_error *error);
/* What config.json of the same model holds. Returns a new reference. */
tkr_status tkr_gguf_config(json_t **config, const tkr_gguf *file, const char *path, tkr_error *error);
/* After `configure` on that `json`: what a file says otherwise than a checkpoint. */
void tkr_gguf_adjust(tkr_arch_config *config, const json_t *json, const tkr_gguf *file);
/* The network's tensors under the layout's names, and the Dense modules behind the pooling ("dense_2.weight", ...;
 * NULL when there are none). The file must outlive both. */
tkr_status tkr_gguf_model_tensors(tkr_tensors **network, tkr_tensors **dense, const tkr_gguf *file,
                                  const tkr_layout *layout, tkr_error *error);
/* Pooling mode by pooling_type, NULL when the file has none. TKR_UNSUPPORTED for rerankers. */
tkr_status tkr_gguf_pooling(const char **pooling, const tkr_gguf *file, const char *path, tkr_error *error);
/* Limit in tokens, 0 when the file has none. */
size_t tkr_gguf_context_length(const tkr_gguf *file);
/* Returns the tokenizer inside the file. */
tkr_status tkr_gguf_load_tok(tkr_tok **tok, const tkr_gguf *file, const char *path, const tkr_tok_options *options,
                             tkr_error *error);

/* "<general.architecture>.<key>"; NULL when there is none. */
const tkr_gguf_value *tkr_gguf_arch_value(const tkr_gguf *file, const char *key);
/* general.architecture as a copy of at most size - 1 bytes, "" when there is none. */
void tkr_gguf_arch_name(char *out, size_t size, const tkr_gguf *file);

#endif
