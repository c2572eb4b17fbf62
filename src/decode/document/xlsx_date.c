/* SPDX-License-Identifier: Apache-2.0 */
/* decode/document/xlsx_date: numbers that a sheet shows as dates and times, as ISO 8601 has them. */
#include <math.h>
#include <stdlib.h>

#include "decode/document/xlsx.h"

/* What a number's format shows. "m" is a minute beside hours or seconds, else a month. */
static uint8_t shows(const char *code) {
    bool day = false, clock = false, m = false;
    for (const char *at = code; *at && *at != ';'; at++) {
        switch (*at) {
        case '"':
            while (at[1] && at[1] != '"') at++;
            if (at[1]) at++;
            break;
        case '\\':
        case '_':
        case '*':
            if (at[1]) at++;
            break;
        case '[': /* a colour, a language, or hours beyond a day */
            clock = clock ||
                    ((at[1] == 'h' || at[1] == 'm' || at[1] == 's') && strspn(at + 1, "hms") + 1 == strcspn(at, "]"));
            at += strcspn(at, "]") - (at[strcspn(at, "]")] == '\0');
            break;
        case 'y':
        case 'Y':
        case 'd':
        case 'D': day = true; break;
        case 'h':
        case 'H':
        case 's':
        case 'S': clock = true; break;
        case 'm':
        case 'M': m = true; break;
        case 'G': return 0; /* General */
        default: break;
        }
    }
    return (uint8_t)((day || (m && !clock) ? TKR_XLSX_DAY : 0) | (clock ? TKR_XLSX_CLOCK : 0));
}

static uint8_t shows_built_in(unsigned long id) {
    if (id == 22) return TKR_XLSX_DAY | TKR_XLSX_CLOCK;
    if ((id >= 14 && id <= 17) || (id >= 27 && id <= 31) || id == 36 || (id >= 50 && id <= 58)) return TKR_XLSX_DAY;
    return (id >= 18 && id <= 21) || (id >= 32 && id <= 35) || (id >= 45 && id <= 47) ? TKR_XLSX_CLOCK : 0;
}

typedef struct format {
    unsigned long id;
    uint8_t shows;
} format;

static uint8_t shows_of(const tkr_buf *formats, unsigned long id) {
    const format *list = (const format *)(const void *)formats->data;
    for (size_t i = 0; i < formats->size / sizeof *list; i++) {
        if (list[i].id == id) return list[i].shows;
    }
    return shows_built_in(id);
}

tkr_status tkr_xlsx_styles(tkr_buf *styles, const tkr_package *package, tkr_error *error) {
    const tkr_member *member = tkr_package_find(package, "xl/styles.xml");
    tkr_buf formats = {0};
    tkr_xml xml;
    bool in_cells = false;
    if (!member) return TKR_OK;
    tkr_status status = tkr_xml_open(&xml, member, error);
    while (status == TKR_OK && tkr_xml_next(&xml, &status, error)) {
        char id[32], code[512];
        if (tkr_xml_is(&xml, "cellXfs")) in_cells = xml.kind == TKR_XML_BEGIN;
        if (xml.kind != TKR_XML_BEGIN || !tkr_xml_attribute(&xml, id, sizeof id, "numFmtId")) continue;
        const unsigned long number = strtoul(id, NULL, 10);
        if (tkr_xml_is(&xml, "numFmt") && tkr_xml_attribute(&xml, code, sizeof code, "formatCode")) {
            const format one = {.id = number, .shows = shows(code)};
            tkr_buf_append(&formats, &one, sizeof one);
        } else if (in_cells && tkr_xml_is(&xml, "xf")) {
            tkr_buf_putc(styles, (char)shows_of(&formats, number));
        }
    }
    tkr_xml_close(&xml);
    if (status == TKR_OK && (formats.failed || styles->failed))
        status = TKR_FAIL(error, NO_MEMORY, "no memory: styles");
    tkr_buf_free(&formats);
    return status;
}

/* Days from 1970-01-01 to a day of the Gregorian calendar: 400 years have 146,097. */
static void day_of(long days, long *year, long *month, long *day) {
    days += 719468; /* from 0000-03-01: a leap day is a year's last */
    const long era = days / 146097, of_era = days % 146097;
    const long y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    const long of_year = of_era - (365 * y + y / 4 - y / 100), m = (5 * of_year + 2) / 153;
    *day = of_year - (153 * m + 2) / 5 + 1;
    *month = m < 10 ? m + 3 : m - 9;
    *year = y + era * 400 + (*month <= 2);
}

bool tkr_xlsx_date(tkr_buf *out, const char *number, uint8_t shown, bool from_1904) {
    enum { DAY = 86400, LAST = 2958465 }; /* 9999-12-31 */
    char *end;
    const double value = strtod(number, &end);
    if (shown == 0 || end == number || *end != '\0' || !(value >= 0) || value > LAST) return false;
    const long seconds_in_all = lround(value * DAY);
    long days = seconds_in_all / DAY, seconds = seconds_in_all % DAY, year, month, day;
    if (shown & TKR_XLSX_DAY) {
        /* day 60 is 1900-02-29, which never was */
        day_of(from_1904 ? days - 24107 : days < 60 ? days - 25568 : days - 25569, &year, &month, &day);
        tkr_buf_printf(out, "%04ld-%02ld-%02ld", year, month, day);
        if (!(shown & TKR_XLSX_CLOCK)) return true;
        tkr_buf_putc(out, ' ');
    }
    const long hours = seconds / 3600 + (days > 0 && days < 366 && !(shown & TKR_XLSX_DAY) ? 24 * days : 0);
    tkr_buf_printf(out, "%02ld:%02ld", hours, seconds / 60 % 60);
    if (seconds % 60 != 0) tkr_buf_printf(out, ":%02ld", seconds % 60);
    return true;
}
