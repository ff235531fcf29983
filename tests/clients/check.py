"""`isal serve` against clients that others wrote: Triton's (HTTP and gRPC) and its perf_analyzer, KServe's, gRPC's health client, Prometheus'
parser.

Usage: check.py ISAL. Every answer is held against Python's onnxruntime on the same file. Prints a line a check; exits with 1 if
one fails.
"""

import asyncio
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import urllib.request

import grpc
import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import tritonclient.grpc as tgrpc
import tritonclient.grpc.aio as tgrpc_aio
import tritonclient.http as thttp
import tritonclient.http.aio as thttp_aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from onnx import TensorProto, helper
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.utils import InferenceServerException

CHECKS = []


class Skipped(Exception):
    """What a check needs is not here."""


def check(function):
    CHECKS.append(function)
    return function


def identity(path, kind):
    """`t` [N, 2] -> `same` [N, 2]."""
    node = helper.make_node("Identity", ["t"], ["same"])
    ports = [helper.make_tensor_value_info(name, kind, ["N", 2]) for name in ("t", "same")]
    graph = helper.make_graph([node], "identity", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    os.makedirs(os.path.dirname(path))
    onnx.save(model, path)


class Server:
    def __init__(self, isal, folder):
        self.models = os.path.join(folder, "models")
        lenet = os.path.join(self.models, "lenet/1/model.onnx")
        os.makedirs(os.path.dirname(lenet))
        subprocess.run([isal, "model", "new", "lenet", "-o", lenet, "--quiet"], check=True)
        with open(os.path.join(self.models, "lenet/config.pbtxt"), "w") as file:
            file.write(
                'max_batch_size: 16 dynamic_batching { max_queue_delay_microseconds: 500 } instance_group { count: 2 }\n'
                'output { name: "logits" data_type: TYPE_FP32 dims: 10 label_filename: "labels.txt" }\n'
            )
        with open(os.path.join(self.models, "lenet/labels.txt"), "w") as file:
            file.write("".join(f"digit {label}\n" for label in range(10)))
        for name in ("STRING", "BFLOAT16", "FLOAT16", "INT64"):
            identity(os.path.join(self.models, name, "1/model.onnx"), getattr(TensorProto, name))
        command = [isal, "serve", "--repository", self.models, "--http-port", "0", "--grpc-port", "0", "--json"]
        self.process = subprocess.Popen(
            [*command, "--allow-load", "--execution-provider", "cpu"], stdout=subprocess.PIPE, text=True
        )
        text = ""
        for line in self.process.stdout:
            text += line
            if line.rstrip() == "}":
                break
        said = json.loads(text)
        self.http, self.grpc = said["http"], said["grpc"]
        self.session = onnxruntime.InferenceSession(lenet, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        self.images = np.random.default_rng(0).random((4, 1, 28, 28), np.float32)
        self.expected = self.session.run(["logits"], {self.input: self.images})[0]

    def agrees(self, found):
        # Another thread count may sum in another order.
        np.testing.assert_allclose(found, self.expected, rtol=1e-4, atol=1e-5)

    def given(self, module, binary=True):
        given = module.InferInput(self.input, self.images.shape, "FP32")
        if module in (thttp, thttp_aio):
            given.set_data_from_numpy(self.images, binary_data=binary)
        else:
            given.set_data_from_numpy(self.images)
        return [given]


@check
def triton_http_server_and_model(s):
    client = thttp.InferenceServerClient(s.http)
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("lenet", "1")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata("lenet")
    assert metadata["inputs"] == [{"name": s.input, "datatype": "FP32", "shape": [-1, 1, 28, 28]}], metadata
    config = client.get_model_config("lenet")
    assert config["max_batch_size"] == 16 and config["input"][0]["dims"] == [1, 28, 28], config
    assert {m["name"] for m in client.get_model_repository_index()} >= {"lenet", "STRING"}
    assert client.get_inference_statistics("lenet")["model_stats"][0]["name"] == "lenet"


@check
def triton_http_json_and_binary(s):
    client = thttp.InferenceServerClient(s.http)
    for given in (True, False):
        for wanted in (True, False):
            outputs = [thttp.InferRequestedOutput("logits", binary_data=wanted)]
            answer = client.infer("lenet", s.given(thttp, given), outputs=outputs, request_id="17")
            s.agrees(answer.as_numpy("logits"))
            assert answer.get_response()["id"] == "17"


@check
def triton_http_compressed(s):
    client = thttp.InferenceServerClient(s.http)
    for one in ("gzip", "deflate", None):
        for other in ("gzip", "deflate", None):
            answer = client.infer(
                "lenet",
                s.given(thttp),
                request_compression_algorithm=one,
                response_compression_algorithm=other,
            )
            s.agrees(answer.as_numpy("logits"))


@check
def triton_http_asynchronous(s):
    client = thttp.InferenceServerClient(s.http, concurrency=8)
    pending = [client.async_infer("lenet", s.given(thttp)) for _ in range(64)]
    for request in pending:
        s.agrees(request.get_result().as_numpy("logits"))

    async def run():
        async with thttp_aio.InferenceServerClient(s.http) as client:
            answers = await asyncio.gather(*[client.infer("lenet", s.given(thttp_aio)) for _ in range(32)])
        for answer in answers:
            s.agrees(answer.as_numpy("logits"))

    asyncio.run(run())


@check
def triton_classification(s):
    order = np.argsort(-s.expected, axis=1)[:, :3]
    http = thttp.InferenceServerClient(s.http)
    outputs = [thttp.InferRequestedOutput("logits", class_count=3)]
    of_http = http.infer("lenet", s.given(thttp), outputs=outputs).as_numpy("logits")
    client = tgrpc.InferenceServerClient(s.grpc)
    outputs = [tgrpc.InferRequestedOutput("logits", class_count=3)]
    of_grpc = client.infer("lenet", s.given(tgrpc), outputs=outputs).as_numpy("logits")
    for found in (of_http, of_grpc):
        assert found.shape == (4, 3), found.shape
        for row, classes in zip(found, order):
            parts = [text.decode().split(":") for text in row]
            assert [int(part[1]) for part in parts] == list(classes)
            assert [part[2] for part in parts] == [f"digit {label}" for label in classes]


@check
def triton_types(s):
    cases = [
        ("STRING", "BYTES", np.array([["é", "a"], ["", "longer"]], dtype=np.object_)),
        ("FLOAT16", "FP16", np.array([[0.5, -2.0]], np.float16)),
        ("BFLOAT16", "BF16", np.array([[1.5, -3.0]], ml_dtypes.bfloat16)),
        ("INT64", "INT64", np.array([[-(2**63), 2**63 - 1]], np.int64)),
    ]
    for model, datatype, values in cases:
        for module, client in (
            (thttp, thttp.InferenceServerClient(s.http)),
            (tgrpc, tgrpc.InferenceServerClient(s.grpc)),
        ):
            given = module.InferInput("t", values.shape, datatype)
            given.set_data_from_numpy(values)
            found = client.infer(model, [given]).as_numpy("same")
            if datatype == "BYTES":
                found = np.vectorize(bytes.decode, otypes=[object])(found)
            assert (found == values).all(), (model, found)


@check
def triton_grpc(s):
    client = tgrpc.InferenceServerClient(s.grpc)
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("lenet")
    assert client.get_server_metadata().name == "isal"
    assert list(client.get_model_metadata("lenet").inputs[0].shape) == [-1, 1, 28, 28]
    assert client.get_model_config("lenet").config.dynamic_batching.max_queue_delay_microseconds == 500
    for algorithm in (None, "gzip", "deflate"):
        answer = client.infer("lenet", s.given(tgrpc), compression_algorithm=algorithm, request_id="x")
        s.agrees(answer.as_numpy("logits"))
        assert answer.get_response().id == "x"
    assert client.get_inference_statistics("lenet").model_stats[0].inference_count > 0
    assert {model.name for model in client.get_model_repository_index().models} >= {"lenet"}


@check
def triton_grpc_asynchronous_and_streaming(s):
    client = tgrpc.InferenceServerClient(s.grpc)
    answers = queue.Queue()
    for _ in range(32):
        client.async_infer("lenet", s.given(tgrpc), callback=lambda result, error: answers.put((result, error)))
    for _ in range(32):
        result, error = answers.get(timeout=60)
        assert error is None, error
        s.agrees(result.as_numpy("logits"))
    client.start_stream(callback=lambda result, error: answers.put((result, error)))
    for at in range(20):
        client.async_stream_infer("lenet", s.given(tgrpc), request_id=str(at), enable_empty_final_response=True)
    client.async_stream_infer("absent", s.given(tgrpc), request_id="absent")
    for at in range(20):
        result, error = answers.get(timeout=60)
        assert error is None and result.get_response().id == str(at), (error, at)
        assert result.get_response().parameters["triton_final_response"].bool_param
        s.agrees(result.as_numpy("logits"))
    result, error = answers.get(timeout=60)
    assert "unknown model" in str(error), error
    client.stop_stream()

    async def run():
        async with tgrpc_aio.InferenceServerClient(s.grpc) as client:
            for answer in await asyncio.gather(*[client.infer("lenet", s.given(tgrpc_aio)) for _ in range(32)]):
                s.agrees(answer.as_numpy("logits"))

    asyncio.run(run())


@check
def triton_errors_are_told_apart(s):
    for module, client in (
        (thttp, thttp.InferenceServerClient(s.http)),
        (tgrpc, tgrpc.InferenceServerClient(s.grpc)),
    ):
        for model, change, says in (("absent", None, "unknown model"), ("lenet", [4, 28, 28, 1], "expected")):
            given = s.given(module)
            if change:
                given[0] = module.InferInput(s.input, change, "FP32")
                given[0].set_data_from_numpy(s.images.reshape(change))
            try:
                client.infer(model, given)
            except InferenceServerException as error:
                assert says in str(error), error
            else:
                raise AssertionError(f"{model} {change} was answered")


@check
def triton_repository(s):
    client = thttp.InferenceServerClient(s.http)
    client.unload_model("INT64")
    assert not client.is_model_ready("INT64")
    client.load_model("INT64")
    assert client.is_model_ready("INT64")
    client = tgrpc.InferenceServerClient(s.grpc)
    client.unload_model("INT64")
    client.load_model("INT64")
    assert client.is_model_ready("INT64")


@check
def kserve_client(s):
    file = os.path.join(os.path.dirname(s.models), "expected.npz")
    np.savez(file, name=s.input, images=s.images, expected=s.expected)
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kserve_client.py")
    run = subprocess.run([sys.executable, script, s.http, s.grpc, file], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@check
def grpc_health(s):
    with grpc.insecure_channel(s.grpc) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "inference.GRPCInferenceService"):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


@check
def prometheus_parser(s):
    text = urllib.request.urlopen(f"http://{s.http}/metrics").read().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    wanted = ["success", "failure", "duration_us"]
    wanted = [f"nv_inference_request_{name}" for name in wanted] + ["nv_inference_count", "isal_batch_rows"]
    assert not [name for name in wanted if name not in families], sorted(families)
    rows = {tuple(sorted(one.labels.items())): one.value for one in families["nv_inference_count"].samples}
    assert rows[(("model", "lenet"), ("version", "1"))] > 0


@check
def perf_analyzer(s):
    """Triton's load generator, which reads metadata, configuration and statistics on its way."""
    beside = os.path.join(os.path.dirname(sys.executable), "perf_analyzer")
    program = os.environ.get("PERF_ANALYZER", beside)
    if not os.path.exists(program):
        raise Skipped("no perf_analyzer here (its package needs glibc 2.38): name one with PERF_ANALYZER")
    # So many requests, however steady they are.
    brief = ["-b", "4", "--concurrency-range", "2", "--request-count", "200"]
    for address, how in ((s.http, ["http"]), (s.grpc, ["grpc"]), (s.grpc, ["grpc", "--streaming"])):
        command = [program, "-m", "lenet", "-u", address, *brief, "-i", *how]
        run = subprocess.run(command, capture_output=True, text=True)
        counted = [line for line in run.stdout.splitlines() if "Successful request count:" in line]
        assert run.returncode == 0 and counted, run.stdout + run.stderr
        assert int(counted[-1].split(":")[1]) > 0, counted
        assert "fail" not in run.stdout.lower(), run.stdout


@check
def openapi_description(s):
    """What schemathesis makes of our description; no answer is outside it, and none is a failure of the server."""
    program = os.path.join(os.path.dirname(sys.executable), "schemathesis")
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method"
    command = [program, "run", f"http://{s.http}/openapi.json", "--checks", checks, "--max-examples", "20", "--seed", "1"]
    # It would unload the models that the other checks ask.
    command += ["--phases", "examples,coverage,fuzzing", "--continue-on-failure", "--exclude-path-regex", "load$"]
    # It leaves a cache where it runs.
    run = subprocess.run(command, capture_output=True, text=True, cwd=os.path.dirname(s.models))
    assert run.returncode == 0, run.stdout[-5000:]


def main():
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        server = Server(sys.argv[1], folder)
        try:
            for function in CHECKS:
                try:
                    function(server)
                    print(f"ok      {function.__name__}")
                except Skipped as reason:
                    print(f"skipped {function.__name__}: {reason}")
                except Exception as error:
                    failed += 1
                    print(f"FAILED  {function.__name__}: {type(error).__name__}: {error}")
        finally:
            server.process.send_signal(signal.SIGINT)
            code = server.process.wait(timeout=60)
    if code != 0:
        failed += 1
        print(f"FAILED  the server ended with {code}")
    print(f"{len(CHECKS) - failed} of {len(CHECKS)} checks hold")
    sys.exit(1 if failed else 0)


main()
