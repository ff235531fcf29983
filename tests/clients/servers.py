"""`isal score pool --server` against servers that others wrote: KServe's own (Python), and Triton.

Usage: servers.py ISAL DIGITS.csv.gz TRITON, the last an environment of Python with `nvidia-pytriton`. Both run the influence graph that a sweep here left, on Python's onnxruntime; the scores have
to be those of that sweep. Triton is the program inside the package `nvidia-pytriton`, which has its Python backend alone. Prints a
line a check; exits with 1 if one fails.
"""

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import urllib.request

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
POOL = ["--pool", "digits/pool", "--budget", "20", "--batch-size", "32", "--threads", "1"]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class KServe:
    """Its version is what it says of itself."""

    name, model = "kserve", "digits-influence"

    def __init__(self, folder):
        self.http, self.grpc = free_port(), free_port()
        self.folder = folder

    def command(self):
        script = os.path.join(HERE, "servers/kserve_server.py")
        graph = os.path.join(self.folder, "here/influence.onnx")
        return [sys.executable, script, graph, self.model, str(self.http), str(self.grpc)], {}


class Triton:
    name, model = "triton", "digits-influence"

    def __init__(self, folder):
        self.http, self.grpc = free_port(), free_port()
        self.environment = os.path.abspath(sys.argv[3])
        site = sysconfig.get_paths(vars={"base": self.environment})["purelib"]
        self.home = os.path.join(site, "pytriton/tritonserver")
        self.libraries = os.path.join(site, "nvidia_pytriton.libs")
        self.backends = os.path.join(folder, "backends")
        own = os.path.join(self.backends, "python")
        shutil.copytree(os.path.join(self.home, "backends/python"), own, ignore=shutil.ignore_patterns("__pycache__"))
        stub = f"python_backend_stubs/{sys.version_info[0]}.{sys.version_info[1]}/triton_python_backend_stub"
        shutil.copy(os.path.join(self.home, stub), own)
        self.repository = os.path.join(folder, "repository")
        # As `isal export triton` lays it out, but for what runs it: this Triton has no backend of ONNX Runtime.
        version = os.path.join(self.repository, self.model, "1")
        shutil.copy(os.path.join(HERE, "servers/triton_model.py"), os.path.join(version, "model.py"))
        config = os.path.join(self.repository, self.model, "config.pbtxt")
        with open(config) as file:
            text = file.read()
        assert 'backend: "onnxruntime"' in text, text
        with open(config, "w") as file:
            file.write(text.replace('backend: "onnxruntime"', 'backend: "python"').replace("model.onnx", "model.py"))

    def command(self):
        ports = ["--http-port", str(self.http), "--grpc-port", str(self.grpc), "--allow-metrics", "false"]
        program = os.path.join(self.home, "bin/tritonserver")
        command = [program, "--model-repository", self.repository, "--backend-directory", self.backends, *ports]
        path = os.pathsep.join([os.path.join(self.environment, "bin"), os.environ["PATH"]])
        return command, {"LD_LIBRARY_PATH": self.libraries, "PATH": path}


def started(server, log):
    command, environment = server.command()
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=log, stderr=log, start_new_session=True
    )
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{server.http}/v2/models/{server.model}/ready").read()
            socket.create_connection(("127.0.0.1", server.grpc)).close()
            return process
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.2)
    stop(process)
    raise SystemExit(f"{server.name} did not start: see {log.name}:\n{open(log.name).read()[-2000:]}")


def stop(process, how=signal.SIGKILL):
    """The server with the processes that it started."""
    if process.poll() is None:
        os.killpg(process.pid, how)
    process.wait()


def scores(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["id"] for row in rows], np.array([float(row["influence"]) for row in rows])


class Sweep:
    def __init__(self, isal, folder):
        self.isal, self.folder = isal, folder
        self.ids, self.expected = scores(os.path.join(folder, "here/scores.csv"))

    def run(self, server, scheme, out, *more):
        port = server.grpc if scheme == "grpc" else server.http
        request = [self.isal, "score", "pool", "--influence", "here/influence.onnx", *POOL, "-o", out]
        request += ["--scores", f"{out}/scores.csv", "--server", f"{scheme}://127.0.0.1:{port}"]
        request += ["--server-model", server.model, *more]
        return subprocess.run(request, cwd=self.folder, capture_output=True, text=True)

    def agrees(self, out):
        ids, found = scores(os.path.join(self.folder, out, "scores.csv"))
        assert ids == self.ids
        # The same ONNX Runtime with as many threads and as many images a run; what is left is a share of the largest influence.
        apart = np.abs(found - self.expected).max() / np.abs(self.expected).max()
        assert apart < 1e-4, apart
        return f"{len(ids)} scores, {apart:.1e} of the largest apart"


def transport(sweep, server, scheme):
    out = f"{server.name}-{scheme}"
    ran = sweep.run(server, scheme, out)
    assert ran.returncode == 0, ran.stderr
    with open(os.path.join(sweep.folder, out, "run.json")) as file:
        engine = json.load(file)["provenance"]["engine"]
    return f"{sweep.agrees(out)}; {engine}"


def refused(sweep, server, scheme):
    other = type(server).__new__(type(server))
    other.__dict__.update(server.__dict__, model="absent")
    ran = sweep.run(other, scheme, "refused")
    assert ran.returncode == 2 and "absent" in ran.stderr, (ran.returncode, ran.stderr)
    return ran.stderr.strip().splitlines()[-1]


def killed(sweep, server, scheme, process, log):
    """Killed in the middle of a sweep, and started again a moment later."""
    out = f"{server.name}-{scheme}-killed"
    parts = os.path.join(sweep.folder, out, "parts")
    again = []

    def kill():
        while not (os.path.isdir(parts) and any(name.endswith(".parquet") for name in os.listdir(parts))):
            time.sleep(0.001)
        stop(process)
        time.sleep(1)
        again.append(started(server, log))

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    ran = sweep.run(server, scheme, out)
    assert ran.returncode == 0, ran.stderr
    thread.join()
    assert "answers again" in ran.stderr, ran.stderr
    return again[0], sweep.agrees(out)


def main():
    isal, digits = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        run = lambda *arguments: subprocess.run([isal, *arguments, "--quiet"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        run("data", "unpack", digits, "-o", "digits", "--divide", "labeled=200", "--divide", "pool=rest")
        run("model", "new", "lenet", "-o", "model.onnx")
        run("score", "pool", "--model", "model.onnx", "--labeled", "digits/labeled", *POOL, "-o", "here", "--scores", "here/scores.csv")
        run("export", "triton", "--influence", "here/influence.onnx", "--name", "digits", "-o", "repository")
        sweep = Sweep(isal, folder)
        for kind in (KServe, Triton):
            server = kind(folder)
            with open(os.path.join(folder, f"{server.name}.log"), "w") as log:
                process = started(server, log)
                try:
                    for scheme in ("http", "grpc"):
                        for check in (transport, refused, killed):
                            try:
                                if check is killed:
                                    process, said = killed(sweep, server, scheme, process, log)
                                else:
                                    said = check(sweep, server, scheme)
                                print(f"ok      {server.name} {scheme} {check.__name__}: {said}", flush=True)
                            except AssertionError as error:
                                failed += 1
                                print(f"FAILED  {server.name} {scheme} {check.__name__}: {error}", flush=True)
                finally:
                    stop(process)
    sys.exit(1 if failed else 0)


main()
