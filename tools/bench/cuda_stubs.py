# SPDX-License-Identifier: Apache-2.0
"""Lets PyPI's torch start without the CUDA libraries it is linked to (2 GB that a CPU never uses).

PyPI has no CPU-only torch for Linux on x86. The wheel's libraries name CUDA libraries as needed; `build` makes an empty
one for each name, whose functions all return 100, "no device"; `load` puts them into the process before torch asks. The
CPU code of torch is untouched: it is the wheel's own.
"""
import ctypes
import re
import subprocess
from pathlib import Path

CUDA = re.compile(r"lib(cu|nv|nccl)\w*\.so[.\d]*$")
# What torch's CPU paths do ask: is a CUDA stream recording? No. And texts for errors are texts.
ANSWERS = {"cudaStreamIsCapturing": "int {name}(void *stream, int *status) {{ *status = 0; return 0; }}\n"}
TEXT = "const char *{name}(void) {{ return \"no CUDA here\"; }}\n"
OTHER = "int {name}(void) {{ return 100; }}\n"
SYMBOL = re.compile(r"_{0,2}(cu|nv|nccl)[A-Za-z0-9_]+$")


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def scan(torch_lib):
    """(needed sonames, {version: soname}, undefined symbols, defined symbols) of torch's libraries."""
    needed, versions, undefined, defined = set(), {}, set(), set()
    for path in sorted(torch_lib.glob("*.so*")):
        needed |= set(re.findall(r"\(NEEDED\).*\[(.+?)\]", run("readelf", "-dW", str(path))))
        soname = None
        for line in run("readelf", "-VW", str(path)).splitlines():
            file = re.search(r"Version: 1\s+File: (\S+)", line)
            soname = file.group(1) if file else soname
            name = re.search(r"Name: (\S+)\s+Flags", line)
            if name and soname and CUDA.match(soname):
                versions[name.group(1)] = soname
        undefined |= set(run("nm", "-D", "--undefined-only", "--format=just-symbols", str(path)).split())
        defined |= {name.split("@")[0]
                    for name in run("nm", "-D", "--defined-only", "--format=just-symbols", str(path)).split()}
    return needed, versions, undefined, defined


def function(name):
    other = TEXT if name.endswith(("String", "ErrorName")) else OTHER
    return ANSWERS.get(name, other).format(name=name)


def build(torch_lib, folder):
    """Makes the stub libraries in `folder`; returns their number."""
    folder.mkdir(parents=True, exist_ok=True)
    needed, versions, undefined, defined = scan(torch_lib)
    present = {path.name for path in torch_lib.glob("*.so*")}
    sonames = sorted(name for name in needed - present if CUDA.match(name))
    first = next((name for name in sonames if name.startswith("libcudart")), sonames[0] if sonames else None)
    symbols = {name: [] for name in sonames}
    for entry in sorted(undefined):
        name, _, version = entry.partition("@")
        if SYMBOL.match(name) and name not in defined:
            symbols[versions.get(version.lstrip("@"), first)].append((name, version.lstrip("@")))
    for soname in sonames:
        source = "".join(function(name) for name, _ in symbols[soname])
        named = {}
        for name, version in symbols[soname]:
            if version in versions:
                named.setdefault(version, []).append(name)
        script = "".join(f"{version} {{ global: {'; '.join(names)}; }};\n" for version, names in named.items())
        (folder / f"{soname}.c").write_text(source)
        (folder / f"{soname}.map").write_text(script)
        command = ["cc", "-shared", "-fPIC", "-O0", "-w", "-fno-builtin", f"-Wl,-soname,{soname}", "-o",
                   str(folder / soname), str(folder / f"{soname}.c")]
        if script:
            command.append(f"-Wl,--version-script={folder / (soname + '.map')}")
        subprocess.run(command, check=True)
    return len(sonames)


def load(folder):
    """Puts the stubs into this process; call before `import torch`. Harmless where there are none."""
    for path in sorted(Path(folder).glob("*.so*")):
        if CUDA.match(path.name):
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
