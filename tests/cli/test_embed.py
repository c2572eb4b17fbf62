# SPDX-License-Identifier: Apache-2.0
"""tkr-embed embed: formats, order, errors with line numbers, streaming, interruption, terminals."""
import json
import os
import pty
import re
import resource
import select
import signal
import struct
import subprocess
import time
import unittest

from harness import (BINARY, GOLDEN, MODEL, PROMPTED, SANITIZED, CliTest, cases, distance, expected, read_f32, read_npy,
                     read_terminal, run, start)

EMBED = ("embed", "-m", MODEL)
F32 = ("--precision", "f32", "--quantization", "none")


def as_float32(row):
    return struct.unpack(f"<{len(row)}f", struct.pack(f"<{len(row)}f", *row))


class Formats(CliTest):
    def test_golden(self):
        for name in sorted(os.listdir(GOLDEN)):
            folder = os.path.join(GOLDEN, name)
            inputs, rows = cases(folder), expected(folder)
            if name == "bert-xlmr-tokenizer":
                continue  # Unigram, which comes with XLM-RoBERTa
            lines = "\n".join(json.dumps({k: case[k] for k in ("text", "prompt_name") if k in case}) for case in inputs)
            found = self.rows("embed", "-m", folder + "/model", *F32, "--jsonl", "-q", stdin=lines)
            self.assertEqual(len(found), len(inputs))
            for case, row in zip(inputs, found):
                self.assertLess(distance(row["embedding"], rows[f"{case['index']}.embedding"]),
                                1e-6 if name == "bert-gelu-eps" else 1e-8, (name, case["note"]))
                self.assertEqual(row["tokens"], case["n_tokens"])
                self.assertEqual(row.get("tokens_untruncated", row["tokens"]), case["n_tokens_untruncated"])

    def test_all_formats_agree(self):
        texts = ["one", "", "two words", "über"]
        args = (*EMBED, *texts)
        wanted = [row["embedding"] for row in self.rows(*args)]
        document = json.loads(self.ok(*args, "--format", "json"))
        self.assertEqual([row["embedding"] for row in document["embeddings"]], wanted)
        self.assertEqual(document["dimensions"], 48)
        self.assertTrue(document["fingerprint"])
        exact = read_npy(self.ok(*args, "--format", "npy"))
        self.assertEqual([as_float32(row) for row in wanted], exact, "the text must read back as the same floats")
        self.assertEqual(read_f32(self.ok(*args, "--format", "f32"), 48), exact)
        for kind in ("npy", "f32", "json", "jsonl"):
            path = self.path("out." + kind)
            self.assertEqual(self.ok(*args, "--format", kind, "-o", path), b"")
            with open(path, "rb") as file:
                content = file.read()
            self.assertEqual(content, self.ok(*args, "--format", kind), kind)

    def test_inputs(self):
        lines = "first\r\nsecond\n\nlast without newline"
        texts = self.rows(*EMBED, "first", "second", "", "last without newline")
        for args, stdin in (((), lines), (("--input", "-"), lines), (("--input", self.path("in.txt", lines)), ""),
                            (("-i", self.path("bom.txt", b"\xef\xbb\xbf" + lines.encode())), "")):
            self.assertEqual(self.rows(*EMBED, *args, stdin=stdin), texts, args)
        self.assertEqual(self.rows(*EMBED, stdin=""), [])
        self.assertEqual(read_npy(self.ok(*EMBED, "--format", "npy", stdin="")), [])
        self.assertEqual(json.loads(self.ok(*EMBED, "--format", "json", stdin=""))["embeddings"], [])

    def test_jsonl_input(self):
        lines = ['"plain"', '{"id": 7, "text": "a"}',
                 '{"text": "b", "id": "x\\u00e9\\"", "extra": [1, {"y": null}]}', "  ",
                 '{"id": null, "text": "c"}', '{"text": "nul \\u0000 inside", "id": 1e3}']
        rows = self.rows(*EMBED, "--jsonl", stdin="\n".join(lines))
        self.assertEqual([row["index"] for row in rows], [0, 1, 2, 3, 4])
        self.assertEqual([row.get("id") for row in rows], [None, 7, 'xé"', None, 1000.0])

    def test_instruct(self):
        model = os.path.join(os.path.dirname(GOLDEN), "qwen3", "qwen3-last", "model")
        embed = ("embed", "-m", model)
        row = self.rows(*embed, "--instruct", "Find it", "text")
        self.assertEqual(row, self.rows(*embed, "--prompt", "Instruct: Find it\nQuery:", "text"))
        self.assertEqual(row, self.rows(*embed, "--jsonl", stdin='{"text": "text", "instruct": "Find it"}'))
        self.fails(1, *EMBED, "--instruct", "Find it", "text", says="no form for one")
        self.fails(2, *embed, "--instruct", "x", "--prompt", "y", "text", says="exclude each other")
        self.fails(2, *embed, "--instruct", "x", "--prompt-name", "query", "text", says="exclude each other")
        ids = json.loads(self.ok("tokenize", "-m", model, "--instruct", "Find it", "text"))
        prompt = ("--prompt", "Instruct: Find it\nQuery:")
        self.assertEqual(ids, json.loads(self.ok("tokenize", "-m", model, *prompt, "text")))
        ranked = json.loads(self.ok("similarity", "-m", model, "--query", "text", "--instruct", "Find it", "--format",
                                    "json", "other"))
        plain = self.rows(*embed, "other")[0]["embedding"]
        self.assertAlmostEqual(ranked["results"][0]["score"], 1 - distance(row[0]["embedding"], plain), 5)

    def test_prompts(self):
        with_prompt = self.rows(*EMBED, "--prompt", "query: ", "text", "other")
        self.assertEqual(with_prompt, self.rows(*EMBED, "query: text", "query: other"))
        mixed = self.rows(*EMBED, "--prompt", "query: ", "--jsonl", stdin='"text"\n{"text": "other", "prompt": ""}\n')
        self.assertEqual(mixed[0], with_prompt[0])
        self.assertEqual(mixed[1]["embedding"], self.rows(*EMBED, "other")[0]["embedding"])
        model = PROMPTED + "/model"
        named = self.rows("embed", "-m", model, "--prompt-name", "query", "text")
        self.assertEqual(named, self.rows("embed", "-m", model, "--prompt",
                                          "Represent this sentence for searching relevant passages: ", "text"))
        line = '{"text": "text", "prompt_name": "query"}'
        self.assertEqual(named, self.rows("embed", "-m", model, "--jsonl", stdin=line))
        self.fails(1, "embed", "-m", model, "--prompt-name", "qery", "text", says='"query"')
        self.fails(1, *EMBED, "--prompt-name", "query", "text", says="no prompt")
        done = run("embed", "-m", model, "--jsonl", stdin='"a"\n{"text":"text","prompt_name":"qery"}')
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"standard input:2: ", done.stderr)

    def test_dimensions(self):
        full, = self.rows(*EMBED, "text")
        short, = self.rows(*EMBED, "--dimensions", "8", "text")
        self.assertEqual(len(short["embedding"]), 8)
        self.assertLess(distance(short["embedding"], full["embedding"][:8]), 1e-12)
        self.assertAlmostEqual(sum(x * x for x in short["embedding"]), 1, delta=1e-6)
        self.assertEqual(len(read_npy(self.ok(*EMBED, "--dimensions", "8", "--format", "npy", "text"))[0]), 8)
        path = self.path("kept", "old")
        self.fails(1, *EMBED, "--dimensions", "49", "-o", path, "text", says="expected 1 to 48")
        with open(path, encoding="utf-8") as file:
            self.assertEqual(file.read(), "old")

    def test_no_normalize(self):
        plain, = self.rows(*EMBED, "--no-normalize", "some text")
        unit, = self.rows(*EMBED, "some text")
        self.assertLess(distance(plain["embedding"], unit["embedding"]), 1e-12)
        self.assertGreater(abs(sum(x * x for x in plain["embedding"]) - 1), 1e-3)

    def test_same_bits_for_any_threads(self):
        lines = "\n".join(f"text {i} " * (i % 23 + 1) for i in range(400))
        args = (*EMBED, "--format", "f32", "-q")
        self.assertEqual(self.ok(*args, "--threads", "1", stdin=lines),
                         self.ok(*args, "--threads", "2", "--batch-tokens", "100", stdin=lines))


class Errors(CliTest):
    broken = '"a"\n"b"\n{"text": \n"c"\n{"txt": "d"}\n{"text": 3}\n["e"]\n"f" "g"\n{"text":"x","text":"y"}\n"h"\n'

    def test_stop(self):
        path = self.path("in.jsonl", self.broken)
        done = self.fails(1, *EMBED, "--jsonl", "-i", path, says=path + ":3: ")
        self.assertEqual([json.loads(line)["index"] for line in done.stdout.splitlines()], [0, 1])
        done = self.fails(1, *EMBED, "--jsonl", "-i", path, "--format", "npy", says=":3: ")
        self.assertEqual(len(read_npy(done.stdout)), 2)
        done = self.fails(1, *EMBED, "--jsonl", "-i", path, "--format", "json", says=":3: ")
        self.assertEqual(len(json.loads(done.stdout)["embeddings"]), 2)

    def test_skip(self):
        done = run(*EMBED, "--jsonl", "--on-error", "skip", stdin=self.broken)
        self.assertEqual(done.returncode, 0)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([row["index"] for row in rows], list(range(10)))
        self.assertEqual([row["index"] for row in rows if "error" in row], [2, 4, 5, 6, 7, 8])
        message = done.stderr.decode()
        self.assertEqual(re.findall(r"(?m)^standard input:(\d+): ", message), ["3", "5", "6", "7", "8", "9"])
        self.assertIn('did you mean "text"', message)
        self.assertIn("4 written, 6 skipped", message)
        done = run(*EMBED, "--jsonl", "--on-error", "skip", "--format", "npy", stdin=self.broken)
        self.assertEqual(len(read_npy(done.stdout)), 4)
        done = run(*EMBED, "--jsonl", "--on-error", "skip", stdin="nonsense\n")
        self.assertEqual(done.returncode, 1, "nothing could be embedded")

    def test_far_line(self):
        lines = [f'"{i}"' for i in range(5000)]
        lines[4321] = '{"text": "unfinished'
        done = self.fails(1, *EMBED, "--jsonl", "--format", "f32", stdin="\n".join(lines), says="standard input:4322: ")
        self.assertEqual(len(read_f32(done.stdout, 48)), 4321)

    def test_invalid_utf8(self):
        path = self.path("in.txt", b"fine\n\xff bad \xe2\x82\nfine")
        rows = self.rows(*EMBED, "-i", path)
        self.assertEqual(rows, self.rows(*EMBED, "fine", "\ufffd bad \ufffd", "fine"))
        done = self.fails(1, *EMBED, "-i", path, "--strict", says=path + ":2: ")
        self.assertEqual(len(done.stdout.splitlines()), 1)
        done = run(*EMBED, "-i", path, "--strict", "--on-error", "skip")
        self.assertEqual(["error" in json.loads(line) for line in done.stdout.splitlines()], [False, True, False])

    def test_truncation(self):
        long_text = "word " * 100
        done = run(*EMBED, "short", long_text)
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"1 of 2 texts was longer than 40 tokens and cut", done.stderr)
        row = json.loads(done.stdout.splitlines()[1])
        self.assertEqual(row["tokens"], 40)
        self.assertGreater(row["tokens_untruncated"], 100)
        self.assertEqual(run(*EMBED, "-q", "short", long_text).stderr, b"")
        done = self.fails(1, *EMBED, "--truncate", "error", "short", long_text, says="text 2: ")
        self.assertEqual(len(done.stdout.splitlines()), 1)

    def test_disk_full(self):
        for kind in ("jsonl", "json", "npy", "f32"):
            self.fails(1, *EMBED, "--format", kind, "-o", "/dev/full", "x", says="No space left on device")
        with open("/dev/full", "wb") as full:
            done = subprocess.run([BINARY, *EMBED, "x"], stdout=full, stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"No space left on device", done.stderr)

    def test_disk_full_on_the_way(self):
        def small_disk():
            resource.setrlimit(resource.RLIMIT_FSIZE, (300000, 300000))

        for kind in ("jsonl", "npy", "f32"):
            path = self.path("out." + kind)
            done = run(*EMBED, "--format", kind, "-o", path, stdin="some text\n" * 5000, preexec_fn=small_disk,
                       restore_signals=False)  # Python ignores SIGXFSZ, so the limit is an error of write(2)
            self.assertEqual(done.returncode, 1, kind)
            self.assertIn(b"File too large", done.stderr)
            with open(path, "rb") as file:
                content = file.read()
            rows = {"jsonl": lambda data: [json.loads(line) for line in data.splitlines()],
                    "npy": read_npy, "f32": lambda data: read_f32(data, 48)}[kind](content)
            self.assertGreater(len(rows), 0)

    def test_unreadable(self):
        self.fails(1, *EMBED, "-i", self.path("absent"), says="absent")
        self.fails(1, *EMBED, "-i", self.folder, says="directory")
        self.fails(1, *EMBED, "-o", self.path("no/such/folder"), "x", says="no/such/folder")

    def test_closed_pipe(self):
        process = start(*EMBED)
        process.stdout.close()
        process.stdin.write(b"text\n" * 5000)
        try:
            process.stdin.close()
        except BrokenPipeError:
            pass
        message = process.stderr.read()
        self.assertEqual((process.wait(60), message), (1, b""))
        process.stderr.close()


def wait_for_rows(path, rows):
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        if os.path.exists(path) and os.path.getsize(path) >= rows * 48 * 4:
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} never held {rows} rows")


def peak(process):
    with open(f"/proc/{process.pid}/status", encoding="utf-8") as file:
        return int(re.search(r"VmHWM:\s+(\d+)", file.read()).group(1)) * 1024


class Streaming(CliTest):
    def finish(self, process):
        try:
            process.stdin.close()
        except BrokenPipeError:
            pass
        message = process.stderr.read().decode()
        code = process.wait(60)
        for stream in (process.stdout, process.stderr):
            stream.close()
        return code, message

    def test_flat_memory(self):
        path = self.path("out.f32")
        process = start(*EMBED, "--format", "f32", "-o", path, "-q")
        process.stdin.write(b"a text of several words\n" * 3000)
        process.stdin.flush()
        wait_for_rows(path, 2000)
        before = peak(process)
        process.stdin.write(b"a text of several words\n" * 20000)
        process.stdin.flush()
        wait_for_rows(path, 20000)
        growth = peak(process) - before
        self.assertEqual(self.finish(process), (0, ""))
        self.assertEqual(os.path.getsize(path), 23000 * 48 * 4)
        self.assertLess(growth, (320 if SANITIZED else 8) << 20, "memory must not grow with the input")

    def test_slow_input_comes_out(self):
        process = start(*EMBED, "-q")
        process.stdin.write(b"one\n")
        process.stdin.flush()
        time.sleep(0.5)
        process.stdin.write(b"two\n")
        process.stdin.flush()
        self.assertTrue(select.select([process.stdout], [], [], 60)[0])
        self.assertEqual(json.loads(process.stdout.readline())["index"], 0)
        self.assertEqual(self.finish(process), (0, ""))

    def interrupt(self, kind, signal_number, *args):
        path = self.path("out." + kind)
        process = start(*EMBED, "--format", kind, "-o", path, *args)
        process.stdin.write(b"some text\n" * 3000)
        process.stdin.flush()
        deadline = time.monotonic() + 60
        while not (os.path.exists(path) and os.path.getsize(path) > 50000) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal_number)
        code, message = self.finish(process)
        self.assertEqual(code, 128 + signal_number, message)
        self.assertRegex(message, r"interrupted: [\d,]+ texts written\n$")
        with open(path, "rb") as file:
            return file.read()

    def test_interrupt(self):
        self.assertGreater(len(read_npy(self.interrupt("npy", signal.SIGINT))), 0)
        self.assertGreater(len(read_f32(self.interrupt("f32", signal.SIGTERM), 48)), 0)
        self.assertGreater(len(json.loads(self.interrupt("json", signal.SIGINT))["embeddings"]), 0)
        content = self.interrupt("jsonl", signal.SIGINT)
        self.assertTrue(content.endswith(b"}\n"))
        rows = [json.loads(line) for line in content.splitlines()]
        self.assertEqual([row["index"] for row in rows], list(range(len(rows))))

    def test_interrupt_while_waiting(self):
        process = start(*EMBED, "--format", "npy")
        process.stdin.write(b"some text\n")
        process.stdin.flush()
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        out = process.stdout.read()
        self.assertEqual(self.finish(process)[0], 130)
        self.assertEqual(read_npy(out), [], "the block that was being read is dropped, the file is whole")


class Terminal(CliTest):
    def run_slowly(self, *args):
        """What is shown on a terminal while the input takes its time."""
        outer, inner = pty.openpty()
        process = start(*EMBED, "--format", "f32", "-o", self.path("out"), *args, stderr=inner)
        os.close(inner)
        for _ in range(4):
            process.stdin.write(b"some text to embed\n" * 200)
            process.stdin.flush()
            time.sleep(0.4)
        process.stdin.close()
        shown = read_terminal(outer).decode()
        os.close(outer)
        process.stdout.close()
        self.assertEqual(process.wait(60), 0, shown)
        return shown

    def test_bar_of_a_pipe(self):
        shown = self.run_slowly()
        self.assertRegex(shown, r"\r[\d,]+ texts  [\d,]+ tokens/s  \d+:\d\d\x1b\[K")
        self.assertTrue(shown.endswith("\r\x1b[K"), "the bar is taken away at the end")

    def test_bar_of_a_file(self):
        path = self.path("in.txt", "some text to embed, a little longer than the others\n" * 500000)
        outer, inner = pty.openpty()
        process = start(*EMBED, "--format", "f32", "-i", path, "-o", self.path("out"), stderr=inner)
        os.close(inner)
        shown = b""
        while b" left" not in shown:  # a few tenths of a second on any machine
            self.assertTrue(select.select([outer], [], [], 60)[0], "no bar")
            shown += os.read(outer, 4096)
        process.send_signal(signal.SIGINT)
        shown += read_terminal(outer)
        os.close(outer)
        process.communicate()
        self.assertEqual(process.returncode, 130)
        bar = r"\r\[[#-]{20}\] +\d+ %  [\d,]+ texts  [\d,]+ tokens/s  \d+:\d\d(:\d\d)? left\x1b\[K"
        self.assertRegex(shown.decode(), bar)

    def test_quiet(self):
        self.assertEqual(self.run_slowly("--quiet"), "")

    def test_binary_on_a_terminal(self):
        outer, inner = pty.openpty()
        done = subprocess.run([BINARY, *EMBED, "--format", "npy", "x"], stdout=inner,
                              stderr=subprocess.PIPE, check=False)
        os.close(inner)
        os.close(outer)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"no text for a terminal", done.stderr)

    def test_nothing_to_read(self):
        outer, inner = pty.openpty()
        done = run(*EMBED, stdin=inner)
        os.close(inner)
        os.close(outer)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"no text", done.stderr)


if __name__ == "__main__":
    unittest.main()
