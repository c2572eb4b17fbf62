/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers of the jail's tests: a jail on the tkr-decode that was built, golden pictures. */
#ifndef TKR_TEST_MEDIA_JAIL_HELPERS_H
#define TKR_TEST_MEDIA_JAIL_HELPERS_H

#include "golden.h"
#include "media/jail.h"

static inline tkr_jail_options jail_options(void) { return (tkr_jail_options){.program = TKR_BUILD_DIR "/tkr-decode"}; }

static inline tkr_jail *open_jail(const tkr_jail_options *options) {
    const tkr_jail_options standard = jail_options();
    tkr_jail *jail = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_jail_create(&jail, options ? options : &standard, &error) != TKR_OK) fail_msg("%s", error.message);
    return jail;
}

/* A file below golden/images. */
__attribute__((format(printf, 1, 0))) static inline tkr_buf picture(const char *format, const char *name) {
    char relative[512];
    size_t n = (size_t)snprintf(relative, sizeof relative, "golden/images/");
    snprintf(relative + n, sizeof relative - n, format, name);
    return golden_bytes(relative);
}

static inline tkr_image decode_or_fail(tkr_jail *jail, const char *name, const tkr_buf *bytes, tkr_alpha alpha) {
    tkr_image image;
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_jail_image(&image, jail, name, bytes->data, bytes->size, alpha, NULL, &error) != TKR_OK) {
        fail_msg("%s", error.message);
    }
    return image;
}

#endif
