# SPDX-License-Identifier: Apache-2.0
"""A PDF of given objects: shared by tests of media, cli, server."""


def pdf(objects, root=1):
    """`objects`: bytes, numbered from 1; `root`: number of the catalogue."""
    out, offsets = bytearray(b"%PDF-1.5\n"), []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj" % number + body + b"\nendobj\n"
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % at for at in offsets)
    out += b"trailer<</Root %d 0 R/Size %d>>\nstartxref\n%d\n%%%%EOF\n" % (root, len(objects) + 1, table)
    return bytes(out)
