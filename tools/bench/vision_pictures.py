# SPDX-License-Identifier: Apache-2.0
"""The pictures that are embedded: made from a number, already as large as the model wants them."""
import io
import json

import numpy as np

SIZE = 224
CHECKED = [0, 1]  # those whose vectors are compared with torch's


def picture(number):
    """[SIZE, SIZE, 3] bytes: smooth shapes of its own under a little noise."""
    random = np.random.default_rng(number)
    coarse = random.integers(0, 256, (8, 8, 3)).astype(np.float32)
    at = np.linspace(0, 6.999, SIZE)
    cell, part = at.astype(int), (at % 1).astype(np.float32)
    rows = coarse[cell] * (1 - part)[:, None, None] + coarse[cell + 1] * part[:, None, None]
    smooth = rows[:, cell] * (1 - part)[:, None] + rows[:, cell + 1] * part[:, None]
    return np.clip(smooth + random.normal(0, 12, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)


def pixel_values(checkpoint, numbers):
    """[n, 3, SIZE, SIZE], what the checkpoint's processor makes of them: no resize, scaled and normalised."""
    with open(f"{checkpoint}/preprocessor_config.json", encoding="utf-8") as file:
        config = json.load(file)
    x = np.stack([picture(number) for number in numbers]).astype(np.float32) * np.float32(config["rescale_factor"])
    x = (x - np.float32(config["image_mean"])) / np.float32(config["image_std"])
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def png(number):
    """Stored, not compressed: for an engine that takes nothing but encoded pictures."""
    from PIL import Image
    file = io.BytesIO()
    Image.fromarray(picture(number)).save(file, "png", compress_level=0)
    return file.getvalue()
