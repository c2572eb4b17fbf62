# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser, with the demo model: texts and files become a heat map, a search finds pictures, clips
and passages of documents, by keyboard too; nothing but the server is asked, and the policy of the page is never broken.
Pictures of it go to build/tests/page-*.png, to be looked at."""
import base64
import contextlib
import io
import json
import os
import pathlib
import tempfile
import unittest
import zipfile

from browser import Browser
from harness import Server, cli, environment

SOURCE = pathlib.Path(os.environ["TKR_SOURCE_DIR"])
SAMPLES = SOURCE / "share" / "demo" / "samples"
SHOTS = pathlib.Path(os.environ["TKR_BUILD_DIR"]) / "tests"
SHOTS.mkdir(parents=True, exist_ok=True)


CLIP = pathlib.Path(os.environ["TKR_TEST_DIR"]) / "golden" / "page" / "guitar.webm"


def make_docx(path, paragraphs):
    body = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    word = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    kinds = "http://schemas.openxmlformats.org/package/2006/content-types"
    main = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("[Content_Types].xml", f'<Types xmlns="{kinds}"><Override PartName="/word/document.xml" '
                                             f'ContentType="{main}"/></Types>')
        file.writestr("word/document.xml", f'<w:document xmlns:w="{word}"><w:body>{body}</w:body></w:document>')


def make_pdf(path, pages):
    """A page for each line of text."""
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = ["<</Type/Catalog/Pages 2 0 R>>", f"<</Type/Pages/Count {len(pages)}/Kids[{kids}]>>",
               "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]
    for i, line in enumerate(pages):
        stream = f"BT /F1 24 Tf 50 700 Td ({line}) Tj ET"
        objects += [f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents {5 + 2 * i} 0 R"
                    "/Resources<</Font<</F1 3 0 R>>>>>>",
                    f"<</Length {len(stream)}>>stream\n{stream}\nendstream"]
    pathlib.Path(path).write_bytes(cli.pdf([text.encode() for text in objects]))


def drop(browser, path, kind):
    """As if the file were dropped by hand."""
    content = base64.b64encode(pathlib.Path(path).read_bytes()).decode()
    browser.script(f"""(() => {{
        const bytes = Uint8Array.from(atob("{content}"), c => c.charCodeAt(0)), data = new DataTransfer();
        data.items.add(new File([bytes], {json.dumps(pathlib.Path(path).name)}, {{ type: "{kind}" }}));
        const event = new DragEvent("drop", {{ dataTransfer: data, cancelable: true }});
        document.getElementById("drop").dispatchEvent(event);
    }})()""")


def search(browser, words):
    """Text of the first result, and of where it is from."""
    browser.script("document.getElementById('found').replaceChildren()")
    browser.script(f"document.getElementById('query').value = {json.dumps(words)};"
                   "document.getElementById('search').click()")
    browser.wait("document.querySelector('#found li') !== null")
    return tuple(browser.script(f"(document.querySelector('#found li .{name}') || {{}}).textContent")
                 for name in ("text", "where"))


class Page(unittest.TestCase):
    def test_words_find_pictures(self):
        with Server() as server, Browser() as browser:
            browser.open(server.url + "/")
            browser.wait("document.getElementById('facts').textContent.includes('dimensions')")
            assert not browser.script("document.getElementById('demo').hidden"), "the demo model must be named"
            names = ["guitar.png", "trumpet.png", "penguin.png", "red_apple.png"]
            browser.files("#files", [SAMPLES / name for name in names])
            browser.wait(f"document.querySelectorAll('#thumbs img').length === {len(names)}")
            browser.script("document.getElementById('texts').value = 'a bird\\nfruit'")
            browser.script("document.getElementById('go').click()")
            browser.wait("!document.getElementById('map-section').hidden")
            size = 2 + len(names)
            assert browser.script("document.querySelectorAll('#map td').length") == size * size
            assert browser.script("document.querySelector('#map td').textContent") == "1.00"
            status = browser.script("document.getElementById('status').textContent")
            assert f"{size} vectors" in status and "tokens/s" in status, status
            browser.script("document.getElementById('query').focus()")
            browser.call("Input.insertText", text="musical instrument")
            browser.key("Enter", 13, "\r")
            browser.wait(f"document.querySelectorAll('#found li').length === {size}")
            best = browser.script("[...document.querySelectorAll('#found li')].slice(0, 2)"
                                  ".map(li => li.querySelector('img') && li.querySelector('img').alt)")
            assert set(best) <= {"guitar.png", "trumpet.png"}, best
            for tab, words in (("curl", "curl http"), ("python", "urllib.request"), ("js", "await fetch")):
                browser.script(f"document.getElementById('tab-{tab}').click()")
                assert words in browser.script("document.getElementById('code').textContent"), tab
            browser.picture(SHOTS / "page-light.png")
            assert browser.complaints() == [], browser.complaints()

    def test_clips_and_documents(self):
        with tempfile.TemporaryDirectory() as folder, Server() as server, Browser(dark=True) as browser:
            pdf, docx, bad = (os.path.join(folder, name) for name in ("zoo.pdf", "it's lunch.docx", "broken.pdf"))
            make_pdf(pdf, ["a horse and a cow and a sheep", "a penguin and a parrot"])
            make_docx(docx, ["grapes and strawberries", "pizza"])
            pathlib.Path(bad).write_bytes(pathlib.Path(pdf).read_bytes()[:60])
            browser.open(server.url + "/")
            browser.wait("document.getElementById('facts').textContent.includes('dimensions')")
            browser.script("document.getElementById('texts').value = ''")
            browser.files("#files", [pdf, CLIP])
            drop(browser, docx, "")
            browser.wait("document.querySelectorAll('#thumbs .thumb').length === 3")
            browser.script("document.getElementById('go').click()")
            browser.wait("!document.getElementById('map-section').hidden")
            self.assertNotIn("Left out", browser.script("document.getElementById('status').textContent"))
            items = browser.script("items.map(i => [i.kind, i.name, i.page, i.text])")
            self.assertEqual([i for i in items if i[0] != "passage"],
                             [["page", "zoo.pdf", 1, None], ["page", "zoo.pdf", 2, None],
                              ["video", "guitar.webm", None, None]])
            self.assertIn(["passage", "zoo.pdf", 2, "a penguin and a parrot"], items)
            self.assertEqual(browser.script("document.querySelectorAll('#map td').length"), len(items) ** 2)
            self.assertTrue(browser.script("items.find(i => i.kind === 'video').url").startswith("data:image/jpeg"))
            code = browser.script("document.getElementById('code').textContent")
            for words in ("/embed/video", "file=@guitar.webm", "max_frames=8", "/embed/document", "file=@zoo.pdf",
                          "'file=@it'\\''s lunch.docx'", "mode=both", "chunk_tokens=16"):
                self.assertIn(words, code)
            browser.script("document.getElementById('tab-python').click()")
            code = browser.script("document.getElementById('code').textContent").split("\n\n")
            program = "\n\n".join([*code[:2], code[-1]])  # what it says it did for documents
            names, here = {}, os.getcwd()
            os.chdir(folder)
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    exec(compile(program, "code", "exec"), names)  # pylint: disable=exec-used
            finally:
                os.chdir(here)
            self.assertEqual([p.get("text") for p in names["reply"]["passages"] if p["kind"] == "text"],
                             [i[3] for i in items if i[0] == "passage"])
            self.assertEqual(search(browser, "a penguin"), ("a penguin and a parrot", "zoo.pdf, page 2"))
            self.assertIn("grapes", search(browser, "grapes and strawberries")[0])
            self.assertEqual(search(browser, "guitar")[1], "guitar.webm · 0:03 · 8 frames")
            browser.picture(SHOTS / "page-files.png")
            self.assertEqual(browser.complaints(), [])
            drop(browser, bad, "application/pdf")  # one that can't be read costs nothing but itself
            browser.wait("document.querySelectorAll('#thumbs .thumb').length === 4")
            browser.script("document.getElementById('go').click()")
            browser.wait("document.querySelector('#thumbs .bad') !== null")
            browser.wait("!document.getElementById('go').disabled")
            status = browser.script("document.getElementById('status').textContent")
            self.assertIn(f"{len(items)} vectors", status)
            self.assertIn("Left out: broken.pdf: ", status)
            browser.script("document.querySelector('#thumbs .bad button').click()")
            self.assertEqual(browser.script("document.querySelectorAll('#thumbs .thumb').length"), 3)
            self.assertIn("zoo.pdf", browser.script("document.activeElement.getAttribute('aria-label') || ''")
                          + browser.script("document.getElementById('thumbs').textContent"))

    def test_clear_stops_a_run(self):
        """One that is under way: nothing is said of it, and what comes next isn't of it."""
        with Server() as server, Browser() as browser:
            browser.open(server.url + "/")
            browser.wait("document.getElementById('facts').textContent.includes('dimensions')")
            browser.files("#files", [CLIP])
            browser.wait("document.querySelectorAll('#thumbs .thumb').length === 1")
            for texts, button in (("''", "go"), ("'a bird'", "go"), ("'a bird'", "search")):
                browser.script(f"document.getElementById('texts').value = {texts};"
                               f"document.getElementById('{button}').click(); document.getElementById('clear').click()")
                browser.wait("!document.getElementById('go').disabled && !document.getElementById('search').disabled")
                self.assertEqual(browser.script("document.getElementById('status').textContent"), "")
                self.assertEqual(browser.script("items.length"), 0)
                self.assertTrue(browser.script("document.getElementById('map-section').hidden"))

    def test_keyboard_alone_and_dark(self):
        with Server() as server, Browser(dark=True) as browser:
            browser.open(server.url + "/")
            browser.wait("document.getElementById('texts').value.includes('bird')")
            browser.script("document.getElementById('texts').focus()")
            browser.call("Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", windowsVirtualKeyCode=13,
                         modifiers=2)
            browser.wait("!document.getElementById('map-section').hidden")
            seen = []
            for _ in range(14):  # all controls are reached by Tab
                browser.key("Tab", 9)
                seen.append(browser.script("document.activeElement.id || document.activeElement.className"))
            for name in ("choose", "go", "clear", "query", "search", "tab-curl", "code", "copy"):
                assert name in seen, f"{name} can't be reached by Tab: {seen}"
            background = browser.script("getComputedStyle(document.body).backgroundColor")
            assert background == "rgb(22, 22, 21)", background
            browser.picture(SHOTS / "page-dark.png")
            assert browser.complaints() == [], browser.complaints()

    def test_a_key_is_asked_for(self):
        with Server(env=environment(TKR_API_KEY="secret-of-the-test")) as server, Browser() as browser:
            browser.open(server.url + "/")
            browser.wait("!document.getElementById('key-section').hidden")
            browser.script("document.getElementById('key').value = 'secret-of-the-test'")
            browser.script("document.getElementById('key-form').requestSubmit()")
            browser.wait("document.getElementById('facts').textContent.includes('dimensions')")
            browser.script("document.getElementById('go').click()")
            browser.wait("!document.getElementById('map-section').hidden")
            assert "secret-of-the-test" not in browser.script("document.documentElement.outerHTML")

    def test_documentation_reads(self):
        with Server() as server, Browser() as browser:
            browser.open(server.url + "/docs")
            text = browser.script("document.body.innerText")
            for path in ("/embed/text", "/v1/embeddings", "/v2/embed", "/api/embed", "/ws"):
                assert path in text, path
            browser.picture(SHOTS / "docs.png")
            assert browser.complaints() == [], browser.complaints()


if __name__ == "__main__":
    unittest.main()
