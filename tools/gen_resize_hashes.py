# SPDX-License-Identifier: Apache-2.0
"""Writes rows of tests/media/resize_hashes.inc: what this Pillow makes of computed pictures.

usage: gen_resize_hashes.py    with Pillow 13 (its own order of passes) and again with Pillow 12 (horizontal first)
"""
import hashlib

import numpy
import PIL
from PIL import Image

NAMES = ["NEAREST", "LANCZOS", "BILINEAR", "BICUBIC", "BOX"]
SIZES = [(640, 480, 224, 224), (640, 480, 644, 476), (1600, 1200, 224, 224), (33, 2000, 33, 70), (300, 17, 41, 300),
         (500, 1000, 480, 333), (5, 9, 300, 200), (2001, 3, 97, 1), (7, 1400, 9, 56)]


def picture(width, height):
    x, y, c = numpy.arange(width)[None, :, None], numpy.arange(height)[:, None, None], numpy.arange(3)[None, None, :]
    return Image.fromarray(((x * x * 7 + y * 13 + c * 61) % 251).astype(numpy.uint8))


first = int(PIL.__version__.split(".")[0]) <= 12
for w, h, to_w, to_h in SIZES:
    for code, name in enumerate(NAMES):
        if first and not (h - to_h > 2 * (w - to_w) and to_h < h and code):
            continue  # the order does not show
        out = picture(w, h).resize((to_w, to_h), code)
        digest = hashlib.sha256(numpy.asarray(out).tobytes()).hexdigest()
        print(f'{{{w}, {h}, {to_w}, {to_h}, TKR_FILTER_{name}, {str(first).lower()},\n "{digest}"}},')
