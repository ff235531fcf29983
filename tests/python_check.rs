//! Influence graphs in other hands: ONNX's own checker, and ONNX Runtime as Python calls it.
//!
//! Needs ONNX Runtime, and the Python of `toolchain/setup conformance` with `onnx`, `onnxruntime` and NumPy.

#[path = "fixtures/classes.rs"]
mod classes;
#[allow(dead_code, reason = "shared with tests that run the networks")]
#[path = "fixtures/networks.rs"]
mod networks;

use classes::Classes;
use isal::runtime::{ExecutionProvider, Library, Session, SessionOptions};
use isal_exporters::{build, seeded, zoo};
use isal_onnx::influence::{Difference, Direction, INFLUENCE, INFLUENCE_PER_CLASS, Paired, TangentOptions};
use isal_onnx::tangent::Target;
use isal_onnx::testing::rounding::{Float32, moved};
use isal_onnx::{Model, Scope, Tensor};
use ndarray::{Array4, ArrayD};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Weights above which a fixture is left out: its files would take hundreds of MB.
const SMALL: usize = 10_000_000;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a script with arguments on the toolchain's Python; gives what it prints.
fn python(script: &str, arguments: &[&Path]) -> String {
    let program = root().join(".toolchain/venv/bin/python");
    let output = Command::new(&program).args(["-c", script]).args(arguments).output();
    let output = output.unwrap_or_else(|e| panic!("{}: {e}: run `toolchain/setup conformance`", program.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// A network of the zoo, or a fixture, with seeded weights.
fn network(name: &str) -> Model {
    let fixture = root().join("tests/fixtures/models").join(name).join("model.onnx");
    if fixture.exists() {
        let mut model = Model::read(fixture).expect("a model");
        seeded::fill(&mut model).expect("a structure to fill");
        return model;
    }
    let entry = zoo().iter().find(|entry| entry.name == name).expect("a fixture or a model of the zoo");
    let mut model = build(name, &entry.defaults).expect("built");
    seeded::overwrite(&mut model, 0, 0.8);
    model
}

/// A direction over the weights, of entries as large as theirs.
fn direction(model: &Model) -> Direction {
    let names = model.graph.parameters(&Scope::Weights).expect("weights");
    let block = |name: String| {
        let dims = model.graph.initializers[name.as_str()].dims();
        let values = seeded::uniform(2, &name, dims.iter().product(), -0.1..0.1);
        (name.clone(), Tensor::new(dims, &values))
    };
    names.into_iter().map(block).collect()
}

/// The tangent and the paired graph, every output that there can be asked for.
fn graphs(model: &Model) -> [(&'static str, Model); 3] {
    let s = [direction(model)];
    let logits = model.graph.outputs[0].name.clone();
    let embedding = false;
    let options = Classes { logits, classes: 10, top_k: 3, per_class: true, embedding };
    let for_cpu = TangentOptions { target: Target::Cpu, ..TangentOptions::default() };
    let how = Paired { relative_step: 1e-4, difference: Difference::Central };
    [
        ("tangent", options.tangent(model, &s, TangentOptions::default()).expect("a tangent graph")),
        ("tangent for a CPU", options.tangent(model, &s, for_cpu).expect("a tangent graph")),
        ("paired", options.paired(model, &s, how).expect("a paired graph")),
    ]
}

const RUN: &str = "
import sys, numpy, onnxruntime
model, images, folder = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])
images = numpy.load(images)
for name, value in zip(['influence', 'influence_per_class'], session.run(['influence', 'influence_per_class'], {session.get_inputs()[0].name: images})):
    value.astype('<f4').tofile(f'{folder}/{name}')
print(onnxruntime.__version__)
";

/// The images as a `.npy` file, by NumPy's description of the format (version 1.0).
fn npy(images: &Array4<f32>, path: &Path) {
    let [n, c, h, w] = images.shape() else { panic!("four axes") };
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({n}, {c}, {h}, {w}), }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(images.iter().flat_map(|x| x.to_le_bytes()));
    fs::write(path, bytes).expect("written");
}

fn floats(path: PathBuf) -> Vec<f32> {
    let bytes = fs::read(path).expect("an output");
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

#[test]
fn pythons_onnx_runtime_gives_the_influences_that_we_give() {
    let library = Library::load(None).expect("ONNX Runtime: run `make setup`");
    for (name, size) in [("resnet20", 32), ("resnet18", 32), ("mobilevit_xxs.dynamo", 64)] {
        let dims = [6, 3, size, size];
        let images = seeded::images(4, dims).to_vec().expect("float32");
        let images = Array4::from_shape_vec(dims, images).expect("as many pixels");
        for (form, graph) in graphs(&network(name)) {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let (path, pixels) = (folder.path().join("influence.onnx"), folder.path().join("images.npy"));
            graph.write(&path).expect("written");
            npy(&images, &pixels);
            let options = SessionOptions { provider: ExecutionProvider::Cpu, threads: 1 };
            let mut session = Session::open(&library, &path, options).expect("a session");
            let names = [INFLUENCE, INFLUENCE_PER_CLASS];
            let ours: Vec<ArrayD<f32>> = session.run(images.view(), &names).expect("it runs");
            let float32 = names.map(|name| {
                Float32::measure(|draw| {
                    let pixels = images.as_slice().expect("in order");
                    let pixels = draw.map_or_else(|| pixels.to_vec(), |draw| moved(pixels, draw));
                    let images = Array4::from_shape_vec(dims, pixels).expect("as many pixels");
                    Ok::<_, ()>(session.run(images.view(), &[name]).expect("it runs").remove(0).into_iter().collect())
                })
            });
            let version = python(RUN, &[&path, &pixels, folder.path()]);
            for ((output, ours), float32) in names.iter().zip(ours).zip(float32) {
                let theirs = floats(folder.path().join(output));
                assert_eq!(theirs.len(), ours.len(), "{name}, {form}, `{output}`");
                let scale = ours.iter().fold(0.0_f32, |a, x| a.max(x.abs()));
                assert!(scale > 0.0, "{name}, {form}: influences that are all zero prove nothing");
                // Both call the same kernels in one thread: of one version, the bits are alike.
                let same = ours.iter().eq(theirs.iter());
                let theirs: Vec<f64> = theirs.into_iter().map(f64::from).collect();
                let off = float32.expect("influences").off(&theirs);
                println!(
                    "{name} {form} {output}: {off:.2} of what float32 explains, same bits: {same}, Python's {}",
                    version.trim()
                );
                assert!(off <= 1.0, "{name}, {form}, `{output}`: {off:.2} times what float32 explains");
            }
        }
    }
}

const CHECK: &str = "
import pathlib, sys, onnx
for path in sorted(pathlib.Path(sys.argv[1]).glob('*.onnx')):
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:
        print(path.stem, '\\n    '.join(str(error).splitlines()[:4]))
";

#[test]
fn onnxs_checker_finds_types_and_shapes_of_every_influence_graph_in_order() {
    let mut names: Vec<String> = networks::to_test().into_iter().map(|network| network.name).collect();
    names.extend(["lenet", "resnet20"].map(str::to_owned));
    names.sort();
    let (mut checked, mut wrong) = (0, Vec::new());
    for name in names {
        let model = network(&name);
        if model.graph.initializers.values().map(Tensor::len).sum::<usize>() > SMALL {
            continue;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (form, graph) in graphs(&model) {
            graph.write(folder.path().join(format!("{name}.{form}.onnx"))).expect("written");
            checked += 1;
        }
        wrong.push(python(CHECK, &[folder.path()]));
    }
    assert!(checked >= 30, "only {checked} graphs");
    assert!(wrong.iter().all(String::is_empty), "{}", wrong.concat());
}
