//! A small network and a small batch, in float64, whose derivative matrices fit into memory.

use isal_exporters::losses::{self, LossOptions};
use isal_onnx::{DataType, Dim, Graph, Model, Node, Tensor as Onnx, ValueInfo, ValueType};
use isal_plugin_tch::loss::Binding;
use isal_plugin_tch::{Batch, Engine, Options, Task};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

pub const CLASSES: usize = 4;
pub const IMAGES: usize = 5;
/// Channels, height, width.
pub const IMAGE: [usize; 3] = [2, 6, 6];

pub fn draw(rng: &mut ChaCha8Rng, len: usize, scale: f64) -> Vec<f64> {
    (0..len).map(|_| scale * (rng.random::<f64>() * 2.0 - 1.0)).collect()
}

/// Convolution, BatchNormalization, Relu, two dense layers with a Relu between; about 300 parameters.
pub fn model() -> Model {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let images = [Dim::from("N"), IMAGE[0].into(), IMAGE[1].into(), IMAGE[2].into()];
    let mut graph = Graph {
        name: "small".to_owned(),
        inputs: vec![ValueInfo::new("images", ValueType::new(DataType::Float, images))],
        outputs: vec![ValueInfo::new("logits", ValueType::new(DataType::Float, [Dim::from("N"), CLASSES.into()]))],
        ..Graph::default()
    };
    for (name, dims, scale) in [
        ("conv.weight", vec![3, 2, 3, 3], 0.5),
        ("conv.bias", vec![3], 0.3),
        ("bn.scale", vec![3], 1.0),
        ("bn.shift", vec![3], 0.2),
        ("bn.mean", vec![3], 0.1),
        ("fc1.weight", vec![7, 27], 0.4),
        ("fc1.bias", vec![7], 0.1),
        ("fc2.weight", vec![CLASSES, 7], 0.8),
        ("fc2.bias", vec![CLASSES], 0.1),
    ] {
        let len = dims.iter().product();
        graph.initializers.insert(name.to_owned(), Onnx::new(dims, &draw(&mut rng, len, scale)));
    }
    graph.initializers.insert("bn.variance".to_owned(), Onnx::new([3], &[0.7, 1.3, 0.9]));
    let pair = |v: i64| vec![v, v];
    graph.nodes = vec![
        Node::new("Conv", "conv", ["images", "conv.weight", "conv.bias"], ["c"])
            .with("kernel_shape", pair(3))
            .with("strides", pair(2))
            .with("pads", vec![1i64; 4]),
        Node::new("BatchNormalization", "bn", ["c", "bn.scale", "bn.shift", "bn.mean", "bn.variance"], ["b"])
            .with("epsilon", 1e-5),
        Node::new("Relu", "relu1", ["b"], ["r"]),
        Node::new("Flatten", "flatten", ["r"], ["f"]).with("axis", 1),
        Node::new("Gemm", "fc1", ["f", "fc1.weight", "fc1.bias"], ["h"]).with("transB", 1),
        Node::new("Relu", "relu2", ["h"], ["hr"]),
        Node::new("Gemm", "fc2", ["hr", "fc2.weight", "fc2.bias"], ["logits"]).with("transB", 1),
    ];
    Model::new(17, graph)
}

pub const SCOPE: [&str; 8] =
    ["conv.weight", "conv.bias", "bn.scale", "bn.shift", "fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"];

/// Softmax cross-entropy of a value `[N, classes]` under the annotation `weights [N, classes]`.
pub fn single_label(value: &str, classes: usize) -> Task {
    let loss = &losses::find("softmax-cross-entropy").expect("it is built in").defaults;
    let pair = losses::build(loss, &LossOptions::new(&[Dim::from("N"), classes.into()])).expect("its graphs");
    let binding = Binding { input: losses::OUTPUTS.to_owned(), value: value.to_owned() };
    Task { graph: pair.loss, bindings: vec![binding] }
}

/// Images without annotations.
pub fn unlabelled(images: Tensor) -> Batch {
    Batch(vec![("images".to_owned(), images)])
}

/// Images with their class weights.
pub fn labelled(images: Tensor, weights: Tensor) -> Batch {
    named("images", images, weights)
}

/// The same for a model whose input has another name.
pub fn named(input: &str, images: Tensor, weights: Tensor) -> Batch {
    Batch(vec![(input.to_owned(), images), ("weights".to_owned(), weights)])
}

/// The small batch.
pub fn batch() -> Batch {
    labelled(images(), targets_tensor())
}

pub fn options(kind: Kind) -> Options {
    Options {
        parameters: SCOPE.map(str::to_owned).to_vec(),
        loss: Some(single_label("logits", CLASSES)),
        device: "cpu".to_owned(),
        kind,
        threads: 1,
    }
}

pub fn engine(kind: Kind) -> Engine {
    Engine::load(&model(), &options(kind)).expect("the small model loads")
}

/// The model with its parameters set to `theta`, in the order of [`SCOPE`].
pub fn engine_at(theta: &[f64]) -> Engine {
    let mut model = model();
    let mut rest = theta;
    for name in SCOPE {
        let dims = model.graph.initializers[name].dims().to_vec();
        let (own, others) = rest.split_at(dims.iter().product());
        rest = others;
        model.graph.initializers.insert(name.to_owned(), Onnx::new(dims, own));
    }
    assert!(rest.is_empty());
    Engine::load(&model, &options(Kind::Double)).expect("the small model loads")
}

pub fn theta() -> Vec<f64> {
    let model = model();
    SCOPE.iter().flat_map(|n| model.graph.initializers[*n].to_vec::<f64>().expect("float64 weights")).collect()
}

pub fn images() -> Tensor {
    let [c, h, w] = IMAGE;
    let pixels = draw(&mut ChaCha8Rng::seed_from_u64(11), IMAGES * c * h * w, 1.5);
    Tensor::from_slice(&pixels).reshape([IMAGES, c, h, w].map(|d| d as i64))
}

/// Rows of weights that neither sum to 1 nor to the same number: one-hot, soft, unnormalised.
pub fn targets() -> Vec<[f64; CLASSES]> {
    vec![[0.0, 1.0, 0.0, 0.0], [0.1, 0.2, 0.3, 0.4], [0.5, 0.0, 0.0, 0.1], [0.0, 0.0, 0.0, 1.0], [0.9, 0.3, 0.0, 0.7]]
}

pub fn targets_tensor() -> Tensor {
    Tensor::from_slice(&targets().concat()).reshape([IMAGES as i64, CLASSES as i64])
}

/// Entries of a tensor in float64, row-major.
pub fn entries(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.detach().to_kind(Kind::Double).reshape([-1])).expect("float64 entries")
}

/// `max |a - b| / max |b|`.
pub fn relative(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let scale = b.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    assert!(scale > 0.0, "the truth is zero everywhere: nothing would be compared");
    a.iter().zip(b).fold(0.0f64, |m, (a, b)| m.max((a - b).abs())) / scale
}

/// Softmax of a row, shifted so that nothing overflows.
pub fn softmax(row: &[f64]) -> Vec<f64> {
    let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let e: Vec<f64> = row.iter().map(|o| (o - top).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.iter().map(|e| e / sum).collect()
}

/// The loss written out from the outputs: `sum_n sum_c w_nc * (-ln p_nc)`.
pub fn loss(outputs: &[f64]) -> f64 {
    let rows = outputs.chunks(CLASSES).zip(targets());
    rows.map(|(o, w)| softmax(o).iter().zip(w).map(|(p, w)| -w * p.ln()).sum::<f64>()).sum()
}
