#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Videos on the command line: rows with their source and times, segments, poolings, JSON lines, what is refused."""
import base64
import json
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import distance, run

GOLDEN = os.path.join(os.environ["TKR_TEST_DIR"], "golden")
FILES = os.path.join(GOLDEN, "video", "files")
BROKEN = os.path.join(GOLDEN, "video", "broken")
H264 = os.path.join(FILES, "moving_h264.mp4")
VP9 = os.path.join(FILES, "moving_vp9.webm")
SIGLIP = os.path.join(GOLDEN, "siglip", "siglip", "model")
QWEN3 = os.path.join(GOLDEN, "qwen3_vl", "qwen3_vl", "model")
ENV = {k: os.environ[k] for k in ("TKR_DECODE",) if k in os.environ}


def embed(*args, model=SIGLIP, **options):
    done = run("embed", "-m", model, "--no-weight-cache", *args, **options)
    return done, [json.loads(line) for line in done.stdout.decode().splitlines()]


class Video(unittest.TestCase):
    def test_rows(self):
        done, rows = embed("--video", H264, VP9)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([row["source"] for row in rows], [H264, VP9])
        self.assertEqual([(row["start_s"], row["end_s"], row["frames"]) for row in rows], [(0, 2.5, 8), (0, 2.9, 8)])
        self.assertGreater(distance(rows[0]["embedding"], rows[1]["embedding"]), 1e-4)

    def test_a_text_beside(self):
        done, rows = embed("--video", H264, "--", "a moving square")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("source", rows[0])
        self.assertNotIn("source", rows[1])

    def test_segments(self):
        done, rows = embed("--video", H264, VP9, "--segment", "1s", "--max-frames", "4")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([(os.path.basename(row["source"]), row["start_s"], row["end_s"]) for row in rows],
                         [("moving_h264.mp4", 0, 1), ("moving_h264.mp4", 1, 2), ("moving_h264.mp4", 2, 2.5),
                          ("moving_vp9.webm", 0, 1), ("moving_vp9.webm", 1, 2), ("moving_vp9.webm", 2, 2.9)])
        self.assertEqual([row["index"] for row in rows], list(range(6)))
        self.assertEqual({row["frames"] for row in rows}, {4})

    def test_frames_and_poolings(self):
        first, mean = (embed("--video", H264, "--video-pooling", how)[1][0] for how in ("first", "mean"))
        self.assertEqual((first["frames"], mean["frames"]), (1, 8))
        self.assertEqual(embed("--video", H264, "--fps", "2", "--max-frames", "100")[1][0]["frames"], 5)
        one = embed("--video", H264, "--max-frames", "1")[1][0]
        self.assertLess(distance(first["embedding"], one["embedding"]), 1e-9)

    def test_native(self):
        done, rows = embed("--video", H264, "--video-pooling", "native", "--max-pixels", "20000", model=QWEN3)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(rows[0]["frames"], 4)
        done, _ = embed("--video", H264, "--video-pooling", "native")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"native pooling", done.stderr)

    def test_json_lines(self):
        with open(VP9, "rb") as file:
            encoded = base64.b64encode(file.read()).decode()
        lines = [{"id": "a", "video": VP9}, {"id": "b", "video": {"base64": encoded}}, {"id": "c", "text": "words"}]
        done, rows = embed("--jsonl", stdin="\n".join(map(json.dumps, lines)))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([row["id"] for row in rows], ["a", "b", "c"])
        self.assertEqual(rows[0]["embedding"], rows[1]["embedding"])
        self.assertEqual(rows[0]["source"], VP9)
        done, rows = embed("--jsonl", stdin=json.dumps({"video": "https://example.org/clip.mp4"}))
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"not a URL", done.stderr)

    def test_settings_of_json_lines(self):
        lines = [{"id": 1, "video": H264, "max_frames": 3}, {"id": 2, "video": H264, "fps": 2, "max_frames": 100},
                 {"id": 3, "video": VP9, "start_s": 1, "end_s": 2}, {"id": 4, "video": H264, "video_pooling": "first"}]
        done, rows = embed("--jsonl", stdin="\n".join(map(json.dumps, lines)))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([row["frames"] for row in rows], [3, 5, 8, 1])
        self.assertEqual([(row["start_s"], row["end_s"]) for row in rows], [(0, 2.5), (0, 2.5), (1, 2), (0, 2.5)])
        # --segment cuts those that say nothing of a part; the id stands in every row
        done, rows = embed("--jsonl", "--segment", "1", "--max-frames", "2",
                           stdin="\n".join(map(json.dumps, lines[:1] + lines[2:3])))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([(row["id"], row.get("segment"), row["start_s"]) for row in rows],
                         [(1, 1, 0), (1, 2, 1), (1, 3, 2), (3, None, 1)])
        for line, says in (({"video": H264, "fps": 0}, b'"fps" must be a number from 0.001'),
                           ({"video": H264, "start_s": 2, "end_s": 1}, b"is not behind"),
                           ({"video": H264, "video_pooling": "sum"}, b"mean"),
                           ({"text": "a", "max_frames": 2}, b'"max_frames" goes with "video"'),
                           ({"video": H264, "max_frame": 2}, b'did you mean "max_frames"')):
            done, _ = embed("--jsonl", stdin=json.dumps(line))
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(says, done.stderr)

    def test_broken_files(self):
        names = sorted(os.listdir(BROKEN))
        done, rows = embed("--video", *(os.path.join(BROKEN, name) for name in names), H264, "--on-error", "skip",
                           "--segment", "2")
        self.assertEqual(done.returncode, 0, done.stderr)
        errors = [row for row in rows if "error" in row]
        self.assertEqual(len(errors), 3, rows)
        for row in errors:
            self.assertIn("is ", row["error"])
        self.assertEqual(rows[-1]["source"], H264)

    def test_endless_files(self):
        """Devices and pipes never end: they are refused by what they are. So are files beyond the limit, unread."""
        with tempfile.TemporaryDirectory() as folder:
            pipe, large = os.path.join(folder, "pipe"), os.path.join(folder, "large.mp4")
            os.mkfifo(pipe)
            with open(large, "wb") as file:
                file.truncate(5 << 30)
            for option, limit in (("--video", b"1073741824"), ("--document", b"268435456")):
                for path, says in (("/dev/zero", b"is not a regular file"), (pipe, b"is not a regular file"),
                                   (large, limit)):
                    done, _ = embed(option, path)
                    self.assertEqual(done.returncode, 1, done.stderr)
                    self.assertIn(says, done.stderr)

    def test_usage(self):
        for option, value, says in (("--segment", "soon", b"expected a time"), ("--max-frames", "0", b"1 to 1024"),
                                    ("--fps", "0", b"--fps"), ("--video-pooling", "sum", b"mean")):
            done, _ = embed("--video", H264, option, value)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(says, done.stderr)


if __name__ == "__main__":
    unittest.main()
