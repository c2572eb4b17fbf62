#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""embed --document: rows of passages and pages, exact ranges, what can't be read."""
import base64
import json
import os
import shutil
import tempfile
import unittest

from harness import MODEL, distance, run

FOLDER = os.path.join(os.environ["TKR_TEST_DIR"], "golden", "documents")
SAMPLES = os.path.join(os.environ["TKR_TEST_DIR"], "..", "share", "demo", "samples")


def path(name):
    return os.path.join(FOLDER, name)


def rows(*args, model=MODEL):
    done = run("embed", "-m", model, *args)
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.decode().splitlines()], done.stderr.decode()


class Documents(unittest.TestCase):
    def test_rows_point_at_the_text(self):
        """Ranges of Markdown's plain paragraphs are those of the text put together again; the vector is the text's."""
        got, _ = rows("--document", path("plain.txt"), "--chunk-tokens", "40")
        with open(path("plain.txt"), encoding="utf-8") as file:
            whole = "\n\n".join(p.strip() for p in file.read().split("\n\n"))
        self.assertGreater(len(got), 2)
        for i, row in enumerate(got):
            begin, end = row["chars"]
            self.assertEqual(row["text"], whole[begin:end])
            self.assertEqual((row["index"], row["source"], row["kind"]), (i, path("plain.txt"), "text"))
            self.assertLessEqual(row["tokens"], 40)
        texts = run("embed", "-m", MODEL, *(row["text"] for row in got))
        for row, line in zip(got, texts.stdout.decode().splitlines()):
            self.assertLess(distance(row["embedding"], json.loads(line)["embedding"]), 1e-10)

    def test_pages_and_slides(self):
        got, _ = rows("--document", path("slides.pptx"), path("tables.xlsx"), path("book.epub"), path("report.pdf"),
                      "--no-text", "--chunk-tokens", "32")
        self.assertEqual([row["slide"] for row in got if "slide" in row], sorted(
            row["slide"] for row in got if row["source"] == path("slides.pptx")))
        self.assertEqual({row["slide"] for row in got if "slide" in row}, {1, 2, 3})
        self.assertEqual({row["sheet"] for row in got if "sheet" in row}, {1, 2})
        self.assertEqual({row["chapter"] for row in got if "chapter" in row}, {1, 2, 3})
        self.assertTrue({1, 2} <= {row[k] for row in got for k in ("page", "last_page") if k in row})
        self.assertFalse([row for row in got if "text" in row])

    def test_beside_texts_and_pictures(self):
        """Rows come in the order of the command line, with the bits that each has alone; ids are the rows' numbers."""
        guitar = os.path.join(SAMPLES, "guitar.png")
        got, _ = rows("a first text", "--document", path("report.docx"), "--image", guitar, "--",
                      "a last text", model="demo")
        self.assertEqual([row["index"] for row in got], list(range(len(got))))
        self.assertEqual([row.get("kind") for row in got], [None] + ["text"] * (len(got) - 3) + ["image", None])
        self.assertEqual([row["passage"] for row in got[1:-2]], list(range(1, len(got) - 2)))
        self.assertEqual(got[-2]["source"], guitar)
        alone, _ = rows("--document", path("report.docx"), model="demo")
        self.assertEqual([row["embedding"] for row in alone], [row["embedding"] for row in got[1:-2]])

    def test_json_lines(self):
        with open(path("notes.md"), "rb") as file:
            encoded = base64.b64encode(file.read()).decode()
        lines = [{"id": "a", "document": path("notes.md")}, {"id": 2, "text": "words"},
                 {"id": "c", "document": {"base64": encoded}}, {"id": "d", "document": path("nowhere.pdf")}]
        done = run("embed", "-m", MODEL, "--jsonl", "--on-error", "skip", "--chunk-tokens", "40",
                   stdin="\n".join(map(json.dumps, lines)))
        self.assertEqual(done.returncode, 0, done.stderr)
        got = [json.loads(line) for line in done.stdout.splitlines()]
        by_id = {key: [row for row in got if row["id"] == key] for key in ("a", 2, "c", "d")}
        self.assertGreater(len(by_id["a"]), 1)
        self.assertEqual([row["passage"] for row in by_id["a"]], list(range(1, len(by_id["a"]) + 1)))
        self.assertEqual({row["source"] for row in by_id["a"]}, {path("notes.md")})
        self.assertEqual([row["embedding"] for row in by_id["a"]], [row["embedding"] for row in by_id["c"]])
        self.assertNotIn("source", by_id["c"][0])
        self.assertIn("nowhere.pdf", by_id["d"][0]["error"])
        for line, words in (({"document": path("notes.md"), "text": "a"}, "goes without text"),
                            ({"document": "http://example.org/a.pdf"}, "not a URL"),
                            ({"document": path("notes.md"), "fps": 1}, '"fps" goes with "video"'),
                            ({"document": path("notes.md"), "min_pixels": 9}, '"min_pixels" goes with pictures'),
                            ({"document": {"base64": ""}}, "the document is empty")):
            with tempfile.TemporaryDirectory() as folder:
                shutil.copy(path("notes.md"), os.path.join(folder, "document"))  # not read in place of no bytes
                done = run("embed", "-m", MODEL, "--jsonl", stdin=json.dumps(line), cwd=folder)
            self.assertEqual(done.returncode, 1)
            self.assertIn(words, done.stderr.decode())
        done = run("similarity", "-m", MODEL, "--jsonl", stdin=json.dumps({"document": path("notes.md")}))
        self.assertEqual(done.returncode, 1)
        self.assertIn("many passages", done.stderr.decode())

    def test_headings_and_overlap(self):
        got, _ = rows("--document", path("report.docx"), "--chunk-tokens", "40", "--chunk-overlap", "15")
        self.assertTrue(any("History" in row.get("heading", "") for row in got), got)
        ranges = [row["chars"] for row in got]
        self.assertTrue(any(a[1] > b[0] for a, b in zip(ranges, ranges[1:])), ranges)

    def test_what_cannot_be_read(self):
        done = run("embed", "-m", MODEL, "--document", path("encrypted.pdf"), path("plain.txt"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("encrypted.pdf: is encrypted: it needs a password", done.stderr.decode())
        got, notes = rows("--on-error", "skip", "--document", path("encrypted.pdf"), path("plain.txt"))
        self.assertEqual({row["source"] for row in got if "embedding" in row}, {path("plain.txt")})
        self.assertEqual([(row["index"], row["source"]) for row in got if "error" in row], [(0, path("encrypted.pdf"))])
        self.assertIn("password", got[0]["error"])
        self.assertIn("password", notes)
        got, notes = rows("--document", path("missing_page.pdf"))
        self.assertIn("1 of 3 pages can't be read", notes)
        self.assertIn("third", got[-1]["text"])

    def test_page_images(self):
        got, notes = rows("--mode", "page_image", "--document", path("report.pdf"), path("missing_page.pdf"),
                          model="demo")
        vectors = [row for row in got if "embedding" in row]
        self.assertEqual([(os.path.basename(r["source"]), r["page"], r["kind"]) for r in vectors],
                         [("report.pdf", 1, "page_image"), ("report.pdf", 2, "page_image"),
                          ("missing_page.pdf", 1, "page_image"), ("missing_page.pdf", 2, "page_image")])
        self.assertEqual([r["error"] for r in got if "error" in r][0].split(": ")[-1], "page 3 of 3 can't be read")
        self.assertIn("page 3 of 3", notes)
        self.assertGreater(distance(vectors[0]["embedding"], vectors[2]["embedding"]), 1e-4)

    def test_search(self):
        """Over a mixed folder: the passage by words, pages beside pictures, and a page that shows them."""
        with tempfile.TemporaryDirectory() as folder:
            for name in ("report.pdf", "slides.pptx", "notes.md", "encrypted.pdf"):
                shutil.copy(path(name), folder)
            shutil.copy(os.path.join(SAMPLES, "guitar.png"), folder)
            html = os.path.join(folder, "found.htm")
            done = run("search", "-m", MODEL, "the lamp turned", "--input-dir", folder, "--json", "--top", "50",
                       "--html", html)
            self.assertEqual(done.returncode, 0, done.stderr)
            found = json.loads(done.stdout)
            self.assertEqual({os.path.basename(row["source"]) for row in found["results"]},
                             {"report.pdf", "slides.pptx", "notes.md"})
            self.assertEqual({row["kind"] for row in found["results"]}, {"text"})
            self.assertIn("1 picture was left out", done.stderr.decode())
            self.assertIn("encrypted.pdf: is encrypted", done.stderr.decode())
            with open(html, encoding="utf-8") as file:
                self.assertIn("<blockquote>", file.read())
            os.remove(html)
            done = run("search", "guitar", "--input-dir", folder, "--json", "--html", html)
            self.assertEqual(done.returncode, 0, done.stderr)
            found = json.loads(done.stdout)["results"]
            self.assertEqual(os.path.basename(found[0]["source"]), "guitar.png")
            self.assertEqual(sorted(row["page"] for row in found[1:]), [1, 2])
            self.assertIn("2 documents without pages left out", done.stderr.decode())
            with open(html, encoding="utf-8") as file:
                self.assertEqual(file.read().count("data:image/png"), 3)
            os.remove(html)
            found = json.loads(run("search", "guitar", "--input-dir", folder, "--modality", "image", "--json").stdout)
            self.assertEqual([os.path.basename(row["source"]) for row in found["results"]], ["guitar.png"])

    def test_search_lists_broken_documents(self):
        """Beside pictures only what can be read counts as without pages; the others' reasons are told."""
        with tempfile.TemporaryDirectory() as folder:
            for name in ("notes.md", "bad_none.zip"):
                shutil.copy(path(name), folder)
            shutil.copy(os.path.join(SAMPLES, "guitar.png"), folder)
            with open(os.path.join(folder, "late.pdf"), "wb") as file, open(path("report.pdf"), "rb") as source:
                file.write(b"\n" + source.read())
            for more in ((), ("--pictures",)):
                done = run("search", "guitar", "--input-dir", folder, "--json", *more)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual({row["kind"] for row in json.loads(done.stdout)["results"]}, {"image", "page_image"})
                self.assertIn("1 document without pages left out", done.stderr.decode())
                self.assertIn("bad_none.zip: is a ZIP archive, but no DOCX", done.stderr.decode())

    def test_search_of_one_tower(self):
        """Where texts and pictures go through one model, pages of PDFs and passages of other documents."""
        model = os.path.join(os.environ["TKR_TEST_DIR"], "golden", "qwen2_vl", "qwen2_vl", "model")
        done = run("search", "-m", model, "lamp", path("report.pdf"), path("notes.md"), "--json", "--max-pixels",
                   "18816")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual({(os.path.basename(row["source"]), row["kind"]) for row in json.loads(done.stdout)["results"]},
                         {("report.pdf", "page_image"), ("notes.md", "text")})
        self.assertEqual(done.stderr, b"")

    def test_usage(self):
        for args, words, code in (
                (("--document", path("plain.txt"), "--chunk-overlap", "400"), "overlap", 1),
                (("--document", path("plain.txt"), "--mode", "page_image"), "reads no pictures", 1),
                (("--document", path("nowhere.pdf")), "nowhere.pdf", 1)):
            done = run("embed", "-m", MODEL, *args)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertIn(words, done.stderr.decode())


if __name__ == "__main__":
    unittest.main()
