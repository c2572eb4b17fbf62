#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Memory of the host and of its decoder over many documents; long_documents.py has 500."""
import unittest

from documents import FOLDER, memory_of_both
from test_documents import BAD, good


class Memory(unittest.TestCase):
    def test_memory_is_flat(self):
        """One decoder; refused documents among them."""
        files = [*good(), *(FOLDER / name for name in BAD)]
        sizes = memory_of_both((files * 6)[:270], (70, 140, 210))  # a pipe holds a few ahead
        print("KiB after 70, 140, 210 documents:", sizes)
        for early, _, late in sizes.values():
            self.assertLess(late, early + (4 << 10))


if __name__ == "__main__":
    unittest.main()
