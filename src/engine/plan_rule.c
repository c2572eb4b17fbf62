/* SPDX-License-Identifier: Apache-2.0 */
/* engine/plan_rule: (1) weights of at most M/16 stay as they are; (2) else M sets the level to start from; (3) while
 * weights and workspace exceed M/2, one level more. */
#include <stdarg.h>
#include <stdio.h>

#include "engine/plan_rule.h"

#define GIB ((uint64_t)1 << 30)
#define SMALL_MODEL ((uint64_t)1000000000) /* parameters; below, 4 bits cost too much accuracy to be a default */

const char *tkr_plan_level_name(tkr_plan_level level) {
    static const char *const names[TKR_PLAN_LEVELS] = {"none", "q8", "q4"};
    return names[level];
}

/* "1.12 GiB", "86 MiB" */
typedef struct size_text {
    char text[24];
} size_text;

static size_text sized(uint64_t bytes) {
    size_text out;
    if (bytes >= GIB)
        snprintf(out.text, sizeof out.text, "%.2f GiB", (double)bytes / (double)GIB);
    else
        snprintf(out.text, sizeof out.text, "%.0f MiB", (double)bytes / (1 << 20));
    return out;
}

static void say(tkr_plan_choice *choice, size_t *at, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void say(tkr_plan_choice *choice, size_t *at, const char *format, ...) {
    va_list list;
    if (*at >= sizeof choice->because) return;
    va_start(list, format);
    int n = vsnprintf(choice->because + *at, sizeof choice->because - *at, format, list);
    va_end(list);
    *at += n > 0 ? (size_t)n : 0;
}

void tkr_plan_rule(tkr_plan_choice *choice, const tkr_plan_facts *f) {
    size_t at = 0;
    choice->fits = true;
    if (f->unquantised <= f->memory / 16) {
        choice->level = TKR_PLAN_NONE;
        say(choice, &at, "none: %s of unquantised weights are at most 1/16 of %s of memory", sized(f->unquantised).text,
            sized(f->memory).text);
        return;
    }
    tkr_plan_level level = f->memory <= 16 * GIB ? TKR_PLAN_Q4 : f->memory <= 32 * GIB ? TKR_PLAN_Q8 : TKR_PLAN_NONE;
    say(choice, &at, "%s of unquantised weights are more than 1/16 of %s of memory, which starts at %s",
        sized(f->unquantised).text, sized(f->memory).text, tkr_plan_level_name(level));
    if (level == TKR_PLAN_Q4 && f->n_parameters < SMALL_MODEL) {
        level = TKR_PLAN_Q8;
        say(choice, &at, "; q8 since it has fewer than 1 G parameters");
    }
    const uint64_t budget = f->limit && f->limit < f->memory / 2 ? f->limit : f->memory / 2;
    while (f->need[level] > budget && level + 1 < TKR_PLAN_LEVELS) {
        say(choice, &at, "; %s needs %s, more than %s", tkr_plan_level_name(level), sized(f->need[level]).text,
            sized(budget).text);
        level = (tkr_plan_level)(level + 1);
    }
    choice->level = level;
    choice->fits = f->need[level] <= budget;
    say(choice, &at, ": %s, which needs %s%s", tkr_plan_level_name(level), sized(f->need[level]).text,
        choice->fits ? "" : ", still more");
}
