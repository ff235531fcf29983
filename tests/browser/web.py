"""exporters/web in a real Chromium: its influences are those of `isal score pool`.

Usage: python tests/browser/web.py ISAL
"""

import csv
import functools
import http.server
import pathlib
import shutil
import tempfile
import threading

from PIL import Image
from playwright.sync_api import sync_playwright

from place import ROOT, chromium, isal, swept

WEB = ROOT / "exporters/web"


class Quiet(http.server.SimpleHTTPRequestHandler):
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript", ".wasm": "application/wasm"}

    def log_message(self, *_):
        pass


def served(folder):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/"


def images(place):
    """Digits as they are, and some of other sizes, in colour."""
    files = sorted((place / "digits/pool").rglob("*.png"))[::130]
    folder = place / "mixed"
    folder.mkdir()
    for number, file in enumerate(files):
        target = folder / f"{number:02}.png"
        if number % 4:
            shutil.copy(file, target)
            continue
        with Image.open(file) as digit:
            level = digit.convert("L").resize((28 + number, 35 + number), Image.BICUBIC)
            Image.merge("RGB", (level, level.point(lambda v: v // 2), level.point(lambda v: 255 - v))).save(target)
    return sorted(folder.iterdir())


def expected(place, form):
    """What `isal score pool` makes of the images, by the graph without its preprocessing."""
    isal("score", "pool", "--influence", f"{form}.onnx", "--pool", "mixed", "--budget", "5", "--batch-size", "1", "--scores", f"{form}.csv",
         "-o", f"scored-{form}", cwd=place)
    rows = csv.DictReader((place / f"{form}.csv").open())
    return {row["id"]: (float(row["influence"]), int(row["pseudo_label"]), float(row["confidence"])) for row in rows}


def compared(found, wanted):
    """The largest deviation, as a share of the largest influence."""
    scale = max(abs(influence) for influence, *_ in wanted.values())
    return max(abs(found[name] - wanted[name][0]) for name in wanted) / scale


with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
    place = pathlib.Path(folder)
    swept(place)
    files = images(place)
    for form in ("paired", "tangent"):
        export = ["export", "influence", "--model", "trained/model.onnx", "--vector", "selected/s.safetensors", "--sample", "digits/pool",
                  "--form", form]
        isal(*export, "-o", f"{form}.onnx", cwd=place)
        isal(*export, "--with-preprocessing", "-o", f"{form}-inside.onnx", cwd=place)
    site = place / "site"
    shutil.copytree(WEB, site)
    shutil.copy(place / "tangent-inside.onnx", site / "influence.onnx")
    address = served(site)
    browser = chromium(playwright)
    page, complaints = browser.new_page(), []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: complaints.append(request.url) if not request.url.startswith((address, "blob:")) else None)
    page.goto(address)
    says = lambda text: page.locator("#state", has_text=text).wait_for()
    ready = lambda form: says(f"{form} form, ready")
    shown = lambda: {item["name"]: float(item["influence"]) for item in page.evaluate(
        "[...document.querySelectorAll('#results li')].map((item) => ({...item.dataset}))")}
    done = lambda: says("Done: the most useful image first")

    # The graph that lies beside the page.
    ready("tangent")
    wanted = expected(place, "tangent")
    page.set_input_files("#images", files)
    done()
    found = shown()
    assert list(found) == sorted(found, key=found.get), "the most useful first"
    deviation = compared(found, wanted)
    print(f"tangent: {deviation:.1e} of the largest influence")
    # A sample at a tie of rounding differs by one level of 255 in an image that is resized.
    assert deviation < 1e-2, deviation
    exact = {name: value for name, value in wanted.items() if int(name[:2]) % 4}
    assert compared({name: found[name] for name in exact}, exact) < 1e-5, "images of the graph's own size"
    with page.expect_download() as download:
        page.get_by_role("link", name="Save as a list").click()
    rows = {row["path"]: row for row in csv.DictReader(download.value.path().open())}
    assert rows.keys() == wanted.keys()
    for name, (_, label, confidence) in exact.items():
        assert int(rows[name]["believed"]) == label and abs(float(rows[name]["confidence"]) - confidence) < 1e-5, rows[name]

    # Another graph, chosen on the page, and images that are dropped; a file that is no image is said.
    page.set_input_files("#graph", place / "paired-inside.onnx")
    ready("paired")
    wanted = {name: value for name, value in expected(place, "paired").items() if int(name[:2]) % 4}
    names = {file.name: list(file.read_bytes()) for file in files if int(file.name[:2]) % 4}
    page.evaluate("""(files) => {
        const data = new DataTransfer();
        for (const [name, bytes] of Object.entries(files))
            data.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
        document.getElementById("drop").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
    }""", names)
    done()
    deviation = compared(shown(), wanted)
    print(f"paired: {deviation:.1e} of the largest influence")
    assert deviation < 1e-2, deviation
    page.set_input_files("#images", {"name": "no.png", "mimeType": "image/png", "buffer": b"no image"})
    says("Not scored: no.png")
    for graph, said in (("tangent.onnx", "--with-preprocessing"), ("trained/model.onnx", "no influence graph")):
        page.set_input_files("#graph", place / graph)
        says(said)
    assert complaints == [], complaints

    # Files are not enough, as the README says.
    page.goto((site / "index.html").as_uri())
    page.wait_for_timeout(1_000)
    assert page.locator("#images").is_disabled(), "a browser that loads modules from files: say so in exporters/web/README.md"
    print(f"exporters/web: 2 passed in Chromium {browser.version}")
    browser.close()
