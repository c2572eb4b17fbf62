#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--pictures: those inside documents as rows and hits, with the bits of the picture's own file."""
import json
import os
import sys
import tempfile
import unittest

from harness import MODEL, run

sys.path.insert(0, os.path.join(os.environ["TKR_TEST_DIR"], "media"))
import picture_documents as make  # noqa: E402  pylint: disable=wrong-import-position

SAMPLES = os.path.join(os.environ["TKR_TEST_DIR"], "..", "share", "demo", "samples")


def sample(name):
    with open(os.path.join(SAMPLES, name + ".png"), "rb") as file:
        return file.read()


GUITAR, DOG, CASTLE = sample("guitar"), sample("dog_face"), sample("castle")
TRANSPARENT = make.png(64, 64, lambda x, y: (x * 4 % 256, 20, y * 4 % 256, x * 3 % 256), alpha=True)
DOCUMENTS = {  # pictures of each
    "it.docx": (make.docx({"word/media/a.png": GUITAR, "word/media/b.png": TRANSPARENT}, ["media/a.png", "media/b.png"],
                          {1: "A guitar"}), [GUITAR, TRANSPARENT]),
    "it.pptx": (make.pptx([None, DOG]), [DOG]),
    "it.odt": (make.odf(CASTLE), [CASTLE]),
    "it.epub": (make.epub(GUITAR, DOG, CASTLE), [GUITAR, DOG, CASTLE]),
    "it.html": (make.html([DOG]), [DOG]),
    "it.eml": (make.mail(CASTLE, DOG, GUITAR), [CASTLE]),
    "it.pdf": (make.good_pdf(), [make.picture(1), make.picture(2), None]),
}


class Pictures(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def write(self, name, data):
        path = os.path.join(self.folder.name, name)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def rows(self, *args, model="demo"):
        done = run("embed", "-m", model, *args)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in done.stdout.decode().splitlines()], done.stderr.decode()

    def test_bits_of_the_file(self):
        for name, (data, pictures) in DOCUMENTS.items():
            with self.subTest(name):
                got, _ = self.rows("--pictures", "--document", self.write(name, data))
                got = [row for row in got if row["kind"] == "picture"]
                self.assertEqual([row["picture"] for row in got], list(range(1, len(pictures) + 1)))
                files = [self.write(f"{i}.png", picture) for i, picture in enumerate(pictures) if picture]
                alone, _ = self.rows("--image", *files)
                for row, own in zip(got, alone):
                    self.assertEqual(row["embedding"], own["embedding"], (name, row["picture"]))

    def test_rows(self):
        path = self.write("it.docx", DOCUMENTS["it.docx"][0])
        got, _ = self.rows("--pictures", "--document", path)
        self.assertEqual([row["kind"] for row in got], ["text"] * (len(got) - 2) + ["picture"] * 2)
        self.assertEqual([row.get("text") for row in got[-2:]], ["A guitar", None])
        text = "".join(row["text"] for row in got[:-2])
        self.assertEqual(text[:got[-2]["chars"][0]], "Before 1.")
        got, _ = self.rows("--pictures", "--mode", "page_image", "--document", path)
        self.assertEqual([row["kind"] for row in got], ["picture"] * 2)
        got, _ = self.rows("--pictures", "--mode", "both", "--document", self.write("it.pdf", make.good_pdf()))
        self.assertEqual([row["kind"] for row in got][-5:], ["page_image"] * 2 + ["picture"] * 3)
        self.assertEqual([row["page"] for row in got if row["kind"] == "picture"], [1, 1, 2])
        got, _ = self.rows("--pictures", "--document", self.write("it.pptx", DOCUMENTS["it.pptx"][0]))
        self.assertEqual((got[-1]["slide"], got[-1]["text"]), (2, "Alt 2"))

    def test_min_pixels(self):
        """They are enlarged as their files are."""
        model = os.path.join(os.environ["TKR_TEST_DIR"], "golden", "qwen2_vl", "qwen2_vl", "model")
        document, file = self.write("it.html", make.html([TRANSPARENT])), self.write("it.png", TRANSPARENT)
        options = ("--min-pixels", "12544", "--max-pixels", "18816")
        inside = self.rows(*options, "--pictures", "--document", document, model=model)[0][-1]
        alone = self.rows(*options, "--image", file, model=model)[0][0]
        self.assertEqual((inside["tokens"], inside["embedding"]), (alone["tokens"], alone["embedding"]))
        scores = [json.loads(run("search", "-m", model, "guitar", *options, *what, "--json").stdout)["results"]
                  for what in (("--pictures", document), (file,))]
        self.assertEqual([row["score"] for row in scores[0] if row["kind"] == "picture"], [scores[1][0]["score"]])

    def test_bad_ones(self):
        """One that can't be decoded is a failed row; one that isn't there is told; the rest counts."""
        path = self.write("it.docx", make.docx({"word/media/a.png": GUITAR[:200], "word/media/b.png": DOG},
                                               ["media/a.png", "media/none.png", "media/b.png"]))
        got, notes = self.rows("--pictures", "--document", path)
        pictures = [row for row in got if row["kind"] == "picture"]
        self.assertEqual(["error" in row for row in pictures], [True, False], got)
        self.assertIn("1 picture can't be read: word/media/none.png: is not in the archive", notes)
        self.assertIn("it.docx: picture 1: ", notes)
        done = run("embed", "-m", MODEL, "--pictures", "--document", path)
        self.assertEqual(done.returncode, 1)
        self.assertIn("reads no pictures, so none inside documents", done.stderr.decode())

    def test_search(self):
        """The picture in a document is found by words, and shown."""
        folder = os.path.join(self.folder.name, "all")
        os.mkdir(folder)
        for name in ("it.docx", "it.pptx", "it.pdf"):
            self.write(os.path.join("all", name), DOCUMENTS[name][0])
        with open(os.path.join(folder, "castle.png"), "wb") as file:
            file.write(CASTLE)
        html = os.path.join(self.folder.name, "found.htm")
        done = run("search", "guitar", "--pictures", "--input-dir", folder, "--json", "--html", html, "--top", "20")
        self.assertEqual(done.returncode, 0, done.stderr)
        found = json.loads(done.stdout)["results"]
        first = found[0]
        self.assertEqual((os.path.basename(first["source"]), first["kind"], first["picture"], first["text"]),
                         ("it.docx", "picture", 1, "A guitar"))
        self.assertEqual(sorted(row["kind"] for row in found), ["image", "page_image", "page_image"] + ["picture"] * 6)
        with open(html, encoding="utf-8") as file:
            page = file.read()
        self.assertEqual(page.count("data:image/png"), 9)
        self.assertIn("pictures inside documents", page)
        plain = json.loads(run("search", "guitar", "--input-dir", folder, "--json", "--top", "20").stdout)["results"]
        self.assertEqual(sorted(row["kind"] for row in plain), ["image", "page_image", "page_image"])


if __name__ == "__main__":
    unittest.main()
