/* SPDX-License-Identifier: Apache-2.0 */
/* core/npy: the head of numpy's file format 1.0. */
#ifndef TKR_CORE_NPY_H
#define TKR_CORE_NPY_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of a head, whatever it says: so it can be written again when the number of rows is known. */
enum { TKR_NPY_HEADER = 128 };

/* Of a C-ordered [rows, columns] array of `type`, as "<f4". */
void tkr_npy_header(char out[TKR_NPY_HEADER], const char *type, uint64_t rows, uint64_t columns);

#endif
