/* SPDX-License-Identifier: Apache-2.0 */
/* media/video against the references' tables: every row's indices, time stamps, thinning and frame sizes; and what the
 * rules refuse. */
#include "golden.h"

#include "media/video.h"

static const struct {
    const char *name;
    tkr_video_rule rule;
} rules[] = {{"qwen_vl_utils", TKR_VIDEO_UTILS},
             {"transformers_qwen2_vl", TKR_VIDEO_QWEN2_VL},
             {"transformers_qwen3_vl", TKR_VIDEO_QWEN3_VL}};

static size_t count_of(const json_t *row, const char *name) {
    const json_t *value = json_object_get(row, name);
    assert_true(json_is_integer(value));
    return (size_t)json_integer_value(value);
}

static tkr_video_sampling sampling_of(const json_t *row, tkr_video_rule rule) {
    return (tkr_video_sampling){.rule = rule,
                                .total_frames = count_of(row, "total_frames"),
                                .video_fps = json_number_value(json_object_get(row, "video_fps")),
                                .fps = json_number_value(json_object_get(row, "fps")),
                                .min_frames = count_of(row, "min_frames"),
                                .max_frames = count_of(row, "max_frames")};
}

static void same_indices(const tkr_buf *got, const json_t *want) {
    const size_t *indices = (const size_t *)(const void *)got->data;
    assert_int_equal(got->size / sizeof *indices, json_array_size(want));
    for (size_t i = 0; i < json_array_size(want); i++)
        assert_int_equal(indices[i], json_integer_value(json_array_get(want, i)));
}

static void same_times(const json_t *want, const tkr_buf *got, double fps) {
    const size_t *indices = (const size_t *)(const void *)got->data;
    const json_t *text;
    size_t i;
    json_array_foreach(want, i, text) {
        char mine[64];
        snprintf(mine, sizeof mine, "<%.1f seconds>", tkr_video_time(i, indices, got->size / sizeof *indices, fps));
        assert_string_equal(mine, json_string_value(text));
    }
}

static void every_row(void **state) {
    (void)state;
    json_t *table = golden_json("golden/video/sampling.json");
    const json_t *rows = json_object_get(table, "rows"), *row;
    size_t r, n_times = 0, n_errors = 0;
    assert_int_equal(json_array_size(rows), 100);
    json_array_foreach(rows, r, row) {
        for (size_t k = 0; k < sizeof rules / sizeof *rules; k++) {
            const json_t *want = json_object_get(row, rules[k].name);
            const tkr_video_sampling sampling = sampling_of(row, rules[k].rule);
            tkr_error error = {TKR_OK, NULL, ""};
            tkr_buf got = {0};
            const tkr_status status = tkr_video_sample(&got, &sampling, &error);
            if (json_is_string(want)) {
                assert_int_equal(status, TKR_LIMIT);
                n_errors++;
            } else {
                if (status != TKR_OK) fail_msg("row %zu, %s: %s", r, rules[k].name, error.message);
                same_indices(&got, want);
                if (rules[k].rule == TKR_VIDEO_UTILS && json_object_get(row, "qwen3_vl_timestamp_text")) {
                    same_times(json_object_get(row, "qwen3_vl_timestamp_text"), &got, sampling.video_fps);
                    n_times++;
                }
            }
            tkr_buf_free(&got);
        }
    }
    assert_true(n_times > 0 && n_errors > 0);
    json_decref(table);
}

static void thinned_lists(void **state) {
    (void)state;
    json_t *table = golden_json("golden/video/sampling.json");
    const json_t *rows = json_object_get(table, "frame_lists"), *row;
    size_t r;
    assert_int_equal(json_array_size(rows), 7);
    json_array_foreach(rows, r, row) {
        const json_t *want = json_object_get(row, "indices");
        for (size_t i = 0; i < json_array_size(want); i++)
            assert_int_equal(tkr_video_thinned(i, count_of(row, "n_frames"), count_of(row, "max_frames")),
                             json_integer_value(json_array_get(want, i)));
    }
    json_decref(table);
}

static void frame_sizes(void **state) {
    (void)state;
    json_t *table = golden_json("golden/video/frame_size.json");
    const json_t *rows = json_object_get(table, "rows"), *row;
    size_t r;
    assert_int_equal(json_array_size(rows), 60);
    json_array_foreach(rows, r, row) {
        const tkr_video_size size = {.factor = 2 * count_of(row, "patch_size"),
                                     .n_frames = count_of(row, "frames"),
                                     .total_pixels = json_number_value(json_object_get(row, "total_pixels"))};
        const json_t *want = json_object_get(row, "resized");
        tkr_smart_resize_options limits;
        size_t width = 0, height = 0;
        tkr_video_limits(&limits, &size);
        assert_int_equal(limits.min_pixels, count_of(row, "min_pixels"));
        assert_true((double)limits.max_pixels + limits.max_fraction ==
                    json_number_value(json_object_get(row, "max_pixels")));
        assert_int_equal(
            tkr_smart_resize(&width, &height, count_of(row, "width"), count_of(row, "height"), &limits, NULL), TKR_OK);
        assert_int_equal(height, json_integer_value(json_array_get(want, 0)));
        assert_int_equal(width, json_integer_value(json_array_get(want, 1)));
    }
    json_decref(table);
}

/* What was asked of the two clips, with a number of frames in place of a rate, too. */
static void requests_of_the_clips(void **state) {
    (void)state;
    json_t *table = golden_json("golden/video/videos.json");
    const json_t *videos = json_object_get(table, "videos"), *video, *sample;
    size_t v, k;
    json_array_foreach(videos, v, video) json_array_foreach(json_object_get(video, "samples"), k, sample) {
        const json_t *request = json_object_get(sample, "request"), *fps = json_object_get(request, "fps"),
                     *least = json_object_get(request, "min_frames"), *most = json_object_get(request, "max_frames");
        const size_t total = count_of(video, "frames");
        tkr_video_sampling sampling = {.total_frames = total,
                                       .video_fps = json_number_value(json_object_get(sample, "video_fps")),
                                       .fps = fps ? json_number_value(fps) : 0,
                                       .n_frames = (size_t)json_integer_value(json_object_get(request, "nframes")),
                                       .min_frames = least ? (size_t)json_integer_value(least) : 4,
                                       .max_frames = most ? (size_t)json_integer_value(most) : total};
        tkr_error error = {TKR_OK, NULL, ""};
        tkr_buf got = {0};
        if (tkr_video_sample(&got, &sampling, &error) != TKR_OK) fail_msg("%s", error.message);
        same_indices(&got, json_object_get(sample, "indices"));
        same_times(json_object_get(sample, "timestamp_text"), &got, sampling.video_fps);
        tkr_buf_free(&got);
    }
    json_decref(table);
}

static void senseless_requests(void **state) {
    (void)state;
    static const tkr_video_sampling bad[] = {
        {.total_frames = 10, .video_fps = 0, .fps = 1, .max_frames = 4},
        {.total_frames = 10, .video_fps = 25, .fps = 0, .max_frames = 4},
        {.total_frames = (size_t)1 << 40, .video_fps = 25, .fps = 1, .max_frames = 4},
        {.total_frames = 0, .video_fps = 25, .fps = 1, .max_frames = 4},
        {.total_frames = 10, .video_fps = 25, .n_frames = 12},
        {.rule = TKR_VIDEO_QWEN3_VL, .total_frames = 0, .video_fps = 25, .fps = 1, .max_frames = 4},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tkr_buf got = {0};
        assert_int_not_equal(tkr_video_sample(&got, &bad[i], NULL), TKR_OK);
        assert_int_equal(got.size, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_row), cmocka_unit_test(thinned_lists),
                                       cmocka_unit_test(frame_sizes), cmocka_unit_test(requests_of_the_clips),
                                       cmocka_unit_test(senseless_requests)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
