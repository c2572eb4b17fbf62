/* SPDX-License-Identifier: Apache-2.0 */
/* A jail on fake_decoder, which does what the input's first byte says. */
#ifndef TKR_TEST_MEDIA_JAIL_FAKE_H
#define TKR_TEST_MEDIA_JAIL_FAKE_H

#include "jail_helpers.h"

static inline tkr_jail *fake_jail(unsigned n_processes, unsigned timeout_seconds) {
    tkr_jail_options options = {.program = TKR_BUILD_DIR "/tests/fake_decoder",
                                .n_processes = n_processes,
                                .max_pixels = 1 << 20,
                                .max_bytes = 1 << 20,
                                .timeout_seconds = timeout_seconds};
    return open_jail(&options);
}

static inline tkr_status ask(tkr_jail *jail, const char *what, tkr_image *image, const tkr_stop *stop,
                             tkr_error *error) {
    return tkr_jail_image(image, jail, "cat.jpg", what, strlen(what), TKR_ALPHA_DROP, stop, error);
}

/* Process id of the decoder, its lower 24 bits. */
static inline unsigned who(tkr_jail *jail) {
    tkr_image image;
    tkr_error error;
    if (ask(jail, "x", &image, NULL, &error) != TKR_OK) fail_msg("%s", error.message);
    assert_int_equal(image.width, 1);
    assert_int_equal(image.height, 1);
    const unsigned pid = image.rgb[0] | (unsigned)image.rgb[1] << 8 | (unsigned)image.rgb[2] << 16;
    tkr_image_free(&image);
    return pid;
}

#endif
