# SPDX-License-Identifier: Apache-2.0
"""Models of pictures and text on MLX's CPU device: the vectors of the CPU backend, from the same files. No architecture
knows the backend, so those that came after MLX work on it, too."""
import glob
import json
import os
import unittest

from harness import distance, environment, run

GOLDEN = os.path.join(os.environ["TKR_TEST_DIR"], "golden")
ENVIRONMENT = environment(TKR_MLX_MODULE=os.environ["TKR_MLX_MODULE"])


def vectors(device, model, arguments):
    done = run("embed", "--device", device, "--precision", "f32", "--model", model, *arguments, env=ENVIRONMENT)
    if done.returncode != 0:
        raise AssertionError(f"{device}: {done.stderr.decode()}")
    return [json.loads(line)["embedding"] for line in done.stdout.splitlines()]


class Pictures(unittest.TestCase):
    def check(self, name):
        model = os.path.join(GOLDEN, name, "model")
        pictures = sorted(glob.glob(os.path.join(GOLDEN, name, "inputs", "*.png")))[:4]
        self.assertTrue(pictures)
        for arguments in ["a photo of a cat", "two dogs, playing"], ["--image", *pictures]:
            want, got = vectors("cpu", model, arguments), vectors("mlx-cpu", model, arguments)
            self.assertEqual(len(want), len(got))
            for a, b in zip(want, got):
                self.assertLess(distance(a, b), 1e-6)

    def test_clip(self):
        self.check("clip/clip")

    def test_siglip(self):
        self.check("siglip/siglip2")

    def test_qwen2_vl(self):
        self.check("qwen2_vl/qwen2_vl")

    def test_qwen3_vl(self):
        self.check("qwen3_vl/qwen3_vl")


if __name__ == "__main__":
    unittest.main()
