#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Folders of pictures, a clip and documents, as scripts/mixed-folder makes them: search finds the right page, frame and
passage, embed writes a row for each, --modality chooses."""
import importlib.machinery
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import unittest

from harness import distance, environment, run
from test_search import Page

sys.dont_write_bytecode = True
SCRIPT = os.path.join(os.environ["TKR_SOURCE_DIR"], "scripts", "mixed-folder")
loader = importlib.machinery.SourceFileLoader("mixed_folder", SCRIPT)
mixed_folder = importlib.util.module_from_spec(importlib.util.spec_from_loader("mixed_folder", loader))
loader.exec_module(mixed_folder)
BROKEN = os.path.join(os.environ["TKR_TEST_DIR"], "golden", "video", "broken", "truncated.mp4")
ENCRYPTED = os.path.join(os.environ["TKR_TEST_DIR"], "golden", "documents", "encrypted.pdf")


class Mixed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        holder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(holder.cleanup)
        cls.folder = os.path.join(holder.name, "mixed")
        cls.clip = mixed_folder.make(cls.folder)
        cls.holder = holder.name

    def search(self, *args, folder=None):
        done = run("search", *args, "--input-dir", folder or self.folder, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        found = json.loads(done.stdout)
        for row in found["results"]:
            row["name"] = os.path.basename(row["source"])
        return found, done.stderr.decode()

    def first(self, *args, **options):
        return self.search(*args, **options)[0]["results"][0]

    def check_moment(self, folder, clip):
        """Each scene is found in a segment that shows it, at a second at which it is shown."""
        begin = 0
        for name, seconds in mixed_folder.SCENES:
            row = self.first(name.replace("_", " "), folder=folder)
            self.assertEqual((row["name"], row["kind"]), (clip, "video"))
            self.assertTrue(begin <= row["frame_s"] < begin + seconds, row)
            self.assertTrue(row["start_s"] <= row["frame_s"] < row["end_s"], row)
            self.assertLess(row["start_s"], begin + seconds)
            begin += seconds

    def test_frames(self):
        self.check_moment(self.folder, self.clip)
        self.assertEqual(self.first("rocket", "--segment", "4s", "--max-frames", "2")["start_s"], 8)

    def test_frames_without_ffmpeg(self):
        folder = os.path.join(self.holder, "avi")
        clip = mixed_folder.make(folder, ffmpeg=None)
        self.check_moment(folder, clip)
        # two frames a second: a part between two of them shows the one before
        line = {"video": os.path.join(folder, clip), "start_s": 10.1, "end_s": 10.3}
        rocket = os.path.join(mixed_folder.SAMPLES, "rocket.png")
        part = json.loads(run("embed", "-m", "demo", "--jsonl", stdin=json.dumps(line)).stdout)
        alone = json.loads(run("embed", "-m", "demo", "--image", rocket).stdout)
        self.assertEqual(part["frames"], 1)
        self.assertLess(distance(part["embedding"], alone["embedding"]), 1e-6)

    def test_pages_and_pictures(self):
        for number, (name, _) in enumerate(mixed_folder.PAGES, 1):
            row = self.first(name)
            self.assertEqual((row["name"], row["page"], row["kind"]), ("animals.pdf", number, "page_image"))
        self.assertEqual(self.first("guitar")["name"], "guitar.png")
        found, notes = self.search("guitar", "--top", "100")
        self.assertEqual(found["files"], 6)
        self.assertEqual({row["kind"] for row in found["results"]}, {"image", "video", "page_image"})
        self.assertIn("2 documents without pages left out", notes)

    def test_passages(self):
        """With a real text model, which `make model` fetches."""
        for words, name, inside in (("who lit the lamp at night?", "lighthouse.docx", "Agnes Moll"),
                                    ("how long does dough have to rise?", "recipes.md", "two hours"),
                                    ("what do you need for a cold sour drink?", "recipes.md", "lemons")):
            found, notes = self.search("-m", "minilm", words, "--chunk-tokens", "48")
            row = found["results"][0]
            self.assertEqual((row["name"], row["kind"]), (name, "text"), words)
            self.assertIn(inside, row["text"])
        self.assertIn("4 pictures were left out", notes)
        self.assertIn("1 video was left out", notes)
        row = self.first("-m", "minilm", "how much do elephants drink", "--chunk-tokens", "20")
        self.assertEqual((row["name"], row["page"]), ("animals.pdf", 2))
        self.assertNotIn("last_page", row)

    def test_modality(self):
        for modality, names in (("image", {"guitar.png", "pizza.png", "rose.png", "dog_face.png"}),
                                ("video", {self.clip}), ("document", {"animals.pdf", "lighthouse.docx", "recipes.md"})):
            found, _ = self.search("guitar", "--modality", modality, "--top", "100")
            self.assertEqual({row["name"] for row in found["results"]}, names)
            done = run("embed", "-m", "demo", "--input-dir", self.folder, "--modality", modality)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual({os.path.basename(json.loads(line)["source"]) for line in done.stdout.splitlines()}, names)

    def test_embed(self):
        folder = os.path.join(self.holder, "broken")
        mixed_folder.make(folder)
        shutil.copy(BROKEN, os.path.join(folder, "broken.mp4"))
        shutil.copy(ENCRYPTED, os.path.join(folder, "secret.pdf"))
        with open(os.path.join(folder, "other.bin"), "wb") as file:
            file.write(bytes(100))
        done = run("embed", "-m", "demo", "--input-dir", folder, "--segment", "10", "--max-frames", "2", "--mode",
                   "both")
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([row["index"] for row in rows], list(range(len(rows))))
        by_name = {}
        for row in rows:
            self.assertEqual(row["id"], row["source"])
            by_name.setdefault(os.path.basename(row["source"]), []).append(row)
        self.assertEqual(list(by_name), ["animals.pdf", "broken.mp4", self.clip, "lighthouse.docx", "dog_face.png",
                                         "guitar.png", "pizza.png", "rose.png", "recipes.md", "secret.pdf"])
        self.assertEqual([(row["segment"], row["start_s"]) for row in by_name[self.clip]],
                         [(1, 0), (2, 10), (3, 20), (4, 30)])
        self.assertEqual([row["kind"] for row in by_name["animals.pdf"]][-4:], ["text"] + ["page_image"] * 3)
        self.assertEqual([name for name, some in by_name.items() if "error" in some[0]], ["broken.mp4", "secret.pdf"])
        message = done.stderr.decode()
        self.assertIn("1 file was left out: no pictures, videos or documents", message)
        self.assertIn("2 files could not be used", message)
        self.assertIn("password", message)

    def test_sheet(self):
        """Frames, pages and pictures as thumbnails, passages as text; nothing is fetched."""
        sheet = os.path.join(self.holder, "sheet.html")
        done = run("search", "rocket", "--input-dir", self.folder, "--top", "100", "--html", sheet)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(sheet, encoding="utf-8") as file:
            page = Page()
            page.feed(file.read())
        self.assertEqual(len(page.images), 4 + 4 + 3)
        self.assertIn("pictures, video segments and pages", page.text)
        self.assertIn(", 0:10 to 0:20, best at 0:", page.text)
        self.assertIn(", page 2", page.text)
        done = run("search", "-m", "minilm", "bread", "--input-dir", self.folder, "--html", sheet)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(sheet, encoding="utf-8") as file:
            page = Page()
            page.feed(file.read())
        self.assertEqual((page.tags.count("blockquote"), len(page.images)), (3, 0))
        self.assertIn("animals.pdf, pages 1 to 3", page.text)
        self.assertIn("The 3 closest of 3 passages", page.text)

    def test_mistakes(self):
        clip, notes = os.path.join(self.folder, self.clip), os.path.join(self.folder, "recipes.md")
        for args, code, says in (
                (("search", "-m", "minilm", "a", clip), 1, "pictures and videos need a model for them"),
                (("search", "a", "--input-dir", self.folder, "--segment", "soon"), 2, "expected a time"),
                (("search", "a", notes, "--modality", "video"), 1, "recipes.md: "),
                (("search", "a", "--input-dir", os.path.join(self.folder, "photos"), "--modality", "video"), 1,
                 "no video in this folder (4 other files"),
                (("search", "a", "--input-dir", self.folder, "--modality", "text"), 2, "all|image|video|document"),
                (("embed", "-m", "demo", "a", "--modality", "image"), 2, "--modality goes with --input-dir"),
                (("embed", "-m", "minilm", "--input-dir", os.path.join(self.folder, "photos")), 1,
                 "need a model for them"),
                (("search", "a", os.path.join(self.folder, "none.mp4")), 1, "none.mp4")):
            done = run(*args, env=environment())
            self.assertEqual(done.returncode, code, (args, done.stderr))
            self.assertIn(says, done.stderr.decode())


if __name__ == "__main__":
    unittest.main()
