# SPDX-License-Identifier: Apache-2.0
"""Runs document_dump on files, and changes documents at random: shared by the tests of documents."""
import json
import os
import random
import subprocess
import zipfile
from pathlib import Path

BUILD = Path(os.environ["TKR_BUILD_DIR"])
DUMP = BUILD / "tests" / "document_dump"
DECODER = BUILD / "tkr-decode"  # the jail starts tkr-decode-document beside it
FOLDER = Path(os.environ["TKR_TEST_DIR"]) / "golden" / "documents"
OK, FORMAT, UNSUPPORTED, NO_MEMORY, LIMIT, DEADLINE = 0, 4, 5, 6, 7, 11
KINDS = {1: "paragraph", 2: "heading", 3: "row"}


def dump(*files, options=()):
    """An object a file, of one jail."""
    done = subprocess.run([DUMP, DECODER, *options, *files], capture_output=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stderr.decode()
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == len(files), (len(rows), len(files))
    return rows


def blocks(row):
    """[kind, level, page, text] each; checks that ranges and sentences are sound."""
    text = row["text"].encode()
    out, before = [], 0
    for block in row["blocks"]:
        begin, end = block["begin"], block["end"]
        assert text[before:begin].strip(b" \n") == b"" and begin < end, block
        assert block["sentences"][0] == begin and sorted(set(block["sentences"])) == block["sentences"], block
        piece = text[begin:end].decode()
        assert piece == piece.strip(" \t\n"), piece
        out.append([KINDS[block["kind"]], block["level"], block["page"], piece])
        before = end
    return out


def sentences(row):
    text, out = row["text"].encode(), []
    for block in row["blocks"]:
        ends = block["sentences"][1:] + [block["end"]]
        out += [text[a:b].decode().strip() for a, b in zip(block["sentences"], ends)]
    return out


def change(data, chance):
    """Some bytes flipped, repeated, dropped or moved."""
    data = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        at, n = chance.randrange(len(data)), chance.choice((1, 2, 4, 16, 100))
        how = chance.randrange(5)
        if how == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif how == 1:
            data[at:at + n] = bytes(chance.randrange(256) for _ in range(n))
        elif how == 2 and len(data) > n + 64:
            del data[at:at + n]
        elif how == 3:
            data[at:at] = data[at:at + n] * chance.choice((1, 2, 50))
        else:
            data[at:at + n] = chance.choice((b"\xff", b"\0", b"9", b"<", b"/", b"(")) * n
    return bytes(data)


def change_archive(path, out, chance):
    """The same within one of the archive's files, so that the archive is still sound."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        names = [i for i in source.namelist() if i.endswith((".xml", ".rels", ".xhtml", ".opf"))]
        chosen = chance.choice(names)
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, change(data, chance) if name == chosen and data else data)


def mutate(folder, n, seed):
    """n files in `folder`, of all good documents in turn."""
    chance = random.Random(seed)
    good = sorted(p for p in FOLDER.iterdir() if p.suffix in
                  {".pdf", ".docx", ".pptx", ".xlsx", ".odt", ".epub", ".html", ".md", ".eml", ".txt"} and
                  not p.name.startswith("bad_"))
    files = []
    for i in range(n):
        path = good[i % len(good)]
        out = Path(folder) / f"{i}{path.suffix}"
        if path.suffix in {".docx", ".pptx", ".xlsx", ".odt", ".epub"} and chance.random() < 0.7:
            change_archive(path, out, chance)
        else:
            out.write_bytes(change(path.read_bytes(), chance))
        files.append(out)
    return files


def memory_of(pid):
    """KiB of its anonymous memory."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon"))


def memory_of_both(files, at):
    """KiB of anonymous memory of the host and of its decoder after so many files."""
    sizes = {"host": [], "decoder": []}
    with subprocess.Popen([DUMP, DECODER, *files], stdout=subprocess.PIPE) as program:
        for i, _ in enumerate(program.stdout, 1):
            if i not in at:
                continue
            children = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text(encoding="ascii").split()
            assert len(children) == 1, children
            sizes["host"].append(memory_of(program.pid))
            sizes["decoder"].append(memory_of(children[0]))
    return sizes


def survive(folder, n, seed):
    """Whatever a changed document holds, its own error is the worst that comes of it, and the next one is read.
    Returns how many were read, refused, and ended their process."""
    good = FOLDER / "report.docx"
    counts = [0, 0, 0]
    for begin in range(0, n, 500):
        files = mutate(folder, min(500, n - begin), seed + begin)
        *rows, last = dump(*files, good)
        assert last["status"] == OK, last
        for path, row in zip(files, rows):
            assert row["status"] in (OK, FORMAT, UNSUPPORTED, LIMIT, NO_MEMORY, DEADLINE), (path, row)
            ended = "the decoder" in row.get("error", "")
            counts[2 if ended else row["status"] != OK] += 1
            if row["status"] == OK:
                blocks(row)
    return counts
