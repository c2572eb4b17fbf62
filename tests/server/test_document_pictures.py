#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""POST /embed/document with pictures: the vectors of those inside."""
import base64
import os
import sys
import unittest

from test_native import NativeTest, bits, multipart

sys.path.insert(0, os.path.join(os.environ["TKR_TEST_DIR"], "media"))
import picture_documents as make  # noqa: E402  pylint: disable=wrong-import-position

ONE, TWO = make.picture(1), make.picture(2)


class Pictures(NativeTest):
    def post(self, data, **fields):
        body, kind = multipart([*fields.items(), ("file", ("it", data, "application/octet-stream"))])
        return self.server.post("/embed/document", body, headers={"Content-Type": kind})

    def test_pictures(self):
        """The bits of the pictures sent alone; a broken one costs itself only."""
        data = make.docx({"word/media/a.png": ONE, "word/media/b.png": TWO[:150], "word/media/c.png": TWO},
                         ["media/a.png", "media/b.png", "media/c.png", "media/d.png"], {1: "A lamp"})
        reply = self.post(data, model="siglip", pictures="true", mode="page_image").json()
        self.assertEqual(reply["passages"], [
            {"file": 0, "kind": "picture", "picture": 1, "chars": [9, 9], "text": "A lamp"},
            {"file": 0, "kind": "picture", "picture": 3, "chars": [47, 47]}])
        document, = reply["documents"]
        self.assertEqual(document["pictures_not_decoded"], 1)
        self.assertIn("word/media/d.png: is not in the archive", document["note"])
        alone = self.ok("/embed/multimodal", {"model": "siglip", "items": [
            {"image": base64.b64encode(picture).decode()} for picture in (ONE, TWO)]})
        self.assertEqual(bits(reply["embeddings"]), bits(alone["embeddings"]))
        listed = self.ok("/embed/document", {"model": "siglip", "pictures": True, "mode": "both",
                                             "documents": base64.b64encode(make.good_pdf()).decode()})
        self.assertEqual([p["kind"] for p in listed["passages"]][-5:], ["page_image"] * 2 + ["picture"] * 3)

    def test_refused(self):
        reply = self.post(make.docx({"word/media/a.png": ONE}, ["media/a.png"]), pictures="true")
        self.assertGreaterEqual(reply.status, 400)
        self.assertIn("reads no pictures", reply.body.decode())


if __name__ == "__main__":
    unittest.main()
