#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints utf8_replace.txt: what bytes.decode("utf-8", "replace") makes of byte sequences of every kind.

`case HEX EXPECTED-HEX` are single cases. `group A B HASH` covers [A], [A B], [A B c] and [A B c d] for all c, d of BYTES in
their order: FNV-1a over each result in UTF-8, each followed by the byte FF."""
BYTES = [0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE,
         0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFE, 0xFF]
CASES = ["", "41", "c3a9", "e282ac", "f09f9880", "80", "bf", "c0af", "c1bf", "c2", "c241", "e0", "e080af", "e09fbf",
         "e0a0", "e0a041", "e282", "e28241", "eda080", "edb080", "edbfbf", "ed9fbf", "efbfbf", "f08080af", "f08fbfbf",
         "f0908080", "f09080", "f0904180", "f09f98", "f09f9841", "f48fbfbf", "f4908080", "f5808080", "f8888080af",
         "fc84808080af", "fe", "ff", "feff", "41c3", "c3c3a9", "e2e282ac", "f0f09f9880", "efbbbf41", "00", "4100ff42",
         "e1a0c0", "f1808041", "f180c2a9", "edafbfedbfbf"]


def decoded(data):
    return bytes(data).decode("utf-8", "replace").encode("utf-8")


def fnv(parts):
    value = 0xCBF29CE484222325
    for part in parts:
        for byte in part + b"\xff":
            value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


for case in CASES:
    print("case", case or "-", decoded(bytes.fromhex(case)).hex() or "-")
for a in BYTES:
    for b in BYTES:
        parts = [[a], [a, b]] + [[a, b, c] for c in BYTES] + [[a, b, c, d] for c in BYTES for d in BYTES]
        print("group %02x %02x %016x" % (a, b, fnv(decoded(part) for part in parts)))
