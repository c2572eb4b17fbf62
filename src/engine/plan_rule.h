/* SPDX-License-Identifier: Apache-2.0 */
/* engine/plan_rule: the one rule by which quantisation `auto` decides, as a pure function of numbers. */
#ifndef TKR_ENGINE_PLAN_RULE_H
#define TKR_ENGINE_PLAN_RULE_H

#include <stdbool.h>

#include "tkr/embed.h"

/* From the largest to the smallest weights. */
typedef enum tkr_plan_level { TKR_PLAN_NONE, TKR_PLAN_Q8, TKR_PLAN_Q4, TKR_PLAN_LEVELS } tkr_plan_level;

typedef struct tkr_plan_facts {
    uint64_t memory;      /* M: what this process may use, cgroup limit included */
    uint64_t limit;       /* the caller's own, 0: none */
    uint64_t unquantised; /* bytes of the weights as published: 2 a parameter when the checkpoint is quantised */
    uint64_t n_parameters;
    uint64_t need[TKR_PLAN_LEVELS]; /* weights and workspace at each level */
} tkr_plan_facts;

typedef struct tkr_plan_choice {
    tkr_plan_level level;
    bool fits;         /* in M / 2 and the limit */
    char because[320]; /* the steps, one line */
} tkr_plan_choice;

void tkr_plan_rule(tkr_plan_choice *choice, const tkr_plan_facts *facts);
const char *tkr_plan_level_name(tkr_plan_level level);

#endif
