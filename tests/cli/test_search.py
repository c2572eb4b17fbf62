# SPDX-License-Identifier: Apache-2.0
"""tkr-embed search: pictures ranked by words and by pictures with the built-in demo model, the contact sheet, what
can't be read, and mistakes."""
import base64
import html.parser
import json
import os
import re
import shutil
import struct
import unittest

from harness import MODEL, CliTest, run

DEMO = os.path.join(os.path.dirname(os.environ["TKR_TEST_DIR"]), "share", "demo")
SAMPLES = os.path.join(DEMO, "samples")
NOTE = "it knows emoji and their names"


class Page(html.parser.HTMLParser):
    """Collects what a page is made of."""

    def __init__(self):
        super().__init__()
        self.tags, self.images, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_data(self, data):
        self.text += data


class SearchTest(CliTest):
    def names(self, *args):
        found = json.loads(self.ok("search", *args, "--json"))
        return [os.path.basename(row["source"])[:-4] for row in found["results"]]

    def test_words_find_pictures(self):
        # As the reference ranks them (transformers on the same checkpoint); a dog's face comes before the one bird.
        self.assertEqual(self.names("fruit", "--input-dir", SAMPLES, "--top", "2"), ["red_apple", "strawberry"])
        self.assertEqual(set(self.names("a bird", "--input-dir", SAMPLES, "--top", "2")), {"dog_face", "penguin"})
        self.assertEqual(set(self.names("musical instrument", "--input-dir", SAMPLES, "--top", "3")),
                         {"guitar", "trumpet", "violin"})

    def test_a_picture_finds_itself_first(self):
        guitar = os.path.join(SAMPLES, "guitar.png")
        found = json.loads(self.ok("search", "--query-image", guitar, "--input-dir", SAMPLES, "--json", "--top", "2"))
        self.assertEqual(os.path.basename(found["results"][0]["source"]), "guitar.png")
        self.assertAlmostEqual(found["results"][0]["score"], 1, places=6)
        self.assertIsNone(found["query"])
        self.assertEqual(found["query_image"], guitar)
        self.assertEqual(found["files"], len(os.listdir(SAMPLES)))
        self.assertLess(found["results"][1]["score"], 0.999)

    def test_table(self):
        done = run("search", "guitar", "--input-dir", SAMPLES, "--top", "4")
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.decode().splitlines()
        self.assertEqual(len(lines), 4)
        for rank, line in enumerate(lines, 1):
            self.assertRegex(line, rf"^ +{rank} +-?0\.\d{{4}}  \S.*\.png$")
        self.assertTrue(lines[0].endswith("guitar.png"))
        self.assertIn(NOTE, done.stderr.decode())
        self.assertEqual(run("search", "guitar", "--input-dir", SAMPLES, "--quiet").stderr, b"")
        self.assertEqual(len(self.ok("search", "guitar", "--input-dir", SAMPLES).splitlines()), 10)

    def test_files_behind_the_words(self):
        files = [os.path.join(SAMPLES, name) for name in ("banana.png", "guitar.png")]
        found = json.loads(self.ok("search", "banana", *files, "--json"))
        self.assertEqual([row["source"] for row in found["results"]], files)
        self.assertEqual([row["rank"] for row in found["results"]], [1, 2])

    def test_urls_among_the_files(self):
        guitar, banana = (os.path.join(SAMPLES, name) for name in ("guitar.png", "banana.png"))
        with open(guitar, "rb") as file:
            url = "data:image/png;base64," + base64.b64encode(file.read()).decode()
        sheet = self.path("urls.html")
        found = json.loads(self.ok("search", "guitar", url, guitar, banana, "--json", "--html", sheet))
        rows = {row["source"]: row["score"] for row in found["results"]}
        self.assertEqual(set(rows), {url, guitar, banana})
        self.assertEqual(rows[url], rows[guitar])
        self.assertGreater(rows[url], rows[banana])
        with open(sheet, encoding="utf-8") as file:
            page = Page()
            page.feed(file.read())
        self.assertEqual(len(page.images), 3)
        found = json.loads(self.ok("search", "--query-image", url, banana, guitar, "--json"))
        self.assertEqual(found["results"][0]["source"], guitar)
        # Hosts must be allowed, and public; what can't be fetched doesn't keep the others from being ranked.
        for options, reason in (([], "--allow-url"), (["--allow-url", "example.net"], "isn't allowed"),
                                (["--allow-url", "127.0.0.1"], "isn't public")):
            address = "http://127.0.0.1/a.png" if reason == "isn't public" else "http://example.org/a.png"
            done = run("search", "guitar", address, guitar, "--json", *options)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual([row["source"] for row in json.loads(done.stdout)["results"]], [guitar])
            self.assertIn(reason, done.stderr.decode())
            self.assertEqual(done.stderr.decode().count(address), 1, done.stderr)

    def test_contact_sheet(self):
        sheet, folder = self.path("sheet.html"), self.path("a & <b>")
        os.mkdir(folder)
        for name in ("guitar.png", "banana.png"):
            shutil.copy(os.path.join(SAMPLES, name), folder)
        self.ok("search", "<script>alert('guitar')</script>", "--input-dir", folder, "--html", sheet)
        with open(sheet, encoding="utf-8") as file:
            source = file.read()
        page = Page()
        page.feed(source)
        self.assertNotIn("script", page.tags)
        self.assertIn("default-src 'none'", source)
        self.assertIsNone(re.search(r'(src|href)="(?!data:image/png;base64,)', source))
        self.assertIn("<script>alert('guitar')</script>", page.text)
        self.assertIn(NOTE, page.text)
        self.assertIn("a & <b>", page.text)
        self.assertEqual(len(page.images), 2)
        for image in page.images:
            png = base64.b64decode(image["src"].split(",")[1], validate=True)
            self.assertTrue(png.startswith(b"\x89PNG\r\n\x1a\n"))
            self.assertEqual(struct.unpack(">II", png[16:24]), (int(image["width"]), int(image["height"])))
            self.assertEqual((int(image["width"]), int(image["height"])), (96, 96))

    def test_what_cannot_be_read_is_listed_at_the_end(self):
        folder = self.path("mixed")
        os.makedirs(os.path.join(folder, "deep", "er"))
        os.mkdir(os.path.join(folder, ".hidden"))
        shutil.copy(os.path.join(SAMPLES, "guitar.png"), os.path.join(folder, "deep", "er", "no-extension"))
        shutil.copy(os.path.join(SAMPLES, "banana.png"), os.path.join(folder, ".hidden", "banana.png"))
        os.symlink(folder, os.path.join(folder, "deep", "loop"))
        with open(os.path.join(SAMPLES, "banana.png"), "rb") as file:
            self.path("mixed/cut.png", file.read()[:600])
        self.path("mixed/notes.txt", "not a picture")
        done = run("search", "guitar", "--input-dir", folder, "--modality", "image", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        found = json.loads(done.stdout)
        self.assertEqual([os.path.basename(row["source"]) for row in found["results"]], ["no-extension"])
        self.assertEqual((found["files"], found["failed"]), (1, 1))
        self.assertIn("1 file could not be used", done.stderr.decode())
        self.assertIn("cut.png", done.stderr.decode())
        self.assertIn("1 file was left out", done.stderr.decode())

    def test_embed_takes_a_folder(self):
        folder = self.path("photos")
        os.makedirs(os.path.join(folder, "b"))
        for name in ("b/guitar.png", "banana.png"):
            shutil.copy(os.path.join(SAMPLES, os.path.basename(name)), os.path.join(folder, name))
        self.path("photos/cut.png", b"\x89PNG\r\n\x1a\n")
        self.path("photos/notes.txt", "text")
        done = run("embed", "-m", "demo", "--input-dir", folder)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([row["id"] for row in rows], [os.path.join(folder, name) for name in
                                                       ("b/guitar.png", "banana.png", "cut.png", "notes.txt")])
        self.assertEqual([row["source"] for row in rows], [row["id"] for row in rows])
        self.assertEqual(["embedding" in row for row in rows], [True, True, False, True])
        self.assertEqual([row["kind"] for row in rows], ["image", "image", "image", "text"])
        self.assertIn("cut.png", rows[2]["error"])
        message = done.stderr.decode()
        self.assertEqual(done.returncode, 0, message)
        self.assertIn("1 file could not be used", message)
        alone = json.loads(self.ok("embed", "-m", "demo", "--image", os.path.join(folder, "banana.png")))
        self.assertEqual(alone["embedding"], rows[1]["embedding"])
        self.assertEqual(run("embed", "-m", "demo", "--input-dir", folder, "--on-error", "stop").returncode, 1)
        self.fails(2, "embed", "-m", "demo", "--input-dir", folder, "text", says="exclude each other")
        self.fails(1, "embed", "-m", MODEL, "--input-dir", self.path("none"), says="none")

    def test_the_same_bits_in_every_order(self):
        a, b = (os.path.join(SAMPLES, name) for name in ("banana.png", "guitar.png"))
        scores = [{row["source"]: row["score"] for row in json.loads(self.ok("search", "drum", *files, "--json",
                                                                              *more))["results"]}
                  for files, more in (([a, b], []), ([b, a], []), ([a, b], ["--threads", "1"]))]
        self.assertEqual(scores[0], scores[1])
        self.assertEqual(scores[0], scores[2])

    def test_words_that_begin_as_other_files_do(self):
        folder = self.path("words")
        os.mkdir(folder)
        self.path("words/cars", "BMW is a maker of cars.")
        self.path("words/river", "The wide river flows")
        found = json.loads(self.ok("search", "-m", MODEL, "a river", "--input-dir", folder, "--json"))
        self.assertEqual({(os.path.basename(row["source"]), row["kind"]) for row in found["results"]},
                         {("cars", "text"), ("river", "text")})

    def test_a_missing_file(self):
        """Is told as one, whatever the model reads."""
        for model in ("demo", MODEL):
            done = run("search", "-m", model, "guitar", self.path("none.xyz"))
            self.assertIn("none.xyz: cannot open", done.stderr.decode())
            self.assertNotIn("reads text only", done.stderr.decode())

    def test_large_videos(self):
        clip = os.path.join(os.environ["TKR_TEST_DIR"], "golden", "page", "guitar.webm")
        done = run("search", "guitar", clip, "--max-video-bytes", "1024", "--json")
        self.assertIn("a video may have 1024", done.stderr.decode())

    def test_mistakes(self):
        self.fails(2, "search", says="for what?")
        self.fails(2, "search", "guitar", says="--input-dir DIR")
        self.fails(1, "search", "guitar", "--input-dir", self.path("none"), says="none")
        self.path("only.txt", "text")
        self.fails(1, "search", "guitar", "--input-dir", self.folder, "--modality", "image",
                   says="no picture in this folder (1 other file")
        self.fails(1, "search", "-m", MODEL, "guitar", "--input-dir", SAMPLES, says="reads text only")
        self.fails(1, "search", "--query-image", self.path("only.txt"), "--input-dir", SAMPLES, says="the query: ")
        self.fails(1, "search", "guitar", "--input-dir", SAMPLES, "--quiet", "--html", self.path("no/such/folder.html"),
                   says="folder.html")


if __name__ == "__main__":
    unittest.main()
