/* SPDX-License-Identifier: Apache-2.0 */
/* routes/tei: what tei.c and tei_tokens.c share. */
#ifndef TKR_SERVER_ROUTES_TEI_H
#define TKR_SERVER_ROUTES_TEI_H

#include "server/routes/shape.h"

extern const tkr_shape_empty tkr_tei_empty;
/* Refuses texts of more characters than TEI tokenises: 250 times the model's tokens. After tkr_shape_inputs. */
bool tkr_tei_lengths(tkr_operation *op);
/* tkr_fields_of, where an explicit null is of the wrong type, as most of TEI's fields have it. */
bool tkr_tei_fields(tkr_fields *fields, tkr_operation *op, const json_t *value, const char *path);
/* The same fields, for those that may be null. */
tkr_fields tkr_tei_nullable(const tkr_fields *fields);

#endif
