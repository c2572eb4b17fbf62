#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes src/tokenizer/unicode_tables.c from what the reference tokenizer does with each code point.

Inputs, both in tests/golden/tokenizers:
  unicode.json.xz      sets, lower-casing and normalisation of single code points
  unicode_extra.json   what that file lacks: \\w next to added tokens, digits, the marks of StripAccents, combining
                       classes and composition pairs. `--probe` writes it anew; that needs the `tokenizers` package and
                       a Python whose unicodedata is at least as new as the reference's normalisation tables.

Every stage of the reference has its own Unicode version, so nothing here comes from one Unicode library alone.
"""

import json
import lzma
import pathlib
import sys
import unicodedata

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "golden" / "tokenizers"
OUT = ROOT / "src" / "tokenizer" / "unicode_tables.c"
BLOCK = 128

FLAGS = [
    "CLEAN_DROP",
    "CLEAN_SPACE",
    "CJK",
    "MN",
    "PUNCT",
    "SPACE",
    "WORD",
    "DIGIT",
    "NFD",
    "NFKD",
    "CCC",
    "LOWER",
    "MARK",
    "LETTER",
    "NUMBER",
    "NFC",
]
GRAPHEME = ["attaches", "prepend", "control", "pictographic", "consonant", "linker", "conjunct_extend"]


def code_points():
    return (c for c in range(0x110000) if not 0xD800 <= c < 0xE000)


def ranges(values):
    out = []
    for value in values:
        if out and out[-1][1] == value - 1:
            out[-1][1] = value
        else:
            out.append([value, value])
    return out


def probe_graphemes(normalizers):
    """What Precompiled's grapheme clusters show: in a cluster of 6 bytes or more, "a" + U+0301 stays in two parts."""
    import base64

    model = json.loads((ROOT / "tests/golden/bert/bert-xlmr-tokenizer/model/tokenizer.json").read_text())
    norm = normalizers.Precompiled(base64.b64decode(model["normalizer"]["precompiled_charsmap"])).normalize_str
    acute, zwj, virama, qa = "a\u0301", "\u200d", "\u094d", "\u0958\u0301"

    def control(x):  # U+0301 behind a character that is mapped and short is dropped unless it begins a new cluster
        return len(x.encode()) < 4 and norm(x) != x and norm(x + "\u0301") == norm(x) + "\u0301"

    tests = {
        "attaches": lambda x: norm(acute + x) != "\u00e1" + norm(x),
        "prepend": lambda x: norm(x + acute) != norm(x) + "\u00e1",
        "control": control,
        "pictographic": lambda x: norm(x + zwj + "\u2122\u0301").endswith("TM\u0301"),
        "consonant": lambda x: norm(x + virama + qa).endswith(norm("\u0958") + "\u0301"),
        "linker": lambda x: norm("\u0915" + x + qa).endswith(norm("\u0958") + "\u0301"),
        "conjunct_extend": lambda x: norm("\u0915" + virama + x + qa).endswith(norm("\u0958") + "\u0301"),
    }
    found = {name: {c for c in code_points() if test(chr(c))} for name, test in tests.items()}
    found["linker"] -= found["prepend"]
    found["conjunct_extend"] -= found["prepend"] | found["consonant"]
    return {name: ranges(sorted(values)) for name, values in found.items()}


def probe():
    from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers
    from tokenizers.models import WordLevel

    tok = Tokenizer(WordLevel({"x": 0}, unk_token="x"))
    tok.add_tokens([AddedToken("QQ", single_word=True, normalized=False)])
    added = tok.token_to_id("QQ")
    digits = pre_tokenizers.Digits(individual_digits=True)
    strip = normalizers.StripAccents()
    nfd, nfc = normalizers.NFD(), normalizers.NFC()
    extra = {
        "added_word": ranges(c for c in code_points() if tok.encode(chr(c) + "QQ").ids[-1] != added),
        "digits": ranges(c for c in code_points() if len(digits.pre_tokenize_str("a" + chr(c))) == 2),
        "strip_accents_removes": ranges(c for c in code_points() if strip.normalize_str(chr(c)) == ""),
    }
    # A mark of class 0 < k < 240 moves in front of U+0345 (240), one of k > 1 behind U+0334 (1).
    classes = {}
    for c in code_points():
        k, x = unicodedata.combining(chr(c)), chr(c)
        if k == 0 or nfd.normalize_str(x) != x:
            continue
        moves = (
            nfd.normalize_str("a\u0345" + x) != "a\u0345" + x
            or nfd.normalize_str("a" + x + "\u0334") != "a" + x + "\u0334"
        )
        if moves or k == 240:
            classes.setdefault(str(k), []).append(c)
    extra["combining_class"] = {k: ranges(v) for k, v in classes.items()}
    pairs = []
    for c in code_points():
        parts = unicodedata.decomposition(chr(c)).split()
        if len(parts) == 2 and not parts[0].startswith("<") and nfc.normalize_str(chr(c)) == chr(c):
            a, b = (int(p, 16) for p in parts)
            if nfc.normalize_str(chr(a) + chr(b)) == chr(c):
                pairs.append([a, b, c])
    extra["composition"] = pairs
    extra["grapheme"] = probe_graphemes(normalizers)
    text = ",\n".join(json.dumps(k) + ": " + json.dumps(v, separators=(",", ":")) for k, v in extra.items())
    (DATA / "unicode_extra.json").write_text("{" + text + "}\n")


def emit(out, ctype, name, values):
    out.append(f"const {ctype} {name}[{len(values)}] = {{")
    line = "   "
    for value in values:
        item = f"{value},"
        if len(line) + len(item) > 118:
            out.append(line)
            line = "   "
        line += item
    out.append(line)
    out.append("};\n")


def two_stage(values):
    blocks, index = {}, []
    for start in range(0, 0x110000, BLOCK):
        block = tuple(values[start : start + BLOCK])
        index.append(blocks.setdefault(block, len(blocks)))
    assert len(blocks) <= 256
    return blocks, index


def mapping(rows):
    """Sorted code points, offsets (one more than code points) into a pool of code points."""
    keys, offsets, pool = [], [0], []
    for code, text in sorted(rows):
        keys.append(code)
        pool.extend(ord(ch) for ch in text)
        offsets.append(len(pool))
    return keys, offsets, pool


def main():
    if "--probe" in sys.argv:
        probe()
    data = json.loads(lzma.open(DATA / "unicode.json.xz").read())
    extra = json.loads((DATA / "unicode_extra.json").read_text())
    sets = data["sets"]
    for other in ("whitespace_split_drops", "regex_space"):
        assert sets[other] == sets["bert_pre_drops"], other
    norm = data["normalization_of_single_code_points_without_hangul_syllables"]
    nfd = {c: s for c, s in norm["NFD"]}
    nfkd = {c: s for c, s in norm["NFKD"] if nfd.get(c) != s}
    classes = sorted((a, b, int(k)) for k, rows in extra["combining_class"].items() for a, b in rows)

    props = [0] * 0x110000

    def mark(flag, rows):
        bit = 1 << FLAGS.index(flag)
        for a, b in rows:
            for c in range(a, b + 1):
                props[c] |= bit

    mark("CLEAN_DROP", sets["bert_clean_removes"])
    mark("CLEAN_SPACE", sets["bert_clean_to_space"])
    mark("CJK", sets["bert_cjk_spaced"])
    mark("MN", sets["bert_strip_accents_removes"])
    mark("PUNCT", sets["bert_pre_splits_off"])
    mark("SPACE", sets["bert_pre_drops"])
    mark("WORD", extra["added_word"])
    mark("DIGIT", extra["digits"])
    mark("NFD", [(c, c) for c in nfd])
    mark("NFKD", [(c, c) for c in nfkd])
    mark("CCC", [(a, b) for a, b, _ in classes])
    mark("LOWER", [(c, c) for c, _ in data["lowercase"]])
    mark("MARK", extra["strip_accents_removes"])
    mark("LETTER", sets["regex_L"])
    mark("NUMBER", sets["regex_N"])
    mark("NFC", [(c, c) for c, _ in norm["NFC"]])
    mark("NFC", [(a, b) for a, b, _ in classes])
    mark("NFC", [(second, second) for _, second, _ in extra["composition"]])
    mark("NFC", [(0x1161, 0x1175), (0x11A8, 0x11C2)])  # Hangul vowels and finals join what stands in front

    blocks, index = two_stage(props)
    clusters = [0] * 0x110000
    for bit, name in enumerate(GRAPHEME):
        for a, b in extra["grapheme"][name]:
            for c in range(a, b + 1):
                clusters[c] |= 1 << bit
    cluster_blocks, cluster_index = two_stage(clusters)

    out = [
        "/* SPDX-License-Identifier: Apache-2.0 */",
        "/* Generated by tools/gen_unicode_tables.py from what the reference tokenizer does; don't edit. */",
        '#include "tokenizer/unicode.h"',
        "",
        "/* clang-format off */",
    ]
    emit(out, "uint8_t", "tkr_uni_index", index)
    emit(out, "uint16_t", "tkr_uni_props", [p for block in blocks for p in block])
    emit(out, "uint8_t", "tkr_uni_grapheme_index", cluster_index)
    emit(out, "uint8_t", "tkr_uni_grapheme", [p for block in cluster_blocks for p in block])
    for name, rows in (("nfd", nfd.items()), ("nfkd", nfkd.items()), ("lower", data["lowercase"])):
        keys, offsets, pool = mapping(rows)
        emit(out, "uint32_t", f"tkr_uni_{name}_key", keys)
        emit(out, "uint16_t", f"tkr_uni_{name}_at", offsets)
        emit(out, "uint32_t", f"tkr_uni_{name}_pool", pool)
        out.append(f"const size_t tkr_uni_{name}_n = {len(keys)};\n")
    emit(out, "uint32_t", "tkr_uni_ccc_first", [a for a, _, _ in classes])
    emit(out, "uint32_t", "tkr_uni_ccc_last", [b for _, b, _ in classes])
    emit(out, "uint8_t", "tkr_uni_ccc_class", [k for _, _, k in classes])
    out.append(f"const size_t tkr_uni_ccc_n = {len(classes)};\n")
    pairs = sorted(extra["composition"])
    for i, name in enumerate(("first", "second", "result")):
        emit(out, "uint32_t", f"tkr_uni_compose_{name}", [p[i] for p in pairs])
    out.append(f"const size_t tkr_uni_compose_n = {len(pairs)};")
    out.append("/* clang-format on */")
    OUT.write_text("\n".join(out) + "\n")
    print(f"{OUT}: {OUT.stat().st_size} bytes, {len(blocks)} blocks")


if __name__ == "__main__":
    main()
