# SPDX-License-Identifier: Apache-2.0
"""Command line: help, usage errors, exit statuses, generated files, and the commands around a model."""
import json
import re
import unittest

from harness import CASE, MODEL, PROMPTED, CliTest, cases, environment, expected, run

COMMANDS = ["embed", "similarity", "tokenize", "info", "models", "pull", "quantize", "doctor", "bench", "serve",
            "config", "key", "health"]


class Help(CliTest):
    def test_without_arguments(self):
        done = run()
        self.assertEqual((done.returncode, done.stdout), (2, b""))
        self.assertIn(b"tkr-embed similarity -m", done.stderr)
        for command in COMMANDS:
            self.assertIn(command.encode(), done.stderr)

    def test_full(self):
        full = self.ok("--help")
        self.assertEqual(full, self.ok("help"))
        for command in COMMANDS:
            self.assertIn(b"\n  " + command.encode(), full)

    def test_each_command(self):
        for command in COMMANDS:
            text = self.ok(command, "--help").decode()
            self.assertEqual(text, self.ok("help", command).decode())
            self.assertEqual(text, self.ok(command, "--no-such-option", "-h").decode())
            for part in ("Usage: tkr-embed " + command, "Examples:", "Options:", "--help"):
                self.assertIn(part, text)
            for line in text.splitlines():
                if not line.lstrip().startswith(("tkr-embed", "zcat")):
                    self.assertLessEqual(len(line), 80, line)

    def test_surface(self):
        text = self.ok("embed", "--help").decode()
        for flag in ("model input jsonl format output precision quantization threads batch-tokens prompt-name prompt "
                     "dimensions no-normalize pooling max-tokens truncate on-error strict max-memory quiet").split():
            self.assertIn("--" + flag, text)

    def test_version(self):
        self.assertRegex(self.ok("--version").decode(), r"^tkr-embed \d+\.\d+\.\d+\n$")

    def test_generated(self):
        man = self.ok("--generate", "man").decode()
        self.assertIn(".TH TKR\\-EMBED 1", man)
        for command in COMMANDS:
            flags = set(re.findall(r"^ +(?:-\w, )?--([a-z-]+)", self.ok(command, "--help").decode(), re.M))
            self.assertGreater(len(flags), 2)  # health has three
            page = man.split(f".SH {command}\n")[1].split(".SH ")[0].replace("\\-", "-")
            for kind in ("bash", "zsh"):
                script = self.ok("--generate", kind).decode()
                self.assertIn(command, script)
                for flag in flags:
                    self.assertIn("--" + flag, script)
            for flag in flags:
                self.assertIn("--" + flag, page)
        self.fails(2, "--generate", "fish", says="man, bash, zsh")


class Usage(CliTest):
    def test_commands(self):
        self.fails(2, "embd", says='did you mean "embed"')
        self.fails(2, "xyzzyxyz", says="expected one of embed")
        self.fails(2, "-m", "x", says="the command comes first")
        self.fails(2, "help", "tokenise", says='did you mean "tokenize"')

    def test_options(self):
        embed = ["embed", "-m", MODEL]
        for args, says in (
                (["--formt", "json", "x"], "did you mean --format?"),
                (["--query", "q", "x"], "not an option of `embed` but of `similarity`"),
                (["--threads", "0", "x"], "--threads is \"0\", expected a whole number from 1 to 1024"),
                (["--threads=9999", "x"], "from 1 to 1024"),
                (["--threads", "2x", "x"], "from 1 to 1024"),
                (["--dimensions", "-1", "x"], "expected a whole number"),
                (["--threads"], "--threads needs a value"),
                (["--format", "xml", "x"], "json|jsonl|npy|f32"),
                (["--precision", "f16", "x"], "auto|f32|bf16"),
                (["--max-memory", "12Q", "x"], "a size such as 512M"),
                (["--jsonl=yes"], "takes no value"),
                (["-5", "x"], "\"--\" goes before a text"),
                (["--prompt", "a", "--prompt-name", "b", "x"], "exclude each other"),
                (["--input", "f", "x"], "exclude each other"),
                (["--jsonl", "x"], "exclude each other"),
                (["--input", "same", "-o", "same"], "the same file")):
            with self.subTest(args=args):
                self.assertEqual(self.fails(2, *embed, *args, says=says).stdout, b"")
        self.fails(2, "embed", "x", says="TKR_MODEL")
        self.fails(2, "models", "x", says="options only")
        self.fails(2, "info", "a", "b", says="one model")
        self.fails(2, "bench", "-m", MODEL, "--batch", "3", says="go together")
        self.fails(2, "bench", "--roofline", "--mixed", says="exclude each other")
        self.fails(2, "similarity", "-m", MODEL, "--top", "3", "x", says="needs --query")

    def test_environment(self):
        model = environment(TKR_MODEL=MODEL)
        self.assertEqual(len(self.rows("embed", "x", env=model)), 1)
        self.fails(2, "embed", "x", env=environment(TKR_MODEL=MODEL, TKR_THREADS="many"), says="TKR_THREADS")
        self.fails(2, "embed", "x", env=environment(TKR_MODEL=MODEL, TKR_OFFLINE="maybe"), says="expected 1 or 0")
        other = environment(TKR_MODEL="/no/such", TKR_THREADS="2")
        self.assertEqual(len(self.rows("embed", "--threads", "1", "-m", MODEL, "x", env=other)), 1, "a flag wins")

    def test_double_dash(self):
        rows = self.rows("embed", "-m", MODEL, "--", "-5 degrees", "--format")
        self.assertEqual([row["index"] for row in rows], [0, 1])

    def test_no_model(self):
        self.fails(1, "embed", "-m", self.path("nothing-here"), "x", says="nothing-here")
        done = run("embed", "-m", "/no/such/model", "-o", self.path("kept", "old"), "x")
        self.assertEqual(done.returncode, 1)
        with open(self.path("kept"), encoding="utf-8") as file:
            self.assertEqual(file.read(), "old", "a failed start must not empty an existing output")


class Similarity(CliTest):
    texts = ["A man is eating food.", "A man is eating.", "日本語のテキスト", "line\nbreak\x1b[31m"]

    def test_table(self):
        text = self.ok("similarity", "-m", MODEL, *self.texts).decode()
        lines = text.splitlines()
        self.assertEqual(len(lines), 5, text)
        for i, line in enumerate(lines[1:]):
            cells = line.split()
            self.assertEqual(cells[0], str(i + 1))
            self.assertEqual(cells[1 + i], "1.000")
        self.assertIn("A man is eating food.", lines[1])
        self.assertNotIn("\x1b", text)
        self.assertEqual(lines[1].split()[2], lines[2].split()[1], "the matrix is symmetric")

    def test_json(self):
        found = json.loads(self.ok("similarity", "-m", MODEL, "--format", "json", *self.texts))
        self.assertEqual(found["texts"], self.texts)
        rows = expected(CASE)
        inputs = [case["text"] for case in cases(CASE)][:8]
        self.path("in.jsonl", "\n".join(map(json.dumps, inputs)))
        matrix = json.loads(self.ok("similarity", "-m", MODEL, "--jsonl", "-i", self.path("in.jsonl"),
                                    "--format", "json"))["similarity"]
        for i in range(8):
            for j in range(8):
                cosine = sum(x * y for x, y in zip(rows[f"{i}.embedding"], rows[f"{j}.embedding"]))
                self.assertAlmostEqual(matrix[i][j], cosine, delta=1e-4)

    def test_query(self):
        query = ("similarity", "-m", MODEL, "--query", self.texts[1])
        found = json.loads(self.ok(*query, "--format", "json", *self.texts))
        scores = [row["score"] for row in found["results"]]
        self.assertEqual(scores, sorted(scores, reverse=True))
        self.assertEqual(found["results"][0]["index"], 1)
        self.assertAlmostEqual(scores[0], 1, delta=1e-6)
        table = self.ok(*query, "--top", "2", *self.texts).decode()
        self.assertEqual(len(table.splitlines()), 2)
        self.assertIn(self.texts[1], table.splitlines()[0])

    def test_many(self):
        texts = "\n".join(f"text number {i % 29}" for i in range(30))
        text = self.ok("similarity", "-m", MODEL, stdin=texts).decode()
        self.assertIn("20 closest pairs of 30 texts", text)
        self.assertIn("1.000      1  text number 0\n            30  text number 0", text)
        self.fails(1, "similarity", "-m", MODEL, says="no text")


class Tokenize(CliTest):
    def test_golden(self):
        for folder in (CASE, PROMPTED):
            wanted = cases(folder)
            lines = "\n".join(json.dumps({k: case[k] for k in ("text", "prompt_name") if k in case}) for case in wanted)
            args = ("tokenize", "-m", folder + "/model", "--jsonl", "-q")
            ids = [json.loads(line) for line in self.ok(*args, stdin=lines).splitlines()]
            self.assertEqual(ids, [case["ids"] for case in wanted])
            both = [json.loads(line) for line in self.ok(*args, "--format", "offsets", stdin=lines).splitlines()]
            self.assertEqual([one["ids"] for one in both], ids)
            self.assertEqual([one["offsets"] for one in both], [case["offsets"] for case in wanted])

    def test_truncation(self):
        text = "one two three four five six seven eight"
        whole = json.loads(self.ok("tokenize", "-m", MODEL, text))
        right = json.loads(self.ok("tokenize", "-m", MODEL, "--max-tokens", "6", "-q", text))
        left = json.loads(self.ok("tokenize", "-m", MODEL, "--max-tokens", "6", "--truncate", "left", "-q", text))
        self.assertEqual(right, whole[:5] + whole[-1:])
        self.assertEqual(left, whole[:1] + whole[-5:])
        self.fails(1, "tokenize", "-m", MODEL, "--max-tokens", "6", "--truncate", "error", text, says="text 1: ")

    def test_no_special(self):
        whole = json.loads(self.ok("tokenize", "-m", MODEL, "one two"))
        self.assertEqual(json.loads(self.ok("tokenize", "-m", MODEL, "--no-special", "one two")), whole[1:-1])

    def test_decode(self):
        ids = json.loads(self.ok("tokenize", "-m", MODEL, "museum, the"))
        args = ("tokenize", "-m", MODEL, "--decode")
        self.assertEqual(self.ok(*args, *map(str, ids)).decode(), "[CLS] museum, the [SEP]\n")
        self.assertEqual(self.ok(*args, json.dumps(ids), json.dumps(ids[:1])).decode(),
                         "[CLS] museum, the [SEP]\n[CLS]\n")
        lines = f"{ids}\n[]\n{ids[1:3]}\n"
        self.assertEqual(self.ok(*args, "--no-special", stdin=lines).decode().splitlines()[:2], ["museum, the", ""])
        whole = [json.loads(line) for line in self.ok(*args, "--json", stdin=lines).splitlines()]
        self.assertEqual(whole[:2], ["[CLS] museum, the [SEP]", ""])
        for text, says in (("[5, 99999]", "id 99999 (number 1) is outside of the vocabulary: 0 to"),
                           ("[-1]", "id -1 (number 0) is outside"),
                           ("[4294967297]", "id 0 is 4294967297, which no vocabulary has"),
                           ("[1.5]", "id 0 is a number, expected a whole number"),
                           ("{}", "an object, expected an array of ids"),
                           ("[1", "ids, byte 2: ends too early")):
            with self.subTest(text=text):
                self.fails(1, *args, stdin=text, says=says)
        done = run(*args, "--on-error", "skip", "-q", stdin=f"[99999]\n{ids}\n")
        self.assertEqual((done.returncode, done.stdout.decode()), (0, "[CLS] museum, the [SEP]\n"))
        self.fails(2, *args, "--jsonl", says="exclude each other")
        self.fails(2, *args, "--format", "table", "1", says="exclude each other")
        self.fails(2, "tokenize", "-m", MODEL, "--json", "x", says="--json needs --decode")

    def test_table(self):
        text = self.ok("tokenize", "-m", MODEL, "--format", "table", "museum").decode()
        self.assertIn("7 tokens: museum", text)
        self.assertRegex(text, r"(?m)^ +3  \[CLS\]$")
        self.assertRegex(text, r"(?m)^ +491 +\S+ +2\.\.4  se$")
        args = ("tokenize", "-m", PROMPTED + "/model", "--prompt-name", "query", "--format", "table", "museum")
        text = self.ok(*args).decode()
        self.assertRegex(text, r"(?m)^ +\d+ +rep +0\.\.3  Rep$", "the prompt is part of what is tokenised")
        self.assertRegex(text, r"(?m)^ +\d+ +##se +59\.\.61  se$")


class Commands(CliTest):
    def test_info(self):
        info = json.loads(self.ok("info", MODEL, "--json"))
        self.assertEqual((info["dimensions"], info["max_tokens"], info["pooling"]), (48, 40, "mean"))
        self.assertTrue(info["kernels"])
        text = self.ok("info", "-m", MODEL).decode()
        for word in ("Architecture", "bert", "Max tokens", "Kernels"):
            self.assertIn(word, text)
        prompts = json.loads(self.ok("info", PROMPTED + "/model", "--json"))["prompts"]
        self.assertIn({"name": "query", "value": "Represent this sentence for searching relevant passages: "}, prompts)

    def test_models(self):
        args = ("models", "--cache-dir", self.folder)
        found = json.loads(self.ok(*args, "--json"))
        aliases = {row["alias"]: row for row in found["aliases"]}
        self.assertTrue(aliases["minilm"]["runnable"])
        self.assertFalse(aliases["minilm"]["cached"])
        self.assertEqual(found["cached"], [])
        self.assertIn("bert", found["architectures"])
        text = self.ok(*args).decode()
        self.assertIn("minilm", text)
        self.assertIn("The cache is empty", text)

    def test_doctor(self):
        found = json.loads(self.ok("doctor", MODEL, "--json"))
        self.assertEqual(found["problems"], 0)
        self.assertGreater(len(found["findings"]), 3)
        self.assertRegex(self.ok("doctor").decode(), r"(?m)^OK +cpu")
        done = run("doctor", "-m", self.folder)
        self.assertEqual(done.returncode, 1, "an empty folder is a problem")

    def test_bench(self):
        args = ("bench", "-m", MODEL, "--batch", "2", "--tokens", "8", "--seconds", "0.05", "--threads", "1")
        row, = json.loads(self.ok(*args, "--json"))["rows"]
        self.assertEqual((row["batch"], row["tokens"], row["n_tokens"]), (2, 8, 16))
        self.assertGreater(row["tokens_per_s"], 0)
        self.assertGreater(row["fraction"], 0)
        self.assertIn("2x8", self.ok(*args).decode())
        self.fails(1, "bench", "-m", MODEL, "--batch", "1", "--tokens", "99", says="takes 40 at most")

    def test_roofline(self):
        roof = json.loads(self.ok("bench", "--roofline", "--json", "--threads", "1"))
        self.assertGreater(roof["f32_ops_per_s"], 1e8)
        self.assertGreater(roof["bandwidth_bytes_per_s"], 1e8)


if __name__ == "__main__":
    unittest.main()
