"""Influence scores a second by the ways PyTorch offers, on a ResNet-18 that isal-exporters wrote.

    pytorch_peer.py MODEL.onnx [--batch 64] [--threads 2] [--repeats 5] [--device cpu]

Prints one JSON object: images a second, the median of the repeats, all weights of two axes and more in scope, for
  plain       the forward pass alone, as the yardstick
  backward    one backward pass an image and its product with s: what the reference method does
  vmap_grad   torch.func.vmap(grad), a batch at a time, and the products with s
  forward     torch.func.jvp: the derivative of the logits along s, contracted with the loss's own derivative
and the largest difference between the three ways' scores, which are the same numbers.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time

import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.func import functional_call, grad, jvp, vmap

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "fixtures"))
import networks  # noqa: E402


def load(path):
    """The network of the zoo that the file names, with the file's weights, and its input's dims."""
    model = onnx.load(path)
    name = next(p.value for p in model.metadata_props if p.key == "isal.zoo")
    module = networks.build(name)
    weights = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in model.graph.initializer}
    missing, unexpected = module.load_state_dict(weights, strict=False)
    assert not unexpected and all(m.endswith("num_batches_tracked") for m in missing), (missing, unexpected)
    return name, module, [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]


def ways(module, s):
    """Functions from images to scores: -s . grad of the loss at the arg-max class."""
    scope = {n: p for n, p in module.named_parameters() if n in s}
    fixed = {n: p.detach() for n, p in module.named_parameters() if n not in s}
    fixed |= dict(module.named_buffers())
    values = {n: p.detach() for n, p in scope.items()}

    def plain(images):
        with torch.no_grad():
            return module(images)

    def backward(images):
        scores = []
        for image in images:
            logits = module(image[None])
            loss = nn.functional.cross_entropy(logits, logits.detach().argmax(1))
            grads = torch.autograd.grad(loss, list(scope.values()))
            scores.append(-sum((g * s[n]).sum() for n, g in zip(scope, grads)))
        return torch.stack(scores)

    def loss_of(parameters, image):
        logits = functional_call(module, parameters | fixed, (image[None],))
        return nn.functional.cross_entropy(logits, logits.detach().argmax(1))

    def vmap_grad(images):
        grads = vmap(grad(loss_of), in_dims=(None, 0))(values, images)
        return -sum(torch.einsum("ni,i->n", g.flatten(1), s[n].flatten()) for n, g in grads.items())

    def forward(images):
        with torch.no_grad():
            logits, along = jvp(lambda p: functional_call(module, p | fixed, (images,)), (values,), (s,))
            derivative = torch.softmax(logits, 1) - nn.functional.one_hot(logits.argmax(1), logits.shape[1])
            return -(derivative * along).sum(1)

    return {"plain": plain, "backward": backward, "vmap_grad": vmap_grad, "forward": forward}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = torch.device(options.device)
    # As `isal` computes on CUDA: in float32, not in TF32.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    name, module, dims = load(options.model)
    module.to(device)
    images = torch.rand(options.batch, *dims).to(device)
    s = {n: torch.randn_like(p) * p.detach().std() for n, p in module.named_parameters() if p.dim() >= 2}
    rates, answers = {}, {}
    for way, run in ways(module, s).items():
        answers[way] = run(images).detach()  # and warm
        seconds = []
        for _ in range(options.repeats):
            wait()
            start = time.perf_counter()
            run(images)
            wait()
            seconds.append(time.perf_counter() - start)
        rates[way] = round(options.batch / statistics.median(seconds), 2)
    scale = float(answers["backward"].abs().max())
    others = [answers[way] for way in ("vmap_grad", "forward")]
    difference = max(float((a - answers["backward"]).abs().max()) / scale for a in others)
    result = {
        "model": name, "torch": torch.__version__, "device": options.device, "threads": options.threads,
        "batch": options.batch, "repeats": options.repeats, "images_per_second": rates,
        "largest_difference": difference,
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
