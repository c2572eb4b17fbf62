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
import re
import shutil
import subprocess
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
        const event = new DragEvent("drop", {{ dataTransfer: data, bubbles: true, cancelable: true }});
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


def luminance(colour):
    parts = [c / 255 / 12.92 if c <= 10 else ((c / 255 + .055) / 1.055) ** 2.4 for c in colour[:3]]
    return .2126 * parts[0] + .7152 * parts[1] + .0722 * parts[2]


def opened(browser, server):
    browser.open(server.url + "/")
    browser.wait("document.getElementById('facts').textContent.includes('dimensions')")


def text_of(browser, name):
    return browser.script(f"document.getElementById('{name}').textContent")


def embed(browser, *lines):
    """With these texts, where there are some; what is said in the end."""
    if lines:
        browser.script(f"document.getElementById('texts').value = {json.dumps(chr(10).join(lines))}")
    browser.script("document.getElementById('go').click()")
    browser.wait("!document.getElementById('go').disabled")
    return text_of(browser, "status")


def add(browser, *paths):
    n = browser.script("media.length") + len(paths)
    browser.files("#files", paths)
    browser.wait(f"media.length === {n}")


def run_snippet(browser, tab, folder):
    """The finished program and, where it went well, the vectors that it got, by the words for them."""
    browser.script(f"document.getElementById('tab-{tab}').click()")
    snippet = browser.script("snippet")
    names = [name for name in ("vectors", "pictures", "clips") if f"{name} " in snippet]
    if tab == "curl":
        snippet, command = "set -e\n" + snippet, ["bash"]
    elif tab == "python":
        snippet += "\nprint(json.dumps({" + ", ".join(f'"{name}": {name}' for name in names) + "}))"
        command = ["python3"]
    else:
        snippet += f"\nconsole.log(JSON.stringify({{ {', '.join(names)} }}));"
        command = ["node"]
    script = pathlib.Path(folder, f"snippet-{tab}" + (".mjs" if tab == "js" else ""))
    script.write_text(snippet, encoding="utf-8")
    done = subprocess.run([*command, script], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    found, rest = [], done.stdout.strip() if done.returncode == 0 else ""
    while rest:
        value, end = json.JSONDecoder().raw_decode(rest)
        found += value["embeddings"] if tab == "curl" else [v for name in names for v in value[name]]
        rest = rest[end:].strip()
    return done, found


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
            for tab, words in (("curl", "fail-with-body http"), ("python", "urllib.request"), ("js", "await post(")):
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
            program = "\n\n".join([*code[:3], code[-1]])  # what it says it did for documents
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

    def test_a_key_costs_nothing_that_was_typed(self):
        with Server(env=environment(TKR_API_KEY="secret-of-the-test")) as server, Browser() as browser:
            browser.open(server.url + "/")
            browser.wait("!document.getElementById('key-section').hidden")
            browser.script("document.getElementById('texts').value = 'my own words'")
            for key, says in (("k\u20ac", "ASCII"), ("wrong", "doesn't take this key")):
                browser.script(f"document.getElementById('key').value = {json.dumps(key)};"
                               "document.getElementById('key-form').requestSubmit()")
                browser.wait(f"document.getElementById('key-said').textContent.includes({json.dumps(says)})")
                self.assertFalse(browser.script("document.getElementById('key-section').hidden"))
                self.assertIsNone(browser.script("sessionStorage.getItem('tkr-key')"))
            browser.script("document.getElementById('key').value = 'secret-of-the-test';"
                           "document.getElementById('key-form').requestSubmit()")
            browser.wait("document.getElementById('facts').textContent.includes('dimensions')")
            self.assertTrue(browser.script("document.getElementById('key-section').hidden"))
            self.assertEqual(browser.script("sessionStorage.getItem('tkr-key')"), "secret-of-the-test")
            self.assertEqual(browser.script("document.getElementById('texts').value"), "my own words")
            prompts = browser.script("document.getElementById('prompt').length")
            browser.script("start()")
            self.assertEqual(browser.script("document.getElementById('prompt').length"), prompts)
            self.assertEqual(browser.script("document.getElementById('texts').value"), "my own words")

    def test_snippets_run(self):
        """As they stand, in three languages; they fail where the server refuses."""
        with tempfile.TemporaryDirectory() as folder, Server() as server, Browser() as browser:
            shutil.copy(SAMPLES / "guitar.png", os.path.join(folder, "it's a; guitar.png"))
            shutil.copy(SAMPLES / "penguin.png", folder)
            shutil.copy(CLIP, folder)
            opened(browser, server)
            add(browser, *(os.path.join(folder, name) for name in ("it's a; guitar.png", "penguin.png", CLIP.name)))
            long = "fruit and \u05e9\u05dc\u05d5\u05dd " * 12000
            said = embed(browser, "it's \"quoted\" \\n null", "a bird", long)
            self.assertIn("6 vectors", said)
            self.assertIn("1 text was cut at", said)
            self.assertLess(len(text_of(browser, "code")), 30000)
            self.assertIn("Copy takes the whole", text_of(browser, "code-note"))
            vectors = browser.script("items.map(i => i.vector)")
            tabs = ["curl", "python", *(["js"] if shutil.which("node") else [])]
            for tab in tabs:
                done, found = run_snippet(browser, tab, folder)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(len(found), len(vectors), tab)
                for mine, page in zip(found, vectors):
                    self.assertLess(max(abs(a - b) for a, b in zip(mine, page)), 1e-5, tab)
            pathlib.Path(folder, "penguin.png").write_bytes(b"no picture")
            for tab in tabs:
                done, _ = run_snippet(browser, tab, folder)
                self.assertNotEqual(done.returncode, 0, tab)

    def test_another_file_of_one_name(self):
        """Is another, of the same size too; two of them at once have names of their own."""
        with tempfile.TemporaryDirectory() as folder, Server() as server, Browser() as browser:
            note = pathlib.Path(folder, "note.txt")
            opened(browser, server)
            browser.script("document.getElementById('texts').value = ''")
            for words in ("a penguin", "a trumpet"):
                note.write_text(words, encoding="utf-8")
                add(browser, note)
                self.assertEqual(search(browser, "thing"), (words, "note.txt"))
                browser.script("document.querySelector('#thumbs button').click()")
                self.assertTrue(browser.script("document.getElementById('map-section').hidden"))
                self.assertEqual(browser.script("document.querySelectorAll('#found li').length"), 0)
            add(browser, note)
            add(browser, note)
            self.assertEqual(browser.script("media.map(entry => entry.name)"), ["note.txt", "note (2).txt"])

    def test_what_cant_be_read_is_left_out(self):
        with tempfile.TemporaryDirectory() as folder, Server() as server, Browser() as browser:
            bad = pathlib.Path(folder, "bad.png")
            bad.write_bytes((SAMPLES / "guitar.png").read_bytes()[:100])
            opened(browser, server)
            add(browser, SAMPLES / "penguin.png", bad, SAMPLES / "trumpet.png")
            said = embed(browser, "a bird")
            self.assertIn("3 vectors", said)
            self.assertIn("Left out: bad.png: ", said)
            self.assertEqual(browser.script("[...document.querySelectorAll('#thumbs .bad')].map(e => e.textContent)"),
                             ["bad.png\u00d7"])
            self.assertEqual(browser.script("items.map(i => i.name)"), ["a bird", "penguin.png", "trumpet.png"])
            note = pathlib.Path(folder, "note.txt")
            note.write_text("fruit", encoding="utf-8")
            add(browser, note)
            browser.script("document.getElementById('chunk').value = ''")
            self.assertIn("Tokens a passage: ", embed(browser))

    def test_many_and_large_ones(self):
        """Are sent in several requests; the map and the search say what they don't show."""
        with tempfile.TemporaryDirectory() as folder, Browser() as browser, \
                Server("--max-client-batch-size", "20", "--max-body", "65536") as server:
            paths = [pathlib.Path(folder, f"guitar{i}.png") for i in range(3)]
            for i, path in enumerate(paths):
                path.write_bytes((SAMPLES / "guitar.png").read_bytes() + b"\0" * (24000 + i))
            large = pathlib.Path(folder, "large.png")
            large.write_bytes(b"\0" * 64000)
            opened(browser, server)
            add(browser, *paths)
            browser.files("#files", [large])
            browser.wait("document.getElementById('status').textContent.includes('large.png: is larger')")
            said = embed(browser, *(f"a bird {i}" for i in range(50)))
            self.assertIn("53 vectors", said)
            self.assertIn("the first 40 of 53", text_of(browser, "legend"))
            self.assertEqual(browser.script("document.querySelectorAll('#map td').length"), 1600)
            search(browser, "a bird 7")
            self.assertEqual(text_of(browser, "found-note"), "The nearest 10 of 53")

    def test_colours_of_the_map(self):
        """Equal numbers have one colour, and each can be read on it."""
        for dark in (False, True):
            with Server() as server, Browser(width=360, height=800, dark=dark) as browser:
                opened(browser, server)
                said = embed(browser, "fruit", "fruit", "an apple", "a bird", "a vehicle", "weather")
                self.assertIn("6 vectors", said)
                cells = browser.script("""[...document.querySelectorAll("#map td, .legend .heat")].map(e => {
                    const s = getComputedStyle(e), under = getComputedStyle(e.closest("section"));
                    return [e.textContent, s.color, s.backgroundColor, under.backgroundColor];
                })""")
                colours = {}
                for number, *rest in cells:
                    ink, over, under = ([float(v) for v in re.findall(r"[\d.]+", colour)] for colour in rest)
                    alpha = over[3] if len(over) > 3 else 1
                    ground = [a * alpha + b * (1 - alpha) for a, b in zip(over, under)]
                    light, deep = sorted((luminance(ink), luminance(ground)), reverse=True)
                    self.assertGreaterEqual((light + .05) / (deep + .05), 4.5, (number, rest))
                    colours.setdefault(number, []).append(alpha)
                self.assertEqual(len(colours["1.00"]), 6 + 2 + 1)
                for number, alphas in colours.items():
                    self.assertLess(max(alphas) - min(alphas), .02, number)
                self.assertGreater(colours["1.00"][0], .4)
                self.assertLessEqual(browser.script("document.documentElement.scrollWidth"), 360)
                browser.picture(SHOTS / f"page-narrow-{'dark' if dark else 'light'}.png")

    def test_the_server_comes_and_goes(self):
        """While it loads the page waits for it; when it has gone nothing old is left as if it were new."""
        with Server() as server, Browser() as browser:
            browser.call("Page.addScriptToEvaluateOnNewDocument", source="""{
                const real = fetch;
                let early = 2;
                window.fetch = (...a) => a[0] === "info" && early-- > 0 ? Promise.resolve(new Response(
                    '{"error":{"message":"loading"}}', { status: 503, headers: { "Retry-After": "1" } }))
                    : real(...a); }""")
            browser.open(server.url + "/")
            browser.wait("document.getElementById('facts').textContent.includes('loading')")
            browser.files("#files", [SAMPLES / "guitar.png"])
            self.assertNotIn("texts only", text_of(browser, "status"))
            browser.wait("media.length === 1")
            self.assertIn("dimensions", text_of(browser, "facts"))
            self.assertIn("2 vectors", embed(browser, "a bird"))
            search(browser, "a bird")
            self.assertFalse(browser.script("document.querySelector('.stale') !== null"))
            browser.script("document.getElementById('texts').focus()")
            browser.call("Input.insertText", text="fruit")
            self.assertTrue(browser.script("document.getElementById('map-section').classList.contains('stale')"))
            self.assertIn("2 vectors", embed(browser, "fruit"))
            self.assertEqual(browser.script("document.querySelectorAll('#found li').length"), 0)
            search(browser, "a bird")
            server.signal(15)
            server.process.wait()
            self.assertIn(f"The server doesn't answer ({server.url}/)", embed(browser, "a vehicle"))
            self.assertTrue(browser.script("['map-section', 'code-section'].every(id => "
                                           "document.getElementById(id).hidden)"))
            self.assertEqual(browser.script("document.querySelectorAll('#found li').length"), 0)

    def test_drops(self):
        """Files anywhere in the window, on the texts too, where words may be dropped as ever."""
        with Server() as server, Browser() as browser:
            opened(browser, server)
            browser.script("document.getElementById('texts').value = ''")
            browser.drag("#texts", files=[str(SAMPLES / "guitar.png")])
            browser.wait("media.length === 1")
            browser.drag("#facts", files=[str(SAMPLES / "trumpet.png")])
            browser.wait("media.length === 2")
            browser.drag("#texts", text="a bird")
            browser.wait("document.getElementById('texts').value === 'a bird'")
            self.assertEqual(browser.script("media.map(entry => entry.name)"), ["guitar.png", "trumpet.png"])
            self.assertFalse(browser.script("document.body.classList.contains('over')"))
            self.assertEqual(browser.complaints(), [])

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
