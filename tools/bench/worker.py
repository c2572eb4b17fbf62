# SPDX-License-Identifier: Apache-2.0
"""One engine in one process: reads a JSON command a line, answers with a JSON line. bench.py stops it between turns."""
import importlib
import json
import os
import sys
import time


def rss_anon():
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))


def timed(engine, prepared, command):
    """Seconds of each call: some untimed ones first, then as many as fit."""
    for _ in range(command["warm"]):
        engine.run(prepared)
    took, begin = [], time.perf_counter()
    while len(took) < command["calls"] and (not took or time.perf_counter() - begin < command["seconds"]):
        start = time.perf_counter()
        engine.run(prepared)
        took.append(time.perf_counter() - start)
    return took


def main():
    # What libraries print must not get into the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    prepared, engine = {}, None
    for line in sys.stdin:
        command = json.loads(line)
        try:
            if command["do"] == "load":
                engines = importlib.import_module(command["setup"].get("engines", "engines"))
                engine = engines.create(command["engine"], command["setup"])
                with open(command["cases"], encoding="ascii") as file:
                    cases = json.load(file)
                prepared = {name: engine.prepare(sequences) for name, sequences in cases.items()}
                answer = {"about": engine.about, "pid": os.getpid()}
            elif command["do"] == "vectors":
                import numpy as np
                np.save(command["file"], np.array(engine.vectors(prepared[command["case"]]), np.float32))
                answer = {"rss_anon": rss_anon()}
            else:
                answer = {"seconds": timed(engine, prepared[command["case"]], command)}
        except Exception as error:  # whatever a peer throws is that peer's row, not the end of the run
            answer = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
