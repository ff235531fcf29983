"""Scores images with influence.onnx: python score.py IMAGE...

One JSON line an image, in the order given. The more negative its influence, the more labelling the image is expected to lower
the loss on the reference set. Needs onnxruntime, numpy, Pillow and Python 3.11.
"""

import json
import sys
import tomllib
from pathlib import Path

import numpy
import onnxruntime
from PIL import Image

HERE = Path(__file__).parent
RECIPE = tomllib.loads((HERE / "influence.toml").read_text(encoding="utf-8"))["preprocess"]


def resized(image):
    """The image at the recipe's size. Image.resize averages over what it drops, which other libraries do not."""
    target = RECIPE["resize"]
    if target == "none":
        return image
    width, height = image.size
    if "shorter_side" in target:
        side = target["shorter_side"]
        size = (side, side * height // width) if width <= height else (side * width // height, side)
    else:
        size = (target["width"], target["height"])
    return image if size == image.size else image.resize(size, Image.Resampling[RECIPE["filter"].upper()])


def cropped(image):
    """The centre of the image; black where the image is smaller."""
    if "crop" not in RECIPE:
        return image
    (width, height), crop = image.size, RECIPE["crop"]
    skip = lambda have, want: round((have - want) / 2) if have > want else -((want - have) // 2)
    left, top = skip(width, crop["width"]), skip(height, crop["height"])
    return image.crop((left, top, left + crop["width"], top + crop["height"]))


def prepared(path):
    """What the graph takes for an image, without the batch axis."""
    image = Image.open(path)
    if "over" in RECIPE["alpha"]:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, tuple(RECIPE["alpha"]["over"]))
        image = Image.alpha_composite(ground, image)
    image = cropped(resized(image.convert("L" if RECIPE["channels"] == "grey" else "RGB")))
    pixels = numpy.asarray(image, numpy.float32)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if RECIPE["channels"] == "bgr":
        pixels = pixels[:, :, ::-1]
    if RECIPE["range"] == "unit":
        pixels = pixels / numpy.float32(255)
    pixels = (pixels - numpy.float32(RECIPE["mean"])) / numpy.float32(RECIPE["std"])
    return pixels.transpose(2, 0, 1) if RECIPE["layout"] == "nchw" else pixels


def main(paths):
    session = onnxruntime.InferenceSession(HERE / "influence.onnx", providers=["CPUExecutionProvider"])
    images = session.get_inputs()[0]
    kind = {"tensor(float16)": "f2", "tensor(double)": "f8", "tensor(uint8)": "u1"}.get(images.type, "f4")
    names = HERE / "labels.txt"
    names = names.read_text(encoding="utf-8").splitlines() if names.is_file() else None
    for path in paths:
        batch = numpy.stack([prepared(path)]).astype(kind)
        scores, influence = session.run([session.get_outputs()[0].name, "influence"], {images.name: batch})
        row = {"image": path, "influence": influence[0].tolist()}
        if names:
            row["guess"] = names[int(scores[0].argmax())]
        print(json.dumps(row))


if __name__ == "__main__":
    main(sys.argv[1:])
