//! Whole networks against PyTorch's autograd in float64, from the files of `tests/fixtures`.
//!
//! A gradient is compared parameter by parameter and image by image: its norm, and its inner product with a direction
//! of random entries in [-1, 1), which is about `norm / sqrt(3)` for a gradient of any shape. A difference is relative
//! to the parameter's norm, or to a thousandth of the whole gradient's where that is more: a parameter which hardly
//! matters is known only to the rounding of the others.

use isal_exporters::{build, seeded, zoo};
use isal_onnx::Model;
use isal_plugin_tch::{Engine, Options};
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
    gradient_error_of_float32: f64,
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
    let options = Options { parameters, loss_output: None, device: "cpu".to_owned(), kind, threads: 0 };
    Engine::load(model, &options).unwrap_or_else(|e| panic!("{e}"))
}

/// What is further from the truth than `tolerance`, in words.
fn differences(what: &str, found: &[f64], truth: &[f64], scale: f64, tolerance: f64) -> Option<String> {
    let pairs = || found.iter().zip(truth);
    let error = pairs().map(|(f, t)| (f - t).abs()).fold(0.0, f64::max) / scale;
    // A NaN is a difference too.
    let fine = found.len() == truth.len() && pairs().all(|(f, t)| ((f - t) / scale).abs() <= tolerance);
    (!fine).then(|| format!("{what}: relative error {error:.1e}, over {tolerance:.0e}"))
}

/// Outputs, losses and gradients of a model.
fn compare(model: &Model, expected: &Expected, kind: Kind, tolerance: f64) -> Vec<String> {
    let engine = engine(model, expected.gradients.iter().map(|g| g.name.clone()).collect(), kind);
    let images = images(expected);
    let outputs = values(&engine.forward(&images).expect("a forward pass")[0].1);
    let truth = expected.outputs.concat();
    let scale = truth.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let mut wrong = Vec::from_iter(differences("outputs", &outputs, &truth, scale, tolerance));
    for (n, label) in expected.labels.iter().enumerate() {
        let (image, target) = (images.narrow(0, n as i64, 1), one_hot(&[*label], expected.outputs[0].len()));
        let (loss, gradient) = engine.gradient(&image, &target).unwrap_or_else(|e| panic!("{}: {e}", expected.model));
        let truth = expected.losses[n];
        wrong.extend(differences("loss", &[loss], &[truth], truth.max(1.0), tolerance));
        let whole = expected.gradients.iter().map(|g| g.norm[n].powi(2)).sum::<f64>().sqrt();
        let gradient = values(gradient.entries());
        let along = direction(&engine, "direction.");
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
            let mut model = build(entry.name, &entry.defaults).expect("a model of the zoo");
            seeded::overwrite(&mut model, expected.seed, expected.gain);
            (model, expected)
        })
        .collect()
}

fn report(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

/// The fixtures have nine digits, and both sides compute in float64.
#[test]
fn gradients_of_the_zoo_are_those_of_pytorch_in_float64() {
    let all = zoo_models();
    let named = |(model, expected): &(Model, Expected)| {
        let wrong = compare(model, expected, Kind::Double, 1e-7);
        wrong.into_iter().map(|w| format!("{}: {w}", expected.model)).collect::<Vec<_>>()
    };
    report(all.iter().flat_map(named).collect());
}

#[test]
fn gradients_of_the_zoo_are_those_of_pytorch_in_float32() {
    let all = zoo_models();
    let named = |(model, expected): &(Model, Expected)| {
        assert!(expected.gradient_error_of_float32 < 1e-5, "{}: float32 cannot be held to 1e-4", expected.model);
        let wrong = compare(model, expected, Kind::Float, 1e-4);
        wrong.into_iter().map(|w| format!("{}: {w}", expected.model)).collect::<Vec<_>>()
    };
    report(all.iter().flat_map(named).collect());
}

/// Products with both curvature matrices and the outputs' derivative, in both ways to the Hessian.
#[test]
fn curvature_products_of_the_zoo_are_those_of_pytorch() {
    let mut wrong = Vec::new();
    let mut compared = 0;
    for (model, expected) in zoo_models() {
        let images = images(&expected);
        let targets = one_hot(&expected.labels, expected.outputs[0].len());
        for truth in &expected.curvature {
            let in_scope =
                |name: &&String| truth.scope == "all" || model.graph.initializers[name.as_str()].dims().len() >= 2;
            let parameters = expected.gradients.iter().map(|g| &g.name).filter(in_scope).cloned().collect();
            // libtorch's float64 convolutions are slow: the largest network is held to what float32 can give.
            let large = expected.model == "resnet18";
            let (kind, tolerance) = if large { (Kind::Float, 1e-4) } else { (Kind::Double, 1e-6) };
            let engine = engine(&model, parameters, kind);
            let [d, e] = ["direction.", "second_direction."].map(|prefix| direction(&engine, prefix));
            let d_vector = engine.upload(&Tensor::from_slice(&d)).expect("a vector");
            let (_, tangents) = engine.jvp(&images, &d_vector).expect("a derivative");
            let products = [
                ("Gauss-Newton", truth.gauss_newton, engine.gauss_newton_product(&images, &targets, &d_vector)),
                ("Hessian, forward", truth.hessian, engine.hessian_product(&images, &targets, &d_vector)),
                ("Hessian, reverse", truth.hessian, engine.hessian_product_by_reverse(&images, &targets, &d_vector)),
            ];
            let mut check = |what: &str, found: &[f64], truth_values: &[f64]| {
                let what = format!("{}, {}: {what}", expected.model, truth.scope);
                let scale = truth_values.iter().fold(0.0f64, |m, v| m.max(v.abs()));
                wrong.extend(differences(&what, found, truth_values, scale, tolerance));
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
    assert!(compared >= 4 * zoo().len(), "{compared} comparisons: a fixture has no curvature");
}

/// torchvision's classifiers as both of PyTorch's exporters write them, and timm's as one does.
fn exported_models() -> Vec<(String, Model, Expected)> {
    let folder = fixtures().join("models");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut folders: Vec<_> = entries.map(|e| e.expect("an entry").path()).filter(|p| p.is_dir()).collect();
    folders.sort();
    let load = |folder: &PathBuf| {
        let mut model = Model::read(folder.join("model.onnx")).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        seeded::fill(&mut model).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        (name, model, expected(&folder.join("expected.json")))
    };
    folders.iter().map(load).collect()
}

/// Norm of the whole gradient and its product with the direction, image by image, against the fixture's, summed over the
/// parameters; the product to `kinks`, the rest to `tolerance`.
fn compare_whole(model: &Model, expected: &Expected, tolerance: f64, kinks: f64) -> Vec<String> {
    let engine = engine(model, expected.gradients.iter().map(|g| g.name.clone()).collect(), Kind::Float);
    let (images, along) = (images(expected), direction(&engine, "direction."));
    let mut wrong = Vec::new();
    for (n, label) in expected.labels.iter().enumerate() {
        let (image, target) = (images.narrow(0, n as i64, 1), one_hot(&[*label], expected.outputs[0].len()));
        let (loss, gradient) = engine.gradient(&image, &target).unwrap_or_else(|e| panic!("{}: {e}", expected.model));
        let gradient = values(gradient.entries());
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        let product = gradient.iter().zip(&along).map(|(g, d)| g * d).sum::<f64>();
        let truth_norm = expected.gradients.iter().map(|g| g.norm[n].powi(2)).sum::<f64>().sqrt();
        let truth_product = expected.gradients.iter().map(|g| g.product[n]).sum::<f64>();
        let mut check = |what: &str, found: f64, truth: f64, scale: f64, tolerance: f64| {
            wrong.extend(differences(&format!("image {n}, {what}"), &[found], &[truth], scale, tolerance));
        };
        check("loss", loss, expected.losses[n], expected.losses[n].max(1.0), tolerance);
        check("norm", norm, truth_norm, truth_norm, tolerance);
        check("product", product, truth_product, truth_norm, kinks);
    }
    wrong
}

/// Every parameter in float64, where a Relu's or a maximum's kink is as good as never crossed, and the gradient as a
/// whole in float32. There rounding carries a few of millions of values across, and each bends the gradient a little to
/// the side, which hardly changes its norm: the product with a direction is held to 1e-3.
#[test]
fn gradients_of_exported_models_are_those_of_pytorch() {
    let mut wrong = Vec::new();
    let all = exported_models();
    assert!(all.len() >= 65, "{} models", all.len());
    for (name, model, expected) in all {
        let wide = compare(&model, &expected, Kind::Double, 1e-6).into_iter().map(|w| format!("{name}, float64: {w}"));
        let narrow = compare_whole(&model, &expected, 1e-4, 1e-3).into_iter().map(|w| format!("{name}, float32: {w}"));
        wrong.extend(wide.chain(narrow));
    }
    report(wrong);
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
    let all = exported_models();
    let chosen: Vec<_> = all.iter().filter(|(name, ..)| BOTH_WAYS.contains(&name.as_str())).collect();
    assert_eq!(chosen.len(), BOTH_WAYS.len(), "a network of the list is not among the fixtures");
    for (name, model, expected) in chosen {
        let engine = engine(model, expected.gradients.iter().map(|g| g.name.clone()).collect(), Kind::Double);
        let image = images(expected).narrow(0, 0, 1);
        let target = one_hot(&expected.labels[..1], expected.outputs[0].len());
        let v = engine.upload(&Tensor::from_slice(&direction(&engine, "direction."))).expect("a vector");
        let forward = engine.hessian_product(&image, &target, &v).unwrap_or_else(|e| panic!("{name}: {e}"));
        let reverse = engine.hessian_product_by_reverse(&image, &target, &v).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (forward, reverse) = (values(forward.entries()), values(reverse.entries()));
        let scale = reverse.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        wrong.extend(differences(name, &forward, &reverse, scale, 1e-8));
    }
    report(wrong);
}
