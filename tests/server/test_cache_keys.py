#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The caches never give one model's vectors for another's, however much alike the two are; nor does a shared cache that
misbehaves keep anybody waiting."""
import json
import os
import shutil
import struct
import tempfile
import threading
import time
import unittest

import load
from fake_redis import FakeRedis
from harness import PATIENCE, SANITIZED, Server

MODEL = os.path.join(os.environ["TKR_TEST_DIR"], "golden", "bert", "bert-mean", "model")
TEXT = "one two three four five six seven eight nine ten eleven twelve"


class Folders:
    """Copies of the model, each changed in one file, and a configuration that serves them all."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = self.folder.name

    def copy(self, name, file=None, change=None):
        where = os.path.join(self.path, name)
        shutil.copytree(MODEL, where)
        if file:
            path = os.path.join(where, file)
            with open(path, encoding="utf-8") as source:
                settings = json.load(source)
            change(settings)
            os.remove(path)
            with open(path, "w", encoding="utf-8") as target:
                json.dump(settings, target)
        return where

    def server(self, *models):
        """(alias, folder, more settings)"""
        rows = [", ".join([f"name: {json.dumps(folder)}", f"alias: {alias}", *more]) for alias, folder, *more in models]
        config = os.path.join(self.path, "config.yaml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(f"model: {{{rows[0]}}}\nmodels:\n" + "".join(f"  - {{{row}}}\n" for row in rows[1:]))
        return Server("--config", config, model=None)


class Keys(unittest.TestCase):
    def setUp(self):
        self.folders = Folders()
        self.addCleanup(self.folders.folder.cleanup)

    def embed(self, server, cached, model=None, text=TEXT, **more):
        if model:
            more["model"] = model
        reply = server.post("/embed/text", {"texts": [text], "truncate": True, **more})
        self.assertEqual(reply.status, 200, reply.body)
        self.assertEqual(reply.headers["x-tkr-cache"], cached)
        return reply.json()["embeddings"][0], reply.headers["x-tkr-fingerprint"]

    def test_limits(self):
        with self.folders.server(("long", MODEL), ("short", MODEL, "max_text_length: 6")) as server:
            first = {name: self.embed(server, "0/1", name) for name in ("long", "short")}
            self.assertNotEqual(first["long"][0], first["short"][0])
            for name in ("short", "long"):
                self.assertEqual(self.embed(server, "1/1", name), first[name])
            other = {name: self.embed(server, "0/1", name, TEXT + " a") for name in ("short", "long")}
            self.assertNotEqual(other["long"][0], other["short"][0])
            self.assertEqual(other["short"][0], first["short"][0])  # cut before they differ

    def test_prompts(self):
        def prompts(name, text):
            def change(settings):
                settings.update(prompts={"query": text, "none": ""}, default_prompt_name=name)
            return change
        file = "config_sentence_transformers.json"
        a = self.folders.copy("a", file, prompts(None, "find: "))
        b = self.folders.copy("b", file, prompts("query", "find: "))
        c = self.folders.copy("c", file, prompts("query", "tell me about "))
        with self.folders.server(("a", a), ("b", b), ("c", c)) as server:
            got = {name: self.embed(server, "0/1", name) for name in "abc"}
            self.assertEqual(len({str(vector) for vector, _ in got.values()}), 3)
            self.assertEqual(len({mark for _, mark in got.values()}), 1)
            named = {name: self.embed(server, cached, name, prompt_name="query")
                     for name, cached in (("a", "0/1"), ("b", "0/1"), ("c", "0/1"))}
            self.assertEqual(named["a"], named["b"])
            self.assertNotEqual(named["a"], named["c"])
            for name in "cba":
                self.assertEqual(self.embed(server, "1/1", name), got[name])

    def test_what_makes_the_numbers(self):
        """Files beside the weights change the fingerprint, too."""
        def swap(settings):
            words = settings["model"]["vocab"]
            one, two = [word for word in words if word.isalpha()][-2:]
            words[one], words[two] = words[two], words[one]

        def eps(settings):
            settings["layer_norm_eps"] = 0.1
        models = {"plain": self.folders.copy("plain"), "words": self.folders.copy("words", "tokenizer.json", swap),
                  "eps": self.folders.copy("eps", "config.json", eps),
                  "bare": self.folders.copy("bare", "modules.json", lambda modules: modules.pop())}
        with self.folders.server(*models.items(), ("again", MODEL)) as server:
            marks = {name: self.embed(server, "0/1", name)[1] for name in models}
            self.assertEqual(len(set(marks.values())), 4, marks)
            self.assertEqual(self.embed(server, "1/1", "again")[1], marks["plain"])

    def test_servers_that_share(self):
        redis = FakeRedis()
        url = f"redis://127.0.0.1:{redis.port}"
        with Server("--cache-url", url, model=MODEL) as one, \
                Server("--cache-url", url, "--max-tokens", "6", model=MODEL) as two:
            full, _ = self.embed(one, "0/1")
            until = time.monotonic() + PATIENCE
            while not redis.store and time.monotonic() < until:
                time.sleep(0.02)
            self.assertEqual(len(redis.store), 1)
            self.assertNotEqual(self.embed(two, "0/1")[0], full)
        redis.stop()


def forged(n_rows, dimensions, values, n_tokens=7):
    """A value as cache_redis.c writes it, with the digest (core/digest.h) that makes it look whole."""
    rows, mask = struct.pack(f"<{len(values)}f", *values), (1 << 64) - 1
    words = [dimensions, n_rows, n_tokens, n_tokens, len(rows)]
    words += [int.from_bytes(rows[i:i + 8], "little") for i in range(0, len(rows), 8)]
    h = 0xcbf29ce484222325
    for word in words:
        h = (h ^ word) * 0x100000001b3 & mask
        h ^= h >> 29
    h = (h ^ (h >> 33)) * 0xff51afd7ed558ccd & mask
    h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53 & mask
    return struct.pack("<IIQQQQ", 0x31524b54, dimensions, n_rows, n_tokens, n_tokens, h ^ (h >> 33)) + rows


class Forged(unittest.TestCase):
    def test_values_of_another_shape_are_misses(self):
        redis = FakeRedis()
        body, short = {"texts": ["a text"]}, {"texts": ["a text"], "dimensions": 4}
        with Server("--cache-url", f"redis://127.0.0.1:{redis.port}", "--cache-size", "1", model=MODEL) as server:
            def ask(body, cached):
                self.assertEqual(server.post("/embed/text", {"texts": ["takes the place in memory"]}).status, 200)
                reply = server.post("/embed/text", body)
                self.assertEqual((reply.status, reply.headers["x-tkr-cache"]), (200, cached), reply.body)
                return reply.json()["embeddings"][0]

            def stored(n):
                until = time.monotonic() + PATIENCE
                while len(redis.store) < n and time.monotonic() < until:
                    time.sleep(0.02)
                return list(redis.store)
            vector = ask(body, "0/1")
            key = stored(2)[1]
            n = len(vector)
            good = redis.store[key]
            n_tokens = struct.unpack_from("<Q", good, 16)[0]
            self.assertEqual(good, forged(1, n, struct.unpack(f"<{n}f", good[40:]), n_tokens))
            redis.store[key] = forged(1, n, [0.5] * n)  # it fits
            self.assertEqual(ask(body, "1/1"), [0.5] * n)
            for value in (forged(1, 4, [0.5] * 4), forged(1, n + 4, [0.5] * (n + 4)), forged(2, n, [0.5] * 2 * n),
                          forged(2, n // 2, [0.5] * n), forged(1, n, [0.5] * (n - 1) + [float("nan")]),
                          forged(1, n, [float("inf")] + [0.5] * (n - 1))):
                redis.store[key] = value
                self.assertEqual(ask(body, "0/1"), vector)
                until = time.monotonic() + PATIENCE
                while redis.store[key] != good and time.monotonic() < until:
                    time.sleep(0.02)
            ask(short, "0/1")
            key = stored(3)[2]
            self.assertEqual(redis.store[key][40:], forged(1, 4, ask(short, "1/1"))[40:])
            redis.store[key] = forged(1, n, [0.5] * n)
            self.assertEqual(len(ask(short, "0/1")), 4)
        redis.stop()


class Misbehaving(unittest.TestCase):
    def bears(self, mode):
        redis = FakeRedis()
        redis.mode = mode
        with Server("--cache-url", f"redis://127.0.0.1:{redis.port}", "--drain-timeout", "2", model=MODEL) as server:
            before, replies = load.memory(server.process.pid, "VmHWM"), []

            def ask(client):
                for i in range(20):
                    begin = time.monotonic()
                    status = server.post("/embed/text", {"texts": [f"client {client} text {i}"]}).status
                    replies.append((status, time.monotonic() - begin))
                    time.sleep(0.1)
            threads = [threading.Thread(target=ask, args=(client,)) for client in range(12)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(PATIENCE)
            self.assertEqual([status for status, _ in replies], [200] * 240)
            self.assertLess(max(seconds for _, seconds in replies), 20 if SANITIZED else 4)
            self.assertIn(b"GET", redis.commands)
            if not SANITIZED:
                self.assertLess(load.memory(server.process.pid, "VmHWM") - before, 400 << 20)
            begin = time.monotonic()
            self.assertEqual(server.stop(), 0)
            self.assertLess(time.monotonic() - begin, 20 if SANITIZED else 6)
            self.assertIn("the shared cache doesn't answer", server.text())
        redis.stop()

    def test_slow(self):
        self.bears("slow")

    def test_endless(self):
        self.bears("endless")

    def test_list(self):
        self.bears("list")


if __name__ == "__main__":
    unittest.main()
