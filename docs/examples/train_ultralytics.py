"""Trains a YOLO for `isal run` with ultralytics' package, on the lists that the run writes, and exports it.

    [train]
    kind = "command"
    command = ["python3", "docs/examples/train_ultralytics.py", "--epochs", "50"]

The lists come as environment variables (docs/ROUNDS.md). The exported file needs nothing beside it: `isal` finds its task, its
letterbox and its classes in it. Ultralytics' package is under AGPL-3.0.
"""

import argparse
import json
import os
import pathlib
import shutil

from PIL import Image
from ultralytics import YOLO

parser = argparse.ArgumentParser()
parser.add_argument("--start", default="yolov8n.yaml", help="weights (.pt), or an architecture (.yaml) to train from scratch")
parser.add_argument("--epochs", type=int, default=50)
parser.add_argument("--size", type=int, default=640)
parser.add_argument("--batch", type=int, default=16)
given = parser.parse_args()

out = pathlib.Path(os.environ["ISAL_OUT"]).resolve()
classes = pathlib.Path(os.environ["ISAL_CLASSES"]).read_text(encoding="utf-8").splitlines()


def write(name, variable):
    """The list as a folder of links and text files; every image may have a name of its own."""
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    for inner in ("images", "labels"):
        (folder / inner).mkdir(parents=True)
    with open(os.environ[variable], encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            image = json.loads(line)
            path = pathlib.Path(image["path"])
            (folder / "images" / f"{number:06}{path.suffix}").symlink_to(path)
            with Image.open(path) as opened:
                width, height = opened.size
            rows = []
            for (left, top, right, bottom), label in zip(image["boxes"], image["class_indices"]):
                box = ((left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height)
                rows.append(" ".join([str(label), *(f"{x:.8f}" for x in box)]) + "\n")
            (folder / "labels" / f"{number:06}.txt").write_text("".join(rows))
    return str(folder / "images")


data = out / "data.yaml"
# JSON is YAML too. What is chosen by is the training data itself: the test images only measure.
images = write("labeled", "ISAL_LABELED")
data.write_text(json.dumps({"path": str(out), "train": images, "val": images, "names": dict(enumerate(classes))}))
model = YOLO(given.start)
model.train(
    data=str(data), epochs=given.epochs, imgsz=given.size, batch=given.batch, seed=int(os.environ["ISAL_SEED"]) % 2**31,
    device="cpu", project=str(out), name="train", exist_ok=True, plots=False, val=False, workers=0, verbose=False,
)
exported = model.export(format="onnx", imgsz=given.size, dynamic=True, simplify=False, opset=17)
shutil.copyfile(exported, os.environ["ISAL_MODEL"])
