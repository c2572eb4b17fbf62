/* SPDX-License-Identifier: Apache-2.0 */
/* Embeds two sentences and prints how similar they are: cc embed.c $(pkg-config --cflags --libs tkr) && ./a.out minilm
 */
#include <stdio.h>
#include <string.h>
#include <tkr/embed.h>

int main(int argc, char **argv) {
    const char *texts[] = {"A cat sleeps on the sofa.", "A kitten is napping on the couch."};
    tkr_input inputs[2] = {{.text = texts[0], .n_text = strlen(texts[0])},
                           {.text = texts[1], .n_text = strlen(texts[1])}};
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_model *model = NULL;
    tkr_session *session = NULL;
    tkr_result *result = NULL;
    tkr_status status = tkr_model_load(&model, argc > 1 ? argv[1] : "minilm", NULL, &error);
    if (status == TKR_OK) status = tkr_session_create(&session, model, &error);
    if (status == TKR_OK) status = tkr_embed(&result, session, inputs, 2, NULL, &error);
    if (status == TKR_OK) {
        tkr_result_item a = tkr_result_get(result, 0), b = tkr_result_get(result, 1);
        if (a.status == TKR_OK && b.status == TKR_OK)
            printf("similarity %.3f, %zu dimensions\n", tkr_cosine(a.rows, b.rows, tkr_result_dimensions(result)),
                   tkr_result_dimensions(result));
        else
            fprintf(stderr, "%s\n", a.status != TKR_OK ? a.message : b.message);
    } else {
        fprintf(stderr, "%s\n", error.message);
    }
    tkr_result_free(&result);
    tkr_session_free(&session);
    tkr_model_free(&model);
    return status == TKR_OK ? 0 : 1;
}
