/* SPDX-License-Identifier: Apache-2.0 */
/* engine/options: defaults of the public structs; similarities. */
#include <math.h>
#include <string.h>

#include "tkr/embed.h"

void tkr_model_options_init(tkr_model_options *options) {
    memset(options, 0, sizeof *options);
    options->struct_size = sizeof *options;
}

void tkr_embed_options_init(tkr_embed_options *options) {
    memset(options, 0, sizeof *options);
    options->struct_size = sizeof *options;
}

double tkr_cosine(const float *a, const float *b, size_t n) {
    double dot = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < n; i++) {
        dot += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    double norm = sqrt(aa) * sqrt(bb);
    return norm > 0 && isfinite(dot / norm) ? dot / norm : 0;
}

double tkr_maxsim(const float *query, size_t n_query, const float *document, size_t n_document, size_t n) {
    double sum = 0;
    for (size_t q = 0; q < n_query && n_document > 0; q++) {
        double best = -HUGE_VAL;
        for (size_t d = 0; d < n_document; d++) {
            double dot = 0;
            for (size_t i = 0; i < n; i++) dot += (double)query[q * n + i] * (double)document[d * n + i];
            best = dot > best ? dot : best;
        }
        sum += best;
    }
    return isfinite(sum) ? sum : 0;
}
