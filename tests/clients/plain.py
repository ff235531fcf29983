"""What a team writes without a server: FastAPI around onnxruntime, one image a request. Usage: uvicorn plain:app."""

import os

import numpy as np
import onnxruntime
from fastapi import FastAPI, Request, Response

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(os.environ["THREADS"])
session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
shape = [1, *session.get_inputs()[0].shape[1:]]
app = FastAPI()


def run(body):
    return session.run(None, {name: np.frombuffer(body, np.float32).reshape(shape)})[0].tobytes()


@app.post("/infer")
async def infer(request: Request):
    from starlette.concurrency import run_in_threadpool

    return Response(await run_in_threadpool(run, await request.body()), media_type="application/octet-stream")
