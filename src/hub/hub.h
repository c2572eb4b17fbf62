/* SPDX-License-Identifier: Apache-2.0 */
/* hub: model references (folder, Hugging Face id, alias), the Hugging Face cache layout, download. */
#ifndef TKR_HUB_HUB_H
#define TKR_HUB_HUB_H

#include <stdbool.h>

#include "core/file.h"
#include "core/log.h"

/* X(alias, repository, architecture (registry name)): one table; src/hub/aliases.def */
typedef struct tkr_hub_alias {
    const char *alias, *repository, *architecture;
} tkr_hub_alias;
const tkr_hub_alias *tkr_hub_aliases(size_t *count);

/* The model that comes with the program: a reference that needs no download. Found in share/tkr-embed/, or where
 * TKR_DEMO says. */
#define TKR_HUB_DEMO "demo"

/* Zero-initialise. NULL fields come from the environment as huggingface_hub reads it: HF_HUB_CACHE (else HF_HOME/hub,
 * else XDG_CACHE_HOME or ~/.cache /huggingface/hub), HF_ENDPOINT, HF_TOKEN (else HF_TOKEN_PATH or HF_HOME/token),
 * HF_HUB_OFFLINE (else TRANSFORMERS_OFFLINE), HF_HUB_DOWNLOAD_TIMEOUT (seconds without a byte, 30), and
 * REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE or SSL_CERT_FILE. */
typedef struct tkr_hub_options {
    const char *cache_dir, *endpoint, *token;
    bool offline;
    bool tokenizer_only;      /* pull: only the small files */
    tkr_download_fn progress; /* nullable */
    void *progress_user;
    tkr_log log;
} tkr_hub_options;

/* Finds the folder of a reference: an existing folder or GGUF file as it is; else alias or "org/name[@revision]" in the
 * cache (refs/<revision> -> snapshots/<commit>, complete as far as files are needed); else, unless offline, pulled.
 * Returns a new path (tkr_free). Errors say what was looked for, where, and what to do. */
tkr_status tkr_hub_resolve(char **folder, const char *reference, const tkr_hub_options *options, tkr_error *error);
/* The error that it would have without asking the network; what it would download is fine. */
tkr_status tkr_hub_check(const char *reference, const tkr_hub_options *options, tkr_error *error);

/* Downloads a model's files into the cache (configuration, tokenizer, modules, *.safetensors, in a folder without them
 * pytorch_model*.bin; no code): blobs/<etag>, snapshots/<commit>/<path> symlinks, refs/<revision> last. A repository
 * with neither is TKR_UNSUPPORTED before anything is fetched. Blobs that are there already are verified, damaged ones
 * fetched again. Resumes blobs/<etag>.incomplete, verifies size and hash (LFS: sha256; else git sha1), renames
 * atomically, locks per blob, retries with backoff on 429/5xx/cuts (Retry-After honoured). The token goes to the
 * endpoint's host only. TKR_CANCELLED when the progress function says so; what came stays for next time. Returns the
 * folder. */
tkr_status tkr_hub_pull(char **folder, const char *reference, const tkr_hub_options *options, tkr_error *error);

/* Every model in the cache. Strings are borrowed for the call. */
typedef struct tkr_hub_cached {
    const char *repository, *revision, *folder; /* revision: ref name or commit */
    uint64_t bytes;                             /* of its blobs */
    bool complete;                              /* no dangling link, config.json and weights there */
} tkr_hub_cached;
tkr_status tkr_hub_list(tkr_status (*fn)(void *user, const tkr_hub_cached *model), void *user,
                        const tkr_hub_options *options, tkr_error *error);

/* sha256 of a file as 64 hex digits and NUL. */
tkr_status tkr_hub_sha256(char hex[65], const char *path, tkr_error *error);

#endif
