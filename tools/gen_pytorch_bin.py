#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a pytorch_model.bin from a safetensors file without torch: the zip and the pickle that torch.save makes of a
state dict. For tests of checkpoints that have nothing else.

    tools/gen_pytorch_bin.py IN.safetensors OUT.bin [--shard NUMBER OF --index INDEX.json]

With --shard only every OF-th tensor is written, and the index gets their names."""
import argparse
import collections
import io
import json
import os
import pickle
import struct
import sys
import types
import zipfile

STORAGES = {"F32": ("FloatStorage", 4), "F16": ("HalfStorage", 2), "BF16": ("BFloat16Storage", 2),
            "F64": ("DoubleStorage", 8), "I64": ("LongStorage", 8), "I32": ("IntStorage", 4),
            "I16": ("ShortStorage", 2), "I8": ("CharStorage", 1), "U8": ("ByteStorage", 1), "BOOL": ("BoolStorage", 1)}


def named(module, name, base=object):
    """A class or function that pickles as a global of a module that need not be there."""
    made = type(name, (base,), {}) if base else (lambda *arguments: None)
    made.__module__, made.__name__, made.__qualname__ = module, name, name
    for part in range(1, module.count(".") + 2):
        path = ".".join(module.split(".")[:part])
        sys.modules.setdefault(path, types.ModuleType(path))
    setattr(sys.modules[module], name, made)
    return made


class Storage:
    def __init__(self, kind, key, count):
        self.kind, self.key, self.count = kind, key, count


class Tensor:
    rebuild = staticmethod(named("torch._utils", "_rebuild_tensor_v2", None))

    def __init__(self, storage, shape):
        self.storage, self.shape = storage, tuple(shape)

    def __reduce__(self):
        stride = []
        for extent in reversed(self.shape):
            stride.insert(0, stride[0] * self.shape[len(self.shape) - len(stride)] if stride else 1)
        arguments = (self.storage, 0, self.shape, tuple(stride), False, collections.OrderedDict())
        return Tensor.rebuild, arguments


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        if isinstance(value, Storage):
            return ("storage", value.kind, value.key, "cpu", value.count)
        return None


def read_safetensors(path):
    with open(path, "rb") as file:
        data = file.read()
    size = struct.unpack("<Q", data[:8])[0]
    for name, entry in json.loads(data[8:8 + size]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            yield name, entry["dtype"], entry["shape"], data[8 + size + begin:8 + size + end]


def add(archive, name, data):
    """A stored member whose data begins at a multiple of 64, by an extra field as torch's writer pads it."""
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    at = archive.fp.tell() + 30 + len(name) + 4
    info.extra = b"FB" + struct.pack("<H", -at % 64) + b"Z" * (-at % 64)
    archive.writestr(info, data)


def write(path, tensors):
    kinds = {dtype: named("torch", storage) for dtype, (storage, _) in STORAGES.items()}
    state, members = collections.OrderedDict(), []
    for name, dtype, shape, data in tensors:
        storage = Storage(kinds[dtype], str(len(members)), len(data) // STORAGES[dtype][1])
        members.append(data)
        state[name] = Tensor(storage, shape)
    state._metadata = collections.OrderedDict([("", {"version": 1})])
    text = io.BytesIO()
    Pickler(text, protocol=2).dump(state)
    folder = os.path.splitext(os.path.basename(path))[0]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        add(archive, folder + "/data.pkl", text.getvalue())
        add(archive, folder + "/byteorder", b"little")
        for index, data in enumerate(members):
            add(archive, f"{folder}/data/{index}", data)
        add(archive, folder + "/version", b"3\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--shard", nargs=2, type=int, metavar=("NUMBER", "OF"), default=(0, 1))
    parser.add_argument("--index")
    options = parser.parse_args()
    number, count = options.shard
    tensors = [tensor for i, tensor in enumerate(read_safetensors(options.source)) if i % count == number]
    write(options.target, tensors)
    if options.index:
        index = {"metadata": {}, "weight_map": {}}
        if os.path.exists(options.index):
            with open(options.index, encoding="utf-8") as file:
                index = json.load(file)
        index["weight_map"].update((name, os.path.basename(options.target)) for name, *_ in tensors)
        with open(options.index, "w", encoding="utf-8") as file:
            json.dump(index, file)


if __name__ == "__main__":
    main()
