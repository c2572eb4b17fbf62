# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of tools/make_checkpoint: the same bytes every time, usable vectors; memory of loading a large one."""
import filecmp
import json
import math
import os
import subprocess
import unittest

from made import MAKE, MIB, SANITIZED, Made

TEXTS = ("hello world", "a short text about nothing", "one more")


class Maker(Made):
    def vectors(self, model, *args):
        lines = self.run_program("embed", model, "--quantization", "none", *args, *TEXTS).decode().splitlines()
        return [json.loads(line)["embedding"] for line in lines]

    def test_same_bytes(self):
        a, b = self.make("minilm-2l", name="a"), self.make("minilm-2l", name="b")
        for name in ("model.safetensors", "config.json", "tokenizer.json", "modules.json", "1_Pooling/config.json"):
            self.assertTrue(filecmp.cmp(os.path.join(a, name), os.path.join(b, name), shallow=False), name)
        c = self.make("minilm-2l", "--seed", "2", name="c")
        weights = [os.path.join(folder, "model.safetensors") for folder in (a, c)]
        self.assertFalse(filecmp.cmp(*weights, shallow=False))

    def test_types_shards_and_outliers(self):
        """f32 and bf16 hold the same numbers but for their rounding; shards hold them, too; outliers stay finite."""
        rows = {}
        for name, options in (("f32", ("--dtype", "f32")), ("bf16", ()), ("f16", ("--dtype", "f16")),
                              ("shards", ("--shard-bytes", "2000000")), ("outliers", ("--outliers", "20"))):
            rows[name] = self.vectors(self.make("minilm-2l", *options, name=name))
            for row in rows[name]:
                self.assertTrue(math.isclose(sum(x * x for x in row), 1, abs_tol=1e-5), name)
        self.assertGreater(len([x for x in os.listdir(os.path.join(self.folder, "shards")) if "of" in x]), 2)
        self.assertEqual(rows["bf16"], rows["shards"])
        for name in ("bf16", "f16"):
            cosine = min(sum(map(float.__mul__, a, b)) for a, b in zip(rows["f32"], rows[name]))
            self.assertGreater(cosine, 0.9999, name)
        self.assertNotEqual(rows["bf16"], rows["outliers"])

    def test_refusals(self):
        for args in (("no-such-shape", "x"), ("minilm",), ("minilm", "x", "--dtype", "int3"),
                     ("minilm", "x", "--outliers", "-1")):
            done = subprocess.run([MAKE, *args], capture_output=True, cwd=self.folder, check=False)
            self.assertEqual(done.returncode, 2, args)
        model = self.make("minilm-1l")
        done = subprocess.run([MAKE, "minilm-1l", model], capture_output=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"File exists", done.stderr)


class Loading(Made):
    @unittest.skipIf(SANITIZED, "sanitizers keep memory of their own")
    def test_memory(self):
        """435 MB of f32 become 81 MiB of q8 and are let go on the way; the second start holds next to nothing."""
        model = self.make("bge-base", "--dtype", "f32")
        q8 = ("--quantization", "q8")
        weights = json.loads(self.run_program("info", model, *q8, "--json", "--no-weight-cache"))["weights_bytes"]
        self.assertGreater(weights, 64 * MIB)
        _, first, peak = self.watch("embed", model, *q8, *TEXTS)
        self.assertLess(peak["VmHWM"], weights + 160 * MIB, peak)
        _, second, mapped = self.watch("embed", model, *q8, *TEXTS)
        self.assertEqual(first, second)
        self.assertLess(mapped["RssAnon"], 24 * MIB, mapped)
        info = json.loads(self.run_program("info", model, *q8, "--json"))
        notes = {note["name"]: note["value"] for note in info["notes"]}
        self.assertRegex(notes["weight cache"], f"^mapped from {self.cache}/weights-[0-9a-f]+.tkr$")
        self.assertIn(b"every byte as it was", self.run_program("doctor", model, *q8, "--json"))


if __name__ == "__main__":
    unittest.main()
