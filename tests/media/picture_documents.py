# SPDX-License-Identifier: Apache-2.0
"""Makes documents with pictures in them, by the standard library alone: shared by tests of media, cli, server."""
import base64
import email.message
import email.policy
import io
import struct
import zipfile
import zlib

import pdf_file

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
A = "http://schemas.openxmlformats.org/drawingml/2006/main"
P = "http://schemas.openxmlformats.org/presentationml/2006/main"
R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
XDR = "http://schemas.openxmlformats.org/drawingml/2006/spreadsheetDrawing"
S = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"


def png(width, height, pixel, alpha=False):
    """`pixel`: (x, y) -> 3 or 4 values."""
    rows = b"".join(b"\0" + bytes(v for x in range(width) for v in pixel(x, y)) for y in range(height))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    head = struct.pack(">IIBBBBB", width, height, 8, 6 if alpha else 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def pixels(seed):
    """RGB of a picture of 64 x 48 that differs by seed."""
    return lambda x, y: ((x * 4 + seed * 37) % 256, (y * 5 + seed * 91) % 256, (x * y + seed * 53) % 256)


def picture(seed):
    return png(64, 48, pixels(seed))


def raw(seed):
    return bytes(v for y in range(48) for x in range(64) for v in pixels(seed)(x, y))


def pack(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in files.items():
            z.writestr(name, data)
    return out.getvalue()


def relations(targets, kind="image"):
    """Ids are r1, r2, ..."""
    return (f'<Relationships xmlns="{RELATIONS}">' + "".join(
        f'<Relationship Id="r{i}" Type="{R}/{kind}" Target="{target}"/>' if "://" not in target else
        f'<Relationship Id="r{i}" Type="{R}/{kind}" TargetMode="External" Target="{target}"/>'
        for i, target in enumerate(targets, 1)) + "</Relationships>")


def drawing(number, alt):
    return (f'<w:r><w:drawing><inline><docPr id="1" name="x" descr="{alt}"/><a:graphic><a:blip r:embed="r{number}"/>'
            "</a:graphic></inline></w:drawing></w:r>")


def docx(members, targets, alts=None):
    """A paragraph for each target: "Before N.", the picture, " behind." `members`: name: bytes."""
    body = "".join(f"<w:p><w:r><w:t>Before {i}.</w:t></w:r>{drawing(i, (alts or {}).get(i, ''))}<w:r><w:t> Behind."
                   "</w:t></w:r></w:p>" for i in range(1, len(targets) + 1))
    return pack({"word/document.xml": f'<w:document xmlns:w="{W}" xmlns:a="{A}" xmlns:r="{R}"><w:body>{body}</w:body>'
                                      "</w:document>",
                 "word/_rels/document.xml.rels": relations(targets), **members})


def shape(number, alt, text):
    return (f'<p:pic><p:nvPicPr><p:cNvPr id="2" name="x" descr="{alt}"/></p:nvPicPr><p:blipFill>'
            f'<a:blip r:embed="r{number}"/>'
            f'</p:blipFill></p:pic><p:sp><p:txBody><a:p><a:r><a:t>{text}</a:t></a:r></a:p></p:txBody></p:sp>')


def pptx(slides):
    """`slides`: bytes of its picture or None, each."""
    files = {"ppt/presentation.xml": f'<p:presentation xmlns:p="{P}" xmlns:r="{R}"><p:sldIdLst>' + "".join(
        f'<p:sldId id="{255 + i}" r:id="r{i}"/>' for i in range(1, len(slides) + 1)) + "</p:sldIdLst></p:presentation>",
        "ppt/_rels/presentation.xml.rels": relations([f"slides/slide{i}.xml" for i in range(1, len(slides) + 1)],
                                                     "slide")}
    for i, data in enumerate(slides, 1):
        shown = shape(1, f"Alt {i}", f"Slide {i}") if data else shape(9, "", "")[shape(9, "", "").index("<p:sp>"):]
        files[f"ppt/slides/slide{i}.xml"] = (f'<p:sld xmlns:p="{P}" xmlns:a="{A}" xmlns:r="{R}"><p:cSld>'
                                             f"<p:spTree>{shown}</p:spTree></p:cSld></p:sld>")
        if data:
            files[f"ppt/slides/_rels/slide{i}.xml.rels"] = relations([f"../media/image{i}.png"])
            files[f"ppt/media/image{i}.png"] = data
    return pack(files)


def xlsx(data):
    return pack({
        "xl/workbook.xml": f'<workbook xmlns="{S}" xmlns:r="{R}"><sheets><sheet name="First" sheetId="1" r:id="r1"/>'
                           '<sheet name="Second" sheetId="2" r:id="r2"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": relations(["worksheets/sheet1.xml", "worksheets/sheet2.xml"], "worksheet"),
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{S}"><sheetData><row><c><v>1</v></c></row></sheetData>'
                                    "</worksheet>",
        "xl/worksheets/sheet2.xml": f'<worksheet xmlns="{S}" xmlns:r="{R}"><sheetData><row><c><v>2</v></c></row>'
                                    '</sheetData><drawing r:id="r1"/></worksheet>',
        "xl/worksheets/_rels/sheet2.xml.rels": relations(["../drawings/drawing1.xml"], "drawing"),
        "xl/drawings/drawing1.xml": f'<xdr:wsDr xmlns:xdr="{XDR}" xmlns:a="{A}" xmlns:r="{R}"><xdr:pic><xdr:nvPicPr>'
                                    '<xdr:cNvPr id="2" name="x" descr="A chart"/></xdr:nvPicPr><xdr:blipFill>'
                                    '<a:blip r:embed="r1"/></xdr:blipFill></xdr:pic></xdr:wsDr>',
        "xl/drawings/_rels/drawing1.xml.rels": relations(["../media/image1.png"]),
        "xl/media/image1.png": data})


def odf(data, slides=False):
    """ODT, or ODP; a drawing and its picture are one thing shown, as LibreOffice writes it."""
    names = ('xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
             'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" '
             'xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0" '
             'xmlns:xlink="http://www.w3.org/1999/xlink" '
             'xmlns:svg="urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0"')
    frame = ('<draw:frame><draw:image xlink:href="Pictures/1.svg"/><draw:image xlink:href="Pictures/1.png"/>'
             "<svg:title>A lamp</svg:title></draw:frame>")
    body = f"<text:p>Before.{frame} Behind.</text:p>"
    if slides:
        body = ("<draw:page><draw:frame><draw:text-box><text:p>One</text:p></draw:text-box></draw:frame></draw:page>"
                f"<draw:page>{frame}</draw:page>")
    return pack({"content.xml": f"<office:document-content {names}><office:body>{body}</office:body>"
                                "</office:document-content>",
                 "Pictures/1.svg": "<svg/>", "Pictures/1.png": data})


def epub(cover, inside, second):
    """The cover in a drawing, a picture as a data: address, one as a file."""
    page = '<html xmlns="http://www.w3.org/1999/xhtml"><body>{}</body></html>'
    return pack({
        "META-INF/container.xml": '<container><rootfiles><rootfile full-path="OEBPS/book.opf"/></rootfiles>'
                                  "</container>",
        "OEBPS/book.opf": '<package><manifest><item id="a" href="text/a.xhtml"/><item id="b" href="text/b.xhtml"/>'
                          '</manifest><spine><itemref idref="a"/><itemref idref="b"/></spine></package>',
        "OEBPS/text/a.xhtml": page.format('<svg xmlns:xlink="http://www.w3.org/1999/xlink"><image xlink:href='
                                          '"../images/cover%20page.png"/></svg>'),
        "OEBPS/text/b.xhtml": page.format('<p>Before <img alt="In line" src="data:image/png;base64,' +
                                          base64.b64encode(inside).decode() +
                                          '"/> behind.</p><p><img src="../images/2.png" alt="Second"/></p>'),
        "OEBPS/images/cover page.png": cover, "OEBPS/images/2.png": second})


def html(pictures):
    return ("<html><head><meta charset=utf-8></head><body>" + "".join(
        f'<p>Číslo {i} <img alt="Alt {i}" src="data:image/png;base64,{base64.b64encode(data).decode()}"> behind.</p>'
        for i, data in enumerate(pictures, 1)) +
        '<img src="http://127.0.0.1/x.png"><img src="/etc/passwd">'
        '<img src="data:image/svg+xml,%3Csvg/%3E"></body></html>'
    ).encode()


def mail(inline, in_html, attached):
    """Text and HTML as alternatives; the HTML has one picture by its id and one in itself; one is attached."""
    m = email.message.EmailMessage(policy=email.policy.SMTP)
    m["From"], m["To"], m["Subject"] = "a@example.org", "b@example.org", "Pictures"
    m["Date"] = "Fri, 01 Mar 1974 12:00:00 +0000"
    m.set_content("The plain text.\n")
    m.add_alternative(f'<p>The HTML <img src="cid:one@x" alt="By id"> and <img alt="In itself" src="'
                      f'data:image/png;base64,{base64.b64encode(in_html).decode()}"></p>', subtype="html")
    m.get_payload()[1].add_related(inline, maintype="image", subtype="png", cid="<one@x>", disposition="inline")
    m.add_attachment(attached, maintype="image", subtype="png", filename="x.png")
    return m.as_bytes()


def pdf(pages, images):
    """`pages`: names of images each; `images`: name: (dictionary, raw bytes). Uncompressed objects, flat streams."""
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", None]
    numbers = {}
    for name, (entries, data) in images.items():
        stream = zlib.compress(data)
        numbers[name] = len(objects) + 1
        for other, number in numbers.items():
            entries = entries.replace(f"@{other}", f"{number} 0 R")
        head = f"<</Type/XObject/Subtype/Image{entries}/Filter/FlateDecode/Length {len(stream)}>>stream\n"
        objects.append(head.encode() + stream + b"\nendstream")
    kids = []
    for shown in pages:
        content = "".join(f"q 200 0 0 150 50 {600 - 160 * i} cm /{name} Do Q\n"
                          for i, name in enumerate(shown)).encode()
        content += b"BT /F 12 Tf 50 50 Td (A page.) Tj ET"
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(content), content))
        used = "".join(f"/{name} {numbers[name]} 0 R" for name in shown)
        objects.append((f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents {len(objects)} 0 R/Resources<<"
                        f"/XObject<<{used}>>/Font<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>>>").encode())
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<</Type/Pages/Kids[{' '.join(kids)}]/Count {len(kids)}>>".encode()
    return pdf_file.pdf(objects)


def rgb(width, height, more=""):
    return f"/Width {width}/Height {height}/ColorSpace/DeviceRGB/BitsPerComponent 8{more}"


def gray(width, height):
    return f"/Width {width}/Height {height}/ColorSpace/DeviceGray/BitsPerComponent 8"


def good_pdf():
    """A logo on both pages, a picture each, one with an alpha channel, and what isn't to be listed: a mask, a bullet, a
    field."""
    return pdf([["logo", "one", "mask", "bullet"], ["logo", "two", "field"]], {
        "logo": (rgb(64, 48), raw(1)), "one": (rgb(64, 48), raw(2)),
        "soft": (gray(64, 48), bytes((x * 4) % 256 for y in range(48) for x in range(64))),
        "two": (rgb(64, 48, "/SMask @soft"), raw(3)),
        "mask": ("/Width 64/Height 48/ImageMask true/BitsPerComponent 1", bytes(range(256)) + bytes(128)),
        "bullet": (rgb(16, 16), bytes(range(256)) * 3), "field": (rgb(64, 48), b"\x20\x40\x60" * 64 * 48)})
