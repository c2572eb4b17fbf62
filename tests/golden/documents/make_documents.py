#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the documents beside this file; README.md says by what. Run by hand, in an environment with
reportlab python-docx python-pptx openpyxl odfpy ebooklib; chromium for the HTML that is printed.
usage: make_documents.py [FOLDER]
"""
import email.message
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

OUT = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent

TITLE = "The Lighthouse of Cape Ventosa"
HISTORY = ("The lighthouse was built in 1868 by Dr. Amalia Voss. It stands 41.5 metres above the sea! "
           "Ships from the north see its light first.")
KEEPER = ("The last keeper, Jonas Hale, left in 1974. Since then the lamp has turned by itself. "
          "Does anyone still climb the 199 steps? On clear days, some do.")
TABLE = [["Year", "Keeper", "Lamp"], ["1868", "A. Voss", "oil"], ["1921", "P. Orr", "gas"], ["1958", "J. Hale", "electric"]]
WORLD = "Ünïcödé: žluťoučký kůň, Ελλάδα, Привет, 東京タワーは高い。北京是首都。"


def pdf():
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.lib import colors
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont
    from reportlab.pdfgen import canvas
    from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate, Table, TableStyle, Spacer
    style = getSampleStyleSheet()
    SimpleDocTemplate(str(OUT / "report.pdf"), pagesize=A4, invariant=1, title=TITLE).build([
        Paragraph(TITLE, style["Title"]), Paragraph("History", style["Heading1"]), Paragraph(HISTORY, style["Normal"]),
        PageBreak(), Paragraph("Keepers", style["Heading1"]), Paragraph(KEEPER, style["Normal"]), Spacer(1, 20),
        Table(TABLE, style=TableStyle([("GRID", (0, 0), (-1, -1), 1, colors.black)]))])

    page = canvas.Canvas(str(OUT / "columns.pdf"), pagesize=A4, invariant=1)
    for column in (0, 1):
        for line in range(30):
            page.drawString(60 + column * 260, 750 - 20 * line, f"Column {'AB'[column]} line number {line + 1}.")
    page.showPage()
    page.save()

    page = canvas.Canvas(str(OUT / "cjk.pdf"), pagesize=A4, invariant=1)  # names fonts that it doesn't carry
    pdfmetrics.registerFont(UnicodeCIDFont("HeiseiMin-W3"))
    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))
    pdfmetrics.registerFont(UnicodeCIDFont("HYSMyeongJo-Medium"))
    page.setFont("HeiseiMin-W3", 18)
    page.drawString(60, 750, "東京タワーは高い。灯台は海の近くにあります。")
    page.setFont("STSong-Light", 18)
    page.drawString(60, 700, "北京是中国的首都。灯塔在海边。")
    page.setFont("HYSMyeongJo-Medium", 18)
    page.drawString(60, 650, "서울은 한국의 수도입니다.")
    page.showPage()
    page.save()

    page = canvas.Canvas(str(OUT / "encrypted.pdf"), pagesize=A4, invariant=1, encrypt="secret")
    page.drawString(60, 750, "Nobody reads this.")
    page.showPage()
    page.save()

    page = canvas.Canvas(str(OUT / "huge_page.pdf"), pagesize=(20000, 20000), invariant=1)
    page.drawString(60, 750, "A page of 277 inches.")
    page.showPage()
    page.save()


def docx():
    import docx
    d = docx.Document()
    d.add_heading(TITLE, 0)
    d.add_heading("History", 1)
    d.add_paragraph(HISTORY)
    d.add_heading("Keepers", 2)
    d.add_paragraph(KEEPER)
    d.add_paragraph(WORLD)
    d.add_paragraph("oil", style="List Bullet")
    table = d.add_table(rows=0, cols=3)
    for row in TABLE:
        for cell, text in zip(table.add_row().cells, row):
            cell.text = text
    d.save(str(OUT / "report.docx"))


def pptx():
    import pptx
    from pptx.util import Inches
    p = pptx.Presentation()
    for title, text in (("History", HISTORY), ("Keepers", KEEPER)):
        slide = p.slides.add_slide(p.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = text
    slide = p.slides.add_slide(p.slide_layouts[5])
    slide.shapes.title.text = "Lamps"
    table = slide.shapes.add_table(4, 3, Inches(1), Inches(2), Inches(8), Inches(3)).table
    for y, row in enumerate(TABLE):
        for x, text in enumerate(row):
            table.cell(y, x).text = text
    slide.notes_slide.notes_text_frame.text = "Say that gas was brighter."
    p.save(str(OUT / "slides.pptx"))


def xlsx():
    import openpyxl
    w = openpyxl.Workbook()
    w.active.title = "Lamps"
    for row in TABLE:
        w.active.append([int(x) if x.isdigit() else x for x in row])
    sheet = w.create_sheet("Ships & boats")
    sheet.append(["Name", "Tonnes", "Afloat"])
    sheet.append(["Aurora", 1250.5, True])
    sheet.append([WORLD])
    w.save(str(OUT / "tables.xlsx"))


def odf():
    from odf.opendocument import OpenDocumentPresentation, OpenDocumentText
    from odf.text import H, P, LineBreak, Tab
    from odf.table import Table, TableRow, TableCell
    d = OpenDocumentText()
    d.text.addElement(H(outlinelevel=1, text=TITLE))
    d.text.addElement(H(outlinelevel=2, text="History"))
    d.text.addElement(P(text=HISTORY))
    p = P(text="Left")
    p.addElement(Tab())
    p.addText("right")
    p.addElement(LineBreak())
    p.addText(WORLD)
    d.text.addElement(p)
    table = Table(name="Lamps")
    for row in TABLE:
        line = TableRow()
        for text in row:
            cell = TableCell()
            cell.addElement(P(text=text))
            line.addElement(cell)
        table.addElement(line)
    d.text.addElement(table)
    d.save(str(OUT / "report.odt"))


def epub():
    from ebooklib import epub as e
    book = e.EpubBook()
    book.set_identifier("tkr")
    book.set_title(TITLE)
    chapters = []
    for name, title, text in (("b", "History", HISTORY), ("a", "Keepers", KEEPER), ("c", "World", WORLD)):
        chapter = e.EpubHtml(title=title, file_name=f"text/{name}.xhtml")
        chapter.content = f"<html><body><h1>{title}</h1><p>{text}</p></body></html>"
        book.add_item(chapter)
        chapters.append(chapter)
    book.spine = chapters
    book.add_item(e.EpubNcx())
    e.write_epub(str(OUT / "book.epub"), book)


HTML = f"""<!DOCTYPE html>
<html><head><meta charset="utf-8"><title>{TITLE}</title><style>p {{ color: red }}</style>
<script>document.write("never")</script></head>
<body><h1>{TITLE}</h1><h2>History</h2><p>{HISTORY}</p><div>Loose <b>bold</b> text &amp; an entity&nbsp;here</div>
<h2>Keepers</h2><p>{KEEPER}<br>A new line.</p><table><tr><th>Year<th>Keeper<th>Lamp</tr>
<tr><td>1868<td>A. Voss<td>oil</tr></table><ul><li>one<li>two</ul><img src="http://127.0.0.1/x.png" alt="A lamp">
<pre>a  b
c</pre><p>{WORLD}</p></body></html>
"""
MARKDOWN = f"""# {TITLE}

## History

{HISTORY}

```
# no heading
code
```

| Year | Keeper |
|------|--------|
| 1868 | A. Voss |

## Keepers ##

{KEEPER}
- one
- two
"""


def web():
    (OUT / "page.html").write_text(HTML, encoding="utf-8")
    (OUT / "latin1.html").write_bytes(b'<html><head><meta http-equiv="Content-Type" content="text/html; '
                                      b'charset=iso-8859-2"></head><body><p>\xbelu\xbbou\xe8k\xfd k\xf9\xf2</p></body></html>')
    (OUT / "notes.md").write_text(MARKDOWN, encoding="utf-8")
    (OUT / "plain.txt").write_text(f"{HISTORY}\n\n{KEEPER}\n\n{WORLD}\n", encoding="utf-8")
    (OUT / "utf16.txt").write_bytes(f"{HISTORY}\r\n\r\n{WORLD}\r\n".encode("utf-16"))
    (OUT / "cp1252.txt").write_bytes("Caf\u00e9 \u201cVentosa\u201d \u2013 na\u00efve fa\u00e7ade, \u20ac5.".encode("cp1252"))
    (OUT / "koi8.txt").write_bytes(("Маяк был построен в тысяча восемьсот шестьдесят восьмом году. Он стоит высоко над "
                                    "морем, и корабли с севера видят его свет первыми.").encode("koi8-r"))
    (OUT / "sjis.txt").write_bytes(("東京タワーはとても高いです。灯台は海の近くにあります。船は北から来ます。"
                                    "晴れた日には階段を登る人もいます。").encode("shift_jis"))
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"  # fonts of this machine have no ideographs; the script runs when it is printed
        page.write_text(HTML.replace("東京タワーは高い。北京是首都。", "end."), encoding="utf-8")
        subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}",
                        f"--print-to-pdf={OUT / 'chromium.pdf'}", "--no-pdf-header-footer",
                        "--print-to-pdf-no-header", page.as_uri()], check=True, timeout=120,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def mail():
    m = email.message.EmailMessage()
    m["From"] = "Jonas Hale <jonas@example.org>"
    m["To"] = "Zoë <zoe@example.org>"
    m["Date"] = "Fri, 01 Mar 1974 12:00:00 +0000"
    m["Subject"] = "Das Licht – über der See"
    m.set_content(f"{HISTORY}\n\n{WORLD}\n")
    m.add_alternative(f"<p>{HISTORY}</p>", subtype="html")
    m.add_attachment(b"\0\1\2\3", maintype="application", subtype="octet-stream", filename="x.bin")
    m.set_boundary("outer")
    (OUT / "letter.eml").write_bytes(m.as_bytes())


def bad():
    def pack(name, files):
        with zipfile.ZipFile(OUT / name, "w", zipfile.ZIP_DEFLATED) as z:
            for member, data in files.items():
                z.writestr(member, data)
    word = '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>{}</w:body></w:document>'
    text = "<w:p><w:r><w:t>{}</w:t></w:r></w:p>"
    bomb = '<?xml version="1.0"?><!DOCTYPE w [<!ENTITY a "ha">' + "".join(
        f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij")) + "]>"
    pack("bad_entities.docx", {"word/document.xml": bomb + word.format(text.format("&j;"))})
    pack("bad_external.docx", {"word/document.xml": '<!DOCTYPE w [<!ENTITY x SYSTEM "file:///etc/passwd">]>' +
                               word.format(text.format("&x;"))})
    pack("bad_bomb.docx", {"word/document.xml": word.format(text.format("A" * (64 << 20)))})
    pack("bad_deep.docx", {"word/document.xml": word.format("<w:x>" * 5000 + "</w:x>" * 5000)})
    pack("tricks.docx", {"../../../../tmp/evil.xml": "<x/>", "/etc/evil.xml": "<x/>",
                         "word/document.xml": word.format(text.format("Names are only names."))})
    pack("bad_none.zip", {"hello.xml": "<x/>"})
    report = (OUT / "report.docx").read_bytes()
    (OUT / "bad_cut.docx").write_bytes(report[: len(report) // 2])
    whole = (OUT / "report.pdf").read_bytes()
    (OUT / "bad_cut.pdf").write_bytes(whole[:700])
    (OUT / "bad_recursive.pdf").write_bytes(
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[2 0 R 2 0 R]/Count 2>>endobj\n"
        b"trailer<</Root 1 0 R>>\n%%EOF\n")
    (OUT / "bad_count.pdf").write_bytes(
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[]/Count 100000>>endobj\n"
        b"trailer<</Root 1 0 R>>\n%%EOF\n")
    (OUT / "bad_binary.bin").write_bytes(bytes(range(256)) * 4)
    (OUT / "bad_old.doc").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504))
    # the second of three pages has no object
    kids = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R 9 0 R 4 0 R]/Count 3>>endobj\n"
    for number, word_ in ((3, b"first"), (4, b"third")):
        stream = b"BT /F 12 Tf 50 700 Td (The " + word_ + b" page.) Tj ET"
        kids += (b"%d 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents %d 0 R/Resources<</Font<</F 8 0 R>>>>>>"
                 b"endobj\n%d 0 obj<</Length %d>>stream\n%s\nendstream endobj\n") % (
                     number, number + 2, number + 2, len(stream), stream)
    kids += b"8 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
    (OUT / "missing_page.pdf").write_bytes(kids)


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    for make in (pdf, docx, pptx, xlsx, odf, epub, web, mail, bad):
        make()
