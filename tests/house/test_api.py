#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tables in docs/api.md are those of the code: routes (routes.def), what a body decides (dialects.def), the words
of our errors (operation.h). `test_api.py --write` puts them there."""
import os
import re
import sys
from pathlib import Path

SOURCE = Path(os.environ.get("TKR_SOURCE_DIR", Path(__file__).parents[2]))
SCOPES = {"NONE": "", "EMBED": "embed", "METRICS": "metrics", "ADMIN": "admin"}
TEXT = r'"((?:[^"\\]|\\.)*)"'


def read(*path):
    return SOURCE.joinpath(*path).read_text(encoding="utf-8")


def plain(text):
    return text.replace('\\"', '"')


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def routes():
    rows = re.findall(rf"TKR_ROUTE\({TEXT}, {TEXT}, (\w+), (\w+), {TEXT}\)", read("src", "server", "routes.def"))
    assert len(rows) > 30
    return table(("method", "path", "scope", "what"),
                 [(method, f"`{path}`", SCOPES[scope], plain(summary)) for method, path, _, scope, summary in rows])


def api_of(handler):
    name = handler.split("_")[0]
    known = {"openai": "OpenAI", "tei": "Text Embeddings Inference", "jina": "Jina", "voyage": "Voyage",
             "llama": "llama-server", "tei_similarity": "Text Embeddings Inference, as `/similarity`"}
    return known.get(handler) or known[name]


def dialects():
    """A path's rows in the order in which they are tried, then what is left."""
    rows = re.findall(rf"TKR_DIALECT\({TEXT}, (\w+), {TEXT}, (\w+)\)", read("src", "server", "dialects.def"))
    default = dict(re.findall(rf'TKR_ROUTE\("POST", {TEXT}, (\w+),', read("src", "server", "routes.def")))
    assert len(rows) > 5
    tests = {"HAS": "", "OBJECTS": "an object in the list ", "MIXED": "ids and texts in one list of "}
    out = []
    for path in dict.fromkeys(row[0] for row in rows):
        for at, test, keys, handler in rows:
            if at == path:
                words = " or ".join(f"`{key}`" for key in keys.split())
                out.append((f"`POST {path}`", tests[test] + words,
                            api_of(handler)))
        out.append((f"`POST {path}`", "else", api_of(default[path])))
    return table(("path", "the body has", "API, its reply and errors"), out)


def errors():
    rows = re.findall(r'X\((\w+), (\d+), "(\w+)"\)(?: */\* (.*?) \*/)?', read("src", "server", "operation.h"))
    assert len(rows) > 15
    return table(("code", "status", "when"), [(f"`{word}`", status, when) for _, status, word, when in rows])


def main():
    path = SOURCE / "docs" / "api.md"
    text = written = path.read_text(encoding="utf-8")
    for name, wanted in (("routes", routes()), ("dialects", dialects()), ("errors", errors())):
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
        before, rest = text.split(begin)
        text = before + begin + wanted + end + rest.split(end)[1]
    if "--write" in sys.argv:
        path.write_text(text, encoding="utf-8")
        return
    assert text == written, "docs/api.md: a table is not what the code has; tests/house/test_api.py --write"
    for name in re.findall(r"src/[\w/.]+\w", text):
        assert (SOURCE / name).exists(), f"docs/api.md names {name}"


if __name__ == "__main__":
    sys.exit(main())
