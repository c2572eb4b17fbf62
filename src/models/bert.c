/* SPDX-License-Identifier: Apache-2.0 */
/* models/bert: BERT encoders (all-MiniLM, bge, e5-small, gte). Post-norm, learned positions from 0, bidirectional.
 * Reference: transformers BertModel. Refuses relative position embeddings and decoders. */
#include "models/model.h"

static const char *const model_types[] = {"bert", NULL};
static const char *const prefixes[] = {"", "bert.", "model.", NULL};
/* Heads that other tasks leave in a checkpoint, and the buffer that older files carry. */
static const char *const ignored[] = {"*pooler.dense.*", "cls.*",        "*embeddings.position_ids",
                                      "classifier.*",    "qa_outputs.*", NULL};

static const tkr_layout layout = {.prefixes = prefixes, .ignored = ignored, TKR_NAMES_OF_BERT};

const tkr_arch tkr_arch_bert = {
    .name = "bert",
    .model_types = model_types,
    .gguf = "bert",
    .configure = tkr_config_bert,
    .layout = &layout,
};
