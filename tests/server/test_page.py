# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser, with the demo model: texts and pictures become a heat map, a search finds pictures, by
keyboard too; nothing but the server is asked, and the policy of the page is never broken. Pictures of it go to
build/tests/page-*.png, to be looked at."""
import os
import pathlib
import unittest

from browser import Browser
from harness import Server, environment

SOURCE = pathlib.Path(os.environ["TKR_SOURCE_DIR"])
SAMPLES = SOURCE / "share" / "demo" / "samples"
SHOTS = pathlib.Path(os.environ["TKR_BUILD_DIR"]) / "tests"
SHOTS.mkdir(parents=True, exist_ok=True)


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
