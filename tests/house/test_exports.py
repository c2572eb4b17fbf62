#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""libtkr.so exports exactly the functions that embed.h declares TKR_API; libtkr.a defines tkr_ names only."""
import os
import re
import subprocess
import sys
from pathlib import Path

BUILD, SOURCE = Path(os.environ["TKR_BUILD_DIR"]), Path(os.environ["TKR_SOURCE_DIR"])


def symbols(*arguments):
    """Names and types of the defined symbols."""
    command = ["nm", "--defined-only", *map(str, arguments)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [fields[-2:] for fields in map(str.split, lines) if len(fields) >= 3]


def main():
    text = re.sub(r"/\*.*?\*/", "", (SOURCE / "include/tkr/embed.h").read_text(), flags=re.S)
    declared = set(re.findall(r"^TKR_API[^;(]*?\b(\w+)\s*\(", text, flags=re.M))
    assert len(declared) >= 20, f"only {len(declared)} declarations found in embed.h"
    assert all(name.startswith("tkr_") for name in declared), declared

    exported = {name for _, name in symbols("-D", BUILD / "libtkr.so")}
    problems = [f"libtkr.so exports {name}, which embed.h doesn't declare" for name in sorted(exported - declared)]
    problems += [f"embed.h declares {name}, which libtkr.so doesn't export" for name in sorted(declared - exported)]
    foreign = {name for kind, name in symbols("-g", BUILD / "libtkr.a") if not name.startswith("tkr_")}
    sanitizer = re.compile(r"^_*(odr_)?asan|^_+(a|ub|t)san|^__asan|^__odr")
    problems += [f"libtkr.a defines {name}" for name in sorted(foreign) if not sanitizer.match(name)]

    soname = subprocess.run(["readelf", "-d", BUILD / "libtkr.so"], check=True, capture_output=True, text=True).stdout
    if "Library soname: [libtkr.so.0]" not in soname:
        problems.append("the soname is not libtkr.so.0")
    print(*problems, sep="\n")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
