/* SPDX-License-Identifier: Apache-2.0 */
/* engine/selftest: one number a kernel, the largest error against double-precision loops; infinity when it could not
 * run. */
#ifndef TKR_ENGINE_SELFTEST_H
#define TKR_ENGINE_SELFTEST_H

#include "kernels/kernels.h"

double tkr_selftest_gemm(const tkr_gemm *gemm);                /* relative to the largest value */
double tkr_selftest_attention(const tkr_attention *attention); /* absolute, values within 1 */
double tkr_selftest_layer_norm(tkr_layer_norm_fn *layer_norm); /* absolute, values of order 1 */

#endif
