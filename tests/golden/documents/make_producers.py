#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the documents beside this file that whole programs write; README.md says which. Run by hand, on Debian 12 with
libreoffice-{writer,calc,impress}-nogui, pandoc, groff, ghostscript, texlive-latex-base, poppler-utils, chromium, fonts-dejavu-core,
fonts-liberation, in an environment with xlsxwriter and fpdf2.
usage: make_producers.py [FOLDER]
"""
import datetime
import email.message
import email.policy
import subprocess
import sys
import tempfile
from pathlib import Path

OUT = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent

GUIDE = """---
title: The Harbour Guide
lang: en
---

# Arriving by sea

The office of the harbour master is open from dawn.^[On feast days from nine.] Skippers who find it difficult to
moor should flag the affluent ferry first; its staff are fluent in five languages.

## What to bring

1. A chart of the fjord
2. Ropes:
   - two of hemp
   - one of steel
3. Patience

> Nothing is offered before it is asked for.

## Berths and fees

| Berth | Depth | Fee |
|-------|------:|-----|
| North | 4.5 m | 12 € |
| South | 2.0 m | 8 €  |

# Leaving

Hebrew sailors read ברוכים הבאים on the gate; Arabic ones مرحبا بكم; Greek ones Καλώς ήρθατε. The H~2~O tank holds
10^3^ litres, and *nobody* has **ever** emptied it.

Term
:   What is defined here.

```
tide = moon(3)
```
"""

PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Fleet</title>
<style>body{font-family:"Liberation Serif"} .two{column-count:2;hyphens:auto;text-align:justify} td,th{border:1px solid}</style>
</head><body><h1>The Fleet of Ventosa</h1><div class="two">%s</div>
<h2>Ships</h2><table><tr><th rowspan="2">Name</th><th colspan="2">Size</th></tr><tr><th>Length</th><th>Tonnes</th></tr>
<tr><td>Aurora</td><td>41 m</td><td>1,250</td></tr><tr><td>Fulmar</td><td>9 m</td><td>14</td></tr></table>
<ol><li>Flags are struck at sunset.</li><li>Officers sign the affidavit.<ul><li>Twice.</li></ul></li></ol>
<p dir="rtl">ברוכים הבאים לנמל. השער נסגר בשעה 22:00.</p><p dir="rtl">مرحبا بكم في الميناء.</p></body></html>
"""
LOG = ("The logbook of the Aurora describes an extraordinarily complicated circumnavigation, undertaken by inexperienced "
       "volunteers who nevertheless accomplished everything that international hydrographic organisations considered "
       "impossible. Meteorological observations were conscientiously recorded every afternoon. ") * 3

TEX = r"""\documentclass[twocolumn]{article}
\begin{document}
\title{Tides of the Effervescent Fjord}\author{A. Voss}\date{1868}\maketitle
\begin{abstract}We observe that tides differ. Their difference is sufficient for flat boats.\end{abstract}
\section{Introduction}
%s
\section{Method}
Depth $d$ was measured with a line\footnote{Of hemp, wetted first.} as in equation~\ref{e}:
\begin{equation}\label{e} d = \frac{1}{2} g t^2 \end{equation}
\begin{itemize}\item Morning readings \item Evening readings\end{itemize}
\begin{tabular}{lr}\hline Month & Depth\\\hline May & 4.1\\June & 3.9\\\hline\end{tabular}
\subsection{Results}%s
\begin{thebibliography}{1}\bibitem{o} P. Orr. \emph{Lamps}. 1921.\end{thebibliography}
\end{document}
"""

ROFF = r""".TL
Signals at Night
.AU
P. Orr
.NH
Lamps
.PP
%s
.NH 2
Colours
.IP \(bu
Red means stop.
.IP \(bu
Green means go.
.TS
center;
l l.
Lamp	Meaning
red	stop
green	go
.TE
.PP
Read on.\**
.FS
A note at the foot.
.FE
"""

FLAT = """<?xml version="1.0" encoding="UTF-8"?>
<office:document xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0" xmlns:presentation="urn:oasis:names:tc:opendocument:xmlns:presentation:1.0" xmlns:svg="urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0" xmlns:style="urn:oasis:names:tc:opendocument:xmlns:style:1.0" xmlns:fo="urn:oasis:names:tc:opendocument:xmlns:xsl-fo-compatible:1.0" xmlns:of="urn:oasis:names:tc:opendocument:xmlns:of:1.2" office:version="1.2" office:mimetype="application/vnd.oasis.opendocument.%s">
%s<office:body>%s</office:body></office:document>
"""
SLIDES = "".join(f"""<draw:page draw:name="page{i}" draw:master-page-name="Default">
<draw:frame presentation:class="title" svg:x="2cm" svg:y="1cm" svg:width="20cm" svg:height="2cm"><draw:text-box><text:p>{title}</text:p></draw:text-box></draw:frame>
<draw:frame presentation:class="outline" svg:x="2cm" svg:y="4cm" svg:width="20cm" svg:height="9cm"><draw:text-box><text:list><text:list-item><text:p>{a}</text:p></text:list-item><text:list-item><text:p>{b}</text:p></text:list-item></text:list></draw:text-box></draw:frame>
{extra}<presentation:notes><draw:frame presentation:class="notes" svg:x="2cm" svg:y="14cm" svg:width="16cm" svg:height="9cm"><draw:text-box><text:p>{note}</text:p></draw:text-box></draw:frame></presentation:notes></draw:page>"""
                 for i, (title, a, b, extra, note) in enumerate((
                     ("Winds", "North in winter", "South in summer", "", "Tell the story of 1921."),
                     ("Currents", "Slow at neap tide", "Fast at spring tide",
                      '<draw:frame svg:x="2cm" svg:y="9cm" svg:width="12cm" svg:height="3cm"><table:table><table:table-column '
                      'table:number-columns-repeated="2"/><table:table-row><table:table-cell><text:p>Tide</text:p></table:table-cell>'
                      '<table:table-cell><text:p>Knots</text:p></table:table-cell></table:table-row><table:table-row><table:table-cell>'
                      '<text:p>neap</text:p></table:table-cell><table:table-cell><text:p>1.5</text:p></table:table-cell></table:table-row>'
                      '</table:table></draw:frame>', "Ask for questions.")), 1))
SHEET_CELLS = (
    '<table:table-row><table:table-cell table:number-columns-spanned="3"><text:p>Arrivals</text:p></table:table-cell>'
    '<table:covered-table-cell table:number-columns-repeated="2"/></table:table-row>'
    '<table:table-row><table:table-cell><text:p>Ship</text:p></table:table-cell><table:table-cell><text:p>Day</text:p>'
    '</table:table-cell><table:table-cell><text:p>Crew</text:p></table:table-cell></table:table-row>'
    '<table:table-row><table:table-cell><text:p>Aurora</text:p></table:table-cell><table:table-cell table:style-name="d" '
    'office:value-type="date" office:date-value="1974-03-01"><text:p>1974-03-01</text:p></table:table-cell><table:table-cell '
    'office:value-type="float" office:value="12"/></table:table-row>'
    '<table:table-row><table:table-cell><text:p>Fulmar</text:p></table:table-cell><table:table-cell/><table:table-cell '
    'office:value-type="float" office:value="3"/></table:table-row>'
    '<table:table-row table:number-rows-repeated="3"><table:table-cell/></table:table-row>'
    '<table:table-row><table:table-cell><text:p>Total</text:p></table:table-cell><table:table-cell/><table:table-cell '
    'table:formula="of:=SUM([.C3:.C4])" office:value-type="float" office:value="15"/></table:table-row>')
DATE_STYLE = ('<office:automatic-styles><number:date-style xmlns:number="urn:oasis:names:tc:opendocument:xmlns:datastyle:1.0" '
              'style:name="n"><number:year number:style="long"/><number:text>-</number:text><number:month number:style="long"/>'
              '<number:text>-</number:text><number:day number:style="long"/></number:date-style><style:style style:name="d" '
              'style:family="table-cell" style:data-style-name="n"/></office:automatic-styles>')


def run(*command, **more):
    subprocess.run([str(c) for c in command], check=True, timeout=300, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)


def convert(folder, source, kind, name):
    run("soffice", f"-env:UserInstallation=file://{folder}/office", "--headless", "--convert-to", kind, "--outdir", folder / "o", source)
    (folder / "o" / f"{source.stem}.{kind.partition(':')[0]}").rename(OUT / name)


def office(folder):
    """LibreOffice, from a document of pandoc's and from flat OpenDocument."""
    guide, slides, sheet = folder / "guide.odt", folder / "slides.fodp", folder / "sheet.fods"
    run("pandoc", "-o", guide, folder / "guide.md")
    slides.write_text(FLAT % ("presentation", "", f"<office:presentation>{SLIDES}</office:presentation>"), encoding="utf-8")
    sheet.write_text(FLAT % ("spreadsheet", DATE_STYLE, '<office:spreadsheet><table:table table:name="March">' + SHEET_CELLS +
                             "</table:table><table:table table:name=\"Empty\"><table:table-row><table:table-cell/>"
                             "</table:table-row></table:table></office:spreadsheet>"), encoding="utf-8")
    for kind in ("docx", "odt", "pdf", "epub"):
        convert(folder, guide, kind, f"office_guide.{kind}")
    for kind in ("pptx", "odp", "pdf"):
        convert(folder, slides, kind, f"office_slides.{kind}")
    for kind in ("xlsx", "ods", "pdf"):
        convert(folder, sheet, kind, f"office_sheet.{kind}")
    convert(folder, folder / "fleet.html", "docx:MS Word 2007 XML", "office_fleet.docx")


def others(folder):
    """pandoc, TeX, groff, Ghostscript, cairo, Chromium; LibreOffice on slides of pandoc's, which have titles."""
    for kind in ("docx", "odt", "epub", "pptx", "html"):
        run("pandoc", "-s", "-o", OUT / f"pandoc.{kind}", folder / "guide.md", env={"SOURCE_DATE_EPOCH": "0", "PATH": "/usr/bin"})
    convert(folder, OUT / "pandoc.pptx", "odp", "office_titles.odp")
    (folder / "tides.tex").write_text(TEX % (LOG, LOG), encoding="utf-8")
    run("pdflatex", "-interaction=batchmode", "tides.tex", cwd=folder)
    run("pdflatex", "-interaction=batchmode", "tides.tex", cwd=folder)
    (folder / "tides.pdf").rename(OUT / "latex.pdf")
    for device, name in (("pdf", "groff.pdf"), ("ps", "signals.ps")):
        with open((OUT if device == "pdf" else folder) / name, "wb") as out:
            subprocess.run(["groff", "-t", "-ms", f"-T{device}"], input=(ROFF % LOG).encode(), stdout=out, check=True)
    run("ps2pdf", folder / "signals.ps", OUT / "ghostscript.pdf")
    run("pdftocairo", "-pdf", OUT / "latex.pdf", OUT / "cairo.pdf")
    run("chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'c'}", "--no-pdf-header-footer",
        f"--print-to-pdf={OUT / 'chromium_fleet.pdf'}", (folder / "fleet.html").as_uri())


def python():
    import fpdf
    import xlsxwriter
    book = xlsxwriter.Workbook(OUT / "xlsxwriter.xlsx", {"in_memory": True})
    book.set_properties({"created": datetime.datetime(1974, 3, 1)})
    day, clock, money = (book.add_format({"num_format": f}) for f in ("yyyy-mm-dd", "hh:mm", "#,##0.00 [$€-407]"))
    sheet = book.add_worksheet("Tides")
    sheet.merge_range("A1:D1", "Tides of March")
    sheet.write_row("A2", ["Day", "High", "Depth", "Fee"])
    for row in range(3):
        sheet.write_datetime(row + 2, 0, datetime.datetime(1974, 3, 1 + row), day)
        sheet.write_datetime(row + 2, 1, datetime.datetime(1974, 3, 1 + row, 6 + row, 30), clock)
        sheet.write_number(row + 2, 2, 4.25 - row / 10)
        sheet.write_number(row + 2, 3, 1250.5, money)
    sheet.write_formula("C7", "=AVERAGE(C3:C5)", None, 4.15)
    sheet.write_datetime("A8", datetime.datetime(1974, 3, 1, 12, 15), book.add_format({"num_format": "dd/mm/yyyy hh:mm"}))
    sheet.write_boolean("A9", False)
    sheet.write_rich_string("A10", "half ", book.add_format({"bold": True}), "bold")
    sheet.write_formula("A11", "=1/0", None, "#DIV/0!")
    book.add_worksheet("Notes").write("B2", "alone in B2")
    book.close()

    page = fpdf.FPDF()
    page.set_creation_date(datetime.datetime(1974, 3, 1, tzinfo=datetime.timezone.utc))
    page.add_page()
    page.set_font("Times", "B", 20)
    page.cell(text="Rigging", new_x="LMARGIN", new_y="NEXT")
    page.set_font("Times", size=11)
    page.multi_cell(0, text=LOG, align="J", new_x="LMARGIN", new_y="NEXT")
    with page.table(width=90) as table:
        for row in (("Rope", "Use"), ("Halyard", "raises a sail"), ("Sheet", "trims it")):
            table.row(row)
    page.output(OUT / "fpdf.pdf")


def mail():
    policy = email.policy.SMTP.clone(utf8=False)
    first = email.message.EmailMessage(policy)
    first["Subject"], first["From"], first["To"] = "Re: Liegeplätze für Juli", "Zoë Müller <zoe@example.org>", "hafen@example.org"
    first["Date"] = "Mon, 04 Mar 1974 09:30:00 +0100"
    first.set_content("<html><body><h1>Liegeplätze</h1><p>Bitte zwei Plätze&nbsp;reservieren.</p><ul><li>Nord</li><li>Süd</li></ul>"
                      "<table><tr><td>Länge</td><td>9 m</td></tr></table></body></html>", subtype="html", charset="iso-8859-1", cte="base64")
    (OUT / "html_only.eml").write_bytes(first.as_bytes())
    second = email.message.EmailMessage(policy)
    second["Subject"], second["From"], second["To"] = "灯台について", "keeper@example.org", "jonas@example.org"
    second["Date"] = "Tue, 05 Mar 1974 09:30:00 +0900"
    second.set_content("灯台は海の近くにあります。\n船は北から来ます。\n", charset="iso-2022-jp")
    second.add_related(b"\x89PNG", "image", "png", cid="<x>")
    second.add_attachment(first)
    for part in second.walk():
        if part.is_multipart() and part.get_content_maintype() == "multipart":
            part.set_boundary(f"={part.get_content_subtype()}=")
    (OUT / "nested.eml").write_bytes(second.as_bytes())


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "guide.md").write_text(GUIDE, encoding="utf-8")
        (Path(name) / "fleet.html").write_text(PAGE % LOG, encoding="utf-8")
        office(Path(name))
        others(Path(name))
    python()
    mail()
