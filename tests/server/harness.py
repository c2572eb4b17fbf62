# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of the server: starts the real program on a free port, talks to it, stops it."""
import http.client
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest


def _load(name, *path):
    """A module of another folder of tests, which may have the name of this one."""
    spec = importlib.util.spec_from_file_location(name, os.path.join(os.environ["TKR_TEST_DIR"], *path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


cli = _load("cli_harness", "cli", "harness.py")
BINARY, SANITIZED, environment = cli.BINARY, cli.SANITIZED, cli.environment
PATIENCE = 120 if SANITIZED else 40  # seconds that anything may take on a busy machine


class Server:
    """A running `tkr-embed serve`. Its standard error is kept in `log`."""

    def __init__(self, *args, model="demo", env=None, wait=True, port="0", **options):  # model, port None: not said
        self.folder = tempfile.TemporaryDirectory()
        more = [*(["-m", model] if model is not None else []), *(["--port", port] if port is not None else [])]
        self.process = subprocess.Popen([BINARY, "serve", *more, *args], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.folder.name,
                                        env=env or environment(), **options)
        self.log, self.lines, self.address, self.url = [], threading.Condition(), None, None
        self.readers = [threading.Thread(target=self._read, args=(pipe,), daemon=True)
                        for pipe in (self.process.stdout, self.process.stderr)]
        for reader in self.readers:
            reader.start()
        if wait:
            self.wait_ready()

    def _read(self, pipe):
        for line in pipe:
            with self.lines:
                self.log.append(line.decode(errors="replace").rstrip("\n"))
                self.lines.notify_all()

    def text(self):
        return "\n".join(self.log)

    def wait_line(self, pattern, patience=PATIENCE):
        """The first match of the pattern in what the server says."""
        until = time.monotonic() + patience
        with self.lines:
            while True:
                for line in list(self.log):
                    match = re.search(pattern, line)
                    if match:
                        return match
                if self.process.poll() is not None and not any(reader.is_alive() for reader in self.readers):
                    raise AssertionError(f"the server ended ({self.process.returncode}):\n{self.text()}")
                if time.monotonic() > until:
                    raise AssertionError(f"no line with {pattern!r} in {patience} s:\n{self.text()}")
                self.lines.wait(0.2)

    def wait_address(self):
        if self.address is None:
            match = self.wait_line(r"(https?)://([^\s\"/]+):(\d+)")
            self.url = match.group(0)
            self.address = (match.group(2).strip("[]"), int(match.group(3)))
        return self.address

    def wait_ready(self):
        self.wait_address()
        until = time.monotonic() + PATIENCE
        while not self._ready():
            if time.monotonic() > until:
                raise AssertionError(f"not ready in {PATIENCE} s:\n{self.text()}")
            time.sleep(0.02)

    def _ready(self):
        try:
            return self.get("/health/ready").status == 200
        except ConnectionError as error:  # it has ended, and said why
            raise AssertionError(f"{error!r}:\n{self.text()}") from error

    # ---- requests ----

    def request(self, method, path, body=None, headers=None, timeout=PATIENCE):
        """One request on a connection of its own; bytes are sent as they are, everything else as JSON."""
        connection = http.client.HTTPConnection(*self.wait_address(), timeout=timeout)
        headers = dict(headers or {})
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        if body is not None and not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = "application/json"
        headers = {name: value for name, value in headers.items() if value is not None}
        try:
            connection.request(method, path, body=body.encode() if isinstance(body, str) else body, headers=headers)
            return Reply(connection.getresponse())
        finally:
            connection.close()

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, body, **options):
        return self.request("POST", path, body, **options)

    def socket(self):
        return socket.create_connection(self.wait_address(), timeout=PATIENCE)

    # ---- the end ----

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, number=15, patience=PATIENCE):
        """Ends it and returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the server did not end:\n{self.text()}") from None
        finally:
            for reader in self.readers:
                reader.join(PATIENCE)
            self.process.stdout.close()
            self.process.stderr.close()
            self.folder.cleanup()
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Reply:
    """Status, headers (names in lower case) and body of an answer."""

    def __init__(self, response):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    def json(self):
        return json.loads(self.body)


def multipart(fields, boundary="----tkr-test-boundary"):
    """(body, Content-Type) of [(name, value or (file name, bytes, type))]."""
    body = b""
    for name, value in fields:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'
        if isinstance(value, tuple):
            head += f'; filename="{value[0]}"\r\nContent-Type: {value[2]}'
            value = value[1]
        body += head.encode() + b"\r\n\r\n" + (value if isinstance(value, bytes) else value.encode()) + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


class ServerTest(unittest.TestCase):
    """Tests on one server for the whole class, started with `ARGS` and `MODEL`."""
    MODEL, ARGS = "demo", ()

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.ARGS, model=cls.MODEL)

    @classmethod
    def tearDownClass(cls):
        code = cls.server.stop()
        assert code == 0, f"exit code {code}:\n{cls.server.text()}"

    def ok(self, path, body, **options):
        reply = self.server.post(path, body, **options)
        self.assertEqual(reply.status, 200, reply.body[:1000])
        return reply.json()

    def fails(self, reply, status, code, *says, param=None):
        """The answer is an error of our own shape that says this."""
        self.assertEqual(reply.status, status, reply.body[:1000])
        self.assertEqual(reply.headers["content-type"], "application/json")
        error = reply.json()["error"]
        self.assertEqual(error["code"], code, error)
        self.assertEqual(error["status"], status)
        self.assertEqual(error["request_id"], reply.headers["x-request-id"])
        if param is not None:
            self.assertEqual(error.get("param"), param, error)
        for text in says:
            self.assertIn(text, error["message"])
        self.assertNotIn("\n", error["message"])
        return error
