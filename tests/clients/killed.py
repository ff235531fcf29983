"""`isal serve --harvest` killed at any moment under load: what it had counted as stored is there, and only what was sent.

Usage: killed.py ISAL [KILLS]. Four clients send images of pixels that follow from a number; the server is killed after a random time, and
the harvest is exported and held against what was sent. Prints the figures; exits with 1 if anything is lost or is not what was sent.
"""

import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import onnx
from onnx import TensorProto, helper

# Requests of lowest influence that are kept.
LOWEST = 50


def influence_graph(path):
    """uint8 `[N, 4, 4, 1]` -> `influence` = - the number that the pixels are of: every request is lower than those before."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["floats", "flat"], ["rows"]),
        helper.make_node("MatMul", ["rows", "weights"], ["influence"]),
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", 4, 4, 1])
    influence = helper.make_tensor_value_info("influence", TensorProto.FLOAT, ["N", 1])
    flat = helper.make_tensor("flat", TensorProto.INT64, [2], [0, 16])
    # The lowest three bytes of the number, exact in float32.
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [16], [0] * 5 + [-65536, -256, -1] + [0] * 8)
    graph = helper.make_graph(nodes, "numbers", [pixels], [influence], [flat, weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"isal.influence.form": "tangent"})
    onnx.save(model, path)


def pixels(number):
    return number.to_bytes(8, "big") + bytes((number * 7 + place) % 251 for place in range(8))


def started(isal, model, harvest):
    command = [isal, "serve", "--influence", model, "--http-port", "0", "--no-grpc", "--json", "--log", "error"]
    command += ["--execution-provider", "cpu", "--harvest", harvest, "--harvest-images", str(LOWEST), "--harvest-sample", "30"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    text = ""
    for line in process.stdout:
        text += line
        if line.rstrip() == "}":
            return process, json.loads(text)["http"]
    raise SystemExit(f"it did not start: {text}")


def client(address, numbers, sent, done):
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        while not done.is_set():
            batch = [next(numbers) for _ in range(8)]
            sent.update(batch)
            body = b"".join(pixels(number) for number in batch)
            head = {"inputs": [{"name": "pixels", "shape": [8, 4, 4, 1], "datatype": "UINT8",
                                "parameters": {"binary_data_size": len(body)}}]}
            text = json.dumps(head).encode()
            headers = {"Inference-Header-Content-Length": str(len(text))}
            connection.request("POST", "/v2/models/numbers/infer", text + body, headers)
            answer = json.loads(connection.getresponse().read())
            expected = [-float(number) for number in batch]
            assert answer["outputs"][0]["data"] == expected, (answer, expected)
    except (OSError, http.client.HTTPException):
        # It was killed.
        pass


def stored(address):
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    return int(re.search(r"^isal_harvest_stored_total (\d+)", text, re.M)[1])


def main():
    isal, kills = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 100
    rng, sent, total, lowest = random.Random(0), set(), 0, 0
    numbers = iter(range(1, 1 << 24))
    lock = threading.Lock()

    def next_number():
        while True:
            with lock:
                yield next(numbers)

    with tempfile.TemporaryDirectory() as folder:
        model, harvest = os.path.join(folder, "numbers.onnx"), os.path.join(folder, "harvest")
        influence_graph(model)
        before = {}
        for kill in range(kills):
            process, address = started(isal, model, harvest)
            done = threading.Event()
            clients = [threading.Thread(target=client, args=(address, next_number(), sent, done)) for _ in range(4)]
            for thread in clients:
                thread.start()
            time.sleep(rng.uniform(0.02, 0.8))
            counted = stored(address)
            time.sleep(rng.uniform(0.0, 0.02))
            process.send_signal(signal.SIGKILL)
            process.wait()
            done.set()
            for thread in clients:
                thread.join()
            total += counted
            out = os.path.join(folder, f"out{kill}")
            subprocess.run([isal, "harvest", "export", harvest, "-o", out, "--quiet"], check=True, stdout=subprocess.DEVNULL)
            rows = [json.loads(line) for line in open(os.path.join(out, "harvest.jsonl"))]
            now = {}
            for row in rows:
                array = np.load(os.path.join(out, row["numbers"]))
                assert array.shape == (4, 4, 1) and array.dtype == np.uint8, array.shape
                data = array.tobytes()
                number = int.from_bytes(data[:8], "big")
                assert number in sent and data == pixels(number), "it was never sent"
                assert row["influence"] == -float(number), row
                assert number not in now, "twice"
                now[number] = row
            low = sorted(row["influence"] for row in now.values() if row["part"] == "lowest")
            # What was there before is there, or gave way to lower ones.
            for number, row in before.items():
                there = number in now or row["part"] == "sample" or len(low) == LOWEST and low[-1] <= row["influence"]
                assert there, f"lost: {row}"
            assert len(low) == LOWEST or len(now) >= counted, (len(now), counted)
            before, lowest = now, len(low)
            subprocess.run(["rm", "-r", out], check=True)
            if (kill + 1) % 10 == 0:
                print(f"{kill + 1} kills, {total} counted as stored, {len(sent)} sent", file=sys.stderr, flush=True)
        size = os.path.getsize(os.path.join(harvest, "harvest.redb"))
    print(json.dumps({"kills": kills, "requests sent": len(sent), "counted as stored": total, "kept at the end": len(before),
                      "of lowest influence": lowest, "lost": 0, "database MiB": round(size / 2**20, 1)}))


main()
