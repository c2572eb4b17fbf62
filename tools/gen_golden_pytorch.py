#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/pytorch with torch itself (made with torch 2.2.2, CPU): small state dicts of every type, saved in
the ways that checkpoints are, the same tensors as expected.safetensors, and files that have to be refused."""
import collections
import json
import pathlib
import struct
import subprocess
import sys

import torch

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "pytorch"
NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64", torch.int64: "I64",
         torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"}


def tensors():
    torch.manual_seed(7)
    made = collections.OrderedDict()
    for dtype, name in NAMES.items():
        values = torch.randn(3, 5) * 10
        made["of." + name] = (values > 0) if dtype == torch.bool else values.abs().to(dtype)
    table = torch.randn(8, 4)
    made["tied.one"], made["tied.two"] = table, table  # one storage, twice
    made["part.rows"] = table[2:5]  # a view inside of it
    made["part.row"] = table[7]
    made["thin"] = torch.randn(6)[:, None]
    made["scalar"] = torch.tensor(2.5)
    made["empty"] = torch.zeros(0, 3)
    made["position_ids"] = torch.arange(300)[None]
    return made


def raw(tensor):
    return bytes(tensor.detach().clone().contiguous().flatten().view(torch.uint8).tolist()) if tensor.numel() else b""


def write_safetensors(path, state):
    header, data = {}, b""
    for name, tensor in sorted(state.items(), key=lambda item: (-item[1].element_size(), item[0])):
        dtype = NAMES[tensor.dtype]
        part = bytes(tensor.flatten().to(torch.uint8).tolist()) if dtype in ("BOOL", "U8") else raw(tensor)
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def main():
    OUT.mkdir(exist_ok=True)
    state = tensors()
    write_safetensors(OUT / "expected.safetensors", state)
    torch.save(state, OUT / "plain.bin")
    torch.save({"epoch": 3, "lr": 1e-4, "state_dict": state, "list": [1, None, (True, "x")]}, OUT / "state_dict.bin")
    torch.save({"model": dict(state), "optimizer": {"step": torch.tensor(1)}}, OUT / "model.bin")
    parameters = collections.OrderedDict(
        (name, torch.nn.Parameter(t, requires_grad=t.is_floating_point())) for name, t in state.items())
    parameters._metadata = collections.OrderedDict([("", {"version": 1})])
    torch.save(parameters, OUT / "parameters.bin")
    names = list(state)
    for shard in (0, 1):
        torch.save({name: state[name].clone() for name in names[shard::2]}, OUT / f"shard{shard + 1}.bin")
    files = {name: f"pytorch_model-0000{i % 2 + 1}-of-00002.bin" for i, name in enumerate(names)}
    (OUT / "shards.index.json").write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": files}))
    torch.save({"w": torch.randn(2, 3).t()}, OUT / "transposed.bin")
    torch.save(torch.nn.Linear(2, 2), OUT / "module.bin")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), OUT / "script.bin")
    torch.save(state, OUT / "legacy.bin", _use_new_zipfile_serialization=False)
    torch.save({"w": torch.zeros(2)}, OUT / "protocol4.bin", pickle_protocol=4)
    generator = pathlib.Path(__file__).with_name("gen_pytorch_bin.py")
    subprocess.run([sys.executable, generator, OUT / "expected.safetensors", OUT / "generated.bin"], check=True)
    loaded = torch.load(OUT / "generated.bin", weights_only=True)  # torch takes what the generator wrote
    assert sorted(loaded) == sorted(state)
    assert all(torch.equal(loaded[name], state[name]) and loaded[name].dtype == state[name].dtype for name in state)


if __name__ == "__main__":
    main()
