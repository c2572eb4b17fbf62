#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`quantize`: the bytes that MLX's own converter wrote for the same weights, vectors of what was written, and what is
refused, interrupted or out of space."""
import json
import os
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.environ["TKR_TEST_DIR"], "cli"))
import harness  # noqa: E402

GOLDEN = os.path.join(os.environ["TKR_TEST_DIR"], "golden")
QUANT = os.path.join(GOLDEN, "quant")
BERT = os.path.join(GOLDEN, "bert", "bert-mean", "model")


def read_safetensors(path):
    """name -> (dtype, shape, bytes)"""
    with open(path, "rb") as file:
        data = file.read()
    size = struct.unpack("<Q", data[:8])[0]
    out = {}
    for name, t in json.loads(data[8:8 + size]).items():
        if name != "__metadata__":
            begin, end = t["data_offsets"]
            out[name] = (t["dtype"], t["shape"], data[8 + size + begin:8 + size + end])
    return out


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, (dtype, shape, values) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def read_gguf_f32(path):
    """name -> (shape, bytes) of a GGUF file of F32 tensors."""
    with open(path, "rb") as file:
        b = file.read()
    at = 8
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

    def take(form):
        nonlocal at
        value = struct.unpack_from("<" + form, b, at)[0]
        at += struct.calcsize("<" + form)
        return value

    def text():
        nonlocal at
        n = take("Q")
        at += n
        return b[at - n:at].decode()

    def skip(kind):
        nonlocal at
        if kind == 8:
            text()
        elif kind == 9:
            inner, n = take("I"), take("Q")
            for _ in range(n):
                skip(inner)
        else:
            at += sizes[kind]

    n_tensors, n_values = take("Q"), take("Q")
    for _ in range(n_values):
        text()
        skip(take("I"))
    rows = []
    for _ in range(n_tensors):
        name = text()
        shape = [take("Q") for _ in range(take("I"))][::-1]
        assert take("I") == 0, name
        rows.append((name, shape, take("Q")))
    begin = (at + 31) // 32 * 32
    out = {}
    for name, shape, offset in rows:
        size = 4
        for n in shape:
            size *= n
        out[name] = (shape, b[begin + offset:begin + offset + size])
    return out


NAMES = {"token_embd": "embeddings.word_embeddings", "position_embd": "embeddings.position_embeddings",
         "token_types": "embeddings.token_type_embeddings", "token_embd_norm": "embeddings.LayerNorm",
         "attn_q": "attention.self.query", "attn_k": "attention.self.key", "attn_v": "attention.self.value",
         "attn_output": "attention.output.dense", "attn_output_norm": "attention.output.LayerNorm",
         "ffn_up": "intermediate.dense", "ffn_down": "output.dense", "layer_output_norm": "output.LayerNorm"}


def hugging_face_name(name):
    parts = name.split(".")
    if parts[0] == "blk":
        return f"encoder.layer.{parts[1]}.{NAMES[parts[2]]}.{parts[3]}"
    return f"{NAMES[parts[0]]}.{parts[1]}"


class Quantize(harness.CliTest):
    def quantize(self, model, *args, status=0, **options):
        out = harness.run("quantize", "-m", model, *args, **options)
        self.assertEqual(out.returncode, status, out.stderr)
        return out

    def tiny_bert(self):
        """The unquantised model behind the MLX goldens: its weights are those of the F32 GGUF golden."""
        folder = os.path.join(self.folder, "tiny")
        os.makedirs(os.path.join(folder, "1_Pooling"))
        source = os.path.join(QUANT, "mlx-bert-q4-g64", "model")
        for name in os.listdir(source):
            if name.endswith(".json"):
                with open(os.path.join(source, name), "rb") as file:
                    self.path(os.path.join("tiny", name), file.read())
        with open(os.path.join(source, "1_Pooling", "config.json"), "rb") as file:
            self.path("tiny/1_Pooling/config.json", file.read())
        with open(os.path.join(source, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
        del config["quantization"]
        self.path("tiny/config.json", json.dumps(config))
        tensors = read_gguf_f32(os.path.join(QUANT, "gguf-bert-f32", "model.gguf"))
        write_safetensors(os.path.join(folder, "model.safetensors"),
                          {hugging_face_name(n): ("F32", s, v) for n, (s, v) in tensors.items()})
        return folder

    def test_bytes_of_mlx(self):
        tiny = self.tiny_bert()
        for bits in ("4", "8"):
            output = os.path.join(self.folder, f"q{bits}")
            self.quantize(tiny, "-q", f"q{bits}", "--group-size", "64", "-o", output, "--no-check")
            golden = os.path.join(QUANT, f"mlx-bert-q{bits}-g64", "model")
            ours = read_safetensors(os.path.join(output, "model.safetensors"))
            theirs = read_safetensors(os.path.join(golden, "model.safetensors"))
            self.assertEqual(set(ours), {n for n in theirs if not n.startswith("pooler.")})
            for name, tensor in ours.items():
                self.assertEqual(tensor[:2], theirs[name][:2], name)
                self.assertEqual(tensor[2], theirs[name][2], name)
            with open(os.path.join(output, "config.json"), encoding="utf-8") as file:
                settings = json.load(file)["quantization"]
            self.assertEqual(settings, {"group_size": 64, "bits": int(bits), "mode": "affine"})

    def test_vectors(self):
        out = self.quantize(BERT, "-q", "q8", "--group-size", "32", "-o", self.path("q8"))
        self.assertIn(b"in q8 in groups of 32", out.stdout)
        self.assertIn(b"cosine min 0.99", out.stdout)
        for name in ("tokenizer.json", "modules.json", "1_Pooling/config.json", "sentence_bert_config.json"):
            with open(os.path.join(BERT, name), "rb") as a, open(self.path(f"q8/{name}"), "rb") as b:
                self.assertEqual(a.read(), b.read())
        expected = harness.expected(os.path.dirname(BERT))
        text = harness.cases(os.path.dirname(BERT))[3]["text"]
        for quantization in ("none", "q8"):
            out = harness.run("embed", "-m", self.path("q8"), "--quantization", quantization, text)
            self.assertLess(harness.distance(json.loads(out.stdout)["embedding"], expected["3.embedding"]), 1e-3)
        self.assertEqual(sorted(os.listdir(self.folder)), ["q8"])

    def test_bfloat16_source(self):
        source = os.path.join(GOLDEN, "bert", "bert-bf16", "model")
        self.quantize(source, "-q", "q4", "--group-size", "32", "-o", self.path("out"), "--no-check")
        tensors = read_safetensors(self.path("out/model.safetensors"))
        self.assertEqual({t[0] for n, t in tensors.items() if n.endswith(".scales")}, {"BF16"})

    def test_refused(self):
        def fails(status, says, *args):
            out = self.quantize(*args, status=status)
            self.assertIn(says, out.stderr)
            self.assertEqual([n for n in os.listdir(self.folder) if "partial" in n], [])
        link = self.path("link")
        os.symlink(BERT, link)
        fails(1, b"is the folder of the model itself", BERT, "-o", BERT)
        fails(1, b"is the folder of the model itself", BERT, "-o", link, "--force")
        fails(2, b"Give -o DIR", BERT)
        os.mkdir(self.path("full"))
        self.path("full/notes.txt", "x")
        fails(1, b"is not empty", BERT, "-o", self.path("full"))
        fails(1, b"holds no checkpoint", BERT, "-o", self.path("full"), "--force")
        fails(1, b"is a file", BERT, "-o", self.path("full/notes.txt"))
        fails(1, b"is a GGUF file", os.path.join(QUANT, "gguf-bert-f32", "model.gguf"), "-o", self.path("new"))
        fails(1, b"is quantised already", os.path.join(QUANT, "mlx-bert-q4-g64", "model"), "-o", self.path("new"))
        shutil.copytree(os.path.join(GOLDEN, "lora", "colqwen2_5_lora", "adapter"), self.path("adapter"))
        with open(self.path("adapter/adapter_config.json"), encoding="utf-8") as file:
            config = json.load(file)
        config["base_model_name_or_path"] = os.path.join(GOLDEN, "qwen2_5_vl", "colqwen2_5", "model")
        self.path("adapter/adapter_config.json", json.dumps(config))
        fails(1, b"is an adapter", self.path("adapter"), "-o", self.path("new"))
        fails(1, b"no matrix has rows of whole groups", BERT, "--group-size", "128", "-o", self.path("new"))
        fails(2, b"expected one of q4|q8", BERT, "-q", "q5", "-o", self.path("new"))
        self.assertEqual(sorted(os.listdir(self.folder)), ["adapter", "full", "link"])

    def test_force(self):
        out = self.path("out")
        self.quantize(BERT, "-q", "q8", "--group-size", "32", "-o", out, "--no-check")
        self.path("out/mine.txt", "kept")
        self.path("out/model-00001-of-00002.safetensors", "stale")
        self.quantize(BERT, "-q", "q4", "--group-size", "32", "-o", out, "--no-check", status=1)
        self.quantize(BERT, "-q", "q4", "--group-size", "32", "-o", out, "--no-check", "--force")
        self.assertTrue(os.path.exists(self.path("out/mine.txt")))
        self.assertFalse(os.path.exists(self.path("out/model-00001-of-00002.safetensors")))
        self.assertEqual(harness.run("embed", "-m", out, "text").returncode, 0)
        self.assertEqual(os.listdir(self.folder), ["out"])

    def test_empty_target(self):
        os.mkdir(self.path("empty"))
        self.quantize(BERT, "-q", "q8", "--group-size", "32", "-o", self.path("empty") + "/", "--no-check")
        self.assertTrue(os.path.exists(self.path("empty/config.json")))

    def test_no_space(self):
        """A file may grow to 64 KiB only: as a full disk, at a place where the weights are written."""
        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
        out = self.quantize(BERT, "-q", "q8", "--group-size", "32", "-o", self.path("out"), "--no-check", status=1,
                            preexec_fn=limit)
        self.assertEqual(out.stderr.count(b"\n"), 1, out.stderr)
        self.assertEqual(os.listdir(self.folder), [])

    def test_damaged_source(self):
        """A tensor that can't be read ends it, and nothing is left."""
        tiny = self.tiny_bert()
        with open(os.path.join(tiny, "model.safetensors"), "r+b") as file:
            file.seek(-8, os.SEEK_END)
            file.write(struct.pack("<2f", float("nan"), 1.0))
        out = self.quantize(tiny, "-o", self.path("out"), "--no-check", status=1)
        self.assertIn(b"holds NaN", out.stderr)
        self.assertEqual(os.listdir(self.folder), ["tiny"])

    def test_interrupted(self):
        """Whenever Ctrl-C comes, there is a whole folder or none."""
        big = self.path("big")
        os.makedirs(big)
        config = {"model_type": "bert", "hidden_size": 1024, "num_hidden_layers": 1, "num_attention_heads": 16,
                  "intermediate_size": 4096, "vocab_size": 40000, "max_position_embeddings": 64, "type_vocab_size": 2}
        self.path("big/config.json", json.dumps(config))
        write_safetensors(self.path("big/model.safetensors"),
                          {"embeddings.word_embeddings.weight": ("BF16", [40000, 1024], bytes(40000 * 1024 * 2))})
        n_stopped = 0
        for wait in (0.0, 0.02, 0.05, 0.1, 0.2, 5.0):
            out = self.path(f"out-{wait}")
            with harness.start("quantize", "-m", big, "-q", "q8", "-o", out, "--no-check", "-t", "1") as process:
                end = time.monotonic() + wait
                while process.poll() is None and time.monotonic() < end:
                    time.sleep(0.005)
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)
                process.communicate(timeout=60)
                done = process.returncode == 0
            n_stopped += not done
            self.assertEqual(os.path.exists(out), done, wait)
            self.assertEqual([n for n in os.listdir(self.folder) if "partial" in n], [])
        self.assertGreater(n_stopped, 0)


if __name__ == "__main__":
    unittest.main()
