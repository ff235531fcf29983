"""Trains a small PyTorch network for `isal run`, and leaves it as ONNX.

    [train]
    kind = "command"
    command = ["python3", "docs/examples/train_pytorch.py", "--epochs", "40"]

Replace `network` by your own model and `images` by your own preprocessing. What `isal` tells is in the environment:
ISAL_LABELED, ISAL_REFERENCE and ISAL_TEST (JSON lines with `path`, `label`, `class_index`), ISAL_CLASSES (names in the order
of the class scores), ISAL_SEED, ISAL_OUT (a folder to keep), ISAL_MODEL and ISAL_METRICS (files to write).
"""

import argparse
import json
import os
from pathlib import Path

import numpy
import torch
from PIL import Image
from torch import nn


def rows(variable):
    with open(os.environ[variable], encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def images(rows):
    """Grey images, [N, 1, H, W] with values from 0 to 1. `model.toml` below says the same to isal."""
    arrays = [numpy.asarray(Image.open(row["path"]).convert("L"), dtype=numpy.float32) / 255 for row in rows]
    return torch.from_numpy(numpy.stack(arrays)[:, None])


def network(classes):
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.LazyLinear(64), nn.ReLU(), nn.Linear(64, classes),
    )


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--epochs", type=int, default=40)
    arguments.add_argument("--batch-size", type=int, default=16)
    arguments = arguments.parse_args()
    torch.manual_seed(int(os.environ["ISAL_SEED"]) % 2**31)
    torch.set_num_threads(2)

    labeled = rows("ISAL_LABELED")
    inputs = images(labeled)
    targets = torch.tensor([row["class_index"] for row in labeled])
    classes = Path(os.environ["ISAL_CLASSES"]).read_text(encoding="utf-8").splitlines()
    model = network(len(classes))
    model(inputs[:1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for epoch in range(arguments.epochs):
        model.train()
        total = 0.0
        for batch in torch.randperm(len(inputs)).split(arguments.batch_size):
            loss = nn.functional.cross_entropy(model(inputs[batch]), targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        print(f"epoch {epoch + 1}: loss {total / len(inputs):.4f}", flush=True)

    model.eval()
    path = Path(os.environ["ISAL_MODEL"])
    torch.onnx.export(
        model, (inputs[:1],), str(path), input_names=["images"], output_names=["logits"],
        dynamic_axes={"images": {0: "N"}, "logits": {0: "N"}}, opset_version=17, dynamo=False,
    )
    # How isal makes an image into what this network takes.
    path.with_suffix(".toml").write_text('[preprocess]\nchannels = "grey"\nrange = "unit"\n')
    Path(os.environ["ISAL_METRICS"]).write_text(json.dumps({"training loss": total / len(inputs)}))


if __name__ == "__main__":
    main()
