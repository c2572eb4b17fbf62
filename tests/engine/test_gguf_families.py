#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""GGUF files of every family that has no golden file of its own: each golden folder is rewritten under the names and
keys that llama.cpp's converter uses (gguf-py's tensor_mapping.py, conversion/*.py), and must give the folder's vectors
and token ids. What this can't show is that a real converter's file looks like ours."""
import base64
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.environ["TKR_TEST_DIR"], "cli"))
import harness  # noqa: E402

GOLDEN = os.path.join(os.environ["TKR_TEST_DIR"], "golden")
U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
MARK = "\u2581"


# ---- reading a folder ----

def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def tensors_of(folder):
    """name -> (shape, bytes), of all shards; the goldens used here are F32."""
    out = {}
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".safetensors"):
            continue
        with open(os.path.join(folder, name), "rb") as file:
            data = file.read()
        size = struct.unpack("<Q", data[:8])[0]
        for key, t in json.loads(data[8:8 + size]).items():
            if key != "__metadata__":
                assert t["dtype"] == "F32", (name, key, t["dtype"])
                begin, end = t["data_offsets"]
                out[key] = (t["shape"], data[8 + size + begin:8 + size + end])
    return out


# ---- writing a file ----

def text(value):
    data = value.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(data)) + data


def encode(kind, value):
    if kind == STRING:
        return text(value)
    if kind == BOOL:
        return struct.pack("<?", value)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f"}[kind], value)


def write_gguf(path, metadata, tensors):
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, (kind, value) in metadata.items():
        out += text(key)
        if isinstance(value, list):
            out += struct.pack("<IIQ", ARRAY, kind, len(value)) + b"".join(encode(kind, v) for v in value)
        else:
            out += struct.pack("<I", kind) + encode(kind, value)
    at, data = 0, b""
    for name, (shape, values) in tensors.items():
        out += text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", n) for n in reversed(shape))
        out += struct.pack("<IQ", 0, at)
        padded = values + b"\0" * (-len(values) % 32)
        data += padded
        at += len(padded)
    out += b"\0" * (-len(out) % 32) + data
    with open(path, "wb") as file:
        file.write(out)


# ---- tokenizers ----

def added_types(tokenizer):
    return {t["id"]: CONTROL if t["special"] else USER_DEFINED for t in tokenizer["added_tokens"]}


def pieces_of(tokenizer):
    """id -> piece, gaps filled as the converter does."""
    vocab = tokenizer["model"]["vocab"]
    pieces = dict(enumerate(v[0] for v in vocab)) if isinstance(vocab, list) else {i: p for p, i in vocab.items()}
    pieces.update({t["id"]: t["content"] for t in tokenizer["added_tokens"]})
    return [pieces.get(i, f"[PAD{i}]") for i in range(max(pieces) + 1)]


def common_tokens(pieces, types):
    return {"tokenizer.ggml.tokens": (STRING, pieces), "tokenizer.ggml.token_type": (I32, types)}


def wordpiece(tokenizer):
    types = added_types(tokenizer)
    pieces = pieces_of(tokenizer)
    kinds = [types.get(i, NORMAL) for i in range(len(pieces))]
    phantom = [p if k == CONTROL else p[2:] if p.startswith("##") else MARK + p for p, k in zip(pieces, kinds)]
    ids = {p: i for i, p in enumerate(pieces)}
    return {"tokenizer.ggml.model": (STRING, "bert"), "tokenizer.ggml.pre": (STRING, "jina-v2-en"),
            **common_tokens(phantom, kinds),
            "tokenizer.ggml.unknown_token_id": (U32, ids["[UNK]"]), "tokenizer.ggml.cls_token_id": (U32, ids["[CLS]"]),
            "tokenizer.ggml.seperator_token_id": (U32, ids["[SEP]"])}


def bpe(tokenizer, pre, prefix, suffix):
    types = added_types(tokenizer)
    pieces = pieces_of(tokenizer)
    vocab = tokenizer["model"]["vocab"]
    kinds = [types.get(i, NORMAL if p in vocab else UNUSED) for i, p in enumerate(pieces)]
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    out = {"tokenizer.ggml.model": (STRING, "gpt2"), "tokenizer.ggml.pre": (STRING, pre),
           **common_tokens(pieces, kinds), "tokenizer.ggml.merges": (STRING, merges),
           "tokenizer.ggml.add_bos_token": (BOOL, prefix is not None),
           "tokenizer.ggml.add_eos_token": (BOOL, suffix is not None)}
    for key, piece in (("bos", prefix), ("eos", suffix)):
        if piece is not None:
            out[f"tokenizer.ggml.{key}_token_id"] = (U32, pieces.index(piece))
    return out


def unigram(tokenizer):
    """XLM-RoBERTa, as _xlmroberta_set_vocab writes it."""
    types = added_types(tokenizer)
    pieces = pieces_of(tokenizer)
    unknown = tokenizer["model"]["unk_id"]
    scores = [s for _, s in tokenizer["model"]["vocab"]] + [0.0] * (len(pieces) - len(tokenizer["model"]["vocab"]))
    kinds = [UNKNOWN if i == unknown else types.get(i, NORMAL) for i in range(len(pieces))]
    normalizers = tokenizer["normalizer"].get("normalizers", [tokenizer["normalizer"]])
    charsmap = next(n["precompiled_charsmap"] for n in normalizers if n["type"] == "Precompiled")
    signed = struct.unpack(f"{len(base64.b64decode(charsmap))}b", base64.b64decode(charsmap))
    return {"tokenizer.ggml.model": (STRING, "t5"), "tokenizer.ggml.pre": (STRING, "default"),
            **common_tokens(pieces, kinds), "tokenizer.ggml.scores": (F32, scores),
            "tokenizer.ggml.precompiled_charsmap": (I32, list(signed)),
            "tokenizer.ggml.add_space_prefix": (BOOL, True), "tokenizer.ggml.remove_extra_whitespaces": (BOOL, True),
            "tokenizer.ggml.bos_token_id": (U32, pieces.index("<s>")),
            "tokenizer.ggml.eos_token_id": (U32, pieces.index("</s>"))}


def sentencepiece_bpe(tokenizer):
    """Gemma: scores in the order of the merges."""
    types = added_types(tokenizer)
    pieces = pieces_of(tokenizer)
    rank = {}
    for i, merge in enumerate(tokenizer["model"]["merges"]):
        rank.setdefault("".join(merge if isinstance(merge, list) else merge.split(" ")), -float(i))
    kinds = [UNKNOWN if p == "<unk>" else types[i] if i in types else BYTE if re.fullmatch("<0x[0-9A-F]{2}>", p)
             else NORMAL for i, p in enumerate(pieces)]
    return {"tokenizer.ggml.model": (STRING, "llama"), "tokenizer.ggml.pre": (STRING, "default"),
            **common_tokens(pieces, kinds),
            "tokenizer.ggml.scores": (F32, [rank.get(p, -1e9) for p in pieces]),
            "tokenizer.ggml.add_bos_token": (BOOL, True), "tokenizer.ggml.add_eos_token": (BOOL, True),
            "tokenizer.ggml.add_space_prefix": (BOOL, False),
            "tokenizer.ggml.bos_token_id": (U32, pieces.index("<bos>")),
            "tokenizer.ggml.eos_token_id": (U32, pieces.index("<eos>"))}


# ---- networks ----

BERT = {"embeddings.word_embeddings": "token_embd", "embeddings.position_embeddings": "position_embd",
        "embeddings.token_type_embeddings": "token_types", "embeddings.LayerNorm": "token_embd_norm",
        "attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
        "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm",
        "intermediate.dense": "ffn_up", "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm"}
DISTILBERT = {"embeddings.word_embeddings": "token_embd", "embeddings.position_embeddings": "position_embd",
              "embeddings.LayerNorm": "token_embd_norm", "attention.q_lin": "attn_q", "attention.k_lin": "attn_k",
              "attention.v_lin": "attn_v", "attention.out_lin": "attn_output", "sa_layer_norm": "attn_output_norm",
              "ffn.lin1": "ffn_up", "ffn.lin2": "ffn_down", "output_layer_norm": "layer_output_norm"}
NOMIC = {"embeddings.word_embeddings": "token_embd", "embeddings.token_type_embeddings": "token_types",
         "emb_ln": "token_embd_norm", "attn.Wqkv": "attn_qkv", "attn.out_proj": "attn_output", "mlp.fc11": "ffn_up",
         "mlp.fc12": "ffn_gate", "mlp.fc2": "ffn_down", "norm1": "attn_output_norm", "norm2": "layer_output_norm"}
MODERN = {"embeddings.tok_embeddings": "token_embd", "embeddings.norm": "token_embd_norm", "attn.Wqkv": "attn_qkv",
          "attn.Wo": "attn_output", "attn_norm": "attn_norm", "mlp.Wi": "ffn_up", "mlp.Wo": "ffn_down",
          "mlp_norm": "ffn_norm", "final_norm": "output_norm"}
LLAMA = {"embed_tokens": "token_embd", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
         "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate",
         "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
         "post_attention_layernorm": "ffn_norm", "norm": "output_norm"}
GEMMA = {**LLAMA, "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
         "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
         "post_feedforward_layernorm": "post_ffw_norm"}


def rename(tensors, names):
    out = {}
    for name, tensor in tensors.items():
        inner = re.sub(r"^(model|roberta|bert|distilbert)\.", "", name)
        block = re.match(r"(?:encoder\.|transformer\.)?layers?\.(\d+)\.(.*)\.(weight|bias)$", inner)
        plain = re.match(r"(.*)\.(weight|bias)$", inner)
        if block and block[2] in names:
            out[f"blk.{block[1]}.{names[block[2]]}.{block[3]}"] = tensor
        elif plain and plain[1] in names:
            out[f"{names[plain[1]]}.{plain[2]}"] = tensor
        else:
            assert re.search("pooler|lm_head|position_ids|head|decoder|classifier|cls", inner), name
    return out


def one_more(tensor):
    shape, data = tensor
    values = struct.unpack(f"<{len(data) // 4}f", data)
    return shape, struct.pack(f"<{len(values)}f", *(v + 1 for v in values))


def network(arch, config, **more):
    keys = {"block_count": config.get("num_hidden_layers", config.get("n_layers")),
            "context_length": config["max_position_embeddings"],
            "embedding_length": config.get("hidden_size", config.get("dim")),
            "feed_forward_length": config.get("intermediate_size", config.get("hidden_dim")),
            "attention.head_count": config.get("num_attention_heads", config.get("n_heads"))}
    out = {"general.architecture": (STRING, arch)}
    out.update({f"{arch}.{k}": (U32, v) for k, v in keys.items()})
    out.update({f"{arch}.{k.replace('__', '.')}": v for k, v in more.items()})
    return out


def mean_bert(config):
    return network("bert", config, pooling_type=(U32, 1), attention__causal=(BOOL, False),
                   attention__layer_norm_epsilon=(F32, config.get("layer_norm_eps", 1e-12)))


def trim_positions(config, tensors):
    """RoBERTa's positions begin behind the padding id: the converter cuts the rows before."""
    offset = config["pad_token_id"] + 1
    shape, data = tensors["position_embd.weight"]
    tensors["position_embd.weight"] = ([shape[0] - offset, shape[1]], data[offset * shape[1] * 4:])
    return {**config, "max_position_embeddings": config["max_position_embeddings"] - offset}


def bert(config, tokenizer, tensors, folder):
    return mean_bert(config) | wordpiece(tokenizer), rename(tensors, BERT)


def distilbert(config, tokenizer, tensors, folder):
    return mean_bert(config) | wordpiece(tokenizer), rename(tensors, DISTILBERT)


def xlm_roberta(config, tokenizer, tensors, folder):
    renamed = rename(tensors, BERT)
    config = trim_positions(config, renamed)
    return mean_bert(config) | unigram(tokenizer), renamed


def roberta(config, tokenizer, tensors, folder):
    renamed = rename(tensors, BERT)
    config = trim_positions(config, renamed)
    return mean_bert(config) | bpe(tokenizer, "roberta-bpe", "<s>", "</s>"), renamed


def nomic_bert(config, tokenizer, tensors, folder):
    keys = network("nomic-bert", config, pooling_type=(U32, 1), attention__causal=(BOOL, False),
                   attention__layer_norm_epsilon=(F32, config["layer_norm_eps"]),
                   rope__freq_base=(F32, config["rope_parameters"]["rope_theta"]))
    return keys | wordpiece(tokenizer), rename(tensors, NOMIC)


def modernbert(config, tokenizer, tensors, folder):
    keys = network("modern-bert", config, pooling_type=(U32, 1), attention__causal=(BOOL, False),
                   attention__layer_norm_epsilon=(F32, config["norm_eps"]),
                   attention__sliding_window=(U32, config["local_attention"]),
                   rope__freq_base=(F32, config["global_rope_theta"]),
                   rope__freq_base_swa=(F32, config["local_rope_theta"]))
    return keys | bpe(tokenizer, "modern-bert", "[CLS]", "[SEP]"), rename(tensors, MODERN)


def qwen2(config, tokenizer, tensors, folder):
    keys = network("qwen2", config, pooling_type=(U32, 3),
                   attention__head_count_kv=(U32, config["num_key_value_heads"]),
                   attention__layer_norm_rms_epsilon=(F32, config["rms_norm_eps"]),
                   rope__freq_base=(F32, config["rope_parameters"]["rope_theta"]))
    return keys | bpe(tokenizer, "qwen2", None, "<|endoftext|>"), rename(tensors, LLAMA)


def eurobert(config, tokenizer, tensors, folder):
    rope = config.get("rope_parameters") or config
    keys = network("eurobert", config, pooling_type=(U32, 1), attention__causal=(BOOL, False),
                   attention__head_count_kv=(U32, config["num_key_value_heads"]),
                   attention__layer_norm_rms_epsilon=(F32, config["rms_norm_eps"]),
                   rope__freq_base=(F32, rope["rope_theta"]))
    return keys | bpe(tokenizer, "llama-bpe", "<|begin_of_text|>", "<|end_of_text|>"), rename(tensors, LLAMA)


def gemma(config, tokenizer, tensors, folder):
    renamed = rename(tensors, GEMMA)
    renamed = {k: one_more(t) if k.endswith("norm.weight") else t for k, t in renamed.items()}
    for module in ("2_Dense", "3_Dense"):
        renamed[f"dense_{module[0]}.weight"] = tensors_of(os.path.join(folder, module))["linear.weight"]
    rope = config["rope_parameters"]
    keys = network("gemma-embedding", config, pooling_type=(U32, 1),
                   attention__head_count_kv=(U32, config["num_key_value_heads"]),
                   attention__key_length=(U32, config["head_dim"]), attention__value_length=(U32, config["head_dim"]),
                   attention__layer_norm_rms_epsilon=(F32, config["rms_norm_eps"]),
                   attention__sliding_window=(U32, config["sliding_window"]),
                   rope__freq_base=(F32, rope["full_attention"]["rope_theta"]),
                   rope__freq_base_swa=(F32, rope["sliding_attention"]["rope_theta"]))
    # llama.cpp's code knows these two of the real model; the tiny one has others.
    keys["gemma-embedding.attention.scale"] = (F32, config["query_pre_attn_scalar"] ** -0.5)
    keys["gemma-embedding.attention.sliding_window_pattern"] = \
        (BOOL, [t == "sliding_attention" for t in config["layer_types"]])
    return keys | sentencepiece_bpe(tokenizer), renamed


class Families(unittest.TestCase):
    def check(self, case, convert, skip=()):
        folder = os.path.join(GOLDEN, case)
        model = os.path.join(folder, "model")
        cases = load(os.path.join(folder, "cases.json"))
        metadata, tensors = convert(load(os.path.join(model, "config.json")),
                                    load(os.path.join(model, "tokenizer.json")), tensors_of(model), model)
        with tempfile.TemporaryDirectory() as work:
            path = os.path.join(work, "model.gguf")
            write_gguf(path, metadata, tensors)
            limit = ("--max-tokens", str(cases["max_seq_length"]))
            inputs = [i for i in cases["inputs"] if i["note"] not in skip and not i.get("prompt_name")]
            lines = "\n".join(json.dumps(i["text"]) for i in inputs)
            out = harness.run("tokenize", "-m", path, "--jsonl", *limit, stdin=lines)
            self.assertEqual(out.returncode, 0, out.stderr)
            for i, line in zip(inputs, out.stdout.splitlines()):
                self.assertEqual(json.loads(line), i["ids"], (case, i["text"]))
            texts = [harness.run("tokenize", "-m", m, "--decode", "--json", stdin=out.stdout) for m in (path, model)]
            self.assertEqual(texts[0].returncode, 0, texts[0].stderr)
            self.assertEqual(texts[0].stdout.splitlines(), texts[1].stdout.splitlines(), case)
            out = harness.run("embed", "-m", path, "--jsonl", "--quantization", "none", "--precision", "f32", *limit,
                              stdin=lines)
            self.assertEqual(out.returncode, 0, out.stderr)
            expected = harness.expected(folder)
            for i, line in zip(inputs, out.stdout.splitlines()):
                got = json.loads(line)["embedding"]
                self.assertLess(harness.distance(got, expected[f"{i['index']}.embedding"]), 1e-8, (case, i["text"]))

    def test_bert(self):
        self.check("bert/bert-mean", bert)

    def test_distilbert_as_bert(self):
        self.check("distilbert/distilbert", distilbert)

    def test_xlm_roberta_as_bert(self):
        # SentencePiece takes white space away that this tokenizer.json keeps; the file says SentencePiece's way.
        self.check("xlm_roberta/xlmr-e5", xlm_roberta,
                   skip=("white space only", "repeated spaces", "special tokens typed by a user"))

    def test_roberta_as_bert(self):
        self.check("roberta/roberta", roberta)

    def test_nomic_bert(self):
        self.check("nomic_bert/nomic-bert", nomic_bert)

    def test_modern_bert(self):
        self.check("modernbert/modernbert-mean", modernbert)

    def test_qwen2(self):
        self.check("qwen2/qwen2-last", qwen2)

    def test_eurobert(self):
        self.check("eurobert/eurobert", eurobert)

    def test_gemma_embedding(self):
        self.check("gemma3_text/gemma3-dense", gemma)

    def test_bidirectional_qwen2(self):
        """attention.causal false (gte-Qwen2) changes the vector of all but the last layer's last token."""
        folder = os.path.join(GOLDEN, "qwen2/qwen2-last/model")
        metadata, tensors = qwen2(load(os.path.join(folder, "config.json")),
                                  load(os.path.join(folder, "tokenizer.json")), tensors_of(folder), folder)
        metadata["qwen2.attention.causal"] = (BOOL, False)
        expected = harness.expected(os.path.join(GOLDEN, "qwen2/qwen2-last"))
        text = harness.cases(os.path.join(GOLDEN, "qwen2/qwen2-last"))[3]["text"]
        with tempfile.TemporaryDirectory() as work:
            path = os.path.join(work, "model.gguf")
            write_gguf(path, metadata, tensors)
            out = harness.run("embed", "-m", path, text)
        self.assertEqual(out.returncode, 0, out.stderr)
        self.assertGreater(harness.distance(json.loads(out.stdout)["embedding"], expected["3.embedding"]), 1e-4)


class Bad(unittest.TestCase):
    """Files that can't be used: exit status 1 and one line that names the thing."""

    def setUp(self):
        folder = os.path.join(GOLDEN, "bert/bert-mean/model")
        self.metadata, self.tensors = bert(load(os.path.join(folder, "config.json")),
                                           load(os.path.join(folder, "tokenizer.json")), tensors_of(folder), folder)
        work = tempfile.TemporaryDirectory()
        self.addCleanup(work.cleanup)
        self.path = os.path.join(work.name, "model.gguf")

    def run_file(self, *args):
        write_gguf(self.path, self.metadata, self.tensors)
        return harness.run("embed", "-m", self.path, "--quantization", "none", *args, "text")

    def fails(self, *says):
        out = self.run_file()
        self.assertEqual(out.returncode, 1, out.stderr)
        self.assertEqual(out.stderr.count(b"\n"), 1, out.stderr)
        for words in says:
            self.assertIn(words.encode(), out.stderr)

    def drop(self, key):
        del self.metadata[key]

    def test_whole(self):
        self.assertEqual(self.run_file().returncode, 0)

    def test_architectures(self):
        for name in ("jina-bert-v2", "llama", "nomic-bert-moe", "t5encoder"):
            self.metadata["general.architecture"] = (STRING, name)
            self.fails(f'general.architecture "{name}" is not supported', "supported: bert")
        self.drop("general.architecture")
        self.fails("no general.architecture")

    def test_pooling(self):
        self.drop("bert.pooling_type")
        self.fails("--pooling")
        self.assertEqual(self.run_file("--pooling", "mean").returncode, 0)
        self.metadata["bert.pooling_type"] = (U32, 0)
        self.fails("--pooling")
        self.metadata["bert.pooling_type"] = (U32, 4)
        self.fails("reranker")
        self.metadata["bert.pooling_type"] = (U32, 77)
        self.fails("bert.pooling_type is unknown")

    def test_sizes(self):
        layers = self.metadata["bert.block_count"][1]
        self.metadata["bert.block_count"] = (U32, layers + 1)
        self.fails("missing tensor")
        self.metadata["bert.block_count"] = (STRING, "two")
        self.fails("bert.block_count is no number")
        self.metadata["bert.block_count"] = (U32, 4000000000)
        self.fails("bert.block_count is 4e+09")
        self.drop("bert.block_count")
        self.fails("num_hidden_layers")
        self.metadata["bert.block_count"] = (U32, layers)
        self.metadata["bert.feed_forward_length"] = (U32, [96, 48])
        self.fails("bert.feed_forward_length differs between layers")
        self.metadata["bert.feed_forward_length"] = (U32, 95)
        self.fails("has shape")
        self.metadata["bert.feed_forward_length"] = (U32, 96)
        self.metadata["bert.rope.dimension_count"] = (U32, 6)
        self.fails("rope.dimension_count 6")

    def test_tensors(self):
        self.tensors["blk.0.ffn_strange.weight"] = ([1, 1], b"\0\0\0\0")
        self.fails("unexpected tensor", "blk.0.ffn_strange.weight")
        del self.tensors["blk.0.ffn_strange.weight"]
        self.tensors["blk.99999999999999999999.attn_q.weight"] = ([1, 1], b"\0\0\0\0")
        self.fails("unexpected tensor")
        del self.tensors["blk.99999999999999999999.attn_q.weight"]
        del self.tensors["token_embd.weight"]
        self.fails("token_embd.weight")

    def test_tokenizer(self):
        tokens, types = (self.metadata[f"tokenizer.ggml.{k}"][1] for k in ("tokens", "token_type"))
        self.metadata["tokenizer.ggml.token_type"] = (I32, types[:-1])
        self.fails("tokenizer.ggml.token_type has")
        self.metadata["tokenizer.ggml.token_type"] = (I32, types)
        self.metadata["tokenizer.ggml.cls_token_id"] = (U32, len(tokens))
        self.fails("tokenizer.ggml.cls_token_id is outside")
        self.drop("tokenizer.ggml.cls_token_id")
        self.assertEqual(self.run_file().returncode, 0)
        self.metadata["tokenizer.ggml.model"] = (STRING, "rwkv")
        self.fails('tokenizer.ggml.model "rwkv" is not supported')
        self.metadata["tokenizer.ggml.model"] = (STRING, "gpt2")
        self.fails("tokenizer.ggml.merges")
        self.metadata["tokenizer.ggml.merges"] = (STRING, [])
        self.metadata["tokenizer.ggml.pre"] = (STRING, "exotic")
        self.fails('tokenizer.ggml.pre "exotic" is not supported; supported: gpt-2')
        self.drop("tokenizer.ggml.pre")
        self.fails("no tokenizer.ggml.pre")
        self.metadata["tokenizer.ggml.model"] = (STRING, "t5")
        self.fails("tokenizer.ggml.scores")
        self.metadata["tokenizer.ggml.tokens"] = (STRING, [])
        self.fails("no vocabulary")

    def test_other_files(self):
        out = harness.run("embed", "-m", __file__, "text")
        self.assertIn(b"is a file, but no GGUF file", out.stderr)
        self.run_file()
        with open(self.path, "rb") as file:
            data = file.read()
        with open(self.path, "wb") as file:
            file.write(data[:len(data) // 2])
        out = harness.run("info", "-m", self.path)
        self.assertEqual(out.returncode, 1)
        self.run_file()
        with open(os.path.join(os.path.dirname(self.path), "other.gguf"), "wb") as file:
            file.write(data)
        out = harness.run("info", "-m", os.path.dirname(self.path))
        self.assertIn(b"holds 2 GGUF files", out.stderr)


if __name__ == "__main__":
    unittest.main()
