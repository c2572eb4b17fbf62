/* SPDX-License-Identifier: Apache-2.0 */
/* Urgent work in the middle of bulk work: at yield points that may block, the check function of one session's call
 * embeds on another session of the same model, from the same thread. Both give the bits of undisturbed calls. Where it
 * may not block it does so alone, while the other workers go on. */
#include "golden.h"

enum { N_TEXTS = 36, MAX_TEXT = 2200, N_URGENT = 3, CHUNK = 64 };

static char texts[N_TEXTS][MAX_TEXT];
static tkr_input bulk[N_TEXTS];
static const tkr_input urgent[N_URGENT] = {{.text = "a river bank", .n_text = 12},
                                           {.text = "fast", .n_text = 4},
                                           {.text = "water computes the river of 7 banks", .n_text = 35}};

/* Short ones, so that rounds form, and two that all workers compute together. */
static void make_texts(void) {
    static const char *const words[] = {"water", "the", "computes", "fast", "river", "of", "bank", "7"};
    for (size_t i = 0; i < N_TEXTS; i++) {
        const size_t n = i < 2 ? 240 : 3 + i * 7 % 50;
        size_t at = 0;
        for (size_t w = 0; w < n; w++)
            at += (size_t)snprintf(texts[i] + at, MAX_TEXT - at, "%s ", words[(i * 5 + w * w) % 8]);
        bulk[i] = (tkr_input){.text = texts[i], .n_text = at};
    }
}

typedef struct nested {
    tkr_session *session;
    const tkr_result *want;
    size_t n_points;               /* yield points that may block */
    size_t n_between;              /* of them between rounds: inputs were done since the last one */
    size_t done_before, cancel_at; /* cancel_at: a point, 0: never */
    size_t n_alone;                /* points where it may not block */
    bool asks;                     /* for a point that may block, at every other */
} nested;

static void check_same(const tkr_result *got, const tkr_result *want) {
    assert_int_equal(tkr_result_n_items(got), tkr_result_n_items(want));
    for (size_t i = 0; i < tkr_result_n_items(got); i++) {
        const tkr_result_item a = tkr_result_get(got, i), b = tkr_result_get(want, i);
        assert_int_equal(a.status, TKR_OK);
        assert_memory_equal(a.rows, b.rows, b.dimensions * sizeof *b.rows);
    }
}

static void embed_inside(const nested *n, bool alone) {
    tkr_embed_options o;
    tkr_result *result = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_embed_options_init(&o);
    o.alone = alone;
    if (tkr_embed(&result, n->session, urgent, N_URGENT, &o, &error) != TKR_OK) fail_msg("%s", error.message);
    check_same(result, n->want);
    tkr_result_free(&result);
}

/* Between rounds, and at some of the points inside a pass. */
static tkr_status embed_urgent(void *user, const tkr_progress *progress) {
    nested *n = user;
    if (!progress->may_block) {
        if (n->asks) return TKR_BUSY;
        if (n->n_alone++ % 61 == 5) embed_inside(n, true);
        return TKR_OK;
    }
    const bool between = progress->done_inputs > n->done_before;
    n->n_between += between;
    n->done_before = progress->done_inputs;
    if (++n->n_points == n->cancel_at) return TKR_CANCELLED;
    if (!between && n->n_points % 61 != 5) return TKR_OK;
    embed_inside(n, false);
    return TKR_OK;
}

static void open_model(embedder *e, const char *reference, const embedder_options *options) {
    tkr_model_options o;
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_model_options_init(&o);
    o.offline = 1;
    o.no_weight_cache = 1;
    o.device = "cpu";
    o.precision = options->precision;
    o.quantization = options->quantization;
    o.threads = options->threads;
    o.cpu = options->cpu;
    o.batch_tokens = CHUNK * o.threads;
    if (tkr_model_load(&e->model, reference, &o, &error) != TKR_OK ||
        tkr_session_create(&e->session, e->model, &error) != TKR_OK)
        fail_msg("%s: %s", reference, error.message);
}

/* The first n texts, disturbed, twice: buffers of both sessions have been used the second time. Then stopped at some
 * points; the session works on. */
static void disturb(embedder *e, nested *state, size_t n, size_t least_between) {
    tkr_embed_options o;
    tkr_result *result = NULL, *want = embed_all(e, bulk, n, NULL);
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_embed_options_init(&o);
    o.check = embed_urgent;
    o.check_user = state;
    for (size_t pass = 0; pass < 2; pass++) {
        state->n_points = state->n_between = state->done_before = state->n_alone = 0;
        state->asks = pass == 1; /* unasked, their number is the pace's affair */
        result = embed_all(e, bulk, n, &o);
        check_same(result, want);
        tkr_result_free(&result);
        assert_true(state->n_points > 0);
        assert_true(state->n_between >= (state->asks ? least_between : 0));
    }
    const size_t most = state->n_points > 10 ? 10 : 1; /* some point that comes again */
    for (size_t at = 1; at <= most; at += 3) {
        state->n_points = state->done_before = 0;
        state->cancel_at = at;
        assert_int_equal(tkr_embed(&result, e->session, bulk, n, &o, &error), TKR_CANCELLED);
        assert_null(result);
    }
    state->cancel_at = 0;
    state->asks = false;
    result = embed_all(e, bulk, n, NULL);
    check_same(result, want);
    tkr_result_free(&result);
    tkr_result_free(&want);
}

static void nest(const char *reference, const embedder_options *options, size_t least_between) {
    embedder e = {0};
    nested state = {0};
    tkr_error error = {TKR_OK, NULL, ""};
    open_model(&e, reference, options);
    assert_int_equal(tkr_session_create(&state.session, e.model, &error), TKR_OK);
    tkr_result *want = embed_all(&e, urgent, N_URGENT, NULL);
    state.want = want;
    disturb(&e, &state, N_TEXTS, least_between);
    disturb(&e, &state, 1, 0); /* all workers together: points between operations */
    tkr_result_free(&want);
    tkr_session_free(&state.session);
    embedder_close(&e);
}

static void same_bits_on_the_real_model(void **state) {
    (void)state;
    for (unsigned threads = 1; threads <= 2; threads++) {
        nest(minilm_reference(), &(embedder_options){.quantization = TKR_QUANTIZATION_Q8, .threads = threads}, 5);
        nest(minilm_reference(), &(embedder_options){.quantization = TKR_QUANTIZATION_NONE, .threads = threads}, 5);
    }
}

/* Where others slow the pace, chunks are computed together, and all points may block: then once more. */
static void same_bits_beside_working_threads(void **unused) {
    (void)unused;
    embedder e = {0};
    nested state = {0};
    tkr_embed_options o;
    tkr_error error = {TKR_OK, NULL, ""};
    open_model(&e, minilm_reference(), &(embedder_options){.quantization = TKR_QUANTIZATION_Q8, .threads = 2});
    assert_int_equal(tkr_session_create(&state.session, e.model, &error), TKR_OK);
    tkr_result *want_urgent = embed_all(&e, urgent, N_URGENT, NULL), *want = embed_all(&e, bulk, N_TEXTS, NULL);
    state.want = want_urgent;
    tkr_embed_options_init(&o);
    o.check = embed_urgent;
    o.check_user = &state;
    for (int i = 0; i < 20 && state.n_alone < 200; i++) {
        tkr_result *result = embed_all(&e, bulk, N_TEXTS, &o);
        check_same(result, want);
        tkr_result_free(&result);
    }
    assert_true(state.n_alone >= 200);
    tkr_result_free(&want);
    tkr_result_free(&want_urgent);
    tkr_session_free(&state.session);
    embedder_close(&e);
}

static void same_bits_in_plain_c(void **state) {
    (void)state;
    static const char *const models[] = {"bert/bert-mean", "qwen3/qwen3-last", "modernbert/modernbert-mean"};
    for (size_t i = 0; i < 3; i++) {
        char path[600];
        snprintf(path, sizeof path, "%s/golden/%s/model", TKR_TEST_DIR, models[i]);
        for (int mode = 0; mode < 3; mode++)
            nest(path,
                 &(embedder_options){.precision = mode == 1 ? TKR_PRECISION_BF16 : TKR_PRECISION_F32,
                                     .quantization = mode == 2 ? TKR_QUANTIZATION_Q8 : TKR_QUANTIZATION_NONE,
                                     .threads = 2,
                                     .cpu = "generic"},
                 1);
    }
}

/* ---- asking for a point ---- */

typedef struct asking {
    size_t n_asked, n_came;
    size_t since, worst; /* calls since it was asked */
} asking;

/* Wants a point at every chance, and says where one may block that nobody has to come for it. */
static tkr_status ask_for_points(void *user, const tkr_progress *progress) {
    asking *a = user;
    if (progress->may_block) {
        a->n_came += a->since > 0;
        a->since = 0;
        return TKR_BUSY;
    }
    a->n_asked += a->since == 0;
    a->since++;
    a->worst = a->since > a->worst ? a->since : a->worst;
    return TKR_BUSY;
}

static tkr_status count_calls(void *user, const tkr_progress *progress) {
    *(size_t *)user += progress->may_block != 0;
    return TKR_OK;
}

/* The calling thread computes no more than what it has in hand before the point comes. */
static void points_come_when_asked_for(void **state) {
    (void)state;
    embedder e = {0};
    asking a = {0};
    tkr_embed_options o;
    size_t calls_of_a_pass = 0;
    open_model(&e, minilm_reference(), &(embedder_options){.quantization = TKR_QUANTIZATION_Q8, .threads = 2});
    tkr_embed_options_init(&o);
    o.check = count_calls;
    o.check_user = &calls_of_a_pass;
    tkr_result *one = embed_all(&e, bulk, 1, &o), *want = embed_all(&e, bulk, N_TEXTS, NULL);
    o.check = ask_for_points;
    o.check_user = &a;
    for (int i = 0; i < 10 && a.n_asked <= 3; i++) { /* where others slow the pace, chunks are computed together */
        a = (asking){0};
        tkr_result *result = embed_all(&e, bulk, N_TEXTS, &o);
        check_same(result, want);
        tkr_result_free(&result);
    }
    assert_true(a.n_asked > 3 && a.n_came == a.n_asked);
    assert_true(a.worst > 5 && a.worst <= calls_of_a_pass);
    tkr_result_free(&one);
    tkr_result_free(&want);
    embedder_close(&e);
}

int main(void) {
    make_texts();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits_on_the_real_model), cmocka_unit_test(same_bits_beside_working_threads),
        cmocka_unit_test(same_bits_in_plain_c), cmocka_unit_test(points_come_when_asked_for)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
