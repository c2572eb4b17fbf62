#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains tiny SentencePiece models on the project's own documents and on sentences made here, and writes what the
sentencepiece package makes of some texts: tests/golden/tokenizers/spm (pip install sentencepiece==0.2.*).

Each line of <name>.jsonl is {"text", "ids"}, without special tokens. The texts keep to what SentencePiece and the
tokenizer.json of the same model agree on: no grapheme clusters that a charsmap rewrites, and no user-defined pieces,
behind which the dummy prefix differs.
"""

import json
import pathlib
import random
import tempfile

import sentencepiece

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests" / "golden" / "tokenizers" / "spm"
MODELS = {
    "unigram": dict(model_type="unigram", vocab_size=900),
    "unigram-bytes": dict(
        model_type="unigram",
        vocab_size=900,
        byte_fallback=True,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        user_defined_symbols=["<extra>"],
    ),
    "bpe": dict(
        model_type="bpe",
        vocab_size=900,
        byte_fallback=True,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
    ),
    "bpe-plain": dict(model_type="bpe", vocab_size=700, add_dummy_prefix=False),
}
WORDS = """the a small river runs under every old bridge and nobody counts the stones that lie there water light
morning evening tokenizer vector number seven eleven 2024 3.14 Straße Größe été garçon niño мир книга город 世界 文字 東京
かな カナ 한국어 שלום مرحبا नमस्ते""".split()
EXTRA = [
    "",
    " ",
    "a",
    "  two  spaces   here  ",
    "Hello world",
    "emoji 😀 and 🦊🦊 in a row",
    "tabs\tand\nlines\r\n",
    "ＦＵＬＬ ｗｉｄｔｈ １２３",
    "ﬁne liga­ture",
    "▁mark ▁▁ in text",
    "unknown ☃☄☃ signs",
    "x" * 200,
    "ab" * 150,
]


def sentences(rng, count):
    return [" ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 14))) for _ in range(count)]


def main():
    rng = random.Random(4)
    corpus = sentences(rng, 3000)
    for name in ("README.md", "CONTRIBUTING.md", "docs/design.md"):
        corpus += (ROOT / name).read_text().splitlines()
    OUT.mkdir(parents=True, exist_ok=True)
    texts = EXTRA + sentences(rng, 60) + [line for line in corpus[3000:] if len(line) > 40][:60]
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "corpus.txt"
        source.write_text("\n".join(line for line in corpus if line.strip()) + "\n")
        for name, options in MODELS.items():
            sentencepiece.SentencePieceTrainer.train(
                input=str(source),
                model_prefix=str(pathlib.Path(folder) / name),
                character_coverage=0.9995,
                minloglevel=2,
                **options,
            )
            data = (pathlib.Path(folder) / f"{name}.model").read_bytes()
            (OUT / f"{name}.model").write_bytes(data)
            processor = sentencepiece.SentencePieceProcessor(model_proto=data)
            with (OUT / f"{name}.jsonl").open("w") as out:
                for text in texts:
                    out.write(json.dumps({"text": text, "ids": processor.encode(text)}) + "\n")


if __name__ == "__main__":
    main()
