#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""POST /embed/video over the real program: the command line's bits, poolings, settings, bad files and fields."""
import base64
import importlib.machinery
import json
import os
import struct
import unittest

from harness import Server, ServerTest, cli, multipart

GOLDEN = os.path.join(os.environ["TKR_TEST_DIR"], "golden")
FILES = os.path.join(GOLDEN, "video", "files")
BROKEN = os.path.join(GOLDEN, "video", "broken")
FOLDERS = {"bert": os.path.join(GOLDEN, "bert", "bert-mean", "model"),
           "siglip": os.path.join(GOLDEN, "siglip", "siglip", "model"),
           "qwen3": os.path.join(GOLDEN, "qwen3_vl", "qwen3_vl", "model")}
EXACT = ("--precision", "f32", "--quantization", "none", "--device", "cpu")
CONFIG = "models:\n" + "".join(f"  - name: {folder}\n    alias: {name}\n" for name, folder in FOLDERS.items())


def content(*path):
    with open(os.path.join(*path), "rb") as file:
        return file.read()


def bits(row):
    return struct.pack(f"<{len(row)}f", *row)


class Videos(ServerTest):
    ARGS = (*EXACT, "--max-body", "2M", "--max-video-frames", "6")

    @classmethod
    def setUpClass(cls):
        config = os.path.join(os.environ["TKR_BUILD_DIR"], "test_video.yaml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(CONFIG)
        cls.server = Server("--config", config, *cls.ARGS, model=None)

    def send(self, *files, model="siglip", **fields):
        body, kind = multipart([("model", model), *((name, str(value)) for name, value in fields.items()),
                                *(("file", (name, data, "video/mp4")) for name, data in files)])
        return self.server.post("/embed/video", body, headers={"Content-Type": kind})

    def good(self, *files, **fields):
        reply = self.send(*files, **fields)
        self.assertEqual(reply.status, 200, reply.body)
        return reply.json()

    def refused(self, status, says, *files, **fields):
        reply = self.send(*files, **fields)
        self.assertEqual(reply.status, status, reply.body)
        self.assertIn(says, reply.json()["error"]["message"])
        return reply.json()["error"]

    def test_the_command_lines_bits(self):
        names = ["moving_h264.mp4", "moving_vp9.webm"]
        for model, pooling in (("siglip", "mean"), ("siglip", "max"), ("siglip", "first"), ("qwen3", "native")):
            more = {"max_pixels": 20000} if model == "qwen3" else {}
            reply = self.good(*((name, content(FILES, name)) for name in names), model=model, pooling=pooling,
                              max_frames=4, **more)
            args = ["--max-pixels", "20000"] if more else []
            done = cli.run("embed", "-m", FOLDERS[model], *EXACT, "-q", "--video-pooling", pooling, "--max-frames", "4",
                           *args, "--video", *(os.path.join(FILES, name) for name in names))
            self.assertEqual(done.returncode, 0, done.stderr)
            rows = [json.loads(line) for line in done.stdout.splitlines()]
            self.assertEqual([bits(row) for row in reply["embeddings"]], [bits(row["embedding"]) for row in rows])
            self.assertEqual(reply["frames"], [row["frames"] for row in rows])
            fields = {"model": model, "pooling": pooling, "max_frames": 4, **more}
            body, kind = multipart([*((name, str(value)) for name, value in fields.items()),
                                    *(("file", (name, content(FILES, name), "video/mp4")) for name in names)])
            raw = self.server.post("/embed/video?format=bytes", body, headers={"Content-Type": kind})
            self.assertEqual(raw.headers["x-frames"], ",".join(str(n) for n in reply["frames"]))

    def test_a_damaged_frame_costs_itself(self):
        script = os.path.join(os.environ["TKR_SOURCE_DIR"], "scripts", "mixed-folder")
        loader = importlib.machinery.SourceFileLoader("mixed_folder", script)
        clip = bytearray(loader.load_module().avi([("rocket", 4)]))  # PNG, two frames a second
        at = 0
        for _ in range(3):
            at = clip.index(b"IDAT", at + 1)
        clip[at + 4:at + 400] = bytes(396)
        reply = self.good(("clip.avi", bytes(clip)), ("moving.mp4", content(FILES, "moving_h264.mp4")), max_frames=8)
        self.assertEqual(reply["lost_frames"], [1, 0])
        self.assertEqual(reply["frames"], [7, 8])
        self.assertNotIn("lost_frames", self.good(("m.mp4", content(FILES, "moving_h264.mp4"))))
        path = os.path.join(os.environ["TKR_BUILD_DIR"], "test_video_damaged.avi")
        with open(path, "wb") as file:
            file.write(clip)
        done = cli.run("embed", "-m", FOLDERS["siglip"], *EXACT, "-q", "--max-frames", "8", "--video", path)
        self.assertEqual(done.returncode, 0, done.stderr)
        row = json.loads(done.stdout)
        self.assertEqual((row["frames"], row["lost_frames"]), (7, 1))
        self.assertEqual(bits(row["embedding"]), bits(reply["embeddings"][0]))

    def test_settings_and_fields(self):
        clip = ("a.mp4", content(FILES, "moving_h264.mp4"))
        self.assertEqual(self.good(clip)["frames"], [6])
        self.assertEqual(self.good(clip, max_frames=3)["frames"], [3])
        self.assertEqual(self.good(clip, fps=2, max_frames=100)["frames"], [5])
        self.assertEqual(self.good(clip, pooling="first")["frames"], [1])
        picture = self.ok("/embed/text", {"model": "siglip", "texts": ["words"]})
        self.assertNotIn("frames", picture)

    def test_the_same_again(self):
        clip = ("a.mp4", content(FILES, "ntsc_h264.mp4"))
        first, second = self.good(clip), self.good(clip)
        self.assertEqual(first["embeddings"], second["embeddings"])
        self.assertEqual(first["frames"], second["frames"])

    def test_json(self):
        data = content(FILES, "moving_vp9.webm")
        text = base64.b64encode(data).decode()
        videos = [text, "data:video/webm;base64," + text]
        reply = self.ok("/embed/video", {"model": "siglip", "videos": videos, "max_frames": 4})
        self.assertEqual(reply["frames"], [4, 4])
        self.assertEqual(reply["embeddings"], self.good(*[("a.webm", data)] * 2, max_frames=4)["embeddings"])
        for wrong, status in (([], 400), (5, 400), ([5], 400), (["https://example.org/a.mp4"], 400), ("!", 422)):
            answer = self.server.post("/embed/video", {"model": "siglip", "videos": wrong})
            self.assertEqual(answer.status, status, answer.body)

    def test_bad_files(self):
        good = ("a.mp4", content(FILES, "moving_h264.mp4"))
        for name in ("text.mp4", "truncated.mp4"):
            self.refused(422, "no video", good, (name, content(BROKEN, name)))
        self.refused(422, "empty", ("empty.webm", b""))
        self.refused(422, "reads text only", good, model="bert")
        error = self.refused(422, "native", good, pooling="native")
        self.assertEqual(error["code"], "unsupported")
        self.assertEqual(self.good(good)["frames"], [6])

    def test_bad_fields(self):
        good = ("a.mp4", content(FILES, "moving_h264.mp4"))
        self.refused(400, "max_frames", good, max_frames=0)
        self.refused(400, "max_frames", good, max_frames="many")
        self.refused(400, "pooling", good, pooling="sum")
        self.refused(400, "fps", good, fps=0)
        self.refused(400, "max_frame", good, max_frame=3)
        self.refused(400, "file")
        reply = self.server.post("/embed/video", {"model": "siglip"})
        self.assertEqual(reply.status, 400, reply.body)
        self.assertIn("multipart", reply.json()["error"]["message"])


class Room(ServerTest):
    """Frames count with the pictures of all requests."""
    ARGS = (*EXACT, "--max-picture-memory", "1M")

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.ARGS, model=FOLDERS["siglip"])

    def test_frames_take_room(self):
        for n, status in ((2, 200), (20, 413), (2, 200)): # 57,600 bytes each
            body, kind = multipart([("max_frames", str(n)),
                                    ("file", ("a.mp4", content(FILES, "moving_h264.mp4"), "video/mp4"))])
            reply = self.server.post("/embed/video", body, headers={"Content-Type": kind})
            self.assertEqual(reply.status, status, reply.body)


if __name__ == "__main__":
    unittest.main()
