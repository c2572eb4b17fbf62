# SPDX-License-Identifier: Apache-2.0
"""What is embedded: English sentences that every Python brings along, cut to the grid's shapes and to mixed lengths."""
import hashlib
import random
import re
import warnings

GRID = [(1, 16), (1, 128), (32, 32), (32, 128), (8, 512)]
MIXED_TEXTS, MIXED_MEDIAN, MIXED_SIGMA, LIMIT = 512, 40, 0.9, 512
PEER_BATCH = 32


def sentences():
    """Sentences of the Python language reference, markup removed: some thousands, 4 to 60 words each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pydoc_data.topics import topics
    found = []
    for name in sorted(topics):
        for paragraph in re.split(r"\n\s*\n", topics[name]):
            if paragraph.lstrip() != paragraph and "  " in paragraph[:8]:
                continue  # indented: code
            text = re.sub(r"[*`_\\]+", "", " ".join(paragraph.split()))
            for sentence in re.split(r"(?<=[.!?]) (?=[A-Z])", text):
                words = sentence.split()
                letters = sum(ch.isalpha() or ch == " " for ch in sentence)
                if 4 <= len(words) <= 60 and letters > 0.85 * len(sentence):
                    found.append(sentence)
    return list(dict.fromkeys(found))


def digest(texts):
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def stream(texts, tokenizer):
    """All sentences' ids without special tokens, one after the other."""
    return [i for text in texts for i in tokenizer.encode(text, add_special_tokens=False).ids]


def cases(texts, tokenizer):
    """{name: list of id lists}; every sequence is [CLS] running English [SEP], none repeats within a case."""
    ids, rng = stream(texts, tokenizer), random.Random(20260101)
    cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    position = 0

    def sequence(length):
        nonlocal position
        if position + length > len(ids):
            position = rng.randrange(0, 97)
        part = ids[position:position + length - 2]
        position += length - 2
        return [cls, *part, sep]

    made = {f"{b}x{s}": [sequence(s) for _ in range(b)] for b, s in GRID}
    lengths = [min(LIMIT, max(3, round(rng.lognormvariate(0, MIXED_SIGMA) * MIXED_MEDIAN)))
               for _ in range(MIXED_TEXTS)]
    made["mixed"] = [sequence(length) for length in lengths]
    return made


def padded_batches(sequences):
    """[(indices, ids, mask)]: sorted by length, longest first, batches of 32, padded, as sentence-transformers does."""
    import numpy as np
    order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
    batches = []
    for start in range(0, len(order), PEER_BATCH):
        chosen = order[start:start + PEER_BATCH]
        ids = np.zeros((len(chosen), len(sequences[chosen[0]])), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, index in enumerate(chosen):
            ids[row, :len(sequences[index])] = sequences[index]
            mask[row, :len(sequences[index])] = 1
        batches.append((chosen, ids, mask))
    return batches
