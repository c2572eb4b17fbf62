# SPDX-License-Identifier: Apache-2.0
"""More work than the server can do, and work that nobody waits for any more: refusals are true, answers right, memory
stays, what was given up is dropped, and short requests go before bulk. By counts and order, not by the clock."""
import json
import threading
import time
import unittest

import load
from harness import PATIENCE, SANITIZED, Server
from test_operations import samples, until

FLAGS = ("--cache", "false", "--log-level", "warning")
ROOM = ("--max-queue-tokens", "100000000")  # on a busy machine ten seconds of work are few
PATIENT = ("--timeout", "600")  # nor may their computing time end them
MIB = 1 << 20


def metrics(server):
    return samples(server.get("/metrics").body.decode())


def long_body(n):
    return {"texts": [f"number {i} of many: " + " ".join(load.WORDS * 4) for i in range(n)]}


def send(server, body):
    """A socket on which a request was sent whose answer nobody has read."""
    data = json.dumps(body).encode()
    connection = server.socket()
    connection.sendall(b"POST /embed/text HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                       b"Content-Length: %d\r\n\r\n" % len(data) + data)
    return connection


def status_of(connection):
    connection.settimeout(PATIENCE)
    data = b""
    while b"\r\n" not in data:
        some = connection.recv(65536)
        if not some:
            return None
        data += some
    return int(data.split()[1])


class Overload(unittest.TestCase):
    def test_twice_what_it_can(self):
        """Bursts of twice the capacity: answers are right, refusals say when to come again, memory doesn't grow."""
        with Server(*FLAGS, "--max-queue-tokens", "4000", "--timeout", "5") as server:
            bodies = load.Load(server, [{"texts": load.texts(8, seed)} for seed in range(64)])
            capacity = bodies.run(8 if SANITIZED else 2, 32, warmup=0.5)  # slow programs answer few in 2 s
            self.assertEqual((capacity["errors"], capacity["wrong"]), (0, 0))
            self.assertGreater(capacity["ok"], 0)
            rate = 2 * capacity["ok_per_s"]
            bodies.run(2, 256, rate, warmup=0.5)
            before = load.memory(server.process.pid)
            got = bodies.run(5, 256, rate, warmup=0.5, retry=10)
            after = load.memory(server.process.pid)
            self.assertEqual((got["errors"], got["wrong"], got["retry_after_missing"]), (0, 0, 0), got)
            self.assertLessEqual(set(got["statuses"]), {"200", "429", "503"}, got)
            self.assertGreater(sum(n for status, n in got["statuses"].items() if status != "200"), 0, got)
            self.assertGreater(got["ok"], 0)
            self.assertLess(after - before, 16 * MIB)
            until(lambda: metrics(server)["tkr_requests_waiting"] <= 1, "the queue is empty")
            reply = server.post("/embed/text", {"texts": "afterwards"})
            self.assertEqual(reply.status, 200)
            self.assertEqual(server.stop(), 0)

    def test_refusal_names_a_time_that_suffices(self):
        with Server(*FLAGS, "--max-queue-tokens", "2000") as server:
            for _ in range(3):  # it learns its speed
                self.assertEqual(server.post("/embed/text", long_body(200)).status, 200)
            first = send(server, long_body(1000))
            until(lambda: metrics(server)["tkr_queue_tokens"] > 10000, "it waits")
            refused = server.post("/embed/text", long_body(200))
            self.assertEqual(refused.status, 429, refused.body[:300])
            for _ in range(3):  # once is enough where the machine's speed doesn't change meanwhile
                seconds = int(refused.headers["retry-after"])
                self.assertGreaterEqual(seconds * 1000, float(refused.headers["retry-after-ms"]))
                time.sleep(seconds)
                refused = server.post("/embed/text", long_body(200))
                if refused.status == 200:
                    break
            self.assertEqual(refused.status, 200)
            self.assertEqual(status_of(first), 200)
            first.close()

    def test_idle_server_takes_what_seems_too_much(self):
        """With nothing waiting, no estimate refuses: the deadline decides, and nothing is refused ahead of it."""
        with Server(*FLAGS, "--timeout", "0.1") as server:
            for _ in range(3):
                late = server.post("/embed/text", long_body(2048))
                self.assertEqual(late.status, 503, late.body[:300])
                self.assertIn(b"of server.timeout", late.body)
                until(lambda: metrics(server)["te_queue_size"] == 0, "it is dropped")
            self.assertEqual(server.post("/embed/text", {"texts": "short"}).status, 200)
        with Server(*FLAGS) as server:
            self.assertEqual(server.post("/embed/text", long_body(2048)).status, 200)


class GivenUp(unittest.TestCase):
    def test_gone_clients_free_their_work(self):
        with Server(*FLAGS, *ROOM, *PATIENT) as server:
            clients = [send(server, long_body(1000)) for _ in range(8)]
            until(lambda: metrics(server)["te_queue_size"] >= 6, "six wait")
            for connection in clients:
                connection.close()
            until(lambda: metrics(server)["te_queue_size"] == 0, "nothing waits")
            after = metrics(server)
            self.assertGreaterEqual(after["tkr_cancelled_total"], 6)
            self.assertLessEqual(after["tkr_inputs_total"], 2000)
            self.assertEqual(server.post("/embed/text", {"texts": "alive"}).status, 200)

    def test_nothing_of_them_is_cached(self):
        with Server("--log-level", "warning", "--cache-size", "100000", *ROOM, *PATIENT) as server:
            clients = [send(server, long_body(1000)) for _ in range(8)]
            until(lambda: metrics(server)["te_queue_size"] >= 6, "six wait")
            for connection in clients:
                connection.close()
            until(lambda: metrics(server)["tkr_requests_waiting"] <= 1, "nothing waits")
            got = server.post("/embed/text", long_body(1000)).json()
            self.assertEqual(got["shape"], [1000, 144])
            self.assertEqual({len(row) for row in got["embeddings"]}, {144})

    def test_deadline(self):
        with Server(*FLAGS, "--timeout", "0.2", *ROOM) as server:
            late = server.post("/embed/text", long_body(2048))
            self.assertEqual(late.status, 503, late.body[:300])
            self.assertGreaterEqual(int(late.headers["retry-after"]), 1)
            self.assertGreater(float(late.headers["retry-after-ms"]), 0)
            until(lambda: metrics(server)["te_queue_size"] == 0, "its work is dropped")
            self.assertEqual(server.post("/embed/text", {"texts": "short"}).status, 200)


class Lanes(unittest.TestCase):
    def test_short_requests_go_before_bulk(self):
        with Server(*FLAGS, *ROOM) as server:
            alone = server.post("/embed/text", {"texts": "a short one"}).json()["embeddings"]
            ends, order = [], []

            def bulk():
                ends.append(server.post("/embed/text", long_body(600)).status)
                order.append("bulk")
            threads = [threading.Thread(target=bulk) for _ in range(4)]
            for thread in threads:
                thread.start()
            until(lambda: metrics(server)["te_queue_size"] >= 4, "bulk waits")
            for _ in range(5):
                self.assertEqual(server.post("/embed/text", {"texts": "a short one"}).json()["embeddings"], alone)
                order.append("short")
            for thread in threads:
                thread.join(PATIENCE)
            self.assertEqual(ends, [200] * 4)
            self.assertEqual(order[-1], "bulk", order)
            self.assertLess(order.index("short"), order.index("bulk"), order)


if __name__ == "__main__":
    unittest.main()
