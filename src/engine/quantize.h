/* SPDX-License-Identifier: Apache-2.0 */
/* engine/quantize: private to quantize*.c: the folder that a quantised checkpoint is made in. */
#ifndef TKR_ENGINE_QUANTIZE_H
#define TKR_ENGINE_QUANTIZE_H

#include "engine/tools.h"

typedef struct tkr_target {
    char *path;   /* where it will be */
    char *inner;  /* where it is made: a new folder beside it */
    bool replace; /* `path` holds a checkpoint that is to be replaced */
} tkr_target;

/* Refuses the source's own folder, and folders that are in use. Makes the inner folder. Fills *target, zeroed. */
tkr_status tkr_target_open(tkr_target *target, const char *source, const char *output, bool force, tkr_error *error);
/* Tokenizer, sentence-transformers and licence files of the source, and the folders of its modules. Links are followed.
 * Neither config.json nor weights of the network. */
tkr_status tkr_target_copy_files(const tkr_target *target, const char *source, tkr_error *error);
/* The source's config.json with a "quantization" of its own. */
tkr_status tkr_target_write_config(const tkr_target *target, const char *source, unsigned bits, size_t group,
                                   tkr_error *error);
/* The inner folder becomes the outer one. */
tkr_status tkr_target_finish(tkr_target *target, tkr_error *error);
/* Removes the inner folder if there is still one, and frees. */
void tkr_target_close(tkr_target *target);

#endif
