/* SPDX-License-Identifier: Apache-2.0 */
/* A consumer of the installed library: texts from standard input (4-byte length, bytes), raw float32 vectors to
 * standard output. usage: minilm MODEL f32|bf16|q8 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tkr/embed.h>

#define MAX_TEXTS 256

static size_t read_texts(tkr_input *inputs) {
    size_t n = 0;
    uint32_t size = 0;
    while (n < MAX_TEXTS && fread(&size, sizeof size, 1, stdin) == 1) {
        char *text = malloc((size_t)size + 1);
        if (!text || fread(text, 1, size, stdin) != size) exit(2);
        inputs[n++] = (tkr_input){.text = text, .n_text = size};
    }
    return n;
}

int main(int argc, char **argv) {
    tkr_input inputs[MAX_TEXTS];
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_model *model = NULL;
    tkr_session *session = NULL;
    tkr_result *result = NULL;
    tkr_model_options options;
    if (argc != 3) return 2;
    tkr_model_options_init(&options);
    options.offline = 1;
    options.precision = strcmp(argv[2], "bf16") == 0 ? TKR_PRECISION_BF16 : TKR_PRECISION_F32;
    options.quantization = strcmp(argv[2], "q8") == 0 ? TKR_QUANTIZATION_Q8 : TKR_QUANTIZATION_NONE;
    size_t n = read_texts(inputs);
    if (tkr_model_load(&model, argv[1], &options, &error) != TKR_OK ||
        tkr_session_create(&session, model, &error) != TKR_OK ||
        tkr_embed(&result, session, inputs, n, NULL, &error) != TKR_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    for (size_t i = 0; i < n; i++) {
        tkr_result_item item = tkr_result_get(result, i);
        if (item.status != TKR_OK || item.n_rows != 1 ||
            fwrite(item.rows, sizeof(float), tkr_result_dimensions(result), stdout) != tkr_result_dimensions(result))
            return 1;
        free((char *)(uintptr_t)inputs[i].text);
    }
    tkr_result_free(&result);
    tkr_session_free(&session);
    tkr_model_free(&model);
    return 0;
}
