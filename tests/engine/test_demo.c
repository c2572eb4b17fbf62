/* SPDX-License-Identifier: Apache-2.0 */
/* The shipped demo model, which is trained: the reference's vectors, and that names find their pictures in every number
 * format. A mistake in pre-processing, tokenizer, towers or quantisation shows here as lost retrieval. */
#include "vision.h"

enum { MAX_SAMPLES = 64 };

typedef struct demo {
    char folder[1400];
    json_t *json;
    tkr_tensors *expected;
    size_t n;
    char paths[MAX_SAMPLES][MAX_PATH];
    tkr_part parts[MAX_SAMPLES];
    tkr_input pictures[MAX_SAMPLES], names[MAX_SAMPLES];
} demo;

static void demo_open(demo *d) {
    char path[1500];
    tkr_error error = {TKR_OK, NULL, ""};
    snprintf(d->folder, sizeof d->folder, "%s/../share/demo", TKR_TEST_DIR);
    snprintf(path, sizeof path, "%s/demo.json", d->folder);
    if (tkr_json_file(&d->json, path, &error) != TKR_OK) fail_msg("%s", error.message);
    snprintf(path, sizeof path, "%s/golden/demo/expected.safetensors", TKR_TEST_DIR);
    if (tkr_tensors_open_file(&d->expected, path, &error) != TKR_OK) fail_msg("%s", error.message);
    const json_t *files = json_object_get(d->json, "samples"), *names = json_object_get(d->json, "names");
    d->n = json_array_size(files);
    assert_in_range(d->n, 61, MAX_SAMPLES);
    assert_int_equal(json_array_size(names), d->n);
    for (size_t i = 0; i < d->n; i++) {
        const json_t *name = json_array_get(names, i);
        snprintf(d->paths[i], MAX_PATH, "%s/samples/%s", d->folder, json_string_value(json_array_get(files, i)));
        d->parts[i] = (tkr_part){.kind = TKR_PART_FILE, .data = d->paths[i], .n_data = strlen(d->paths[i])};
        d->pictures[i] = (tkr_input){.kind = TKR_INPUT_PARTS, .parts = &d->parts[i], .n_parts = 1};
        d->names[i] = (tkr_input){.text = json_string_value(name), .n_text = json_string_length(name)};
    }
}

static void demo_close(demo *d) {
    json_decref(d->json);
    tkr_tensors_free(&d->expected);
}

/* Largest cosine distance to the reference's rows. */
static double distance(const demo *d, const tkr_result *result, const char *name) {
    const tkr_tensor_view *want = tkr_tensors_find(d->expected, name);
    const size_t width = tkr_result_dimensions(result);
    double worst = 0;
    assert_non_null(want);
    assert_int_equal(want->n_elements, d->n * width);
    for (size_t i = 0; i < d->n; i++) {
        const tkr_result_item item = tkr_result_get(result, i);
        assert_int_equal(item.n_rows, 1);
        worst = fmax(worst, 1 - tkr_cosine(item.rows, (const float *)want->data + i * width, width));
    }
    return worst;
}

/* Names whose own picture is the nearest of all samples. */
static size_t found(const demo *d, const tkr_result *names, const tkr_result *pictures) {
    const size_t width = tkr_result_dimensions(names);
    size_t right = 0;
    for (size_t i = 0; i < d->n; i++) {
        size_t best = 0;
        double most = -2;
        for (size_t k = 0; k < d->n; k++) {
            const double c = tkr_cosine(tkr_result_get(names, i).rows, tkr_result_get(pictures, k).rows, width);
            if (c > most) best = k;
            most = c > most ? c : most;
        }
        right += best == i;
    }
    return right;
}

static void names_find_their_pictures(void **state) {
    (void)state;
    static const struct {
        const char *name;
        tkr_precision precision;
        tkr_quantization quantization;
        double limit; /* cosine distance */
        size_t percent;
    } formats[] = {{"f32", TKR_PRECISION_F32, TKR_QUANTIZATION_NONE, 1e-6, 100},
                   {"bf16", TKR_PRECISION_BF16, TKR_QUANTIZATION_NONE, 5e-4, 100},
                   {"q8", TKR_PRECISION_F32, TKR_QUANTIZATION_Q8, 2e-3, 100},
                   {"q4", TKR_PRECISION_F32, TKR_QUANTIZATION_Q4, 2e-2, 95}};
    static demo d;
    demo_open(&d);
    for (size_t plain = 0; plain < 2; plain++)
        for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
            embedder e = {0};
            const embedder_options options = {.precision = formats[f].precision,
                                              .quantization = formats[f].quantization,
                                              .threads = 2,
                                              .cpu = plain ? "generic" : NULL};
            embedder_open(&e, d.folder, &options);
            tkr_result *pictures = embed_all(&e, d.pictures, d.n, NULL), *names = embed_all(&e, d.names, d.n, NULL);
            const double seen = distance(&d, pictures, "image"), read = distance(&d, names, "text");
            const size_t right = found(&d, names, pictures);
            print_message("%s, %s: pictures %.1e, names %.1e from the reference; %zu of %zu found\n", formats[f].name,
                          plain ? "plain C" : "native", seen, read, right, d.n);
            assert_true(seen <= formats[f].limit && read <= formats[f].limit);
            assert_true(right * 100 >= formats[f].percent * d.n);
            tkr_result_free(&pictures);
            tkr_result_free(&names);
            embedder_close(&e);
        }
    demo_close(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(names_find_their_pictures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
