#!/usr/bin/env python3
"""Scenes for detectors: cut-out objects placed on photographs, with exact boxes. Needs Pillow and NumPy.

    scenes.py fetch FOLDER               emoji of ten kinds and photographs into FOLDER/objects and FOLDER/photographs
    scenes.py compose FOLDER -o OUT --divide train=400 test=100 pool=1000 [--side 128] [--seed 0] [--most 5]

Objects are RGBA files in FOLDER/objects/CLASS/. Each scene is a random part of a photograph with one to `--most` objects on it,
larger or smaller, turned, mirrored, overlapping; objects of which less than a third stays visible are taken out. A box is around the
visible pixels of its object, so nothing in it is guessed.

OUT/PART has JPEGImages/, annotations.json (COCO), Annotations/*.xml (Pascal VOC) and ImageSets/Main/PART.txt. The same arguments give
the same files. The scenes are composed, not photographed: say so wherever a result on them is shown. Parts share the photographs and
the drawings; of `--held-out SHARE` the last files of every class are kept for the parts after the first.

`fetch` takes the packages emoji-datasource-google (by npm) and scikit-image (by pip) at fixed versions and checks their SHA-256. Their
licences allow the use, and each has a LICENSE file; do not pass the images on without it.
"""

import argparse
import hashlib
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

EMOJI = ("emoji-datasource-google@16.0.0", "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438")
PHOTOGRAPHS = ("scikit-image==0.26.0", "7df650e79031634ac90b11e64a9eedaf5a5e06fcd09bcd03a34be01745744466")
# The wheel of one fixed platform, whatever this one is: only its pictures are taken.
PLATFORM = "--python-version 3.12 --implementation cp --abi cp312 --platform manylinux_2_28_x86_64".split()
CLASSES = {
    "animal-mammal": "mammal",
    "animal-bird": "bird",
    "animal-marine": "sea animal",
    "animal-bug": "bug",
    "food-fruit": "fruit",
    "food-vegetable": "vegetable",
    "transport-ground": "vehicle",
    "place-building": "building",
    "clothing": "clothing",
    "sport": "sport",
}
TAKEN = "astronaut chelsea coffee motorcycle_left rocket grass gravel brick hubble_deep_field camera color".split()


def checked(path, sha256):
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        sys.exit(f"{path.name} has the SHA-256 {found}, expected {sha256}")
    return path


def fetch(folder):
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        subprocess.run(["npm", "pack", "--silent", EMOJI[0]], cwd=scratch, check=True, stdout=subprocess.DEVNULL)
        with tarfile.open(checked(next(scratch.glob("*.tgz")), EMOJI[1])) as archive:
            described = json.load(archive.extractfile("package/emoji.json"))
            for entry in described:
                name = CLASSES.get(entry["subcategory"])
                if name and entry["has_img_google"]:
                    to = folder / "objects" / name / entry["image"]
                    to.parent.mkdir(parents=True, exist_ok=True)
                    to.write_bytes(archive.extractfile(f"package/img/google/64/{entry['image']}").read())
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*pip, *PLATFORM, "--dest", scratch, PHOTOGRAPHS[0]], check=True)
        (folder / "photographs").mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(checked(next(scratch.glob("*.whl")), PHOTOGRAPHS[1])) as archive:
            for name in archive.namelist():
                path = pathlib.PurePosixPath(name)
                if path.parent.as_posix() == "skimage/data" and path.stem in TAKEN:
                    (folder / "photographs" / path.name).write_bytes(archive.read(name))


def ground(random, photographs, side):
    """A random part of a photograph."""
    photograph = photographs[random.integers(len(photographs))]
    whole = min(photograph.size)
    part = int(random.integers(min(side, whole), whole + 1))
    left, top = (int(random.integers(0, length - part + 1)) for length in photograph.size)
    return photograph.crop((left, top, left + part, top + part)).resize((side, side), Image.BILINEAR)


def placed(random, drawing, side):
    """An object at its place on an empty scene."""
    length = int(round(np.exp(random.uniform(np.log(side / 8), np.log(side / 1.8)))))
    scale = length / max(drawing.size)
    size = [max(1, round(length * scale)) for length in drawing.size]
    one = drawing.resize(size, Image.BILINEAR)
    if random.random() < 0.5:
        one = one.transpose(Image.FLIP_LEFT_RIGHT)
    one = one.rotate(float(random.uniform(-30, 30)), Image.BILINEAR, expand=True)
    scene = Image.new("RGBA", (side, side))
    # A quarter of it may lie outside.
    x, y = (int(random.integers(-(length // 4), max(side - length + length // 4, 1))) for length in one.size)
    scene.paste(one, (x, y))
    return scene


def compose(random, photographs, objects, side, most):
    """A scene, and of each object its class and its box [left, top, right, bottom]."""
    scene = ground(random, photographs, side).convert("RGBA")
    classes = sorted(objects)
    layers = []
    for _ in range(int(random.integers(1, most + 1))):
        name = classes[random.integers(len(classes))]
        drawing = objects[name][random.integers(len(objects[name]))]
        layer = placed(random, drawing, side)
        mask = np.array(layer)[..., 3] > 127
        others = [np.logical_and(other, ~mask) for _, other, _, _ in layers]
        hidden = any(now.sum() * 3 < whole for now, (_, _, whole, _) in zip(others, layers))
        if mask.sum() < 16 or hidden:
            continue
        layers = [(layer, now, whole, name) for now, (layer, _, whole, name) in zip(others, layers)]
        layers.append((layer, mask, mask.sum(), name))
    boxes = []
    for layer, mask, _, name in layers:
        scene.alpha_composite(layer)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        corners = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        boxes.append((name, [int(x) for x in corners], int(mask.sum())))
    return scene.convert("RGB"), boxes


def voc(name, side, boxes):
    lines = [f"<annotation>\n  <filename>{name}</filename>"]
    lines.append(f"  <size>\n    <width>{side}</width>\n    <height>{side}</height>\n    <depth>3</depth>\n  </size>")
    for kind, (left, top, right, bottom), _ in boxes:
        numbers = zip(("xmin", "ymin", "xmax", "ymax"), (left + 1, top + 1, right, bottom))
        corners = "".join(f"      <{key}>{number}</{key}>\n" for key, number in numbers)
        lines.append(
            f"  <object>\n    <name>{escape(kind)}</name>\n    <difficult>0</difficult>\n"
            f"    <bndbox>\n{corners}    </bndbox>\n  </object>"
        )
    return "\n".join([*lines, "</annotation>\n"])


def write(out, part, count, random, photographs, objects, numbers, options):
    folder = out / part
    for inner in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / inner).mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number in range(count):
        scene, boxes = compose(random, photographs, objects, options.side, options.most)
        name = f"{part}-{number:05}.jpg"
        scene.save(folder / "JPEGImages" / name, quality=95)
        (folder / "Annotations" / f"{part}-{number:05}.xml").write_text(voc(name, options.side, boxes))
        images.append({"id": number + 1, "file_name": name, "width": options.side, "height": options.side})
        for kind, (left, top, right, bottom), area in boxes:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number + 1,
                    "category_id": numbers[kind],
                    "bbox": [left, top, right - left, bottom - top],
                    "area": area,
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    coco = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(coco))
    listed = "".join(f"{part}-{number:05}\n" for number in range(count))
    (folder / "ImageSets/Main" / f"{part}.txt").write_text(listed)
    print(f"{folder}: {count} scenes, {len(annotations)} boxes")


def files(folder):
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg"))


def divided(text):
    name, _, count = text.partition("=")
    return name, int(count)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fetch").add_argument("folder", type=pathlib.Path)
    composing = commands.add_parser("compose")
    composing.add_argument("folder", type=pathlib.Path)
    composing.add_argument("-o", "--output", type=pathlib.Path, required=True)
    composing.add_argument("--divide", type=divided, nargs="+", required=True, metavar="PART=SCENES")
    composing.add_argument("--side", type=int, default=128)
    composing.add_argument("--seed", type=int, default=0)
    composing.add_argument("--most", type=int, default=5)
    composing.add_argument("--held-out", type=float, default=0.0, metavar="SHARE")
    options = parser.parse_args()
    if options.command == "fetch":
        return fetch(options.folder)
    photographs = [Image.open(path).convert("RGB") for path in files(options.folder / "photographs")]
    kinds = sorted(path for path in (options.folder / "objects").iterdir() if path.is_dir())
    drawings = {path.name: [Image.open(file).convert("RGBA") for file in files(path)] for path in kinds}
    numbers = {name: number for number, name in enumerate(drawings, 1)}
    kept = {name: max(1, round(len(all_) * (1 - options.held_out))) for name, all_ in drawings.items()}
    for place, (part, count) in enumerate(options.divide):
        random = np.random.default_rng([options.seed, place])
        objects = {name: all_[: kept[name]] for name, all_ in drawings.items()}
        if place > 0 and options.held_out > 0:
            objects = {name: all_[kept[name] :] or all_[-1:] for name, all_ in drawings.items()}
        write(options.output, part, count, random, photographs, objects, numbers, options)


main()
