#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Pictures inside documents: which, where, their bytes; and what costs one of them, not the document."""
import base64
import io
import os
import random
import tempfile
import unittest
import zipfile

import picture_documents as make
from documents import DEADLINE, FORMAT, LIMIT, NO_MEMORY, OK, UNSUPPORTED, change, dump

ONE, TWO, THREE = (make.picture(seed) for seed in (1, 2, 3))


def listed(data, options=("--pictures",)):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "it")
        with open(path, "wb") as file:
            file.write(data)
        row, = dump(path, options=options)
    for picture in row.get("pictures", []):
        picture["data"] = base64.b64decode(picture.get("data", ""))
        picture["before"] = row["text"][:picture["at"]]
    return row


class Pictures(unittest.TestCase):
    def check(self, data, wanted):
        """wanted: (bytes, page, alt, end of the text before) each."""
        row = listed(data)
        self.assertEqual((row["status"], row.get("pictures_failed"), row.get("pictures_note")), (OK, 0, ""), row)
        self.assertEqual([(p["data"], p["page"], p["alt"]) for p in row["pictures"]], [w[:3] for w in wanted])
        for picture, want in zip(row["pictures"], wanted):
            self.assertTrue(picture["before"].endswith(want[3]), (picture["before"], want[3]))
            self.assertEqual((picture["width"], picture["height"]), (64, 48))
        plain = listed(data, ())
        self.assertEqual({k: plain[k] for k in ("text", "blocks")}, {k: row[k] for k in ("text", "blocks")})

    def test_docx(self):
        """One that is there twice counts once; what isn't referred to, or lies elsewhere, isn't listed."""
        data = make.docx({"word/media/a.png": ONE, "word/media/b.png": TWO, "word/media/again.png": ONE,
                          "word/media/unused.png": THREE}, ["media/a.png", "/word/media/b.png", "media/again.png"],
                         {1: "A lamp &amp; a&#10; tower", 2: "Věž"})
        self.check(data, [(ONE, 0, "A lamp & a tower", "Before 1."), (TWO, 0, "Věž", "Before 2.")])

    def test_pptx(self):
        self.check(make.pptx([ONE, None, TWO]), [(ONE, 1, "Alt 1", ""), (TWO, 3, "Alt 3", "Slide 1\n\n")])

    def test_pptx_with_damaged_relations(self):
        """The slide's text is there all the same, so that pictures behind it stand where they do."""
        with zipfile.ZipFile(io.BytesIO(make.pptx([ONE, TWO]))) as z:
            members = {name: z.read(name) for name in z.namelist()}
        members["ppt/slides/_rels/slide1.xml.rels"] = b"<Relationships><"
        row = listed(make.pack(members))
        self.assertEqual((row["status"], row["failed"]), (OK, 1), row)
        self.assertEqual([(p["data"], p["before"]) for p in row["pictures"]], [(TWO, "Slide 1\n\n")])

    def test_pptx_notes(self):
        """Pictures of notes are none of the slide's."""
        with zipfile.ZipFile(io.BytesIO(make.pptx([ONE]))) as z:
            members = {name: z.read(name) for name in z.namelist()}
        members["ppt/notesSlides/n.xml"] = members["ppt/slides/slide1.xml"].replace(b"Slide 1", b"Note 1")
        members["ppt/slides/_rels/slide1.xml.rels"] = members["ppt/slides/_rels/slide1.xml.rels"].replace(
            b"</Relationships>", b'<Relationship Id="r7" Type="x/notesSlide" Target="../notesSlides/n.xml"/>'
                                 b"</Relationships>")
        data = make.pack(members)
        self.check(data, [(ONE, 1, "Alt 1", "")])
        self.assertEqual(listed(data)["text"], "Slide 1\n\nNote 1")

    def test_xlsx(self):
        self.check(make.xlsx(ONE), [(ONE, 2, "A chart", "2")])

    def test_odf(self):
        """Of a drawing and its picture the picture."""
        self.check(make.odf(ONE), [(ONE, 0, "A lamp", "Before.")])
        self.check(make.odf(TWO, slides=True), [(TWO, 2, "A lamp", "One")])

    def test_epub(self):
        self.check(make.epub(ONE, TWO, THREE), [(ONE, 1, "", ""), (TWO, 2, "In line", "Before "),
                                                (THREE, 2, "Second", "")])

    def test_html(self):
        data = make.html([ONE, TWO, ONE])
        row = listed(data)
        self.assertEqual([(p["data"], p["alt"]) for p in row["pictures"]], [(ONE, "Alt 1"), (TWO, "Alt 2")])
        self.assertTrue(row["pictures"][1]["before"].endswith("Číslo 2 "), row["pictures"][1]["before"])
        self.assertEqual((row["pictures_failed"], row["pictures_note"]), (1, "a data: address: isn't in base64"))

    def test_mail(self):
        """Those of the HTML too, which isn't read; attachments are left out."""
        row = listed(make.mail(ONE, TWO, THREE))
        self.assertEqual((row["status"], row["pictures_failed"]), (OK, 0), row)
        self.assertEqual([p["data"] for p in row["pictures"]], [ONE])
        self.assertTrue(row["pictures"][0]["before"].endswith("The plain text."))
        only_html = make.mail(ONE, TWO, THREE).replace(b"multipart/alternative", b"multipart/mixed")
        row = listed(only_html)
        self.assertEqual([(p["data"], p["alt"]) for p in row["pictures"]], [(ONE, "By id"), (TWO, "In itself")])
        self.assertEqual(row["pictures_failed"], 0)
        row = listed(only_html.replace(b"<one@x>", b"<other@x>"))
        self.assertEqual((row["pictures_failed"], row["pictures_note"]), (1, "cid:one@x: is not in the message"))

    def test_mail_without_ids(self):
        """A field without a value is none."""
        data = make.mail(ONE, TWO, THREE).replace(b"multipart/alternative", b"multipart/mixed")
        row = listed(data.replace(b"Content-ID: <one@x>", b"Content-ID:"))
        self.assertEqual((row["status"], [p["data"] for p in row["pictures"]]), (OK, [TWO, ONE]), row)

    def test_mail_of_many(self):
        """What a part stands for is decoded once, not for each of its pictures."""
        tag = b'<img src="data:image/png;base64,' + base64.b64encode(ONE) + b'">'
        text = b"<html><body>" + 400 * tag + b"<p>" + b"The keeper. " * 500_000 + b"</p></body></html>"
        data = (b"From: a@x\nTo: b@x\nSubject: Many\nMIME-Version: 1.0\nContent-Type: text/html\n"
                b"Content-Transfer-Encoding: base64\n\n" + base64.encodebytes(text))
        row = listed(data)
        self.assertEqual((row["status"], [p["data"] for p in row["pictures"]]), (OK, [ONE]))
        self.assertLess(row["seconds"], 5)

    def test_pdf(self):
        """Stored losslessly, so the pixels are equal; on white where there is an alpha channel."""
        row = listed(make.good_pdf())
        self.assertEqual((row["status"], row["pictures_failed"]), (OK, 0), row)
        self.assertEqual([(p["page"], p["width"], p["height"], p["rgb"]) for p in row["pictures"]],
                         [(1, 64, 48, 1), (1, 64, 48, 1), (2, 64, 48, 1)])
        self.assertEqual([p["data"] for p in row["pictures"][:2]], [make.raw(1), make.raw(2)])
        soft = row["pictures"][2]["data"]
        for i, value in enumerate(make.raw(3)):
            alpha = (i // 3 % 64 * 4) % 256
            self.assertLessEqual(abs(soft[i] - (value * alpha + 255 * (255 - alpha)) / 255), 2, i)
        self.assertEqual([p["before"].count("A page.") for p in row["pictures"]], [0, 0, 1])

    def test_pdf_of_many_pages(self):
        """The same on each of 300 pages counts once; lists have an end."""
        images = {f"i{n}": (make.rgb(32, 32), bytes((n * 7 + k * (n + 3)) % 256 for k in range(3072)))
                  for n in range(40)}
        row = listed(make.pdf([[f"i{n % 40}", "i0"] for n in range(300)], images))
        self.assertEqual((row["status"], len(row["pictures"]), row["pictures_failed"]), (OK, 40, 0))
        self.assertEqual([p["page"] for p in row["pictures"]], list(range(1, 41)))

    def test_too_many(self):
        pictures = [make.png(32, 32, lambda x, y, i=i: (i % 256, i // 256, x)) for i in range(1100)]
        tags = "".join(f'<img src="data:image/png;base64,{base64.b64encode(data).decode()}">' for data in pictures)
        row = listed(("<html><body>" + tags).encode())
        self.assertEqual(len(row["pictures"]), 1000)

    def test_bad_ones(self):
        """Each costs itself only."""
        bad = {
            "missing": ({}, "media/x.png", "is not in the archive"),
            "a path out of the archive": ({}, "../../../../../../etc/passwd", "etc/passwd: is not in the archive"),
            "no picture": ({"word/media/x.png": b"hello"}, "media/x.png", "is not a JPEG, PNG"),
            "a metafile": ({"word/media/x.emf": b"\1\0\0\0" + bytes(200)}, "media/x.emf", "x.emf: is not a JPEG"),
            "empty": ({"word/media/x.png": b""}, "media/x.png", "is empty"),
            "a bomb": ({"word/media/x.png": bytes(100 << 20)}, "media/x.png", "expands to more than"),
        }
        for name, (members, target, words) in bad.items():
            with self.subTest(name):
                row = listed(make.docx({"word/media/good.png": ONE, **members}, [target, "media/good.png"]))
                self.assertEqual(row["status"], OK, row)
                self.assertEqual([p["data"] for p in row["pictures"]], [ONE])
                self.assertEqual(row["pictures_failed"], 1)
                self.assertIn(words, row["pictures_note"])
        with self.subTest("a bullet"):
            row = listed(make.docx({"word/media/x.png": make.png(16, 16, make.pixels(1))}, ["media/x.png"]))
            self.assertEqual((row["status"], row["pictures"], row["pictures_failed"]), (OK, [], 0))
        with self.subTest("elsewhere"):
            row = listed(make.docx({}, ["http://127.0.0.1/x.png"]))
            self.assertEqual((row["status"], row["pictures"], row["pictures_failed"]), (OK, [], 1))
        with self.subTest("damaged in the archive"):
            data = bytearray(make.docx({"word/media/x.png": ONE, "word/media/y.png": TWO},
                                       ["media/x.png", "media/y.png"]))
            at = data.index(b"word/media/x.png") + 60
            data[at:at + 8] = bytes(8)
            row = listed(bytes(data))
            self.assertEqual(row["status"], OK, row)
            self.assertGreaterEqual(row["pictures_failed"], 1)
        with self.subTest("a picture of a PDF"):
            row = listed(make.pdf([["bad", "good"]], {"bad": (make.rgb(40000, 40), b"x"),
                                                      "good": (make.rgb(64, 48), make.raw(1))}))
            self.assertEqual((row["status"], [p["data"] for p in row["pictures"]]), (OK, [make.raw(1)]), row)
            self.assertEqual((row["pictures_failed"], row["pictures_note"]),
                             (1, "page 1: has a picture that can't be decoded"))
        with self.subTest("a picture that takes too long"):
            row = listed(make.pdf([["good", "bad", "next"]], {
                "bad": (make.rgb(60000, 60000), b"x"), "good": (make.rgb(64, 48), make.raw(1)),
                "next": (make.rgb(64, 48), make.raw(2))}), options=("--pictures=3",))
            self.assertEqual((row["status"], [p["data"] for p in row["pictures"]]),
                             (OK, [make.raw(1), make.raw(2)]), row["pictures_note"])
            self.assertEqual(row["pictures_failed"], 1)
        with self.subTest("the same behind a page without pictures"):
            row = listed(make.pdf([[], ["bad", "good"]], {
                "bad": (make.rgb(60000, 60000), b"x"), "good": (make.rgb(64, 48), make.raw(1))}),
                options=("--pictures=2",))
            self.assertEqual((row["status"], [p["data"] for p in row["pictures"]]), (OK, [make.raw(1)]),
                             row["pictures_note"])
            self.assertEqual(row["pictures_failed"], 1)
            self.assertTrue(row["pictures_note"].startswith("page 2: "), row["pictures_note"])

    def test_changed_at_random(self):
        """Whatever a list of pictures holds, its own error is the worst that comes of it."""
        chance = random.Random(5)
        whole = [make.docx({"word/media/a.png": ONE}, ["media/a.png"]), make.pptx([ONE, TWO]), make.odf(ONE),
                 make.epub(ONE, TWO, THREE), make.html([ONE, TWO]), make.mail(ONE, TWO, THREE), make.good_pdf(),
                 make.xlsx(ONE)]
        with tempfile.TemporaryDirectory() as folder:
            files = []
            for i in range(200):
                data = whole[i % len(whole)]
                path = os.path.join(folder, str(i))
                if data[:2] == b"PK":
                    with open(path + ".zip", "wb") as file:
                        file.write(data)
                    with zipfile.ZipFile(path + ".zip") as z:
                        members = {name: z.read(name) for name in z.namelist()}
                    name = chance.choice(sorted(name for name in members if members[name]))
                    members[name] = change(members[name], chance)
                    data = make.pack(members)
                else:
                    data = change(data, chance)
                with open(path, "wb") as file:
                    file.write(data)
                files.append(path)
            good = os.path.join(folder, "good")
            with open(good, "wb") as file:
                file.write(whole[0])
            *rows, last = dump(*files, good, options=("--pictures",))
        self.assertEqual((last["status"], len(last["pictures"])), (OK, 1))
        found = 0
        for row in rows:
            self.assertIn(row["status"], (OK, FORMAT, UNSUPPORTED, LIMIT, NO_MEMORY, DEADLINE), row)
            found += len(row.get("pictures", []))
        print(f"200 changed documents: {found} pictures found")
        self.assertGreater(found, 100)


if __name__ == "__main__":
    unittest.main()
