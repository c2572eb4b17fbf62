# SPDX-License-Identifier: Apache-2.0
"""Rows of shapes that can't be downloaded: random checkpoints of tools/make_checkpoint, in the numbers large models run
in, beside llama.cpp (scripts/bench-llama builds it), torch bf16 and OpenVINO with compressed weights."""
import json
import os
import subprocess
import sys
from pathlib import Path

import report

HERE = Path(__file__).resolve().parent
# title; shape; options of make_checkpoint; batch; tokens; {number format: bar of the fraction of the limit, without
# AMX}; (number format of llama.cpp, bar of the ratio)
ROWS = [
    ("bge-base", "bge-base", ["--dtype", "f32"], 32, 128, {"f32": 0.84, "bf16": 0.79, "q8": 0.66}, None),
    ("Qwen3-0.6B", "qwen3-0.6b", [], 1, 512, {"q8": 0.58}, ("Q8_0", 3.5)),
    ("Qwen2-7B, 4 of 28 layers", "qwen2-7b-4l", [], 1, 512, {"q4": 0.58}, ("Q4_0", 2.0)),
    ("Qwen2-7B, 4 of 28 layers", "qwen2-7b-4l", [], 1, 16, {"q4": None}, ("Q4_0", None)),
]
# Below this many tokens reading the weights takes longer than computing with them.
MEMORY_BOUND, MEMORY_BAR = 64, 1.8
PEERS = {"torch-bf16": "torch bf16", "openvino-int8": "OpenVINO, int8 weights",
         "openvino-int4": "OpenVINO, int4 weights"}
PEER_SECONDS = 240 # to load, convert and measure
FORMATS = {"f32": ["--precision", "f32", "--quantization", "none"],
           "bf16": ["--precision", "bf16", "--quantization", "none"],
           "q8": ["--quantization", "q8"], "q4": ["--quantization", "q4"]}


def made(build, folder, shape, options):
    """The checkpoint, made once; the rename makes sure that it is whole."""
    path, temporary = folder / shape, folder / f"{shape}.tmp"
    if not path.exists():
        subprocess.run(["rm", "-rf", temporary], check=True)
        subprocess.run([build / "tools" / "make_checkpoint", shape, temporary, *options], check=True)
        temporary.rename(path)
    return path


def ours(program, model, kind, batch, tokens, threads, seconds):
    done = subprocess.run([program, "bench", "-m", model, "--json", "-t", str(threads), "--batch", str(batch),
                           "--tokens", str(tokens), "--seconds", str(seconds), *FORMATS[kind]], check=True,
                          capture_output=True)
    return json.loads(done.stdout)["rows"][0]


def llama_file(build, folder, model, kind):
    """The checkpoint as GGUF in llama.cpp's own format `kind`; None without llama.cpp."""
    tool, path = build / "bench" / "llama" / "bin" / "llama-quantize", folder / f"{model.name}-{kind}.gguf"
    if tool.exists() and not path.exists():
        plain = folder / f"{model.name}-bf16.gguf"
        subprocess.run([sys.executable, HERE / "make_gguf.py", model, plain], check=True)
        subprocess.run([tool, plain, f"{path}.tmp", kind, str(os.cpu_count())], check=True, capture_output=True)
        os.rename(f"{path}.tmp", path)
        plain.unlink()
    return path if path.exists() else None


def llama(build, file, tokens, threads, calls):
    """Seconds of each call, as llama-bench measures them; embeddings, so that no logits are computed."""
    done = subprocess.run([build / "bench" / "llama" / "bin" / "llama-bench", "-m", file, "-p", str(tokens), "-n", "0",
                           "-r", str(calls), "-t", str(threads), "-embd", "1", "-o", "json"], check=True,
                          capture_output=True)
    return [nanoseconds * 1e-9 for nanoseconds in json.loads(done.stdout)[0]["samples_ns"]]


def peer(name, model, batch, tokens, threads, seconds):
    try:
        done = subprocess.run([sys.executable, HERE / "shape_peer.py", name, model, str(batch), str(tokens),
                               str(threads), str(seconds)], check=False, capture_output=True, text=True,
                              timeout=PEER_SECONDS, env=dict(os.environ, OMP_NUM_THREADS=str(threads)))
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"not done after {PEER_SECONDS} s") from error
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["failed"])[-1][:300])
    return json.loads(done.stdout.splitlines()[-1])


def cpu_has_bf16():
    with open("/proc/cpuinfo", encoding="ascii") as file:
        text = file.read()
    return "avx512_bf16" in text or "amx_bf16" in text


def measure_row(build, folder, row, threads, quick, only):
    title, shape, options, batch, tokens, bars, gguf = row
    program, seconds = build / "tkr-embed", 1.0 if quick else 3.0
    model = made(build, folder, shape, options)
    result = {"title": title, "shape": shape, "batch": batch, "tokens": tokens, "ours": {}, "peers": {}, "notes": []}
    for kind in bars:
        best = min((ours(program, model, kind, batch, tokens, threads, seconds) for _ in range(1 if quick else 3)),
                   key=lambda one: one["median_s"])
        info = json.loads(subprocess.run([program, "info", "-m", model, "--json", *FORMATS[kind]], check=True,
                                         capture_output=True).stdout)
        roof = json.loads(subprocess.run([program, "bench", "--roofline", "--json", "-t", str(threads)], check=True,
                                         capture_output=True).stdout)
        result["ours"][kind] = dict(best, weights_bytes=info["weights_bytes"],
                                    bandwidth=roof["bandwidth_bytes_per_s"])
    runs = {name: lambda name=name: peer(name, model, batch, tokens, threads, seconds) for name in PEERS
            if not only or name in only}
    if "torch-bf16" in runs and not cpu_has_bf16():
        del runs["torch-bf16"]
        result["notes"].append("torch bf16: left out: without bf16 instructions torch is many times slower")
    if gguf and (not only or "llama.cpp" in only):
        file = llama_file(build, folder, model, gguf[0])
        if file:
            runs[f"llama.cpp {gguf[0]}"] = lambda: llama(build, file, tokens, threads, 2 if quick else 5)
        else:
            result["notes"].append("llama.cpp: not run: scripts/bench-llama builds it")
    for name, run in runs.items():
        pairs = []
        try:
            for _ in range(1 if quick else 3): # ours and the peer in turn
                mine = ours(program, model, list(bars)[-1], batch, tokens, threads, seconds)["median_s"]
                pairs.append((mine, report.median(run())))
        except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
            result["notes"].append(f"{PEERS.get(name, name)}: not run: {' '.join(str(error).split())[:200]}")
        if pairs:
            result["peers"][name] = pairs
    return result


def measure(build, threads, quick, only=()):
    """Rows of ROWS; `only`: names of the peers wanted, none: all."""
    folder = build / "bench" / "shapes"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for row in ROWS:
        print(f"bench: {row[0]}, {row[3]}x{row[4]}", file=sys.stderr)
        rows.append(measure_row(build, folder, row, threads, quick, only))
    return rows


def line(row, kind, one, bar):
    """The fraction of the limit; where reading the weights is the limit, how many times as long as that it takes."""
    part = report.number(one["fraction"]) * 100
    text = (f"| {row['title']}, {row['batch']}x{row['tokens']}, {kind} | {one['median_s'] * 1e3:.1f} ms | "
            f"{one['tokens_per_s']:.0f} | {part:.1f} % of {one['limit_ops_per_s'] / 1e9:.0f} G/s | "
            f"{f'{bar * 100:.0f} %' if bar else '-'} | ")
    if row["batch"] * row["tokens"] > MEMORY_BOUND:
        return text + "- | - |"
    least = max(one["weights_bytes"] / one["bandwidth"], one["operations"] / one["limit_ops_per_s"])
    return text + (f"{one['median_s'] / least:.2f}x of max({one['weights_bytes'] / 2**20:.0f} MiB at "
                   f"{one['bandwidth'] / 1e9:.1f} GB/s, compute) | {MEMORY_BAR}x |")


def table(rows):
    lines = ["Random weights of true shape (tools/make_checkpoint); bars without AMX:", "",
             "| what | median | tokens/s | part of the measured limit | bar | time over its least | bar |",
             "|---|---|---|---|---|---|---|"]
    for row, plan in zip(rows, ROWS):
        lines += [line(row, kind, one, plan[5][kind]) for kind, one in row["ours"].items()]
    lines += ["", "| peer, measured in turn with ours | its time over ours | bar |", "|---|---|---|"]
    for row, plan in zip(rows, ROWS):
        kind = list(row["ours"])[-1]
        for name, pairs in row["peers"].items():
            bar = f"{plan[6][1]}x" if plan[6] and name.startswith("llama") and plan[6][1] else "-"
            ratio = report.ratios(pairs)
            lines.append(f"| {row['title']}, {row['batch']}x{row['tokens']}, {PEERS.get(name, name)} against ours "
                         f"{kind} | {ratio['median']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f}) | {bar} |")
        lines += [f"| {row['title']}, {row['batch']}x{row['tokens']}: {note} | | |" for note in row["notes"]]
    return lines
