# SPDX-License-Identifier: Apache-2.0
"""Requests that are small and would cost much, and an operator who is in a hurry."""
import gzip
import json
import os
import signal
import tempfile
import threading
import time
import unittest

import load
from harness import SANITIZED, Server, environment

MIB = 1 << 20
COLQWEN = os.path.join(os.environ["TKR_TEST_DIR"], "golden", "qwen2_5_vl", "colqwen2_5", "model")


class Costly(unittest.TestCase):
    def test_millions_of_values(self):
        """31 KiB that unpack to ten million inputs are refused before much memory is taken for them."""
        with Server("--log-level", "warning") as server:
            self.assertEqual(server.post("/embed/text", {"texts": "warm"}).status, 200)
            before = load.memory(server.process.pid)
            for path, field in (("/embed/multimodal", "items"), ("/embed/text", "texts"), ("/embed/image", "images")):
                body = b'{"%s":[' % field.encode() + b'"",' * (10 * MIB - 1) + b'""]}'
                reply = server.request("POST", path, gzip.compress(body, 1),
                                       {"Content-Type": "application/json", "Content-Encoding": "gzip"})
                self.assertEqual(reply.status, 400, reply.body[:200])
                self.assertIn(b"more than 2097152 values", reply.body)
                body = json.dumps({field: [""] * 100000}).encode()
                reply = server.request("POST", path, body, {"Content-Type": "application/json"})
                self.assertIn(reply.status, (413, 422), reply.body[:200])
                self.assertIn(b"100000", reply.body)
            if not SANITIZED:
                self.assertLess(load.memory(server.process.pid, "VmHWM") - before, 512 * MIB)

    def test_rows_of_many_inputs_are_told(self):
        """What a body of bytes can't say stands in its fields, however many inputs there are."""
        with Server("--log-level", "warning", model=COLQWEN) as server:
            texts = [f"text {i}" for i in range(700)]
            reply = server.request("POST", "/embed/text", {"texts": texts}, {"Accept": "application/octet-stream"})
            self.assertEqual(reply.status, 200, reply.body[:200])
            rows = [int(n) for n in reply.headers["x-rows"].split(",")]
            n, dims = (int(value) for value in reply.headers["x-shape"].split(","))
            self.assertEqual((len(rows), sum(rows), len(reply.body)), (700, n, 4 * n * dims))


class Hurry(unittest.TestCase):
    def test_a_second_signal_cuts_the_rest(self):
        server = Server("--cache", "false", "--drain-timeout", "60", "--max-queue-tokens", "10000000")
        body = {"texts": [f"{i} " + " ".join(load.WORDS * 20) for i in range(2000)]}
        problems = []

        def ask():
            try:
                problems.append(server.post("/embed/text", body).status)
            except OSError:
                pass

        clients = [threading.Thread(target=ask) for _ in range(8)]
        for client in clients:
            client.start()
        time.sleep(0.5)
        server.signal(signal.SIGTERM)
        time.sleep(0.5)
        begin = time.monotonic()
        self.assertEqual(server.stop(signal.SIGTERM), 0)
        self.assertLess(time.monotonic() - begin, 10)
        for client in clients:
            client.join()
        self.assertLessEqual(set(problems), {200, 503})
        self.assertTrue(set(problems) != {200} or not problems, "nothing was cut: the work was too small")


class Installation(unittest.TestCase):
    def test_a_missing_decoder_is_not_the_clients_fault(self):
        with tempfile.TemporaryDirectory() as folder:
            env = environment(TKR_DECODE=os.path.join(folder, "tkr-decode"))
            with Server("--log-level", "warning", env=env) as server:
                for path, field in (("/embed/image", "images"), ("/embed/video", "videos"),
                                    ("/embed/document", "documents")):
                    reply = server.post(path, {field: ["data:application/octet-stream;base64,AAAA"]})
                    self.assertEqual((path, reply.status), (path, 500), reply.body[:300])
                self.assertEqual(server.post("/embed/text", {"texts": "a dog"}).status, 200)


class Items(unittest.TestCase):
    def test_fields_of_an_item_beside_items(self):
        with Server("--log-level", "warning") as server:
            for field, value in (("text", "a"), ("max_pixels", 4096)):
                reply = server.post("/embed/multimodal", {"items": ["b"], field: value})
                self.assertEqual(reply.status, 400, reply.body[:300])
                self.assertEqual(reply.json()["error"]["param"], field)
                self.assertIn('belongs into an item of "items"', reply.json()["error"]["message"])


class Logs(unittest.TestCase):
    def test_terminal_controls_do_not_reach_the_log(self):
        for form in ("json", "text"):
            with Server("--log-format", form) as server:
                server.get("/%C2%9B31mred")
                self.assertEqual(server.stop(), 0)
                text = server.text()
                self.assertIn("\\u009b31mred", text)
                self.assertNotIn("\x9b", text)


if __name__ == "__main__":
    unittest.main()
