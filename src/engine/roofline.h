/* SPDX-License-Identifier: Apache-2.0 */
/* engine/roofline: the peak measurement, shared by roofline and bench. */
#ifndef TKR_ENGINE_ROOFLINE_H
#define TKR_ENGINE_ROOFLINE_H

#include "engine/engine.h"

/* Operations per second of all the pool's workers running `fn`; 0 when there is no such probe. */
double tkr_measure_peak(tkr_peak_fn *fn, tkr_pool *pool);

#endif
