#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Register tiles must stay in registers: compiles every x86 kernel file to assembly with the build's own command and
fails when a loop of a function named tile* touches a vector register and the stack in one instruction."""
import json
import os
import re
import shlex
import subprocess
import sys

# Tile functions that must be seen, so that a rename can't empty the test.
LEAST = {"avx2": 30, "avx512": 36, "avx512bf16": 30, "vnni": 14}


def assembly(entry):
    arguments = shlex.split(entry["command"]) if "command" in entry else list(entry["arguments"])
    kept, skip = [], False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in ("-o", "-MF", "-MT", "-MQ"):
            skip = True
        elif argument not in ("-c", "-MD", "-MMD") and not argument.startswith(("-fsanitize", "-g")):
            kept.append(argument)
    command = kept + ["-S", "-o", "-"]
    return subprocess.run(command, cwd=entry["directory"], check=True, capture_output=True, text=True).stdout


def functions(text):
    name, body = None, []
    for line in text.splitlines():
        label = re.match(r"([A-Za-z_][\w.]*):", line)
        if label:
            if name:
                yield name, body
            name, body = label.group(1), []
        elif name:
            body.append(line.split("#")[0].strip())
    if name:
        yield name, body


def loops(body):
    """Line ranges from a label to a jump back to it."""
    labels = {}
    for i, line in enumerate(body):
        label = re.match(r"(\.L\w+):", line)
        if label:
            labels[label.group(1)] = i
        jump = re.match(r"j\w+\s+(\.L\w+)$", line)
        if jump and jump.group(1) in labels:
            yield labels[jump.group(1)], i


def spills(body):
    bad = set()
    for begin, end in loops(body):
        for line in body[begin : end + 1]:
            if re.search(r"%[xyz]mm", line) and re.search(r"\(%r[sb]p", line):
                bad.add(line)
    return sorted(bad)


def main():
    if os.uname().machine not in ("x86_64", "amd64"):
        print("not an x86-64 machine: there are no x86 kernels in this build")
        return 0
    with open(os.path.join(os.environ["TKR_BUILD_DIR"], "compile_commands.json"), encoding="utf-8") as f:
        kernels = [e for e in json.load(f) if "/src/kernels/x86/" in e["file"]]
    entries = {e["file"]: e for e in kernels if "tkr_room_kernels" in json.dumps(e)}
    seen, failed = {}, False
    for path, entry in sorted(entries.items()):
        isa = re.search(r"_([a-z0-9]+)\.c$", path).group(1)
        for name, body in functions(assembly(entry)):
            if not name.startswith("tile"):
                continue
            seen[isa] = seen.get(isa, 0) + 1
            for line in spills(body):
                failed = True
                print(f"{os.path.basename(path)}: {name}: {line}")
    print("tile functions seen:", seen)
    for isa, least in LEAST.items():
        if seen.get(isa, 0) < least:
            failed = True
            print(f"expected at least {least} tile functions in *_{isa}.c, saw {seen.get(isa, 0)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
