/* SPDX-License-Identifier: Apache-2.0 */
/* engine/tokenize: prompts, limits and ids of inputs; the public tokenizer. */
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "engine/engine.h"
#include "engine/gguf_model.h"
#include "engine/tok_cache.h"
#include "engine/tools.h"

#define TOKENIZER_JSON_MAX ((size_t)256 << 20)

/* The first of the tokenizer files that is there; tokenizer.json when there is none. */
static char *tokenizer_path(const tkr_checkpoint *checkpoint, bool *is_spm, bool *is_fairseq) {
    static const char *const names[] = {"tokenizer.json", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model"};
    *is_spm = *is_fairseq = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = tkr_path_join(tkr_checkpoint_folder(checkpoint, names[i]), names[i]);
        if (!path || tkr_path_exists(path)) {
            *is_spm = i > 0;
            *is_fairseq = i == 1; /* XLM-RoBERTa and its kin are the ones that name it so */
            return path;
        }
        tkr_free(path);
    }
    return tkr_path_join(checkpoint->folder, names[0]);
}

/* What the settings of a SentencePiece tokenizer put around a text. Strings live in *json. */
static tkr_status read_frame(tkr_tok_options *out, json_t **json, const char *folder, tkr_error *error) {
    bool bos = false, eos = false;
    const char *class = "";
    char *path = tkr_path_join(folder, "tokenizer_config.json");
    tkr_status status = path ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "no memory to read tokenizer_config.json");
    if (status == TKR_OK && tkr_path_exists(path)) {
        status = tkr_json_file(json, path, error);
        if (status == TKR_OK) status = tkr_json_get_bool(&bos, *json, "add_bos_token", false, path, error);
        if (status == TKR_OK) status = tkr_json_get_bool(&eos, *json, "add_eos_token", false, path, error);
        if (status == TKR_OK) status = tkr_json_get_string(&class, *json, "tokenizer_class", false, path, error);
        out->spm_canonical = strcmp(class, "SiglipTokenizer") == 0; /* what it does is in its code, not in its files */
        eos = eos || out->spm_canonical;
        if (status == TKR_OK && bos)
            status = tkr_json_get_string(&out->spm_prefix, *json, "bos_token", true, path, error);
        if (status == TKR_OK && eos)
            status = tkr_json_get_string(&out->spm_suffix, *json, "eos_token", true, path, error);
    }
    tkr_free(path);
    return status;
}

/* What the two readers have in common. */
typedef struct tok_source {
    const char *path;
    tkr_map map;
    bool is_spm;
} tok_source;

static tkr_status cached_tok(tkr_tok **tok, tkr_cache_file **file, const tok_source *source,
                             const tkr_tok_options *options, const tkr_model_options *model, tkr_error *error) {
    tkr_tok_cache cache;
    const bool kept = tkr_tok_cache_open(&cache, model, &source->map.id, options);
    tkr_status status = TKR_OK;
    if (!kept || !tkr_tok_cache_get(tok, file, &cache)) {
        status = (source->is_spm ? tkr_tok_load_spm : tkr_tok_load)(tok, source->map.data, source->map.size,
                                                                    source->path, options, error);
        if (status == TKR_OK && kept) tkr_tok_cache_put(&cache, *tok);
    }
    tkr_tok_cache_close(&cache);
    return status;
}

tkr_status tkr_engine_load_tok(tkr_tokenizer *tokenizer, const tkr_checkpoint *checkpoint,
                               const tkr_model_options *model, tkr_error *error) {
    tkr_tok_options options = {.lowercase = checkpoint->lowercase};
    tokenizer->checkpoint = checkpoint;
    tkr_status status = tkr_scratches_create(&tokenizer->scratches, error);
    if (status != TKR_OK) return status;
    if (checkpoint->gguf)
        return tkr_gguf_load_tok(&tokenizer->tok, checkpoint->gguf, checkpoint->folder, &options, error);
    bool is_spm = false, is_fairseq = false;
    json_t *settings = NULL;
    tkr_map map = {0};
    char *path = tokenizer_path(checkpoint, &is_spm, &is_fairseq);
    if (!path) return TKR_FAIL(error, NO_MEMORY, "no memory to read the tokenizer");
    options.spm_layout = is_fairseq ? TKR_TOK_SPM_FAIRSEQ : TKR_TOK_SPM_PLAIN;
    status = tkr_map_open(&map, path, error);
    if (status == TKR_OK && map.size > TOKENIZER_JSON_MAX)
        status = TKR_FAIL(error, LIMIT, "%s: %zu bytes; at most %zu are read", path, map.size, TOKENIZER_JSON_MAX);
    if (status == TKR_OK && is_spm && !is_fairseq) status = read_frame(&options, &settings, checkpoint->folder, error);
    const tok_source source = {path, map, is_spm};
    if (status == TKR_OK) status = cached_tok(&tokenizer->tok, &tokenizer->tok_file, &source, &options, model, error);
    json_decref(settings);
    tkr_map_close(&map);
    tkr_free(path);
    return status;
}

void tkr_engine_close_tok(tkr_tokenizer *tokenizer) {
    tkr_scratches_free(&tokenizer->scratches);
    tkr_tok_free(&tokenizer->tok);
    tkr_cache_file_close(&tokenizer->tok_file);
}

static tkr_status unknown_prompt(const tkr_checkpoint *checkpoint, const char *name, tkr_error *error) {
    char known[256];
    size_t at = 0;
    known[0] = '\0';
    for (size_t i = 0; i < checkpoint->n_prompts && at < sizeof known; i++)
        at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "", checkpoint->prompts[i].name);
    return TKR_FAIL(error, INVALID_ARGUMENT, "prompt name \"%.60s\" is not one of this model's: %s", name,
                    checkpoint->n_prompts ? known : "it has none; give the text itself as the prompt");
}

static tkr_status instruct(tkr_prompt *prompt, const tkr_checkpoint *checkpoint, const char *task, tkr_error *error) {
    const tkr_arch *arch = checkpoint->arch;
    const tkr_recipe *recipe = tkr_checkpoint_recipe(checkpoint);
    if (recipe && recipe->default_instruction) return TKR_OK; /* has its place in the model's template */
    if (!arch || !arch->instruct_before)
        return TKR_FAIL(error, INVALID_ARGUMENT,
                        "an instruction was given, but %s%s models have no form for one; give the text itself as "
                        "the prompt",
                        arch ? "" : "of an unknown family: ", arch ? arch->name : "such");
    *prompt = (tkr_prompt){{arch->instruct_before, task, arch->instruct_after}};
    return TKR_OK;
}

tkr_status tkr_prompt_find(tkr_prompt *prompt, const tkr_checkpoint *checkpoint, const tkr_input *input,
                           const tkr_embed_options *options, tkr_error *error) {
    const bool own = input->instruction || input->prompt || input->prompt_name;
    const char *task = own ? input->instruction : options->instruction, *text = own ? input->prompt : options->prompt,
               *name = own ? input->prompt_name : options->prompt_name;
    *prompt = (tkr_prompt){{"", "", ""}};
    if (task) return instruct(prompt, checkpoint, task, error);
    if (text) {
        prompt->parts[0] = text;
        return TKR_OK;
    }
    if (!name) name = checkpoint->default_prompt;
    for (size_t i = 0; name && i < checkpoint->n_prompts; i++) {
        if (strcmp(checkpoint->prompts[i].name, name) == 0) {
            prompt->parts[0] = checkpoint->prompts[i].value;
            return TKR_OK;
        }
    }
    return name ? unknown_prompt(checkpoint, name, error) : TKR_OK;
}

/* Empties `out` and fills it with the prompt. *n: its bytes. */
static tkr_status put_prompt(tkr_buf *out, const tkr_prompt *prompt, tkr_error *error) {
    out->size = 0;
    for (size_t i = 0; i < 3; i++)
        if (!tkr_buf_append(out, prompt->parts[i], strlen(prompt->parts[i])))
            return TKR_FAIL(error, NO_MEMORY, "no memory for the prompt");
    return TKR_OK;
}

/* include_prompt false leaves out what the prompt alone gives, its leading special token included, its closing one not:
 * sentence-transformers' _get_prompt_length. */
static tkr_status prompt_tokens(size_t *n, const tkr_encode_request *r, tkr_error *error) {
    tkr_tok_request request = {.text = r->text->data, .n_text = r->text->size, .special_tokens = true};
    tkr_tok_result result = {0};
    tkr_status status = tkr_tok_encode(&result, r->tok, r->scratch, &request, error);
    if (status == TKR_OK) *n = result.n && result.special[result.n - 1] ? result.n - 1 : result.n;
    return status;
}

/* Prompt and text, or the model's template filled in. */
static tkr_status fill_request(tkr_tok_request *request, size_t *n_prompt_tokens, const tkr_encode_request *r,
                               tkr_error *error) {
    tkr_prompt prompt;
    const tkr_input *input = r->input;
    const bool parts = input->kind == TKR_INPUT_PARTS, templated = tkr_checkpoint_recipe(r->checkpoint) != NULL;
    tkr_status status = TKR_OK;
    r->text->size = 0;
    if (templated) {
        status = tkr_render_input(r->text, r, error);
    } else {
        status = tkr_prompt_find(&prompt, r->checkpoint, input, r->options, error);
        if (status == TKR_OK) status = put_prompt(r->text, &prompt, error);
        if (status == TKR_OK && r->count_prompt && r->text->size) status = prompt_tokens(n_prompt_tokens, r, error);
        if (status == TKR_OK && parts && !tkr_put_part_texts(r->text, input))
            status = TKR_FAIL(error, NO_MEMORY, "no memory for a text of %zu parts", input->n_parts);
    }
    if (status != TKR_OK) return status;
    request->text = input->text && !parts ? input->text : "";
    request->n_text = parts ? 0 : input->n_text;
    if (input->kind == TKR_INPUT_PAIR) {
        request->pair = input->pair ? input->pair : "";
        request->n_pair = input->n_pair;
    }
    if (r->text->size == 0 || templated || parts) {
        if (templated || parts) request->text = r->text->data ? r->text->data : "";
        if (templated || parts) request->n_text = r->text->size;
        return TKR_OK;
    }
    if (!tkr_buf_append(r->text, request->text, request->n_text))
        return TKR_FAIL(error, NO_MEMORY, "no memory for a text of %zu bytes", input->n_text);
    request->text = r->text->data;
    request->n_text = r->text->size;
    return TKR_OK;
}

tkr_status tkr_encode_input(tkr_tok_result *out, size_t *n_prompt_tokens, const tkr_encode_request *r,
                            tkr_error *error) {
    const tkr_input *input = r->input;
    const tkr_recipe *recipe = tkr_checkpoint_recipe(r->checkpoint);
    const size_t limit = tkr_effective_max_tokens(r->max_tokens, r->options->max_tokens);
    *n_prompt_tokens = 0;
    if (!input->text && input->n_text > 0) return TKR_FAIL(error, INVALID_ARGUMENT, "the input's text is NULL");
    /* The end of some templates is what is pooled, and pictures can't be cut. */
    const bool whole = recipe && (recipe->never_truncate || tkr_input_images(input) > 0);
    tkr_tok_request request = {
        .max_tokens = whole ? 0 : limit,
        .truncate = r->options->truncate,
        .special_tokens = !r->plain,
        .want_offsets = r->want_offsets,
        .strict_utf8 = r->options->strict_utf8 != 0,
    };
    tkr_status status = fill_request(&request, n_prompt_tokens, r, error);
    if (status == TKR_OK) status = tkr_tok_encode(out, r->tok, r->scratch, &request, error);
    if (status == TKR_OK && recipe) status = tkr_widen_ids(out, r, error);
    if (status == TKR_OK && whole && limit && out->n > limit)
        status = TKR_FAIL(error, LIMIT,
                          "%zu tokens, %zu of them around and for the text; the limit is %zu, and this model's prompt "
                          "can't be cut: shorten the text%s",
                          out->n, out->n - tkr_picture_tokens(r), limit,
                          tkr_input_images(input) ? ", lower max_pixels or give fewer pictures" : "");
    return status;
}

/* ---- the public tokenizer ---- */

tkr_status tkr_tokenizer_load(tkr_tokenizer **out, const char *reference, const tkr_model_options *options,
                              tkr_error *error) {
    tkr_model_options defaults;
    tkr_model_options_init(&defaults);
    tkr_tokenizer *tokenizer = tkr_calloc(1, sizeof *tokenizer);
    if (!tokenizer) return TKR_FAIL(error, NO_MEMORY, "no memory for a tokenizer");
    options = options ? options : &defaults;
    tkr_status status = tkr_checkpoint_open(&tokenizer->own, reference, options, true, error);
    if (status == TKR_OK) status = tkr_engine_load_tok(tokenizer, &tokenizer->own, options, error);
    if (status != TKR_OK) {
        tkr_tokenizer_free(&tokenizer);
        return status;
    }
    *out = tokenizer;
    return TKR_OK;
}

void tkr_tokenizer_free(tkr_tokenizer **tokenizer) {
    if (!tokenizer || !*tokenizer) return;
    tkr_engine_close_tok(*tokenizer);
    tkr_checkpoint_close(&(*tokenizer)->own);
    tkr_free(*tokenizer);
    *tokenizer = NULL;
}

static tkr_status copy_tokens(tkr_tokens *tokens, const tkr_tok_result *result, tkr_error *error) {
    size_t n = result->n;
    tkr_tokens copy = {.n = n, .n_untruncated = result->n_untruncated};
    copy.ids = tkr_malloc((n ? n : 1) * sizeof *copy.ids);
    copy.offsets = tkr_malloc((n ? n : 1) * 2 * sizeof *copy.offsets);
    copy.special = tkr_malloc(n);
    if (!copy.ids || !copy.offsets || !copy.special) {
        tkr_tokens_free(&copy);
        return TKR_FAIL(error, NO_MEMORY, "no memory for %zu tokens", n);
    }
    if (n > 0) {
        memcpy(copy.ids, result->ids, n * sizeof *copy.ids);
        memcpy(copy.offsets, result->offsets, n * 2 * sizeof *copy.offsets);
        memcpy(copy.special, result->special, n);
    }
    *tokens = copy;
    return TKR_OK;
}

tkr_status tkr_tokenize(tkr_tokens *tokens, const tkr_tokenizer *tokenizer, const tkr_input *input,
                        const tkr_embed_options *options, tkr_error *error) {
    tkr_embed_options defaults;
    tkr_embed_options_init(&defaults);
    options = input->options ? input->options : options ? options : &defaults;
    if (input->kind == TKR_INPUT_TOKENS) return TKR_FAIL(error, INVALID_ARGUMENT, "the input is token ids already");
    if (tkr_input_images(input) > 0)
        return TKR_FAIL(error, INVALID_ARGUMENT, "the input has a picture; only texts can be tokenised");
    tkr_buf text = {0}, wide = {0};
    tkr_tok_scratch *scratch = NULL;
    tkr_tok_result result = {0};
    size_t n_prompt = 0;
    tkr_status status = tkr_scratches_take(&scratch, tokenizer->scratches, tokenizer->tok, error);
    if (status == TKR_OK) {
        const tkr_encode_request request = {.checkpoint = tokenizer->checkpoint,
                                            .tok = tokenizer->tok,
                                            .scratch = scratch,
                                            .text = &text,
                                            .input = input,
                                            .options = options,
                                            .max_tokens =
                                                options->max_tokens == SIZE_MAX ? 0 : tokenizer->checkpoint->max_tokens,
                                            .plain = options->special_tokens == TKR_NO,
                                            .want_offsets = true,
                                            .wide = &wide};
        status = tkr_encode_input(&result, &n_prompt, &request, error);
    }
    if (status == TKR_OK) status = copy_tokens(tokens, &result, error);
    tkr_scratches_give(tokenizer->scratches, scratch, input->n_text + input->n_pair + text.size);
    tkr_buf_free(&text);
    tkr_buf_free(&wide);
    return status;
}

void tkr_tokens_free(tkr_tokens *tokens) {
    if (!tokens) return;
    tkr_free(tokens->ids);
    tkr_free(tokens->offsets);
    tkr_free(tokens->special);
    memset(tokens, 0, sizeof *tokens);
}

tkr_status tkr_decode(char **text, size_t *n_text, const tkr_tokenizer *tokenizer, const int32_t *ids, size_t n_ids,
                      int skip_special, tkr_error *error) {
    tkr_tok_scratch *scratch = NULL;
    tkr_buf out = {0};
    tkr_status status = tkr_scratches_take(&scratch, tokenizer->scratches, tokenizer->tok, error);
    if (status == TKR_OK) status = tkr_tok_decode(&out, tokenizer->tok, scratch, ids, n_ids, skip_special != 0, error);
    tkr_scratches_give(tokenizer->scratches, scratch, out.size);
    if (status != TKR_OK) {
        tkr_buf_free(&out);
        return status;
    }
    *text = out.data;
    *n_text = out.size;
    return TKR_OK;
}

void tkr_text_free(char **text) {
    if (!text) return;
    tkr_free(*text);
    *text = NULL;
}

int tkr_tokenizer_is_special(const tkr_tokenizer *tokenizer, int32_t id) {
    return tkr_tok_is_special(tokenizer->tok, id);
}
const char *tkr_tokenizer_piece(const tkr_tokenizer *tokenizer, int32_t id) {
    return tkr_tok_piece(tokenizer->tok, id);
}
size_t tkr_tokenizer_max_tokens(const tkr_tokenizer *tokenizer) { return tokenizer->checkpoint->max_tokens; }

tkr_status tkr_tools_text(tkr_buf *text, const tkr_tokenizer *tokenizer, const tkr_input *input,
                          const tkr_embed_options *options, tkr_error *error) {
    const tkr_encode_request request = {
        .checkpoint = tokenizer->checkpoint, .text = text, .input = input, .options = options};
    text->size = 0;
    return tkr_render_input(text, &request, error);
}

tkr_status tkr_tools_tokenize(tkr_tokens *tokens, const tkr_tokenizer *tokenizer, const char *text, size_t n_text,
                              bool special, tkr_error *error) {
    const tkr_tok_request request = {.text = text, .n_text = n_text, .special_tokens = special, .want_offsets = true};
    tkr_tok_scratch *scratch = NULL;
    tkr_tok_result result = {0};
    tkr_status status = tkr_scratches_take(&scratch, tokenizer->scratches, tokenizer->tok, error);
    if (status == TKR_OK) status = tkr_tok_encode(&result, tokenizer->tok, scratch, &request, error);
    if (status == TKR_OK) status = copy_tokens(tokens, &result, error);
    tkr_scratches_give(tokenizer->scratches, scratch, n_text);
    return status;
}
