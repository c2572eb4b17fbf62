#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The real all-MiniLM-L6-v2 against its golden vectors through the installed library and its header alone."""
import json
import math
import os
import struct
import subprocess
import sys
import tempfile

TESTS = os.environ["TKR_TEST_DIR"]
BUILD = os.environ["TKR_BUILD_DIR"]
LIMITS = {"f32": (1e-8, 1e-8), "bf16": (1e-4, 1e-4), "q8": (5e-3, 1.5e-3)}  # largest and mean cosine distance


def golden():
    with open(f"{TESTS}/golden/minilm/cases.json", encoding="utf-8") as file:
        texts = [item["text"].encode() for item in json.load(file)["inputs"]]
    with open(f"{TESTS}/golden/minilm/expected.safetensors", "rb") as file:
        data = file.read()
    size = struct.unpack("<Q", data[:8])[0]
    entry = json.loads(data[8:8 + size])["embeddings"]
    begin, end = (8 + size + offset for offset in entry["data_offsets"])
    rows, width = entry["shape"]
    values = struct.unpack(f"<{rows * width}f", data[begin:end])
    return texts, [values[row * width:(row + 1) * width] for row in range(rows)]


def distance(a, b):
    norm = math.sqrt(math.fsum(x * x for x in a)) * math.sqrt(math.fsum(x * x for x in b))
    return 1 - math.fsum(x * y for x, y in zip(a, b)) / norm


def build(prefix):
    subprocess.run(["cmake", "--install", BUILD, "--prefix", prefix], check=True, stdout=subprocess.DEVNULL)
    libdir = next(root for root, _, files in os.walk(prefix) if "libtkr.so" in files)
    program = f"{prefix}/minilm"
    warnings = ["-std=c17", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["cc", *warnings, f"-I{prefix}/include", f"{TESTS}/consumer/minilm.c", f"-L{libdir}",
                    f"-Wl,-rpath,{libdir}", "-ltkr", "-o", program], check=True)
    return program


def main():
    texts, expected = golden()
    stdin = b"".join(struct.pack("<I", len(text)) + text for text in texts)
    model = os.environ.get("TKR_MINILM") or "sentence-transformers/all-MiniLM-L6-v2"
    failed = 0
    with tempfile.TemporaryDirectory() as prefix:
        program = build(prefix)
        for name, (worst_limit, mean_limit) in LIMITS.items():
            out = subprocess.run([program, model, name], input=stdin, check=True, stdout=subprocess.PIPE).stdout
            width = len(expected[0])
            assert len(out) == 4 * width * len(texts), f"{name}: {len(out)} bytes for {len(texts)} texts"
            values = struct.unpack(f"<{width * len(texts)}f", out)
            distances = [distance(values[i * width:(i + 1) * width], row) for i, row in enumerate(expected)]
            worst, mean = max(distances), sum(distances) / len(distances)
            good = worst <= worst_limit and mean <= mean_limit
            failed += not good
            verdict = "ok" if good else "FAILED"
            print(f"{verdict}: {name}: largest {worst:.2e} (limit {worst_limit:.0e}), mean {mean:.2e}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
