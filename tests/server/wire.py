# SPDX-License-Identifier: Apache-2.0
"""Raw HTTP and WebSocket bytes for the transport's tests, and the program that is tested (echo_app)."""
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time

PROGRAM = os.path.join(os.environ["TKR_BUILD_DIR"], "tests", "echo_app")
POST = b"POST /embed HTTP/1.1\r\nHost: x\r\n"
HELLO = POST + b"Content-Length: 5\r\n\r\nhello"


class Server:
    """echo_app; listens on a free port of 127.0.0.1 unless told otherwise."""

    def __init__(self, *options, listen=("127.0.0.1:0",), env=None, **popen):
        command = [PROGRAM, *[str(option) for option in options]]
        for address in listen:
            command += ["--listen", address]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LISTEN_")}
        kept.update(env or {})
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, env=kept, text=True, **popen)
        self.lines, self.urls = [], []
        self.news = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.wait_for(r"^ready$|^ERROR", 20)
        self.urls = [line[4:] for line in self.lines if line.startswith("URL ")]

    def _read(self):
        for line in self.process.stderr:
            with self.news:
                self.lines.append(line.rstrip("\n"))
                self.news.notify_all()
        with self.news:
            self.lines.append("EOF")
            self.news.notify_all()

    def wait_for(self, pattern, seconds=5, skip=0):
        """The first line, after `skip` of them, that matches."""
        end = time.monotonic() + seconds
        with self.news:
            while True:
                for line in self.lines[skip:]:
                    if re.search(pattern, line):
                        return line
                left = end - time.monotonic()
                if left <= 0 or (self.lines and self.lines[-1] == "EOF"):
                    raise AssertionError(f"no line /{pattern}/ in {self.lines}")
                self.news.wait(left)

    def saw(self, pattern):
        with self.news:
            return sum(re.search(pattern, line) is not None for line in self.lines)

    def mark(self):
        with self.news:
            return len(self.lines)

    @property
    def address(self):
        host, port = re.fullmatch(r"https?://\[?(.*?)\]?:(\d+)", self.urls[0]).groups()
        return host, int(port)

    def connect(self, **options):
        return Client(socket.create_connection(self.address, 10), **options)

    def memory(self):
        """MiB."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1)) / 1024

    def stop(self, number=signal.SIGTERM, seconds=20):
        """The exit status. number: None: it ends by itself."""
        if number is not None:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        finally:
            self.process.kill()
            self.process.wait()
            self.reader.join()
            self.process.stderr.close()


class Answer:
    def __init__(self, status, fields, body):
        self.status, self.fields, self.body = status, fields, body

    def __repr__(self):
        return f"{self.status} {self.fields} {self.body[:80]}"


class Client:
    def __init__(self, sock):
        self.sock = sock
        self.data = bytearray()
        sock.settimeout(10)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)
        return self

    def more(self, most=1 << 16):
        """False at the end."""
        piece = self.sock.recv(most)
        self.data += piece
        return bool(piece)

    def take(self, n):
        while len(self.data) < n:
            if not self.more():
                raise AssertionError(f"closed after {self.data[:200]}")
        taken = bytes(self.data[:n])
        del self.data[:n]
        return taken

    def answer(self, head_only=False):
        while b"\r\n\r\n" not in self.data:
            if not self.more():
                raise AssertionError(f"closed after {self.data[:200]}")
        head = self.take(self.data.index(b"\r\n\r\n") + 4)[:-4]
        first, *lines = head.decode("ascii").split("\r\n")
        fields = {}
        for line in lines:
            name, value = line.split(": ", 1)
            fields[name.lower()] = value
        status = int(re.fullmatch(r"HTTP/1\.1 (\d\d\d) .+", first).group(1))
        empty = head_only or status in (100, 101, 204, 304)
        return Answer(status, fields, b"" if empty else self.take(int(fields["content-length"])))

    def closed(self, seconds=5):
        """Whether nothing but the end comes."""
        self.sock.settimeout(seconds)
        try:
            return not self.data and not self.more()
        except ConnectionError:
            return True
        except socket.timeout:
            return False

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def mask(data, key=b"\x01\x02\x03\x04"):
    n = len(data)
    wide = int.from_bytes(data, "little") ^ int.from_bytes((key * (n // 4 + 1))[:n], "little")
    return wide.to_bytes(n, "little")


def frame(opcode, data=b"", final=True, masked=True, reserved=0, length=None):
    """length: another one in the head than the data have."""
    n = len(data) if length is None else length
    head = bytes([final << 7 | reserved << 4 | opcode])
    bit = 0x80 if masked else 0
    if n < 126:
        head += bytes([bit | n])
    elif n < 65536:
        head += bytes([bit | 126]) + struct.pack(">H", n)
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", n)
    return head + (b"\x01\x02\x03\x04" + mask(data) if masked else data)


TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


def handshake(path=b"/ws", version=b"13", key=KEY, extra=b""):
    return (b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
            b"Sec-WebSocket-Key: " + key + b"\r\nSec-WebSocket-Version: " + version + b"\r\n" + extra + b"\r\n")


class WebSocket(Client):
    def __init__(self, sock, path=b"/ws"):
        super().__init__(sock)
        self.send(handshake(path))
        answer = self.answer()
        assert answer.status == 101, answer
        assert answer.fields["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", answer

    def frame(self):
        """(opcode, data); a close frame's data is its code."""
        first, n = self.take(2)
        assert first & 0xF0 == 0x80 and n < 128, (first, n)
        if n == 126:
            n = struct.unpack(">H", self.take(2))[0]
        elif n == 127:
            n = struct.unpack(">Q", self.take(8))[0]
        data = self.take(n)
        opcode = first & 15
        if opcode == CLOSE:
            return opcode, struct.unpack(">H", data[:2])[0] if n else 1005
        return opcode, data
