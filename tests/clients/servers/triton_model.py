"""A model of Triton's Python backend that runs the ONNX file beside it."""

import os

import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, args):
        path = os.path.join(args["model_repository"], args["model_version"], "model.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def execute(self, requests):
        return [self.one(request) for request in requests]

    def one(self, request):
        wanted = list(request.requested_output_names())
        given = triton.get_input_tensor_by_name(request, self.input).as_numpy()
        found = self.session.run(wanted, {self.input: given})
        return triton.InferenceResponse([triton.Tensor(name, values) for name, values in zip(wanted, found)])
