#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""POST /embed/document: passages, pages, several files, what is refused."""
import os
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

    def test_refused(self):
        for names, fields, status, code, words in (
                (("encrypted.pdf",), {}, 422, "unsupported", "password"),
                (("bad_bomb.docx",), {}, 413, "too_large", "ZIP bomb"),
                (("bad_external.docx",), {}, 422, "bad_media", "never resolved"),
                (("plain.txt",), {"mode": "page_image"}, 400, "invalid_value", "reads no pictures"),
                (("plain.txt",), {"mode": "pages"}, 400, "invalid_value", "page_image"),
                (("plain.txt",), {"chunk_tokens": "3"}, 400, "invalid_value", "expected 8 to"),
                ((), {"mode": "text"}, 400, "wrong_type", "file: is missing")):
            with self.subTest(names=names, fields=fields):
                self.fails(self.post(*names, **fields), status, code, words)


if __name__ == "__main__":
    unittest.main()
