# SPDX-License-Identifier: Apache-2.0
"""Ten minutes at 80 % of the capacity and ten at 200 % (TKR_LONG_SECONDS: other seconds for each): what doesn't depend
on the machine's noise. Speeds are scripts/bench-server's."""
import os
import unittest

import load
from harness import Server
from test_operations import until
from test_overload import MIB, metrics

SECONDS = float(os.environ.get("TKR_LONG_SECONDS", "600"))
CONNECTIONS = 512


class LongOverload(unittest.TestCase):
    def setUp(self):
        self.server = Server("--cache", "false", "--log-level", "warning", "--max-queue-tokens", "20000")
        self.bodies = load.Load(self.server, [{"texts": load.texts(4, seed)} for seed in range(128)])

    def tearDown(self):
        self.assertEqual(self.server.stop(), 0, self.server.text())

    def run_at(self, part):
        """A window at that part of the capacity; memory may not grow meanwhile."""
        rate = part * self.bodies.run(4, 64)["ok_per_s"]
        warm = self.bodies.run(10, CONNECTIONS, rate)
        before = load.memory(self.server.process.pid)
        got = self.bodies.run(SECONDS, CONNECTIONS, rate, retry=20)
        grown = load.memory(self.server.process.pid) - before
        print(f"{part:.0%}: {got}\nmemory {grown / MIB:+.2f} MiB, warm-up {warm['statuses']}", flush=True)
        self.assertEqual((got["errors"], got["wrong"], got["retry_after_missing"]), (0, 0, 0), got)
        self.assertLess(grown, 8 * MIB)
        until(lambda: metrics(self.server)["tkr_requests_waiting"] <= 1, "every accepted request is answered")
        return got

    def test_80_percent(self):
        got = self.run_at(0.8)
        self.assertEqual(set(got["statuses"]), {"200"}, got)

    def test_200_percent(self):
        got = self.run_at(2)
        self.assertLessEqual(set(got["statuses"]), {"200", "429", "503"}, got)
        self.assertIn("429", got["statuses"], got)
        self.assertGreater(got["ok"], 0)


if __name__ == "__main__":
    unittest.main()
