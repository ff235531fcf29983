//! A folder with a model, images and vectors, and the command run in it.

#[path = "../score_pool/digits.rs"]
mod digits;

use assert_cmd::Command;
use isal::influence::{Curvature, Parameter, Provenance, SolveReport, SolvedVector, SolverOptions};
use isal::runtime::{ExecutionProvider, Library, Session, SessionOptions};
use isal_onnx::testing::rounding::least_agreement;
use isal_onnx::{Attribute, Builder, DataType, Graph, Model, Node, Scope, Tensor, ValueInfo, ValueType};
use ndarray::{Array4, ArrayD};
use std::path::PathBuf;

/// Classes of the linear model.
pub const CLASSES: usize = 5;
const FEATURES: usize = 12;

/// Numbers in [-1, 1) that depend on `seed` alone.
pub fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let draw = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..count).map(draw).collect()
}

pub struct Place {
    folder: tempfile::TempDir,
    images: Array4<f32>,
}

impl Place {
    /// Images [N, 3, 2, 2] -> Flatten -> Gemm -> logits: the outputs are linear in the parameters.
    pub fn linear() -> Place {
        let mut b = Builder::new("linear");
        let images = b.input("images", ValueType::new(DataType::Float, dims(&[3, 2, 2])));
        let w = b.initializer("w", Tensor::new([FEATURES, CLASSES], &numbers(1, FEATURES * CLASSES)));
        let bias = b.initializer("b", Tensor::new([CLASSES], &numbers(2, CLASSES)));
        let flat = b.node("Flatten", [images]).attr("axis", 1).value();
        let logits = b.node("Gemm", [flat, w, bias]).outputs(["logits"]).value();
        b.output("logits", logits, Some(ValueType::new(DataType::Float, dims(&[CLASSES]))));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let model = Model::new(17, b.finish().expect("a graph"));
        model.write(folder.path().join("model.onnx")).expect("written");
        let images = Array4::from_shape_vec((9, 3, 2, 2), numbers(7, 9 * FEATURES)).expect("fits");
        Place { folder, images }
    }

    /// A LeNet and 200 digits to choose a step on; 64 other images.
    pub fn digits() -> Place {
        let folder = tempfile::tempdir().expect("a temporary folder");
        digits::write(&folder.path().join("pool"), 0, 20);
        let images = Array4::from_shape_vec((64, 1, 28, 28), numbers(9, 64 * 784)).expect("fits");
        let place = Place { folder, images: images.mapv(|x| (x + 1.0) / 2.0) };
        place.isal(&["model", "new", "lenet", "--seed", "3", "-o", "model.onnx"]).assert().success();
        place
    }

    /// Puts a Softmax behind the logits; its output is the only one then.
    pub fn end_in_softmax(&self) {
        let mut model = self.model("model.onnx");
        model.graph.nodes.push(Node::new("Softmax", "last", ["logits"], ["p"]).with("axis", 1));
        model.graph.outputs = vec![ValueInfo::new("p", ValueType::new(DataType::Float, dims(&[CLASSES])))];
        model.write(self.path("model.onnx")).expect("written");
    }

    /// Puts the logits behind an `If` whose branches both pass them on: the tangent form has no rule for it.
    pub fn behind_a_branch(&self) {
        let mut model = self.model("model.onnx");
        let last = model.graph.nodes.iter_mut().find(|n| n.outputs[0] == "logits").expect("the last layer");
        last.outputs[0] = "before".to_owned();
        let branch = |name: &str| {
            let mut graph = Graph { name: name.to_owned(), ..Graph::default() };
            graph.nodes.push(Node::new("Identity", "", ["before"], [name]));
            graph.outputs.push(ValueInfo { name: name.to_owned(), value_type: None });
            Attribute::Graph(Box::new(graph))
        };
        let yes = Tensor::from_bytes("yes", vec![], DataType::Bool, vec![1u8]).expect("one boolean");
        model.graph.initializers.insert("yes".to_owned(), yes);
        let mut node = Node::new("If", "either", ["yes"], ["logits"]);
        node.attributes.insert("then_branch".to_owned(), branch("then"));
        node.attributes.insert("else_branch".to_owned(), branch("else"));
        model.graph.nodes.push(node);
        model.write(self.path("model.onnx")).expect("written");
    }

    /// Keeps the linear model's weights in float16; they are cast before use.
    pub fn in_half(&self) {
        let mut model = self.model("model.onnx");
        let halves = |name: &str, tensor: &Tensor| {
            let values: Vec<u8> = tensor
                .to_vec::<f32>()
                .expect("float32")
                .iter()
                .flat_map(|x| half::f16::from_f32(*x).to_le_bytes())
                .collect();
            Tensor::from_bytes(name, tensor.dims().to_vec(), DataType::Float16, values).expect("as many bytes")
        };
        for name in ["w", "b"] {
            let tensor = halves(name, &model.graph.initializers[name]);
            model.graph.initializers.insert(name.to_owned(), tensor);
            let cast = Node::new("Cast", name, [name], [format!("{name}32")]).with("to", 1);
            model.graph.nodes.insert(0, cast);
        }
        let gemm = model.graph.nodes.iter_mut().find(|n| n.op_type == "Gemm").expect("a layer");
        gemm.inputs.iter_mut().skip(1).for_each(|input| input.push_str("32"));
        model.write(self.path("model.onnx")).expect("written");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn model(&self, name: &str) -> Model {
        Model::read(self.path(name)).expect("a model")
    }

    pub fn images(&self) -> &Array4<f32> {
        &self.images
    }

    pub fn isal(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("isal"));
        command.current_dir(self.folder.path()).args(arguments);
        command
    }

    /// `isal export influence --model model.onnx`, with more arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.isal(&["export", "influence", "--json", "--model", "model.onnx"]);
        command.args(arguments);
        command
    }

    /// The same, which has to succeed; what it told.
    pub fn export(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.command(arguments).output().expect("it runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Outputs of a model for the place's images, by plain ONNX Runtime.
    pub fn run(&self, name: &str, outputs: &[&str]) -> Vec<ArrayD<f32>> {
        let library = Library::load(None).expect("ONNX Runtime: run `make setup`");
        let options = SessionOptions { provider: ExecutionProvider::Cpu, threads: 1 };
        let mut session = Session::open(&library, &self.path(name), options).expect("ONNX Runtime takes it");
        session.run(self.images.view(), outputs).expect("it runs")
    }

    /// Numbers for each parameter of a scope.
    pub fn blocks(&self, model: &Model, scope: &str, seed: u64) -> Vec<Vec<f32>> {
        let parameters = parameters(model, scope);
        let drawn = parameters.iter().zip(seed..).map(|(p, seed)| numbers(seed, p.shape.iter().product()));
        drawn.collect()
    }

    /// The parameters' own numbers.
    pub fn weights(&self, model: &Model, scope: &str) -> Vec<Vec<f32>> {
        let values = |p: &Parameter| model.graph.initializers[&p.name].to_vec().expect("float32");
        parameters(model, scope).iter().map(values).collect()
    }

    /// A step of this relative length, in lengths of the vector of [`Place::vector`].
    pub fn step(&self, model: &Model, scope: &str, seed: u64, relative: f64) -> f64 {
        let length = |blocks: Vec<Vec<f32>>| blocks.concat().iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        relative * length(self.weights(model, scope)) / length(self.blocks(model, scope, seed))
    }

    /// The influences in a score file.
    pub fn influences(&self, scores: &str) -> Vec<f64> {
        let mut rows = csv::Reader::from_path(self.path(scores)).expect("the scores open");
        rows.records().map(|row| row.expect("a row")[1].parse().expect("an influence")).collect()
    }

    /// The smallest rank agreement on the pool that a rounding of so much of the largest influence leaves to this graph.
    pub fn least_rank(&self, graph: &str, rounding: f64) -> f64 {
        let arguments = ["score", "pool", "--influence", graph, "--pool", "pool", "--budget", "5", "--scores", "s.csv"];
        self.isal(&arguments).args(["-o", &format!("{graph}.scores")]).assert().success();
        let influences = self.influences("s.csv");
        let largest = influences.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
        least_agreement(&influences, rounding * largest)
    }

    /// `x W + b` of the linear model for the place's images, in float64.
    pub fn linear_outputs(&self, blocks: &[Vec<f32>]) -> Vec<Vec<f64>> {
        let [w, b] = blocks else { panic!("a weight and a bias") };
        let output = |x: &[f32], c: usize| {
            let products = x.iter().enumerate().map(|(i, x)| f64::from(*x) * f64::from(w[i * CLASSES + c]));
            products.sum::<f64>() + f64::from(b[c])
        };
        let images = self.images.as_slice().expect("in order");
        images.chunks(FEATURES).map(|x| (0..CLASSES).map(|c| output(x, c)).collect()).collect()
    }

    /// Writes a vector of drawn numbers over a scope, as if it had been solved for the model.
    pub fn vector(&self, name: &str, scope: &str, seed: u64) -> SolvedVector {
        let model = self.model("model.onnx");
        let parameters = parameters(&model, scope);
        let s = self.blocks(&model, scope, seed).concat();
        let solve = SolveReport {
            options: SolverOptions::named("cg-gauss-newton").expect("a solver"),
            curvature: Curvature::GaussNewton,
            lambda: 0.3,
            largest_eigenvalue: Some(30.0),
            spectrum: None,
            iterations: 12,
            converged: true,
            settled: None,
            residual: 1e-4,
            held_out_residual: None,
            curvature_samples: 40,
            sample_products: 800,
            seconds: 1.5,
            lissa: None,
        };
        let provenance = Provenance {
            model_sha256: model.sha256(),
            labelled_sha256: "cd".repeat(32),
            pool_sha256: String::new(),
            curvature_drawn: [40, 0],
            labelled_samples: 40,
            pool_samples: 0,
            reference_sha256: "ef".repeat(32),
            reference_samples: 7,
            reference_loss: 0.25,
            reference_gradient_norm: 0.75,
            scope: scope.to_owned(),
            solve,
            loss: "logits".to_owned(),
            versions: [("isal".to_owned(), env!("CARGO_PKG_VERSION").to_owned())].into(),
        };
        let vector = SolvedVector { reference_gradient: vec![0.0; s.len()], parameters, s, provenance };
        vector.save(&self.path(name)).expect("saved");
        vector
    }
}

fn dims(rest: &[usize]) -> Vec<isal_onnx::Dim> {
    std::iter::once("N".into()).chain(rest.iter().map(|n| (*n).into())).collect()
}

fn parameters(model: &Model, scope: &str) -> Vec<Parameter> {
    let scope: Scope = scope.parse().expect("a scope");
    let chosen = scope.select(&model.graph).expect("parameters");
    chosen.into_iter().map(|p| Parameter { name: p.name, shape: p.dims }).collect()
}
