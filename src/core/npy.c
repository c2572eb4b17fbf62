/* SPDX-License-Identifier: Apache-2.0 */
/* core/npy: a Python dictionary as text, filled up with blanks. */
#include "core/npy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void tkr_npy_header(char out[TKR_NPY_HEADER], const char *type, uint64_t rows, uint64_t columns) {
    char text[TKR_NPY_HEADER - 10 + 1];
    memset(out, ' ', TKR_NPY_HEADER);
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = (char)(TKR_NPY_HEADER - 10);
    out[9] = 0;
    int n =
        snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (%" PRIu64 ", %" PRIu64 "), }",
                 type, rows, columns);
    memcpy(out + 10, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
    out[TKR_NPY_HEADER - 1] = '\n';
}
