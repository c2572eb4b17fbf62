# SPDX-License-Identifier: Apache-2.0
"""The server under load: rows of the table in docs/performance.md. Driver only: the load comes from
tests/bench/bench_load, the engine's own figures from tests/bench/bench_texts; what is compared alternates, window by
window, and medians are told. Capacity is measured just before each row that needs it."""
import argparse
import base64
import datetime
import http.client
import json
import os
import platform
import random
import socket
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
TEXTS, MEDIAN_WORDS, SIGMA, MOST_WORDS = 512, 30, 0.9, 380
QUANTIZATION = "q8"
HOST = "127.0.0.1"
SNAPSHOTS = "hub/models--sentence-transformers--all-MiniLM-L6-v2/snapshots"


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--stubs", type=Path)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--peers", default="infinity,fastapi")
    parser.add_argument("--rows", default="throughput,latency,steady,overload,idle,lanes,bits")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--long", action="store_true", help="ten minutes for each of the two open loops")
    parser.add_argument("--record", action="store_true", help="write docs/bench/server-DATE.json")
    return parser.parse_args()


ARGS = arguments()
BUILD = ARGS.build.resolve()
os.environ.update(TKR_BUILD_DIR=str(BUILD), TKR_BINARY=str(BUILD / "tkr-embed"), TKR_TEST_DIR=str(ROOT / "tests"),
                  TKR_DECODE=str(BUILD / "tkr-decode"))
sys.path[:0] = [str(ROOT / "tests" / "server"), str(ROOT / "tools" / "bench")]
import harness  # noqa: E402
import load  # noqa: E402
import workload  # noqa: E402

RAW, TABLE = [], []


def cpu_times():
    """All of the machine's CPU time so far, and what its host gave to others of it, in ticks."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(value) for value in file.readline().split()[1:9]]
    return sum(ticks), ticks[7]


SEEN = [cpu_times()]


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def keep(row, who, window):
    """Every window is part of the raw output, with the load of the machine at its end, and the share of its CPU time
    that other guests took since the last one."""
    SEEN.append(cpu_times())
    all_of_it, stolen = (after - before for before, after in zip(*SEEN[-2:]))
    RAW.append({"row": row, "who": who, "at": time.strftime("%H:%M:%S"), "load_average": os.getloadavg()[0],
                "stolen": round(stolen / max(1, all_of_it), 4), **window})
    return window


def tell(what, value, bar, fine):
    TABLE.append((what, value, bar, "-" if fine is None else "yes" if fine else "NO"))
    say("  " + " | ".join(map(str, TABLE[-1])))


def median(windows, name):
    return statistics.median(window[name] for window in windows)


def mixed_texts():
    """Running English of log-normal lengths."""
    words, rng, at, made = " ".join(workload.sentences()).split(), random.Random(20260101), 0, []
    for _ in range(TEXTS):
        n = min(MOST_WORDS, max(1, round(rng.lognormvariate(0, SIGMA) * MEDIAN_WORDS)))
        at = at if at + n <= len(words) else rng.randrange(97)
        made.append(" ".join(words[at:at + n]))
        at += n
    return made


def serve(*more):
    return harness.Server("--quantization", QUANTIZATION, "--cache", "false", "--log-level", "warning", *more,
                          model=ARGS.model, env=dict(os.environ))


class Peer:
    """One of peer_server.py's, on a free port."""

    def __init__(self, kind):
        with socket.socket() as free:
            free.bind((HOST, 0))
            self.address = free.getsockname()
        cache = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
        self.model = next((cache / SNAPSHOTS).iterdir())
        self.log = open(BUILD / "bench" / f"server-{kind}.log", "wb")
        command = [sys.executable, ROOT / "tools" / "bench" / "peer_server.py", ARGS.stubs, kind, self.model,
                   self.address[1]]
        self.process = subprocess.Popen([str(word) for word in command], stdout=self.log, stderr=subprocess.STDOUT,
                                        env={**os.environ, "PYTHONWARNINGS": "ignore"})
        self.path = "/embeddings" if kind == "infinity" else "/embed/text"
        self.body = (lambda texts: {"model": "peer", "input": texts}) if kind == "infinity" else (
            lambda texts: {"texts": texts})

    def wait_address(self):
        return self.address

    def wait(self):
        for _ in range(240):
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.log.name}: it ended")
            try:
                connection = http.client.HTTPConnection(*self.address, timeout=20)
                connection.request("POST", self.path, json.dumps(self.body(["hello"])),
                                   {"Content-Type": "application/json"})
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.5)
        raise RuntimeError(f"{self.log.name}: it doesn't answer")

    def seconds(self):
        """CPU time so far."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            user, system = file.read().rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def rest(self):
        """Until it has done what its last clients left behind: it would take the CPUs from the next window."""
        for _ in range(60):
            before = self.seconds()
            time.sleep(0.5)
            if self.seconds() - before < 0.05:
                return
        raise RuntimeError(f"{self.log.name}: it still computes half a minute after its last request")

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()


def in_process(bodies, seconds):
    command = [BUILD / "tests" / "bench_texts", ARGS.model, QUANTIZATION, bodies, seconds, 64]
    return json.loads(subprocess.run([str(word) for word in command], check=True, capture_output=True).stdout)


def capacity(row, bodies, seconds=None):
    return keep(row, "capacity, 64 connections", bodies.run(seconds or ARGS.seconds, 64))


# ---- the rows ----

def throughput(server, bodies, texts):
    peers = {}
    for kind in [name for name in ARGS.peers.split(",") if name != "none"]:
        try:
            peer = Peer(kind)
            peer.wait()
            requests = [peer.body([text]) for text in texts]
            peer.rest()
            peers[kind] = (peer, load.Load(peer, requests, peer.path, tokens=bodies.tokens))
        except (RuntimeError, OSError) as error:
            say(f"bench-server: {kind} is left out: {error}")
    found = {"in process": [], "tkr-embed": [], **{kind: [] for kind in peers}}
    for i in range(ARGS.rounds):
        begin = i * 97 % TEXTS
        found["in process"].append(keep("throughput", "in process", in_process(bodies.bodies, ARGS.seconds)))
        found["tkr-embed"].append(keep("throughput", "tkr-embed", bodies.run(ARGS.seconds, 64, **{"from": begin})))
        for kind, (peer, peer_load) in peers.items():
            window = peer_load.run(ARGS.seconds, 64, **{"from": begin})
            found[kind].append(keep("throughput", kind, window))
            peer.rest()
    for peer, _ in peers.values():
        peer.stop()
    speed = {who: median(windows, "tokens_per_s") for who, windows in found.items()}
    share = statistics.median(a["tokens_per_s"] / b["tokens_per_s"]
                              for a, b in zip(found["tkr-embed"], found["in process"]))
    tell("tokens/s in process", f"{speed['in process']:.0f}", "", None)
    tell("tokens/s, 64 connections", f"{speed['tkr-embed']:.0f} ({share:.0%} of in process)", ">= 85 %", share >= 0.85)
    for kind in peers:
        times = statistics.median(a["tokens_per_s"] / max(b["tokens_per_s"], 1e-9)
                                  for a, b in zip(found["tkr-embed"], found[kind]))
        barred = kind == "infinity"
        tell(f"tokens/s of {kind}", f"{speed[kind]:.0f} ({times:.1f} times)", ">= 3 times" if barred else "",
             times >= 3 if barred else None)


def counters(server, *names):
    """These of /metrics."""
    found = dict(line.split() for line in server.get("/metrics").body.decode().splitlines() if line[0] != "#")
    return [float(found[name]) for name in names]


def own_seconds(server):
    """Sums and number of the times that the engine took for requests."""
    return counters(server, "te_embed_tokenization_duration_sum", "te_embed_inference_duration_sum",
                    "te_embed_duration_count")


def latency(server, bodies, texts):
    """The shortest text, one after another on one connection, 2 ms between an answer and the next request; the engine
    alone in the same way, and as the server itself measures it for the very same requests."""
    short = load.Load(server, [{"texts": [min(texts, key=len)]}])
    over, over_same = [], []
    for _ in range(ARGS.rounds):
        alone = keep("latency", "in process", in_process(bodies.bodies, 0.01))
        before = own_seconds(server)
        window = short.run(2, 1, pause=0.002, warmup=0)
        tokenize, forward, n = (b - a for a, b in zip(before, own_seconds(server)))
        window["engine_mean_ms"] = (tokenize + forward) / max(n, 1) * 1e3
        keep("latency", "tkr-embed", window)
        over_same.append(window["mean_ms"] - window["engine_mean_ms"])
        over.append(window["p50_ms"] - alone["one_text_median_ms"])
    tell("one short text, over the engine's own time", f"{statistics.median(over):.3f} ms (least {min(over):.3f})",
         "<= 0.35 ms", statistics.median(over) <= 0.35)
    tell("  the same by means, over the engine's time within the same requests",
         f"{statistics.median(over_same):.3f} ms", "", None)


def steady(server, bodies, texts):
    seconds = 600 if ARGS.long else 30
    rate = 0.8 * capacity("steady", bodies, 60 if ARGS.long else 20)["ok_per_s"]
    window = keep("steady", "80 %, 512 connections", bodies.run(seconds, 512, rate))
    clean = set(window["statuses"]) == {"200"} and not window["errors"] and not window["wrong"]
    ratio = window["p99_ms"] / max(window["p50_ms"], 1e-9)
    tell(f"80 % of capacity, 512 connections, {seconds} s: errors", "none" if clean else json.dumps(window["statuses"]),
         "none", clean)
    tell("  p99 / p50", f"{window['p99_ms']:.1f} / {window['p50_ms']:.1f} ms = {ratio:.1f}", "<= 10", ratio <= 10)


def overload(server, bodies, texts):
    """Twice the capacity. A request that waits holds a connection: so many are needed that the queue fills. Goodput by
    rounds, each between two windows of capacity of the same length, as the machine's own speed changes by a tenth
    within seconds; with --long then ten minutes without a pause, between windows of a minute."""
    seconds, filled = 20, 12
    bases, shares, windows, before = [capacity("overload", bodies, seconds)], [], [], 0
    for i in range(ARGS.rounds + ARGS.long):
        if i == ARGS.rounds:
            seconds, bases = 600, [capacity("overload", bodies, 60)]
        rate, connections = 2 * bases[-1]["ok_per_s"], max(512, min(8192, int(30 * bases[-1]["ok_per_s"])))
        windows.append(keep("overload", f"200 %, {connections} connections, {seconds} s",
                            bodies.run(seconds, connections, rate, warmup=filled, retry=5)))
        before = before or load.memory(server.process.pid)  # of a server that has had a full queue
        windows[-1]["grown_mib"] = (load.memory(server.process.pid) - before) / MIB
        time.sleep(12)  # the queue drains
        bases.append(capacity("overload", bodies, min(seconds, 60)))
        shares.append(windows[-1]["tokens_per_s"] / statistics.mean(base["tokens_per_s"] for base in bases[-2:]))
    clients = int(15 * bases[-1]["ok_per_s"])  # half as many again as ten seconds' queue holds
    obedient = keep("overload", "clients that obey", bodies.run(20, clients, obey=True, warmup=filled))
    hasty = keep("overload", "clients that come again at once", bodies.run(20, clients, warmup=filled))
    time.sleep(12)
    bases.append(capacity("overload", bodies, 20))
    hasty_share = hasty["tokens_per_s"] / statistics.mean(base["tokens_per_s"] for base in bases[-2:])
    window, good = windows[-1], statistics.median(shares[:ARGS.rounds])
    grown = window["grown_mib"]
    statuses = {status: sum(part["statuses"].get(status, 0) for part in windows)
                for status in sorted({status for part in windows for status in part["statuses"]})}
    refused = sum(n for status, n in statuses.items() if status in ("429", "503"))
    errors, wrong, missing = (sum(part[name] for part in windows)
                              for name in ("errors", "wrong", "retry_after_missing"))
    clean = set(statuses) <= {"200", "429", "503"} and not errors and not wrong
    again, obeyed = (part["again"].get("200", 0) / max(1, sum(part["again"].values())) for part in (window, obedient))
    tell(f"200 %, {connections} connections: goodput, median of {ARGS.rounds} rounds",
         f"{good:.0%} of capacity ({min(shares[:ARGS.rounds]):.0%} to {max(shares[:ARGS.rounds]):.0%})", ">= 90 %",
         good >= 0.9)
    if ARGS.long:
        tell("  the same, ten minutes against the windows before and after", f"{shares[-1]:.0%} of capacity", ">= 90 %",
             shares[-1] >= 0.9)
    tell("  statuses", f"{json.dumps(statuses)}, errors {errors}", "200, 429, 503", clean)
    tell("  refusals without Retry-After", missing, "0", refused > 0 and missing == 0)
    tell(f"  {clients} clients that all wait as told: second tries taken", f"{obeyed:.0%}", "", None)
    tell("  second tries taken while others go on with 200 %", f"{again:.0%}", "", None)
    tell(f"  {clients} clients that come again as soon as they are refused: goodput", f"{hasty_share:.0%} of capacity",
         ">= 90 %", hasty_share >= 0.9)
    tell("  memory more, since the first round", f"{grown:.1f} MiB", "flat", grown < 16)


def idle(server, bodies, texts):
    """10,000 connections that only cost: held by a process of their own."""
    rate = 0.3 * capacity("idle", bodies)["ok_per_s"]
    alone, crowded = [], []
    pid, before = server.process.pid, load.memory(server.process.pid)
    peak = 0
    for _ in range(max(3, ARGS.rounds // 2)):
        alone.append(keep("idle", "alone", bodies.run(ARGS.seconds, 16, rate)))
        crowd = bodies.start(ARGS.seconds + 6, 1, 0.001, warmup=0, idle=8000, slow=1000, dribble=1000)
        time.sleep(3)
        crowded.append(keep("idle", "beside 10,000", bodies.run(ARGS.seconds, 16, rate)))
        peak = max(peak, load.memory(pid))
        keep("idle", "the 10,000", load.finish(crowd))
    ratio = statistics.median(b["p99_ms"] / a["p99_ms"] for a, b in zip(alone, crowded))
    more = (peak - before) / MIB
    tell("8,000 idle, 1,000 half and 1,000 dribbling connections: p99 of served ones",
         f"{median(alone, 'p99_ms'):.1f} -> {median(crowded, 'p99_ms'):.1f} ms ({ratio:.2f} times)", "<= 2 times",
         ratio <= 2)
    tell("  memory more", f"{more:.0f} MiB", "<= 200 MiB", more <= 200)
    errors = sum(window["errors"] for window in crowded)
    tell("  errors of served ones", errors, "0", errors == 0)


def computed(server):
    """Tokens that the server has computed so far, and when that was."""
    return counters(server, "tkr_tokens_total")[0], time.monotonic()


def lanes(server, bodies, texts):
    """Bulk work without a pause, and beside it interactive work by turns. What bulk work loses is told by the server's
    own count of tokens: a bulk request takes a second, so that whole ones are too coarse, and the machine's speed
    changes by a tenth within seconds, so that many short turns tell more than few long ones."""
    short = load.Load(server, [{"texts": [text]} for text in sorted(texts, key=len)[:64]])
    many = load.Load(server, [{"texts": texts[i:i + 32]} for i in range(0, TEXTS, 32)])
    quiet = [keep("lanes", "interactive", short.run(ARGS.seconds, 4, rate=20)) for _ in range(ARGS.rounds)]
    busy, alone, beside, turns = [], [], [], 4 * ARGS.rounds
    heavy = many.start(10 + turns * (2 * ARGS.seconds + 2), 4)

    def turn(interactive):
        load_beside = short.start(ARGS.seconds + 1, 4, rate=20, warmup=0) if interactive else None
        time.sleep(0.5)
        n, begin = computed(server)
        time.sleep(ARGS.seconds)
        more, end = computed(server)
        speed = (more - n) / (end - begin)
        if interactive:
            busy.append(keep("lanes", "interactive beside bulk", load.finish(load_beside)))
            speed -= busy[-1]["tokens_per_s"]
        keep("lanes", "bulk beside interactive" if interactive else "bulk", {"tokens_per_s": speed})
        return speed

    time.sleep(1)
    alone.append(turn(False))
    for _ in range(turns):
        beside.append(turn(True))
        alone.append(turn(False))
    assert heavy.poll() is None, "bulk work ended before its last turn"
    keep("lanes", "bulk, all the time", load.finish(heavy))
    p99, idle_p99 = median(busy, "p99_ms"), median(quiet, "p99_ms")
    bar = 2 * (idle_p99 + 20)
    tell("interactive (20 a second) beside bulk: p99", f"{p99:.1f} ms (alone {idle_p99:.1f})", f"<= {bar:.1f} ms",
         p99 <= bar)
    losses = [1 - with_it / (before + after) * 2 for with_it, before, after in zip(beside, alone, alone[1:])]
    loss, error = statistics.mean(losses), statistics.stdev(losses) / len(losses) ** 0.5
    tell("  bulk loses", f"{loss:.1%} (standard error of {turns} turns {error:.1%})", "<= 10 %", loss <= 0.1)


def bits(server, bodies, texts):
    """Every API's vectors, while bulk work runs, against the command line's."""
    few = [text for text in texts if len(text) < 600][:24]
    done = subprocess.run([harness.BINARY, "embed", "-m", ARGS.model, "--quantization", QUANTIZATION, "--format", "f32",
                           "--", *few], check=True, capture_output=True)
    size = len(done.stdout) // len(few)
    want = [done.stdout[at:at + size] for at in range(0, len(done.stdout), size)]

    def rows(vectors):
        return [struct.pack(f"<{len(row)}f", *row) for row in vectors]
    apis = {
        "/embed/text": ({"texts": few}, lambda r: rows(r["embeddings"])),
        "/v1/embeddings": ({"input": few, "model": "m"}, lambda r: rows(d["embedding"] for d in r["data"])),
        "/v1/embeddings#base64": ({"input": few, "model": "m", "encoding_format": "base64"},
                                  lambda r: [base64.b64decode(d["embedding"]) for d in r["data"]]),
        "/v1/embeddings#jina": ({"input": [{"text": text} for text in few], "model": "m"},
                                lambda r: rows(d["embedding"] for d in r["data"])),
        "/embed": ({"inputs": few}, rows),
        "/v2/embed": ({"texts": few, "model": "m", "input_type": "classification", "embedding_types": ["float"]},
                      lambda r: rows(r["embeddings"]["float"])),
        "/api/embed": ({"input": few, "model": "m"}, lambda r: rows(r["embeddings"])),
        "/embeddings#llama": ({"content": few}, lambda r: rows(d["embedding"][0] for d in r)),
    }
    many = load.Load(server, [{"texts": texts[i:i + 64]} for i in range(0, TEXTS, 64)])
    heavy = many.start(20, 4)
    bad = []
    for name, (body, read) in apis.items():
        reply = server.post(name.split("#")[0], body)
        if reply.status != 200 or read(reply.json()) != want:
            bad.append(name)
    window = keep("bits", "bulk meanwhile", load.finish(heavy))
    tell(f"bits of {len(apis)} APIs under load against the command line's", f"differ: {bad}" if bad else "same", "same",
         not bad and window["wrong"] == 0)
    wrong = sum(window.get("wrong", 0) for window in RAW)
    tell("answers of all windows that differ from those on the idle server", wrong, "0", wrong == 0)


# ---- the report ----

def table():
    lines = ["| | measured | bar | reached |", "|---|---|---|---|"]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in TABLE])


def output_of(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def record(began):
    folder = ROOT / "docs" / "bench"
    folder.mkdir(exist_ok=True)
    versions = {"tkr-embed": output_of(harness.BINARY, "--version"), "python": platform.python_version(),
                "kernel": platform.release()}
    if ARGS.peers != "none":
        from importlib.metadata import version
        versions.update({name: version(name) for name in ("infinity-emb", "torch", "transformers", "fastapi", "uvicorn",
                                                          "sentence-transformers")})
    path = folder / f"server-{began:%Y-%m-%d-%H%M}.json"
    facts = {"began": f"{began:%Y-%m-%d %H:%M}", "arguments": {name: str(value) for name, value in vars(ARGS).items()
                                                              if name not in ("build", "stubs")},
             "versions": versions, "lscpu": output_of("lscpu").splitlines(), "load_average": os.getloadavg(),
             "table": [dict(zip(("what", "measured", "bar", "reached"), map(str, row))) for row in TABLE],
             "windows": RAW}
    path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    say(f"bench-server: {path.relative_to(ROOT)}")


def main():
    began = datetime.datetime.now()
    (BUILD / "bench").mkdir(exist_ok=True)
    texts = mixed_texts()
    with serve() as server:
        bodies = load.Load(server, [{"texts": [text]} for text in texts])
        bodies.run(2, 64)
        for name in ARGS.rows.split(","):
            say(name)
            {"throughput": throughput, "latency": latency, "steady": steady, "overload": overload, "idle": idle,
             "lanes": lanes, "bits": bits}[name](server, bodies, texts)
    print(table())
    if ARGS.record:
        record(began)
    return any(row[3] == "NO" for row in TABLE)


if __name__ == "__main__":
    sys.exit(main())
