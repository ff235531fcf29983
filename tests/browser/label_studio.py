"""A picture of Label Studio with `isal serve` as its ML backend, for docs/LABELS.md.

Usage: label_studio.py ISAL LABEL_STUDIO OUT.png, the second an environment of Python with Label Studio. Trains a LeNet on real digits,
serves its influence graph, connects it to a project with digits of the pool, retrieves predictions, orders the tasks by score, and
takes the picture once the order on the page is that of the scores.
"""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

from place import ISAL, chromium, swept
from playwright.sync_api import sync_playwright

STUDIO, OUT = pathlib.Path(sys.argv[2]).absolute(), pathlib.Path(sys.argv[3]).absolute()
TOKEN, PASSWORD, EMAIL = "0123456789abcdef0123456789abcdef01234567", "isal-on-loopback", "isal@example.com"
IMAGES = 60
CHOICES = "".join(f'<Choice value="{digit}"/>' for digit in range(10))
INTERFACE = f'<View><Image name="image" value="$image"/><Choices name="label" toName="image">{CHOICES}</Choices></View>'


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def started(command, port, environment=None):
    process = subprocess.Popen(
        list(map(str, command)), env={**os.environ, **(environment or {})}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    # The first start of Label Studio lays its database out.
    until = time.monotonic() + 300
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10).read()
            return process
        except OSError:
            time.sleep(0.5)
    raise SystemExit(f"{command[0]} did not start")


def studio(data, port):
    command = [STUDIO / "bin/label-studio", "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", port]
    command += ["--username", EMAIL, "--password", PASSWORD, "--user-token", TOKEN, "--data-dir", data]
    local = {"LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true", "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": "/"}
    # The backend listens on loopback.
    near = {"ML_BLOCK_LOCAL_IP": "false", "USE_DEFAULT_BANNED_SUBNETS": "false"}
    quiet = {"COLLECT_ANALYTICS": "False", "LATEST_VERSION_CHECK": "False", "SENTRY_DSN": ""}
    return started(command, port, {**local, **near, **quiet, "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true"})


def asker(url):
    def ask(method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Token {TOKEN}", "Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url + path, data, headers, method=method)) as answer:
            return json.loads(answer.read())

    return ask


def project(ask, files, backend):
    """A project with the images as tasks, the backend connected, its predictions retrieved; gives it and a tab ordered by score."""
    number = ask("POST", "/api/projects", {"title": "digits", "label_config": INTERFACE})["id"]
    ask("POST", "/api/storages/localfiles", {"project": number, "path": str(files), "title": "images", "use_blob_urls": False})
    tasks = [{"data": {"image": f"/data/local-files/?d={str(path).lstrip('/')}"}} for path in sorted(files.iterdir())]
    ask("POST", f"/api/projects/{number}/import", tasks)
    ask("POST", "/api/ml", {"project": number, "url": backend, "title": "isal"})
    everything = {"selectedItems": {"all": True, "excluded": []}, "ordering": [], "filters": {"conjunction": "and", "items": []}}
    ask("POST", f"/api/dm/actions?id=retrieve_tasks_predictions&project={number}", {**everything, "project": number})
    first = ask("GET", f"/api/tasks?project={number}&fields=all&page_size=1")["tasks"][0]
    ask("PATCH", f"/api/projects/{number}", {"model_version": first["predictions"][0]["model_version"]})
    shown = ["id", "predictions_score", "predictions_results", "data.image", "predictions_model_versions"]
    every = ["inner_id", "completed_at", "total_annotations", "cancelled_annotations", "total_predictions", "annotators", "annotations_results",
             "annotations_ids", "file_upload", "storage_filename", "created_at", "updated_at", "updated_by", "avg_lead_time", "draft_exists"]
    hidden = [f"tasks:{name}" for name in every]
    view = {"title": "By influence", "type": "list", "ordering": ["tasks:predictions_score"], "gridWidth": 4,
            "hiddenColumns": {"explore": hidden, "labeling": hidden},
            "columnsDisplayType": {}, "columnsWidth": {f"tasks:{name}": 190 for name in shown}}
    return number, ask("POST", "/api/dm/views", {"project": number, "data": view})["id"]


def picture(url, number, tab):
    with sync_playwright() as playwright:
        browser = chromium(playwright)
        page = browser.new_page(viewport={"width": 1280, "height": 760})
        # Nothing but Label Studio itself can be reached.
        page.route(lambda address: not address.startswith(url), lambda route: route.abort())
        page.goto(f"{url}/user/login", wait_until="commit")
        page.fill("input[name=email]", EMAIL)
        page.fill("input[name=password]", PASSWORD)
        page.press("input[name=password]", "Enter")
        page.wait_for_url(lambda address: "/user/login" not in address, timeout=60_000, wait_until="commit")
        page.goto(f"{url}/projects/{number}/data?tab={tab}", wait_until="commit")
        page.wait_for_selector("img[src*='local-files']", timeout=120_000)
        page.wait_for_timeout(5_000)
        page.screenshot(path=OUT)
        browser.close()


def main():
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        swept(place)
        files = place / "images"
        files.mkdir()
        pool = sorted((place / "digits/pool").rglob("*.png"))
        for path in pool[:: len(pool) // IMAGES][:IMAGES]:
            shutil.copy(path, files / path.name)
        web, own = free_port(), free_port()
        serving = [ISAL, "serve", "--influence", place / "selected/influence.onnx", "--label-studio-files", files]
        server = started([*serving, "--http-port", own, "--no-grpc", "--log", "error"], own)
        label_studio = None
        try:
            label_studio = studio(place / "studio", web)
            ask = asker(f"http://127.0.0.1:{web}")
            number, tab = project(ask, files, f"http://127.0.0.1:{own}")
            listed = ask("GET", f"/api/tasks?view={tab}&fields=all&page_size=1000")["tasks"]
            scores = [task["predictions"][0]["score"] for task in listed]
            assert len(scores) == IMAGES and scores == sorted(scores) and scores[0] < scores[-1], scores
            picture(f"http://127.0.0.1:{web}", number, tab)
        finally:
            for process in filter(None, (server, label_studio)):
                process.terminate()
                process.wait(timeout=60)
    print(f"{OUT}: {IMAGES} tasks, scores {scores[0]:.3f} to {scores[-1]:.3f}")


main()
