#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The transport over real sockets: hostile requests, right ones, bodies and answers."""
import concurrent.futures
import gzip
import re
import struct
import unittest
import zlib

from wire import HELLO, POST, Server

GET = b"GET /embed HTTP/1.1\r\nHost: x\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
FIVE = b"Content-Length: 5\r\n\r\nhello"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

# name, bytes, status. Each must be refused, the connection closed, and nothing of it be executed.
HOSTILE = [
    ("length and chunked", POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, 400),
    ("chunked and length", POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED, 400),
    ("two lengths", POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello" + SMUGGLED, 400),
    ("two equal lengths", POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
    ("list of lengths", POST + b"Content-Length: 5, 6\r\n\r\nhello", 400),
    ("length +5", POST + b"Content-Length: +5\r\n\r\nhello", 400),
    ("length -5", POST + b"Content-Length: -5\r\n\r\nhello", 400),
    ("length 0x5", POST + b"Content-Length: 0x5\r\n\r\nhello", 400),
    ("length 5x", POST + b"Content-Length: 5x\r\n\r\nhello", 400),
    ("length 5 5", POST + b"Content-Length: 5 5\r\n\r\nhello", 400),
    ("length empty", POST + b"Content-Length: \r\n\r\nhello", 400),
    ("length 2^64+5", POST + b"Content-Length: 18446744073709551621\r\n\r\nhello", 400),
    ("folded line", POST + b"X-A: 1\r\n 2\r\n" + FIVE, 400),
    ("folded length", POST + b"Content-Length:\r\n 5\r\n\r\nhello", 400),
    ("folded coding", POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 501),
    ("bare line feeds", POST.replace(b"\r\n", b"\n") + b"Content-Length: 5\n\nhello", 400),
    ("one bare line feed", POST + b"X-A: 1\n" + FIVE, 400),
    ("bare carriage return", POST + b"X-A: 1\rContent-Length: 9\r\n" + FIVE, 400),
    ("blank before colon", POST + b"Content-Length : 5\r\n\r\nhello", 400),
    ("coding, blank before colon", POST + b"Transfer-Encoding : chunked\r\n" + FIVE, 400),
    ("blank before first name", b"POST /embed HTTP/1.1\r\n Host: x\r\n" + FIVE, 400),
    ("no colon", POST + b"Foo\r\n" + FIVE, 400),
    ("no name", POST + b": x\r\n" + FIVE, 400),
    ("NUL in value", POST + b"X-A: a\0b\r\n" + FIVE, 400),
    ("NUL in name", POST + b"X\0A: a\r\n" + FIVE, 400),
    ("0xff in name", POST + b"X\xff: a\r\n" + FIVE, 400),
    ("( in name", POST + b"X(: a\r\n" + FIVE, 400),
    ("0x01 in value", POST + b"X-A: \x01\r\n" + FIVE, 400),
    ("chunk size zz", CHUNKED + b"zz\r\nhello\r\n0\r\n\r\n", 400),
    ("chunk size 0x5", CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n", 400),
    ("chunk size -5", CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n", 400),
    ("chunk size +5", CHUNKED + b"+5\r\nhello\r\n0\r\n\r\n", 400),
    ("chunk size empty", CHUNKED + b"\r\nhello\r\n0\r\n\r\n", 400),
    ("chunk size 2^64+5", CHUNKED + b"10000000000000005\r\nhello\r\n0\r\n\r\n", 400),
    ("chunk size with blank", CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n", 400),
    ("chunk longer than its size", CHUNKED + b"5\r\nhelloXX\r\n0\r\n\r\n", 400),
    ("chunk lines end with LF", CHUNKED + b"5\nhello\n0\n\n", 400),
    ("chunk extension ends with LF", CHUNKED + b"5;a\nhello\r\n0\r\n\r\n", 400),
    ("chunk extension with CR", CHUNKED + b"5;a\rb\r\nhello\r\n0\r\n\r\n", 400),
    ("chunk data end with LF", CHUNKED + b"5\r\nhello\n0\r\n\r\n", 400),
    ("chunk extension of 100 KB", CHUNKED + b"5;a=" + b"b" * 100000 + b"\r\nhello\r\n0\r\n\r\n", 400),
    ("trailers of 100 KB", CHUNKED + b"5\r\nhello\r\n0\r\n" + b"X-A: bbbbbbbbbbbbbbbb\r\n" * 5000 + b"\r\n", 400),
    ("coding xchunked", POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    ("coding gzip, chunked", POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    ("coding chunked, identity", POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 501),
    ("coding identity", POST + b"Transfer-Encoding: identity\r\n" + FIVE, 501),
    ("coding twice", POST + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n", 400),
    ("coding with parameter", POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", 501),
    ("coding behind VT", POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    ("coding quoted", POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 501),
    ("coding in HTTP/1.0", b"POST /embed HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("coding empty", POST + b"Transfer-Encoding:\r\n" + FIVE, 501),
    ("no Host", b"POST /embed HTTP/1.1\r\n" + FIVE, 400),
    ("two Hosts", POST + b"Host: y\r\n" + FIVE, 400),
    ("Host with blank", b"POST /embed HTTP/1.1\r\nHost: a b\r\n" + FIVE, 400),
    ("two blanks in the line", b"POST  /embed HTTP/1.1\r\nHost: x\r\n" + FIVE, 400),
    ("tabs in the line", b"POST\t/embed\tHTTP/1.1\r\nHost: x\r\n" + FIVE, 400),
    ("blank in target", b"POST /embed x HTTP/1.1\r\nHost: x\r\n" + FIVE, 400),
    ("http in lower case", b"POST /embed http/1.1\r\nHost: x\r\n" + FIVE, 400),
    ("HTTP/2.0", b"POST /embed HTTP/2.0\r\nHost: x\r\n" + FIVE, 505),
    ("HTTP/1.10", b"POST /embed HTTP/1.10\r\nHost: x\r\n" + FIVE, 400),
    ("HTTP/1.9", b"POST /embed HTTP/1.9\r\nHost: x\r\n" + FIVE, 505),
    ("HTTP/0.9", b"GET /embed\r\n\r\n", 400),
    ("target without /", b"POST embed HTTP/1.1\r\nHost: x\r\n" + FIVE, 400),
    ("target with 0xff", b"POST /embed\xff HTTP/1.1\r\nHost: x\r\n" + FIVE, 400),
    ("target with NUL", b"POST /embed\0 HTTP/1.1\r\nHost: x\r\n" + FIVE, 400),
    ("target with %00", b"POST /embed%00 HTTP/1.1\r\nHost: x\r\n" + FIVE, 400),
    ("target with %0", b"POST /embed%0 HTTP/1.1\r\nHost: x\r\n" + FIVE, 400),
    ("leading blank", b" POST /embed HTTP/1.1\r\nHost: x\r\n" + FIVE, 400),
    ("TLS on a plain port", bytes.fromhex("16030100a5010000a10303") + b"a" * 150, 400),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("CONNECT", b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("two Authorizations", POST + b"Authorization: a\r\nAuthorization: b\r\n" + FIVE, 400),
    ("head of 20 KB", POST + b"X-A: " + b"a" * 20000 + b"\r\n\r\n", 431),
    ("target of 20 KB", b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
    ("101 fields", POST + b"X: y\r\n" * 100 + b"\r\n", 431),
    ("other Expect", POST + b"Expect: foo\r\n" + FIVE, 417),
]
ACCEPTED = [
    ("plain", HELLO), ("leading empty line", b"\r\n" + HELLO),
    ("chunked", CHUNKED + b"5\r\nhello\r\n3\r\nabc\r\n0\r\n\r\n"),
    ("chunk extension", CHUNKED + b"5;a=b\r\nhello\r\n0\r\n\r\n"),
    ("trailers", CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nContent-Length: 3\r\n\r\n"),
    ("coding in other case", POST + b"Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("empty body", POST + b"Content-Length: 0\r\n\r\n"), ("no body", POST + b"\r\n"),
    ("HTTP/1.0", b"POST /embed HTTP/1.0\r\n" + FIVE),
    ("absolute target", b"POST http://x/embed HTTP/1.1\r\nHost: x\r\n" + FIVE),
    ("blanks around a value", POST + b"Content-Length:\t 5 \t\r\n\r\nhello"),
    ("99 fields", POST + b"X: y\r\n" * 98 + FIVE),
    ("target of 16,000 bytes", b"POST /embed?" + b"a" * 16000 + b" HTTP/1.1\r\nHost: x\r\n" + FIVE),
]


def zstd_raw(data):
    """A zstd frame of raw blocks, with the content's size unknown."""
    out = bytes.fromhex("28b52ffd") + b"\x00\x58"  # window 2 MiB
    for i in range(0, len(data), 65536):
        piece = data[i:i + 65536]
        out += struct.pack("<I", len(piece) << 3 | (i + 65536 >= len(data)))[:3] + piece
    return out


def zstd_bomb(blocks):
    """Blocks of 128 KiB zeros, four bytes each."""
    one = struct.pack("<I", 131072 << 3 | 1 << 1)[:3] + b"\0"
    last = struct.pack("<I", 131072 << 3 | 1 << 1 | 1)[:3] + b"\0"
    return bytes.fromhex("28b52ffd") + b"\x00\x58" + one * (blocks - 1) + last


def echo(data, coding=None, chunked=False):
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
    if coding:
        head += b"Content-Encoding: " + coding + b"\r\n"
    if not chunked:
        return head + b"Content-Length: %d\r\n\r\n" % len(data) + data
    body = b"".join(b"%x\r\n" % len(data[i:i + 999]) + data[i:i + 999] + b"\r\n" for i in range(0, len(data), 999))
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"


class WithServer(unittest.TestCase):
    OPTIONS = ()

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.OPTIONS)

    @classmethod
    def tearDownClass(cls):
        code = cls.server.stop()
        assert code == 0, (code, cls.server.lines[-20:])

    def ask(self, data, head_only=False):
        with self.server.connect() as client:
            return client.send(data).answer(head_only)


class Hostile(WithServer):
    def test_are_refused(self):
        def attack(case):
            name, data, status = case
            with self.server.connect() as client:
                client.send(data)
                answer = client.answer()
                return name, status, answer, client.closed()

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for name, status, answer, closed in pool.map(attack, HOSTILE):
                with self.subTest(name):
                    self.assertEqual(answer.status, status, answer)
                    self.assertEqual(answer.fields["connection"], "close")
                    self.assertTrue(closed)
                    self.assertNotIn(b"own404", answer.body)

    def test_right_ones_are_accepted(self):
        for name, data in ACCEPTED:
            with self.subTest(name):
                answer = self.ask(data)
                self.assertEqual(answer.status, 200, answer)
                self.assertEqual(len(answer.body), 4200)

    def test_every_split_is_the_same(self):
        data = (b"POST /echo?a=b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"5;x\r\nhello\r\n0\r\nT: 1\r\n\r\n")
        with self.server.connect() as client:
            for i in range(1, len(data)):
                client.send(data[:i])
                client.send(data[i:])
                self.assertEqual(client.answer().body, b"hello", i)
            for byte in data:
                client.send(bytes([byte]))
            self.assertEqual(client.answer().body, b"hello")


class Requests(WithServer):
    def test_fields_and_target(self):
        answer = self.ask(b"GET /show?a=%20b HTTP/1.1\r\nHost: x\r\nX-Some: \t a b \r\nACCEPT:\r\n\r\n")
        self.assertEqual(answer.body, b"GET|/show|a=%20b|127.0.0.1|0|0|0|0\nhost=x\nx-some=a b\naccept=\n")
        answer = self.ask(b"GET /sh%6Fw HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertTrue(answer.body.startswith(b"GET|/show||"), answer)
        self.assertRegex(answer.fields["date"],
                         r"^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} 20\d\d \d\d:\d\d:\d\d GMT$")

    def test_pipelined_requests_are_answered_in_order(self):
        with self.server.connect() as client:
            for n in (3, 40):
                client.send(b"".join(POST + b"Content-Length: %d\r\n\r\n" % i + b"a" * i for i in range(n)))
                for i in range(n):
                    self.assertTrue(client.answer().body.startswith(b'{"n":%d,' % i))

    def test_head_has_no_body(self):
        with self.server.connect() as client:
            head = client.send(b"HEAD /big?5000 HTTP/1.1\r\nHost: x\r\n\r\n").answer(head_only=True)
            self.assertEqual((head.status, head.fields["content-length"]), (200, "5000"))
            self.assertEqual(len(client.send(b"GET /big?5000 HTTP/1.1\r\nHost: x\r\n\r\n").answer().body), 5000)

    def test_connection(self):
        with self.server.connect() as client:
            self.assertNotIn("connection", client.send(HELLO).answer().fields)
            answer = client.send(POST + b"Connection: foo, Close\r\n" + FIVE).answer()
            self.assertEqual(answer.fields["connection"], "close")
            self.assertTrue(client.closed())
        with self.server.connect() as client:
            old = b"POST /embed HTTP/1.0\r\nConnection: Keep-Alive\r\n" + FIVE
            self.assertEqual(client.send(old).answer().fields["connection"], "keep-alive")
            self.assertEqual(client.send(b"POST /embed HTTP/1.0\r\n" + FIVE).answer().fields["connection"], "close")
            self.assertTrue(client.closed())
        with self.server.connect() as client:
            answer = client.send(b"GET /close HTTP/1.1\r\nHost: x\r\n\r\n").answer()
            self.assertEqual(answer.fields["connection"], "close")
            self.assertTrue(client.closed())

    def test_expect(self):
        with self.server.connect() as client:
            client.send(POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
            self.assertEqual(client.answer().status, 100)
            self.assertEqual(client.send(b"hello").answer().status, 200)
            client.send(POST + b"Content-Length: 2000000\r\nExpect: 100-continue\r\n\r\n")
            self.assertEqual(client.answer().status, 413)
            self.assertTrue(client.closed())

    def test_answers_without_reading_the_body(self):
        early = b"POST /early HTTP/1.1\r\nHost: x\r\n"
        with self.server.connect() as client:
            for _ in range(2):  # a small body is read and the connection stays
                self.assertEqual(client.send(early + FIVE).answer().status, 403)
            self.assertEqual(client.send(GET + b"\r\n").answer().fields["allow"], "POST")
            self.assertEqual(client.send(early + b"Content-Length: 900000\r\n\r\n").answer().status, 403)
            try:
                client.send(b"a" * 900000)  # the answer must not be lost to a reset
            except ConnectionError:
                pass
        for more in (b"Transfer-Encoding: chunked\r\n\r\n", b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"):
            with self.server.connect() as client:
                answer = client.send(early + more).answer()
                self.assertEqual((answer.status, answer.fields["connection"]), (403, "close"))

    def test_posting_to_the_loop(self):
        with self.server.connect() as client:
            for _ in range(50):
                client.send(b"POST /post?delay=0 HTTP/1.1\r\nHost: x\r\n" + FIVE)
                self.assertEqual(client.answer().status, 200)

    def test_counts(self):
        with self.server.connect() as client:
            text = client.send(b"GET /counts HTTP/1.1\r\nHost: x\r\n\r\n").answer().body
            self.assertGreaterEqual(int(re.search(rb'"connections":(\d+)', text).group(1)), 1)
            self.assertEqual(int(re.search(rb'"waiting":(\d+)', text).group(1)), 1)


class Bodies(WithServer):
    OPTIONS = ("--compress",)
    TEXT = b"".join(b"line %d\n" % i for i in range(20000))

    def test_large(self):
        data = bytes(range(256)) * 4096
        for chunked in (False, True):
            self.assertEqual(self.ask(echo(data, chunked=chunked)).body, data)

    def test_too_large(self):
        for data in (POST + b"Content-Length: 1048577\r\n\r\n", CHUNKED + (b"10000\r\n" + b"a" * 65536 + b"\r\n") * 17):
            with self.server.connect() as client:
                answer = client.send(data).answer()
                self.assertEqual(answer.status, 413)
                self.assertIn(b"own413", answer.body)
                self.assertTrue(client.closed())

    def test_compressed(self):
        stream = zlib.compressobj(9)
        deflated = stream.compress(self.TEXT) + stream.flush()
        half = len(self.TEXT) // 2
        members = gzip.compress(self.TEXT[:half]) + gzip.compress(self.TEXT[half:])
        for coding, data in ((b"gzip", gzip.compress(self.TEXT)), (b"x-gzip", members), (b"deflate", deflated),
                             (b"zstd", zstd_raw(self.TEXT)),
                             (b"zstd", zstd_raw(self.TEXT[:half]) + zstd_raw(self.TEXT[half:])),
                             (b"identity", self.TEXT)):
            for chunked in (False, True):
                with self.subTest(coding=coding, chunked=chunked):
                    self.assertEqual(self.ask(echo(data, coding, chunked)).body, self.TEXT)

    def test_damaged(self):
        whole = gzip.compress(self.TEXT)
        for coding, data, status in ((b"gzip", whole[:-9], 400), (b"gzip", b"rubbish", 400),
                                     (b"gzip", whole + b"rubbish", 400),
                                     (b"deflate", whole, 400), (b"zstd", zstd_raw(self.TEXT)[:-1], 400),
                                     (b"zstd", b"\x28\xb5\x2f\xfd\x00\xb0" + b"\x01\0\0", 400),  # window of 4 TiB
                                     (b"br", b"x", 415), (b"gzip, gzip", whole, 415)):
            with self.subTest(coding=coding, size=len(data)):
                answer = self.ask(echo(data, coding))
                self.assertEqual(answer.status, status)
                self.assertIn(b"own%d" % status, answer.body)
                if status == 415:
                    self.assertEqual(answer.fields["accept-encoding"], "gzip, deflate, zstd")

    def test_bombs(self):
        before = self.server.memory()
        stream = zlib.compressobj(9, zlib.DEFLATED, 31)
        bomb = b"".join([stream.compress(bytes(1 << 20)) for _ in range(200)]) + stream.flush()
        for coding, data in ((b"gzip", bomb), (b"zstd", zstd_bomb(4000))):
            with self.subTest(coding=coding):
                self.assertEqual(self.ask(echo(data, coding)).status, 413)
        self.assertLess(self.server.memory() - before, 40)

    def test_answers_are_compressed(self):
        def big(n, accept, method=b"GET"):
            return self.ask(method + b" /big?%d HTTP/1.1\r\nHost: x\r\nAccept-Encoding: " % n + accept + b"\r\n\r\n",
                            method == b"HEAD")

        plain = big(50000, b"identity").body
        self.assertEqual(len(plain), 50000)
        packed = big(50000, b"br, gzip")
        self.assertEqual((packed.fields["content-encoding"], packed.fields["vary"]), ("gzip", "Accept-Encoding"))
        self.assertEqual(gzip.decompress(packed.body), plain)
        self.assertEqual(big(50000, b"gzip", b"HEAD").fields["content-length"], packed.fields["content-length"])
        for accept, coding in ((b"gzip, zstd", "zstd"), (b"zstd;q=0.5, gzip", "gzip"), (b"gzip;q=0", None),
                               (b"*", "gzip"),
                               (b"gzip;q=0.001", "gzip"), (b"zstd; q=0, gzip ; q=0.0", None), (b"", None)):
            with self.subTest(accept=accept):
                self.assertEqual(big(50000, accept).fields.get("content-encoding"), coding)
        self.assertNotIn("content-encoding", big(1000, b"gzip").fields)
        self.assertNotIn("content-encoding", big(1000000, b"gzip").fields)  # by the loop, which others wait for


if __name__ == "__main__":
    unittest.main()
