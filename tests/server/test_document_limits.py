#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""POST /embed/document: late chunking, clients that leave, time, and what a request may hold."""
import json
import os
import re
import time
import unittest

from harness import PATIENCE, SANITIZED, Server, ServerTest, cli, multipart
from test_native import bits

TESTS = os.environ["TKR_TEST_DIR"]
MEAN = os.path.join(TESTS, "golden", "bert", "bert-mean", "model")
CLS = os.path.join(TESTS, "golden", "bert", "bert-cls", "model")
EXACT = ("--precision", "f32", "--quantization", "none", "--device", "cpu")


def document(name):
    with open(os.path.join(TESTS, "golden", "documents", name), "rb") as file:
        return file.read()


def many_pages(n):
    """A PDF of n blank pages of one tree."""
    kids = b" ".join(b"%d 0 R" % (3 + i) for i in range(n))
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]>>"
    return cli.pdf([b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, n), *[page] * n])


def decoders(server):
    """Process ids of the server's decoders of documents, with the seconds that each has computed."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8") as file:
                what, fields = file.read().rsplit(")", 1)
        except OSError:
            continue
        fields = fields.split()
        if "tkr-decode-docu" in what and int(fields[1]) == server.process.pid and fields[0] != "Z":
            found[int(name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


class Limits(ServerTest):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(*EXACT, "--max-client-batch-size", "200", "--max-picture-memory", "24M", model=MEAN)

    def post(self, *files, server=None, **fields):
        parts = [*fields.items(), *(("file", (name, data, "application/octet-stream")) for name, data in files)]
        body, kind = multipart(parts)
        return (server or self.server).post("/embed/document", body, headers={"Content-Type": kind})

    def test_late_chunking(self):
        """The command line's vectors, which aren't those of the passages alone; shape and passages as without it."""
        data = document("report.odt")
        reply = self.post(("report.odt", data), late_chunking="true", chunk_tokens="20").json()
        plain = self.post(("report.odt", data), chunk_tokens="20").json()
        self.assertEqual(reply["passages"], plain["passages"])
        self.assertEqual(reply["shape"], plain["shape"])
        self.assertEqual(len(reply["embeddings"]), len(reply["passages"]))
        done = cli.run("embed", "-m", MEAN, *EXACT, "--late-chunking", "--chunk-tokens", "20", "--document",
                       os.path.join(TESTS, "golden", "documents", "report.odt"))
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(bits(reply["embeddings"]), bits(row["embedding"] for row in rows))
        self.assertNotEqual(bits(reply["embeddings"]), bits(plain["embeddings"]))
        again = self.post(("report.odt", data), late_chunking="true", chunk_tokens="20").json()  # from the cache
        self.assertEqual(bits(reply["embeddings"]), bits(again["embeddings"]))

    def test_late_chunking_in_short_windows(self):
        """Passages are no longer than what is read at a time, so that nothing of them is lost; each is counted."""
        def passages():
            return int(re.search(r"^tkr_passages_total (\d+)", self.server.get("/metrics").body.decode(), re.M)[1])
        before = passages()
        reply = self.post(("report.odt", document("report.odt")), late_chunking="true", max_tokens="24").json()
        wanted = self.post(("report.odt", document("report.odt")), late_chunking="true", max_tokens="24",
                           chunk_tokens="24").json()
        self.assertEqual(reply["passages"], wanted["passages"])
        self.assertGreater(reply["shape"][0], 4)
        self.assertEqual(passages() - before, 2 * reply["shape"][0])  # not what is computed together

    def test_late_chunking_of_other_models(self):
        with Server(*EXACT, model=CLS) as server:
            self.fails(self.post(("plain.txt", document("plain.txt")), server=server, late_chunking="true"), 422,
                       "unsupported", "mean pooling", "pools by cls", param="late_chunking")
            self.fails(self.post(("plain.txt", document("plain.txt")), server=server, late_chunking="perhaps"), 400,
                       "wrong_type", param="late_chunking")

    def test_client_that_leaves(self):
        """The decoder that worked for it is idle or gone within a second."""
        body, kind = multipart([("file", ("slow.pdf", cli.slow_pdf(), "application/pdf"))])
        before = decoders(self.server)
        with self.server.socket() as client:
            client.sendall(b"POST /embed/document HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
                           % (kind.encode(), len(body)) + body)
            busy, until = None, time.monotonic() + PATIENCE
            while busy is None and time.monotonic() < until:
                busy = next((pid for pid, s in decoders(self.server).items() if s > before.get(pid, 0) + 0.3), None)
                time.sleep(0.02)
            self.assertIsNotNone(busy, "no decoder works")
        time.sleep(1 if not SANITIZED else 4)
        first = decoders(self.server).get(busy)
        time.sleep(0.3)
        self.assertEqual(decoders(self.server).get(busy), first, "the decoder works on for nobody")
        self.assertEqual(self.post(("plain.txt", document("plain.txt"))).status, 200)

    def test_time(self):
        with Server(*EXACT, "--timeout", "2", model=MEAN) as server:
            began = time.monotonic()
            reply = self.post(("slow.pdf", cli.slow_pdf()), server=server)
            self.assertEqual(reply.status, 503, reply.body)
            self.assertLess(time.monotonic() - began, 6 if not SANITIZED else 30)
            self.assertEqual(self.post(("plain.txt", document("plain.txt")), server=server).status, 200)

    def test_passages(self):
        words = "\n\n".join(f"The river computes {i} banks. " * 4 for i in range(300)).encode()
        for fields in ({}, {"late_chunking": "true"}):
            self.fails(self.post(("long.txt", words), chunk_tokens="20", **fields), 413, "too_large",
                       "more than 200 passages")

    def test_memory(self):
        """Text and what it is cut into count; nothing of it stays counted."""
        words = (b"The river computes. " * 50 + b"\n\n") * 6000
        for _ in range(3):
            self.fails(self.post(("long.txt", words)), 413, "too_large", "12 MiB", "server.max_picture_memory")
        self.assertEqual(self.post(("plain.txt", document("plain.txt"))).status, 200)

    def test_pages(self):
        """10,000 pages are refused before one is drawn; drawn ones count."""
        with Server("--max-picture-memory", "24M", model="demo") as server:
            began = time.monotonic()
            reply = self.post(("many.pdf", many_pages(10000)), server=server, mode="page_image")
            self.fails(reply, 422, "too_many_inputs", "10000 inputs; at most 2048")
            self.assertLess(time.monotonic() - began, 20 if not SANITIZED else 100)
            self.fails(self.post(("many.pdf", many_pages(100)), server=server, mode="page_image"), 413, "too_large",
                       "12 MiB")
            self.assertEqual(self.post(("many.pdf", many_pages(2)), server=server, mode="page_image").status, 200)


if __name__ == "__main__":
    unittest.main()
