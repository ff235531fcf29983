"""What `isal serve` adds to a model that does nothing, what an influence graph costs beside its model, and whether memory grows.

Usage: overhead.py ISAL [SECONDS [MODEL.onnx INFLUENCE.onnx]]. One client, one connection, the next request when the answer is there; the
time of a plain HTTP answer (`/v2/health/live`) on the same connection is taken off. Memory alone, over so many requests of four clients:
overhead.py ISAL memory REQUESTS.
"""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import onnx
from onnx import TensorProto, helper


def identity(path, sizes):
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes) for name in ("t", "same")]
    graph = helper.make_graph([helper.make_node("Identity", ["t"], ["same"])], "identity", ports[:1], ports[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


class Server:
    def __init__(self, isal, *arguments):
        command = [isal, "serve", *arguments, "--http-port", "0", "--no-grpc", "--json", "--log", "error"]
        command += ["--execution-provider", "cpu", "--poll-seconds", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        text = ""
        for line in self.process.stdout:
            text += line
            if line.rstrip() == "}":
                break
        host, port = json.loads(text)["http"].split(":")
        self.address = (host, int(port))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=60)

    def memory(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            return int(next(line for line in file if line.startswith("VmRSS")).split()[1]) / 1024


def post(path, body, headers=""):
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def raw(model, body):
    return post(f"/v2/models/{model}/infer", body, "Inference-Header-Content-Length: 0\r\n")


def exchange(connection, sent):
    connection.sendall(sent)
    answer = connection.recv(1 << 20)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), answer[:200]
    length = int(re.search(rb"\ncontent-length: (\d+)", head.lower())[1])
    while len(body) < length:
        body += connection.recv(1 << 20)


def times(address, sent, seconds):
    took = []
    with socket.create_connection(address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            began = time.perf_counter()
            exchange(connection, sent)
            took.append(time.perf_counter() - began)
    return np.array(took) * 1e6


def rate(address, sent, clients, seconds):
    counts = [0] * clients

    def work(at):
        counts[at] = len(times(address, sent, seconds))

    threads = [threading.Thread(target=work, args=(at,)) for at in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def noop(isal, folder, seconds):
    path = os.path.join(folder, "noop.onnx")
    identity(path, ["N", 2])
    with Server(isal, "--model", path, "--threads", "1") as server:
        plain = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n"
        asked = raw("noop", np.zeros(2, np.float32).tobytes())
        rounds = []
        times(server.address, asked, 0.5)
        for _ in range(10):
            base, full = (np.percentile(times(server.address, sent, seconds / 20), [50, 99]) for sent in (plain, asked))
            rounds.append((base[0], full[0], full[1]))
        base, full, late = np.median(np.array(rounds), axis=0)
        print(json.dumps({"no-op": {"plain answer p50 us": round(base, 1), "inference p50 us": round(full, 1),
                                    "p99 us": round(late, 1), "added p50 us": round(full - base, 1)}}), flush=True)


def influence(isal, model, graph, seconds):
    with Server(isal, "--model", model, "--influence", graph) as server:
        name = os.path.splitext(os.path.basename(model))[0]
        sizes = onnx.load(model, load_external_data=False).graph.input[0].type.tensor_type.shape.dim[1:]
        body = np.random.default_rng(0).random([size.dim_value for size in sizes], np.float32).tobytes()
        for clients in (1, 8):
            rows = []
            for _ in range(5):
                rows.append([rate(server.address, raw(n, body), clients, seconds / 20) for n in (name, f"{name}-influence")])
            plain, with_influence = np.median(np.array(rows), axis=0)
            ratio = float(np.median([row[1] / row[0] for row in rows]))
            print(json.dumps({"influence": {"clients": clients, "model requests/s": round(plain), "with influence": round(with_influence),
                                            "ratio": round(ratio, 2)}}), flush=True)


def memory(isal, folder, requests):
    path = os.path.join(folder, "shapes.onnx")
    identity(path, ["N", "M"])
    with Server(isal, "--model", path) as server:
        done, counts = threading.Event(), [0] * 4

        def work(at):
            rng = random.Random(at)
            with socket.create_connection(server.address) as connection:
                while not done.is_set():
                    rows, columns = rng.randrange(1, 33), int(10 ** rng.uniform(0, 3.3))
                    data = bytes(4 * rows * columns)
                    said = {"parameters": {"binary_data_output": True}, "inputs": [
                        {"name": "t", "shape": [rows, columns], "datatype": "FP32", "parameters": {"binary_data_size": len(data)}}]}
                    text = json.dumps(said).encode()
                    header = f"Inference-Header-Content-Length: {len(text)}\r\n"
                    exchange(connection, post("/v2/models/shapes/infer", text + data, header))
                    counts[at] += 1

        threads = [threading.Thread(target=work, args=(at,)) for at in range(4)]
        for thread in threads:
            thread.start()
        seen = [(0, round(server.memory(), 1))]
        for tenth in range(1, 11):
            while sum(counts) < requests * tenth // 10:
                assert all(thread.is_alive() for thread in threads), "a client ended"
                time.sleep(0.01)
            seen.append((sum(counts), round(server.memory(), 1)))
        done.set()
        for thread in threads:
            thread.join()
        print(json.dumps({"memory": {"requests": sum(counts), "MiB after so many": seen}}), flush=True)


def main():
    isal = sys.argv[1]
    if sys.argv[2:3] == ["memory"]:
        with tempfile.TemporaryDirectory() as folder:
            return memory(isal, folder, int(sys.argv[3]))
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 20.0
    with tempfile.TemporaryDirectory() as folder:
        noop(isal, folder, seconds)
        if len(sys.argv) > 4:
            influence(isal, sys.argv[3], sys.argv[4], seconds)
        memory(isal, folder, int(seconds * 5000))


main()
