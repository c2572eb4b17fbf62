# SPDX-License-Identifier: Apache-2.0
"""Large shapes at true size: memory of loading and of running, start with a warm weight cache, 32k tokens.

Needs 30 GB of disk below the build folder and 12 GiB of memory; says so and runs nothing where they aren't there."""
import json
import os
import random
import shutil
import time
import unittest

from made import GIB, MIB, SANITIZED, Made

WORDS = ("the quick brown fox jumps over a lazy dog and ran away home far from here with all of his best friends "
         "who like to eat apples").split()


def memory():
    with open("/proc/meminfo", encoding="ascii") as file:
        return int(file.readline().split()[1]) * 1024


def large_enough():
    return shutil.disk_usage(os.environ["TKR_BUILD_DIR"]).free > 30e9 and memory() > 12 * GIB


@unittest.skipIf(SANITIZED or not large_enough(), "not run: needs 30 GB of disk and 12 GiB of memory")
class Large(Made):
    def words(self, n):
        """A file with one text of n words, each of them one token."""
        path = os.path.join(self.folder, f"{n}.txt")
        with open(path, "w", encoding="ascii") as file:
            file.write(" ".join(random.Random(n).choice(WORDS) for _ in range(n)) + "\n")
        return path

    def check_load(self, model, level, most):
        """First load: never above the final size + 1 GiB; resident at a budget of 2,048 tokens at most `most`."""
        args = ("--quantization", level, "--batch-tokens", "2048")
        seconds, _, peak = self.watch("embed", model, *args, "-i", self.words(16))
        weights = json.loads(self.run_program("info", model, *args, "--json"))["weights_bytes"]
        print(f"{level}: weights {weights / GIB:.2f} GiB; first start {seconds:.0f} s, "
              f"highest {({k: round(v / MIB) for k, v in peak.items()})} MiB")
        self.assertLess(peak["VmHWM"], weights + GIB)
        seconds, _, peak = self.watch("embed", model, *args, "-i", self.words(2040))
        print(f"{level}: 2,040 tokens from the cache {seconds:.0f} s, "
              f"highest {({k: round(v / MIB) for k, v in peak.items()})} MiB")
        self.assertLess(peak["VmHWM"], most)

    def check_start(self, model):
        """Process start to the first vector, beside the query itself: four queries less one, over three."""
        one, four = self.words(16), os.path.join(self.folder, "four.txt")
        with open(one, encoding="ascii") as file:
            text = file.read()
        with open(four, "w", encoding="ascii") as file:
            file.write(text * 4)
        taken = {one: [], four: []}
        for _ in range(5):
            for path, values in taken.items():
                begin = time.monotonic()
                self.run_program("embed", model, "--quantization", "q4", "--batch-tokens", "16", "-i", path)
                values.append(time.monotonic() - begin)
        query = (min(taken[four]) - min(taken[one])) / 3
        print(f"16 tokens: {query:.3f} s a query, {min(taken[one]):.3f} s from the start of the process")
        self.assertLess(min(taken[one]), 1.5 * query + 0.3)

    def test_7b(self):
        begin = time.monotonic()
        model = self.make("qwen2-7b", "--outliers", "1000")
        print(f"made in {time.monotonic() - begin:.0f} s")
        self.check_load(model, "q4", 4.9 * GIB)
        self.check_start(model)
        shutil.rmtree(self.cache)
        self.check_load(model, "q8", 8.6 * GIB)

    def test_32k_tokens(self):
        """Memory beyond the weights, and time: what 8k and 16k tokens foretell as a linear and a quadratic part."""
        model = self.make("qwen3-0.6b-2l")
        taken = {}
        for n in (8190, 16380, 32760):
            seconds, _, peak = self.watch("embed", model, "--quantization", "q8", "--no-weight-cache", "-i",
                                          self.words(n))
            taken[n] = seconds
            print(f"{n} tokens: {seconds:.1f} s, {({k: round(v / MIB) for k, v in peak.items()})} MiB")
        weights = json.loads(self.run_program("info", model, "--quantization", "q8", "--json"))["weights_bytes"]
        self.assertLess(peak["RssAnon"], weights + 700 * MIB)
        # t = a n + b n^2 through the first two: t(4n) = 6 t(2n) - 8 t(n)
        self.assertLess(taken[32760], 1.3 * (6 * taken[16380] - 8 * taken[8190]))


if __name__ == "__main__":
    unittest.main()
