#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The text of a PDF of 200 pages, by pdftotext and by the decoder in turn: CPU and wall seconds. "warm" is
what a further document costs a decoder that has started, "cold" the whole of host, decoder and first document.
usage: documents.py BUILD [FILE.pdf] [RUNS]"""
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
BUILD = Path(sys.argv[1]).resolve()
os.environ.update(TKR_BUILD_DIR=str(BUILD), TKR_TEST_DIR=str(TESTS))
sys.path.insert(0, str(TESTS / "media"))
from documents import DECODER, DUMP  # noqa: E402
from test_documents import many_pages  # noqa: E402


def seconds(*command):
    """CPU, wall."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, wall


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = sys.argv[2] if len(sys.argv) > 2 else os.path.join(folder, "many.pdf")
        if len(sys.argv) <= 2:
            many_pages(path, 200)
        runs = {"pdftotext": [], "cold": [], "warm": []}
        for _ in range(int(sys.argv[3]) if len(sys.argv) > 3 else 15):
            runs["pdftotext"].append(seconds("pdftotext", path, "/dev/null"))
            runs["cold"].append(seconds(DUMP, DECODER, path))
            three = seconds(DUMP, DECODER, path, path, path)
            runs["warm"].append(tuple((a - b) / 2 for a, b in zip(three, runs["cold"][-1])))
    for k, what in enumerate(("CPU", "wall")):
        for name, all_runs in runs.items():
            ours, theirs = ([one[k] for one in some] for some in (all_runs, runs["pdftotext"]))
            least, median = min(ours), statistics.median(ours)
            print(f"{what:4} {name:9} least {least:.3f} s, median {median:.3f} s; pdftotext's over it: "
                  f"{min(theirs) / least:.2f}, {statistics.median(theirs) / median:.2f}")


if __name__ == "__main__":
    main()
