/* SPDX-License-Identifier: Apache-2.0 */
/* Preprocessing of one picture, decoding left out, one thread: resize, normalise, patches.
 * bench_preprocess [CAP [SECONDS]]: CAP as for TKR_CPU. Prints a line for each size and processor:
 *     name  milliseconds (best of the calls)  sum of the values (the same picture as tools/bench/preprocess.py's) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cpu.h"
#include "core/file.h"
#include "core/mem.h"
#include "media/processor_internal.h"

typedef struct setup {
    const char *name, *config;
    tkr_processor processor; /* as the model has it */
} setup;

static const setup setups[] = {
    {"siglip-224",
     "{\"image_processor_type\": \"SiglipImageProcessor\"}",
     {.family = TKR_PROCESSOR_FIXED, .patch_size = 16, .temporal_patch_size = 1, .merge_size = 1, .image_size = 224}},
    {"clip-224",
     "{\"image_processor_type\": \"CLIPImageProcessor\"}",
     {.family = TKR_PROCESSOR_FIXED, .patch_size = 16, .temporal_patch_size = 1, .merge_size = 1, .image_size = 224}},
    {"qwen2-vl",
     "{\"image_processor_type\": \"Qwen2VLImageProcessor\"}",
     {.family = TKR_PROCESSOR_QWEN2, .patch_size = 14, .temporal_patch_size = 2, .merge_size = 2}},
};

static void stop(const tkr_error *error) {
    fprintf(stderr, "bench_preprocess: %s\n", error->message);
    exit(1);
}

static void measure(const setup *s, const tkr_kernels *kernels, const tkr_image *image, double seconds) {
    tkr_processor p = s->processor;
    json_t *json = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    double best = 1e9, sum = 0;
    if (tkr_json_parse(&json, s->config, strlen(s->config), s->name, &error) != TKR_OK ||
        tkr_processor_read(&p, json, s->name, &error) != TKR_OK) {
        stop(&error);
    }
    p.kernels = *kernels;
    for (double end = tkr_now() + seconds; tkr_now() < end;) {
        tkr_patches patches;
        const double start = tkr_now();
        if (tkr_processor_apply(&patches, &p, image, NULL, &error) != TKR_OK) stop(&error);
        const double took = tkr_now() - start;
        best = took < best ? took : best;
        sum = 0;
        for (size_t i = 0; i < patches.h * patches.w * patches.n_cols; i++) {
            sum += (double)patches.rows[i];
        }
        tkr_patches_free(&patches);
    }
    printf("%zux%zu %s %.3f ms %.3f\n", image->width, image->height, s->name, best * 1e3, sum);
    fflush(stdout);
    json_decref(json);
}

int main(int argc, char **argv) {
    static const size_t sizes[][2] = {{640, 480}, {4000, 3000}};
    const double seconds = argc > 2 ? strtod(argv[2], NULL) : 1.5;
    tkr_kernels kernels;
    tkr_cpu_flags flags = 0;
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_cpu_detect(&flags, argc > 1 ? argv[1] : NULL, &error) != TKR_OK) stop(&error);
    tkr_kernels_init(&kernels, flags);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const size_t width = sizes[i][0], height = sizes[i][1];
        tkr_image image = {.width = width, .height = height, .rgb = tkr_malloc(width * height * 3)};
        if (!image.rgb) return 1;
        for (size_t at = 0; at < width * height * 3; at++) {
            const size_t x = at / 3 % width, y = at / 3 / width;
            image.rgb[at] = (uint8_t)((x * x / 64 + y * y / 64 * 5 + at % 3 * 61) % 251);
        }
        for (size_t s = 0; s < sizeof setups / sizeof *setups; s++) {
            measure(&setups[s], &kernels, &image, seconds);
        }
        tkr_image_free(&image);
    }
    return 0;
}
