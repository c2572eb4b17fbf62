# SPDX-License-Identifier: Apache-2.0
"""A bf16 GGUF file of a Qwen2 or Qwen3 checkpoint, without a tokenizer: what llama-quantize and llama-bench need.

usage: make_gguf.py FOLDER FILE.gguf"""
import json
import re
import struct
import sys
from pathlib import Path

ALIGN = 32
F32, BF16 = 0, 30
NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
         "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}


def gguf_name(name):
    whole = {"embed_tokens.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}
    if name in whole:
        return whole[name]
    layer, part, kind = re.fullmatch(r"layers\.(\d+)\.(.+)\.(weight|bias)", name).groups()
    return f"blk.{layer}.{NAMES[part]}.{kind}"


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def field(name, value):
    if isinstance(value, str):
        return text(name) + struct.pack("<I", 8) + text(value)
    if isinstance(value, float):
        return text(name) + struct.pack("<If", 6, value)
    return text(name) + struct.pack("<II", 4, value)


def fields(config):
    arch = config["model_type"]
    made = {"general.architecture": arch, "general.name": "random weights", "tokenizer.ggml.model": "none",
            f"{arch}.block_count": config["num_hidden_layers"],
            f"{arch}.context_length": config["max_position_embeddings"],
            f"{arch}.embedding_length": config["hidden_size"],
            f"{arch}.feed_forward_length": config["intermediate_size"],
            f"{arch}.attention.head_count": config["num_attention_heads"],
            f"{arch}.attention.head_count_kv": config["num_key_value_heads"],
            f"{arch}.attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
            f"{arch}.rope.freq_base": float(config["rope_theta"]),
            f"{arch}.vocab_size": config["vocab_size"]}
    if "head_dim" in config:
        made[f"{arch}.attention.key_length"] = made[f"{arch}.attention.value_length"] = config["head_dim"]
    return made


def tensors(folder):
    """[(name, shape, file, offset, bytes)] of all shards."""
    found = []
    for path in sorted(folder.glob("*.safetensors")):
        with open(path, "rb") as file:
            size = struct.unpack("<Q", file.read(8))[0]
            header = json.loads(file.read(size))
        for name, one in header.items():
            if name != "__metadata__":
                assert one["dtype"] == "BF16", f"{name} is {one['dtype']}, expected BF16"
                begin, end = one["data_offsets"]
                found.append((name, one["shape"], path, 8 + size + begin, end - begin))
    return found


def copy(out, one):
    """Matrices as they are; vectors widened: bf16 is the upper half of an f32."""
    _, shape, path, offset, left = one
    with open(path, "rb") as file:
        file.seek(offset)
        while left:
            data = file.read(min(left, 1 << 24))
            left -= len(data)
            if len(shape) == 1:
                data = b"".join(b"\0\0" + data[i:i + 2] for i in range(0, len(data), 2))
            out.write(data)
    out.write(bytes(-out.tell() % ALIGN))


def main():
    folder, target = Path(sys.argv[1]), sys.argv[2]
    listed, made = tensors(folder), fields(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    head, at = struct.pack("<IIQQ", 0x46554747, 3, len(listed), len(made)), 0
    head += b"".join(field(name, value) for name, value in made.items())
    for name, shape, _, _, size in listed:
        head += text(gguf_name(name)) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape[::-1])
        head += struct.pack("<IQ", F32 if len(shape) == 1 else BF16, at)
        at += (size * 2 if len(shape) == 1 else size) + ALIGN - 1
        at -= at % ALIGN
    with open(target, "wb") as out:
        out.write(head + bytes(-len(head) % ALIGN))
        for one in listed:
            copy(out, one)


if __name__ == "__main__":
    main()
