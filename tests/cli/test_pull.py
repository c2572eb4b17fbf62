# SPDX-License-Identifier: Apache-2.0
"""tkr-embed pull and models against the fake hub: what a person sees, and that the model then runs offline."""
import json
import os
import pty
import signal
import subprocess
import sys
import unittest

from harness import BINARY, MODEL, CliTest, environment, read_terminal, run

sys.path.insert(0, os.path.join(os.environ["TKR_TEST_DIR"], "hub"))
from fake_hub import Hub, cut, stall  # noqa: E402


def model_files():
    files = {}
    for folder, _, names in os.walk(MODEL):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                files[os.path.relpath(path, MODEL)] = file.read()
    return files


class Pull(CliTest):
    def setUp(self):
        super().setUp()
        self.hub = Hub(files=model_files())
        self.addCleanup(self.hub.close)
        self.env = environment(HF_ENDPOINT=self.hub.url, HF_HOME=self.folder, no_proxy="*")
        del self.env["HF_HUB_OFFLINE"]
        self.size = len(self.hub.files["model.safetensors"])

    def test_pull_then_run(self):
        done = run("pull", "org/name", env=self.env)
        self.assertEqual(done.returncode, 0, done.stderr)
        folder = done.stdout.decode().rstrip("\n")
        self.assertTrue(os.path.exists(os.path.join(folder, "model.safetensors")), "standard output is the folder")
        self.assertIn(b"model.safetensors: ", done.stderr)
        self.assertNotIn(b"\r", done.stderr, "no bar in a pipe")
        self.assertEqual(self.ok("pull", "org/name", "-q", env=self.env).decode().rstrip("\n"), folder)
        offline = dict(self.env, HF_HUB_OFFLINE="1", HF_ENDPOINT="http://127.0.0.1:9")
        pulled = self.rows("embed", "-m", "org/name", "text", env=offline)
        self.assertEqual(pulled, self.rows("embed", "-m", MODEL, "text"))
        cached, = json.loads(self.ok("models", "--json", env=self.env))["cached"]
        self.assertEqual((cached["repository"], cached["complete"], cached["runnable"]), ("org/name", True, True))
        self.assertIn("org/name", self.ok("models", env=self.env).decode())

    def test_interrupt_and_resume(self):
        self.hub.plan["model.safetensors"] = [stall(self.size // 2, 30)]
        process = subprocess.Popen([BINARY, "pull", "org/name"], env=self.env, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        while not self.hub.requests("model.safetensors"):
            self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        out, message = process.communicate(timeout=60)
        self.assertEqual((process.returncode, out), (130, b""), message)
        self.assertIn(b"interrupted: the next `tkr-embed pull org/name` goes on from here", message)
        self.assertEqual(run("pull", "org/name", env=self.env).returncode, 0)

    def test_bar(self):
        self.hub.plan["model.safetensors"] = [cut(self.size // 2)]
        outer, inner = pty.openpty()
        process = subprocess.Popen([BINARY, "pull", "org/name"], env=self.env, stdout=subprocess.DEVNULL, stderr=inner)
        os.close(inner)
        shown = read_terminal(outer).decode()
        os.close(outer)
        self.assertEqual(process.wait(60), 0, shown)
        self.assertRegex(shown, r"\r\[#+-*\] +\d+ %  [\d.]+ \w?B of [\d.]+ \w?B  model\.safetensors")

    def test_failures(self):
        self.fails(1, "pull", "-q", "org/missing?", env=self.env, says="org/missing?")
        self.fails(2, "pull", env=self.env, says="which model?")
        with open(os.path.join(self.folder, "file"), "w", encoding="utf-8"):
            pass
        self.fails(1, "pull", "-q", "org/name", "--cache-dir", os.path.join(self.folder, "file", "hub"), env=self.env,
                   says="file")


if __name__ == "__main__":
    unittest.main()
