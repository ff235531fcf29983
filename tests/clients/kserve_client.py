"""KServe's client, in a process of its own: its protocol's messages have the names of those in Triton's client.

Usage: kserve_client.py HTTP GRPC FILE.npz, the file with `images` and the `expected` logits of the model `lenet`.
"""

import asyncio
import sys

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig


async def main(http, grpc, file):
    arrays = np.load(file)
    name, images, expected = str(arrays["name"]), arrays["images"], arrays["expected"]

    def request(binary):
        given = InferInput(name=name, shape=list(images.shape), datatype="FP32")
        given.set_data_from_numpy(images, binary_data=binary)
        return InferRequest(model_name="lenet", infer_inputs=[given])

    def agrees(answer):
        np.testing.assert_allclose(answer.outputs[0].as_numpy(), expected, rtol=1e-4, atol=1e-5)

    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    base = f"http://{http}"
    assert await client.is_server_live(base) is True
    assert await client.is_server_ready(base) is True
    assert await client.is_model_ready(base, "lenet") is True
    for binary in (False, True):
        agrees(await client.infer(base, request(binary), model_name="lenet"))
    client = InferenceGRPCClient(grpc)
    assert await client.is_server_live() and await client.is_server_ready() and await client.is_model_ready("lenet")
    agrees(await client.infer(request(True)))


asyncio.run(main(*sys.argv[1:]))
