/* SPDX-License-Identifier: Apache-2.0 */
/* models/xlm_roberta: XLM-RoBERTa encoders (multilingual-e5, bge-m3 dense). RoBERTa's network under its own names.
 * Reference: transformers XLMRobertaModel. */
#include "models/model.h"

static const char *const model_types[] = {"xlm-roberta", NULL};
static const char *const prefixes[] = {"", "roberta.", "xlm-roberta.", "camembert.", "model.", NULL};
static const char *const ignored[] = {"*pooler.dense.*", "lm_head.*",    "*embeddings.position_ids",
                                      "classifier.*",    "qa_outputs.*", NULL};

static const tkr_layout layout = {.prefixes = prefixes, .ignored = ignored, TKR_NAMES_OF_BERT};

const tkr_arch tkr_arch_xlm_roberta = {
    .name = "xlm_roberta",
    .model_types = model_types,
    .instruct_before = "Instruct: ", /* multilingual-e5-large-instruct */
    .instruct_after = "\nQuery: ",
    .configure = tkr_config_roberta,
    .layout = &layout,
};
