/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer: BertPreTokenizer. */
#include "tokenizer/engine.h"
#include "tokenizer/unicode.h"

static tkr_status parse(void **self, tkr_tok_loader *loader, const json_t *config) {
    (void)loader;
    (void)config;
    *self = NULL;
    return TKR_OK;
}

static bool run(const void *self, tkr_tok_scratch *scratch) {
    (void)self;
    return tkr_tok_split_props(scratch, TKR_UNI_SPACE, TKR_TOK_REMOVED) &&
           tkr_tok_split_props(scratch, TKR_UNI_PUNCT, TKR_TOK_ISOLATED);
}

static void ascii(const void *self, tkr_tok_ascii *plan) {
    (void)self;
    for (size_t c = 0; c < 128; c++) {
        const unsigned props = tkr_uni(plan->to[c]);
        if (plan->class[c] == TKR_TOK_ASCII_WORD && (props & TKR_UNI_SPACE)) {
            plan->class[c] = TKR_TOK_ASCII_SPACE;
        } else if (plan->class[c] == TKR_TOK_ASCII_WORD && (props & TKR_UNI_PUNCT)) {
            plan->class[c] = TKR_TOK_ASCII_PUNCT;
        }
    }
}

extern const tkr_tok_component tkr_pre_bert;
const tkr_tok_component tkr_pre_bert = {.parse = parse, .run = run, .ascii = ascii};
