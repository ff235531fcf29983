//! A folder with a classifier of digits, digits, and the forms in which such classifiers come.

#[path = "../score_pool/digits.rs"]
mod digits;

use assert_cmd::Command;
use isal_onnx::{Attribute, Builder, DataType, Dim, Model, Node, Tensor, ValueInfo, ValueType};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// What a score file says of an image.
#[derive(Debug, serde::Deserialize)]
pub struct Row {
    pub id: String,
    pub influence: Option<f64>,
    pub pseudo_label: u32,
}

pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// A LeNet with drawn weights, `model.onnx`; 60 labelled digits, 40 as reference and 100 as pool.
    pub fn new() -> Place {
        let place = Place { folder: tempfile::tempdir().expect("a temporary folder") };
        digits::write(&place.path("labeled"), 0, 6);
        digits::write(&place.path("reference"), 6, 4);
        digits::write(&place.path("pool"), 10, 10);
        place.isal(&["model", "new", "lenet", "--seed", "3", "-o", "model.onnx"]).assert().success();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn isal(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("isal"));
        command.current_dir(self.folder.path()).args(["--threads", "1"]).args(arguments);
        command
    }

    /// `isal score pool` with `model`, all influences along the reference gradient itself: no solver whose last digits
    /// hang on rounding.
    pub fn score(&self, model: &str, out: &str, more: &[&str]) -> Command {
        let scores = format!("{out}.csv");
        let mut command = self.isal(&["score", "pool", "--model", model, "--pool", "pool", "--budget", "5"]);
        command.args(["--labeled", "labeled", "--reference", "reference", "--solver", "identity"]);
        command.args(["--batch-size", "16", "-o", out, "--scores", &scores]).args(more);
        command
    }

    /// Runs [`Place::score`], which must do, and gives the influence of every pool image.
    pub fn influences(&self, model: &str, out: &str, more: &[&str]) -> BTreeMap<String, f64> {
        self.score(model, out, more).assert().success();
        self.rows(out).into_iter().map(|row| (row.id, row.influence.expect("an influence"))).collect()
    }

    pub fn rows(&self, out: &str) -> Vec<Row> {
        let reader = csv::Reader::from_path(self.path(&format!("{out}.csv"))).expect("the scores open");
        reader.into_deserialize().map(|row| row.expect("a row")).collect()
    }

    pub fn run_json(&self, out: &str) -> serde_json::Value {
        let bytes = fs::read(self.path(out).join("run.json")).expect("run.json");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// Writes a changed `model.onnx` as `name`.
    pub fn variant(&self, name: &str, change: impl FnOnce(&mut Model)) {
        let mut model = Model::read(self.path("model.onnx")).expect("a model");
        change(&mut model);
        model.write(self.path(name)).expect("written");
    }

    /// A classifier that knows its images, `knows.onnx`: the nearest mean of each class, `x . m - |m|^2 / 2`. Score `i` is that
    /// of the folder `order[i]`.
    pub fn knows(&self, order: &[usize]) {
        let mut means = vec![(0.0_f64, vec![0.0_f64; 784]); order.len()];
        for (digit, (count, sum)) in means.iter_mut().enumerate() {
            for part in ["labeled", "reference"] {
                let folder = self.path(part).join(digit.to_string());
                for file in fs::read_dir(folder).into_iter().flatten().flatten() {
                    let image = image::open(file.path()).expect("an image").to_luma8();
                    *count += 1.0;
                    sum.iter_mut().zip(image.as_raw()).for_each(|(sum, pixel)| *sum += f64::from(*pixel) / 255.0);
                }
            }
            sum.iter_mut().for_each(|sum| *sum /= *count);
        }
        let classes = order.len();
        let (mut weights, mut bias) = (vec![0.0_f32; 784 * classes], vec![0.0_f32; classes]);
        for (class, digit) in order.iter().enumerate() {
            let mean = &means[*digit].1;
            for (pixel, value) in mean.iter().enumerate() {
                weights[pixel * classes + class] = *value as f32;
            }
            bias[class] = (-0.5 * mean.iter().map(|x| x * x).sum::<f64>()) as f32;
        }
        let mut b = Builder::new("nearest mean");
        let dims =
            |rest: &[usize]| std::iter::once("N".into()).chain(rest.iter().map(|n| Dim::Known(*n))).collect::<Vec<_>>();
        let images = b.input("images", ValueType::new(DataType::Float, dims(&[1, 28, 28])));
        let weights = b.initializer("w", Tensor::new([784, classes], &weights));
        let bias = b.initializer("b", Tensor::new([classes], &bias));
        let flat = b.node("Flatten", [images]).attr("axis", 1).value();
        let logits = b.node("Gemm", [flat, weights, bias]).outputs(["logits"]).value();
        b.output("logits", logits, Some(ValueType::new(DataType::Float, dims(&[classes]))));
        Model::new(17, b.finish().expect("a graph")).write(self.path("knows.onnx")).expect("written");
    }
}

/// `[N, ...]` of a type.
pub fn typed(data_type: DataType, rest: &[usize]) -> ValueType {
    let dims = std::iter::once("N".into()).chain(rest.iter().map(|n| Dim::Known(*n)));
    ValueType::new(data_type, dims)
}

/// Puts a node behind the last output, whose name it takes over as `name`.
pub fn append(model: &mut Model, node: Node, output: ValueType) {
    let name = node.outputs[0].clone();
    model.graph.nodes.push(node);
    model.graph.outputs = vec![ValueInfo::new(name, output)];
}

/// Lets class scores come out in another shape.
pub fn reshaped(model: &mut Model, rest: &[usize]) {
    let shape: Vec<i64> = std::iter::once(-1).chain(rest.iter().map(|n| *n as i64)).collect();
    model.graph.initializers.insert("shape".into(), Tensor::new([shape.len()], &shape));
    append(model, Node::new("Reshape", "", ["logits", "shape"], ["scores"]), typed(DataType::Float, rest));
}

/// Lets images come in as another input, from which `nodes` make the model's own.
pub fn fed_by(model: &mut Model, input: ValueInfo, nodes: Vec<Node>) {
    model.graph.inputs = vec![input];
    model.graph.nodes.splice(0..0, nodes);
}

/// A constant float.
pub fn scalar(model: &mut Model, name: &str, value: f32) {
    model.graph.initializers.insert(name.into(), Tensor::scalar(value));
}

/// A Cast to a type.
pub fn cast(from: &str, to: &str, data_type: DataType) -> Node {
    Node::new("Cast", "", [from], [to]).with("to", Attribute::Int(i64::from(data_type.number())))
}

pub fn stderr(mut command: Command) -> (i32, String) {
    let output = command.output().expect("it runs");
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}
