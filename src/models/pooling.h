/* SPDX-License-Identifier: Apache-2.0 */
/* models/pooling: reads 1_Pooling/config.json and writes mode names. */
#ifndef TKR_MODELS_POOLING_H
#define TKR_MODELS_POOLING_H

#include "models/model.h"

/* Fills modes, n_modes and include_prompt from the file in its old or new style; *width is left alone when the file
 * says none. */
tkr_status tkr_pooling_read(tkr_post_info *info, int64_t *width, const char *path, tkr_error *error);
/* Writes "cls+max". */
void tkr_pooling_text(char *out, size_t size, const tkr_pool_mode *modes, size_t n_modes);

#endif
