/* SPDX-License-Identifier: Apache-2.0 */
/* engine/accuracy: how far one number format's vectors are from another's, on texts that are built in. */
#ifndef TKR_ENGINE_ACCURACY_H
#define TKR_ENGINE_ACCURACY_H

#include "engine/tools.h"

/* Short English sentences of many subjects, no two alike. */
extern const char *const tkr_accuracy_texts[];
extern const size_t tkr_accuracy_n_texts;

/* Embeds the built-in texts without prompts. Returns [tkr_accuracy_n_texts, *dimensions] (tkr_free). */
tkr_status tkr_accuracy_embed(float **rows, size_t *dimensions, tkr_model *model, tkr_error *error);
/* Fills min, mean, first_percentile and top10 of *out from two such matrices. */
tkr_status tkr_accuracy_compare(tkr_accuracy *out, const float *reference, const float *rows, size_t dimensions,
                                tkr_error *error);

#endif
