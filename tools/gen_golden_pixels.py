#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes pixels.safetensors beside the goldens of the Qwen-VL families: the resized pictures as 8-bit RGB.

    tools/gen_golden_pixels.py tests/golden/qwen2_vl/qwen2_vl [--skip 11]

Needs Pillow 13 and numpy. Sizes come from the grids of cases.json, and every picture must have the SHA-256 that
cases.json gives for it, so this tool adds no expectation of its own. Video frames pass through two resizes, of which
the second is torchvision's, written down here as its source has it. `i.k` is picture k of input i, [height, width, 3];
`i.frames` the frames of its video, [n, height, width, 3].
"""
import argparse
import hashlib
import json
import math
import struct
import sys
from pathlib import Path

import numpy as np
from PIL import Image


def rgb(image, white):
    """convert("RGB"); Qwen3-VL's own fetch_image puts RGBA on white."""
    if white and image.mode == "RGBA":
        out = Image.new("RGB", image.size, (255, 255, 255))
        out.paste(image, mask=image.split()[3])
        return out
    return image.convert("RGB")


def cubic(x, a=-0.5):
    x = abs(x)
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0


def torch_pass(pixels, n_out):
    """torchvision's antialiased bicubic on uint8 along axis 0: 16-bit weights of as many bits as fit."""
    n_in = pixels.shape[0]
    if n_in == n_out:
        return pixels
    scale = n_in / n_out
    support = 2.0 * max(scale, 1.0)
    invert = 1.0 / max(scale, 1.0)
    rows = []
    for i in range(n_out):
        centre = scale * (i + 0.5)
        low = max(int(centre - support + 0.5), 0)
        high = min(int(centre + support + 0.5), n_in)
        weights = [cubic((j + low - centre + 0.5) * invert) for j in range(high - low)]
        total = sum(weights)
        rows.append((low, [w / total for w in weights]))
    top = max(max(w) for _, w in rows)
    bits = 0
    while bits < 22 and int(0.5 + top * (1 << (bits + 1))) < (1 << 15):
        bits += 1
    out = np.empty((n_out,) + pixels.shape[1:], np.uint8)
    for i, (low, weights) in enumerate(rows):
        acc = np.full(pixels.shape[1:], 1 << (bits - 1), np.int64)
        for j, w in enumerate(weights):
            acc += pixels[low + j].astype(np.int64) * int(math.copysign(0.5, w) + w * (1 << bits))
        out[i] = np.clip(acc >> bits, 0, 255)
    return out


def torch_resize(pixels, height, width):
    across = torch_pass(pixels.transpose(1, 0, 2), width).transpose(1, 0, 2)
    return torch_pass(across, height)


def fetch_size(height, width, factor, low, high):
    h, w = (max(factor, round(s / factor) * factor) for s in (height, width))
    if h * w > high:
        beta = math.sqrt(height * width / high)
        h, w = (math.floor(s / beta / factor) * factor for s in (height, width))
    elif h * w < low:
        beta = math.sqrt(low / (height * width))
        h, w = (math.ceil(s * beta / factor) * factor for s in (height, width))
    return h, w


def write(path, tensors):
    header, at = {}, 0
    for name, values in tensors.items():
        header[name] = {"dtype": "U8", "shape": list(values.shape), "data_offsets": [at, at + values.nbytes]}
        at += values.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(v.tobytes() for v in tensors.values()))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--skip", type=int, nargs="*", default=[])
    args = parser.parse_args()
    cases = json.loads((args.folder / "cases.json").read_text())
    qwen3 = cases.get("model_type") == "qwen3_vl"
    side = 16 if qwen3 else 14
    tensors = {}

    def take(name, pixels, digest):
        if hashlib.sha256(pixels.tobytes()).hexdigest() != digest:
            sys.exit(f"{args.folder}: {name} is not the picture that cases.json describes")
        tensors[name] = pixels

    for case in cases["inputs"]:
        i = case["id"]
        if i in args.skip:
            continue
        for k, (file, grid, digest) in enumerate(zip(case.get("images", []), case.get("image_grid_thw", []),
                                                     case.get("resized_sha256", []))):
            picture = rgb(Image.open(args.folder / file), qwen3 and not case.get("hub_processor"))
            picture = picture.resize((grid[2] * side, grid[1] * side), Image.BICUBIC)
            take(f"{i}.{k}", np.asarray(picture), digest)
        frames = []
        for file, digest in zip(case.get("video", []), case.get("resized_frames", {}).get("sha256", [])):
            _, height, width, _ = case["resized_frames"]["shape"]
            picture = rgb(Image.open(args.folder / file), True)
            low = case.get("video_options", {}).get("min_pixels", 4096)
            high = case.get("video_options", {}).get("max_pixels", 16777216)
            h, w = fetch_size(picture.height, picture.width, 32, low, high)
            frames.append(torch_resize(np.asarray(picture.resize((w, h), Image.BICUBIC)), height, width))
            take("frame", frames[-1], digest)
        tensors.pop("frame", None)
        if frames:
            count = case["resized_frames"]["shape"][0]
            tensors[f"{i}.frames"] = np.stack(frames + [frames[-1]] * (count - len(frames)))
    write(args.folder / "pixels.safetensors", tensors)
    print(args.folder, {k: list(v.shape) for k, v in tensors.items()})


main()
