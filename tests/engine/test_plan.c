/* SPDX-License-Identifier: Apache-2.0 */
/* The rule of quantisation `auto` on the examples of docs/numerics.md, and the steps that it tells. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/plan_rule.h"

#define GIB ((uint64_t)1 << 30)

/* A model published in 16 bits, with packed sizes as they are here: f32 or bf16, 8 bits, 4.5 bits a weight. */
static tkr_plan_facts model(double parameters, double memory_gib, double bytes_unquantised) {
    const uint64_t workspace = 300u << 20;
    return (tkr_plan_facts){.memory = (uint64_t)(memory_gib * (double)GIB),
                            .unquantised = (uint64_t)(2 * parameters),
                            .n_parameters = (uint64_t)parameters,
                            .need = {(uint64_t)(bytes_unquantised * parameters) + workspace,
                                     (uint64_t)(1.05 * parameters) + workspace,
                                     (uint64_t)(0.57 * parameters) + workspace}};
}

static void expect(const tkr_plan_facts *facts, tkr_plan_level level, bool fits, const char *mention) {
    tkr_plan_choice choice;
    tkr_plan_rule(&choice, facts);
    if (choice.level != level || choice.fits != fits || !strstr(choice.because, mention))
        fail_msg("expected %s mentioning \"%s\", got %s: %s", tkr_plan_level_name(level), mention,
                 tkr_plan_level_name(choice.level), choice.because);
    assert_true(strlen(choice.because) < sizeof choice.because - 1);
}

static void examples(void **state) {
    (void)state;
    const struct {
        double parameters, memory;
        tkr_plan_level level;
    } rows[] = {
        {22.7e6, 8, TKR_PLAN_NONE},                           /* all-MiniLM-L6-v2 */
        {0.6e9, 24, TKR_PLAN_NONE},                           /* Qwen3-Embedding-0.6B, 1.2 GB */
        {0.6e9, 16, TKR_PLAN_Q8},   {2.2e9, 16, TKR_PLAN_Q4}, /* Ops-MM 2B, 4.4 GB */
        {2.2e9, 24, TKR_PLAN_Q8},   {8.0e9, 16, TKR_PLAN_Q4}, /* Ops-MM 7B, 16 GB */
        {8.0e9, 24, TKR_PLAN_Q8},   {8.0e9, 32, TKR_PLAN_Q8}, {8.0e9, 64, TKR_PLAN_NONE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const tkr_plan_facts facts = model(rows[i].parameters, rows[i].memory, 2);
        expect(&facts, rows[i].level, true, tkr_plan_level_name(rows[i].level));
    }
}

static void steps(void **state) {
    (void)state;
    tkr_plan_facts facts = model(0.6e9, 16, 2);
    expect(&facts, TKR_PLAN_Q8, true, "starts at q4; q8 since it has fewer than 1 G parameters");
    facts = model(8e9, 16, 2);
    expect(&facts, TKR_PLAN_Q4, true, "starts at q4: q4");
    facts = model(8e9, 64, 4.5); /* f32 would take more than half */
    expect(&facts, TKR_PLAN_Q8, true, "none needs");
    facts = model(15e9, 32, 2);
    expect(&facts, TKR_PLAN_Q8, true, "q8");
    facts = model(20e9, 32, 2); /* q8 is more than half, q4 is not */
    expect(&facts, TKR_PLAN_Q4, true, "q8 needs");
    facts = model(0.9e9, 2, 2); /* fewer than 1 G parameters, and q4 all the same */
    expect(&facts, TKR_PLAN_Q4, true, "q4");
    facts = model(8e9, 8, 2);
    expect(&facts, TKR_PLAN_Q4, false, "still more");
}

static void the_callers_limit(void **state) {
    (void)state;
    tkr_plan_facts facts = model(8e9, 64, 2);
    facts.limit = 10 * GIB;
    expect(&facts, TKR_PLAN_Q8, true, "none needs");
    facts.limit = 6 * GIB;
    expect(&facts, TKR_PLAN_Q4, true, "q8 needs");
    facts.limit = 1 * GIB;
    expect(&facts, TKR_PLAN_Q4, false, "still more");
    facts = model(22.7e6, 8, 4);
    facts.limit = 350u << 20; /* small models aren't quantised because of it: the caller is told */
    expect(&facts, TKR_PLAN_NONE, true, "none");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(examples), cmocka_unit_test(steps),
                                       cmocka_unit_test(the_callers_limit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
