# SPDX-License-Identifier: Apache-2.0
"""Enough of Redis for a cache: AUTH, SELECT, GET, SET over RESP, in a thread. `sabotage` makes it answer nonsense;
`mode` "slow" a byte every 40 ms, "endless" a value without end, "list" the claim of a long list, to GET and SET."""
import socketserver
import threading
import time


class _Handler(socketserver.StreamRequestHandler):
    def _command(self):
        line = self.rfile.readline()
        if not line:
            return None
        parts = []
        for _ in range(int(line[1:])):
            size = int(self.rfile.readline()[1:])
            parts.append(self.rfile.read(size))
            self.rfile.read(2)
        return parts

    def _flood(self, mode):
        head, piece, pause = {"slow": (b"$100000\r\n", b"x", 0.04),
                              "endless": (b"$9000000000\r\n", b"x" * (1 << 20), 0),
                              "list": (b"*2000000000\r\n", b"$-1\r\n" * 10000, 0)}[mode]
        self.wfile.write(head)
        while True:
            self.wfile.write(piece)
            time.sleep(pause)

    def handle(self):
        store = self.server.store
        while (parts := self._command()) is not None:
            name = parts[0].upper()
            self.server.commands.append(name)
            if self.server.mode and name in (b"GET", b"SET"):
                self._flood(self.server.mode)
            if self.server.sabotage:
                value = store.get(parts[1], b"") if len(parts) > 1 else b""
                bad = value[:-4] + b"\0\0\0\0" if name == b"GET" and value else b"x"
                self.wfile.write(b"$%d\r\n%s\r\n" % (len(bad), bad))
            elif name == b"GET":
                value = store.get(parts[1])
                self.wfile.write(b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value))
            elif name == b"SET":
                store[parts[1]] = parts[2]
                self.wfile.write(b"+OK\r\n")
            elif name == b"PING":
                self.wfile.write(b"+PONG\r\n")
            elif name in (b"AUTH", b"SELECT"):
                fine = name == b"SELECT" or parts[1] == b"secret"
                self.wfile.write(b"+OK\r\n" if fine else b"-WRONGPASS\r\n")
            else:
                self.wfile.write(b"-ERR unknown command\r\n")


class FakeRedis(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True

    def __init__(self, port=0):
        super().__init__(("127.0.0.1", port), _Handler)
        self.store, self.commands, self.sabotage, self.sockets, self.mode = {}, [], False, [], None
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def process_request(self, request, address):
        self.sockets.append(request)
        super().process_request(request, address)

    def handle_error(self, _request, _address):
        """A client that is gone is no news."""

    def stop(self):
        self.shutdown()
        self.server_close()
        for one in self.sockets:
            try:
                one.shutdown(2)
            except OSError:
                pass
