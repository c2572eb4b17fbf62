# SPDX-License-Identifier: Apache-2.0
"""Numbers into tables: medians, ratios of pairs with their spread, results.md and results.json."""
import json
import statistics

import engines
import shapes
import vision

GRID = ["1x16", "1x128", "32x32", "32x128", "8x512"]
CASES = [*GRID, "mixed"]
BARS = {"f32": (1.2, 1.8), "bf16": (1.25, 1.9), "int8": (2.0, 3.2)}
OURS = {"f32": "ours-f32", "bf16": "ours-bf16", "int8": "ours-q8"}
NOT_RUN = {"llama.cpp": "not run on MiniLM; on larger shapes where scripts/bench-llama has built it"}


def median(values):
    return statistics.median(values)


def number(value):
    return value if isinstance(value, (int, float)) else 0.0


def ratios(pairs):
    """Median and quartiles of theirs / ours: above 1 ours is faster."""
    values = sorted(theirs / mine for mine, theirs in pairs)
    if len(values) < 2:
        return {"median": values[0], "low": values[0], "high": values[0], "rounds": 1}
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median(values), "low": low, "high": high, "rounds": len(values)}


def summarise(results):
    """Fills results["speed"], ["ratio"] and ["verdict"] from the raw pairs."""
    speed, ratio = {}, {}
    for case, pairs in results["pairs"].items():
        for name, values in pairs.items():
            ours = OURS[engines.ENGINES[name][0]]
            if name != ours:
                speed.setdefault(name, {})[case] = median([theirs for _, theirs in values])
                ratio.setdefault(name, {})[case] = ratios(values)
    for kind, ours in OURS.items():
        for case, pairs in results["pairs"].items():
            mine = [value for name, values in pairs.items() if engines.ENGINES[name][0] == kind
                    for value, _ in values]
            if mine:
                speed.setdefault(ours, {})[case] = median(mine)
    results["speed"], results["ratio"], results["verdict"] = speed, ratio, {}
    for kind in OURS:
        peers = [name for name in ratio if engines.ENGINES[name][0] == kind]
        fastest = {}
        for case in CASES:
            here = [name for name in peers if case in ratio[name]]
            if here:
                best = min(here, key=lambda name, case=case: ratio[name][case]["median"])
                fastest[case] = {"peer": best, **ratio[best][case]}
        grid = [fastest[case]["median"] for case in GRID if case in fastest]
        results["verdict"][kind] = {"fastest": fastest, "grid_median": median(grid) if grid else None,
                                    "grid_bar": BARS[kind][0], "mixed_bar": BARS[kind][1],
                                    "mixed": fastest.get("mixed", {}).get("median")}


def speed_table(results):
    tokens, cosine = results["corpus"]["tokens"], results.get("cosine", {})
    lines = ["| engine | lowest cosine to f32 | B1 S16 ms | B1 S128 ms | 32x32 tok/s | 32x128 tok/s | 8x512 tok/s | "
             "mixed tok/s |", "|---|---|---|---|---|---|---|---|"]
    for kind, ours in OURS.items():
        for name in [ours, *(n for n in results["speed"] if engines.ENGINES[n][0] == kind and n != ours)]:
            took = results["speed"].get(name)
            if not took:
                continue
            cells = []
            for case in CASES:
                if case not in took:
                    cells.append("-")
                elif case.startswith("1x"):
                    cells.append(f"{took[case] * 1e3:.2f}")
                else:
                    cells.append(f"{tokens[case] / took[case]:,.0f}".replace(",", " "))
            low = min(cosine.get(name, {"-": 0}).values())
            bold = "**" if name == ours else ""
            lines.append(f"| {bold}{engines.ENGINES[name][1]}{bold} | {low:.6f} | " + " | ".join(cells) + " |")
    return lines


def ratio_table(results):
    lines = ["| peer, against ours of the same number format | " + " | ".join(CASES) + " |",
             "|---|" + "---|" * len(CASES)]
    for kind in OURS:
        for name in results["ratio"]:
            if engines.ENGINES[name][0] == kind:
                cells = []
                for case in CASES:
                    r = results["ratio"][name].get(case)
                    cells.append(f"{r['median']:.2f} ({r['low']:.2f}-{r['high']:.2f})" if r else "-")
                lines.append(f"| {engines.ENGINES[name][1]} | " + " | ".join(cells) + " |")
    return lines


def verdict_table(results):
    lines = ["| number format | fastest peer of the same number format: median ratio over the grid | bar | mixed | "
             "bar | where |", "|---|---|---|---|---|---|"]
    for kind, row in results["verdict"].items():
        if row["grid_median"] is None:
            lines.append(f"| {kind} | no peer ran | {row['grid_bar']} | - | {row['mixed_bar']} | |")
            continue
        where = ", ".join(f"{case} {one['median']:.2f} ({one['peer']})" for case, one in row["fastest"].items())
        mixed = f"{row['mixed']:.2f}" if row["mixed"] else "-"
        lines.append(f"| {kind} | {row['grid_median']:.2f} | {row['grid_bar']} | {mixed} | {row['mixed_bar']} | "
                     f"{where} |")
    return lines


def picture_lines(rows):
    """Of extras.pictures."""
    lines = []
    for row in rows:
        peers = ", ".join(f"{ratio:.1f}x {peer} ({row['ms'][peer]:.2f} ms)" for peer, ratio in row["ratio"].items())
        lines.append(f"| resize, normalise and patches of a {row['picture']} picture, {row['processor']}, one thread | "
                     f"{row['ms']['tkr-embed']:.2f} ms: {peers}; values {'identical' if row['same'] else 'DIFFER'} | "
                     "1.5x |")
    return lines


def other_rows(results):
    lines = ["| what | measured | bar |", "|---|---|---|"]
    tok = results.get("tokenizer")
    if tok:
        for kind, pairs in tok["pairs"].items():
            r = ratios(pairs)
            ours, theirs = median([a for a, _ in pairs]) * 1e6, median([b for _, b in pairs]) * 1e6
            lines.append(f"| tokenizer, one thread, {kind}, against Hugging Face tokenizers {tok['version']} | "
                         f"{r['median']:.1f}x ({r['low']:.1f}-{r['high']:.1f}); {ours:.2f} us a text against "
                         f"{theirs:.2f}; ids of {tok['texts']} texts "
                         f"{'identical' if tok['identical'] else 'DIFFER'} | 6x |")
    lines += picture_lines(results.get("pictures", []))
    q8 = results["speed"].get("ours-q8", {}).get("1x16")
    if q8:
        lines.append(f"| one text of 16 tokens, q8, in process | {q8 * 1e3:.2f} ms | 0.75 ms |")
    start = results.get("start")
    if start:
        first, whole = median(start["first_vector_s"]) * 1e3, median(start["process_s"]) * 1e3
        lines.append(f"| start of the process to first vector | {first:.1f} ms | 60 ms |")
        lines.append(f"| process of the whole command | {whole:.1f} ms | 80 ms |")
    for kind, row in results.get("memory", {}).items():
        beyond = row["beyond_weights"] / 2**20
        lines.append(f"| RssAnon beyond the packed weights, {kind} | {beyond:.1f} MiB | 64 MiB |")
    for kind, rows in results.get("fraction", {}).items():
        row = rows.get("32x128")
        bar = {"f32": "80 %", "bf16": "75 %", "q8": "60 %"}[kind] + " (without AMX)"
        if row and row["fraction"]:
            others = ", ".join(f"{case} {number(one['fraction']) * 100:.0f} %" for case, one in rows.items())
            lines.append(f"| fraction of this machine's limit, {kind}, 32x128 | {row['fraction'] * 100:.1f} % "
                         f"({others}) | {bar} |")
    return lines


def remarks(results):
    lines = [f"- {note}" for note in results["notes"]]
    about = results["about"]
    for name, facts in about.items():
        if name == "openvino-bf16" and not facts.get("bf16_on_this_cpu", True):
            lines.append("- OpenVINO bf16: this CPU has no bf16 instructions; OpenVINO falls back and computes in f32.")
    lines += [f"- {name}: not run: {why}" for name, why in results.get("errors", {}).items()]
    lines += [f"- preparing {step} failed: {why}" for step, why in results["failed_steps"].items()]
    lines += [f"- {name}: {why}" for name, why in NOT_RUN.items()]
    lines.append("- torch is PyPI's wheel without the CUDA libraries it is linked to (tools/bench/cuda_stubs.py); its "
                 "CPU code is the wheel's own.")
    return lines


def versions(results):
    found = {}
    for name, facts in results["about"].items():
        found[name] = " ".join(
            str(facts[key]) for key in ("version", "sentence-transformers", "fingerprint", "weights") if key in facts)
    return "; ".join(f"{name} {text}" for name, text in found.items())


def markdown(results):
    machine, roof = results["machine"], results.get("roofline", {})
    limits = ", ".join(f"{key.split('_')[0]} {roof[key] / 1e9:.0f} G/s" for key in
                       ("f32_ops_per_s", "bf16_ops_per_s", "q8_ops_per_s", "bandwidth_bytes_per_s") if roof.get(key))
    head = ["# tkr-embed beside its peers", "",
            f"{machine['cpu']} (family {machine['family']}, model {machine['model']}; {' '.join(machine['flags'])}), "
            f"{results['threads']} threads, {results['started']}, load {results['load_before']:.1f} before and "
            f"{results['load_after']:.1f} after{', QUICK RUN: few rounds' if results['quick'] else ''}.",
            f"Measured limits: {limits}." if limits else "", "",
            "all-MiniLM-L6-v2, the same token ids for all, medians; tokens are real ones, padding isn't counted. "
            f"Mixed: {results['corpus']['texts_per_case']['mixed']} texts, log-normal lengths (median 40 tokens, "
            "sigma 0.9, cut at 512); peers in batches of 32 sorted by length and padded.", ""]
    body = [*speed_table(results), "",
            "Ratios of pairs measured in turn (above 1: ours is faster), quartiles in brackets:",
            "", *ratio_table(results), "", *verdict_table(results), "", *other_rows(results), "",
            *(shapes.table(results["shapes"]) if results.get("shapes") else []), "",
            *(vision.table(results["vision"]) if results.get("vision") else []), "", *remarks(results), "",
            f"Versions: {versions(results)}.", ""]
    return "\n".join(head + body)


def write(results, folder):
    summarise(results)
    text = markdown(results)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (folder / "results.md").write_text(text, encoding="utf-8")
    print(text)
