#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares our tokenizer with Hugging Face `tokenizers` (pip install tokenizers==0.23.*) on random hostile strings.

  diff_tokenizers.py [--program build/tkr-embed] [--count N] [--seed N]   every variant through `tkr-embed tokenize`
  diff_tokenizers.py --golden              writes tests/golden/tokenizers/components.jsonl

A variant is one of four tiny golden tokenizers with some of its parts replaced, so that every component is met.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import unicodedata

from tokenizers import Tokenizer, normalizers

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
BASES = {
    "bert": "bert/bert-cased-lower/model/tokenizer.json",
    "xlmr": "bert/bert-xlmr-tokenizer/model/tokenizer.json",
    "qwen": "tokenizers/bases/qwen2-last.json",
    "gemma": "tokenizers/bases/gemma3-dense.json",
}
AFFIXED = "a ##a ##b b ##b</w> a</w> ab aba ##ab ##ab</w> e ##e ##e</w> the t ##h ##he</w> the</w>".split()
WORDS = ["the", "running", "[", "CLS", "]", "[CLS]", "[MASK]", "</s>", "<mask>", "ab C", "Hello", "  "]


def base(name):
    return json.loads((GOLDEN / BASES[name]).read_text())


def normalizer_sequence(*parts):
    return {"normalizer": {"type": "Sequence", "normalizers": list(parts)}}


def pre_sequence(*parts):
    return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": list(parts)}}


def added(content, number, **flags):
    token = dict(
        id=number, content=content, single_word=False, lstrip=False, rstrip=False, normalized=False, special=False
    )
    return token | flags


def variants():
    """name -> (base, patch, lowercase). In a patch, `model` and `added_tokens` add to the base; others replace."""
    bert = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
    }
    space = {"type": "WhitespaceSplit"}
    pair = {"sep": ["[SEP]", 4], "cls": ["[CLS]", 3]}
    roberta = {"type": "RobertaProcessing", **pair}
    meta = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
    template = base("bert")["post_processor"]
    template["single"] = [
        {"SpecialToken": {"id": "X", "type_id": 3}},
        {"Sequence": {"id": "A", "type_id": 2}},
        {"SpecialToken": {"id": "X", "type_id": 1}},
    ]
    template["pair"] = [
        {"Sequence": {"id": "B", "type_id": 5}},
        {"SpecialToken": {"id": "X", "type_id": 3}},
        {"Sequence": {"id": "A", "type_id": 2}},
    ]
    template["special_tokens"] = {"X": {"id": "X", "ids": [5, 6], "tokens": ["[MASK]", "x"]}}
    out = {
        "plain": ("bert", {}, False),
        "option_lowercase": ("bert", {}, True),
        "bert_uncased": ("bert", {"normalizer": bert}, False),
        "bert_all_off": (
            "bert",
            {"normalizer": bert | {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False}},
            False,
        ),
        "bert_accents_only": ("bert", {"normalizer": bert | {"strip_accents": True, "lowercase": False}}, False),
        "bert_keep_accents": ("bert", {"normalizer": bert | {"strip_accents": False}}, False),
        "strip_accents": (
            "bert",
            normalizer_sequence({"type": "NFD"}, {"type": "Lowercase"}, {"type": "StripAccents"})
            | {"pre_tokenizer": {"type": "Whitespace"}},
            False,
        ),
        "strip_replace_prepend": (
            "bert",
            normalizer_sequence(
                {"type": "Strip", "strip_left": True, "strip_right": True},
                {"type": "Replace", "pattern": {"String": "e"}, "content": "\u00e9a"},
                {"type": "Replace", "pattern": {"String": "a"}, "content": ""},
                {"type": "Prepend", "prepend": "th"},
            )
            | {"pre_tokenizer": {"type": "Punctuation", "behavior": "MergedWithPrevious"}},
            False,
        ),
        "strip_left": (
            "bert",
            normalizer_sequence(
                {"type": "Strip", "strip_left": True, "strip_right": False},
                {"type": "Prepend", "prepend": "\u2581"},
            )
            | {"pre_tokenizer": None},
            False,
        ),
        "digits": (
            "bert",
            {"normalizer": None} | pre_sequence(space, {"type": "Digits", "individual_digits": True}),
            False,
        ),
        "digit_runs": (
            "bert",
            {"normalizer": {"type": "Lowercase"}}
            | pre_sequence({"type": "Digits", "individual_digits": False}, {"type": "BertPreTokenizer"}),
            False,
        ),
        "bert_processing": ("bert", {"post_processor": {"type": "BertProcessing", **pair}}, False),
        "roberta": ("bert", {"post_processor": roberta | {"trim_offsets": True, "add_prefix_space": True}}, False),
        "roberta_spaces": (
            "bert",
            {
                "normalizer": None,
                "pre_tokenizer": None,
                "post_processor": roberta | {"trim_offsets": True, "add_prefix_space": False},
            },
            False,
        ),
        "no_post_processor": ("bert", {"post_processor": None}, False),
        "post_sequence": (
            "bert",
            {"post_processor": {"type": "Sequence", "processors": [base("bert")["post_processor"]]}},
            False,
        ),
        "template": ("bert", {"post_processor": template}, False),
        "short_words": ("bert", {"model": {"max_input_chars_per_word": 7}}, False),
        "no_prefix": ("bert", {"model": {"continuing_subword_prefix": ""}}, False),
        "added_raw": (
            "bert",
            {
                "added_tokens": [
                    added("hello", 760, single_word=True),
                    added("ab", 761, lstrip=True),
                    added("abc", 762, rstrip=True),
                    added("the ", 763, lstrip=True, rstrip=True),
                    added("\u00e9", 310, single_word=True, lstrip=True),
                    added("  ", 764),
                ]
            },
            False,
        ),
        "added_normalized": (
            "bert",
            {
                "normalizer": bert,
                "added_tokens": [
                    added("Hello", 760, normalized=True, single_word=True),
                    added("\u00c9", 761, normalized=True, lstrip=True),
                    added("ab C", 762, normalized=True, rstrip=True),
                    added("\u4e2d", 763, normalized=True),
                    added(" ", 764, normalized=True, single_word=True),
                    added("...", 765, lstrip=True, rstrip=True),
                ],
            },
            False,
        ),
        "unigram": ("xlmr", {}, False),
        "metaspace": ("xlmr", {"pre_tokenizer": meta}, False),
        "metaspace_first": ("xlmr", {"pre_tokenizer": meta | {"prepend_scheme": "first"}}, False),
        "metaspace_never": (
            "xlmr",
            {"pre_tokenizer": meta | {"prepend_scheme": "never"}, "normalizer": {"type": "NFKC"}},
            False,
        ),
        "metaspace_whole": (
            "xlmr",
            {"normalizer": None} | pre_sequence(space, meta | {"prepend_scheme": "first", "split": False}),
            False,
        ),
        "replace_runs": (
            "xlmr",
            normalizer_sequence(
                {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "\u2581"},
                {"type": "Replace", "pattern": {"Regex": "e+"}, "content": "a"},
                {"type": "Replace", "pattern": {"Regex": "\u00e9{3,}"}, "content": "xy"},
            )
            | {"pre_tokenizer": meta},
            False,
        ),
        "unigram_whole": ("xlmr", {"pre_tokenizer": None}, False),
        "unigram_added": (
            "xlmr",
            {
                "pre_tokenizer": meta,
                "added_tokens": [
                    added("the ", 902, lstrip=True, normalized=True),
                    added("\u00e9", 231, rstrip=True, normalized=True),
                ],
            },
            False,
        ),
    }
    out |= bpe_variants()
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        out[form] = ("bert", {"normalizer": {"type": form}, "pre_tokenizer": space}, False)
    for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        split = {"type": "Split", "pattern": {"String": "e"}, "behavior": behavior, "invert": False}
        out["split_" + behavior] = (
            "bert",
            pre_sequence(split, {"type": "Punctuation", "behavior": behavior}),
            False,
        )
        out["split_inverted_" + behavior] = (
            "bert",
            {"pre_tokenizer": split | {"pattern": {"String": " "}, "invert": True}},
            False,
        )
    return out


def bpe_variants():
    def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
        return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}

    def level(prefix, regex, trim=True):
        return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": trim, "use_regex": regex}

    def roberta(prefix, trim=True):
        ends = {"sep": ["<|im_end|>", 1002], "cls": ["<|im_start|>", 1001]}
        return {"type": "RobertaProcessing", **ends, "trim_offsets": trim, "add_prefix_space": prefix}

    qwen = base("qwen")["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
    spaces = [added("  ", 1006, normalized=True), added("\u00e9", 165, normalized=True, lstrip=True)]
    out = {
        "qwen": ("qwen", {}, False),
        "llama3": (
            "qwen",
            {"normalizer": None} | pre_sequence(split(qwen.replace("|\\p{N}|", "|\\p{N}{1,3}|")), level(False, False)),
            False,
        ),
        "gpt2": ("qwen", {"pre_tokenizer": level(False, True), "post_processor": level(False, True)}, False),
        "gpt2_spaces": (
            "qwen",
            {"pre_tokenizer": level(False, True), "normalizer": None, "added_tokens": spaces}
            | {"post_processor": roberta(False)},
            False,
        ),
        "gpt2_prefix": (
            "qwen",
            {"pre_tokenizer": level(True, True), "post_processor": roberta(True), "added_tokens": spaces},
            False,
        ),
        "gpt2_prefix_untrimmed": (
            "qwen",
            {"pre_tokenizer": level(True, True), "post_processor": roberta(True, False), "normalizer": None},
            False,
        ),
        "ignore_merges": ("qwen", {"model": {"ignore_merges": True}}, False),
        "byte_level_whole": ("qwen", {"pre_tokenizer": level(False, False), "model": {"ignore_merges": True}}, False),
        "byte_level_first": (
            "qwen",
            pre_sequence(level(False, True), {"type": "Digits", "individual_digits": True}),
            False,
        ),
        "byte_level_last": (
            "qwen",
            pre_sequence({"type": "Punctuation"}, {"type": "Digits", "individual_digits": True}, level(True, True)),
            False,
        ),
        "byte_level_twice": ("qwen", pre_sequence(level(False, False), level(False, True)), False),
        "byte_level_normalizer": (
            "qwen",
            normalizer_sequence({"type": "NFC"}, {"type": "ByteLevel"}) | {"pre_tokenizer": None},
            False,
        ),
        "replace_regex": (
            "qwen",
            normalizer_sequence(
                {"type": "Replace", "pattern": {"Regex": "[aeiou]{2}|\\s+$"}, "content": "\u00e9"},
                {"type": "Replace", "pattern": {"Regex": "(?<=t)h"}, "content": ""},
                {"type": "Replace", "pattern": {"Regex": "\\d\\S?"}, "content": "--"},
            ),
            False,
        ),
        "gemma": ("gemma", {}, False),
        "gemma_prepend": (
            "gemma",
            normalizer_sequence({"type": "Prepend", "prepend": "\u2581"}, base("gemma")["normalizer"]),
            False,
        ),
        "gemma_no_bytes": ("gemma", {"model": {"byte_fallback": False}}, False),
        "gemma_no_fuse": ("gemma", {"model": {"byte_fallback": False, "fuse_unk": False}}, False),
        "gemma_no_unk": ("gemma", {"model": {"byte_fallback": False, "unk_token": None}}, False),
        "gemma_words": (
            "gemma",
            {"pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first"}},
            False,
        ),
        "affixes": (
            "gemma",
            {
                "normalizer": None,
                "pre_tokenizer": {"type": "Whitespace"},
                "model": {
                    "continuing_subword_prefix": "##",
                    "end_of_word_suffix": "</w>",
                    "byte_fallback": False,
                    "vocab": {t["content"]: t["id"] for t in base("gemma")["added_tokens"]}
                    | {piece: 100 + i for i, piece in enumerate(AFFIXED)},
                    "merges": [
                        ["a", "##b"],
                        ["##a", "##b"],
                        ["ab", "##a"],
                        ["##a", "##b</w>"],
                        ["##h", "##e</w>"],
                        ["t", "##he</w>"],
                    ],
                },
            },
            False,
        ),
    }
    for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        for invert in (False, True):
            out[f"regex_{behavior}_{invert}"] = (
                "qwen",
                pre_sequence(split("[aeiou]+\\d*|\\s", behavior, invert), level(False, False)),
                False,
            )
    out["regex_empty"] = ("qwen", pre_sequence(split("(?=[A-Zhl])|e*"), level(False, False)), False)
    out["regex_lines"] = ("qwen", pre_sequence(split("^[a-z]+|[^ab\\]-]+$"), level(False, False)), False)
    return out


def patched(name, patch):
    tree = base(name)
    for key, value in patch.items():
        if key == "model":
            tree["model"].update(value)
        elif key == "added_tokens":
            tree["added_tokens"] += value
        else:
            tree[key] = value
    return tree


def reference(tree, lowercase):
    tok = Tokenizer.from_str(json.dumps(tree))
    tok.no_truncation()
    tok.no_padding()
    if lowercase:
        own = tok.normalizer
        tok.normalizer = normalizers.Sequence([normalizers.Lowercase()] + ([own] if own else []))
    return tok


class Strings:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        scalar = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
        self.marks = [c for c in scalar if unicodedata.combining(c)]
        self.composed = [c for c in scalar if unicodedata.decomposition(c)]
        self.spaces = [c for c in scalar[:0x3001] if c.isspace()] + ["\u200b", "\ufeff", "\xad", "\u180e"]
        self.known = [json.loads(line) for line in (GOLDEN / "tokenizers" / "strings.jsonl").open()]

    def piece(self):
        rng, kind = self.rng, self.rng.random()
        for limit, choose in (
            (0.30, lambda: rng.choice("abcdeEFG hello0123456789 The ")),
            (0.40, lambda: rng.choice(self.marks)),
            (0.50, lambda: rng.choice(self.composed)),
            (0.58, lambda: rng.choice(self.spaces)),
            (0.66, lambda: chr(rng.randrange(0x20, 0x250))),
            (0.72, lambda: rng.choice(".,!?-_'\"[](){}@#$%&*+=<>/|`~")),
            (0.78, lambda: rng.choice(WORDS)),
            (0.80, lambda: chr(rng.randrange(0xAC00, 0xD7A4))),
            (0.82, lambda: chr(rng.randrange(0x1100, 0x1200))),
            (0.86, lambda: chr(rng.randrange(0x4E00, 0x9FFF))),
            (0.90, lambda: chr(rng.randrange(0x20))),
            (0.97, lambda: chr(rng.randrange(0x3000))),
        ):
            if kind < limit:
                return choose()
        return chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)]))

    def text(self, most=60):
        kind = self.rng.random()
        if kind < 0.15:
            return (self.rng.choice(self.known) + self.rng.choice(self.known))[:300]
        if kind < 0.2:
            unit = self.rng.choice(["a", "e", "\u00e9", "\u0301", "\u4e2d", "[CLS] ", ".."])
            return unit * self.rng.randrange(1, 150)
        return "".join(self.piece() for _ in range(self.rng.randrange(most)))


def byte_offsets(encoding, text, pair):
    starts = []
    for one in (text, pair or ""):
        sums = [0]
        for ch in one:
            sums.append(sums[-1] + len(ch.encode()))
        starts.append(sums)
    return [
        [0, 0] if side is None else [starts[side][a], starts[side][b]]
        for (a, b), side in zip(encoding.offsets, encoding.sequence_ids)
    ]


def encode(tok, text, pair, special, limit, left):
    """None where the reference refuses the limit or fails."""
    if limit and limit < (tok.num_special_tokens_to_add(pair is not None) if special else 0):
        return None
    tok.no_truncation()
    try:
        whole = len(tok.encode(text, pair, add_special_tokens=special).ids)
    except BaseException as problem:  # the reference panics on some texts
        if type(problem).__name__ != "PanicException":
            raise
        return None
    if limit:
        tok.enable_truncation(limit, direction="left" if left else "right")
    encoding = tok.encode(text, pair, add_special_tokens=special)
    return {
        "text": text,
        "pair": pair,
        "special": special,
        "limit": limit,
        "left": left,
        "whole": whole,
        "ids": encoding.ids,
        "types": encoding.type_ids,
        "offsets": byte_offsets(encoding, text, pair),
    }


def write_golden():
    strings = Strings(2026)
    rng = strings.rng
    with (GOLDEN / "tokenizers" / "components.jsonl").open("w") as out:
        for name, (base_name, patch, lowercase) in variants().items():
            tok = reference(patched(base_name, patch), lowercase)
            cases = []
            while len(cases) < 24:
                pair = strings.text(20) if rng.random() < 0.35 else None
                case = encode(
                    tok,
                    strings.text(24)[:120],
                    pair,
                    rng.random() < 0.8,
                    rng.choice([0, 0, 0, 2, 4, 5, 7, 12]),
                    rng.random() < 0.5,
                )
                if case is not None:
                    cases.append(case)
            out.write(
                json.dumps(
                    {
                        "name": name,
                        "base": BASES[base_name],
                        "patch": patch,
                        "lowercase": lowercase,
                        "cases": cases,
                    },
                    separators=(",", ":"),
                )
                + "\n"
            )


def compare(program, count, seed):
    strings = Strings(seed)
    bad = total = tokens = 0
    for name, (base_name, patch, lowercase) in variants().items():
        if lowercase:
            continue
        tree = patched(base_name, patch)
        tok = reference(tree, lowercase)
        limit = strings.rng.choice([8, 17, 64])
        texts = [strings.text() for _ in range(count)]
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "tokenizer.json").write_text(json.dumps(tree))
            run = subprocess.run(
                [
                    program,
                    "tokenize",
                    "-m",
                    folder,
                    "--jsonl",
                    "--input",
                    "-",
                    "--format",
                    "offsets",
                    "--max-tokens",
                    str(limit),
                ],
                input="".join(json.dumps(t) + "\n" for t in texts),
                capture_output=True,
                text=True,
            )
        if run.returncode != 0:
            sys.exit(f"{name}: {run.stderr}")
        for text, line in zip(texts, run.stdout.splitlines(), strict=True):
            want, got = encode(tok, text, None, True, limit, False), json.loads(line)
            if want is None:
                continue
            total += 1
            tokens += len(want["ids"])
            if (got["ids"], got["offsets"]) != (want["ids"], want["offsets"]):
                bad += 1
                print(f"{name}: {ascii(text)}")
                print(f"  want {want['ids']} {want['offsets']}\n  got  {got['ids']} {got['offsets']}")
    print(f"{bad} of {total} texts differ, {tokens} tokens")
    return bad != 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=str(ROOT / "build" / "tkr-embed"))
    parser.add_argument("--count", type=int, default=500, help="texts for each variant")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--golden", action="store_true")
    args = parser.parse_args()
    if args.golden:
        write_golden()
        return 0
    return compare(args.program, args.count, args.seed)


if __name__ == "__main__":
    sys.exit(main())
