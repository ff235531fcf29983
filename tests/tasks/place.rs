//! A small network, its tasks, and influence graphs of them held against the plugin.

use isal::influence::{Annotation, Annotations, GradientEngine as _};
use isal::plugin::{LoadOptions, Plugin, PluginEngine, Precision};
use isal::runtime::{Library, Session, SessionOptions};
use isal::task::Task;
use isal_exporters::losses::{self, Loss, LossOptions};
use isal_exporters::seeded;
use isal_onnx::influence::{Difference, Direction, INFLUENCE, PSEUDO_LABEL, Paired, TangentOptions, paired, tangent};
use isal_onnx::{Builder, DataType, Dim, Model, Tensor, ValueType};
use ndarray::{Array4, ArrayD};

pub const IMAGES: usize = 12;
pub const OPSET: i64 = 17;

pub fn axes(dims: &[usize]) -> Vec<Dim> {
    std::iter::once(Dim::from("N")).chain(dims.iter().map(|d| Dim::from(*d))).collect()
}

pub fn float(dims: &[usize]) -> ValueType {
    ValueType { data_type: DataType::Float, shape: Some(axes(dims)) }
}

pub fn weights(name: &str, dims: &[usize], size: f64) -> Tensor {
    let len = dims.iter().product();
    Tensor::new(dims.to_vec(), &seeded::uniform(7, name, len, -size..size))
}

/// Two convolutions over 6x6 pixels with a Softplus between (`hidden`), then outputs `[N, dims]`.
pub fn network(dims: &[usize]) -> Model {
    let mut b = Builder::new("network");
    let x = b.input("images", float(&[1, 6, 6]));
    let w1 = b.initializer("w1", weights("w1", &[4, 1, 3, 3], 0.6));
    let c1 = b.node("Conv", [x, w1]).attr("pads", vec![1_i64; 4]).value();
    let hidden = b.node("Softplus", [c1]).outputs(["hidden"]).value();
    let outputs = if let [classes, 6, 6] = *dims {
        let w2 = b.initializer("w2", weights("w2", &[classes, 4, 3, 3], 0.5));
        b.node("Conv", [hidden, w2]).attr("pads", vec![1_i64; 4]).outputs(["outputs"]).value()
    } else {
        let count: usize = dims.iter().product();
        let w2 = b.initializer("w2", weights("w2", &[4 * 36, count], 0.15));
        let flat = b.node("Flatten", [hidden]).attr("axis", 1).value();
        let dense = b.op("MatMul", [flat, w2]);
        let shape: Vec<i64> = std::iter::once(-1).chain(dims.iter().map(|d| *d as i64)).collect();
        let shape = b.constant("shape", Tensor::new([shape.len()], &shape));
        b.node("Reshape", [dense, shape]).outputs(["outputs"]).value()
    };
    b.output("outputs", outputs, Some(float(dims)));
    Model::new(OPSET, b.finish().unwrap())
}

pub fn images() -> Array4<f32> {
    let dims = [IMAGES, 1, 6, 6];
    Array4::from_shape_vec(dims, seeded::images(3, dims).to_vec().unwrap()).unwrap()
}

/// A belief half a unit beside the outputs: one's own outputs as targets have no gradient.
pub fn beside(name: &str, dims: &[usize]) -> Model {
    let mut b = Builder::new("beside");
    let x = b.input("outputs", float(dims));
    let half = b.constant("half", Tensor::scalar(0.5_f32));
    let moved = b.op("Add", [x, half]);
    b.output(name, moved, Some(float(dims)));
    Model::new(OPSET, b.finish().unwrap())
}

/// A task bound to the network's outputs.
pub fn task(loss: &Loss, dims: &[usize]) -> Task {
    let shape = axes(dims);
    let graphs = losses::build(loss, &LossOptions { opset: OPSET, ..LossOptions::new(&shape) }).unwrap();
    let (name, pseudo_labels) = (loss.name().to_owned(), String::new());
    Task { name, pseudo_labels, graphs, bindings: vec![(losses::OUTPUTS.to_owned(), "outputs".to_owned())] }
}

pub fn direction() -> impl Fn(&Model) -> Direction {
    |model: &Model| {
        let one = |(name, tensor): (&String, &Tensor)| {
            let values = seeded::uniform(11, name, tensor.dims().iter().product(), -1.0..1.0);
            name.starts_with('w').then(|| (name.clone(), Tensor::new(tensor.dims(), &values)))
        };
        model.graph.initializers.iter().filter_map(one).collect()
    }
}

pub fn run(library: &Library, model: &Model, outputs: &[&str]) -> Vec<ArrayD<f32>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("graph.onnx");
    model.write(&path).unwrap();
    let mut session = Session::open(library, &path, SessionOptions::default()).unwrap();
    session.run(images().view(), outputs).unwrap()
}

/// What ONNX Runtime gave as pseudo-label, as annotations.
pub fn annotations(task: &Task, found: &[ArrayD<f32>]) -> Annotations {
    let named = task.annotations().zip(found).map(|(output, array)| {
        let whole = output.value_type.as_ref().is_some_and(|t| t.data_type == DataType::Int64);
        let array = match whole {
            true => Annotation::Whole(array.mapv(|x| x as i64)),
            false => Annotation::Float(array.clone()),
        };
        (output.name.clone(), array)
    });
    Annotations::new(IMAGES, named.collect()).unwrap()
}

/// Influences by the plugin in float64 under these annotations.
pub fn exact(model: &Model, task: &Task, s: &Direction, annotations: &Annotations) -> Vec<f64> {
    let options = LoadOptions {
        parameters: s.keys().cloned().collect(),
        task: Some(task.clone()),
        precision: Precision::Float64,
        ..LoadOptions::default()
    };
    let mut engine = PluginEngine::from_model(&Plugin::find(None).unwrap(), model, &options).unwrap();
    let entries: Vec<f32> = s.values().flat_map(|t| t.to_vec::<f32>().unwrap()).collect();
    let s = engine.upload(&entries).unwrap();
    let (_, along) = engine.loss_derivatives(images().view(), annotations, &s).unwrap();
    along.into_iter().map(|t| -t).collect()
}

/// Worst difference in units of the largest truth.
pub fn error(found: &[f32], truth: &[f64]) -> f64 {
    let largest = truth.iter().fold(0.0_f64, |m, t| m.max(t.abs()));
    assert!(largest > 1e-3 && found.len() == truth.len(), "{truth:?}");
    found.iter().zip(truth).fold(0.0_f64, |m, (f, t)| m.max((f64::from(*f) - t).abs())) / largest
}

/// Both forms against the truth. The tangent graph computes in float32 what the plugin does in float64: sums of some hundred
/// terms, 1e-5 of the largest. A difference adds the bend of the network over the step, which shrinks with it (by 4 here, at
/// least by 2 is asked), and float32's rounding over the step: some 1e-6 / 1e-2 at the shorter one.
pub fn hold(what: &str, model: &Model, task: &Task) {
    let library = Library::load(None).unwrap();
    let s = direction()(model);
    let graphs = task.parts();
    let names: Vec<String> = task.annotations().map(|o| format!("{PSEUDO_LABEL}.{}", o.name)).collect();
    let wanted: Vec<&str> = names.iter().map(String::as_str).chain([INFLUENCE, "outputs"]).collect();

    let plain = run(&library, model, &["outputs"]).remove(0);
    let built = tangent(model, std::slice::from_ref(&s), &graphs, TangentOptions::default()).unwrap();
    let found = run(&library, &built, &wanted);
    assert_eq!(found[names.len() + 1], plain, "{what}: the model's own outputs stay");
    let truth = exact(model, task, &s, &annotations(task, &found[..names.len()]));
    let off = error(found[names.len()].as_slice().unwrap(), &truth);
    assert!(off < 1e-5, "{what}, tangent: {off:e}");

    let mut offs = Vec::new();
    for relative_step in [4e-2, 1e-2] {
        let how = Paired { relative_step, difference: Difference::OneSided };
        let built = paired(model, std::slice::from_ref(&s), &graphs, how).unwrap();
        let found = run(&library, &built, &wanted);
        assert_eq!(found[names.len() + 1], plain, "{what}: the model's own outputs stay");
        offs.push(error(found[names.len()].as_slice().unwrap(), &truth));
    }
    assert!(offs[1] < 2e-2 && offs[1] < 0.5 * offs[0] + 2e-4, "{what}, paired: {offs:?}");
    let how = Paired { relative_step: 1e-2, difference: Difference::Central };
    let built = paired(model, std::slice::from_ref(&s), &graphs, how).unwrap();
    let off = error(run(&library, &built, &[INFLUENCE])[0].as_slice().unwrap(), &truth);
    assert!(off < 1e-3, "{what}, central: {off:e}");
}
