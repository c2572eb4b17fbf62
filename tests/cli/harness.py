# SPDX-License-Identifier: Apache-2.0
"""Shared by the command line tests: runs the program, reads what it writes and what the goldens expect."""
import errno
import json
import math
import os
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.environ["TKR_TEST_DIR"], "media"))
from pdf_file import pdf  # noqa: E402  pylint: disable=wrong-import-position

BINARY = os.environ["TKR_BINARY"]
GOLDEN = os.path.join(os.environ["TKR_TEST_DIR"], "golden", "bert")
CASE = os.path.join(GOLDEN, "bert-mean")
MODEL = os.path.join(CASE, "model")
PROMPTED = os.path.join(GOLDEN, "bert-cls")
with open(BINARY, "rb") as program:
    text = program.read()
    SANITIZED = b"__asan_" in text or b"__tsan_" in text
    del text


def environment(**more):
    """The caller's, without what steers the program."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TKR_", "HF_"))}
    kept.update(HF_HUB_OFFLINE="1", **more)
    return kept


def run(*args, stdin=b"", env=None, **options):
    if not isinstance(stdin, (bytes, int)):
        stdin = stdin.encode()
    given = {"stdin": stdin} if isinstance(stdin, int) else {"input": stdin}
    return subprocess.run([BINARY, *args], capture_output=True, timeout=120, env=env or environment(), check=False,
                          **given, **options)


def start(*args, **options):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([BINARY, *args], env=environment(), **{**pipes, **options})


def cases(folder):
    with open(os.path.join(folder, "cases.json"), encoding="utf-8") as file:
        return json.load(file)["inputs"]


def expected(folder):
    """name -> list of floats, from the golden safetensors file (F32 only)."""
    with open(os.path.join(folder, "expected.safetensors"), "rb") as file:
        data = file.read()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    rows = {}
    for name, tensor in header.items():
        if name != "__metadata__":
            begin, end = tensor["data_offsets"]
            rows[name] = struct.unpack(f"<{(end - begin) // 4}f", data[8 + size + begin:8 + size + end])
    return rows


def distance(a, b):
    """Cosine distance."""
    dot = math.fsum(x * y for x, y in zip(a, b))
    return 1 - dot / math.sqrt(math.fsum(x * x for x in a) * math.fsum(y * y for y in b))


def read_npy(data):
    """Rows of a float32 npy file of format 1.0, parsed by hand as its specification says."""
    assert data[:8] == b"\x93NUMPY\x01\x00", data[:8]
    size = struct.unpack("<H", data[8:10])[0]
    assert (10 + size) % 64 == 0, size
    header = data[10:10 + size]
    assert header.endswith(b"\n"), header
    fields = eval(header, {"__builtins__": {}})  # a Python literal by definition of the format
    assert fields["descr"] == "<f4" and fields["fortran_order"] is False, fields
    rows, columns = fields["shape"]
    body = data[10 + size:]
    assert len(body) == rows * columns * 4, (len(body), rows, columns)
    return read_f32(body, columns)


def read_f32(data, columns):
    assert len(data) % (4 * columns) == 0, len(data)
    return [struct.unpack_from(f"<{columns}f", data, at) for at in range(0, len(data), 4 * columns)]


def read_terminal(fd):
    text = b""
    while True:
        try:
            piece = os.read(fd, 4096)
        except OSError as problem:  # the other end is closed
            if problem.errno != errno.EIO:
                raise
            return text
        if not piece:
            return text
        text += piece


class CliTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name, content=None):
        path = os.path.join(self.folder, name)
        if content is not None:
            with open(path, "wb") as file:
                file.write(content if isinstance(content, bytes) else content.encode())
        return path

    def ok(self, *args, **options):
        """Standard output of a run that must succeed."""
        done = run(*args, **options)
        self.assertEqual(done.returncode, 0, done.stderr.decode(errors="replace")[-2000:])
        return done.stdout

    def fails(self, code, *args, says, **options):
        """Runs what must fail with this code and one line that says this; returns the finished process."""
        done = run(*args, **options)
        message = done.stderr.decode(errors="replace")
        self.assertEqual(done.returncode, code, message)
        self.assertIn(says, message)
        self.assertEqual(message.count("\n"), 1, message)
        return done

    def rows(self, *args, **options):
        """The objects of a jsonl output."""
        return [json.loads(line) for line in self.ok(*args, **options).splitlines()]


def slow_pdf():
    """A page that draws a form ten times which draws a form ten times which ..., without end."""
    levels = 12
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
               b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 4 0 R/Resources<</XObject<</F 5 0 R>>>>>>"]

    def stream(more, data):
        return b"<<%s/Length %d>>stream\n%s\nendstream" % (more, len(data), data)

    objects.append(stream(b"", b"/F Do " * 10))
    for level in range(levels):
        inner = b"/Resources<</XObject<</F %d 0 R>>>>" % (6 + level) if level + 1 < levels else b""
        objects.append(stream(b"/Type/XObject/Subtype/Form/BBox[0 0 200 200]" + inner,
                              b"/F Do " * 10 if inner else b"0 0 m 9 9 l S " * 10))
    return pdf(objects)
