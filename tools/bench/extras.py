# SPDX-License-Identifier: Apache-2.0
"""The rows beside the grid: tokenizer, start-up, memory, and the fraction of this machine's limit."""
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import report

FORMATS = {"f32": ["--precision", "f32", "--quantization", "none"],
           "bf16": ["--precision", "bf16", "--quantization", "none"], "q8": ["--quantization", "q8"]}


def machine():
    fields = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    interesting = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_bf16", "amx_int8",
                   "asimddp", "i8mm", "bf16")
    return {"cpu": fields.get("model name", platform.machine()), "family": fields.get("cpu family"),
            "model": fields.get("model"), "cpus": len(os.sched_getaffinity(0)),
            "flags": [flag for flag in interesting if flag in flags], "kernel": platform.release(),
            "python": platform.python_version()}


def ours_tokenizer(build, json_file, corpus, seconds):
    """{"ids": s, "ids + offsets": s}: seconds for the corpus, best of the turn."""
    done = subprocess.run([build / "tests" / "bench_tokenizer", json_file, corpus, str(seconds)], check=True,
                          capture_output=True, text=True).stdout
    found = {}
    for line in done.splitlines():
        if " us/text" in line:
            name, value = line.split(" us/text")[0].rsplit(maxsplit=1)
            found[name.strip()] = float(value) * 1e-6
    return found


def pictures(build, quick):
    """preprocess.py's rows; a process of its own, because transformers brings torch in."""
    command = [sys.executable, str(Path(__file__).parent / "preprocess.py"), "--json", "--build", str(build),
               "--rounds", "3" if quick else "7"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def tokenizer(build, checkpoint, model, texts, quick):
    """Seconds a text of both tokenizers on one thread, turn by turn, on the same sentences; and whether ids agree."""
    import tokenizers
    import tkr_ctypes
    theirs = tokenizers.Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    theirs.no_padding()
    theirs.enable_truncation(512)
    corpus = build / "bench" / "sentences.txt"
    corpus.write_text("\n".join(texts) + "\n", encoding="utf-8")
    expected = [encoding.ids for encoding in theirs.encode_batch(texts)]
    ids = tkr_ctypes.Library(str(build / "libtkr.so")).tokenize(str(model), texts, 0)
    calls = {"ids": getattr(theirs, "encode_batch_fast", theirs.encode_batch), "ids + offsets": theirs.encode_batch}
    pairs = {kind: [] for kind in calls}
    for _ in range(3 if quick else 9):
        ours = ours_tokenizer(build, checkpoint / "tokenizer.json", corpus, 0.3)
        for kind, call in calls.items():
            best, begin = 1e9, time.perf_counter()
            while time.perf_counter() - begin < 0.4:
                start = time.perf_counter()
                call(texts)
                best = min(best, (time.perf_counter() - start) / len(texts))
            pairs[kind].append((ours[kind], best))
    return {"version": tokenizers.__version__, "texts": len(texts), "bytes": sum(len(text.encode()) for text in texts),
            "tokens": sum(map(len, expected)), "identical": ids == expected, "pairs": pairs}


def start(program, quick):
    """Whole processes: seconds to the first byte of the vector, and to the end."""
    first, total = [], []
    command = [program, "embed", "-m", "minilm", "--offline", "--quiet", "The cat sleeps on the warm windowsill."]
    for number in range(8 if quick else 31):
        begin = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            os.read(process.stdout.fileno(), 1)
            seen = time.perf_counter()
            process.stdout.read()
            process.wait()
        if process.returncode:
            raise RuntimeError(f"tkr-embed embed ended with {process.returncode}")
        if number:  # the first warms the page cache
            first.append(seen - begin)
            total.append(time.perf_counter() - begin)
    return {"first_vector_s": first, "process_s": total}


def model_info(program, options):
    return json.loads(subprocess.run([program, "info", "-m", "minilm", "--offline", "--json", *options], check=True,
                                     capture_output=True, text=True).stdout)


def memory(program, texts):
    """Most RssAnon of `embed` over the sentences, beyond the packed weights, for each number format."""
    data, found = ("\n".join(texts) + "\n").encode(), {}
    for kind, options in FORMATS.items():
        command = [program, "embed", "-m", "minilm", "--offline", "--quiet", "--input", "-", "--format", "f32", "-o",
                   os.devnull, *options]
        feed = Path(program).parent / "bench" / "sentences-input.txt"
        feed.write_bytes(data)
        with open(feed, "rb") as file, subprocess.Popen(command, stdin=file) as process:
            most = 0
            while process.poll() is None:
                for line in Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines():
                    if line.startswith("RssAnon"):
                        most = max(most, int(line.split()[1]) * 1024)
                time.sleep(0.004)
        if process.returncode:
            raise RuntimeError(f"tkr-embed embed {kind} ended with {process.returncode}")
        info = model_info(program, options)
        found[kind] = {"rss_anon": most, "weights_bytes": info["weights_bytes"],
                       "beyond_weights": most - info["weights_bytes"], "batch_tokens": info["batch_tokens"]}
    return found


def roofline(program, threads):
    return json.loads(subprocess.run([program, "bench", "--roofline", "--json", "-t", str(threads)], check=True,
                                     capture_output=True, text=True).stdout)


def fractions(program, model, threads, quick):
    """{format: {row: {tokens_per_s, fraction}}} of `tkr-embed bench`; the better of two runs when there is time."""
    found = {}
    for kind, options in FORMATS.items():
        for _ in range(1 if quick else 2):
            done = subprocess.run([program, "bench", "-m", str(model), "--json", "-t", str(threads), "--seconds",
                                   "0.7" if quick else "1.5", *options], check=True, capture_output=True, text=True)
            for row in json.loads(done.stdout)["rows"]:
                name = "mixed" if row["mixed"] else f"{row['batch']}x{row['tokens']}"
                kept = found.setdefault(kind, {}).get(name)
                if kept is None or report.number(row["fraction"]) > kept["fraction"]:
                    found[kind][name] = {key: row[key] for key in ("tokens_per_s", "fraction", "limit_ops_per_s")}
    return found
