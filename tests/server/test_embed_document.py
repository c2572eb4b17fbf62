#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""POST /embed/document: passages, pages, several files, what is refused."""
import base64
import os
import re
import struct
import unittest

from test_native import NativeTest, bits, multipart


class Documents(NativeTest):
    FOLDER = os.path.join(os.environ["TKR_TEST_DIR"], "golden", "documents")

    def post(self, *names, **fields):
        parts = list(fields.items())
        for name in names:
            with open(os.path.join(self.FOLDER, name), "rb") as file:
                parts.append(("file", (name, file.read(), "application/octet-stream")))
        body, kind = multipart(parts)
        return self.server.post("/embed/document", body, headers={"Content-Type": kind})

    def test_passages(self):
        """One vector a passage, that of its headings and text; ranges and pages; several files."""
        reply = self.post("slides.pptx", "plain.txt", chunk_tokens="30", chunk_overlap="10").json()
        passages = reply["passages"]
        self.assertEqual(len(passages), reply["shape"][0])
        self.assertEqual({p["slide"] for p in passages if p["file"] == 0}, {1, 2, 3})
        self.assertEqual([d["type"] for d in reply["documents"]], ["pptx", "text"])
        self.assertEqual([d["source"] for d in reply["documents"]], ["slides.pptx", "plain.txt"])
        for passage in passages:
            self.assertEqual(passage["chars"][1] - passage["chars"][0], len(passage["text"]))
        texts = [(p["heading"] + "\n" if "heading" in p else "") + p["text"] for p in passages]
        self.assertEqual(bits(reply["embeddings"]), bits(self.text(texts=texts)["embeddings"]))

    def test_pages(self):
        reply = self.post("report.pdf", model="siglip", mode="page_image").json()
        self.assertEqual([(p["kind"], p["page"]) for p in reply["passages"]], [("page_image", 1), ("page_image", 2)])
        self.assertNotEqual(*reply["embeddings"])

    def content(self, name):
        with open(os.path.join(self.FOLDER, name), "rb") as file:
            return file.read()

    def test_json(self):
        """The same as of a form, in each of the forms that JSON has for a file."""
        wanted = self.post("report.pdf", "plain.txt", chunk_tokens="40").json()
        texts = [base64.b64encode(self.content(name)).decode() for name in ("report.pdf", "plain.txt")]
        for documents, names in (([{"base64": texts[0], "name": "report.pdf"}, {"base64": texts[1]}],
                                  ["report.pdf", None]),
                                 (["data:application/pdf;base64," + texts[0], texts[1]], [None, None])):
            reply = self.ok("/embed/document", {"documents": documents, "chunk_tokens": 40})
            self.assertEqual([d.pop("source") for d in reply["documents"]], names)
            self.assertEqual((reply["embeddings"], reply["passages"]), (wanted["embeddings"], wanted["passages"]))
        one = self.ok("/embed/document", {"documents": texts[1], "chunk_tokens": 40})
        self.assertEqual(one["shape"][0], sum(p["file"] == 1 for p in wanted["passages"]))

    def test_forms_of_the_reply(self):
        plain = self.post("slides.pptx", chunk_tokens="30")
        rows = plain.json()["embeddings"]
        for name in ("x-request-id", "x-total-time", "x-queue-time", "x-inference-time", "x-tkr-fingerprint"):
            self.assertIn(name, plain.headers)
        usage = plain.json()["usage"]
        self.assertEqual(usage["total_tokens"], int(plain.headers["x-compute-tokens"]))
        self.assertEqual(sum(len(p["text"]) for p in plain.json()["passages"]),
                         int(plain.headers["x-compute-characters"]))
        packed = self.post("slides.pptx", chunk_tokens="30", encoding_format="base64").json()["embeddings"]
        self.assertEqual([base64.b64decode(row) for row in packed], [struct.pack(f"<{len(r)}f", *r) for r in rows])
        short = self.post("slides.pptx", chunk_tokens="30", dimensions="5", output_dtype="int8").json()
        self.assertEqual((short["shape"], short["dtype"]), ([len(rows), 5], "int8"))
        body, kind = multipart([("chunk_tokens", "30"), ("file", ("a", self.content("slides.pptx"), "x/y"))])
        npy = self.server.post("/embed/document?format=npy", body, headers={"Content-Type": kind})
        self.assertEqual(npy.headers["x-shape"], f"{len(rows)},{len(rows[0])}")
        self.assertEqual(npy.body[:6], b"\x93NUMPY")
        self.assertTrue(npy.body.endswith(struct.pack(f"<{len(rows[-1])}f", *rows[-1])))

    def test_counted(self):
        def counts():
            text = self.server.get("/metrics").body.decode()
            return {name: int(float(re.search(rf"^tkr_{name}_total (\S+)$", text, re.M).group(1)))
                    for name in ("documents", "passages", "pictures")}
        before = counts()
        n = self.post("report.pdf", "plain.txt", model="siglip", mode="both", chunk_tokens="16").json()["shape"][0]
        after = counts()
        self.assertEqual({name: after[name] - before[name] for name in after},
                         {"documents": 2, "passages": n, "pictures": 2})

    def test_max_tokens(self):
        """Passages are no longer than what is read of a text, so that nothing of them is lost."""
        reply = self.post("report.pdf", max_tokens="24").json()
        self.assertGreater(reply["shape"][0], 5)
        self.assertNotIn("truncated", reply["usage"])
        self.assertLessEqual(reply["usage"]["total_tokens"], 24 * reply["shape"][0])
        self.assertEqual(reply, self.post("report.pdf", chunk_tokens="24", max_tokens="24").json())

    def test_options_before_files(self):
        """A wrong option is told without reading what takes long to read."""
        self.fails(self.post("encrypted.pdf", dimensions="0"), 400, "invalid_value", "", param="dimensions")

    def test_refused(self):
        for names, fields, status, code, words, param in (
                (("encrypted.pdf",), {}, 422, "unsupported", "password", "file[0]"),
                (("plain.txt", "encrypted.pdf"), {}, 422, "unsupported", "password", "file[1]"),
                (("bad_cut.pdf",), {}, 422, "bad_media", "", "file[0]"),
                (("bad_binary.bin",), {}, 422, "unsupported", "", "file[0]"),
                (("bad_old.doc",), {}, 422, "unsupported", "", "file[0]"),
                (("bad_bomb.docx",), {}, 413, "too_large", "ZIP bomb", "file[0]"),
                (("bad_external.docx",), {}, 422, "bad_media", "never resolved", "file[0]"),
                (("plain.txt",), {"mode": "page_image"}, 422, "unsupported", "reads no pictures", "mode"),
                (("plain.txt",), {"mode": "page_image", "model": "siglip"}, 422, "unsupported", "only a PDF",
                 "file[0]"),
                (("plain.txt",), {"mode": "pages"}, 400, "invalid_value", "page_image", "mode"),
                (("plain.txt",), {"chunk_tokens": "3"}, 400, "invalid_value", "expected 11 to", "chunk_tokens"),
                (("plain.txt",), {"chunk_tokens": "many"}, 400, "wrong_type", "", "chunk_tokens"),
                (("plain.txt",), {"chunk_overlap": "-1"}, 400, "invalid_value", "", "chunk_overlap"),
                (("plain.txt",), {"chunk_token": "30"}, 400, "invalid_value", "chunk_tokens", "chunk_token"),
                (("plain.txt",), {"dimensions": "100000"}, 400, "invalid_value", "", "dimensions"),
                (("plain.txt",), {"model": "none"}, 404, "model_not_found", "", "model"),
                ((), {"mode": "text"}, 400, "wrong_type", "file: is missing", "file")):
            with self.subTest(names=names, fields=fields):
                self.fails(self.post(*names, **fields), status, code, words, param=param)
        body, kind = multipart([("file", ("a.txt", b"", "text/plain"))])
        self.fails(self.server.post("/embed/document", body, headers={"Content-Type": kind}), 422, "bad_media",
                   "is empty", param="file[0]")
        reply = self.server.post("/embed/document", b"text", headers={"Content-Type": "text/plain"})
        self.fails(reply, 415, "unsupported_media_type", "multipart/form-data")
        for wrong, code, param in ((None, "wrong_type", "documents"), (5, "wrong_type", "documents"),
                                   ([], "empty", "documents"), ([{}], "wrong_type", "documents[0].base64"),
                                   ([{"url": "x"}], "invalid_value", "documents[0].url"),
                                   (["https://example.org/a.pdf"], "invalid_value", "documents[0]")):
            with self.subTest(wrong=wrong):
                self.fails(self.server.post("/embed/document", {"documents": wrong}), 400, code, param=param)

    def test_which_document(self):
        """A list, and a form, name the file's place, one document alone its field."""
        blank, text, broken = (base64.b64encode(data).decode() for data in (b"   ", b"a dog", b"%PDF-1.4 cut"))
        for documents, status, code, param, says in (
                (blank, 400, "empty", "documents", "documents: has no text"),
                ([blank], 400, "empty", "documents[0]", "documents[0]: has no text"),
                ([blank, blank], 400, "empty", "documents[0]", "documents[0]: has no text, nor have the others"),
                (broken, 422, "bad_media", "documents", "documents: "),
                ([text, broken], 422, "bad_media", "documents[1]", "documents[1]: ")):
            with self.subTest(documents=documents):
                reply = self.server.post("/embed/document", {"documents": documents})
                self.fails(reply, status, code, param=param)
                self.assertTrue(reply.json()["error"]["message"].startswith(says), reply.body)
        self.assertEqual(self.server.post("/embed/document", {"documents": [blank, text]}).json()["shape"][0], 1)
        body, kind = multipart([("file", ("a.txt", b"  ", "text/plain"))])
        self.fails(self.server.post("/embed/document", body, headers={"Content-Type": kind}), 400, "empty",
                   "file[0]: has no text", param="file[0]")


if __name__ == "__main__":
    unittest.main()
