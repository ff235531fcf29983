//! Whole networks against PyTorch's autograd in float64, from the files of `tests/fixtures`.
//!
//! A gradient is compared parameter by parameter and image by image: its norm, and its inner product with a direction
//! of random entries in [-1, 1), which is about `norm / sqrt(3)` for a gradient of any shape. A difference is relative
//! to the parameter's norm, or to a thousandth of the whole gradient's where that is more: a parameter which hardly
//! matters is known only to the rounding of the others.

use super::networks;
use super::small::{named, single_label};
use isal_exporters::{ModelOptions, build, seeded, zoo};
use isal_onnx::Model;
use isal_onnx::testing::rounding::{Float32, moved};
use isal_onnx::testing::whole_suite;
use isal_plugin_tch::{Batch, Engine, Options};
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

#[derive(serde::Deserialize)]
struct Expected {
    model: String,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    gain: f64,
    images: Images,
    outputs: Vec<Vec<f64>>,
    labels: Vec<i64>,
    losses: Vec<f64>,
    #[serde(default)]
    curvature: Vec<Curvature>,
    gradients: Vec<Gradient>,
}

#[derive(serde::Deserialize)]
struct Images {
    seed: u64,
    dims: [usize; 4],
}

#[derive(serde::Deserialize)]
struct Gradient {
    name: String,
    norm: Vec<f64>,
    product: Vec<f64>,
}

#[derive(serde::Deserialize)]
struct Curvature {
    scope: String,
    tangents: Vec<Vec<f64>>,
    gauss_newton: [f64; 2],
    hessian: [f64; 2],
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

fn expected(path: &Path) -> Expected {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn tensor(tensor: &isal_onnx::Tensor) -> Tensor {
    let dims: Vec<i64> = tensor.dims().iter().map(|d| *d as i64).collect();
    Tensor::from_slice(&tensor.to_vec::<f32>().expect("float32")).reshape(dims)
}

fn images(expected: &Expected) -> Tensor {
    tensor(&seeded::images(expected.images.seed, expected.images.dims))
}

fn one_hot(labels: &[i64], classes: usize) -> Tensor {
    let row = |label: &i64| (0..classes as i64).map(|c| f64::from(u8::from(c == *label))).collect::<Vec<_>>();
    let rows: Vec<f64> = labels.iter().flat_map(row).collect();
    Tensor::from_slice(&rows).reshape([labels.len() as i64, classes as i64])
}

fn values(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double).reshape([-1])).expect("float64 entries")
}

/// The entries of a direction, over the parameters in scope.
fn direction(engine: &Engine, prefix: &str) -> Vec<f64> {
    let places = &engine.layout().places;
    let of = |name: &str, len| seeded::uniform(0, &format!("{prefix}{name}"), len, -1.0..1.0);
    places.iter().flat_map(|p| of(&p.name, p.len as usize)).map(f64::from).collect()
}

fn engine(model: &Model, parameters: Vec<String>, kind: Kind) -> Engine {
    let output = &model.graph.outputs[0].name;
    let mut typed = model.clone();
    typed.infer_shapes().expect("shapes");
    let classes = typed.graph.value_type(output).and_then(|t| t.shape?.get(1)?.known());
    let loss = Some(single_label(output, classes.expect("a number of classes")));
    let options = Options { parameters, loss, device: "cpu".to_owned(), kind, threads: 0 };
    Engine::load(model, &options).unwrap_or_else(|e| panic!("{e}"))
}

/// Images for this engine, with their class weights.
fn labelled(engine: &Engine, images: &Tensor, weights: &Tensor) -> Batch {
    named(&engine.input().name, images.shallow_clone(), weights.shallow_clone())
}

/// The first output of all.
fn first_output(engine: &Engine, images: &Tensor) -> Tensor {
    let batch = Batch(vec![(engine.input().name.clone(), images.shallow_clone())]);
    engine.forward(&batch).expect("a forward pass").remove(0).1
}

/// What is further from the truth than `tolerance`, in words.
fn differences(what: &str, found: &[f64], truth: &[f64], scale: f64, tolerance: f64) -> Option<String> {
    let pairs = || found.iter().zip(truth);
    let error = pairs().map(|(f, t)| (f - t).abs()).fold(0.0, f64::max) / scale;
    // A NaN is a difference too.
    let fine = found.len() == truth.len() && pairs().all(|(f, t)| ((f - t) / scale).abs() <= tolerance);
    (!fine).then(|| format!("{what}: relative error {error:.1e}, over {tolerance:.0e}"))
}

/// Outputs, losses and gradients of an engine.
fn compare(engine: &Engine, expected: &Expected, tolerance: f64) -> Vec<String> {
    let images = images(expected);
    let outputs = values(&first_output(engine, &images));
    let truth = expected.outputs.concat();
    let scale = truth.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let mut wrong = Vec::from_iter(differences("outputs", &outputs, &truth, scale, tolerance));
    for (n, label) in expected.labels.iter().enumerate() {
        let (image, target) = (images.narrow(0, n as i64, 1), one_hot(&[*label], expected.outputs[0].len()));
        let (loss, gradient) =
            engine.gradient(&labelled(engine, &image, &target)).unwrap_or_else(|e| panic!("{}: {e}", expected.model));
        let truth = expected.losses[n];
        wrong.extend(differences("loss", &[loss], &[truth], truth.max(1.0), tolerance));
        let whole = expected.gradients.iter().map(|g| g.norm[n].powi(2)).sum::<f64>().sqrt();
        let gradient = values(gradient.entries());
        let along = direction(engine, "direction.");
        for (place, truth) in engine.layout().places.iter().zip(&expected.gradients) {
            let range = place.offset as usize..(place.offset + place.len) as usize;
            let (own, along) = (&gradient[range.clone()], &along[range]);
            let norm = own.iter().map(|g| g * g).sum::<f64>().sqrt();
            let product = own.iter().zip(along).map(|(g, d)| g * d).sum::<f64>();
            let scale = truth.norm[n].max(1e-3 * whole);
            let what = |part| format!("image {n}, {part} of the gradient of `{}`", truth.name);
            wrong.extend(differences(&what("norm"), &[norm], &[truth.norm[n]], scale, tolerance));
            wrong.extend(differences(&what("product"), &[product], &[truth.product[n]], scale, tolerance));
        }
    }
    wrong
}

fn zoo_models() -> Vec<(Model, Expected)> {
    zoo()
        .iter()
        .map(|entry| {
            let expected = expected(&fixtures().join(format!("zoo/{}.json", entry.name)));
            let [_, channels, height, width] = expected.images.dims;
            let (input, classes) = ([channels, height, width], expected.outputs[0].len());
            let options = ModelOptions { input, classes, ..entry.defaults.clone() };
            let mut model = build(entry.name, &options).expect("a model of the zoo");
            seeded::overwrite(&mut model, expected.seed, expected.gain);
            (model, expected)
        })
        .collect()
}

fn report(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

/// Every parameter of every image in float64, where a Relu's or a maximum's kink is as good as never crossed; and of one
/// image outputs, loss and whole gradient in float32, as far from the float64 ones as rounding explains.
fn hold(name: &str, model: &Model, expected: &Expected, tolerance: f64) -> Vec<String> {
    let load = |model: &Model, kind| engine(model, expected.gradients.iter().map(|g| g.name.clone()).collect(), kind);
    let image = images(expected).narrow(0, 0, 1);
    let target = one_hot(&expected.labels[..1], expected.outputs[0].len());
    // Outputs and loss, and the gradient.
    let ask = |engine: &Engine, image: &Tensor| {
        let (loss, gradient) =
            engine.gradient(&labelled(engine, image, &target)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut outputs = values(&first_output(engine, image));
        outputs.push(loss);
        (outputs, values(gradient.entries()))
    };
    let wide = load(model, Kind::Double);
    let mut wrong = compare(&wide, expected, tolerance);
    let (outputs, gradient) = ask(&wide, &image);
    drop(wide);
    let (engine, pixels, mut answers) = (load(model, Kind::Float), narrow(&values(&image)), Vec::new());
    let found = Float32::measure(|draw| {
        let pixels = draw.map_or_else(|| pixels.clone(), |draw| moved(&pixels, draw));
        let (outputs, gradient) = ask(&engine, &Tensor::from_slice(&pixels).reshape(image.size()));
        answers.push(narrow(&outputs));
        Ok::<_, ()>(narrow(&gradient))
    });
    let of_gradient = found.expect("gradients");
    let mut answers = answers.into_iter();
    let of_outputs = Float32::measure(|_| answers.next().ok_or(())).expect("as many outputs");
    for (what, found, off) in [
        ("outputs", &of_outputs, of_outputs.off(&outputs)),
        ("gradient", &of_gradient, of_gradient.off_as_a_whole(&gradient)),
    ] {
        println!("{name:36} {what:9} {off:.2} of {:.1e}", found.allowed());
        if off.is_nan() || off > 1.0 {
            wrong.push(format!("{what} in float32: {off:.2} times what rounding explains"));
        }
    }
    wrong.into_iter().map(|w| format!("{name}: {w}")).collect()
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|x| *x as f32).collect()
}

/// The fixtures have nine digits.
#[test]
fn gradients_of_the_zoo_are_those_of_pytorch() {
    let hold = |(model, expected): (Model, Expected)| hold(&expected.model, &model, &expected, 1e-7);
    report(zoo_models().into_iter().flat_map(hold).collect());
}

/// Products with both curvature matrices and the outputs' derivative, in both ways to the Hessian.
#[test]
fn curvature_products_of_the_zoo_are_those_of_pytorch() {
    let mut wrong = Vec::new();
    let mut compared = 0;
    // Their blocks are those of the smaller ResNets, and libtorch's float64 convolutions are slow.
    const LARGE: [&str; 3] = ["resnet18", "resnet34-imagenet", "resnet50-imagenet"];
    let large = |expected: &Expected| LARGE.contains(&expected.model.as_str()) && !whole_suite();
    for (model, expected) in zoo_models().into_iter().filter(|(_, expected)| !large(expected)) {
        let images = images(&expected);
        let targets = one_hot(&expected.labels, expected.outputs[0].len());
        for truth in &expected.curvature {
            let in_scope =
                |name: &&String| truth.scope == "all" || model.graph.initializers[name.as_str()].dims().len() >= 2;
            let parameters = expected.gradients.iter().map(|g| &g.name).filter(in_scope).cloned().collect();
            let engine = engine(&model, parameters, Kind::Double);
            let [d, e] = ["direction.", "second_direction."].map(|prefix| direction(&engine, prefix));
            let d_vector = engine.upload(&Tensor::from_slice(&d)).expect("a vector");
            let batch = labelled(&engine, &images, &targets);
            let (_, tangents) = engine.jvp(&batch, &d_vector).expect("a derivative").values.remove(0);
            let products = [
                ("Gauss-Newton", truth.gauss_newton, engine.gauss_newton_product(&batch, &d_vector)),
                ("Hessian, forward", truth.hessian, engine.hessian_product(&batch, &d_vector)),
                ("Hessian, reverse", truth.hessian, engine.hessian_product_by_reverse(&batch, &d_vector)),
            ];
            let mut check = |what: &str, found: &[f64], truth_values: &[f64]| {
                let what = format!("{}, {}: {what}", expected.model, truth.scope);
                let scale = truth_values.iter().fold(0.0f64, |m, v| m.max(v.abs()));
                wrong.extend(differences(&what, found, truth_values, scale, 1e-6));
                compared += 1;
            };
            check("tangents", &values(&tangents), &truth.tangents.concat());
            for (what, truth_values, product) in products {
                let product = values(product.unwrap_or_else(|e| panic!("{}: {e}", expected.model)).entries());
                let times = |v: &[f64]| v.iter().zip(&product).map(|(a, b)| a * b).sum::<f64>();
                check(what, &[times(&d), times(&e)], &truth_values);
            }
        }
    }
    report(wrong);
    assert!(compared >= 4 * (zoo().len() - 3), "{compared} comparisons: a fixture has no curvature");
}

/// torchvision's classifiers as both of PyTorch's exporters write them, and timm's as one does.
#[test]
fn gradients_of_exported_models_are_those_of_pytorch() {
    let hold = |network: networks::Exported| {
        let expected = serde_json::from_str(&network.expected()).unwrap_or_else(|e| panic!("{}: {e}", network.name));
        hold(&network.name, &network.model(), &expected, 1e-6)
    };
    report(networks::to_test().into_iter().flat_map(hold).collect());
}

/// Networks that between them have every operator with a second derivative of its own.
const BOTH_WAYS: [&str; 8] = [
    "convnext_tiny.dynamo",
    "efficientnet_b0.torchscript",
    "mobilenet_v3_small.dynamo",
    "resnet18.torchscript-bn",
    "shufflenet_v2_x1_0.torchscript",
    "squeezenet1_1.dynamo",
    "swin_t.dynamo",
    "swin_v2_t.torchscript",
];

/// Forward over reverse against reverse over reverse: two derivations of the same product, so that an operator whose
/// backward pass has a wrong or missing derivative in either mode shows. In float64, but for the largest terms both
/// lose to rounding what cancels, hence 1e-8.
#[test]
fn both_ways_to_the_hessian_agree_on_exported_models() {
    let mut wrong = Vec::new();
    let mut chosen = networks::all();
    chosen.retain(|network| BOTH_WAYS.contains(&network.name.as_str()));
    assert_eq!(chosen.len(), BOTH_WAYS.len(), "a network of the list is not among the fixtures");
    for network in chosen {
        let (name, model) = (network.name.as_str(), network.model());
        let expected: Expected = serde_json::from_str(&network.expected()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let engine = engine(&model, expected.gradients.iter().map(|g| g.name.clone()).collect(), Kind::Double);
        let image = images(&expected).narrow(0, 0, 1);
        let target = one_hot(&expected.labels[..1], expected.outputs[0].len());
        let v = engine.upload(&Tensor::from_slice(&direction(&engine, "direction."))).expect("a vector");
        let batch = labelled(&engine, &image, &target);
        let forward = engine.hessian_product(&batch, &v).unwrap_or_else(|e| panic!("{name}: {e}"));
        let reverse = engine.hessian_product_by_reverse(&batch, &v).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (forward, reverse) = (values(forward.entries()), values(reverse.entries()));
        let scale = reverse.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        wrong.extend(differences(name, &forward, &reverse, scale, 1e-8));
    }
    report(wrong);
}
