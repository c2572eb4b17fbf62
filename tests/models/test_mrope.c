/* SPDX-License-Identifier: Apache-2.0 */
/* Positions of three axes: the worked example, every golden's position_ids, and prompts that don't match pictures. */
#include "visual.h"

static const tkr_vision_config small = {.merge_size = 2, .image_token = 9, .video_token = 8};

static void worked_example(void **state) {
    (void)state;
    /* five words, a picture of 2 x 3 merged squares, two words */
    const int32_t ids[] = {1, 2, 3, 4, 5, 9, 9, 9, 9, 9, 9, 6, 7};
    const int32_t want[3][13] = {{0, 1, 2, 3, 4, 5, 5, 5, 5, 5, 5, 8, 9},
                                 {0, 1, 2, 3, 4, 5, 5, 5, 6, 6, 6, 8, 9},
                                 {0, 1, 2, 3, 4, 5, 6, 7, 5, 6, 7, 8, 9}};
    const tkr_visual picture = {1, 4, 6};
    int32_t got[3][16];
    const tkr_mrope_options options = {.ids = ids, .n = 13, .stride = 16, .visuals = &picture, .n_visuals = 1};
    assert_int_equal(tkr_mrope_positions(got[0], &small, &options, NULL), TKR_OK);
    for (size_t axis = 0; axis < 3; axis++) assert_memory_equal(got[axis], want[axis], sizeof want[axis]);
}

/* A video's frames one after the other: as one item, and each by itself with text between them. */
static void frames(void **state) {
    (void)state;
    const tkr_visual video = {3, 2, 4};
    const int32_t whole[] = {1, 8, 8, 8, 8, 8, 8, 2};
    const int32_t want_whole[3][8] = {{0, 1, 1, 2, 2, 3, 3, 4}, {0, 1, 1, 1, 1, 1, 1, 4}, {0, 1, 2, 1, 2, 1, 2, 4}};
    const int32_t apart[] = {1, 8, 8, 5, 8, 8, 5, 8, 8, 2};
    const int32_t want_apart[3][10] = {
        {0, 1, 1, 3, 4, 4, 6, 7, 7, 9}, {0, 1, 1, 3, 4, 4, 6, 7, 7, 9}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}};
    int32_t got[3][10];
    tkr_mrope_options options = {.ids = whole, .n = 8, .stride = 10, .visuals = &video, .n_visuals = 1};
    assert_int_equal(tkr_mrope_positions(got[0], &small, &options, NULL), TKR_OK);
    for (size_t axis = 0; axis < 3; axis++) assert_memory_equal(got[axis], want_whole[axis], sizeof want_whole[axis]);
    options = (tkr_mrope_options){
        .ids = apart, .n = 10, .stride = 10, .visuals = &video, .n_visuals = 1, .frames_apart = true};
    assert_int_equal(tkr_mrope_positions(got[0], &small, &options, NULL), TKR_OK);
    for (size_t axis = 0; axis < 3; axis++) assert_memory_equal(got[axis], want_apart[axis], sizeof want_apart[axis]);
}

static void mismatches(void **state) {
    (void)state;
    const tkr_visual pictures[2] = {{1, 2, 4}, {1, 2, 2}};
    static const struct {
        int32_t ids[8];
        size_t n, n_visuals;
    } bad[] = {
        {{1, 9, 2}, 3, 1},          /* too few */
        {{1, 9}, 2, 1},             /* at the end, too */
        {{1, 2, 3}, 3, 1},          /* none */
        {{1, 9, 9, 9, 2}, 5, 1},    /* too many */
        {{1, 9, 9, 2, 9}, 5, 1},    /* one that a user typed */
        {{1, 9, 9, 2, 3, 4}, 6, 2}, /* a picture without any */
    };
    int32_t got[24];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tkr_error error = {TKR_OK, NULL, ""};
        const tkr_mrope_options options = {
            .ids = bad[i].ids, .n = bad[i].n, .stride = 8, .visuals = pictures, .n_visuals = bad[i].n_visuals};
        assert_int_equal(tkr_mrope_positions(got, &small, &options, &error), TKR_INVALID_ARGUMENT);
        assert_non_null(strstr(error.message, "placeholder"));
    }
    /* Without pictures the token is a word like others. */
    const int32_t text[] = {1, 9, 2};
    const tkr_mrope_options options = {.ids = text, .n = 3, .stride = 3};
    assert_int_equal(tkr_mrope_positions(got, &small, &options, NULL), TKR_OK);
    for (int32_t i = 0; i < 9; i++) assert_int_equal(got[i], i % 3);
}

static void check_case(const char *folder) {
    network n;
    static visual_sequence s;
    size_t checked = 0;
    network_prepare(&n, folder, NULL);
    for (size_t i = 0; i < network_inputs(&n); i++) {
        const tkr_tensor_view *want = network_expected(&n, i, "position_ids");
        visual_ids_of_case(&s, &n, i);
        assert_non_null(want);
        assert_int_equal(want->n_elements, 3 * s.batch.n_tokens);
        assert_memory_equal(s.positions, want->data, want->size);
        checked++;
    }
    print_message("%s: positions of %zu inputs\n", folder, checked);
    network_close(&n);
}

static void goldens(void **state) {
    (void)state;
    assert_int_equal(each_case("qwen2_vl", check_case), 2);
    assert_int_equal(each_case("qwen2_5_vl", check_case), 1);
    assert_int_equal(each_case("qwen3_vl", check_case), 1);
}

/* Qwen3-VL-Embedding-2B: 24 frequencies turn by time, 20 by rows and 20 by columns, in turns as long as they last. */
static void axes_of_frequencies(void **state) {
    (void)state;
    network n;
    network_prepare(&n, "qwen3_vl/qwen3_vl", NULL);
    json_t *text = json_object_get(n.json, "text_config"), *sections = json_pack("[i,i,i]", 24, 20, 20);
    json_object_set_new(text, "head_dim", json_integer(128));
    json_object_set_new(json_object_get(text, "rope_scaling"), "mrope_section", sections);
    memset(&n.config, 0, sizeof n.config);
    assert_int_equal(n.arch->configure(&n.config, n.json, "config.json", NULL), TKR_OK);
    size_t count[3] = {0};
    for (size_t i = 0; i < 64; i++) {
        assert_int_equal(n.config.rope_axis[i], i < 60 ? i % 3 : 0);
        count[n.config.rope_axis[i]]++;
    }
    assert_int_equal(count[0], 24);
    assert_int_equal(count[1], 20);
    assert_int_equal(count[2], 20);
    network_close(&n);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(worked_example), cmocka_unit_test(frames),
                                       cmocka_unit_test(mismatches), cmocka_unit_test(goldens),
                                       cmocka_unit_test(axes_of_frequencies)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
