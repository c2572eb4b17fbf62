# SPDX-License-Identifier: Apache-2.0
"""make bench: tkr-embed beside its fastest peers, the same ids, the same threads, turn by turn on this machine.

usage: bench.py --build DIR [--quick] [--only-peers A,B] [--only-shapes | --only-vision | --only-preprocess]
                [--no-shapes] [--no-vision] [--threads N]
(scripts/bench calls it)

Each engine is a process of its own, stopped (SIGSTOP) while another's turn runs. A round of a cell goes ours, peer,
ours, peer ...: each peer is compared with the turn of ours just before it. Results: DIR/bench/results.md and .json.
"""
import argparse
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import engines
import extras
import report
import shapes
import vision
import workload

HERE = Path(__file__).resolve().parent
# seconds a turn may take, rounds of a full and of a quick run
PLAN = {"1x16": (0.2, 11, 5), "1x128": (0.2, 11, 5), "32x32": (0.3, 9, 3), "32x128": (0.5, 5, 2),
        "8x512": (0.5, 5, 2), "mixed": (0.5, 3, 1)}
SAMPLE = "mixed-sample"  # for cosines
COSINE_CASES = ["1x16", "1x128", "32x32", "8x512", SAMPLE]
# A peer that takes so many times as long there as the fastest peer of its number format is left out of what follows.
JUDGED_AT, TOO_SLOW = "32x32", 4
PATIENCE = 300  # seconds for one answer of a peer, which is ended then
LONG = 20  # seconds of one call: such a cell gets one round
OURS = {"f32": "ours-f32", "bf16": "ours-bf16", "int8": "ours-q8"}


def say(text):
    print(text, file=sys.stderr, flush=True)


def die_with_parent():
    """A stopped process would outlive a killed bench: PR_SET_PDEATHSIG, SIGKILL."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Worker:
    def __init__(self, name, setup, cases):
        env = dict(os.environ, OMP_NUM_THREADS=str(setup["threads"]), MKL_NUM_THREADS=str(setup["threads"]),
                   HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false",
                   TRANSFORMERS_VERBOSITY="error", PYTHONDONTWRITEBYTECODE="1")
        self.name, self.log = name, open(f"{setup['folder']}/{name}.log", "w", encoding="utf-8")
        self.process = subprocess.Popen([sys.executable, str(HERE / "worker.py")], stdin=subprocess.PIPE, text=True,
                                        stdout=subprocess.PIPE, stderr=self.log, env=env, preexec_fn=die_with_parent)
        self.error = None
        self.about = self.ask(do="load", engine=name, setup=setup, cases=cases).get("about", {})

    def ask(self, **command):
        """The answer to one command; the process runs only meanwhile."""
        self.process.send_signal(signal.SIGCONT)
        timer = threading.Timer(PATIENCE, self.process.kill)
        timer.start()
        try:
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        answer = json.loads(line) if line else {"error": f"the process ended with {self.process.wait()}"}
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP)
        self.error = answer.get("error", self.error)
        return answer

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log.close()


def turn(worker, case, probe):
    """Seconds of one call: the median of the turn's calls, after one untimed call where calls are short."""
    budget = PLAN[case][0]
    answer = worker.ask(do="time", case=case, warm=1 if probe < budget else 0, seconds=budget, calls=200)
    return report.median(answer["seconds"]) if "seconds" in answer else None


def probe_all(workers, case):
    """{name: seconds of a second call}: also the warm-up of this shape."""
    found = {}
    for name, worker in workers.items():
        if worker.error is None:
            first = turn(worker, case, 1e9)
            found[name] = first if first is None or first > 2 else turn(worker, case, first)
    return {name: value for name, value in found.items() if value is not None}


def measure(workers, case, rounds, slow):
    """{peer: [(ours, peer) seconds]} for every peer that works and isn't in `slow`, which grows: {peer: case}."""
    probes, pairs = probe_all({name: one for name, one in workers.items() if name not in slow}, case), {}
    for number in range(rounds):
        for name, worker in workers.items():
            kind = engines.ENGINES[name][0]
            ours = OURS[kind]
            if name in OURS.values() or name not in probes or ours not in probes:
                continue
            if number > 0 and probes[name] > LONG:
                continue
            mine, theirs = turn(workers[ours], case, probes[ours]), turn(worker, case, probes[name])
            if mine is not None and theirs is not None:
                pairs.setdefault(name, []).append((mine, theirs))
    if case == JUDGED_AT:
        middle = {name: report.median([theirs for _, theirs in values]) for name, values in pairs.items()}
        for name, value in middle.items():
            kind = engines.ENGINES[name][0]
            if value > TOO_SLOW * min(middle[other] for other in middle if engines.ENGINES[other][0] == kind):
                slow[name] = case
    for kind, ours in OURS.items():  # with no peer left of this format, ours is measured alone
        if ours in probes and not any(engines.ENGINES[name][0] == kind for name in pairs):
            pairs[ours] = [(mine, mine) for mine in (turn(workers[ours], case, probes[ours]) for _ in range(rounds))
                           if mine is not None]
    return pairs


def cosines(workers, cases, folder):
    """{engine: {case: lowest cosine to the f32 reference over the case's texts}}; torch f32, without it our own f32."""
    import numpy as np
    vectors = {}
    for name, worker in workers.items():
        begin = time.monotonic()
        for case in cases:
            if time.monotonic() - begin > 10:
                break  # a very slow engine: what is known by now must do
            file = f"{folder}/vectors-{name}-{case}.npy"
            if worker.error is None and "error" not in worker.ask(do="vectors", case=case, file=file):
                vectors[name, case] = np.load(file).astype(np.float64)
                os.unlink(file)
        say(f"bench: {name}: {time.monotonic() - begin:.1f} s")
    lowest = {}
    for (name, case), rows in vectors.items():
        base = vectors.get((engines.REFERENCE, case), vectors.get((OURS["f32"], case)))
        norm = np.linalg.norm(rows, axis=1) * np.linalg.norm(base, axis=1)
        lowest.setdefault(name, {})[case] = float((np.sum(rows * base, axis=1) / norm).min())
    return lowest


def better_int8(setup, cases):
    """Both int8 files of onnxruntime, in turn: the faster one that isn't wrong. Returns its name and a note."""
    tried = {}
    for kind in ("8bit", "7bit"):
        worker = Worker("onnxruntime-int8", dict(setup, onnxruntime_int8=kind), cases)
        if worker.error is None:
            probe = turn(worker, "32x32", 1e9)
            tried[kind] = (worker, probe)
        else:
            worker.close()
    if not tried:
        return "8bit", "onnxruntime int8: neither file loads"
    took = {kind: [] for kind in tried}
    for _ in range(5):
        for kind, (worker, probe) in tried.items():
            took[kind].append(turn(worker, "32x32", probe))
    reference = Worker("onnxruntime-f32", setup, cases)
    found = {}
    for kind, (worker, _) in tried.items():
        found[kind] = cosines({engines.REFERENCE: reference, kind: worker}, ["32x32"], setup["folder"])[kind]["32x32"]
        worker.close()
    reference.close()
    speed = {kind: report.median(values) for kind, values in took.items()}
    right = [kind for kind in speed if found[kind] > 0.9] or list(speed)
    best = min(right, key=lambda kind: speed[kind])
    # Equal speed: the one that is nearer to the truth.
    close = [kind for kind in right if speed[kind] < 1.03 * speed[best]]
    best = max(close, key=lambda kind: found[kind])
    return best, "onnxruntime int8 weights at 32x32: " + ", ".join(
        f"{kind} {speed[kind] * 1e3:.1f} ms, lowest cosine {found[kind]:.4f}" for kind in speed) + f"; {best} is used"


def prepare(checkpoint, folder, family, log):
    """Runs the steps that the peers need and whose results aren't there; returns {step: error}."""
    results = {"onnx": "model.onnx", "fused": "fused.onnx", "int8": "int8-7bit.onnx",
               "openvino-int8": "openvino-int8.xml", "ctranslate2": "ct2-int8/model.bin"}
    needs = {"onnx": {"onnxruntime", "openvino"}, "fused": {"onnxruntime"}, "int8": {"onnxruntime"},
             "openvino-int8": {"openvino"}, "ctranslate2": {"ctranslate2"}}
    failed = {}
    for step, result in results.items():
        if (folder / result).exists() or not needs[step] & family:
            continue
        say(f"bench: preparing {step}")
        done = subprocess.run([sys.executable, str(HERE / "prepare.py"), str(checkpoint), str(folder), step],
                              capture_output=True, text=True, env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1"))
        log.write(f"== {step}\n{done.stdout}{done.stderr}\n")
        if done.returncode:
            failed[step] = (done.stderr.strip().splitlines() or ["failed"])[-1][:300]
    return failed


def model_copy(checkpoint, folder):
    """The checkpoint with sentence-transformers' limit of 256 tokens lifted to the model's own 512: links, one file."""
    copy = folder / "model-512"
    for path in checkpoint.rglob("*"):
        target = copy / path.relative_to(checkpoint)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif not target.exists() and path.name != "sentence_bert_config.json":
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path.resolve())
    limit = json.loads((checkpoint / "sentence_bert_config.json").read_text())
    (copy / "sentence_bert_config.json").write_text(json.dumps(dict(limit, max_seq_length=workload.LIMIT)))
    return copy


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench", description="tkr-embed beside its fastest peers")
    parser.add_argument("--build", required=True, help="folder with tkr-embed and libtkr.so")
    parser.add_argument("--quick", action="store_true", help="few rounds: a look, not figures to publish")
    parser.add_argument("--only-peers", default="", help="comma-separated: onnxruntime,openvino-bf16,...")
    parser.add_argument("--threads", type=int, default=min(2, len(os.sched_getaffinity(0))))
    alone = parser.add_mutually_exclusive_group()
    alone.add_argument("--only-shapes", action="store_true", help="the rows of made text checkpoints alone")
    alone.add_argument("--only-vision", action="store_true", help="the rows of made picture towers alone")
    alone.add_argument("--only-preprocess", action="store_true", help="resize, normalise, patches: nothing else")
    parser.add_argument("--no-shapes", action="store_true", help="without the rows of made text checkpoints")
    parser.add_argument("--no-vision", action="store_true", help="without the rows of made picture towers")
    args = parser.parse_args()
    build = Path(args.build).resolve()
    folder = build / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    if args.only_shapes:
        rows = shapes.measure(build, args.threads, args.quick, [n for n in args.only_peers.split(",") if n])
        (folder / "shapes.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        print(*shapes.table(rows), sep="\n")
    elif args.only_vision:
        print(vision.write(vision.measure(Worker, build, args.threads, args.quick), folder))
    elif args.only_preprocess:
        rows = extras.pictures(build, args.quick)
        (folder / "preprocess.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        print("| what | measured | bar |", "|---|---|---|", *report.picture_lines(rows), sep="\n")
    else:
        run(args, build, folder)


def chosen_engines(only):
    wanted = [part.strip() for part in only.split(",") if part.strip()]
    for part in wanted:
        if not any(name == part or name.startswith(part + "-") for name in engines.ENGINES):
            peers = ", ".join(name for name in engines.ENGINES if not name.startswith("ours"))
            sys.exit(f"scripts/bench: no peer {part}; there are {peers}")
    return [name for name in engines.ENGINES
            if name.startswith("ours") or name == engines.REFERENCE or not wanted or
            any(name == part or name.startswith(part + "-") for part in wanted)]


def run(args, build, folder):
    from tokenizers import Tokenizer
    program = build / "tkr-embed"
    info = json.loads(subprocess.run([program, "info", "-m", "minilm", "--offline", "--json"], check=True,
                                     capture_output=True, text=True).stdout)
    checkpoint = Path(info["path"])
    model = model_copy(checkpoint, folder)
    texts = workload.sentences()
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    cases = workload.cases(texts, tokenizer)
    cases[SAMPLE] = cases["mixed"][:64]
    (folder / "cases.json").write_text(json.dumps(cases))
    names = chosen_engines(args.only_peers)
    failed = {}
    with open(folder / "prepare.log", "w", encoding="utf-8") as log:
        failed = prepare(checkpoint, folder, {name.split("-")[0] for name in names}, log)
    setup = {"library": str(build / "libtkr.so"), "model": str(model), "folder": str(folder),
             "threads": args.threads, "onnxruntime_int8": "8bit"}
    results = {"machine": extras.machine(), "started": time.strftime("%Y-%m-%d %H:%M:%S %z"), "quick": args.quick,
               "threads": args.threads, "load_before": os.getloadavg()[0], "notes": [], "failed_steps": failed,
               "corpus": {"texts": len(texts), "sha256": workload.digest(texts),
                          "tokens": {case: sum(map(len, rows)) for case, rows in cases.items()},
                          "texts_per_case": {case: len(rows) for case, rows in cases.items()}}}
    if "onnxruntime-int8" in names and "int8" not in failed:
        say("bench: which int8 of onnxruntime")
        setup["onnxruntime_int8"], note = better_int8(setup, str(folder / "cases.json"))
        results["notes"].append(note)
        say(f"bench: {note}")
    compare(results, names, setup, args.quick)
    extra(results, build, checkpoint, model, texts, args)
    results["load_after"] = os.getloadavg()[0]
    report.write(results, folder)


def compare(results, names, setup, quick):
    workers, cases_file = {}, f"{setup['folder']}/cases.json"
    try:
        for name in names:
            say(f"bench: starting {name}")
            workers[name] = Worker(name, setup, cases_file)
            if workers[name].error:
                say(f"bench: {name} is left out: {workers[name].error}")
        say("bench: cosines")
        results["cosine"] = cosines(workers, COSINE_CASES, setup["folder"])
        results["pairs"], slow = {}, {}
        for case, (_, rounds, few) in PLAN.items():
            begin = time.monotonic()
            results["pairs"][case] = measure(workers, case, few if quick else rounds, slow)
            say(f"bench: {case} took {time.monotonic() - begin:.0f} s")
        results["about"] = {name: worker.about for name, worker in workers.items()}
        results["notes"] += [f"{name}: left out after {case}: more than {TOO_SLOW} times slower there than the fastest "
                             "peer of its format" for name, case in slow.items()]
        results["errors"] = {name: worker.error for name, worker in workers.items() if worker.error}
    finally:
        for worker in workers.values():
            worker.close()


def extra(results, build, checkpoint, model, texts, args):
    for name, function in (
            ("tokenizer", lambda: extras.tokenizer(build, checkpoint, model, texts, args.quick)),
            ("start", lambda: extras.start(build / "tkr-embed", args.quick)),
            ("memory", lambda: extras.memory(build / "tkr-embed", texts)),
            ("pictures", lambda: extras.pictures(build, args.quick)),
            ("roofline", lambda: extras.roofline(build / "tkr-embed", args.threads)),
            ("fraction", lambda: extras.fractions(build / "tkr-embed", model, args.threads, args.quick)),
            ("shapes", lambda: [] if args.no_shapes else shapes.measure(build, args.threads, args.quick)),
            ("vision", lambda: [] if args.no_vision else vision.measure(Worker, build, args.threads, args.quick))):
        say(f"bench: {name}")
        try:
            results[name] = function()
        except (OSError, ValueError, KeyError, RuntimeError, subprocess.SubprocessError) as error:
            results["errors"][name] = f"{type(error).__name__}: {error}"[:300]


if __name__ == "__main__":
    main()
