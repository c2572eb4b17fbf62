#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The life of connections: slow peers, peers that leave, deadlines, listeners, certificates, the end."""
import contextlib
import os
import re
import shutil
import signal
import socket
import ssl
import stat
import tempfile
import threading
import time
import unittest

from wire import HELLO, POST, PROGRAM, Client, Server

CERTIFICATES = os.path.join(os.environ["TKR_TEST_DIR"], "golden", "server")
WAITING = b"POST /embed?delay=30 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
COUNTS = b"GET /counts HTTP/1.1\r\nHost: x\r\n\r\n"


def away(seconds):
    return b"GET /away?%g HTTP/1.1\r\nHost: x\r\n\r\n" % seconds


def count(server, name):
    with server.connect() as client:
        return int(re.search(rb'"%s":(\d+)' % name, client.send(COUNTS).answer().body).group(1))


def eventually(test, condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        test.assertLess(time.monotonic(), end, "it did not happen in time")
        time.sleep(0.02)


def secure():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Slow(unittest.TestCase):
    """All slow peers at once, so that their timeouts pass together."""

    def setUp(self):
        self.server = Server("--read-timeout", 1, "--idle-timeout", 2, "--wait-timeout", 1, "--write-timeout", 1)
        self.addCleanup(lambda: self.assertEqual(self.server.stop(), 0, self.server.lines[-5:]))

    def cut(self, first, drip, status, within):
        """Sends first, then drip every 50 ms; expects this status (None: none) and the end within these seconds."""
        with self.server.connect() as client:
            began = time.monotonic()
            client.send(first)
            client.sock.settimeout(0.05)
            open_ = True
            while open_ and time.monotonic() - began < within[1] + 3:
                try:
                    open_ = client.more()
                except socket.timeout:
                    try:
                        client.send(drip)
                    except ConnectionError:
                        open_ = False
                except ConnectionError:
                    open_ = False
            took = time.monotonic() - began
            self.assertFalse(open_)
            self.assertGreaterEqual(took, within[0])
            self.assertLess(took, within[1])
            if status is None:
                self.assertEqual(client.data, b"")
            else:
                self.assertTrue(client.data.startswith(b"HTTP/1.1 %d " % status), client.data[:100])

    def test_are_cut(self):
        head, body = POST + b"X-", POST + b"Content-Length: 100000\r\n\r\n"
        chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n"
        cases = [("half head", head, b"", 408, (0.9, 2.5)), ("head, slowly", head, b"a", 408, (0.9, 2.5)),
                 ("half body", body, b"", 408, (0.9, 2.5)), ("body, slowly", body, b"aaaaa", 408, (0.9, 2.5)),
                 ("chunks, slowly", chunked, b"1\r\na\r\n", 408, (0.9, 2.5)), ("idle", b"", b"", None, (1.9, 4)),
                 ("late answer", WAITING, b"", 503, (0.9, 2.5)),
                 ("own deadline", WAITING.replace(b"embed", b"soon"), b"", 503, (0.4, 1.5))]
        problems = []

        def one(name, *case):
            try:
                self.cut(*case)
            except (AssertionError, OSError) as error:
                problems.append((name, error))

        threads = [threading.Thread(target=one, args=case) for case in cases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(problems, [])
        self.assertEqual(self.server.saw("peer_gone"), 2)
        self.assertEqual(self.server.saw("fault 503"), 2)
        self.assertEqual(self.server.saw("worker_skips"), 2)

    def test_a_body_that_is_fast_enough_may_take_longer(self):
        with self.server.connect() as client:
            client.send(POST + b"Content-Length: 120000\r\n\r\n")
            began = time.monotonic()
            for _ in range(30):
                client.send(b"a" * 4000)
                time.sleep(0.07)
            self.assertEqual(client.answer().status, 200)
            self.assertGreater(time.monotonic() - began, 1.5)

    def test_an_answer_may_be_read_slowly(self):
        """But not in no time: who takes nothing is cut."""
        def connect():
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            sock.connect(self.server.address)
            return Client(sock).send(b"GET /big?20000000 HTTP/1.1\r\nHost: x\r\n\r\n")

        with connect() as steady, connect() as silent:
            began = time.monotonic()
            while time.monotonic() - began < 6:  # 200 kB a second: far longer for what the kernel takes at once
                self.assertTrue(steady.more(10000), "closed by the server")
                time.sleep(0.05)
            self.assertEqual(len(steady.answer().body), 20000000)
            with contextlib.suppress(ConnectionError):
                while silent.more():
                    pass
            self.assertLess(len(silent.data), 20000000)

    def test_a_request_that_came_before_the_idle_timeout_is_answered(self):
        """The loop, busy then, reads it after the time is over."""
        with self.server.connect() as idle, self.server.connect() as busy:
            self.assertEqual(idle.send(HELLO).answer().status, 200)
            time.sleep(1.5)
            busy.send(b"GET /block?1 HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(0.2)
            self.assertEqual(idle.send(HELLO).answer().status, 200)
            self.assertEqual(busy.answer().status, 200)

    def test_a_line_end_behind_a_request_begins_none(self):
        with self.server.connect() as client:
            self.assertEqual(client.send(HELLO + b"\r\n").answer().status, 200)
            time.sleep(1.5)  # longer than a head may take
            self.assertEqual(client.send(b"\r\n" + HELLO).answer().status, 200)
            self.assertTrue(client.closed())

    def test_a_late_answer_says_when_to_come_back(self):
        with self.server.connect() as client:
            answer = client.send(WAITING).answer()
            self.assertEqual((answer.status, answer.fields["retry-after"], answer.fields["connection"]),
                             (503, "1", "close"))
            self.assertIn(b"own503", answer.body)
            self.assertTrue(client.closed())

    def test_a_peer_that_does_not_read_is_cut(self):
        with self.server.connect() as client:
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.send(b"GET /big?30000000 HTTP/1.1\r\nHost: x\r\n\r\n")
            eventually(self, lambda: count(self.server, b"connections") == 2)
            eventually(self, lambda: count(self.server, b"connections") == 1)


class Gone(unittest.TestCase):
    def leave(self, server, client, how):
        mark = server.mark()
        client.send(WAITING)
        eventually(self, lambda: count(server, b"waiting") == 2 if server.urls[0].startswith("http:") else True)
        time.sleep(0.1)
        began = time.monotonic()
        how(client)
        self.addCleanup(client.sock.close)
        event = float(server.wait_for("peer_gone", skip=mark).split()[1])
        self.assertLess(event - began, 0.5)
        server.wait_for("sent 200 0", skip=mark)

    def test_is_known_at_once(self):
        server = Server("--loops", 2)
        self.leave(server, server.connect(), lambda client: client.sock.close())
        self.leave(server, server.connect(), lambda client: client.reset())
        # A peer that only ends its side looks like one that has gone.
        self.leave(server, server.connect(), lambda client: client.sock.shutdown(socket.SHUT_WR))

        def behind_others(client):
            client.send(HELLO * 5000)  # more than is kept
            time.sleep(0.1)
            client.sock.close()

        self.leave(server, server.connect(), behind_others)
        self.assertEqual(server.stop(), 0)

    def test_is_known_at_once_under_tls_and_on_unix_sockets(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "s")
            server = Server("--certificate", CERTIFICATES + "/one.pem", "--key", CERTIFICATES + "/one.key",
                            listen=("127.0.0.1:0", "unix:" + path))
            self.leave(server, Client(secure().wrap_socket(server.connect().sock)), lambda client: client.sock.close())
            local = socket.socket(socket.AF_UNIX)
            local.connect(path)
            self.leave(server, Client(local), lambda client: client.sock.close())
            self.assertEqual(server.stop(), 0)

    def test_half_close_while_answered(self):
        server = Server()
        with server.connect() as client:
            client.send(b"GET /big?9000000 HTTP/1.1\r\nHost: x\r\n\r\n")
            client.more()
            client.sock.shutdown(socket.SHUT_WR)
            time.sleep(0.2)
            self.assertEqual(len(client.answer().body), 9000000)
            self.assertTrue(client.closed())
        self.assertEqual(server.stop(), 0)

    def test_a_flood_behind_a_waiting_request_is_reset(self):
        server = Server()
        with server.connect() as client:
            client.send(WAITING)
            with self.assertRaises(ConnectionError):
                for _ in range(100):
                    client.send(HELLO * 1000)
            server.wait_for("peer_gone")
        self.assertEqual(server.stop(), 0)


class Early(unittest.TestCase):
    """A peer that was turned away and comes again too early gets its refusals late, and only those."""

    def setUp(self):
        self.server = Server("--drain", 5)

    def tearDown(self):
        self.assertEqual(self.server.stop() if self.server.process.poll() is None else 0, 0)

    def took(self, client, data, status):
        began = time.monotonic()
        self.assertEqual(client.send(data).answer().status, status)
        return time.monotonic() - began

    def test_is_answered_late(self):
        with self.server.connect() as client, self.server.connect() as other:
            self.assertLess(self.took(client, away(60), 429), 0.2)
            for _ in range(2):
                took = self.took(client, away(60), 429)
                self.assertGreater(took, 0.24)
                self.assertLess(took, 1)
                self.assertLess(self.took(client, HELLO, 200), 0.2)
            self.assertLess(self.took(other, away(60), 429), 0.2)

    def test_in_time_is_not(self):
        with self.server.connect() as client:
            self.assertLess(self.took(client, away(0.3), 429), 0.2)
            time.sleep(0.35)
            self.assertLess(self.took(client, away(0.3), 429), 0.2)

    def test_keeps_the_order_of_what_is_pipelined(self):
        with self.server.connect() as client:
            began = time.monotonic()
            client.send(away(60) + away(60) + HELLO + away(60))
            self.assertEqual([client.answer().status for _ in range(4)], [429, 429, 200, 429])
            self.assertGreater(time.monotonic() - began, 0.49)

    def test_of_a_large_body_is_answered_at_once(self):
        """Its connection closes, and what still comes must not count as a flood."""
        with self.server.connect() as client:
            self.took(client, away(60), 429)
            client.send(b"POST /busy HTTP/1.1\r\nHost: x\r\nContent-Length: 1900000\r\n\r\n" + b"a" * 1900000)
            answer = client.answer()
            self.assertEqual((answer.status, answer.fields["connection"]), (429, "close"))

    def test_may_leave_meanwhile(self):
        with self.server.connect() as client:
            self.took(client, away(60), 429)
            client.send(away(60))
            eventually(self, lambda: count(self.server, b"requests") >= 2)
        eventually(self, lambda: count(self.server, b"connections") == 1)
        self.server.wait_for("sent 429 0")
        time.sleep(0.6)
        self.assertEqual(self.server.saw("sent 429"), 1)

    def test_gets_its_answer_when_the_server_ends(self):
        with self.server.connect() as client:
            self.took(client, away(60), 429)
            client.send(away(60))
            eventually(self, lambda: count(self.server, b"requests") >= 2)
            self.server.process.send_signal(signal.SIGTERM)
            answer = client.answer()
            self.assertEqual((answer.status, answer.fields["connection"]), (429, "close"))
            self.assertTrue(client.closed())
        self.assertEqual(self.server.stop(None), 0)


class Listeners(unittest.TestCase):
    def test_all_kinds(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "sock")
            with socket.socket(socket.AF_UNIX) as stale:  # as a server leaves it that was killed
                stale.bind(path)
            given = socket.create_server(("127.0.0.1", 0))
            server = Server("--unix-mode", "0600", "--loops", 2, pass_fds=(given.fileno(),),
                            listen=("127.0.0.1:0", "[::1]:0", "unix:" + path, f"fd:{given.fileno()}", "localhost:0"))
            self.assertEqual(server.urls[2], "unix:" + path)
            self.assertEqual(server.urls[3], "http://127.0.0.1:%d" % given.getsockname()[1])
            self.assertRegex(server.urls[1], r"^http://\[::1\]:\d+$")
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
            local = socket.socket(socket.AF_UNIX)
            local.connect(path)
            sockets = [(socket.create_connection(server.address, 5), b"127.0.0.1|0"),
                       (socket.create_connection(("::1", int(server.urls[1].rsplit(":")[-1])), 5), b"::1|1"),
                       (local, b"unix|2"), (socket.create_connection(given.getsockname(), 5), b"127.0.0.1|3")]
            for sock, peer in sockets:
                with Client(sock) as client:
                    answer = client.send(b"GET /show HTTP/1.1\r\nHost: x\r\n\r\n").answer()
                    self.assertTrue(answer.body.startswith(b"GET|/show||" + peer + b"|0|0|0\n"), answer)
            second = Server(listen=("unix:" + path,))  # somebody is there
            self.assertRegex("\n".join(second.lines), "ERROR unix:.* another server answers there")
            self.assertEqual(second.stop(None), 1)
            self.assertEqual(server.stop(), 0)
            self.assertFalse(os.path.exists(path))
            given.close()

    def test_wrong_ones_are_named(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "file")
            with open(path, "w", encoding="ascii"):
                pass
            with socket.create_server(("127.0.0.1", 0)) as taken:
                port = taken.getsockname()[1]
                for address in (f"127.0.0.1:{port}", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", "::1:80", "[::1:80",
                                "fd:x", "fd:0", "unix:" + path, "unix:" + folder + "/none/s", "unix:" + "a" * 200,
                                "no-such-host.invalid:80"):
                    with self.subTest(address):
                        server = Server(listen=(address,))
                        self.assertIn("ERROR " + address[:50], "\n".join(server.lines))
                        self.assertEqual(server.stop(None), 1)

    def test_listen_fds(self):
        server = Server(env={"LISTEN_FDS": "2", "LISTEN_PID": "1"})
        self.assertIn("LISTEN_FDS 0", server.lines)
        self.assertEqual(count(server, b"waiting"), 1)
        self.assertEqual(server.stop(), 0)
        shell = 'import os, sys; os.environ["LISTEN_PID"] = str(os.getpid()); os.execv(sys.argv[1], sys.argv[1:])'
        given = socket.create_server(("127.0.0.1", 0))
        pid = os.fork()
        if pid == 0:
            os.dup2(given.fileno(), 3)
            os.set_inheritable(3, True)  # when it was 3 already
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            os.environ["LISTEN_FDS"] = "1"
            os.execv("/usr/bin/env", ["env", "python3", "-c", shell, PROGRAM, "--quiet", "--listen", "fd:3"])
        with Client(socket.create_connection(given.getsockname(), 10)) as client:
            self.assertEqual(client.send(HELLO).answer().status, 200)
        os.kill(pid, signal.SIGTERM)
        self.assertEqual(os.waitpid(pid, 0)[1], 0)
        given.close()


class Tls(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.use("one")
        self.server = Server("--certificate", self.folder + "/pem", "--key", self.folder + "/key", "--read-timeout", 1,
                             "--loops", 2)
        self.addCleanup(lambda: self.assertEqual(self.server.stop(), 0, self.server.lines[-5:]))

    def use(self, name):
        shutil.copy(f"{CERTIFICATES}/{name}.pem", self.folder + "/pem")
        shutil.copy(f"{CERTIFICATES}/{name}.key", self.folder + "/key")

    def connect(self, context=None):
        return Client((context or secure()).wrap_socket(self.server.connect().sock))

    def hello(self, client):
        self.assertEqual(client.send(HELLO).answer().status, 200)

    def test_certificates_are_read_again(self):
        def name(client):
            return b"one" in client.sock.getpeercert(True), b"two" in client.sock.getpeercert(True)

        with self.connect() as old:
            self.hello(old)
            self.assertEqual(name(old), (True, False))
            self.use("two")
            self.server.process.send_signal(signal.SIGHUP)
            self.server.wait_for("reload")
            with self.connect() as new:
                self.hello(new)
                self.assertEqual(name(new), (False, True))
            self.hello(old)
        for damage in (lambda: shutil.copy(CERTIFICATES + "/one.key", self.folder + "/key"),  # of another certificate
                       lambda: os.truncate(self.folder + "/pem", 100), lambda: os.remove(self.folder + "/pem")):
            damage()
            mark = self.server.mark()
            self.server.process.send_signal(signal.SIGHUP)
            self.server.wait_for("LOG 0 the certificate in use is kept: .*" + self.folder, skip=mark)
            with self.connect() as new:
                self.hello(new)
                self.assertEqual(name(new), (False, True))

    def test_large_bodies_and_answers(self):
        with self.connect() as client:
            data = os.urandom(1 << 20)
            client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
            self.assertEqual(client.answer().body, data)
            client.send(b"GET /big?9000000 HTTP/1.1\r\nHost: x\r\n\r\n" + HELLO)
            time.sleep(0.2)
            self.assertEqual(len(client.answer().body), 9000000)
            self.assertEqual(client.answer().status, 200)
            client.send(HELLO * 30)
            for _ in range(30):
                self.assertEqual(client.answer().status, 200)
            client.send(b"GET /close HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertEqual(client.answer().status, 200)
            self.assertTrue(client.closed())

    def test_protocol(self):
        context = secure()
        context.set_alpn_protocols(["h2", "http/1.1"])
        with self.connect(context) as client:
            self.assertEqual(client.sock.selected_alpn_protocol(), "http/1.1")
            self.assertIn(client.sock.version(), ("TLSv1.3", "TLSv1.2"))
            self.hello(client)
        with self.server.connect() as client:  # plain HTTP
            answer = client.send(HELLO).answer()
            self.assertEqual((answer.status, answer.body), (400, b"TLS is spoken here: use https\n"))
        with self.server.connect() as client:  # a handshake that never goes on
            client.send(b"\x16\x03\x01\x00\xa5\x01")
            self.assertTrue(client.closed())
        with self.server.connect() as client:
            client.send(b"\x16\x03\x01\x00\xa5" + b"rubbish" * 30)
            client.sock.settimeout(5)
            try:
                while client.more():
                    pass
            except ConnectionError:
                pass

    def test_wrong_files(self):
        for certificate, key in (("/none", "/none"), (CERTIFICATES + "/one.pem", CERTIFICATES + "/two.key"),
                                 (CERTIFICATES + "/one.key", CERTIFICATES + "/one.key")):
            server = Server("--certificate", certificate, "--key", key)
            self.assertIn("ERROR " + certificate[:4], "\n".join(server.lines))
            self.assertEqual(server.stop(None), 1)


class Drain(unittest.TestCase):
    def test_answers_what_waits(self):
        for loops in (1, 3):
            server = Server("--loops", loops, "--drain", 10)
            idle = [server.connect() for _ in range(3)]
            self.assertEqual(idle[0].send(HELLO).answer().status, 200)
            waiting = [server.connect().send(WAITING.replace(b"30", b"0.7")) for _ in range(4)]
            half = server.connect().send(HELLO[:30])
            eventually(self, lambda: count(server, b"waiting") == 5)
            server.process.send_signal(signal.SIGTERM)
            server.wait_for("terminate")
            for client in idle:
                self.assertTrue(client.closed())
                client.sock.close()
            with self.assertRaises(ConnectionRefusedError):
                server.connect()
            answer = half.send(HELLO[30:]).answer()
            self.assertEqual((answer.status, answer.fields["connection"]), (200, "close"))
            half.sock.close()
            for client in waiting:
                answer = client.answer()
                self.assertEqual((answer.status, answer.fields["connection"]), (200, "close"))
                client.sock.close()
            began = time.monotonic()
            self.assertEqual(server.stop(None), 0)
            self.assertLess(time.monotonic() - began, 1)
            self.assertIn("ended 0", server.lines)

    def test_cuts_the_rest(self):
        server = Server("--loops", 2, "--drain", 0.5)
        clients = [server.connect().send(WAITING) for _ in range(4)]
        half = server.connect().send(b"POST /e")
        eventually(self, lambda: count(server, b"waiting") == 5)
        began = time.monotonic()
        server.process.send_signal(signal.SIGINT)
        for client in clients:
            answer = client.answer()
            self.assertEqual(answer.status, 503)
            self.assertTrue(client.closed())
            client.sock.close()
        self.assertTrue(half.closed())
        half.sock.close()
        self.assertEqual(server.stop(None), 0)
        self.assertLess(time.monotonic() - began, 2.5)
        self.assertEqual(server.saw("peer_gone"), 4)

    def test_at_once(self):
        server = Server()
        self.assertEqual(count(server, b"waiting"), 1)
        began = time.monotonic()
        self.assertEqual(server.stop(), 0)
        self.assertLess(time.monotonic() - began, 1)


class Loops(unittest.TestCase):
    def test_many_connections_on_many_loops(self):
        server = Server("--loops", 3, "--delay", 0.001)
        problems = []

        def ask(n):
            try:
                with server.connect() as client:
                    for i in range(n):
                        body = b"a" * i
                        client.send(POST + b"Content-Length: %d\r\n\r\n" % i + body)
                        if not client.answer().body.startswith(b'{"n":%d,' % i):
                            problems.append(i)
            except (AssertionError, OSError) as error:
                problems.append(error)

        threads = [threading.Thread(target=ask, args=(60,)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(problems, [])
        self.assertEqual(count(server, b"requests"), 961)
        self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    unittest.main()
