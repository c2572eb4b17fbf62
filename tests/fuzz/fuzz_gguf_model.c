/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes what is made of a GGUF file's metadata: configuration, tensor names, pooling, tokenizer. */
#include <string.h>

#include "engine/gguf_model.h"
#include "formats/gguf_read.h"

static void check_tokenizer(const tkr_gguf *file) {
    tkr_error error;
    tkr_tok *tok = NULL;
    tkr_tok_scratch *scratch = NULL;
    tkr_tok_result result;
    const tkr_tok_options options = {.lowercase = false};
    const tkr_tok_request request = {.text = "A few words, \xc3\xa9t\xc3\xa9 12", .n_text = 21, .special_tokens = true};
    if (tkr_gguf_load_tok(&tok, file, "fuzz", &options, &error) == TKR_OK &&
        tkr_tok_scratch_create(&scratch, tok, &error) == TKR_OK)
        (void)tkr_tok_encode(&result, tok, scratch, &request, &error);
    tkr_tok_scratch_free(&scratch);
    tkr_tok_free(&tok);
}

static void check_network(const tkr_gguf *file) {
    tkr_error error;
    const tkr_arch *arch = NULL;
    const char *pooling = NULL;
    tkr_arch_config config;
    tkr_tensors *network = NULL, *dense = NULL;
    json_t *json = NULL;
    memset(&config, 0, sizeof config);
    if (tkr_gguf_arch(&arch, file, "fuzz", &error) != TKR_OK) return;
    (void)tkr_gguf_pooling(&pooling, file, "fuzz", &error);
    (void)tkr_gguf_context_length(file);
    if (tkr_gguf_config(&json, file, "fuzz", &error) == TKR_OK &&
        arch->configure(&config, json, "fuzz", &error) == TKR_OK)
        tkr_gguf_adjust(&config, json, file);
    (void)tkr_gguf_model_tensors(&network, &dense, file, arch->layout, &error);
    tkr_tensors_free(&network);
    tkr_tensors_free(&dense);
    json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tkr_error error;
    tkr_gguf *file = NULL;
    void *copy = tkr_aligned_alloc(size); /* as a map is: aligned */
    if (!copy) return 0;
    memcpy(copy, data, size);
    if (tkr_gguf_open_memory(&file, copy, size, "fuzz", &error) == TKR_OK) {
        check_network(file);
        check_tokenizer(file);
    }
    tkr_gguf_free(&file);
    tkr_aligned_free(copy, size);
    return 0;
}
