/* SPDX-License-Identifier: Apache-2.0 */
/* engine/tok_cache: compiled tokenizers, one file each. */
#include "engine/tok_cache.h"

#include <inttypes.h>
#include <string.h>

#include "core/digest.h"
#include "core/fsops.h"
#include "engine/cache_dir.h"

/* Smaller ones are parsed in a few milliseconds. */
#define DEFAULT_LEAST ((uint64_t)1 << 20)
#define BLOCK "tokenizer"

bool tkr_tok_cache_open(tkr_tok_cache *cache, const tkr_model_options *model, const tkr_file_id *source,
                        const tkr_tok_options *options) {
    *cache = (tkr_tok_cache){.log = {model->log, model->log_user}, .limit = tkr_cache_dir_limit(model)};
    const uint64_t asked = model->weight_cache_least;
    if (model->no_weight_cache || source->size < (asked && asked < DEFAULT_LEAST ? asked : DEFAULT_LEAST)) return false;
    tkr_error error = {0};
    tkr_buf path = {0}, *id = &cache->identity;
    if (tkr_cache_dir_open(&cache->folder, model, &error) != TKR_OK) {
        tkr_log_line(&cache->log, TKR_LOG_INFO, "weight cache: not used: %s", error.message);
        return false;
    }
    tkr_buf_printf(id, "tokenizer %" PRIu64 ":%" PRIu64 ", lowercase %d, layout %d, canonical %d, \"%s\" \"%s\"\n",
                   source->device, source->inode, options->lowercase, (int)options->spm_layout, options->spm_canonical,
                   options->spm_prefix ? options->spm_prefix : "", options->spm_suffix ? options->spm_suffix : "");
    tkr_digest name;
    tkr_digest_init(&name);
    if (!id->failed) tkr_digest_add(&name, id->data, id->size);
    tkr_buf_printf(&path, "%s/tokenizer-%016" PRIx64 TKR_CACHE_SUFFIX, cache->folder, tkr_digest_end(&name));
    tkr_buf_printf(id, "%" PRIu64 " bytes of %" PRId64 "\nprogram %s\n", source->size, source->modified_ns,
                   tkr_version());
    cache->path = path.data;
    return !path.failed && !id->failed;
}

bool tkr_tok_cache_get(tkr_tok **tok, tkr_cache_file **out, const tkr_tok_cache *cache) {
    tkr_error error = {0};
    size_t size = 0;
    tkr_cache_file *file = NULL;
    tkr_status status = tkr_cache_file_open(&file, cache->path, cache->identity.data, &error);
    if (status == TKR_OK) {
        const void *bytes = tkr_cache_file_find(file, BLOCK, &size);
        status = bytes ? tkr_tok_map(tok, bytes, size, cache->path, &error)
                       : TKR_FAIL(&error, FORMAT, "%s: has no tokenizer", cache->path);
    }
    if (status == TKR_OK) {
        tkr_fs_touch(cache->path);
        *out = file;
        return true;
    }
    if (status != TKR_NOT_FOUND) tkr_log_line(&cache->log, TKR_LOG_INFO, "weight cache: %s", error.message);
    tkr_cache_file_close(&file);
    return false;
}

void tkr_tok_cache_put(const tkr_tok_cache *cache, const tkr_tok *tok) {
    tkr_error error = {0};
    tkr_buf bytes = {0};
    tkr_cache_writer *writer = NULL;
    tkr_status status = tkr_tok_save(&bytes, tok, &error);
    if (status == TKR_OK) status = tkr_cache_writer_open(&writer, cache->path, cache->identity.data, &error);
    if (status == TKR_OK) {
        tkr_cache_writer_add(writer, BLOCK, bytes.data, bytes.size);
        status = tkr_cache_writer_finish(&writer, true, &error);
    }
    tkr_buf_free(&bytes);
    if (status == TKR_OK)
        tkr_cache_dir_trim(cache->folder, cache->limit, cache->path, &cache->log);
    else
        tkr_log_line(&cache->log, TKR_LOG_INFO, "weight cache: not written: %s", error.message);
}

void tkr_tok_cache_close(tkr_tok_cache *cache) {
    tkr_buf_free(&cache->identity);
    tkr_free(cache->path);
    tkr_free(cache->folder);
    *cache = (tkr_tok_cache){0};
}
