/* SPDX-License-Identifier: Apache-2.0 */
/* formats/pytorch_read: private to pytorch*.c, its tests and its fuzzer. */
#ifndef TKR_FORMATS_PYTORCH_READ_H
#define TKR_FORMATS_PYTORCH_READ_H

#include "formats/tensors.h"

/* A tkr_tensor_reader. */
tkr_status tkr_pytorch_read(tkr_tensors *set, const tkr_tensor_source *source, tkr_error *error);

#endif
