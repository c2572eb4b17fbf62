# SPDX-License-Identifier: Apache-2.0
"""--device: what is said where there is no GPU, and with a module that stands in for MLX's (fake_mlx_module.c)."""
import json
import os
import re
import unittest

from harness import MODEL, CliTest, environment, run

FAKE = os.path.join(os.environ["TKR_BUILD_DIR"], "tests", "fake_mlx_module.so")
GPU = "gpu:0 Fake GPU (0) (MLX 0.32.4)"


def fake(words="", **more):
    return environment(TKR_MLX_MODULE=FAKE, TKR_FAKE_MLX=words, **more)


class Device(CliTest):
    def info(self, *args, env):
        return json.loads(self.ok("info", MODEL, "--json", *args, env=env))

    def test_refused(self):
        nothing = environment(TKR_MLX_MODULE="/nonexistent/libtkr-mlx.so")
        for args, env, says in (
                (["--device", "tpu"], nothing, "known: auto, cpu, gpu, gpu:N"),
                (["--device", "gpu"], nothing, "/nonexistent/libtkr-mlx.so"),
                (["--device", "gpu:1"], fake(), "this machine has gpu:0 (Fake GPU (0))"),
                (["--device", "gpu"], fake("gpus=0"), "finds no GPU"),
                (["--device", "gpu"], fake("memory=300000"), "the limit on " + GPU),
                ([], fake(TKR_DEVICE="gpu:7"), "gpu:7")):
            with self.subTest(args=args, says=says):
                self.assertEqual(self.fails(1, "embed", "-m", MODEL, *args, "x", env=env, says=says).stdout, b"")

    def test_info(self):
        cpu = self.info("--device", "cpu", env=fake())
        gpu = self.info(env=fake())
        small = self.info("--max-memory", "1G", "--device", "gpu:0", env=fake())
        self.assertEqual((cpu["device"], gpu["device"]), ("cpu", GPU))
        self.assertNotIn("device_memory_bytes", cpu)
        self.assertEqual(gpu["memory_limit"], (1 << 34) // 4 * 3)
        self.assertEqual(small["memory_limit"], 1 << 30)
        self.assertEqual([gpu["device_" + key + "_bytes"] for key in ("memory", "active", "peak", "cached")],
                         [1 << 34, 1 << 20, 3 << 20, 2 << 20])
        self.assertTrue(gpu["fingerprint"].endswith(":mlx-0.32.4/fake-gpu-0"), gpu["fingerprint"])
        self.assertNotEqual(gpu["fingerprint"], cpu["fingerprint"])
        text = self.ok("info", MODEL, env=fake()).decode()
        self.assertRegex(text, re.compile(r"^Device +" + re.escape(GPU) + "$", re.M))
        self.assertRegex(text, r"\nIn use +1.0 MiB, 3.0 MiB at most since the start, 2.0 MiB cached\n")
        silent = self.ok("info", MODEL, env=fake("abi=77")).decode()
        self.assertRegex(silent, r"\nDevice +cpu\n")
        self.assertIn("77", silent.split("\nWhy\n")[1])

    def test_embed(self):
        rows = {name: self.rows("embed", "-m", MODEL, "--device", name, "one", "two", env=fake())
                for name in ("cpu", "gpu", "mlx-cpu")}
        for name in ("gpu", "mlx-cpu"):
            self.assertEqual([row["embedding"] for row in rows[name]], [row["embedding"] for row in rows["cpu"]])

    def test_failed_batch(self):
        """With --on-error skip the program goes on behind a batch that failed."""
        args = ["embed", "-m", MODEL, "--device", "gpu", "--on-error", "skip", "--batch-tokens", "64"]
        text = "\n".join("some words " * 6 for _ in range(40))
        done = run(*args, stdin=text, env=fake("fail=2"))
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        failed = [row for row in rows if "error" in row]
        self.assertEqual(len(rows), 40)
        self.assertTrue(0 < len(failed) < 40)
        self.assertIn("the fake GPU is out of memory", failed[0]["error"])

    def test_doctor(self):
        found = json.loads(self.ok("doctor", "--json", env=fake()))["findings"]
        by_topic = {finding["topic"]: finding for finding in found}
        self.assertIn(GPU, by_topic["device"]["text"])
        self.assertGreaterEqual(sum(topic.startswith("device ") for topic in by_topic), 16)
        done = run("doctor", "--json", "--device", "gpu", env=fake("wrong"))
        self.assertEqual(done.returncode, 1)
        problems = [f for f in json.loads(done.stdout)["findings"] if f["severity"] == "PROBLEM"]
        self.assertGreaterEqual(len(problems), 16)
        self.assertIn("--device cpu", problems[0]["advice"])
        done = run("doctor", "--device", "gpu", env=environment(TKR_MLX_MODULE="/nonexistent.so"))
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"/nonexistent.so", done.stdout)

    def test_bench(self):
        args = ["bench", "-m", MODEL, "--batch", "2", "--tokens", "8", "--seconds", "0.02"]
        report = json.loads(self.ok(*args, "--json", "--device", "gpu", env=fake()))
        self.assertEqual(report["device"], GPU)
        self.assertGreater(report["rows"][0]["limit_ops_per_s"], 0)
        self.assertGreater(report["rows"][0]["fraction"], 0)
        report = json.loads(self.ok(*args, "--json", "--device", "gpu", env=fake("nopeak")))
        self.assertIsNone(report["rows"][0]["limit_ops_per_s"])
        self.assertRegex(self.ok(*args, "--device", "gpu", env=fake("nopeak")).decode(), r"n/a +n/a\n")
        roof = json.loads(self.ok("bench", "--roofline", "--json", "--device", "gpu", env=fake()))
        self.assertEqual((roof["cpu"], roof["kernels"]), (GPU, "mlx-0.32.4/fake-gpu-0"))
        self.assertGreater(roof["f32_ops_per_s"], 0)


if __name__ == "__main__":
    unittest.main()
