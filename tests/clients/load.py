"""Requests per second and latency of `isal serve` beside FastAPI + uvicorn + onnxruntime, on this machine in one run.

Usage: load.py ISAL [SECONDS]. Each client sends one image as raw float32 bytes, waits for the answer, and sends the next; the
clients are threads' worth of asyncio in a process of their own, the same for both servers.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

import numpy as np


async def client(port, head, body, until, took):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < until:
        began = time.perf_counter()
        writer.write(head + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        length = [line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        await reader.readexactly(int(length[0].split(b":")[1]))
        took.append(time.perf_counter() - began)
    writer.close()


async def measure(port, head, body, clients, seconds):
    took = []
    began = time.perf_counter()
    await asyncio.gather(*[client(port, head, body, began + seconds, took) for _ in range(clients)])
    spent = time.perf_counter() - began
    p50, p99 = np.percentile(np.array(took) * 1000, [50, 99])
    return len(took) / spent, p50, p99


def wait_for(port):
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"nothing listens at {port}")


def main():
    isal, seconds = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 5.0
    here = os.path.dirname(os.path.abspath(__file__))
    threads = str(os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder:
        for network, shape in (("lenet", (1, 28, 28)), ("resnet8", (3, 32, 32))):
            model = os.path.join(folder, f"{network}.onnx")
            subprocess.run([isal, "model", "new", network, "-o", model, "--quiet"], check=True)
            body = np.random.default_rng(0).random(shape, np.float32).tobytes()
            ours = subprocess.Popen(
                [isal, "serve", "--model", model, "--http-port", "18000", "--no-grpc", "--json"]
                + ["--execution-provider", "cpu", "--poll-seconds", "0", "--log", "error", "--threads", threads],
                stdout=subprocess.DEVNULL,
            )
            environment = {**os.environ, "MODEL": model, "THREADS": threads}
            uvicorn = [sys.executable, "-m", "uvicorn", "plain:app", "--port", "18001", "--log-level", "error"]
            plain = subprocess.Popen([*uvicorn, "--app-dir", here], env=environment)
            try:
                wait_for(18000), wait_for(18001)
                extra = b"Inference-Header-Content-Length: 0\r\n"
                head = "POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n"
                heads = {
                    "isal": (18000, head.format(f"/v2/models/{network}/infer", len(body)).encode() + extra + b"\r\n"),
                    "FastAPI": (18001, head.format("/infer", len(body)).encode() + b"\r\n"),
                }
                for port, head in heads.values():
                    asyncio.run(measure(port, head, body, 4, 1.0))
                for clients in (1, 8, 64):
                    row = {"network": network, "clients": clients}
                    for name, (port, head) in heads.items():
                        rate, p50, p99 = asyncio.run(measure(port, head, body, clients, seconds))
                        row[name] = {"requests/s": round(rate, 1), "p50 ms": round(p50, 3), "p99 ms": round(p99, 3)}
                    row["requests/s, ratio"] = round(row["isal"]["requests/s"] / row["FastAPI"]["requests/s"], 2)
                    row["p99, ratio"] = round(row["isal"]["p99 ms"] / row["FastAPI"]["p99 ms"], 2)
                    print(json.dumps(row), flush=True)
            finally:
                for process in (ours, plain):
                    process.send_signal(signal.SIGINT)
                    process.wait(timeout=60)


main()
