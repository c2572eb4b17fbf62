/* SPDX-License-Identifier: Apache-2.0 */
/* decode/document/xlsx: what the two files that read sheets share. */
#ifndef TKR_DECODE_DOCUMENT_XLSX_H
#define TKR_DECODE_DOCUMENT_XLSX_H

#include "decode/document/xml.h"

enum { TKR_XLSX_DAY = 1, TKR_XLSX_CLOCK = 2 };

/* Appends a byte for each style of a cell: 0, or the day and the time of day that it shows a number as. */
tkr_status tkr_xlsx_styles(tkr_buf *styles, const tkr_package *package, tkr_error *error);
/* Appends a number, in days, as what is shown of it: "1974-03-01", "06:30:15" or both. false, and nothing, where it is
 * none or out of range. Days count from 1904 where the workbook says so. */
bool tkr_xlsx_date(tkr_buf *out, const char *number, uint8_t shown, bool from_1904);

#endif
