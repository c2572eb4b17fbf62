/* SPDX-License-Identifier: Apache-2.0 */
/* formats/zip: private to formats: the members of a zip file in memory. Stored ones only; nothing is unpacked. */
#ifndef TKR_FORMATS_ZIP_H
#define TKR_FORMATS_ZIP_H

#include "formats/tensors.h"

typedef struct tkr_zip_member {
    const char *name; /* not NUL-terminated */
    size_t n_name;
    const uint8_t *data;
    size_t size;
} tkr_zip_member;

typedef struct tkr_zip {
    tkr_zip_member *members; /* [n], sorted by name, unique */
    size_t n;
} tkr_zip;

/* Reads the central directory (also of zip64) and checks it against the local headers. Fills *zip, to be freed also
 * after a failure. */
tkr_status tkr_zip_read(tkr_zip *zip, const tkr_tensor_source *source, tkr_error *error);
void tkr_zip_free(tkr_zip *zip);
/* By "prefix" + "name"; NULL when there is none. */
const tkr_zip_member *tkr_zip_find(const tkr_zip *zip, const char *prefix, size_t n_prefix, const char *name,
                                   size_t n_name);

#endif
