#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""20,000 documents changed at random, in the jail; then memory over 500 documents, of the host and of its decoder."""
import tempfile

from documents import FOLDER, memory_of_both, survive

GROWTH = 4 << 10  # KiB that allocators may still take between the 100th and the 500th document


def changed():
    totals = [0, 0, 0]
    for part in range(40):
        with tempfile.TemporaryDirectory() as folder:
            totals = [a + b for a, b in zip(totals, survive(folder, 500, 1000 + part))]
    print(f"{totals[0]} read, {totals[1]} refused, {totals[2]} ended the decoder")
    assert totals[0] > 2000 and sum(totals) == 20000


def memory():
    files = sorted(p for p in FOLDER.iterdir() if p.is_file() and p.suffix not in (".py", ".json"))
    sizes = memory_of_both((files * 12)[:600], (100, 250, 500))  # a pipe holds a few ahead
    for who, (early, middle, late) in sizes.items():
        print(f"{who}: {early} KiB after 100, {middle} after 250, {late} after 500 documents")
        assert late < early + GROWTH, (who, early, late)


if __name__ == "__main__":
    memory()
    changed()
