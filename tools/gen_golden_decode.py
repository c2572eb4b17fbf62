#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/tokenizers/decode.jsonl.xz: what Hugging Face `tokenizers` and `sentencepiece` decode
(pip install tokenizers==0.23.* sentencepiece==0.2.*).

  gen_golden_decode.py                                     writes the file
  gen_golden_decode.py --program build/tkr-embed [--count N] [--seed N]
                                                           compares N random lists of ids per tokenizer instead

A line is a tokenizer of the golden data, some with another decoder: the texts of the ids of the 500 strings, with
special tokens and without, and of random lists of ids.
"""

import argparse
import hashlib
import json
import lzma
import pathlib
import random
import subprocess
import sys
import tempfile
import unicodedata

from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"
BASES = [
    "bert/bert-cased-lower/model/tokenizer.json",
    "bert/bert-xlmr-tokenizer/model/tokenizer.json",
    "gemma3_text/gemma3-dense/model/tokenizer.json",
]


def replace(pattern, content, kind="String"):
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def strip(content, start, stop):
    return {"type": "Strip", "content": content, "start": start, "stop": stop}


def wordpiece(prefix, cleanup):
    return {"type": "WordPiece", "prefix": prefix, "cleanup": cleanup}


def sequence(*decoders):
    return {"type": "Sequence", "decoders": list(decoders)}


def variants():
    meta = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
    words = replace("\u2581", " ")
    fallback, fuse = {"type": "ByteFallback"}, {"type": "Fuse"}
    return {
        "none": None,
        "wordpiece_plain": wordpiece("##", False),
        "wordpiece_no_prefix": wordpiece("", True),
        "wordpiece_marks": wordpiece("\u2581", True),
        "wordpiece_letter": wordpiece("a", True),
        "metaspace_never": meta | {"prepend_scheme": "never"},
        "metaspace_first": meta | {"prepend_scheme": "first"},
        "metaspace_old": {"type": "Metaspace", "replacement": "\u2581", "add_prefix_space": True},
        "metaspace_letter": meta | {"replacement": "e"},
        "llama": sequence(words, fallback, fuse, strip(" ", 1, 0)),
        "strip": sequence(words, fuse, strip(" ", 2, 1), strip("e", 0, 3)),
        "regex": sequence(replace("[aeiou]+", "\u00e9", "Regex"), fuse, replace("  +", " ", "Regex")),
        "regex_run": replace("e+", "x", "Regex"),
        "regex_empty": replace("x*", "-", "Regex"),
        "removed": replace("th", ""),
        "replaced_twice": sequence(fuse, replace("e", "ee"), replace("ee", "\u2581")),
        "empty_sequence": sequence(),
        "nested": sequence(sequence(fallback), sequence(sequence(meta))),
        "byte_level": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "bpe": {"type": "BPEDecoder", "suffix": "e"},
        "bpe_w": {"type": "BPEDecoder", "suffix": "</w>"},
        "bytes_wordpiece": sequence(fallback, wordpiece("##", True)),
        "fused_cleanup": sequence(words, fuse, wordpiece("x", True)),
    }


def subjects():
    """(file below tests/golden, name of the variant, description with its decoder), equal files once."""
    seen = set()
    for path in sorted(GOLDEN.glob("**/tokenizer.json*")):
        raw = (lzma.open if path.suffix == ".xz" else open)(path, "rb").read()
        digest = hashlib.sha256(raw).digest()
        if digest not in seen:
            seen.add(digest)
            yield str(path.relative_to(GOLDEN)), None, json.loads(raw)
    for base in BASES:
        tree = json.loads((GOLDEN / base).read_text())
        for name, decoder in variants().items():
            yield base, name, tree | {"decoder": decoder}


def reference(tree):
    tokenizer = Tokenizer.from_str(json.dumps(tree))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def draw(rng, tree, vocab):
    """A list of ids that meets special tokens, bytes and punctuation more often than chance."""
    groups = [
        ([token["id"] for token in tree["added_tokens"]], 0.08),
        ([i for piece, i in vocab.items() if piece.startswith("<0x")], 0.3),
        ([i for piece, i in vocab.items() if not any(c.isalnum() for c in piece)], 0.25),
        (list(vocab.values()), 1),
    ]
    groups = [group for group in groups if group[0]]
    while True:
        ids = []
        for _ in range(rng.choice([0, 1, 2, 3, 5, 8, 13, 30])):
            ids.append(next(rng.choice(group) for group, part in groups if rng.random() < part))
        yield ids


def decode(tokenizer, ids, skip):
    """None where the reference panics: Strip, when both ends of a text want the same character."""
    try:
        return tokenizer.decode(ids, skip_special_tokens=skip)
    except BaseException as error:
        if "PanicException" not in type(error).__name__:
            raise
        return None


def cases(tokenizer, tree, count, rng):
    lists = draw(rng, tree, tokenizer.get_vocab(True))
    found = []
    while len(found) < count:
        ids, skip = next(lists), rng.random() < 0.5
        text = decode(tokenizer, ids, skip)
        if text is not None:
            found.append([ids, skip, text])
    return found


def spm_lines():
    for path in sorted((GOLDEN / "tokenizers" / "spm").glob("*.model")):
        model = SentencePieceProcessor(model_file=str(path))
        rows = [json.loads(line)["ids"] for line in path.with_suffix(".jsonl").open()]
        rows = [ids for ids in rows if model.unk_id() not in ids]
        yield {"file": str(path.relative_to(GOLDEN)), "lists": [[ids, False, model.decode(ids)] for ids in rows]}


def there_and_back(tokenizer, text, on_pcre2):
    """null for what is newer than the Unicode of Debian 12's PCRE2, on which CLIP's pattern runs: its ids differ."""
    if on_pcre2 and any(unicodedata.category(c) == "Cn" for c in text):
        assert unicodedata.unidata_version == "14.0.0", "run by Python 3.11"
        return None
    ids = tokenizer.encode(text).ids
    return [tokenizer.decode(ids, skip_special_tokens=skip) for skip in (False, True)]


def write():
    strings = [json.loads(line) for line in (GOLDEN / "tokenizers" / "strings.jsonl").open()]
    rng = random.Random(1)
    lines = []
    for file, name, tree in subjects():
        tokenizer = reference(tree)
        line = {"file": file}
        if name is None:
            line["texts"] = [there_and_back(tokenizer, text, file.startswith("clip/")) for text in strings]
        else:
            line |= {"name": name, "decoder": tree["decoder"]}
        line["lists"] = cases(tokenizer, tree, 20 if name else 60, rng)
        lines.append(line)
    lines += spm_lines()
    text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]
    (GOLDEN / "tokenizers" / "decode.jsonl.xz").write_bytes(lzma.compress(text.encode(), filters=filters))
    print(len(lines), "tokenizers,", len(text), "bytes before compression")


def compare(program, count, seed):
    rng = random.Random(seed)
    n_compared = n_different = 0
    for file, name, tree in subjects():
        wanted = cases(reference(tree), tree, count, rng)
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "tokenizer.json").write_text(json.dumps(tree))
            for skip in (False, True):
                part = [case for case in wanted if case[1] == skip]
                args = [program, "tokenize", "-m", folder, "--decode"] + ["--no-special"] * skip
                lines = "".join(json.dumps(case[0]) + "\n" for case in part)
                done = subprocess.run(args + ["--json"], input=lines, capture_output=True, text=True, check=True)
                got = [json.loads(line) for line in done.stdout.splitlines()]
                different = [(case, text) for case, text in zip(part, got, strict=True) if case[2] != text]
                n_compared += len(part)
                n_different += len(different)
                for case, text in different[:3]:
                    print(f"{file} {name}: {case[0]}, skip {skip}: {text!r}, expected {case[2]!r}")
    print(f"{n_compared} lists of ids, {n_different} differ")
    return 1 if n_different else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", help="compare with this tkr-embed instead of writing")
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.program:
        return compare(args.program, args.count, args.seed)
    write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
