"""`isal view` in a real Chromium: what is seen, keys, labels on disk, both colour schemes, and pages without script.

Usage: python tests/browser/view.py ISAL [FOLDER FOR SCREENSHOTS]
"""

import csv
import json
import pathlib
import subprocess
import sys
import tempfile

from playwright.sync_api import sync_playwright

from place import ISAL, chromium, isal, swept

shots = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None

RUN = """
rounds = 4
model = "untrained.onnx"
data = { pool = "digits/pool", test = "digits/test", reference = "digits/reference" }
labels = { initial = 40, balanced = true, budget = 40 }
train = { epochs = 12 }
select = { strategy = "influence" }
"""


def prepared(place):
    """A sweep and a run over real digits."""
    swept(place)
    (place / "run.toml").write_text(RUN)
    isal("run", "run.toml", "-o", "run", cwd=place)


class Server:
    def __init__(self, place, folder):
        command = [ISAL, "view", folder, "--port", "0", "--json", "--quiet"]
        self.process = subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, text=True)
        text = ""
        while True:
            text += self.process.stdout.readline()
            try:
                self.url = json.loads(text)["url"]
                break
            except json.JSONDecodeError:
                assert self.process.poll() is None, text
        self.base = self.url.split("/?")[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(10) == 0, "it ends well"


def opened(context, server):
    """A page of the server, and what the browser complains of."""
    page, complaints = context.new_page(), []
    page.on("console", lambda said: complaints.append(said.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    foreign = lambda request: complaints.append(request.url) if not request.url.startswith(server.base) else None
    page.on("request", foreign)
    page.goto(server.url)
    page.wait_for_selector("h1")
    page.wait_for_load_state("networkidle")
    return page, complaints


def labels(place):
    path = place / "selected/view/labels.csv"
    return [(row["id"], row["label"]) for row in csv.DictReader(path.open())] if path.exists() else []


def contrast(page):
    """The least contrast of any text on the page with what stands behind it, as WCAG counts it."""
    return page.evaluate("""() => {
        const channels = (text) => text.match(/[\\d.]+/g).map(Number);
        const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
            .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
            .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
        const behind = (element) => {
            for (let at = element; at; at = at.parentElement) {
                const colour = channels(getComputedStyle(at).backgroundColor);
                if (colour.length === 3 || colour[3] === 1) return colour;
            }
            return [255, 255, 255];
        };
        let least = 21;
        for (const element of document.querySelectorAll("body *:not(svg *)")) {
            const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
            if (!own || !element.checkVisibility()) continue;
            const [a, b] = [light(channels(getComputedStyle(element).color)), light(behind(element))];
            least = Math.min(least, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
        }
        return least;
    }""")


def check_names(page):
    """Every picture, field and button says what it is to those who do not see it."""
    nameless = page.evaluate("""() => [...document.querySelectorAll("img, input:not([type=hidden]), select, button, a")]
        .filter((e) => !(e.alt || e.getAttribute("aria-label") || (e.labels && e.labels.length) || e.textContent.trim()
                         || e.querySelector("img[alt]"))).map((e) => e.outerHTML)""")
    assert not nameless, nameless
    assert page.evaluate("document.documentElement.lang") == "en" and page.locator("h1").count() == 1


def sweep(browser, place, selected):
    ids = [image["id"] for image in selected["selected"]]
    with Server(place, "selected") as server:
        for scheme in ("light", "dark"):
            context = browser.new_context(viewport={"width": 1100, "height": 760}, color_scheme=scheme)
            page, complaints = opened(context, server)
            cards = page.locator(".grid figure")
            assert cards.count() == 60 and ids[0] in cards.nth(0).inner_text()
            loaded = page.evaluate("[...document.images].slice(0, 8).every((i) => i.complete && i.naturalWidth === 28)")
            assert loaded, "pictures are shown"
            assert contrast(page) >= 4.5, contrast(page)
            check_names(page)
            if shots and scheme == "light":
                page.screenshot(path=shots / "view-pool.png")
            # A filter by its form, and back by its link.
            page.get_by_label("Believed class").select_option(label="7")
            page.get_by_role("button", name="Show").click()
            page.wait_for_url("**class=7**")
            assert "class=7" in page.url and all(" 7 (" in f" {text}" or text.startswith("7 (") for text in
                                                 cards.locator("figcaption").all_inner_texts())
            page.get_by_role("link", name="Show all").click()
            page.wait_for_url("**/pool")
            page.keyboard.press("ArrowRight")
            page.wait_for_url("**page=2**")
            page.goto(server.base + "/label")
            page.wait_for_load_state("networkidle")
            assert contrast(page) >= 4.5, contrast(page)
            check_names(page)
            assert complaints == [], complaints
            context.close()

        context = browser.new_context(viewport={"width": 1100, "height": 760}, color_scheme="dark")
        page, complaints = opened(context, server)
        page.goto(server.base + "/label")

        def press(key, to):
            page.keyboard.press(key)
            page.wait_for_url(f"**/label?at={to}")

        press("3", 2)
        press("8", 3)
        press("s", 4)
        assert labels(place) == [(ids[0], "3"), (ids[1], "8")], "on disk once the next image is shown"
        skipped = list(csv.DictReader((place / "selected/view/skipped.csv").open()))
        assert [row["id"] for row in skipped] == [ids[2]]
        press("u", 3)
        press("Enter", 4)
        believed = str(selected["selected"][2]["pseudo_label"])
        assert labels(place)[-1] == (ids[2], believed)
        page.keyboard.press("ArrowLeft")
        page.wait_for_url("**/label?at=3")
        assert "Labelled" in page.locator(".one").inner_text()
        # Modified keys are the browser's, and keys pressed into a field are its text.
        page.keyboard.press("Control+3")
        page.goto(server.base + "/pool")
        page.get_by_label("Name has").fill("")
        page.get_by_label("Name has").press_sequentially("us7")
        assert len(labels(place)) == 3 and page.get_by_label("Name has").input_value() == "us7"
        # Two keys at once label one image.
        page.goto(server.base + "/label?at=10")
        page.evaluate("""["1", "2"].forEach((key) => document.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true})))""")
        page.wait_for_url("**/label?at=11")
        page.wait_for_load_state("networkidle")
        assert labels(place)[3:] == [(ids[9], "1")], labels(place)
        page.goto(server.base + "/label?at=4")
        page.wait_for_load_state("networkidle")
        if shots:
            page.screenshot(path=shots / "view-label.png")
        page.goto(server.base + "/pool?selected=yes")
        page.locator(".grid a").nth(4).click()
        page.wait_for_url("**/image?**")
        assert "Selected as number 5" in page.locator("main").inner_text()
        with page.expect_navigation():
            page.keyboard.press("6")
        assert labels(place)[-1] == (ids[4], "6")
        assert complaints == [], complaints
        context.close()

        # Without script the same forms do the same.
        context = browser.new_context(java_script_enabled=False)
        page = context.new_page()
        page.goto(server.url)
        page.wait_for_selector("h1")
        page.goto(server.base + "/label?at=20")
        page.get_by_role("button", name="9 9", exact=True).click()
        page.wait_for_url("**/label?at=21")
        assert labels(place)[-1] == (ids[19], "9")
        context.close()

        # Another site may not write a label, though the browser holds the cookie.
        context = browser.new_context()
        page, _ = opened(context, server)
        before = labels(place)
        page.route("http://evil.example/", lambda route: route.fulfill(content_type="text/html", body=f"""
            <form method="post" action="{server.base}/label"><input name="at" value="1"><input name="id" value="{ids[0]}">
            <input name="label" value="5"></form><script>document.forms[0].submit()</script>"""))
        with page.expect_navigation(url=server.base + "/label"):
            page.goto("http://evil.example/")
        assert "Forbidden" in page.content() and labels(place) == before
        context.close()


def run(browser, place):
    with Server(place, "run") as server:
        context = browser.new_context(viewport={"width": 1000, "height": 900}, color_scheme="light")
        page, complaints = opened(context, server)
        assert "4 of 4 rounds" in page.locator("main").inner_text()
        assert page.locator(".plot circle").count() == 4, "a point a round"
        check_names(page)
        if shots:
            page.screenshot(path=shots / "view-run.png")
        page.get_by_role("link", name="the pool after round 2").click()
        assert "round=2" in page.url and page.get_by_label("Round").input_value() == "2"
        assert complaints == [], complaints
        context.close()


with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
    place = pathlib.Path(folder)
    prepared(place)
    browser = chromium(playwright)
    sweep(browser, place, json.loads((place / "selected/selection.json").read_text()))
    run(browser, place)
    print(f"isal view: 2 passed in Chromium {browser.version}")
    browser.close()
