#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Documents that mean no good, made on the spot: each is refused with a message, or read without what it is after."""
import tempfile
import unittest
from pathlib import Path

import hostile_documents as make
from documents import FORMAT, LIMIT, OK, UNSUPPORTED, blocks, dump


class Hostile(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def refused(self, path, status, *words):
        row, = dump(path)
        self.assertEqual(row["status"], status, row)
        for word in words:
            self.assertIn(word, row["error"])

    def read(self, path):
        row, = dump(path)
        self.assertEqual(row["status"], OK, row)
        return row, [b[3] for b in blocks(row)]

    def test_pages(self):
        self.refused(make.pages(self.folder / "many.pdf", 100_000), LIMIT, "has 100000 pages", "at most 10000")
        row, _ = self.read(make.pages(self.folder / "most.pdf", 10_000))
        self.assertEqual((row["pages"], row["failed"]), (10_000, 0))
        self.refused(make.pages(self.folder / "said.pdf", 3, count=100_000), FORMAT, "a PDF without pages")
        row, texts = self.read(make.pages(self.folder / "wrong.pdf", 3, count=5))
        self.assertEqual((row["pages"], row["failed"], len(texts)), (5, 2, 3))
        self.assertEqual(row["note"], "page 4 can't be read")
        row, texts = self.read(make.recursive_form(self.folder / "form.pdf"))
        self.assertIn("Again.", texts[0])

    def test_size_of_pages(self):
        for side, status in ((14400, OK), (14401, LIMIT)):
            path = make.pages(self.folder / f"{side}.pdf", 1, box=b"0 0 %d %d" % (side, side))
            row, = dump(path, options=("--page", "0", "1344"))
            self.assertEqual(row["status"], status, row)
            if status == OK:
                self.assertEqual((row["width"], row["height"]), (1344, 1344))
            else:
                self.assertIn("14401 x 14401 points", row["error"])
            self.read(path)
        for box in (b"0 0 0 0", b"0 0 1e30 1e30", b"0 0 -5 10", b"0 0 1 14400"):
            path = make.pages(self.folder / "box.pdf", 1, box=box)
            row, = dump(path, options=("--page", "0", "1344"))
            self.assertIn(row["status"], (OK, LIMIT), row)

    def test_bombs(self):
        self.refused(make.flat_bomb(self.folder / "flat.docx"), LIMIT, "ZIP bomb")
        self.refused(make.overlapping_bomb(self.folder / "same.zip"), UNSUPPORTED, "no DOCX")  # seen as one file
        self.assertEqual(self.read(make.nested_bomb(self.folder / "nested.docx"))[1], ["Only what it says."])
        row, = dump(make.flate_bomb(self.folder / "page.pdf"))
        self.assertIn(row["status"], (OK, LIMIT), row)
        path = make.pack(self.folder / "many.docx", {f"{i}.xml": "" for i in range(50_001)})
        self.refused(path, LIMIT, "more than 50000 files")

    def test_paths(self):
        """What a reference leads out of the archive to is not there."""
        secret = self.folder / "secret.xml"
        secret.write_text(make.SLIDE.format("secret"))
        targets = ["slides/a.xml", "../../../../../../../.." + str(secret), "file://" + str(secret), str(secret),
                   "slides/../slides/a.xml", "..\\..\\secret.xml", "%2e%2e/%2e%2e/secret.xml"]
        row, texts = self.read(make.slides(self.folder / "paths.pptx", targets,
                                           {"ppt/slides/a.xml": make.SLIDE.format("Seen.")}))
        self.assertEqual(texts, ["Seen.", "Seen."])
        self.assertEqual((row["pages"], row["failed"], row["note"]), (7, 5, "slide 2 can't be read"))
        path = make.slides(self.folder / "none.pptx", targets[1:3], {})
        self.refused(path, FORMAT, "slide 1 can't be read, nor any other of 2")

    def test_entities(self):
        for kind in ("laughs", "quadratic", "external", "parameter"):
            path = make.pack(self.folder / f"{kind}.docx", {"word/document.xml": make.entities(kind)})
            self.refused(path, FORMAT, "word/document.xml")

    def test_notes_in_notes(self):
        """A note in a cell of a note, and a row in a cell, which take the text that the cell began with."""
        row = ("<table:table><table:table-row><table:table-cell>{}</table:table-cell><table:table-cell>{}"
               "</table:table-cell></table:table-row></table:table>")
        name = "urn:oasis:names:tc:opendocument:xmlns:{}:1.0"
        for body in ("<text:p><text:note><text:p>abcdef</text:p>" + row.format("", "<text:note/>") +
                     "</text:note></text:p>",
                     row.format("<text:p>abcdef</text:p>", "<text:p>x</text:p><table:table-row/>")):
            path = make.pack(self.folder / "notes.odt", {"content.xml": (
                f'<office:document-content xmlns:office="{name.format("office")}" xmlns:text="{name.format("text")}" '
                f'xmlns:table="{name.format("table")}"><office:body><text:p>First.</text:p>{body}<text:p>Last.</text:p>'
                "</office:body></office:document-content>")})
            _, texts = self.read(path)
            self.assertEqual((texts[0], texts[-1]), ("First.", "Last."))
            self.assertIn("abcdef", texts[1])

    def test_one_bad_part(self):
        """A slide, sheet or chapter that is damaged costs itself alone."""
        path = make.slides(self.folder / "one.pptx", ["a.xml", "b.xml", "c.xml", "d.xml"], {
            "ppt/a.xml": make.SLIDE.format("First."), "ppt/b.xml": make.SLIDE.format("Cut")[:-40],
            "ppt/c.xml": '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + make.SLIDE.format("&e;"),
            "ppt/d.xml": make.SLIDE.format("Last.")})
        row, texts = self.read(path)
        self.assertEqual((row["pages"], row["failed"]), (4, 2))
        self.assertEqual((texts[0], texts[-1]), ("First.", "Last."))
        self.assertNotIn("root:", row["text"])
        self.assertTrue(row["note"].startswith("slide 2 can't be read: ppt/b.xml: is no valid XML"), row["note"])


if __name__ == "__main__":
    unittest.main()
