//! What others' programs make of the files: Triton's own messages, and Python's ONNX Runtime (`make test-deploy`).

use crate::bundle::{assert_same, by_isal, digits, influences};
use crate::triton::{run, served};
use std::path::Path;
use std::process::{Command, Output};

fn python(arguments: &[&Path]) -> Output {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(".toolchain/deploy/bin/python");
    let output = Command::new(&program).args(arguments).output();
    output.unwrap_or_else(|e| panic!("{}: {e}: run `make test-deploy`", program.display()))
}

const PARSE: &str = "
import pathlib, sys
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2
import onnxruntime
KINDS = {'tensor(float)': 'TYPE_FP32', 'tensor(int64)': 'TYPE_INT64'}
for path in sorted(pathlib.Path(sys.argv[1]).glob('*/config.pbtxt')):
    config = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
    assert config.name == path.parent.name and config.backend == 'onnxruntime', config
    assert config.HasField('dynamic_batching') and config.version_policy.latest.num_versions == 1, config
    assert config.instance_group[0].count == 1, config
    session = onnxruntime.InferenceSession(path.parent / '1' / config.default_model_filename)
    for theirs, ours in ((session.get_inputs(), config.input), (session.get_outputs(), config.output)):
        assert [value.name for value in theirs] == [value.name for value in ours], (theirs, ours)
        for value, said in zip(theirs, ours):
            assert model_config_pb2.DataType.Name(said.data_type) == KINDS[value.type], (value, said)
            dims = [] if said.HasField('reshape') else list(said.dims)
            assert [d if isinstance(d, int) else -1 for d in value.shape[1:]] == dims, (value, said)
    for output in config.output:
        if output.label_filename:
            names = (path.parent / output.label_filename).read_text().splitlines()
            assert len(names) == output.dims[0], names
    print(config.name, config.max_batch_size)
";

#[test]
#[ignore = "needs tritonclient: make test-deploy"]
fn tritons_own_messages_read_the_configurations_and_say_what_onnx_runtime_says() {
    let place = served();
    let all = ["--model", "model.onnx", "--influence", "influence.onnx", "--shadow", "shadow.onnx", "--name", "bugs"];
    let written = run(&place, &[&["export", "triton", "-o", "repository"], &all[..]].concat());
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let output = python(&[Path::new("-c"), Path::new(PARSE), &place.path("repository")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "bugs 64\nbugs-influence 64\nbugs-shadow 64\n");
}

const MANIFEST: &str = "
import sys, yaml
service = yaml.safe_load(open(sys.argv[1]))
assert service['apiVersion'] == 'serving.kserve.io/v1beta1' and service['kind'] == 'InferenceService', service
assert service['metadata'] == {'name': 'bugs', 'namespace': 'ml'}, service
model = service['spec']['predictor']['model']
assert model['storageUri'] == 's3://bucket/bugs' and model['modelFormat'] == {'name': 'onnx'}, model
assert model['resources'] == {'requests': {'cpu': '2'}, 'limits': {'cpu': '2'}}, model
";

#[test]
#[ignore = "needs a YAML reader: make test-deploy"]
fn a_yaml_reader_finds_the_manifest_as_it_was_meant() {
    let place = served();
    for arguments in [
        &["export", "triton", "--model", "model.onnx", "--name", "bugs", "-o", "repository"][..],
        &[
            "export",
            "kserve",
            "--repository",
            "repository",
            "--storage-uri",
            "s3://bucket/bugs",
            "--name",
            "bugs",
            "--namespace",
            "ml",
            "--cpu",
            "2",
        ],
    ] {
        assert!(run(&place, arguments).status.success());
    }
    let output = python(&[Path::new("-c"), Path::new(MANIFEST), &place.path("bugs.yaml")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
#[ignore = "needs onnxruntime and Pillow: make test-deploy"]
fn the_program_in_python_gives_the_influences_of_a_sweep_resize_and_crop_included() {
    for recipe in ["", "[preprocess]\nresize = 40\ncrop = 28\nfilter = \"bicubic\"\nmean = [0.1307]\nstd = [0.3081]\n"]
    {
        let (place, images) = digits(recipe);
        let paths: Vec<&Path> = images.iter().map(|image| image.as_path()).collect();
        let program = place.path("bundle/score.py");
        let output = python(&[&[program.as_path()], &paths[..]].concat());
        assert_same(&influences(&output), &by_isal(&place, "influence.onnx", &images));
    }
}
