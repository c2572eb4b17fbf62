/* SPDX-License-Identifier: Apache-2.0 */
/*
 * formats/pytorch: tensors of a pytorch_model.bin (the zip layout of torch.save since 1.6), mapped read-only. A
 * restricted reader of the pickle: it builds dicts of tensors and executes nothing; any other opcode or global is
 * refused by name.
 */
#ifndef TKR_FORMATS_PYTORCH_H
#define TKR_FORMATS_PYTORCH_H

#include "formats/safetensors.h"

/* Opens one file. Returns a set. */
tkr_status tkr_pytorch_open_file(tkr_tensors **set, const char *path, tkr_error *error);

#endif
