# SPDX-License-Identifier: Apache-2.0
"""Preprocessing of one picture beside Pillow and NumPy, one thread, decoding left out.

usage: preprocess.py --build DIR [--rounds N] [--json]     (needs Pillow, NumPy, transformers; target bench_preprocess)

The peers are transformers' Pillow-backed processors, and the same steps written out with the least of NumPy. Both start
from a decoded PIL picture. A round is ours, then each peer; ratios are of a round's best times, and their median is
told. The sum of the values shows that all computed the same.
"""
import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
import numpy as np
from PIL import Image

OURS = "tkr-embed"
SIZES = [(640, 480), (4000, 3000)]
CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def picture(width, height):
    x, y, c = np.arange(width)[None, :, None], np.arange(height)[:, None, None], np.arange(3)[None, None, :]
    return Image.fromarray(((x * x // 64 + y * y // 64 * 5 + c * 61) % 251).astype(np.uint8))


def normalised(image, mean, std):
    """[3, height, width], the fewest passes that give the reference's bits: a table per channel."""
    table = ((np.arange(256) * (1 / 255)).astype(np.float32)[:, None] - np.float32(mean)) / np.float32(std)
    pixels = np.asarray(image)
    return np.stack([table[:, c].astype(np.float32)[pixels[:, :, c]] for c in range(3)])


def siglip(image):
    return normalised(image.resize((224, 224), 3), [0.5] * 3, [0.5] * 3)


def clip(image):
    w, h = image.size
    image = image.resize((224, int(224 * h / w)) if w < h else (int(224 * w / h), 224), 3)
    left, top = (image.size[0] - 224) // 2, (image.size[1] - 224) // 2
    return normalised(image.crop((left, top, left + 224, top + 224)), CLIP_MEAN, CLIP_STD)


def qwen2_vl(image):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize
    height, width = smart_resize(image.size[1], image.size[0], 28, 3136, 1003520)
    x = normalised(image.resize((width, height), 3), CLIP_MEAN, CLIP_STD)
    x = x.reshape(3, height // 28, 2, 14, width // 28, 2, 14).transpose(1, 4, 2, 5, 0, 3, 6)
    x = np.broadcast_to(x[:, :, :, :, :, None], (*x.shape[:5], 2, 14, 14))
    return x.reshape(-1, 1176)


def peers():
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
    theirs = {"siglip-224": SiglipImageProcessorPil(), "clip-224": CLIPImageProcessorPil(),
              "qwen2-vl": Qwen2VLImageProcessorPil()}
    own = {"siglip-224": siglip, "clip-224": clip, "qwen2-vl": qwen2_vl}
    return {"transformers": {name: lambda image, p=p: p(image, return_tensors="np")["pixel_values"]
                             for name, p in theirs.items()}, "Pillow + NumPy": own}


def best(call, image, seconds):
    """Best milliseconds of a call within a time, and the sum of its values."""
    found, end = 1e9, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        values = call(image)
        found = min(found, time.perf_counter() - start)
    return found * 1e3, float(np.sum(values, dtype=np.float64))


def measure(build, rounds):
    """{(width, height, processor): {who: [(milliseconds, sum of the values) of a round]}}"""
    others, images, times = peers(), {size: picture(*size) for size in SIZES}, {}
    for _ in range(rounds):
        ours = subprocess.run([f"{build}/tests/bench_preprocess", "", "0.7"], check=True, text=True,
                              stdout=subprocess.PIPE).stdout
        for line in ours.splitlines():
            size, name, milliseconds, _, total = line.split()
            key = (*map(int, size.split("x")), name)
            row = times.setdefault(key, {})
            row.setdefault(OURS, []).append((float(milliseconds), float(total)))
            for peer, calls in others.items():
                row.setdefault(peer, []).append(best(calls[name], images[key[:2]], 0.7))
    return times


def rows(build, rounds):
    """[{picture, processor, ms: {who: best}, ratio: {peer: median}, same: all computed the same}], for JSON."""
    found = []
    for key, times in measure(build, rounds).items():
        mine = times[OURS]
        theirs = {peer: values for peer, values in times.items() if peer != OURS}
        found.append({"picture": f"{key[0]}x{key[1]}", "processor": key[2],
                      "ms": {who: min(t for t, _ in values) for who, values in times.items()},
                      "ratio": {peer: statistics.median(other / my for (my, _), (other, _) in zip(mine, values))
                                for peer, values in theirs.items()},
                      "same": all(abs(values[0][1] - mine[0][1]) < 0.01 for values in theirs.values())})
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    stubs = Path(args.build) / "bench" / "stubs"
    if stubs.exists():  # transformers imports torch where it is installed
        import cuda_stubs
        cuda_stubs.load(stubs)
    found = rows(args.build, args.rounds)
    if args.json:
        print(json.dumps(found))
        return
    for row in found:
        print(f"{row['picture']} {row['processor']}: " +
              ", ".join(f"{who} {ms:.2f} ms" for who, ms in row["ms"].items()) + "; " +
              ", ".join(f"{ratio:.1f}x {peer}" for peer, ratio in row["ratio"].items()) +
              ("" if row["same"] else "; VALUES DIFFER"))


if __name__ == "__main__":
    main()
