#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The structs that tools/bench/tkr_ctypes.py repeats have the fields of include/tkr/embed.h, in their order."""
import os
import re
import sys
import types
from pathlib import Path

SOURCE = Path(os.environ["TKR_SOURCE_DIR"])
NAMES = {"Error": "tkr_error", "ModelOptions": "tkr_model_options", "Pair": "tkr_pair", "ModelInfo": "tkr_model_info",
         "Part": "tkr_part", "Input": "tkr_input", "ResultItem": "tkr_result_item", "Tokens": "tkr_tokens"}


def fields(text, struct):
    """Names of a struct's members: several may share a line's type."""
    body = re.search(r"typedef struct " + struct + r" \{(.*?)\} " + struct + ";", text, flags=re.S).group(1)
    names = []
    for declaration in filter(None, map(str.strip, body.split(";"))):
        names += [re.search(r"(\w+)\s*(\[\w+\])?$", name.strip()).group(1) for name in declaration.split(",")]
    return names


def main():
    text = re.sub(r"/\*.*?\*/", "", (SOURCE / "include/tkr/embed.h").read_text(), flags=re.S)
    sys.modules["numpy"] = types.ModuleType("numpy")  # the binding needs it to compute, not to be looked at
    sys.path.insert(0, str(SOURCE / "tools" / "bench"))
    import tkr_ctypes
    for name, struct in NAMES.items():
        ours, theirs = [field[0] for field in getattr(tkr_ctypes, name)._fields_], fields(text, struct)
        assert ours == theirs, f"tkr_ctypes.{name} has {ours}, {struct} {theirs}"


if __name__ == "__main__":
    main()
