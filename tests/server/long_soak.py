# SPDX-License-Identifier: Apache-2.0
"""Half an hour of ordinary work (TKR_LONG_SECONDS: other seconds) while things go wrong: clients reset, requests stop
half-way, decoders are killed, the log's disk is full, Redis goes and comes back, SIGHUP storms, models are loaded and
unloaded. No crash, no wrong answer, every accepted request answered, memory level."""
import base64
import collections
import json
import os
import random
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

import load
from fake_redis import FakeRedis
from harness import PATIENCE, Server
from test_operations import over_unix, until
from test_overload import MIB, metrics, send

SECONDS = float(os.environ.get("TKR_LONG_SECONDS", "1800"))
SAMPLES = os.path.join(os.environ["TKR_SOURCE_DIR"], "share", "demo", "samples")
GOLDEN = os.path.join(os.environ["TKR_TEST_DIR"], "golden", "bert", "bert-mean", "model")


def children(pid):
    """Decoders that the server has started."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                command, rest = file.read().rsplit(") ", 1)
            if int(rest.split()[1]) == pid and "tkr-decode" in command:
                found.append(int(name))
        except (OSError, IndexError):
            pass
    return found


def slope(samples):
    """Bytes a second of a least-squares line through (time, bytes)."""
    n = len(samples)
    mean_t, mean_v = sum(t for t, _ in samples) / n, sum(v for _, v in samples) / n
    return (sum((t - mean_t) * (v - mean_v) for t, v in samples) /
            max(1e-9, sum((t - mean_t) ** 2 for t, _ in samples)))


class Frames:
    """A WebSocket client of text frames below 64 KiB."""

    def __init__(self, server):
        self.socket = server.socket()
        self.socket.sendall(b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        self.file = self.socket.makefile("rb")
        assert b"101" in self.file.readline()
        while self.file.readline() != b"\r\n":
            pass

    def ask(self, message):
        data = json.dumps(message).encode()
        long = len(data) > 125
        size = struct.pack("!BBH", 0x81, 0xFE, len(data)) if long else struct.pack("!BB", 0x81, 0x80 | len(data))
        self.socket.sendall(size + bytes(4) + data)
        while True:
            first, n = self.file.read(2)
            if n == 126:
                n = struct.unpack("!H", self.file.read(2))[0]
            elif n == 127:
                n = struct.unpack("!Q", self.file.read(8))[0]
            body = self.file.read(n)
            if first & 15 == 1:
                reply = json.loads(body)
                if "progress" not in (reply.get("type"), reply.get("op")):
                    return reply
            assert first & 15 != 8, body

    def close(self):
        self.file.close()
        self.socket.close()


class Soak(unittest.TestCase):
    def setUp(self):
        self.disk = tempfile.TemporaryDirectory()
        self.tmpfs = os.geteuid() == 0 and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "none", self.disk.name], check=False).returncode == 0
        self.redis = FakeRedis()
        self.port = self.redis.port
        self.server = Server("--admin-socket", "admin.sock", "--log-file", os.path.join(self.disk.name, "log"),
                             "--cache-url", f"redis://127.0.0.1:{self.port}", "--cache-size", "64",
                             "--read-timeout", "2", "--timeout", "30")
        self.admin = os.path.join(self.server.folder.name, "admin.sock")
        self.texts = load.texts(200, 7)
        self.pictures = []
        for name in sorted(os.listdir(SAMPLES))[:4]:
            with open(os.path.join(SAMPLES, name), "rb") as file:
                self.pictures.append("data:image/png;base64," + base64.b64encode(file.read()).decode())
        self.want = self.server.post("/embed/text", {"texts": self.texts}).json()["embeddings"]
        self.want_pictures = self.server.post("/embed/image", {"images": self.pictures}).json()["embeddings"]
        self.end, self.counts, self.problems = 0, collections.Counter(), []
        self.jail_disturbed = threading.Event()

    def tearDown(self):
        if self.server.process.poll() is None:
            self.server.stop(signal.SIGKILL)
        self.redis.stop()
        if self.tmpfs:
            subprocess.run(["umount", "-l", self.disk.name], check=False)
        self.disk.cleanup()

    # ---- clients that want right answers ----

    def ask_texts(self, rng):
        chosen = rng.sample(range(len(self.texts)), rng.randrange(1, 20))
        reply = self.server.post("/embed/text", {"texts": [self.texts[i] for i in chosen]})
        self.counts[f"texts {reply.status}"] += 1
        if reply.status not in (200, 429, 503):
            raise AssertionError(f"texts: {reply.status} {reply.body[:300]}")
        if reply.status == 200:
            self.same(reply.json()["embeddings"], [self.want[i] for i in chosen], reply)

    def same(self, got, want, reply):
        wrong = [i for i, (a, b) in enumerate(zip(got, want)) if a != b]
        if len(got) != len(want) or wrong:
            known = [self.want.index(got[i]) if got[i] in self.want else None for i in wrong]
            raise AssertionError(f"vectors {wrong} of {len(want)} differ, they are those of {known}; cache "
                                 f"{reply.headers.get('x-tkr-cache')}, {got[wrong[0]][:3] if wrong else len(got)}")

    def ask_pictures(self, rng):
        i = rng.randrange(len(self.pictures))
        reply = self.server.post("/embed/image", {"images": [self.pictures[i]], "normalize": True})
        self.counts[f"pictures {reply.status}"] += 1
        # One killed at its picture, or two running before they had it.
        killed = reply.status in (422, 500) and b"SIGKILL" in reply.body and self.jail_disturbed.is_set()
        if reply.status not in (200, 429, 503) and not killed:
            raise AssertionError(f"pictures: {reply.status} {reply.body[:300]}")
        if reply.status == 200:
            self.same(reply.json()["embeddings"], [self.want_pictures[i]], reply)

    def ask_frames(self, rng):
        frames = Frames(self.server)
        for n in range(5):
            i = rng.randrange(len(self.texts))
            reply = frames.ask({"id": n, "op": "embed", "items": [{"text": self.texts[i]}]})
            self.counts["frames"] += 1
            if reply.get("embeddings") != [self.want[i]]:
                raise AssertionError(f"frames: {json.dumps(reply)[:300]}")
        frames.close()

    # ---- what goes wrong ----

    def reset(self, rng):
        connection = send(self.server, {"texts": self.texts})
        time.sleep(rng.random() * 0.02)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    def half(self, rng):
        data = b"POST /embed/text HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{"
        with self.server.socket() as connection:
            connection.sendall(data[:rng.randrange(1, len(data))])
            time.sleep(rng.random() * 0.2)

    def kill_decoders(self, _rng):
        self.jail_disturbed.set()
        for pid in children(self.server.process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
                self.counts["decoders killed"] += 1
            except ProcessLookupError:
                pass
        time.sleep(0.5)

    def fill_disk(self, rng):
        """The log's disk is full for a while."""
        if self.tmpfs:
            filler = os.path.join(self.disk.name, "filler")
            try:
                with open(filler, "wb") as file:
                    file.write(bytes(1 << 20))
            except OSError:
                pass
            time.sleep(rng.random())
            os.remove(filler)
            os.truncate(os.path.join(self.disk.name, "log"), 0)
        time.sleep(1)

    def restart_redis(self, rng):
        self.redis.stop()
        time.sleep(rng.random() * 2)
        self.redis = FakeRedis(self.port)
        time.sleep(2)

    def hang_up(self, _rng):
        for _ in range(20):
            self.server.signal(signal.SIGHUP)
        time.sleep(0.3)

    def change_models(self, _rng):
        added = over_unix(self.admin, "POST", "/admin/models/load", {"model": GOLDEN, "name": "second"})
        self.assertEqual(added.status, 200, added.body)
        reply = self.server.post("/embed/text", {"texts": "hello", "model": "second"})
        self.assertEqual(reply.status, 200, reply.body[:300])
        self.assertEqual(over_unix(self.admin, "POST", "/admin/models/unload", {"model": "second"}).status, 200)
        self.counts["models"] += 1
        time.sleep(0.5)

    # ---- the run ----

    def again_and_again(self, act, seed):
        rng = random.Random(seed)
        while time.monotonic() < self.end and not self.problems:
            try:
                act(rng)
                self.counts[act.__name__] += 1
            except Exception as error:  # pylint: disable=broad-except  # any is a finding
                self.problems.append(f"{act.__name__}: {type(error).__name__}: {error}")

    def test_soak(self):
        acts = [self.ask_texts, self.ask_texts, self.ask_texts, self.ask_pictures, self.ask_frames, self.reset,
                self.half, self.kill_decoders, self.fill_disk, self.restart_redis, self.hang_up, self.change_models]
        self.end = time.monotonic() + SECONDS
        threads = [threading.Thread(target=self.again_and_again, args=(act, i)) for i, act in enumerate(acts)]
        for thread in threads:
            thread.start()
        begin, sizes = time.monotonic(), []
        while time.monotonic() < self.end and self.server.process.poll() is None and not self.problems:
            time.sleep(min(1.0, SECONDS / 100))
            sizes.append((time.monotonic() - begin, load.memory(self.server.process.pid)))
        for thread in threads:
            thread.join(2 * PATIENCE)
        late = sizes[len(sizes) // 3:]
        growth = slope(late) * (late[-1][0] - late[0][0])
        print(f"{dict(self.counts)}\nmemory {late[0][1] / MIB:.1f} -> {late[-1][1] / MIB:.1f} MiB, by the slope "
              f"{growth / MIB:+.2f} MiB in the last two thirds", flush=True)
        self.assertEqual(self.problems, [], self.server.text()[-2000:])
        self.assertIsNone(self.server.process.poll(), self.server.text()[-2000:])
        self.assertLess(growth, 8 * MIB)
        # What ends an idle decoder costs no input: 500 takes two of them at one picture.
        self.assertLessEqual(self.counts["pictures 500"], 2 + self.counts["kill_decoders"] // 20, self.counts)
        until(lambda: metrics(self.server)["tkr_requests_waiting"] <= 1, "every accepted request is answered")
        self.assertEqual(self.server.post("/embed/text", {"texts": self.texts}).json()["embeddings"], self.want)
        self.assertEqual(self.server.stop(), 0, self.server.text()[-2000:])


if __name__ == "__main__":
    unittest.main()
