#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""embed and search --late-chunking; documents and SIGINT. What it computes: tests/engine/test_documents.c."""
import json
import os
import signal
import subprocess
import tempfile
import time
import unittest

from harness import BINARY, MODEL, SANITIZED, distance, environment, run, slow_pdf

TESTS = os.environ["TKR_TEST_DIR"]
FOLDER = os.path.join(TESTS, "golden", "documents")
CLS = os.path.join(TESTS, "golden", "bert", "bert-cls", "model")
FIELDS = ("source", "kind", "chars", "heading", "text", "page")


def rows(*args):
    done = run("embed", "-m", MODEL, "--document", *args)
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.decode().splitlines()]


class LateChunking(unittest.TestCase):
    def test_rows(self):
        """The same passages with other vectors, those of one passage with the same; tokens are a passage's own."""
        for name in ("report.odt", "report.pdf"):
            path = os.path.join(FOLDER, name)
            late = rows(path, "--late-chunking", "--chunk-tokens", "20", "--chunk-overlap", "6")
            plain = rows(path, "--chunk-tokens", "20", "--chunk-overlap", "6")
            self.assertGreater(len(late), 8)
            self.assertEqual(*([[row.get(f) for f in FIELDS] for row in some] for some in (late, plain)))
            self.assertGreater(sum(distance(a["embedding"], b["embedding"]) > 1e-5 for a, b in zip(late, plain)),
                               len(late) * 3 // 4)
            self.assertTrue(all(0 < row["tokens"] <= 22 for row in late), [row["tokens"] for row in late])
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "short.txt")
            with open(path, "w", encoding="utf-8") as file:
                file.write("The river computes.\n")
            late, plain = rows(path, "--late-chunking"), rows(path)
            self.assertEqual(len(late), 1)
            self.assertEqual(late[0]["tokens"], plain[0]["tokens"])
            for a, b in zip(late[0]["embedding"], plain[0]["embedding"]):
                self.assertAlmostEqual(a, b, delta=1e-6)

    def test_search(self):
        with tempfile.TemporaryDirectory() as folder:
            os.symlink(os.path.join(FOLDER, "report.odt"), os.path.join(folder, "report.odt"))
            found = [json.loads(run("search", "-m", MODEL, "the lamp turned", "--input-dir", folder, "--json", "--top",
                                    "50", "--chunk-tokens", "20", *more).stdout)["results"]
                     for more in ((), ("--late-chunking",))]
            self.assertEqual(*(sorted(hit["chars"] for hit in hits) for hits in found))
            self.assertNotEqual(*([hit["score"] for hit in hits] for hits in found))

    def test_other_models(self):
        done = run("embed", "-m", CLS, "--late-chunking", "--document", os.path.join(FOLDER, "plain.txt"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("pools by cls", done.stderr.decode())

    def test_interrupt(self):
        """SIGINT ends the reading of a document, not only what comes between documents."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "slow.pdf")
            with open(path, "wb") as file:
                file.write(slow_pdf())
            with subprocess.Popen([BINARY, "embed", "-m", MODEL, "--on-error", "skip", "--document", path, path],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  env=environment()) as process:
                time.sleep(1 if not SANITIZED else 10)
                self.assertIsNone(process.poll())
                began = time.monotonic()
                process.send_signal(signal.SIGINT)
                _, notes = process.communicate(timeout=60)
                self.assertLess(time.monotonic() - began, 1 if not SANITIZED else 10)
                self.assertIn("interrupted", notes.decode())
                self.assertNotEqual(process.returncode, 0)


if __name__ == "__main__":
    unittest.main()
