"""An encoder trained without labels on the images of a pool, as the model of a run: encoder and an untrained linear head.

    python3 configs/studies/simclr.py out/study/digits/standard/pool -o out/study/digits/standard/encoded.onnx

Normalisation is folded into the convolutions. SimCLR (Chen et al., ICML 2020) on a network of three convolutions. Needs PyTorch, onnx and NumPy. The head is `head.weight`
and `head.bias`; everything else is to be frozen (`freeze` in the run's [train]).
"""

import argparse
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

WIDTH = 128


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        block = lambda i, o: nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2))
        self.body = nn.Sequential(block(1, 32), block(32, 64), block(64, WIDTH))

    def forward(self, x):
        return self.body(x).mean((2, 3))


class Classifier(nn.Module):
    def __init__(self, encoder, classes, scale):
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(WIDTH, classes)
        self.register_buffer("scale", torch.tensor(scale))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, images):
        return self.head(self.encoder(images) * self.scale)


def images(folder):
    data = (folder / "images-idx3-ubyte").read_bytes()
    count, height, width = (int.from_bytes(data[4 * n : 4 * n + 4], "big") for n in (1, 2, 3))
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=16).reshape(count, 1, height, width).astype("f4") / 255)


def view(x):
    """A random window, turned, sheared and of another brightness."""
    n = len(x)
    scale, angle = 0.7 + 0.5 * torch.rand(n), 0.5 * (torch.rand(n) - 0.5)
    shear, shift = 0.4 * (torch.rand(n) - 0.5), 0.3 * (torch.rand(n, 2) - 0.5)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    rows = [torch.stack([cos, shear - sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)]
    moved = F.grid_sample(x, F.affine_grid(torch.stack(rows, 1), x.shape, align_corners=False), align_corners=False)
    brightness = 0.6 + 0.8 * torch.rand(n, 1, 1, 1)
    return (moved * brightness + 0.05 * torch.randn_like(moved)).clamp(0, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=pathlib.Path)
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--temperature", type=float, default=0.2)
    given = parser.parse_args()
    torch.manual_seed(0)
    data, encoder = images(given.pool), Encoder()
    projection = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 64))
    weights = [*encoder.parameters(), *projection.parameters()]
    steps = given.epochs * (len(data) // 256)
    optimizer = torch.optim.Adam(weights, 1e-3, weight_decay=1e-6)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(given.epochs):
        total = 0.0
        for batch in torch.randperm(len(data))[: 256 * (len(data) // 256)].view(-1, 256):
            both = torch.cat([view(data[batch]), view(data[batch])])
            z = F.normalize(projection(encoder(both)), dim=1)
            alike = (z @ z.t() / given.temperature).fill_diagonal_(-1e9)
            loss = F.cross_entropy(alike, torch.arange(512).roll(256))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}: loss {total / (len(data) // 256):.3f}", flush=True)
    encoder.eval()
    with torch.no_grad():
        scale = 1 / encoder(data).std().item()
    model = Classifier(encoder, given.classes, scale).eval()
    torch.onnx.export(
        model, (data[:2],), given.output, input_names=["images"], output_names=["logits"], dynamo=False,
        dynamic_axes={"images": {0: "N"}, "logits": {0: "N"}}, opset_version=17, do_constant_folding=True,
        training=torch.onnx.TrainingMode.EVAL,
    )


if __name__ == "__main__":
    main()
