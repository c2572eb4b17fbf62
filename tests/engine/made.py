# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of made checkpoints: makes one, runs the program on it and watches its memory."""
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
import unittest

BINARY = os.environ["TKR_BINARY"]
MAKE = os.path.join(os.environ["TKR_BUILD_DIR"], "tools", "make_checkpoint")
with open(BINARY, "rb") as program:
    SANITIZED = b"__asan_" in program.read()
MIB, GIB = 2 ** 20, 2 ** 30


class Made(unittest.TestCase):
    """A folder for checkpoints, below the build folder (they are large), and one for the weight cache."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="made-", dir=os.environ["TKR_BUILD_DIR"])
        self.cache = os.path.join(self.folder, "cache")
        self.addCleanup(shutil.rmtree, self.folder)

    def make(self, shape, *options, name=None):
        path = os.path.join(self.folder, name or shape)
        subprocess.run([MAKE, shape, path, *options], check=True, capture_output=True)
        return path

    def command(self, verb, model, *args):
        return [BINARY, verb, "-m", model, "--weight-cache", self.cache, "--offline", *args]

    def run_program(self, verb, model, *args):
        return subprocess.run(self.command(verb, model, *args), check=True, capture_output=True,
                              env=environment()).stdout

    def watch(self, verb, model, *args):
        """(seconds to the first output, its bytes, {VmHWM, RssAnon, RssFile: highest seen, in bytes})."""
        begin = time.monotonic()
        with subprocess.Popen(self.command(verb, model, *args), stdout=subprocess.PIPE, env=environment()) as process:
            output, first, peak = [], [], {}

            def read():
                for line in process.stdout:
                    first.append(time.monotonic() - begin)
                    output.append(line)
            reader = threading.Thread(target=read)
            reader.start()
            while process.poll() is None:
                try:
                    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
                        text = file.read()
                except OSError:
                    break
                for key, value in re.findall(r"(VmHWM|RssAnon|RssFile):\s+(\d+)", text):
                    peak[key] = max(peak.get(key, 0), int(value) * 1024)
                time.sleep(0.01)
            reader.join()
        self.assertEqual(process.returncode, 0)
        return first[0], b"".join(output), peak


def environment():
    """The caller's, without what steers the program."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("TKR_", "HF_"))}
