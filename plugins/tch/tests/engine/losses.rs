//! Derivatives through loss graphs of every kind against dense matrices made by central differences, in float64.
//!
//! Two engines share a loss graph. The *network* has parameters W1, W2; the *shift* is `images + theta`, so that its gradient
//! at theta = 0 is the gradient `g_n` of the loss in the outputs themselves, and differences of that are their Hessian `H_n`.
//! With the Jacobian `J_n` of the network's outputs, by differences as well, gradient, Gauss-Newton and Fisher products are
//! plain sums over samples. Tolerances are those of `dense.rs`: 1e-6 of the scale, for differences good to 1e-10.

use super::small::{draw, entries, relative};
use isal_exporters::losses::{
    self, Huber, Loss, LossOptions, PixelCrossEntropy, SigmoidCrossEntropy, SoftmaxCrossEntropy,
};
use isal_onnx::{Builder, DataType, Dim, Model, Tensor as Onnx, ValueType};
use isal_plugin_tch::loss::Binding;
use isal_plugin_tch::{Batch, Engine, Options, Task, Vector};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

const SAMPLES: usize = 3;
const FEATURES: usize = 4;
const HIDDEN: usize = 5;
const STEP: f64 = 1e-5;

/// A loss with the shape of one sample's outputs and the annotation of all samples.
struct Case {
    loss: Loss,
    dims: Vec<usize>,
    annotation: (&'static str, Tensor),
}

fn cases() -> Vec<Case> {
    let floats = |values: &[f64], dims: &[i64]| Tensor::from_slice(values).reshape(dims);
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let softmax = SoftmaxCrossEntropy {
        label_smoothing: 0.1,
        class_weights: Some(vec![0.5, 1.0, 2.0, 1.5]),
        ..SoftmaxCrossEntropy::default()
    };
    let weights = [0.0, 1.0, 0.0, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.0, 0.0, 0.1];
    let labels = [1.0, 0.0, -1.0, 0.25, 0.0, 1.0, 1.0, 1.0, -1.0, 0.0, 0.0, 1.0];
    let pixels: [i64; 12] = [0, 1, 255, 1, 1, 1, 0, 0, 255, 0, 1, 0];
    let targets = draw(&mut rng, SAMPLES * 6, 2.0);
    vec![
        Case {
            loss: Loss::SoftmaxCrossEntropy(softmax),
            dims: vec![4],
            annotation: ("weights", floats(&weights, &[3, 4])),
        },
        Case {
            loss: Loss::SigmoidCrossEntropy(SigmoidCrossEntropy::default()),
            dims: vec![4],
            annotation: ("labels", floats(&labels, &[3, 4])),
        },
        Case {
            loss: Loss::PixelCrossEntropy(PixelCrossEntropy::default()),
            dims: vec![2, 2, 2],
            annotation: ("labels", Tensor::from_slice(&pixels).reshape([3, 2, 2])),
        },
        Case {
            loss: Loss::SquaredError(losses::SquaredError),
            dims: vec![2, 3],
            annotation: ("targets", floats(&targets, &[3, 2, 3])),
        },
        Case {
            loss: Loss::Huber(Huber::default()),
            dims: vec![2, 3],
            annotation: ("targets", floats(&targets, &[3, 2, 3])),
        },
    ]
}

fn axes(dims: &[usize]) -> Vec<Dim> {
    std::iter::once(Dim::from("N")).chain(dims.iter().map(|d| Dim::from(*d))).collect()
}

fn finish(mut b: Builder, flat: isal_onnx::Value, dims: &[usize]) -> Model {
    let shape: Vec<i64> = std::iter::once(-1).chain(dims.iter().map(|d| *d as i64)).collect();
    let shape = b.constant("shape", Onnx::new([shape.len()], &shape));
    let outputs = b.node("Reshape", [flat, shape]).outputs(["outputs"]).value();
    b.output("outputs", outputs, Some(ValueType { data_type: DataType::Float, shape: Some(axes(dims)) }));
    Model::new(17, b.finish().expect("a graph"))
}

/// `tanh(images W1) W2`.
fn network(theta: &[f64], dims: &[usize]) -> Model {
    let outputs: usize = dims.iter().product();
    let mut b = Builder::new("network");
    let x = b.input("images", ValueType { data_type: DataType::Float, shape: Some(axes(&[FEATURES])) });
    let (first, second) = theta.split_at(FEATURES * HIDDEN);
    let w1 = b.initializer("w1", Onnx::new([FEATURES, HIDDEN], first));
    let w2 = b.initializer("w2", Onnx::new([HIDDEN, outputs], second));
    let product = b.op("MatMul", [x, w1]);
    let hidden = b.node("Tanh", [product]).outputs(["hidden"]).value();
    let flat = b.op("MatMul", [hidden, w2]);
    finish(b, flat, dims)
}

/// `images + theta`.
fn shift(theta: &[f64], dims: &[usize]) -> Model {
    let outputs: usize = dims.iter().product();
    let mut b = Builder::new("shift");
    let x = b.input("images", ValueType { data_type: DataType::Float, shape: Some(axes(&[outputs])) });
    let theta = b.initializer("theta", Onnx::new([outputs], theta));
    let flat = b.op("Add", [x, theta]);
    finish(b, flat, dims)
}

fn engine(model: &Model, parameters: &[&str], task: Task) -> Engine {
    let options = Options {
        parameters: parameters.iter().map(|p| (*p).to_owned()).collect(),
        loss: Some(task),
        device: "cpu".to_owned(),
        kind: Kind::Double,
        threads: 1,
    };
    Engine::load(model, &options).unwrap_or_else(|e| panic!("{e}"))
}

fn bound(graph: Model, bindings: &[(&str, &str)]) -> Task {
    let binding = |(input, value): &(&str, &str)| Binding { input: (*input).to_owned(), value: (*value).to_owned() };
    Task { graph, bindings: bindings.iter().map(binding).collect() }
}

fn vector(engine: &Engine, entries: &[f64]) -> Vector {
    engine.upload(&Tensor::from_slice(entries)).expect("a vector")
}

/// Rows of `(f(theta + h e_i) - f(theta - h e_i)) / 2h`.
fn differences(theta: &[f64], f: impl Fn(&[f64]) -> Vec<f64>) -> Vec<Vec<f64>> {
    let at = |i: usize, by: f64| {
        let mut moved = theta.to_vec();
        moved[i] += by;
        f(&moved)
    };
    (0..theta.len())
        .map(|i| at(i, STEP).iter().zip(at(i, -STEP)).map(|(a, b)| (a - b) / (2.0 * STEP)).collect())
        .collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn every_loss_has_the_gradient_and_the_products_of_dense_matrices() {
    for Case { loss, dims, annotation: (name, annotation) } in cases() {
        let graph = losses::build(&loss, &LossOptions::new(&axes(&dims))).expect("a loss").loss;
        let task = || bound(graph.clone(), &[(losses::OUTPUTS, "outputs")]);
        let outputs: usize = dims.iter().product();
        let mut rng = ChaCha8Rng::seed_from_u64(17);
        let theta = draw(&mut rng, FEATURES * HIDDEN + HIDDEN * outputs, 0.9);
        let pixels = Tensor::from_slice(&draw(&mut rng, SAMPLES * FEATURES, 1.0)).reshape([SAMPLES as i64, -1]);
        let batch = |images: Tensor, annotation: Tensor| {
            Batch(vec![("images".to_owned(), images), (name.to_owned(), annotation)])
        };
        let whole = engine(&network(&theta, &dims), &["w1", "w2"], task());
        let all = batch(pixels.shallow_clone(), annotation.shallow_clone());
        let v = draw(&mut rng, theta.len(), 1.0);

        let run = |theta: &[f64]| {
            entries(&engine(&network(theta, &dims), &["w1", "w2"], task()).forward(&all).expect("o")[0].1)
        };
        let (at, jacobian) = (run(&theta), differences(&theta, run));
        // By sample: g_n and H_n from the shift, J_n v and J_n^T from the differences.
        let (mut gradient, mut newton, mut fisher) =
            (vec![0.0; theta.len()], vec![0.0; theta.len()], vec![0.0; theta.len()]);
        let mut loss_tangents = Vec::new();
        for n in 0..SAMPLES {
            let o = at[n * outputs..(n + 1) * outputs].to_vec();
            let one = || batch(Tensor::from_slice(&o).reshape([1, -1]), annotation.narrow(0, n as i64, 1));
            let gradient_at = |theta: &[f64]| {
                let engine = engine(&shift(theta, &dims), &["theta"], task());
                entries(engine.gradient(&one()).expect("a gradient").1.entries())
            };
            let loss_at = |theta: &[f64]| {
                vec![engine(&shift(theta, &dims), &["theta"], task()).gradient(&one()).expect("a loss").0]
            };
            let zero = vec![0.0; outputs];
            let g = differences(&zero, loss_at).concat();
            let hessian = differences(&zero, gradient_at);
            let rows: Vec<&[f64]> = jacobian.iter().map(|row| &row[n * outputs..(n + 1) * outputs]).collect();
            let mut tangent = vec![0.0; outputs];
            for (row, v) in rows.iter().zip(&v) {
                tangent.iter_mut().zip(*row).for_each(|(t, j)| *t += j * v);
            }
            let curved: Vec<f64> = hessian.iter().map(|row| dot(row, &tangent)).collect();
            let along = dot(&g, &tangent);
            loss_tangents.push(along);
            for (i, row) in rows.iter().enumerate() {
                gradient[i] += dot(row, &g);
                newton[i] += dot(row, &curved);
                fisher[i] += dot(row, &g) * along;
            }
        }
        let v = vector(&whole, &v);
        let product =
            |product: Result<Vector, isal_plugin_tch::Failure>| entries(product.expect("a product").entries());
        let jvp = whole.jvp(&all, &v).expect("derivatives");
        for (what, found, truth) in [
            ("gradient", entries(whole.gradient(&all).expect("a gradient").1.entries()), gradient),
            ("Gauss-Newton", product(whole.gauss_newton_product(&all, &v)), newton),
            ("Fisher", product(whole.empirical_fisher_product(&all, &v)), fisher),
            ("loss along v", entries(&jvp.losses.expect("losses").1), loss_tangents),
        ] {
            let error = relative(&found, &truth);
            assert!(error <= 1e-6, "{}, {what}: relative error {error:e}", loss.name());
        }
        let hessian = differences(&theta, |theta| {
            let engine = engine(&network(theta, &dims), &["w1", "w2"], task());
            entries(engine.gradient(&all).expect("a gradient").1.entries())
        });
        let truth: Vec<f64> = hessian.iter().map(|row| dot(row, &entries(v.entries()))).collect();
        for (way, found) in [
            ("forward over reverse", product(whole.hessian_product(&all, &v))),
            ("reverse over reverse", product(whole.hessian_product_by_reverse(&all, &v))),
        ] {
            let error = relative(&found, &truth);
            assert!(error <= 1e-6, "{}, Hessian {way}: relative error {error:e}", loss.name());
        }
        let losses = entries(&whole.losses(&all).expect("losses"));
        let sum = whole.gradient(&all).expect("a gradient").0;
        assert!((losses.iter().sum::<f64>() - sum).abs() <= 1e-12 * sum.abs(), "{losses:?} add up to {sum}");
    }
}

/// `sum (a - b)^2` for each image of two values `[N, 5]`, `b` held where `held` says so.
fn distance(held: bool) -> Model {
    let mut b = Builder::new("distance");
    let value = || ValueType { data_type: DataType::Float, shape: Some(axes(&[HIDDEN])) };
    let (first, second) = (b.input("a", value()), b.input("b", value()));
    let difference = b.op("Sub", [first, second]);
    let squares = b.op("Mul", [difference, difference]);
    let axis = b.constant("axis", Onnx::new([1], &[1_i64]));
    let sum = b.node("ReduceSum", [squares, axis]).attr("keepdims", 0).value();
    b.output("loss", sum, Some(ValueType::new(DataType::Float, ["N"])));
    let mut model = Model::new(17, b.finish().expect("a graph"));
    if held {
        model.metadata.insert("isal.held".to_owned(), "b".to_owned());
    }
    model
}

/// A held value is what an annotation of the same numbers would be: every derivative is the same.
#[test]
fn a_held_value_has_no_derivative_in_any_product() {
    let mut rng = ChaCha8Rng::seed_from_u64(29);
    let theta = draw(&mut rng, FEATURES * HIDDEN + HIDDEN * HIDDEN, 0.9);
    let model = network(&theta, &[HIDDEN]);
    let pixels = || {
        Tensor::from_slice(&draw(&mut ChaCha8Rng::seed_from_u64(31), SAMPLES * FEATURES, 1.0))
            .reshape([SAMPLES as i64, -1])
    };
    let images = || ("images".to_owned(), pixels());
    // `a` is the output, `b` the inner value of as many numbers.
    let load = |held, bindings: &[(&str, &str)]| engine(&model, &["w1", "w2"], bound(distance(held), bindings));
    let both = [("a", "outputs"), ("b", "hidden")];
    let (held, free) = (load(true, &both), load(false, &both));
    let given = load(false, &both[..1]);
    assert_eq!(held.loss().expect("a loss").annotations().len(), 0);
    assert_eq!(given.loss().expect("a loss").annotations()[0].name, "b");
    let values = held.forward(&Batch(vec![images()])).expect("values");
    let hidden = values.into_iter().find(|(name, _)| name == "hidden").expect("the inner value").1;
    let annotated = Batch(vec![images(), ("b".to_owned(), hidden)]);
    let plain = Batch(vec![images()]);

    let v = vector(&held, &draw(&mut rng, theta.len(), 1.0));
    type Answer = fn(&Engine, &Batch, &Vector) -> Result<Vector, isal_plugin_tch::Failure>;
    let answers: [(&str, Answer); 5] = [
        ("gradient", |e, b, _| Ok(e.gradient(b)?.1)),
        ("Hessian", Engine::hessian_product),
        ("Hessian in reverse", Engine::hessian_product_by_reverse),
        ("Gauss-Newton", Engine::gauss_newton_product),
        ("Fisher", Engine::empirical_fisher_product),
    ];
    for (what, answer) in answers {
        let entries_of = |engine: &Engine, batch: &Batch| entries(answer(engine, batch, &v).expect(what).entries());
        let (found, truth) = (entries_of(&held, &plain), entries_of(&given, &annotated));
        let error = relative(&found, &truth);
        assert!(error <= 1e-12, "{what}: relative error {error:e}");
        assert!(relative(&entries_of(&free, &plain), &truth) > 1e-3, "{what}: holding makes no difference here");
    }
    let along = |engine: &Engine, batch: &Batch| engine.jvp(batch, &v).expect("derivatives").losses;
    let truth = entries(&along(&given, &annotated).expect("losses").1);
    assert!(relative(&entries(&along(&held, &plain).expect("losses").1), &truth) <= 1e-12);
    assert!(relative(&entries(&along(&free, &plain).expect("losses").1), &truth) > 1e-3);
}
