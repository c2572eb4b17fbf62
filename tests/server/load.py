# SPDX-License-Identifier: Apache-2.0
"""Load for the server's tests: bench_load (a C program that costs little) with made texts, what is expected of every
answer, and the memory of a process."""
import json
import os
import random
import subprocess
import tempfile

BENCH_LOAD = os.path.join(os.environ["TKR_BUILD_DIR"], "tests", "bench_load")
WORDS = ("the cat sat on a warm mat while rain fell over quiet towns and old trains went by to distant harbours where "
         "ships of iron carry grain salt copper timber and letters from one shore to another every year").split()


def texts(n, seed, median=30, most=200):
    """Texts of log-normal lengths, the same for the same seed."""
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=min(most, max(1, round(rng.lognormvariate(0, 0.9) * median)))))
            for _ in range(n)]


def fnv(data):
    """FNV-1a of 64 bits, as bench_load computes it."""
    value = 0xcbf29ce484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return value


class Load:
    """Bodies for one path of a server, with the answers that it gives when it has nothing else to do; or, of one that
    doesn't tell them, with the tokens of each body."""

    def __init__(self, server, bodies, path="/embed/text", tokens=None):
        self.server, self.path = server, path
        self.folder = tempfile.TemporaryDirectory()
        self.bodies, self.expected = (os.path.join(self.folder.name, name) for name in ("bodies", "expected"))
        with open(self.bodies, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(body) + "\n" for body in bodies)
        self.replies = [server.post(path, json.dumps(body)) for body in bodies] if tokens is None else []
        self.tokens = tokens or [int(reply.headers.get("x-compute-tokens", 0)) for reply in self.replies]
        with open(self.expected, "w", encoding="utf-8") as file:
            for reply in self.replies:
                assert reply.status == 200, reply.body[:500]
            hashes = [f"{fnv(reply.body):016x}" for reply in self.replies] or ["-"] * len(self.tokens)
            file.writelines(f"{value} {tokens}\n" for value, tokens in zip(hashes, self.tokens))

    def start(self, seconds, connections, rate=0, **more):
        """Begins a window of load; finish() has its report."""
        host, port = self.server.wait_address()
        command = [BENCH_LOAD, "--host", host, "--port", str(port), "--path", self.path, "--bodies", self.bodies,
                   "--expect", self.expected]
        options = {"seconds": seconds, "connections": connections, "rate": rate, "warmup": 1, **more}
        for name, value in options.items():
            command += [f"--{name}"] if value is True else [f"--{name}", str(value)]
        return subprocess.Popen(command, stdout=subprocess.PIPE)

    def run(self, seconds, connections, rate=0, **more):
        return finish(self.start(seconds, connections, rate, **more))


def finish(process):
    out, _ = process.communicate()
    assert process.returncode == 0, f"bench_load: {process.returncode}"
    return json.loads(out)


def memory(pid, field="RssAnon"):
    """Anonymous resident bytes of a process, or another of its figures: VmHWM, resident bytes at most so far."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field + ":"))
