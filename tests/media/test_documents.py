#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the jail reads in documents: text of many producers, pages, bad input, changes at random.
usage: test_documents.py [--write]     --write: puts down what is read as expected; read it by eye"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import zlib

from documents import FOLDER, FORMAT, LIMIT, OK, UNSUPPORTED, blocks, dump, sentences, survive
from pdf_file import pdf

EXPECTED = FOLDER / "expected.json"
CONTROLS = dict.fromkeys((*range(0x7f, 0xa0), 0x0c), " ")  # blanks to us
TURNED = {"chromium_fleet.pdf", "office_guide.pdf"}  # right to left: pdftotext has some words where they lie
BAD = {  # file: status, words of its message
    "bad_binary.bin": (UNSUPPORTED, "no document of a known format"),
    "bad_bomb.docx": (LIMIT, "ZIP bomb"),
    "bad_count.pdf": (FORMAT, "without pages"),
    "bad_cut.docx": (FORMAT, "archive"),
    "bad_cut.pdf": (FORMAT, "damaged PDF"),
    "bad_deep.docx": (FORMAT, "depth"),
    "bad_entities.docx": (FORMAT, "XML"),
    "bad_external.docx": (FORMAT, "never resolved"),
    "bad_none.zip": (UNSUPPORTED, "ZIP archive, but no DOCX"),
    "bad_old.doc": (UNSUPPORTED, "old Office file"),
    "bad_recursive.pdf": (FORMAT, "page 1 can't be read, nor any other of 2"),
    "encrypted.pdf": (UNSUPPORTED, "password"),
}


def good():
    return sorted(p for p in FOLDER.iterdir()
                  if p.is_file() and p.name not in BAD and p.suffix not in (".py", ".json") and p.name != "README.md")


def described(row):
    return {"type": row["type"], "unit": row["unit"], "pages": row["pages"], "failed": row["failed"],
            "blocks": blocks(row)}


def many_pages(path, n):
    """A PDF of n pages of running text, uncompressed streams apart."""
    words = ("the keeper climbed stairs every evening while ships passed along coast toward northern harbour carrying "
             "grain timber letters and people who had never seen this light before").split()
    objects, kids = [], []
    for page in range(n):
        lines = []
        for line in range(45):
            start = (page * 45 + line) * 7
            text = " ".join(words[(start + k * k) % len(words)] for k in range(13))
            lines.append(f"({text} {start}.) Tj T*")
        stream = zlib.compress(("BT /F 10 Tf 14 TL 50 780 Td " + " ".join(lines) + " ET").encode())
        kids.append(f"{4 + 2 * page} 0 R")
        objects.append(b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 840]/Contents %d 0 R/Resources<</Font<</F 3 0 R>>>>"
                       b">>" % (5 + 2 * page))
        objects.append(b"<</Length %d/Filter/FlateDecode>>stream\n" % len(stream) + stream + b"\nendstream")
    objects = [b"<</Type/Catalog/Pages 2 0 R>>",
               f"<</Type/Pages/Kids[{' '.join(kids)}]/Count {n}>>".encode(),
               b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"] + objects
    with open(path, "wb") as file:
        file.write(pdf(objects))


class Documents(unittest.TestCase):
    def test_margins(self):
        """What becomes a blank is none at the end of a block: list marks of PDFs that stand for no letter."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "marks.txt")
            with open(path, "w", encoding="utf-8") as out:
                out.write("\u0083 Red means stop.\u0090 \n\n\u0085\x7f\n\nGreen\u0083means go.\n")
            row, = dump(path)
        self.assertEqual([block[3] for block in blocks(row)], ["Red means stop.", "Green means go."])

    def test_text(self):
        """Blocks of each document; of PDFs the words, as lines are poppler's affair."""
        expected = json.loads(EXPECTED.read_text(encoding="utf-8"))
        files = good()
        self.assertEqual(sorted(expected), [p.name for p in files])
        for path, row in zip(files, dump(*files)):
            with self.subTest(path.name):
                self.assertEqual(row["status"], OK, row)
                got, want = described(row), expected[path.name]
                if row["type"] == "pdf":
                    for one in (got, want):
                        one["blocks"] = [[b[2], word] for b in one["blocks"] for word in b[3].split()]
                self.assertEqual(got, want)

    def read(self, text):
        """What blocks of a document say, which is given by its bytes."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "it")
            with open(path, "wb") as out:
                out.write(text)
            row, = dump(path)
        self.assertEqual(row["status"], OK, row)
        return [block[3] for block in blocks(row)]

    def test_boundaries(self):
        """A boundary is all that stands in its line: that of the parts may go on from that of the whole."""
        head = b"From: a@x\nTo: b@x\nSubject: Parts\nDate: Fri, 01 Mar 1974 12:00:00 +0000\n"
        part = b"\n--%s\nContent-Type: text/plain\n\n%s\n"
        mail = (head + b"Content-Type: multipart/mixed; boundary=sep\n\n"
                b"--sep\nContent-Type: multipart/alternative; boundary=sep-1\n" +
                part % (b"sep-1 \t\r", b"First.") + part % (b"sep-1", b"An alternative.") + b"--sep-1--\n" +
                part % (b"sep", b"Second.") + b"--sep--\n")
        self.assertEqual(self.read(mail)[2:], ["First.", "Second."])

    def test_backlink(self):
        """What isn't read leaves nothing behind."""
        self.assertEqual(self.read(b'<html><body><pre role="doc-backlink">x</pre><p>a   b</p></body></html>'), ["a b"])

    def test_sentences(self):
        row, = dump(FOLDER / "plain.txt")
        self.assertIn("Does anyone still climb the 199 steps?", sentences(row))
        self.assertIn("It stands 41.5 metres above the sea!", sentences(row))
        self.assertIn("北京是首都。", sentences(row))

    def test_bad(self):
        for name, row in zip(BAD, dump(*(FOLDER / name for name in BAD))):
            with self.subTest(name):
                self.assertEqual(row["status"], BAD[name][0], row)
                self.assertIn(BAD[name][1], row["error"])
        self.assertFalse(os.path.exists("/tmp/evil.xml"))

    def test_missing_page(self):
        row, = dump(FOLDER / "missing_page.pdf")
        self.assertEqual((row["pages"], row["failed"]), (3, 1))
        self.assertIn("can't be read", row["note"])

    def test_pages(self):
        """Drawn at the size asked for, with ink on them, fonts that the file doesn't carry too."""
        for name in ("report.pdf", "cjk.pdf", "chromium.pdf"):
            row, = dump(FOLDER / name, options=("--page", "0", "800"))
            self.assertEqual((row["status"], row.get("height")), (OK, 800), row)
            self.assertTrue(0.6 < row["width"] / 800 < 0.8, row)
            self.assertGreater(row["dark"], 200)
        row, = dump(FOLDER / "huge_page.pdf", options=("--page", "0", "800"))
        self.assertEqual(row["status"], LIMIT, row)
        row, = dump(FOLDER / "report.pdf", options=("--page", "2", "800"))
        self.assertEqual(row["status"], FORMAT, row)
        row, = dump(FOLDER / "report.docx", options=("--page", "0", "800"))
        self.assertNotEqual(row["status"], OK, row)

    def test_changed_at_random(self):
        with tempfile.TemporaryDirectory() as folder:
            counts = survive(folder, 200, 1)
        print(f"200 changed documents: {counts[0]} read, {counts[1]} refused, {counts[2]} ended the decoder")
        self.assertGreater(counts[0], 20)

    def test_like_pdftotext(self):
        """The same words in the same order, of files of several producers and of 200 pages."""
        self.assertIsNotNone(shutil.which("pdftotext"), "needs poppler-utils: scripts/deps --test")
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "many.pdf")
            many_pages(path, 200)
            files = [path, *(p for p in good() if p.suffix == ".pdf" and p.name not in TURNED)]
            self.assertGreater(len(files), 12)
            for file, row in zip(files, dump(*files)):
                done = subprocess.run(["pdftotext", file, "-"], capture_output=True, check=True)
                words = done.stdout.decode().translate(CONTROLS).split()
                self.assertEqual(row["text"].split(), words, file)


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        rows = {p.name: described(row) for p, row in zip(good(), dump(*good()))}
        lines = []
        for name, one in rows.items():
            parts = ",\n".join("  " + json.dumps(block, ensure_ascii=False) for block in one.pop("blocks"))
            lines.append(f"{json.dumps(name)}: {json.dumps(one)[:-1]}, \"blocks\": [\n{parts}]}}")
        EXPECTED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    else:
        unittest.main()
