#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Videos of many containers and codecs, made by the ffmpeg program: all their frames, and a few that are sought, are
byte for byte what ffmpeg converts to RGB with the flags of docs/models.md; and files that are no good video."""
import json
import os
import shutil
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

DUMP = Path(os.environ["TKR_BUILD_DIR"]) / "tests" / "video_dump"
DECODER = os.environ["TKR_DECODE"]
FFMPEG = ["ffmpeg", "-v", "error", "-nostdin", "-y"]
RGB = ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-sws_flags",
       "bilinear+accurate_rnd+full_chroma_int+bitexact"]
MOVING = "testsrc2=s=160x120:r=25:d=2"
X264 = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"]
UNEVEN = ["-vf", "select='not(mod(n,7))+gt(mod(n,5),2)'", "-fps_mode", "passthrough"]
OK, FORMAT, UNSUPPORTED, LIMIT = 0, 4, 5, 7

# name: options of ffmpeg. In the order of the list, then what else people have.
CLIPS = {
    "plain.mp4": [*X264, "-g", "12"],
    "pyramid.mp4": [*X264, "-g", "250", "-bf", "5", "-x264-params", "b-pyramid=strict:scenecut=0"],
    "open.mkv": [*X264, "-g", "10", "-x264-params", "open-gop=1:scenecut=0"],
    "fields.mp4": [*X264, "-g", "20", "-flags", "+ildct+ilme"],
    "h264.mkv": [*X264, "-g", "15"],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "20"],
    "mjpeg.avi": ["-c:v", "mjpeg", "-q:v", "3"],
    "mpeg4.avi": ["-c:v", "mpeg4", "-q:v", "3", "-g", "12"],
    "mpeg4_b.avi": ["-c:v", "mpeg4", "-q:v", "3", "-g", "12", "-bf", "2"],
    "h264.avi": [*X264, "-g", "12", "-bf", "2"],
    "uneven.mp4": [*X264, "-g", "9", *UNEVEN],
    "uneven.mkv": [*X264, "-g", "9", *UNEVEN],
    "raw.h264": [*X264, "-g", "12"],
    "raw_b.h264": [*X264, "-g", "12", "-bf", "3"],
    "h264.ts": [*X264, "-g", "12"],
    "h264.flv": [*X264, "-g", "12"],
    "animation.gif": ["-vf", "fps=10"],
    "hevc.mp4": ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:keyint=12:bframes=3"],
    "layers.mp4": ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params",
                   "log-level=none:keyint=25:bframes=3:b-pyramid=1:temporal-layers=3"],
    "mpeg2.mpg": ["-c:v", "mpeg2video", "-q:v", "3", "-g", "12", "-bf", "2"],
    "mpeg1.mpg": ["-c:v", "mpeg1video", "-q:v", "3", "-g", "12", "-bf", "2"],
    "vp8.webm": ["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-g", "20"],
    "theora.ogv": ["-c:v", "libtheora", "-q:v", "7", "-g", "12"],
    "wmv2.wmv": ["-c:v", "wmv2", "-q:v", "3", "-g", "12"],
    "h263.3gp": ["-c:v", "h263", "-s", "176x144", "-q:v", "3"],
    "prores.mov": ["-c:v", "prores_ks"],
    "alpha.mov": ["-c:v", "png", "-pix_fmt", "rgba", "-t", "0.5"],
    "full.mkv": [*X264, "-color_range", "pc", "-vf", "scale=out_range=pc"],
    "bt709.mp4": [*X264, "-colorspace", "bt709", "-g", "12"],
    "apng.png": ["-f", "apng", "-t", "0.5"],
    "odd.mkv": ["-c:v", "ffv1", "-s", "161x121", "-pix_fmt", "yuv444p"],
    "tiny.mkv": ["-c:v", "ffv1", "-s", "1x1", "-t", "0.2"],
}


def ffmpeg(*arguments, **options):
    return subprocess.run([*FFMPEG, *map(str, arguments)], check=True, stdout=subprocess.PIPE, **options).stdout


class Formats(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp())
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        if not shutil.which("ffmpeg"):
            raise AssertionError("the ffmpeg program is missing: scripts/deps --test")

    def dump(self, path, *count):
        """What is known of the video, and its frames' pixels."""
        pixels = self.folder / "pixels"
        done = subprocess.run([DUMP, DECODER, path, pixels, *map(str, count)], check=True, stdout=subprocess.PIPE)
        return json.loads(done.stdout), pixels.read_bytes()

    def make(self, name, options, source=MOVING):
        path = self.folder / name
        ffmpeg("-f", "lavfi", "-i", source, *options, path)
        return path

    def meets(self, path, *more):
        """All frames, and the few of a leap, are ffmpeg's. Returns what is known of the video."""
        want = ffmpeg("-noautorotate", "-i", path, *RGB, *more, "-")
        facts, got = self.dump(path)
        self.assertEqual(facts["status"], OK, facts)
        size = facts["width"] * facts["height"] * 3
        self.assertEqual(len(facts["taken"]), facts["frames"], path)
        self.assertEqual(len(got) // size, len(want) // size, path)
        wrong = [i for i in range(len(got) // size) if got[i * size:(i + 1) * size] != want[i * size:(i + 1) * size]]
        self.assertEqual(wrong, [], path)
        few, pixels = self.dump(path, 4)
        for i, at in enumerate(few["wanted"]):
            self.assertEqual(pixels[i * size:(i + 1) * size], want[at * size:(at + 1) * size], (path, at))
        return facts

    def test_every_format(self):
        for name, options in CLIPS.items():
            with self.subTest(name):
                facts = self.meets(self.make(name, options))
                self.assertGreater(facts["seconds"], 0)

    def test_rotation(self):
        """Upright: as much counter-clockwise as FFmpeg 5.1 makes of `rotate`."""
        plain = self.make("plain.mov", ["-c:v", "mjpeg", "-q:v", "3", "-t", "0.2"])
        for degrees in (90, 180, 270):
            path = self.folder / f"turned{degrees}.mov"
            ffmpeg("-i", plain, "-c", "copy", "-metadata:s:v", f"rotate={degrees}", path)
            facts, got = self.dump(path)
            width, height = (160, 120) if degrees == 180 else (120, 160)
            self.assertEqual((facts["width"], facts["height"]), (width, height))
            lying = ffmpeg("-noautorotate", "-i", path, *RGB, "-frames:v", "1", "-")
            rows = [[lying[3 * (160 * y + x):3 * (160 * y + x) + 3] for x in range(160)] for y in range(120)]
            for _ in range(degrees // 90):
                rows = list(zip(*rows))[::-1]
            self.assertEqual(got[:160 * 120 * 3], b"".join(b"".join(row) for row in rows), degrees)

    def test_animations(self):
        """FFmpeg 5.1 reads no animated WebP: its frames are those of the GIF that it was made from."""
        golden = Path(os.environ["TKR_TEST_DIR"]) / "golden" / "images" / "formats"
        frames = self.meets(golden / "anim.gif")["frames"]
        facts, got = self.dump(golden / "anim.webp")
        self.assertEqual((facts["status"], facts["frames"]), (OK, len(facts["taken"])))
        self.assertGreater(frames, 1)
        self.assertGreater(len({got[i * len(got) // facts["frames"]:][:facts["width"] * 3 * facts["height"]]
                                for i in range(facts["frames"])}), 1)

    def test_cut_tails(self):
        """What is whole is there, as ffmpeg has it of the whole file."""
        for name in ("h264.ts", "h264.mkv", "h264.flv", "mjpeg.avi", "raw.h264", "vp9.webm", "mpeg2.mpg"):
            whole = self.make(name, CLIPS[name])
            want = ffmpeg("-i", whole, *RGB, "-")
            cut = self.folder / ("cut_" + name)
            cut.write_bytes(whole.read_bytes()[:whole.stat().st_size * 2 // 3])
            facts, got = self.dump(cut)
            size = 160 * 120 * 3
            same = sum(got[i * size:(i + 1) * size] == want[at[0] * size:(at[0] + 1) * size]
                       for i, at in enumerate(facts["taken"]))
            self.assertEqual(facts["status"], OK, (name, facts))
            self.assertGreaterEqual(same, len(facts["taken"]) - 3, name) # what is cut through, and what refers to it
            self.assertGreater(same, 20, name)

    def test_one_bad_frame_costs_that_frame(self):
        path = self.make("mjpeg.avi", CLIPS["mjpeg.avi"])
        data = bytearray(path.read_bytes())
        starts = [i for i in range(len(data) - 8) if data[i:i + 4] == b"00dc" and data[i + 8:i + 10] == b"\xff\xd8"]
        self.assertEqual(len(starts), 50)
        data[starts[20] + 8:starts[21]] = bytes(starts[21] - starts[20] - 8)
        path.write_bytes(data)
        facts, _ = self.dump(path)
        self.assertEqual(facts["status"], OK, facts)
        self.assertEqual([row[0] for row in facts["taken"]], [i for i in range(50) if i != 20])

    def test_lying_durations(self):
        """Packets count, not what a header states."""
        mp4, avi = self.make("plain.mp4", CLIPS["plain.mp4"]), self.make("mjpeg.avi", CLIPS["mjpeg.avi"])
        for word in (b"\x7f\xff\xff\xf0", b"\0\0\0\1"):
            data = bytearray(mp4.read_bytes())
            for box in (b"mvhd", b"mdhd"):
                at = data.index(box) + 4 + 4 + 8 + 4
                data[at:at + 4] = word
            (self.folder / "lying.mp4").write_bytes(data)
            data = bytearray(avi.read_bytes())
            at = data.index(b"avih") + 8 + 16
            data[at:at + 4] = word
            at = data.index(b"strh") + 8 + 32
            data[at:at + 4] = word
            (self.folder / "lying.avi").write_bytes(data)
            for name in ("lying.mp4", "lying.avi"):
                facts = self.meets(self.folder / name)
                self.assertEqual((facts["frames"], facts["seconds"]), (50, 2), name)

    def refused(self, path, statuses, *says):
        facts, pixels = self.dump(path)
        self.assertIn(facts["status"], statuses, facts)
        self.assertTrue(facts["error"].startswith("clip: ") and all(word in facts["error"] for word in says), facts)
        self.assertEqual(pixels, b"")

    def test_no_video(self):
        sound = ["-t", "0.3"]
        for name in ("sound.wav", "sound.m4a", "sound.mp3", "sound.ogg", "sound.mkv"):
            self.refused(self.make(name, sound, source="sine"), (UNSUPPORTED,), "sound without a video stream")
        cover = self.folder / "cover.jpg"
        ffmpeg("-f", "lavfi", "-i", MOVING, "-frames:v", "1", cover)
        song = self.folder / "song.mp3"
        ffmpeg("-i", self.folder / "sound.mp3", "-i", cover, "-map", "0", "-map", "1", "-c", "copy", song)
        self.refused(song, (UNSUPPORTED,), "sound without a video stream")
        for name, data in (("text.mp4", b"no video at all\n" * 9), ("zeros.mp4", bytes(100000)),
                           ("head.mp4", self.make("plain.mp4", CLIPS["plain.mp4"]).read_bytes()[:64])):
            path = self.folder / name
            path.write_bytes(data)
            self.refused(path, (UNSUPPORTED, FORMAT))
        path = self.folder / "empty.mp4"
        path.write_bytes(b"")
        self.refused(path, (FORMAT,), "is empty")

    def test_no_frames(self):
        """A head alone."""
        data = self.make("h264.mkv", CLIPS["h264.mkv"]).read_bytes()
        path = self.folder / "none.mkv"
        path.write_bytes(data[:data.index(b"\x1f\x43\xb6\x75")])
        self.refused(path, (UNSUPPORTED, FORMAT), "damaged")

    def test_large_frames(self):
        for size in ("16384x1", "1x16384"):
            facts = self.meets(self.make("long.mkv", ["-c:v", "ffv1", "-s", size, "-t", "0.1"]))
            self.assertEqual(f"{facts['width']}x{facts['height']}", size)
        path = self.make("animation.gif", CLIPS["animation.gif"])
        data = bytearray(path.read_bytes())
        for height, status, says in ((12000, LIMIT, "16384 x 12000"), (16384, FORMAT, "no size, or")):
            data[6:10] = struct.pack("<HH", 16384, height)
            path.write_bytes(data)
            self.refused(path, (status,), says)

    def test_references_lead_nowhere(self):
        """Lists and pointers to a good video beside them."""
        good = self.make("good.ts", CLIPS["h264.ts"])
        url = f"file://{good}"
        known = ("list.m3u8", "list.ffconcat", "list.sdp")
        lists = {
            "list.m3u8": f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{url}\n#EXT-X-ENDLIST\n",
            "list.ffconcat": f"ffconcat version 1.0\nfile {good}\n",
            "list.mpd": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
                        f'<AdaptationSet mimeType="video/mp2t"><Representation id="1"><BaseURL>{url}</BaseURL>'
                        f"</Representation></AdaptationSet></Period></MPD>",
            "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
                        "a=rtpmap:96 H264/90000\n",
            "list.pls": f"[playlist]\nFile1={url}\nNumberOfEntries=1\n",
            "list.asx": f'<asx version="3.0"><entry><ref href="{url}"/></entry></asx>',
        }
        for name, text in lists.items():
            path = self.folder / name
            path.write_text(text, encoding="utf-8")
            self.refused(path, (UNSUPPORTED,), "which is not followed" if name in known else "video")
        data = self.make("plain.mov", ["-c:v", "mjpeg", "-t", "0.2"]).read_bytes()
        at = data.index(b"dref") + 12 # its entry: size, type, flags that say "in this file"
        self.assertIn(data[at + 4:at + 8], (b"url ", b"alis"))
        path = self.folder / "pointing.mov"
        path.write_bytes(data[:at + 4] + b"url \0\0\0\0" + data[at + 12:])
        facts, _ = self.dump(path) # its own bytes, or an error
        self.assertIn(facts["status"], (OK, FORMAT, UNSUPPORTED))


if __name__ == "__main__":
    unittest.main()
