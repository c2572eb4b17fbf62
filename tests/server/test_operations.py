# SPDX-License-Identifier: Apache-2.0
"""What keeps a server running in a team: health, drain, metrics, logs, keys, sockets, the caches, traces, models at run
time. The real program with the demo model, real sockets."""
import base64
import gzip
import http.client
import http.server
import json
import os
import re
import signal
import socket
import threading
import time
import unittest

from fake_redis import FakeRedis
from harness import PATIENCE, Reply, Server, ServerTest, cli, environment


def until(true, what, patience=PATIENCE):
    end = time.monotonic() + patience
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"not within {patience} s: {what}")
        time.sleep(0.03)


def over_unix(path, method, target, body=None, headers=None):
    connection = http.client.HTTPConnection("localhost", timeout=PATIENCE)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(PATIENCE)
    connection.sock.connect(path)
    connection.request(method, target, body=json.dumps(body) if body is not None else None,
                       headers={"Content-Type": "application/json", **(headers or {})})
    reply = Reply(connection.getresponse())
    connection.close()
    return reply


def samples(text):
    """Prometheus' text as {name{labels}: value}; every line must be of the format."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            assert re.fullmatch(r"# (HELP|TYPE) [a-z_:]+ .+", line), line
            continue
        match = re.fullmatch(r"([a-zA-Z_:]+(?:\{[^}]*\})?) ([-+0-9.eE]+|\+Inf|NaN)", line)
        assert match, line
        assert match.group(1) not in found, line
        found[match.group(1)] = float(match.group(2))
    return found


class Shared(ServerTest):
    def test_health(self):
        for path in ("/health", "/health/ready", "/v1/health"):
            reply = self.server.get(path)
            self.assertEqual(reply.status, 200)
            self.assertEqual(reply.json()["status"], "ok")
            self.assertTrue(reply.json()["model_loaded"])
        live, ready = self.server.get("/health/live"), self.server.get("/health/ready")
        self.assertEqual((live.status, live.json()), (200, ready.json()))
        self.assertEqual(set(live.json()), {"status", "model_loaded", "framework", "version", "device"})
        self.assertNotIn("retry-after", ready.headers)
        ping = self.server.get("/ping")
        self.assertEqual((ping.status, ping.body), (200, b""))

    def test_info(self):
        info = self.server.get("/info").json()
        for name, kind in (("model", str), ("embedding_dim", int), ("supported_modalities", list), ("pooling", str),
                           ("max_tokens", int), ("kernels", dict), ("limits", dict), ("model_id", str),
                           ("max_input_length", int), ("model_type", dict), ("auto_truncate", bool)):
            self.assertIsInstance(info[name], kind, name)
        self.assertEqual(info["framework"], "tkr-embed")
        self.assertIn("image", info["supported_modalities"])

    def test_metrics_count(self):
        before = samples(self.server.get("/metrics").body.decode())
        self.ok("/embed/text", {"texts": ["counted one", "counted two"]})
        self.assertEqual(self.server.post("/embed/text", b"{").status, 400)
        after = samples(self.server.get("/metrics").body.decode())

        def more(name):
            return after.get(name, 0) - before.get(name, 0)
        self.assertEqual(more("tkr_inputs_total"), 2)
        self.assertEqual(more("te_embed_success"), 2)
        self.assertEqual(more('te_request_count{method="batch"}'), 1)
        self.assertEqual(more('te_request_success{method="batch"}'), 1)
        self.assertEqual(more('te_request_failure{err="validation"}'), 1)
        self.assertEqual(more('tkr_requests_total{api="native",status="400"}'), 1)
        self.assertEqual(more("te_request_duration_count"), 1)
        self.assertEqual(more('te_request_duration_bucket{le="+Inf"}'), 1)
        self.assertGreater(more("te_request_duration_sum"), 0)
        self.assertGreaterEqual(more("te_batch_next_size_count"), 1)
        for name in ("te_queue_size", "tkr_queue_tokens", "tkr_connections", "process_start_time_seconds"):
            self.assertIn(name, after)
        buckets = [value for name, value in after.items() if name.startswith("te_request_duration_bucket")]
        self.assertEqual(len(buckets), 36)  # 35 bounds as Text Embeddings Inference has them, and +Inf
        self.assertEqual(buckets, sorted(buckets))

    def test_speed_of_an_idle_server_is_none(self):
        def speed():
            return samples(self.server.get("/metrics").body.decode())["tkr_tokens_per_second"]
        self.assertTrue(speed() == 0 or speed() >= 0.01)

    def test_cache(self):
        body = {"texts": ["cached once", "cached twice"]}
        first = self.server.post("/embed/text", body)
        self.assertEqual(first.headers["x-tkr-cache"], "0/2")
        again = self.server.post("/embed/text", {"texts": ["cached twice", "cached once", "new here"]})
        self.assertEqual(again.headers["x-tkr-cache"], "2/3")
        self.assertEqual(again.json()["embeddings"][:2], first.json()["embeddings"][::-1])
        other = self.server.post("/embed/text", {"texts": body["texts"], "dimensions": 16})
        self.assertEqual(other.headers["x-tkr-cache"], "0/2")

    def test_request_id(self):
        reply = self.server.get("/health", headers={"x-request-id": "mine-7"})
        self.assertEqual(reply.headers["x-request-id"], "mine-7")
        made = self.server.get("/health", headers={"x-request-id": "a b"}).headers["x-request-id"]
        self.assertRegex(made, r"^[0-9a-f]{32}$")

    def test_no_cors_by_default(self):
        reply = self.server.get("/health", headers={"Origin": "https://example.org"})
        self.assertNotIn("access-control-allow-origin", reply.headers)
        asked = self.server.request("OPTIONS", "/embed/text", headers={
            "Origin": "https://example.org", "Access-Control-Request-Method": "POST"})
        self.assertEqual(asked.status, 403)

    def test_admin_needs_a_scope(self):
        self.assertIn(self.server.get("/admin/models").status, (401, 403))


class Rebinding(unittest.TestCase):
    """A page whose name was made to point at this machine is its own origin to the browser."""
    BODY = {"texts": "Wine"}

    def ask(self, server, name, **more):
        return server.post("/embed/text", self.BODY, headers={"Host": name, "Origin": f"http://{name}", **more})

    def test_without_keys(self):
        with Server("--cors-origins", "http://ours.test:8000") as server:
            refused = self.ask(server, "rebound.test:8000")
            self.assertEqual(refused.status, 403)
            self.assertIn("server.cors_origins", refused.json()["error"]["message"])
            for name in ("127.0.0.1:8000", "localhost", "[::1]:8000", "192.168.1.7:80", "ours.test:8000"):
                self.assertEqual(self.ask(server, name).status, 200, name)
            # No browser, or a page that can't read the answer.
            self.assertEqual(server.post("/embed/text", self.BODY, headers={"Host": "proxied.test"}).status, 200)
            self.assertEqual(server.post("/embed/text", self.BODY, headers={"Origin": "http://a.test"}).status, 200)
            self.assertEqual(self.ask(server, "[" + "1" * 200).status, 403)
            # A page that hides its referrer says "null", its own server's name or another's.
            for name, status in (("rebound.test:8000", 403), ("127.0.0.1:8000", 200)):
                for path, kind in (("/embed/text", "application/json"), ("/api/embed", "text/plain")):
                    body = {"texts": "Wine"} if path == "/embed/text" else {"model": "", "input": "Wine"}
                    reply = server.post(path, body, headers={"Host": name, "Origin": "null", "Content-Type": kind})
                    self.assertEqual(reply.status, status, (name, path))

    def test_with_a_key(self):
        with Server(env=environment(TKR_API_KEY="secret-of-the-test")) as server:
            self.assertEqual(self.ask(server, "named.test", Authorization="Bearer secret-of-the-test").status, 200)
            self.assertEqual(self.ask(server, "named.test").status, 401)


class Timeout(unittest.TestCase):
    def test_ends_a_body_that_still_comes(self):
        with Server("--timeout", "1") as server, server.socket() as wire:
            wire.sendall(b"POST /embed/text HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                         b"Content-Length: 1000\r\n\r\n{")
            began = time.monotonic()
            reply = wire.makefile("rb").read()
            self.assertLess(time.monotonic() - began, 10)  # 15 s without the deadline
            self.assertTrue(reply.startswith(b"HTTP/1.1 408 "), reply[:200])
            self.assertIn(b"the body was not sent in time", reply)


class LargeReplies(unittest.TestCase):
    def test_are_compressed_off_the_loop(self):
        """Computed and from the cache."""
        with Server() as server:
            body = {"texts": [f"word {i % 7}" for i in range(600)]}
            plain = server.post("/embed/text", body).json()["embeddings"]
            for _ in range(2):
                packed = server.post("/embed/text", body, headers={"Accept-Encoding": "gzip"})
                self.assertEqual(packed.headers["content-encoding"], "gzip")
                unpacked = json.loads(gzip.decompress(packed.body))
                self.assertEqual(unpacked["embeddings"], plain)


class Cors(unittest.TestCase):
    def test_allowed_origin(self):
        with Server("--cors-origins", "https://example.org,https://a.test") as server:
            ours = server.get("/health", headers={"Origin": "https://a.test"})
            self.assertEqual(ours.headers["access-control-allow-origin"], "https://a.test")
            asked = server.request("OPTIONS", "/embed/text", headers={
                "Origin": "https://example.org", "Access-Control-Request-Method": "POST"})
            self.assertEqual(asked.status, 204)
            self.assertIn("POST", asked.headers["access-control-allow-methods"])
            self.assertNotIn("access-control-allow-origin",
                             server.get("/health", headers={"Origin": "https://b.test"}).headers)


class Drain(unittest.TestCase):
    def test_ready_turns_first(self):
        with Server("--drain-grace", "1.5", "--drain-timeout", "10") as server:
            server.signal(signal.SIGTERM)
            until(lambda: server.get("/health/ready").status == 503, "ready says 503")
            for path in ("/health/ready", "/health"):
                headers = server.get(path).headers
                self.assertEqual((headers["retry-after"], headers["retry-after-ms"]), ("1", "1000"))
            live = server.get("/health/live")
            self.assertEqual((live.status, live.json()["status"]), (200, "ok"))
            self.assertEqual(server.post("/embed/text", {"texts": "still taken"}).status, 200)
            server.process.wait(PATIENCE)
            self.assertEqual(server.process.returncode, 0)

    def test_answers_under_way_are_given(self):
        with Server("--cache", "false", "--drain-timeout", "30", "--max-queue-tokens", "100000000") as server:
            replies = []
            body = {"texts": [f"a text of some words, number {i} of many, to be computed" for i in range(2000)]}
            threads = [threading.Thread(target=lambda: replies.append(server.post("/embed/text", body).status))
                       for _ in range(3)]
            for thread in threads:
                thread.start()
            until(lambda: samples(server.get("/metrics").body.decode())["tkr_requests_waiting"] >= 4,
                  "three wait, and this one")
            self.assertEqual(server.stop(), 0)
            for thread in threads:
                thread.join(PATIENCE)
            self.assertEqual(replies, [200, 200, 200])

    def test_second_signal_ends_at_once(self):
        with Server("--drain-grace", "60") as server:
            server.signal(signal.SIGTERM)
            until(lambda: server.get("/health/ready").status == 503, "ready says 503")
            server.signal(signal.SIGTERM)
            server.process.wait(10)
            self.assertEqual(server.process.returncode, 0)


class Logs(unittest.TestCase):
    def test_file_and_rotation(self):
        with Server("--log-file", "server.log") as server:
            path = os.path.join(server.folder.name, "server.log")
            server.post("/embed/text", {"texts": "a-secret-text"}, headers={"x-request-id": "find-me"})

            def lines(name=path):
                with open(name, encoding="utf-8") as file:
                    return [json.loads(line) for line in file]
            until(lambda: any(line.get("request_id") == "find-me" for line in lines()), "the request is logged")
            line = next(line for line in lines() if line.get("request_id") == "find-me")
            for name in ("time", "level", "method", "path", "status", "peer", "inputs", "tokens", "ms", "queue_ms",
                         "compute_ms", "bytes_in", "bytes_out"):
                self.assertIn(name, line)
            self.assertEqual((line["method"], line["path"], line["status"], line["inputs"]),
                             ("POST", "/embed/text", 200, 1))
            with open(path, encoding="utf-8") as file:
                self.assertNotIn("a-secret-text", file.read())
            for status, headers in ((415, {"Content-Encoding": "br"}), (400, {"Content-Encoding": "gzip"})):
                name = f"refused-{status}"  # by the transport
                reply = server.post("/embed/text", {"texts": "x"}, headers={"x-request-id": name, **headers})
                self.assertEqual(reply.status, status)
                until(lambda: any(line.get("request_id") == name for line in lines()), "the refusal is logged")
                line = next(line for line in lines() if line.get("request_id") == name)
                self.assertEqual((line["status"], line["api"], line["error"]),
                                 (status, "native", reply.json()["error"]["code"]))
            os.rename(path, path + ".1")
            server.signal(signal.SIGHUP)
            until(lambda: os.path.exists(path), "the file is opened again")
            server.post("/embed/text", {"texts": "x"}, headers={"x-request-id": "after"})
            until(lambda: any(line.get("request_id") == "after" for line in lines()), "the new file has the line")

    def test_strange_paths_stay_one_line(self):
        with Server("--log-format", "text") as server:
            with server.socket() as connection:
                connection.sendall(b"GET /a%0Ab%22%00c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                while connection.recv(4096):
                    pass
            server.get("/nothing%22%C3%BChere")
            match = server.wait_line(r"nothing")
            self.assertIn("nothing\\\"ühere", match.string)


class Keys(unittest.TestCase):
    def test_scopes_and_reload(self):
        with Server() as server:  # a folder for the file
            keys = os.path.join(server.folder.name, "keys")

            def new(name, *more):
                done = cli.run("key", "new", name, "--keys-file", keys, *more)
                self.assertEqual(done.returncode, 0, done.stderr)
                return re.search(rb"tkr_[0-9A-Za-z]+", done.stdout).group().decode()
            reader, watcher = new("reader", "--scopes", "embed"), new("watcher", "--scopes", "metrics")
            with Server("--keys-file", keys) as guarded:
                def status(path, key, header="Authorization"):
                    value = f"Bearer {key}" if header == "Authorization" else key
                    if path == "/metrics":
                        return guarded.get(path, headers={header: value}).status
                    return guarded.post(path, {"texts": "x"}, headers={header: value}).status
                self.assertEqual(guarded.post("/embed/text", {"texts": "x"}).status, 401)
                self.assertEqual(status("/embed/text", "tkr_wrong"), 401)
                self.assertEqual(status("/embed/text", reader), 200)
                self.assertEqual(status("/embed/text", reader, "X-Api-Key"), 200)
                self.assertEqual(status("/metrics", reader), 403)
                self.assertEqual(status("/metrics", watcher), 200)
                self.assertEqual(status("/embed/text", watcher), 403)
                self.assertEqual(guarded.get("/health").status, 200)
                late = new("late", "--scopes", "embed")
                guarded.signal(signal.SIGHUP)
                until(lambda: status("/embed/text", late) == 200, "the new key works")
                self.assertNotIn(reader, guarded.text())

    def test_rate_limit(self):
        with Server(env=environment(TKR_API_KEY="k" * 20, TKR_REQUESTS_PER_MINUTE="5")) as server:
            headers = {"Authorization": "Bearer " + "k" * 20}
            replies = [server.post("/v1/embeddings", {"input": "x", "model": "m"}, headers=headers) for _ in range(9)]
            late = [reply for reply in replies if reply.status == 429]
            self.assertTrue(late and replies[0].status == 200)
            self.assertGreater(float(late[0].headers["retry-after-ms"]), 0)
            self.assertGreaterEqual(int(late[0].headers["retry-after"]), 1)
            self.assertEqual(late[0].json()["error"]["code"], "rate_limit_exceeded")
            self.assertEqual(late[0].headers["x-ratelimit-limit-requests"], "5")
            self.assertEqual(late[0].headers["x-ratelimit-remaining-requests"], "0")
            self.assertEqual({name for name in late[0].headers if name.startswith("x-ratelimit")},
                             {name for name in replies[0].headers if name.startswith("x-ratelimit")})


class Sockets(unittest.TestCase):
    def test_unix_and_admin(self):
        with Server("--socket", "public.sock", "--admin-socket", "admin.sock") as server:
            folder = server.folder.name
            public, admin = os.path.join(folder, "public.sock"), os.path.join(folder, "admin.sock")
            self.assertEqual(os.stat(admin).st_mode & 0o777, 0o600)
            over_tcp = server.post("/embed/text", {"texts": "same"}).json()
            self.assertEqual(over_unix(public, "POST", "/embed/text", {"texts": "same"}).json()["embeddings"],
                             over_tcp["embeddings"])
            models = over_unix(admin, "GET", "/admin/models").json()["models"]
            self.assertEqual([model["state"] for model in models], ["ready"])
            golden = os.path.join(os.environ["TKR_TEST_DIR"], "golden", "bert", "bert-mean", "model")
            added = over_unix(admin, "POST", "/admin/models/load", {"model": golden, "name": "second"})
            self.assertEqual(added.status, 200, added.body)
            for body, param in (({"model": golden, "name": "second"}, "name"),
                                ({"model": "demo", "name": "demo"}, "name"), ({"model": "demo"}, "model")):
                taken = over_unix(admin, "POST", "/admin/models/load", body)
                self.assertEqual(taken.status, 409)
                self.assertEqual(taken.json()["error"]["param"], param, body)
                self.assertIn("is there already", taken.json()["error"]["message"])
            both = server.get("/v1/models").json()["data"]
            self.assertEqual({model["id"] for model in both}, {"demo", "second"})
            reply = server.post("/embed/text", {"texts": "hello", "model": "second"})
            self.assertEqual(reply.status, 200, reply.body)
            self.assertEqual(server.post("/embed/text", {"texts": "x", "model": "third"}).status, 404)
            self.assertEqual(over_unix(admin, "POST", "/admin/models/unload", {"model": "second"}).status, 200)
            until(lambda: len(server.get("/v1/models").json()["data"]) == 1, "unloaded")
            self.assertEqual(over_unix(admin, "POST", "/admin/models/load", {"model": "/nothing/there"}).status, 404)
            self.assertEqual(over_unix(admin, "POST", "/admin/cache/clear").status, 200)

    def test_names_and_words_of_a_load(self):
        golden = os.path.join(os.environ["TKR_TEST_DIR"], "golden", "bert", "bert-mean", "model")
        with Server("--admin-socket", "admin.sock", env={
                **environment(), "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}) as server:
            admin = os.path.join(server.folder.name, "admin.sock")

            def load(**body):
                return over_unix(admin, "POST", "/admin/models/load", body)
            for name, says in (("", "empty"), ("a\n<b>", "control"), ("a\r\nx: y", "control"), ("\x7f", "control"),
                               ("\u0085", "control"), ("n" * 201, "201 bytes"), ("ü" * 101, "202 bytes"),
                               ("n" * 5000, "5000 bytes")):
                reply = load(model=golden, name=name)
                error = reply.json()["error"]
                self.assertEqual((reply.status, error["code"], error["param"]), (400, "invalid_value", "name"), error)
                self.assertIn(says, error["message"])
            for body, param in (({"model": golden, "quantization": "q5"}, "quantization"), ({"model": ""}, "model"),
                                ({"model": "a\nb"}, "model")):
                reply = load(**body)
                error = reply.json()["error"]
                self.assertEqual((reply.status, error["code"], error["param"]), (400, "invalid_value", param), error)
            self.assertEqual(len(over_unix(admin, "GET", "/admin/models").json()["models"]), 1)
            reply = load(model="nobody/nothing-there")  # the hub doesn't answer: no mistake of the client
            self.assertEqual((reply.status, reply.json()["error"]["code"]), (503, "unavailable"), reply.body)
            for name in ('a"b\\c', "n" * 200):
                self.assertEqual(load(model=golden, name=name, quantization=None).status, 200)
            text = server.get("/metrics").body.decode()
            self.assertIn('tkr_model_ready{model="a\\"b\\\\c",', text)
            samples(text)

    def test_idle_models_sleep_and_wake(self):
        with Server("--idle-unload", "1", "--admin-socket", "admin.sock") as server:
            admin = os.path.join(server.folder.name, "admin.sock")
            first = server.post("/embed/text", {"texts": "x"}).json()["embeddings"]
            until(lambda: over_unix(admin, "GET", "/admin/models").json()["models"][0]["state"] == "asleep",
                  "it sleeps")
            reply = server.post("/embed/text", {"texts": "y", "model": "demo"})
            self.assertEqual(reply.status, 200, reply.body)
            self.assertEqual(server.post("/embed/text", {"texts": "x"}).json()["embeddings"], first)


class DefaultPrompt(unittest.TestCase):
    def test_a_model_needs_the_default_prompt(self):
        golden = os.path.join(os.environ["TKR_TEST_DIR"], "golden", "bert")
        has, lacks = (os.path.join(golden, name, "model") for name in ("bert-cls", "bert-mean"))
        for model, name, says in ((has, "zz", b'has no prompt "zz"; it has "'), (lacks, "query", b"it has none")):
            done = cli.run("serve", "-m", model, "--port", "0", "--default-prompt-name", name)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(b"processing.default_prompt_name: ", done.stdout + done.stderr)
            self.assertIn(says, done.stdout + done.stderr)
        with Server("--default-prompt-name", "query", "--admin-socket", "admin.sock", model=has) as server:
            wanted = server.post("/embed/text", {"texts": "x", "prompt_name": "query"}).json()["embeddings"]
            self.assertEqual(server.post("/embed/text", {"texts": "x"}).json()["embeddings"], wanted)
            admin = os.path.join(server.folder.name, "admin.sock")
            reply = over_unix(admin, "POST", "/admin/models/load", {"model": lacks, "name": "other"})
            self.assertEqual(reply.status, 400, reply.body)
            self.assertIn('has no prompt "query"; it has none', reply.json()["error"]["message"])


class SharedCache(unittest.TestCase):
    def test_two_servers_share(self):
        redis = FakeRedis()
        url = f"redis://:secret@127.0.0.1:{redis.port}/2"
        with Server("--cache-url", url) as one, Server("--cache-url", url) as two:
            body = {"texts": ["shared a", "shared b"]}
            first = one.post("/embed/text", body)
            self.assertEqual(first.headers["x-tkr-cache"], "0/2")
            until(lambda: len(redis.store) == 2, "both are stored")
            second = two.post("/embed/text", body)
            self.assertEqual(second.headers["x-tkr-cache"], "2/2")
            self.assertEqual(second.json(), first.json())
            self.assertIn(b"SELECT", redis.commands)
            redis.sabotage = True  # damaged values are misses
            body = {"texts": ["shared a", "shared c"]}
            with Server("--cache-url", f"redis://:secret@127.0.0.1:{redis.port}") as three:
                reply = three.post("/embed/text", body)
                self.assertEqual(reply.status, 200)
                self.assertEqual(reply.headers["x-tkr-cache"], "0/2")
                self.assertEqual(reply.json()["embeddings"][0], first.json()["embeddings"][0])
            self.assertNotIn("secret", one.text() + two.text())
        redis.stop()

    def test_down_and_up_again(self):
        redis = FakeRedis()
        port = redis.port
        with Server("--cache-url", f"redis://127.0.0.1:{port}", "--cache-size", "1") as server:
            server.post("/embed/text", {"texts": ["p", "q"]})
            until(lambda: len(redis.store) == 2, "stored")
            redis.stop()
            for i in range(5):
                self.assertEqual(server.post("/embed/text", {"texts": [f"while down {i}"]}).status, 200)
            server.wait_line("the shared cache doesn't answer")
            again = FakeRedis(port)
            again.store.update(redis.store)
            until(lambda: server.post("/embed/text", {"texts": ["p", "q"]}).headers["x-tkr-cache"] == "2/2",
                  "it is used")
            again.stop()


class Pictures(unittest.TestCase):
    def test_memory_of_pixels_is_bounded(self):
        folder = os.path.join(os.environ["TKR_SOURCE_DIR"], "share", "demo", "samples")
        images = []
        for name in sorted(os.listdir(folder)):
            with open(os.path.join(folder, name), "rb") as file:
                images.append(base64.b64encode(file.read()).decode())
        with Server("--max-picture-memory", "1M") as server:
            reply = server.post("/embed/image", {"images": images})
            self.assertEqual(reply.status, 413, reply.body[:300])
            self.assertIn("MiB", reply.json()["error"]["message"])
            for image in images[:8]:  # and what was counted is given back
                self.assertEqual(server.post("/embed/image", {"images": [image]}).status, 200)
            self.assertEqual(server.post("/embed/image", {"images": images[8:16]}).status, 200)


class Traces(unittest.TestCase):
    def test_spans_arrive(self):
        bodies = []

        class Collector(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                bodies.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass
        collector = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
        with Server("--otlp-endpoint", f"http://127.0.0.1:{collector.server_port}") as server:
            server.post("/embed/text", {"texts": "unsampled"}, headers={"traceparent": f"00-{'a' * 32}-{parent}-00"})
            server.post("/embed/text", {"texts": "sampled"}, headers={"traceparent": f"00-{trace}-{parent}-01"})
            until(lambda: bodies, "spans arrive")
        collector.shutdown()
        spans = [span for path, body in bodies for span in body["resourceSpans"][0]["scopeSpans"][0]["spans"]]
        self.assertEqual({path for path, _ in bodies}, {"/v1/traces"})
        self.assertEqual({span["traceId"] for span in spans}, {trace})
        root = next(span for span in spans if span.get("parentSpanId") == parent)
        self.assertEqual(root["name"], "/embed/text")
        children = [span for span in spans if span.get("parentSpanId") == root["spanId"]]
        self.assertIn("forward", {span["name"] for span in children})
        for span in spans:
            self.assertLessEqual(int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"]))
        attributes = {a["key"]: a["value"] for a in root["attributes"]}
        self.assertEqual(attributes["http.response.status_code"]["intValue"], "200")


if __name__ == "__main__":
    unittest.main()
