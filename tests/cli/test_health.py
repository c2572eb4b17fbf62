# SPDX-License-Identifier: Apache-2.0
"""tkr-embed health against servers that are ready, loading, ending, mute or not there."""
import http.server
import os
import signal
import socket
import subprocess
import threading
import unittest

from harness import CliTest, environment, start


class Answer(http.server.BaseHTTPRequestHandler):
    """Somebody who answers every path with the status that the server was made with."""

    def do_GET(self):
        self.server.paths.append(self.path)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


class Health(CliTest):
    def somebody(self, status):
        server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
        server.status, server.paths = status, []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return server

    def test_answers(self):
        for status, code, says in ((200, 0, "ready"), (503, 1, "not ready (503)"), (404, 1, "status 404")):
            with self.subTest(status=status):
                server = self.somebody(status)
                url = f"http://127.0.0.1:{server.server_port}"
                if code == 0:
                    self.assertEqual(self.ok("health", url + "/"), f"{url}/: ready\n".encode())
                else:
                    self.assertEqual(self.fails(code, "health", url, says=says).stdout, b"")
                self.assertEqual(server.paths, ["/health/ready"])

    def test_port(self):
        port = str(self.somebody(200).server_port)
        said = f"http://127.0.0.1:{port}: ready\n".encode()
        self.assertEqual(self.ok("health", "-p", port), said)
        self.assertEqual(self.ok("health", env=environment(TKR_PORT=port, http_proxy="http://127.0.0.1:1")), said)

    def test_settings(self):
        """Without an address it is the one of the server's settings; a port that is given wins."""
        port = str(self.somebody(200).server_port)
        config = self.path("serve.yaml", f"server: {{host: '::', port: {port}}}\n")
        said = f"http://127.0.0.1:{port}: ready\n".encode()
        self.assertEqual(self.ok("health", "-c", config), said)
        self.assertEqual(self.ok("health", env=environment(TKR_CONFIG=config, TKR_HOST="0.0.0.0")), said)
        self.assertEqual(self.ok("health", "-p", port, env=environment(TKR_PORT="1")), said)
        tls = environment(TKR_TLS_CERTIFICATE="c", TKR_TLS_KEY="k", TKR_HOST="::1", TKR_PORT="1")
        self.fails(1, "health", env=tls, says="https://[::1]:1: ")
        self.fails(2, "health", "-c", self.path("bad.yaml", "server: {prot: 1}\n"), says='did you mean "port"?')

    def test_nobody(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            mute = f"http://127.0.0.1:{port}"  # takes the connection and says nothing
            self.fails(1, "health", mute, "--timeout", "0.2", says=mute)
        self.fails(1, "health", "-p", str(port), says=mute)
        self.fails(1, "health", "unix:" + self.path("none"), says="none")

    def test_usage(self):
        for url in ("127.0.0.1:8000", "file:///etc/passwd", "unix:relative"):
            self.fails(2, "health", url, says="expected http://HOST:PORT")
        self.fails(2, "health", "-p", "0", says="--port")
        self.fails(2, "health", "http://a", "http://b", says='unexpected argument "http://b"')

    def test_a_server(self):
        """A Unix socket, and what systemd is told: ready, reading again, ending."""
        path, notified = self.path("http.sock"), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(notified.close)
        notified.bind(self.path("notify"))
        notified.settimeout(60)
        os.environ["NOTIFY_SOCKET"] = self.path("notify")
        self.addCleanup(os.environ.pop, "NOTIFY_SOCKET")
        server = start("serve", "-m", "demo", "-q", "-p", "0", "--socket", path, "--log-level", "error",
                       "--drain-grace", "60", stdin=subprocess.DEVNULL)
        self.addCleanup(server.communicate)
        self.addCleanup(server.kill)
        self.assertEqual(notified.recv(1024), b"READY=1")
        self.assertEqual(self.ok("health", "unix:" + path), f"unix:{path}: ready\n".encode())
        server.send_signal(signal.SIGHUP)
        self.assertRegex(notified.recv(1024), rb"\ARELOADING=1\nMONOTONIC_USEC=[0-9]+\Z")
        self.assertEqual(notified.recv(1024), b"READY=1")
        server.send_signal(signal.SIGTERM)
        self.assertEqual(notified.recv(1024), b"STOPPING=1")
        self.fails(1, "health", "unix:" + path, says="not ready (503)")
        server.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(timeout=60), 0)


if __name__ == "__main__":
    unittest.main()
