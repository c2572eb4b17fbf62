#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What connections may take: their number, descriptors, memory for bodies and for answers that nobody reads."""
import contextlib
import json
import os
import resource
import socket
import tempfile
import time
import unittest

from harness import SANITIZED
from test_transport_life import CERTIFICATES, COUNTS, count, eventually, secure
from wire import HELLO, POST, Client, Server

MIB = 1 << 20


@contextlib.contextmanager
def running(server):
    try:
        yield server
    finally:
        server.stop()


class Limits(unittest.TestCase):
    def test_connections(self):
        server = Server("--max-connections", 4)
        kept = [server.connect() for _ in range(4)]
        for client in kept:
            self.assertEqual(client.send(HELLO).answer().status, 200)
        with server.connect() as client:
            answer = client.send(HELLO).answer()
            self.assertEqual((answer.status, answer.fields["retry-after"]), (503, "1"))
            self.assertEqual(answer.fields["connection"], "close")
            self.assertTrue(client.closed())
        kept.pop().sock.close()
        eventually(self, lambda: self.status(server) == 200)
        for client in kept:
            client.sock.close()
        self.assertEqual(server.stop(), 0)

    def test_bodies_count_as_they_come(self):
        """Not as they are promised, and not as much as is reserved for them."""
        with running(Server("--max-bodies", 4 * MIB)) as server:
            clients = [server.connect() for _ in range(60)]
            for client in clients:
                client.send(POST + b"Content-Length: 1048576\r\n\r\na")
            self.assertEqual(self.status(server), 200)
            refused = 0
            for client in clients[:6]:
                with contextlib.suppress(ConnectionError):
                    client.send(b"a" * 900000)
                client.sock.settimeout(1)
                with contextlib.suppress(socket.timeout):
                    refused += client.answer().status == 503
            self.assertEqual(refused, 2)
            for client in clients:
                client.sock.close()

    def test_answers_that_nobody_reads(self):
        """They take what bodies may; those who read nothing give way to those who do."""
        def wanted(n):
            return b"GET /big?%d HTTP/1.1\r\nHost: x\r\n\r\n" % n

        files = [os.path.join(CERTIFICATES, name) for name in ("one.pem", "one.key")]
        for tls in (False, True):
            options = ("--certificate", files[0], "--key", files[1]) if tls else ()
            with self.subTest(tls=tls), running(Server("--max-bodies", 100 * MIB, *options)) as server:
                def connect(room):
                    sock = socket.socket()
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
                    sock.connect(server.address)
                    return Client(secure().wrap_socket(sock) if tls else sock)

                before = server.memory()
                silent = [connect(4096).send(wanted(10000000)) for _ in range(4)]
                slow = connect(200000).send(wanted(20000000))
                for i in range(26):
                    silent.append(connect(4096).send(wanted(10000000)))
                    while len(slow.data) < 600000 * (i + 1):
                        self.assertTrue(slow.more(), "the one that reads is closed")
                if not SANITIZED:  # they keep what is freed
                    self.assertLess(server.memory() - before, 230)  # 320 MiB are asked for
                self.assertEqual(len(slow.answer().body), 20000000)
                with connect(1000000) as quick:
                    self.assertEqual(quick.send(wanted(10000000)).answer().status, 200)
                    counts = json.loads(quick.send(COUNTS).answer().body)
                self.assertLess(counts["connections"], len(silent) - 15)
                for client in silent:
                    client.sock.close()
                slow.sock.close()

    def test_loops_share_the_memory_of_answers(self):
        """Those of one loop that read nothing give way to those of another that do."""
        wanted = b"GET /big?10000000 HTTP/1.1\r\nHost: x\r\n\r\n"
        with running(Server("--max-bodies", 56 * MIB, "--loops", 2)) as server:
            def connect(room):  # in turn of one loop and of the other
                sock = socket.socket()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
                sock.connect(server.address)
                client = Client(sock)
                self.assertEqual(client.send(HELLO).answer().status, 200)
                return client

            pairs = [(connect(4096), connect(4096)) for _ in range(4)]
            for silent, _ in pairs:
                silent.send(wanted)
            time.sleep(1.5)
            pairs += [(connect(4096), connect(65536)) for _ in range(3)]
            readers = [reader for _, reader in pairs[-3:]]
            for reader in readers:
                reader.send(wanted)
            for reader in readers * 50:
                self.assertTrue(reader.more(10000), "one that reads is closed")
            for reader in readers:
                self.assertEqual(len(reader.answer().body), 10000000)
            for pair in pairs:
                for client in pair:
                    client.sock.close()

    @staticmethod
    def status(server):
        with server.connect() as client:
            return client.send(HELLO).answer().status

    def test_connections_of_a_peer(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "s")
            server = Server("--max-per-peer", 2, "--loops", 2, listen=("127.0.0.1:0", "unix:" + path))
            first, second = server.connect(), server.connect()
            self.assertEqual(first.send(HELLO).answer().status, 200)
            self.assertEqual(second.send(HELLO).answer().status, 200)
            self.assertEqual(self.status(server), 503)
            other = Client(socket.create_connection(server.address, 10, ("127.0.0.2", 0)))
            self.assertEqual(other.send(HELLO).answer().status, 200)
            for _ in range(3):  # no such limit on a Unix socket
                local = socket.socket(socket.AF_UNIX)
                local.connect(path)
                with Client(local) as client:
                    self.assertEqual(client.send(HELLO).answer().status, 200)
            first.sock.close()
            eventually(self, lambda: self.status(server) == 200)
            second.sock.close()
            other.sock.close()
            self.assertEqual(server.stop(), 0)

    def test_descriptors(self):
        """With none left, one client after the other is dropped, and the others don't notice."""
        def few():
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

        others = [os.open(os.devnull, os.O_RDONLY) for _ in range(40)]
        server = Server("--max-connections", 1000, pass_fds=others, preexec_fn=few)
        for fd in others:
            os.close(fd)
        with server.connect() as client:
            self.assertEqual(client.send(HELLO).answer().status, 200)
            crowd = [server.connect() for _ in range(40)]
            server.wait_for("LOG 0 .*no descriptors left")
            self.assertEqual(client.send(HELLO).answer().status, 200)
            for other in crowd:
                other.sock.close()
        eventually(self, lambda: self.accepted(server))
        server.wait_for("LOG 1 .*64 descriptors")
        self.assertEqual(server.stop(), 0)

    def accepted(self, server):
        try:
            return self.status(server) == 200
        except (AssertionError, ConnectionError):
            return False


if __name__ == "__main__":
    unittest.main()
