# SPDX-License-Identifier: Apache-2.0
"""A hub on 127.0.0.1 that speaks the API and misbehaves by script. Standard library only."""
import hashlib
import http.server
import json
import random
import threading
import time

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MIB = 1 << 20


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Hub:
    """A hub with one repository. plan[name] is a list of behaviours, one taken per request; then all is well."""

    def __init__(self, files=None, lfs=("model.safetensors",)):
        rng = random.Random(7)
        self.files = files if files is not None else {
            "config.json": b'{"model_type": "bert"}\n', "tokenizer.json": b"{}", "modules.json": b"[]",
            "1_Pooling/config.json": b'{"pooling_mode_mean_tokens": true}', "README.md": b"# not wanted",
            "modeling_custom.py": b"raise SystemExit", "onnx/config.json": b"{}", "empty_config.json": b"",
            "model.safetensors": rng.randbytes(3 * MIB + 12345)}
        self.lfs = set(lfs)
        self.plan = {}
        self.forever = set()  # paths whose last behaviour stays
        self.log = []  # (name, headers)
        self.paths = []  # as asked for
        self.api = None  # bytes to answer instead of the listing
        self.lock = threading.Lock()
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # headers and body are two writes: no waiting for acknowledgements

            def do_GET(self):
                hub.answer(self)

            def log_message(self, *args):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, address):  # clients that go away are what is tested here
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def always(self, name, *steps):
        self.plan[name] = list(steps)
        self.forever.add(name)

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def listing(self):
        siblings = []
        for name, data in self.files.items():
            entry = {"rfilename": name, "size": len(data), "blobId": git_sha1(data)}
            if name in self.lfs:
                entry["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 134}
            siblings.append(entry)
        return {"id": "org/name", "sha": COMMIT, "private": False, "siblings": siblings}

    def blob(self, name):
        data = self.files[name]
        return sha256(data) if name in self.lfs else git_sha1(data)

    def requests(self, name):
        with self.lock:
            return [headers for path, headers in self.log if path == name]

    def answer(self, handler):
        path = handler.path.split("?")[0]
        name = path.split("/resolve/%s/" % COMMIT, 1)[1] if "/resolve/" in path else path
        if "/api/" in path:
            name = "api"
        with self.lock:
            self.log.append((name, dict(handler.headers)))
            self.paths.append(handler.path)
            steps = self.plan.get(name, [])
            step = steps[0] if steps else None
            if steps and not (name in self.forever and len(steps) == 1):
                steps.pop(0)
        if step is not None:
            step(handler, self, name)
            return
        if name == "api":
            body = self.api if self.api is not None else json.dumps(self.listing()).encode()
            send(handler, 200, body)
        elif name in self.files:
            send_file(handler, self.files[name])
        else:
            send(handler, 404, b"no such file", {"X-Error-Code": "EntryNotFound"})


def send(handler, status, body, headers=None):
    handler.send_response(status)
    for key, value in (headers or {}).items():
        handler.send_header(key, value)
    if "Content-Length" not in (headers or {}):
        handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def send_file(handler, data):
    start = 0
    if handler.headers.get("Range"):
        start = int(handler.headers["Range"][len("bytes="):].split("-")[0])
    if start >= len(data) > 0:
        send(handler, 416, b"", {"Content-Range": "bytes */%d" % len(data)})
    elif start:
        send(handler, 206, data[start:], {"Content-Range": "bytes %d-%d/%d" % (start, len(data) - 1, len(data))})
    else:
        send(handler, 200, data)


# ---- behaviours ----

def status(code, headers=None):
    return lambda handler, hub, name: send(handler, code, b"error page", headers)


def cut(at):
    """Says the whole length, sends up to byte `at` and hangs up. Honours ranges."""
    def step(handler, hub, name):
        data = hub.files[name]
        start = int(handler.headers["Range"][6:].split("-")[0]) if handler.headers.get("Range") else 0
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", "bytes %d-%d/%d" % (start, len(data) - 1, len(data)))
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        handler.wfile.write(data[start:at])
        handler.wfile.flush()
        handler.close_connection = True
    return step


def stall(at, seconds):
    def step(handler, hub, name):
        cut(at)(handler, hub, name)
        time.sleep(seconds)
    return step


def body(data, code=200, headers=None):
    return lambda handler, hub, name: send(handler, code, data, headers)


def redirect(target, code=302):
    return lambda handler, hub, name: send(handler, code, b"", {"Location": target})


def ignore_range(handler, hub, name):
    send(handler, 200, hub.files[name])
