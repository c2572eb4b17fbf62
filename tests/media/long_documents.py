#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""20,000 documents changed at random, in the jail."""
import tempfile

from documents import survive

if __name__ == "__main__":
    totals = [0, 0, 0]
    for part in range(40):
        with tempfile.TemporaryDirectory() as folder:
            totals = [a + b for a, b in zip(totals, survive(folder, 500, 1000 + part))]
    print(f"{totals[0]} read, {totals[1]} refused, {totals[2]} ended the decoder")
    assert totals[0] > 2000 and sum(totals) == 20000
