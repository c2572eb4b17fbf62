#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The table of settings in docs/operations.md is the one that the program generates; its examples are valid."""
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

BEGIN, END = "<!-- settings: begin (tkr-embed --generate settings) -->\n", "<!-- settings: end -->"


def run(*args):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TKR_") or k == "TKR_DECODE"}
    return subprocess.run([os.environ["TKR_BINARY"], *args], capture_output=True, text=True, env=kept, check=False)


def main():
    text = (Path(os.environ["TKR_SOURCE_DIR"]) / "docs" / "operations.md").read_text(encoding="utf-8")
    table = text.split(BEGIN)[1].split(END)[0]
    generated = run("--generate", "settings").stdout
    assert table == generated, "docs/operations.md: the table of settings is not what --generate settings writes"
    examples = re.findall(r"```yaml\n(.*?)```", text, re.S)
    assert len(examples) >= 2, "docs/operations.md: no examples"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "serve.yaml"
        for example in examples:
            path.write_text(example, encoding="utf-8")
            done = run("config", "show", "-c", str(path))
            assert done.returncode == 0, f"docs/operations.md: {done.stderr}\n{example}"
    # The complete example has every key there is.
    keys = re.findall(r"^\| `([\w.]+)` \|", generated, re.M)
    complete = next(example for example in examples if "max_video_frames" in example)
    section, found = "", set()
    for line in complete.splitlines():
        match = re.match(r"( *)#? ?(\w+):", line)
        if match and not match[1] and not line.startswith("#"):
            section = match[2]
            found.add(section)
        elif match:
            found.add(section + "." + match[2])
    missing = [key for key in keys if key not in found]
    assert not missing, f"docs/operations.md: the complete example lacks {missing}"


if __name__ == "__main__":
    sys.exit(main())
