/* SPDX-License-Identifier: Apache-2.0 */
/* models/roberta: RoBERTa and CamemBERT encoders: BERT with positions counted from the padding id. Reference:
 * transformers RobertaModel. */
#include "models/model.h"

static const char *const model_types[] = {"roberta", "camembert", NULL};
static const char *const prefixes[] = {"", "roberta.", "camembert.", "model.", NULL};
static const char *const ignored[] = {"*pooler.dense.*", "lm_head.*",    "*embeddings.position_ids",
                                      "classifier.*",    "qa_outputs.*", NULL};

static const tkr_layout layout = {.prefixes = prefixes, .ignored = ignored, TKR_NAMES_OF_BERT};

const tkr_arch tkr_arch_roberta = {
    .name = "roberta",
    .model_types = model_types,
    .configure = tkr_config_roberta,
    .layout = &layout,
};
