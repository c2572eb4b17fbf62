# SPDX-License-Identifier: Apache-2.0
"""Picture towers of true shape and random weights (tools/make_checkpoint) beside their peers, pixels in, vectors out.

A round is one turn of each engine, in an order that puts every peer beside ours of its number format; ratios are taken
within a round. Between rounds the machine's limit is measured.
"""
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import report
import shapes
import vision_engines
import vision_export
import vision_pictures

HERE = Path(__file__).resolve().parent
ENGINES = vision_engines.ENGINES
OURS = {"f32": "ours-f32", "bf16": "ours-bf16", "int8": "ours-q8"}
ALL = [name for name in ENGINES if name != "faster-clip"]
# title; shape, made from which; engines
ROWS = [("CLIP ViT-B/16-224", "vit-b-16", None, ALL),
        ("SigLIP-base-224", "siglip-base", None, ALL),
        ("CLIP ViT-B/32-224, the only shape of faster-clip", "vit-b-32", "vit-b-16", ["ours-q8", "faster-clip"])]
CASES = {"1": [0], "checked": vision_pictures.CHECKED, "32": list(range(32))}
# rounds of a full and of a quick run, seconds of a turn, which has one call at least
PLAN = {"1": (5, 3, 0.3), "32": (3, 2, 0)}
TOO_SLOW = 1.3  # times the fastest peer of its format in the first round of 32 pictures: left out of the others
BAR = {"f32": 1.2, "bf16": 1.2, "int8": 1.8}
LIMIT_BAR = {"32": {"f32": 82, "bf16": 72, "int8": 62}, "1": {"f32": 80, "bf16": 66, "int8": 55}}
ROOF = {"f32": "f32_ops_per_s", "bf16": "bf16_ops_per_s", "int8": "q8_ops_per_s"}


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def smaller_copy(source, copy):
    """ViT-B/32 from ViT-B/16's weights: larger patches, fewer positions; CLIP's own normalisation, as faster-clip's."""
    import numpy as np
    from safetensors.numpy import load_file, save_file
    temporary = copy.with_suffix(".tmp")
    temporary.mkdir(exist_ok=True)
    for path in source.glob("tokenizer*"):
        (temporary / path.name).write_bytes(path.read_bytes())
    config = json.loads((source / "config.json").read_text())
    config["vision_config"]["patch_size"] = 32
    (temporary / "config.json").write_text(json.dumps(config))
    processor = json.loads((source / "preprocessor_config.json").read_text())
    processor |= {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
    (temporary / "preprocessor_config.json").write_text(json.dumps(processor))
    tensors, prefix = load_file(source / "model.safetensors"), "vision_model.embeddings"
    kernel = tensors[f"{prefix}.patch_embedding.weight"]
    random = np.random.default_rng(1).normal(0, kernel.std() / 2, (*kernel.shape[:2], 32, 32))
    tensors[f"{prefix}.patch_embedding.weight"] = random.astype(np.float32)
    positions = tensors[f"{prefix}.position_embedding.weight"]
    tensors[f"{prefix}.position_embedding.weight"] = np.ascontiguousarray(positions[:(224 // 32)**2 + 1])
    save_file(tensors, temporary / "model.safetensors", {"format": "pt"})
    temporary.rename(copy)


def made(build, shape, source):
    folder = build / "bench" / "vision" / "made"
    folder.mkdir(parents=True, exist_ok=True)
    if source is None:
        return shapes.made(build, folder, shape, ["--dtype", "f32"])
    if not (folder / shape).exists():
        smaller_copy(made(build, source, None), folder / shape)
    return folder / shape


def prepare(checkpoint, folder, names):
    """Notes about steps that failed; those whose results are there aren't repeated."""
    families = {name.split("-")[0] for name in names}
    steps = {"onnx": {"onnxruntime", "openvino"}, "int8": {"onnxruntime"}, "openvino-int8": {"openvino"},
             "torch": {"ours"}}
    notes = []
    for step, needed in steps.items():
        if (folder / vision_export.RESULTS[step]).exists() or not needed & families:
            continue
        say(f"preparing {step} of {checkpoint.name}")
        done = subprocess.run([sys.executable, HERE / "vision_export.py", checkpoint, folder, step], check=False,
                              capture_output=True, text=True, env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1"))
        if done.returncode:
            notes.append(f"preparing {step} failed: " + (done.stderr.strip().splitlines() or ["?"])[-1][:200])
    if "faster" in families:
        link = folder / "faster-clip" / "sentence-transformers__clip-ViT-B-32" / "0_CLIPModel" / "model.safetensors"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(checkpoint / "model.safetensors")
    return notes


def operations(checkpoint):
    """Of one picture's matrix products: patches and layers, as src/models/shape.c counts them."""
    c = vision_export.vision_config(checkpoint)
    h, n = c["hidden_size"], (c["image_size"] // c["patch_size"])**2 + c["clip"]
    layer = 2 * n * (4 * h * h + 2 * h * c["intermediate_size"]) + 4 * n * n * h
    return 2 * n * 3 * c["patch_size"]**2 * h + c["num_hidden_layers"] * layer


def cosines(workers, folder):
    """{engine: lowest cosine to torch f32 over the pictures checked}"""
    import numpy as np
    reference, found = folder / "vectors-torch.npy", {}
    if not reference.exists():
        return found
    base = np.load(reference).astype(np.float64)
    for name, worker in workers.items():
        file = f"{folder}/vectors-{name}.npy"
        if worker.error is None and "error" not in worker.ask(do="vectors", case="checked", file=file):
            rows = np.load(file).astype(np.float64)
            found[name] = float((np.sum(rows * base, axis=1) / np.linalg.norm(rows, axis=1) /
                                 np.linalg.norm(base, axis=1)).min())
            os.unlink(file)
    return found


def fastest(took, kind):
    """(seconds, name) of the fastest peer of a number format, by its median."""
    return min(((report.median(values), name) for name, values in took.items()
                if ENGINES[name][0] == kind and name not in OURS.values()), default=None)


def rounds_of(workers, case, plan, roofline):
    """({engine: [seconds of its turn in each round]}, [limits measured], [notes])"""
    took, roofs, notes, left_out = {}, [], [], set()
    n_rounds, seconds = plan
    for number in range(n_rounds):
        roofs.append(roofline())
        for name, worker in workers.items():
            if worker.error is None and name not in left_out:
                answer = worker.ask(do="time", case=case, warm=1 if seconds else 0, seconds=seconds, calls=50)
                if "seconds" in answer:
                    took.setdefault(name, []).append(report.median(answer["seconds"]))
        if number == 0 and case == "32":
            for name in list(took):
                best = fastest(took, ENGINES[name][0])
                stands_in = name == "openvino-f32" and "openvino-bf16" not in workers
                if name not in OURS.values() and not stands_in and took[name][0] > TOO_SLOW * best[0]:
                    left_out.add(name)
                    notes.append(f"{name}: one round of 32 pictures: {took[name][0] / best[0]:.1f} times the time of "
                                 f"{best[1]}")
    return took, roofs, notes


def measure_row(Worker, build, row, threads, quick):
    title, shape, source, names = row
    checkpoint, folder = made(build, shape, source), build / "bench" / "vision" / shape
    folder.mkdir(parents=True, exist_ok=True)
    result = {"title": title, "judged": source is None, "operations": operations(checkpoint), "took": {}, "roofs": {}}
    result["notes"] = prepare(checkpoint, folder, names)
    cases = folder / "cases.json"
    cases.write_text(json.dumps(CASES))
    setup = {"engines": "vision_engines", "library": str(build / "libtkr.so"), "model": str(checkpoint),
             "folder": str(folder), "threads": threads}

    def roofline():
        return json.loads(subprocess.run([build / "tkr-embed", "bench", "--roofline", "--json", "-t", str(threads)],
                                         check=True, capture_output=True).stdout)
    workers = {}
    try:
        for name in names:
            if name == "openvino-bf16" and not shapes.cpu_has_bf16():
                result["notes"].append("OpenVINO bf16: this CPU has no bf16 instructions; OpenVINO then computes in "
                                       "f32, and the turns of its f32 stand for it")
                continue
            workers[name] = Worker(name, setup, str(cases))
        result["about"] = {name: worker.about for name, worker in workers.items()}
        result["cosine"] = cosines(workers, folder)
        for case, (full, few, seconds) in PLAN.items():
            begin = time.monotonic()
            took, roofs, notes = rounds_of(workers, case, (few if quick else full, seconds), roofline)
            if "openvino-bf16" in names and "openvino-bf16" not in workers and "openvino-f32" in took:
                took["openvino-bf16"] = took["openvino-f32"]
            result["took"][case], result["roofs"][case] = took, roofs
            result["notes"] += notes
            say(f"{title}, {case}: {time.monotonic() - begin:.0f} s")
        result["notes"] += [f"{name}: not run: {worker.error}" for name, worker in workers.items() if worker.error]
    finally:
        for worker in workers.values():
            worker.close()
    return result


def measure(Worker, build, threads, quick):
    """Rows of ROWS; Worker: bench.py's."""
    rows = []
    for row in ROWS:
        say(row[0])
        rows.append(measure_row(Worker, build, row, threads, quick))
    return rows


def ratios(took, name):
    """Of rounds that both took part in; theirs over ours."""
    mine = took.get(OURS[ENGINES[name][0]])
    return report.ratios(list(zip(mine, took[name]))) if mine else None


def fraction(row, case, kind):
    """(median, best) part of the limit, which is the highest measured, and the limit."""
    limit = max(report.number(roof.get(ROOF[kind])) for roofs in row["roofs"].values() for roof in roofs)
    times = row["took"][case].get(OURS[kind])
    if not times or not limit:
        return None
    done = row["operations"] * len(CASES[case])
    return done / report.median(times) / limit, done / min(times) / limit, limit


def cells(took, name):
    """Milliseconds, and the ratio to ours."""
    if name not in took:
        return "- | -"
    r = None if name in OURS.values() else ratios(took, name)
    return f"{report.median(took[name]) * 1e3:.0f} | " + \
        (f"{r['median']:.2f} ({r['low']:.2f}-{r['high']:.2f})" if r else "-")


def line(row, name):
    cosine = row["cosine"].get("openvino-f32" if name == "openvino-bf16" and name not in row["about"] else name)
    bold = "**" if name in OURS.values() else ""
    return (f"| {row['title']} | {bold}{ENGINES[name][1]}{bold} | {'-' if cosine is None else f'{cosine:.6f}'} | "
            f"{cells(row['took']['1'], name)} | {cells(row['took']['32'], name)} |")


def verdicts(rows):
    lines = ["| tower | number format | fastest peer of 32 pictures: its time over ours | bar | part of the measured "
             "limit, 32 pictures: median (best) | bar without AMX | 1 picture | bar |",
             "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        for kind in OURS:
            if OURS[kind] not in row["took"]["32"]:
                continue
            best, parts = fastest(row["took"]["32"], kind), []
            for case in ("32", "1"):
                part = fraction(row, case, kind)
                parts += [f"{part[0] * 100:.1f} % ({part[1] * 100:.1f} %) of {part[2] / 1e9:.0f} G/s" if part else "-",
                          f"{LIMIT_BAR[case][kind]} %" if row["judged"] else "-"]
            against = f"{ratios(row['took']['32'], best[1])['median']:.2f} ({best[1]})" if best else "no peer ran"
            lines.append(f"| {row['title']} | {kind} | {against} | {BAR[kind]}x | {' | '.join(parts)} |")
    return lines


def table(rows):
    lines = ["Picture towers, random weights of true shape (tools/make_checkpoint, f32), the same pictures of 224 x "
             "224 for all, medians. Ours is timed from RGB bytes, peers from finished pixel values, faster-clip from "
             "stored PNG. Ratios of turns in one round, quartiles in brackets (above 1: ours is faster):", "",
             "| tower | engine | lowest cosine to torch f32 | 1 picture, ms | its time over ours | 32 pictures, ms | "
             "its time over ours |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        ran = [name for name in ENGINES if any(name in took for took in row["took"].values())]
        lines += [line(row, name) for name in sorted(ran, key=lambda one: list(OURS).index(ENGINES[one][0]))]
    about = {name: facts for row in rows for name, facts in row["about"].items()}
    return [*lines, "", *verdicts(rows), "", *(f"- {row['title']}: {note}" for row in rows for note in row["notes"]),
            "", "Versions: " + "; ".join(f"{name} {facts.get('version', '-')}" for name, facts in about.items()) + "."]


def write(rows, folder):
    (folder / "vision.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    text = "\n".join(table(rows))
    (folder / "vision.md").write_text(text + "\n", encoding="utf-8")
    return text
