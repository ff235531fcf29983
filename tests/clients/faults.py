"""Damaged requests and ill-behaved clients against `isal serve`, which must go on and answer the others rightly.

Usage: faults.py ISAL [REQUESTS]. Sends damaged requests from a seed, with clients that hang, half-close and trickle bytes
beside them and one whose every answer is checked. Prints the codes that came, and memory before and after.
"""

import collections
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time


def body(rng, plain=False):
    rows = rng.choice([1, 1, 2, 5])
    data = [round(rng.random(), 3) for _ in range(rows * 784)]
    said = {"inputs": [{"name": "images", "shape": [rows, 1, 28, 28], "datatype": "FP32", "data": data}]}
    if not plain and rng.random() < 0.3:
        said["outputs"] = [{"name": "logits", "parameters": {"classification": rng.randrange(-1, 5)}}]
    return json.dumps(said).encode()


def damage(rng, text):
    text = bytearray(text)
    for _ in range(rng.randrange(0, 8)):
        at = rng.randrange(len(text)) if text else 0
        kind = rng.randrange(6)
        if kind == 0 and text:
            text[at] = rng.randrange(256)
        elif kind == 1:
            del text[at : at + rng.randrange(1, 2000)]
        elif kind == 2:
            text[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 20)))
        elif kind == 3:
            text[at:at] = rng.choice([b"[" * 200, b"{}", b"1e999", b"-1", b"9" * 40, b'"\\ud800"', b"null", b"\0"])
        elif kind == 4:
            text[at:at] = text[: rng.randrange(1, 400)]
        elif kind == 5:
            text = text[: at + 1]
    return bytes(text)


def whole(rng, address):
    text = body(rng)
    if rng.random() < 0.8:
        text = damage(rng, text)
    path = rng.choice(["/v2/models/lenet/infer"] * 9 + ["/v2/models/../infer", "/v2/repository/index", "/v2/models/lenet"])
    length = len(text) if rng.random() < 0.95 else rng.choice([0, len(text) // 2, 1 << 40])
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n"
    if rng.random() < 0.2:
        head += f"Inference-Header-Content-Length: {rng.choice([0, 1, len(text) // 2, len(text) + 1, -1, 1 << 70])}\r\n"
    if rng.random() < 0.1:
        head += f"Content-Encoding: {rng.choice(['gzip', 'deflate', 'br', 'identity'])}\r\n"
    head = head.encode() + b"\r\n"
    return (damage(rng, head) if rng.random() < 0.1 else head) + text


def send(address, sent):
    with socket.create_connection(address, timeout=5) as connection:
        try:
            connection.sendall(sent)
            return connection.recv(64)[9:12].decode(errors="replace") or "closed"
        except TimeoutError:
            # It waits for the rest of what was announced, rightly.
            return "waits"
        except OSError:
            return "closed"


def memory(process):
    with open(f"/proc/{process.pid}/status") as file:
        return int(next(line for line in file if line.startswith("VmRSS")).split()[1]) // 1024


def main():
    isal, requests = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20_000
    with tempfile.TemporaryDirectory() as folder:
        model = os.path.join(folder, "lenet.onnx")
        subprocess.run([isal, "model", "new", "lenet", "-o", model, "--quiet"], check=True, stdout=subprocess.DEVNULL)
        command = [isal, "serve", "--model", model, "--http-port", "18002", "--no-grpc", "--json", "--log", "error"]
        process = subprocess.Popen([*command, "--execution-provider", "cpu"], stdout=subprocess.PIPE, text=True)
        for line in process.stdout:
            if line.rstrip() == "}":
                break
        address = ("127.0.0.1", 18002)
        codes, wrong, checked, done = collections.Counter(), [], [0], threading.Event()

        def honest():
            rng = random.Random(1)
            text = body(rng, plain=True)
            head = b"POST /v2/models/lenet/infer HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            first = None
            while not done.is_set():
                with socket.create_connection(address, timeout=60) as connection:
                    connection.sendall(head % len(text) + text)
                    answer = b"".join(iter(lambda: connection.recv(65536), b""))
                answer = json.loads(answer.split(b"\r\n\r\n", 1)[1])
                values = answer["outputs"][0]["data"] if "outputs" in answer else None
                first = first or values
                # A batch with others may be summed in another order.
                same = values and all(abs(a - b) < 1e-4 for a, b in zip(values, first))
                checked[0] += 1
                if not same:
                    wrong.append(answer)

        def ill():
            held = []
            while not done.is_set():
                connection = socket.create_connection(address, timeout=60)
                held.append(connection)
                try:
                    connection.sendall(b"POST /v2/models/lenet/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n{")
                    if len(held) % 2:
                        connection.shutdown(socket.SHUT_WR)
                    for old in held[-20:]:
                        old.send(b" ")
                except OSError:
                    pass
                if len(held) > 100:
                    held.pop(0).close()
                time.sleep(0.1)

        def damaged(seed, count):
            rng = random.Random(seed)
            for _ in range(count):
                codes[send(address, whole(rng, address))] += 1

        damaged(0, 500)
        before = memory(process)
        others = [threading.Thread(target=work, daemon=True) for work in (honest, ill)]
        clients = [threading.Thread(target=damaged, args=(seed, requests // 4)) for seed in range(1, 5)]
        for thread in others + clients:
            thread.start()
        for thread in clients:
            thread.join()
        done.set()
        others[0].join()
        after = memory(process)
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=60)
        print(json.dumps({"requests": sum(codes.values()), "codes": dict(sorted(codes.items())), "honest": checked[0],
                          "honest answers wrong": len(wrong), "MiB before": before, "MiB after": after, "exit": code}))
        sys.exit(1 if wrong or code else 0)


main()
