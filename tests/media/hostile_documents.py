# SPDX-License-Identifier: Apache-2.0
"""Makes documents that mean no good, by the standard library alone: bombs, tricks with paths, endless pages."""
import struct
import zipfile
import zlib

import pdf_file

WORD = ('<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>'
        "<w:p><w:r><w:t>{}</w:t></w:r></w:p></w:body></w:document>")
SLIDE = ('<p:sld xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" '
         'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"><a:p><a:r><a:t>{}</a:t></a:r></a:p></p:sld>')


def pack(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def pdf(path, objects, root=1):
    with open(path, "wb") as file:
        file.write(pdf_file.pdf(objects, root))
    return path


def stream(data, more=b""):
    packed = zlib.compress(data)
    return b"<</Length %d/Filter/FlateDecode%s>>stream\n" % (len(packed), more) + packed + b"\nendstream"


FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"


def pages(path, n, box=b"0 0 600 840", count=None, text=b"(The keeper.) Tj"):
    """n pages that share one content; `count`: what the file says of their number."""
    kids = b" ".join(b"%d 0 R" % (5 + i) for i in range(n))
    objects = [b"<</Type/Catalog/Pages 2 0 R>>",
               b"<</Type/Pages/Kids[" + kids + b"]/Count %d>>" % (n if count is None else count), FONT,
               stream(b"BT /F 12 Tf 50 700 Td " + text + b" ET")]
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[" + box + b"]/Contents 4 0 R/Resources<</Font<</F 3 0 R>>>>>>"
    return pdf(path, objects + [page] * n)


def recursive_form(path):
    """A page whose drawing draws itself."""
    form = b"/Type/XObject/Subtype/Form/BBox[0 0 600 800]/Resources<</XObject<</X 5 0 R>>/Font<</F 3 0 R>>>>"
    return pdf(path, [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[4 0 R]/Count 1>>", FONT,
                      b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 6 0 R"
                      b"/Resources<</XObject<</X 5 0 R>>>>>>",
                      stream(b"BT /F 12 Tf 50 700 Td (Again.) Tj ET /X Do", form), stream(b"/X Do")])


def flate_bomb(path):
    """A page of which each byte of the file becomes a thousand."""
    return pdf(path, [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[4 0 R]/Count 1>>", FONT,
                      b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 5 0 R"
                      b"/Resources<</Font<</F 3 0 R>>>>>>",
                      stream(b"BT /F 12 Tf 50 700 Td (" + b"A" * (64 << 20) + b") Tj ET")])


def flat_bomb(path):
    """Many files that fit each by itself."""
    members = {f"word/{i}.xml": b" " * (4 << 20) for i in range(16)}
    return pack(path, {**members, "word/document.xml": WORD.format("Small.")})


def overlapping_bomb(path):
    """One file's bytes, listed under 400 names."""
    data = b" " * (1 << 20)
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = squeezer.compress(data) + squeezer.flush()
    sizes = struct.pack("<HHHHHIII", 20, 0, 8, 0, 33, zlib.crc32(data), len(packed), len(data))
    out = b"PK\3\4" + sizes + struct.pack("<HH", 5, 0) + b"0.xml" + packed
    start = len(out)
    for i in range(400):
        name = b"%d.xml" % i
        out += b"PK\1\2" + struct.pack("<H", 20) + sizes + struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, 0, 0) + name
    out += b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 400, 400, len(out) - start, start, 0)
    path.write_bytes(out)
    return path


def nested_bomb(path):
    """Archives within archives, which nobody opens."""
    inner = path.with_suffix(".inner")
    pack(inner, {"bomb.xml": b" " * (64 << 20)})
    return pack(path, {"word/document.xml": WORD.format("Only what it says."),
                       "word/embeddings/inner.zip": inner.read_bytes(),
                       "word/embeddings/inner.docx": inner.read_bytes()})


def slides(path, targets, members):
    """A presentation whose slides are said to lie at `targets`."""
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    ids = "".join(f'<p:sldId id="{256 + i}" r:id="r{i}"/>' for i in range(len(targets)))
    links = "".join(f'<Relationship Id="r{i}" Type="{office}/slide" Target="{t}"/>' for i, t in enumerate(targets))
    return pack(path, {
        "ppt/presentation.xml": '<p:presentation xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" '
                                f'xmlns:r="{office}"><p:sldIdLst>{ids}</p:sldIdLst></p:presentation>',
        "ppt/_rels/presentation.xml.rels":
            '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
            f"{links}</Relationships>", **members})


def entities(kind):
    """XML that declares entities: "laughs" double each other, "quadratic" is one long one, "external" names a file."""
    if kind == "external":
        head = '<!DOCTYPE w [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    elif kind == "parameter":
        head = '<!DOCTYPE w [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x.dtd"> %x;]>'
    elif kind == "quadratic":
        head = f'<!DOCTYPE w [<!ENTITY x "{"A" * 100000}">]>'
    else:
        head = '<!DOCTYPE w [<!ENTITY a "ha">' + "".join(
            f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij")) + '<!ENTITY x "&j;">]>'
    return head + WORD.format("" if kind == "parameter" else "&x;" * (1000 if kind == "quadratic" else 1))
