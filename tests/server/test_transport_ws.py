#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""WebSockets over real sockets: handshakes, frames right and wrong, closes, back-pressure, pings."""
import os
import signal
import socket
import ssl
import struct
import time
import unittest

from harness import SANITIZED
from wire import BINARY, CLOSE, HELLO, PING, PONG, POST, TEXT, Client, Server, WebSocket, frame, handshake

CERTIFICATES = os.path.join(os.environ["TKR_TEST_DIR"], "golden", "server")


def code(number, reason=b""):
    return frame(CLOSE, struct.pack(">H", number) + reason)


# name, what is sent, frames that come back (all of them)
CASES = [
    ("text", frame(TEXT, b"hello"), [(TEXT, b"hello")]),
    ("binary", frame(BINARY, b"\xff\0"), [(BINARY, b"\xff\0")]),
    ("empty", frame(TEXT), [(TEXT, b"")]),
    ("lengths", b"".join(frame(BINARY, b"a" * n) for n in (125, 126, 127, 65535, 65536, 70000)),
     [(BINARY, b"a" * n) for n in (125, 126, 127, 65535, 65536, 70000)]),
    ("fragments with a ping between", frame(TEXT, b"he", False) + frame(PING, b"p") + frame(0, b"llo"),
     [(PONG, b"p"), (TEXT, b"hello")]),
    ("empty fragments", frame(TEXT, b"", False) + frame(0, b"", False) + frame(0, b"a"), [(TEXT, b"a")]),
    ("UTF-8 cut between fragments", frame(TEXT, b"\xe2\x82", False) + frame(0, b"\xac"), [(TEXT, b"\xe2\x82\xac")]),
    ("ping of 125", frame(PING, b"a" * 125), [(PONG, b"a" * 125)]),
    ("pong that nobody asked for", frame(PONG, b"a") + frame(TEXT, b"b"), [(TEXT, b"b")]),
    ("largest message", frame(BINARY, bytes(1 << 20)), [(BINARY, bytes(1 << 20))]),
    ("pausing", frame(TEXT, b"pause") + frame(TEXT, b"a") * 3, [(TEXT, b"paused")] + [(TEXT, b"a")] * 3),
    ("unmasked", frame(TEXT, b"hello", masked=False), [(CLOSE, 1002)]),
    ("ping of 126", frame(PING, b"a" * 126), [(CLOSE, 1002)]),
    ("fragmented ping", frame(PING, b"a", False), [(CLOSE, 1002)]),
    ("too large", frame(BINARY, b"a", length=(1 << 20) + 1), [(CLOSE, 1009)]),
    ("too large in fragments", frame(BINARY, bytes(600000), False) + frame(0, bytes(600000)), [(CLOSE, 1009)]),
    ("length 2^63", frame(BINARY, b"", length=1 << 63), [(CLOSE, 1002)]),
    ("length not minimal", b"\x81\xfe\x00\x05\0\0\0\0hello", [(CLOSE, 1002)]),
    ("reserved bit", frame(TEXT, b"a", reserved=4), [(CLOSE, 1002)]),
    ("opcode 3", frame(3, b"a"), [(CLOSE, 1002)]), ("opcode 11", frame(11, b"a"), [(CLOSE, 1002)]),
    ("continuation of nothing", frame(0, b"a"), [(CLOSE, 1002)]),
    ("text within fragments", frame(TEXT, b"a", False) + frame(TEXT, b"b"), [(CLOSE, 1002)]),
    ("not UTF-8", frame(TEXT, b"\xff\xfe"), [(CLOSE, 1007)]),
    ("not UTF-8 over fragments", frame(TEXT, b"\xe2\x82", False) + frame(0, b"\x28"), [(CLOSE, 1007)]),
    ("surrogate", frame(TEXT, b"\xed\xa0\x80"), [(CLOSE, 1007)]),
    ("close", code(1000, b"bye"), [(CLOSE, 1000)]), ("own code", code(4321), [(CLOSE, 4321)]),
    ("close without code", frame(CLOSE), [(CLOSE, 1005)]), ("close 1005", code(1005), [(CLOSE, 1002)]),
    ("close 999", code(999), [(CLOSE, 1002)]), ("close 2999", code(2999), [(CLOSE, 1002)]),
    ("close of one byte", frame(CLOSE, b"a"), [(CLOSE, 1002)]),
    ("close reason not UTF-8", code(1000, b"\xff"), [(CLOSE, 1007)]),
    ("text behind close", code(1000) + frame(TEXT, b"x"), [(CLOSE, 1000)]),
    ("text before close", frame(TEXT, b"x") + code(1000), [(TEXT, b"x"), (CLOSE, 1000)]),
    ("asked to close", frame(TEXT, b"close 4000") + frame(TEXT, b"x"), [(CLOSE, 4000)]),
]


class Frames(unittest.TestCase):
    OPTIONS = ()

    def connect(self):
        return WebSocket(socket.create_connection(self.server.address, 10))

    def setUp(self):
        self.server = Server(*self.OPTIONS)
        self.addCleanup(lambda: self.assertEqual(self.server.stop(), 0, self.server.lines[-5:]))

    def test_are_answered(self):
        for name, data, expected in CASES:
            with self.subTest(name), self.connect() as ws:
                ws.send(data)
                for one in expected:
                    self.assertEqual(ws.frame(), one)
                if expected[-1][0] == CLOSE:
                    if name == "asked to close":
                        ws.send(code(4000))
                    self.assertTrue(ws.closed())
                else:
                    ws.send(frame(TEXT, b"end"))
                    self.assertEqual(ws.frame(), (TEXT, b"end"))
                    self.assertEqual(ws.send(code(1000)).frame(), (CLOSE, 1000))
                    self.assertTrue(ws.closed())

    def test_large_answers_hold_back_what_follows(self):
        """However it comes: in one packet or several, more than a reader keeps or less. A note is sent all the same."""
        big = [(BINARY, bytes(3 << 20)), (TEXT, b"sent"), (PONG, b"p")]
        for small in (3, 2000):
            answers = [*big, *[(TEXT, b"abc%d" % i) for i in range(small)], *big, (TEXT, b"end"), (CLOSE, 1000)]
            said = (frame(TEXT, b"big %d" % (3 << 20)), frame(PING, b"p"))
            data = b"".join((*said, *[frame(TEXT, b"abc%d" % i) for i in range(small)], *said, frame(TEXT, b"end"),
                             code(1000)))
            for cut in (len(data), 30, 20):
                with self.subTest(small=small, cut=cut), self.connect() as ws:
                    for part in (data[:cut], data[cut:]):
                        ws.send(part)
                        time.sleep(0.2)
                    for one in answers:
                        self.assertEqual(ws.frame(), one)
                    self.assertTrue(ws.closed())
        self.assertEqual(self.server.saw("ws_full"), 0)

    def test_what_the_application_has_to_send_holds_back_what_follows(self):
        for n, least in ((1 << 20, 0), (3 << 20, 0.45)):  # 2 MiB may be queued
            with self.connect() as ws:
                ws.send(frame(TEXT, b"defer %d" % n) + frame(TEXT, b"a"))
                self.assertEqual(ws.frame(), (TEXT, b"deferred"))
                began = time.monotonic()
                self.assertEqual(ws.frame(), (TEXT, b"a"))
                self.assertGreaterEqual(time.monotonic() - began, least)

    def test_every_split_is_the_same(self):
        data = frame(TEXT, b"he", False) + frame(PING, b"p") + frame(0, b"llo") + frame(BINARY, b"a" * 130)
        with self.connect() as ws:
            for i in range(1, len(data), 3):
                ws.send(data[:i])
                ws.send(data[i:])
                self.assertEqual([ws.frame() for _ in range(3)], [(PONG, b"p"), (TEXT, b"hello"), (BINARY, b"a" * 130)])

    def test_messages_of_another_thread_keep_their_order(self):
        with self.connect() as ws:
            ws.send(frame(TEXT, b"send 5000"))
            for i in range(5000):
                self.assertEqual(ws.frame(), (TEXT, b"message %d" % i))
            ws.send(frame(TEXT, b"send 5000"))  # and leave
        self.server.wait_for("ws_close")

    def test_too_many_pings(self):
        with self.connect() as ws:
            ws.send(frame(PING, b"abc") * 10000)
            pongs = 0
            while True:
                opcode, data = ws.frame()
                if opcode == CLOSE:
                    break
                pongs += 1
            self.assertEqual(data, 1008)
            self.assertLessEqual(pongs, 200)

    def test_handshakes(self):
        for data, status in ((handshake(version=b"12"), 426), (handshake(key=b"x"), 400),
                             (handshake(key=b"a" * 24), 400),
                             (handshake().replace(b"GET", b"POST"), 400),
                             (handshake(extra=b"Sec-WebSocket-Version: 13\r\n"), 400),
                             (b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", 426), (handshake(b"/nope"), 404)):
            with self.subTest(data), Client(socket.create_connection(self.server.address, 10)) as client:
                answer = client.send(data).answer()
                self.assertEqual(answer.status, status, answer)
                if b"Version: 12" in data:
                    self.assertEqual(answer.fields["sec-websocket-version"], "13")
        with WebSocket(socket.create_connection(self.server.address, 10), b"/ws?greet") as ws:
            self.assertEqual(ws.frame(), (TEXT, b"hello"))
        with Client(socket.create_connection(self.server.address, 10)) as client:  # a message in the handshake's packet
            client.send(handshake() + frame(TEXT, b"early"))
            self.assertEqual(client.answer().status, 101)
            self.assertEqual(client.take(7), b"\x81\x05early")

    def test_peers_that_leave(self):
        for how in (lambda ws: ws.sock.close(), lambda ws: ws.reset()):
            mark = self.server.mark()
            how(self.connect())
            self.server.wait_for("ws_close", skip=mark)

    def test_peers_that_leave_before_the_answer(self):
        for _ in range(400):
            client = Client(socket.create_connection(self.server.address, 10))
            client.send(handshake(b"/ws?greet"))
            client.reset()
        with self.connect() as ws:
            self.assertEqual(ws.send(frame(TEXT, b"a")).frame(), (TEXT, b"a"))

    def test_a_peer_that_never_reads_is_not_read(self):
        with self.connect() as ws:
            ws.sock.setblocking(False)
            data, sent, end = frame(BINARY, bytes(60000)), 0, time.monotonic() + 1.5
            rest = data
            while time.monotonic() < end and sent < 200 << 20:
                try:
                    n = ws.sock.send(rest)
                    sent += n
                    rest = rest[n:] or data
                except BlockingIOError:
                    time.sleep(0.01)
            self.assertLess(sent, 100 << 20)
            self.assertLess(self.server.memory(), 60)
        self.server.wait_for("ws_close")


class Secure(Frames):
    OPTIONS = ("--certificate", CERTIFICATES + "/one.pem", "--key", CERTIFICATES + "/one.key", "--loops", 2)

    def connect(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return WebSocket(context.wrap_socket(socket.create_connection(self.server.address, 10)))

    def test_handshakes(self):
        with self.connect() as ws:
            ws.send(frame(TEXT, b"a") * 100)
            for _ in range(100):
                self.assertEqual(ws.frame(), (TEXT, b"a"))

    def test_a_peer_that_never_reads_is_not_read(self):
        with self.connect() as ws:  # TLS on the test's side knows no half a record
            ws.send(frame(BINARY, bytes(1 << 20)))
            self.assertEqual(ws.frame(), (BINARY, bytes(1 << 20)))


class Limits(unittest.TestCase):
    def test_number(self):
        server = Server("--max-ws", 3, "--max-ws-per-peer", 2)
        kept = [WebSocket(server.connect().sock) for _ in range(2)]
        with server.connect() as client:
            self.assertEqual(client.send(handshake()).answer().status, 503)
        other = WebSocket(socket.create_connection(server.address, 10, ("127.0.0.2", 0)))
        with Client(socket.create_connection(server.address, 10, ("127.0.0.3", 0))) as client:
            self.assertEqual(client.send(handshake()).answer().status, 503)
        kept.pop().sock.close()
        server.wait_for("ws_close")
        with WebSocket(server.connect().sock):
            pass
        other.sock.close()
        kept.pop().sock.close()
        self.assertEqual(server.stop(), 0)

    def test_queue(self):
        server = Server("--max-ws-queue", 1000)
        with WebSocket(server.connect().sock) as ws:
            ws.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            ws.send(frame(TEXT, b"send 300000"))
            sent = int(server.wait_for("ws_sent", 20).split()[-1])
            self.assertLess(sent, 300000)
            for i in range(3):
                self.assertEqual(ws.frame()[0], TEXT)
        self.assertEqual(server.stop(), 0)

    def test_pings(self):
        server = Server("--ping-interval", 0.5)
        with WebSocket(server.connect().sock) as ws, WebSocket(server.connect().sock) as dead:
            began = time.monotonic()
            for _ in range(3):
                self.assertEqual(ws.frame(), (PING, b""))
                ws.send(frame(PONG))
            self.assertGreater(time.monotonic() - began, 1)
            self.assertEqual(dead.frame(), (PING, b""))
            self.assertTrue(dead.closed())
            self.assertEqual(server.saw("ws_close"), 1)
        self.assertEqual(server.stop(), 0)


class Readers(unittest.TestCase):
    """A peer that takes something has time, however much more waits for it; one that takes nothing has not."""
    OPTIONS = ("--ping-interval", 1, "--write-timeout", 1, "--max-ws-queue", 1 << 20)

    def setUp(self):
        self.server = Server(*self.OPTIONS)
        self.addCleanup(lambda: self.assertEqual(self.server.stop(), 0, self.server.lines[-5:]))

    def connect(self):
        sock = socket.socket()
        self.addCleanup(sock.close)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.connect(self.server.address)
        ws = WebSocket(sock)
        ws.sock.setblocking(False)
        return ws

    def write(self, ws, rest, data):
        """As much as goes at once of `data` again and again."""
        try:
            for _ in range(100):
                rest = rest[ws.sock.send(rest):] or data
        except BlockingIOError:
            pass
        return rest

    def test_slow_but_steady(self):
        ws, data = self.connect(), frame(BINARY, bytes(100000))
        rest, got, end = data, 0, time.monotonic() + 8
        while time.monotonic() < end:
            rest = self.write(ws, rest, data)
            try:
                piece = ws.sock.recv(1 << 16)
                self.assertTrue(piece, "closed by the server")
                got += len(piece)
            except BlockingIOError:
                pass
            time.sleep(0.1)
        self.assertGreater(got, 1 << 20)
        self.assertEqual(self.server.saw("ws_close"), 0)
        ws.sock.close()

    def test_that_takes_nothing(self):
        ws, rest, data, began = self.connect(), b"", frame(BINARY, bytes(100000)), time.monotonic()
        while time.monotonic() < began + 1:
            rest = self.write(ws, rest, data)
            time.sleep(0.01)
        self.assertEqual(self.server.saw("ws_close"), 0)
        self.server.wait_for("ws_close", 10)


MIB = 1 << 20


class Memory(unittest.TestCase):
    """Of messages, which counts with that of bodies."""

    def setUp(self):
        self.server = Server("--max-bodies", 16 * MIB, "--max-message", 2 * MIB, "--max-body", 32 * MIB,
                             "--read-timeout", 60, "--loops", 2)
        self.addCleanup(lambda: self.assertEqual(self.server.stop(), 0, self.server.lines[-5:]))

    def connect(self):
        ws = WebSocket(self.server.connect().sock)
        self.addCleanup(ws.sock.close)
        return ws

    def post(self, n):
        with self.server.connect() as client:
            try:
                client.send(POST + b"Content-Length: %d\r\n\r\n" % n + bytes(n))
            except ConnectionError:
                pass
            return client.answer().status

    def wait_for_room(self, n):
        """Until a body of n bytes is taken."""
        end = time.monotonic() + 10
        while self.post(n) != 200:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)

    def test_unfinished_messages(self):
        before, most = self.server.memory(), 7 * MIB  # a body's buffer is twice as large at most
        self.assertEqual(self.post(most), 200)
        part = frame(BINARY, bytes(2 * MIB - 1), length=2 * MIB)
        for again in range(2):
            kept, refused = [], 0
            for _ in range(60):
                ws = self.connect()
                ws.send(part)
                ws.sock.settimeout(0.3 if len(kept) >= 7 else 0.05)
                try:
                    self.assertEqual(ws.frame(), (CLOSE, 1013))
                    refused += 1
                except socket.timeout:
                    kept.append(ws)
            self.assertEqual((len(kept), refused), (7, 53))  # 2 MiB and a byte each
            self.assertEqual(self.post(most), 503)
            self.assertEqual(self.post(1000), 200)
            small = self.connect()
            self.assertEqual(small.send(frame(TEXT, b"small")).frame(), (TEXT, b"small"))
            if not SANITIZED:
                self.assertLess(self.server.memory() - before, 40)
            for ws in kept[:3]:  # whole: echoed
                ws.sock.settimeout(10)
                self.assertEqual(ws.send(b"\x04").frame(), (BINARY, bytes(2 * MIB)))
            for ws in kept[3:]:
                ws.reset()
            self.wait_for_room(most)
            self.assertEqual(small.send(frame(TEXT, b"small")).frame(), (TEXT, b"small"))

    def test_that_the_application_keeps(self):
        ws = self.connect()
        for said, answer in ((b"keep 10000000", b"kept"), (b"keep 10000000", b"full"), (b"keep 6777216", b"kept"),
                             (b"keep 1", b"full"), (b"give 6777216", b"given"), (b"keep 6777217", b"full")):
            self.assertEqual(ws.send(frame(TEXT, said)).frame(), (TEXT, answer), said)
        self.assertEqual(self.post(7 * MIB), 503)
        self.assertEqual(ws.send(frame(TEXT, b"give 10000000")).frame(), (TEXT, b"given"))
        self.assertEqual(self.post(7 * MIB), 200)

    def test_of_replies_that_nobody_reads(self):
        """Also those that the application keeps until there is room: both sockets have more than there may be."""
        clients = [self.connect() for _ in range(2)]
        for ws in clients:
            ws.send(frame(TEXT, b"big 5000000"))
        clients[0].send(frame(TEXT, b"defer 16000000"))
        self.server.wait_for("ws_close", 10)
        wanted = b"GET /big?10000000 HTTP/1.1\r\nHost: x\r\n\r\n"
        for _ in range(3):
            with self.server.connect() as client:
                self.assertEqual(len(client.send(wanted).answer().body), 10000000)
            time.sleep(0.4)  # what closed sockets had kept is given back once

    def test_of_small_messages_is_always_there(self):
        ws = self.connect()
        self.assertEqual(ws.send(frame(TEXT, b"keep %d" % (16 * MIB))).frame(), (TEXT, b"kept"))
        self.assertEqual(ws.send(frame(BINARY, bytes(8000))).frame(), (BINARY, bytes(8000)))
        self.assertEqual(ws.send(frame(BINARY, bytes(20000))).frame(), (CLOSE, 1013))


class Slow(unittest.TestCase):
    def setUp(self):
        self.server = Server("--read-timeout", 1, "--max-bodies", 4 * MIB)
        self.addCleanup(lambda: self.assertEqual(self.server.stop(), 0, self.server.lines[-5:]))

    def connect(self):
        ws = WebSocket(self.server.connect().sock)
        self.addCleanup(ws.sock.close)
        return ws

    def closed_after(self, ws, keep_on):
        began = time.monotonic()
        ws.sock.settimeout(0.1)
        while time.monotonic() < began + 20:
            try:
                keep_on()
                got = ws.frame()
                if got[0] == CLOSE:
                    self.assertEqual(got[1], 1008)
                    return time.monotonic() - began
            except socket.timeout:
                pass
        self.fail("still open")

    def test_message(self):
        """Has its time and what the minimum rate allows; pings don't lengthen it."""
        ws = self.connect()
        ws.send(frame(TEXT, b"a", False))
        self.assertTrue(1 <= self.closed_after(ws, lambda: (ws.send(frame(PING)), time.sleep(0.1))) < 3)
        ws = self.connect()
        ws.send(frame(BINARY, bytes(30720), length=100000))  # 3 s at the minimum rate
        self.assertTrue(4 <= self.closed_after(ws, lambda: None) < 6)
        ws = self.connect()
        ws.send(frame(BINARY, bytes(10), length=100000))
        self.assertTrue(1 <= self.closed_after(ws, lambda: ws.send(b"a")) < 3)

    def test_messages_one_after_the_other(self):
        """Each has a time of its own, though one has always begun."""
        ws, data = self.connect(), frame(TEXT, b"hello")
        ws.send(data[:8])
        for _ in range(12):
            time.sleep(0.25)
            ws.send(data[8:] + data[:8])
            self.assertEqual(ws.frame(), (TEXT, b"hello"))

    def test_silence_between_messages(self):
        ws = self.connect()
        time.sleep(2.5)
        self.assertEqual(ws.send(frame(TEXT, b"a")).frame(), (TEXT, b"a"))


class NoMemory(unittest.TestCase):
    def test_for_a_message_is_told_when_it_may_be_there_again(self):
        server = Server("--fail-every", 37)
        until = time.monotonic() + 20
        while not server.saw("ws_full") and time.monotonic() < until:
            with server.connect() as client:
                try:
                    ws = WebSocket(client.sock)
                    ws.sock.settimeout(0.2)
                    for _ in range(60):
                        ws.send(frame(TEXT, b"a")).frame()
                except (AssertionError, OSError):
                    pass
        full = next(i for i, line in enumerate(server.lines) if "ws_full" in line)
        server.wait_for("ws_drained", skip=full)
        self.assertEqual(server.stop(), 0)


class Drain(unittest.TestCase):
    def test_says_going_away(self):
        server = Server("--loops", 2)
        sockets = [WebSocket(server.connect().sock) for _ in range(4)]
        server.process.send_signal(signal.SIGTERM)
        for ws in sockets:
            self.assertEqual(ws.frame(), (CLOSE, 1001))
            ws.send(code(1001))
            self.assertTrue(ws.closed())
            ws.sock.close()
        self.assertEqual(server.stop(None), 0)

    def test_cuts_those_that_do_not_answer(self):
        server = Server("--drain", 0.3)
        with WebSocket(server.connect().sock) as ws, server.connect() as client:
            self.assertEqual(client.send(HELLO).answer().status, 200)
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(ws.frame(), (CLOSE, 1001))
            self.assertTrue(ws.closed())
            self.assertLess(time.monotonic() - began, 2)
            self.assertEqual(server.stop(None), 0)


if __name__ == "__main__":
    unittest.main()
