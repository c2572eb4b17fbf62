#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""MLX checkpoints whose settings and tensors don't belong together: exit status 1 and one line that names the thing."""
import json
import os
import shutil
import sys
import unittest

sys.path.insert(0, os.path.join(os.environ["TKR_TEST_DIR"], "cli"))
import harness  # noqa: E402

MODEL = os.path.join(os.environ["TKR_TEST_DIR"], "golden", "quant", "mlx-bert-q4-g64", "model")


class Settings(harness.CliTest):
    def setUp(self):
        super().setUp()
        self.model = self.path("model")
        shutil.copytree(MODEL, self.model)
        with open(os.path.join(MODEL, "config.json"), encoding="utf-8") as file:
            self.config = json.load(file)

    def embed(self):
        self.path("model/config.json", json.dumps(self.config))
        return harness.run("embed", "-m", self.model, "text")

    def fails(self, settings, *says):
        self.config["quantization"] = settings
        out = self.embed()
        self.assertEqual(out.returncode, 1, out.stdout)
        self.assertEqual(out.stderr.count(b"\n"), 1, out.stderr)
        for words in says:
            self.assertIn(words.encode(), out.stderr)

    def test_whole(self):
        self.assertEqual(self.embed().returncode, 0)
        self.config["quantization_config"] = self.config.pop("quantization")  # as mlx-lm writes it, too
        self.assertEqual(self.embed().returncode, 0)
        del self.config["quantization_config"]["mode"]  # as older checkpoints are
        self.assertEqual(self.embed().returncode, 0)

    def test_contradicted_by_shapes(self):
        self.fails({"group_size": 64, "bits": 8}, "has shape")
        self.fails({"group_size": 32, "bits": 4}, "scales", "has shape")
        self.fails({"group_size": 128, "bits": 4}, "no multiple of the group of 128")
        self.fails({"group_size": 64, "bits": 4, "encoder.layer.1.output.dense": {"group_size": 64, "bits": 2}},
                   "encoder.layer.1.output.dense", "has shape")

    def test_unknown(self):
        self.fails({"group_size": 64, "bits": 7}, "with 7 bits")
        self.fails({"group_size": 48, "bits": 4}, "groups of 48")
        self.fails({"group_size": 64, "bits": 4, "mode": "fancy"}, 'mode "fancy"', "affine")
        self.fails({"group_size": 64, "bits": 4, "mode": "mxfp4"}, "mxfp4")
        self.fails({"group_size": 64}, "bits")
        self.fails({"group_size": "64", "bits": 4}, "group_size")
        self.fails([4], "quantization", "expected an object")

    def test_other_methods(self):
        del self.config["quantization"]
        for method in ("gptq", "awq", "bitsandbytes", "fp8"):
            self.config["quantization_config"] = {"quant_method": method, "bits": 4, "group_size": 128}
            out = self.embed()
            self.assertEqual(out.returncode, 1)
            self.assertIn(f'quant_method "{method}" is not supported'.encode(), out.stderr)

    def test_without_settings(self):
        del self.config["quantization"]
        out = self.embed()
        self.assertEqual(out.returncode, 1)
        self.assertEqual(out.stderr.count(b"\n"), 1)


if __name__ == "__main__":
    unittest.main()
