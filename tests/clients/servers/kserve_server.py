"""KServe's own server with a model class that runs an ONNX file: kserve_server.py FILE.onnx NAME HTTP_PORT GRPC_PORT."""

import sys

import onnxruntime
from kserve import InferOutput, InferResponse, Model, ModelServer

KINDS = {"tensor(float)": "FP32", "tensor(int64)": "INT64", "tensor(bool)": "BOOL"}


class Onnx(Model):
    def __init__(self, name, path):
        super().__init__(name)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.ready = True

    def ports(self, ports):
        def size(size):
            return size if isinstance(size, int) else -1

        return [{"name": p.name, "datatype": KINDS[p.type], "shape": [size(s) for s in p.shape]} for p in ports]

    async def get_input_types(self):
        return self.ports(self.session.get_inputs())

    async def get_output_types(self):
        return self.ports(self.session.get_outputs())

    def predict(self, payload, headers=None, response_headers=None):
        wanted = [output.name for output in payload.request_outputs or []]
        wanted = wanted or [output.name for output in self.session.get_outputs()]
        found = self.session.run(wanted, {given.name: given.as_numpy() for given in payload.inputs})
        kinds = {output.name: KINDS[output.type] for output in self.session.get_outputs()}
        outputs = []
        for name, values in zip(wanted, found):
            output = InferOutput(name, list(values.shape), kinds[name])
            output.set_data_from_numpy(values, binary_data=False)
            outputs.append(output)
        return InferResponse(payload.id, self.name, outputs)


if __name__ == "__main__":
    path, name, http, grpc = sys.argv[1:]
    ModelServer(http_port=int(http), grpc_port=int(grpc), workers=1).start([Onnx(name, path)])
