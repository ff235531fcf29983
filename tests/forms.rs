//! Both forms of the influence graph, over whole networks that were exported elsewhere, against the plugin.
//!
//! ONNX Runtime runs the graphs in float32; the truth is the plugin's directional derivative in float64, contracted here. How
//! far float32 may be from it is measured for each graph (`testing::rounding`); what is the graph's own and no rounding, the
//! plugin shows by running the same graph in float64. The direction is a gradient of the loss, what an identity solver would
//! give. Needs the plugin and ONNX Runtime (`make plugin`).

#[path = "fixtures/classes.rs"]
mod classes;
#[path = "fixtures/networks.rs"]
mod networks;

use classes::Classes;
use isal::influence::{Annotations, GradientEngine as _};
use isal::plugin::{LoadOptions, Plugin, PluginEngine, Precision};
use isal::runtime::{ExecutionProvider, Library, Session, SessionOptions};
use isal::task::{CLASS_WEIGHTS, Task};
use isal_exporters::seeded;
use isal_onnx::influence::{Difference, Direction, INFLUENCE_PER_CLASS, Paired, TangentOptions};
use isal_onnx::tangent::Target;
use isal_onnx::testing::rounding::{Float32, moved};
use isal_onnx::{Model, Scope, Tensor};
use ndarray::{Array2, Array4, ArrayView2};
use networks::Exported;

const IMAGES: usize = 2;
/// Largest error of the tangent graph in float64, over the largest influence: what the plugin hands out is float32.
const EXACT: f64 = 1e-6;
/// Steps of the paired form, of the weights' length: the first is held, the second, four times as long, shows how much of its
/// error is the step's.
const STEPS: [f64; 2] = [2.5e-5, 1e-4];
/// How much more of its error a free pair may owe to its step than the longer step shows: kinks are few, so a step four times
/// as long crosses four times as many only on average. A held pair crosses none.
const KINKS: f64 = 2.0;
/// What of the largest influence float32 and the step may explain together, lest the paired form be held to nothing.
const EXPLAINED: f64 = 0.2;

fn text<E: std::fmt::Display>(e: E) -> String {
    e.to_string()
}

/// `-(p - onehot(label)) . o'` of every image under every label, in float64.
fn influences(o: ArrayView2<f64>, moved: ArrayView2<f64>) -> Vec<f64> {
    let row = |(o, d): (ndarray::ArrayView1<f64>, ndarray::ArrayView1<f64>)| {
        let top = o.fold(f64::NEG_INFINITY, |a, x| a.max(*x));
        let p = o.mapv(|x| (x - top).exp());
        let mean = (&p * &d).sum() / p.sum();
        d.iter().map(|d| d - mean).collect::<Vec<_>>()
    };
    o.outer_iter().zip(moved.outer_iter()).flat_map(row).collect()
}

fn dims(network: &Exported) -> [usize; 4] {
    let expected: serde_json::Value = serde_json::from_str(&network.expected()).expect("JSON");
    let sizes: Vec<usize> = serde_json::from_value(expected["images"]["dims"].clone()).expect("dims");
    [IMAGES, sizes[1], sizes[2], sizes[3]]
}

/// A network, a direction over its weights, and the derivative along it.
struct Case<'a> {
    library: &'a Library,
    plugin: &'a Plugin,
    model: Model,
    images: Array4<f32>,
    parameters: Vec<String>,
    direction: Direction,
    options: Classes,
    /// Influences, images by classes.
    exact: Vec<f64>,
}

/// The task of a model whose classes its file declares.
fn task(model: &Model, logits: &str) -> Result<Task, String> {
    let mut typed = model.clone();
    typed.infer_shapes().map_err(text)?;
    let shape = typed.graph.value_type(logits).and_then(|t| t.shape);
    let classes = shape.and_then(|dims| dims.get(1)?.known()).ok_or("no number of classes")?;
    Task::single_label(logits, classes, 1, model.opset()).map_err(text)
}

impl<'a> Case<'a> {
    fn new(network: &Exported, library: &'a Library, plugin: &'a Plugin) -> Result<Self, String> {
        let model = network.model();
        let logits = model.graph.outputs.first().ok_or("no output")?.name.clone();
        let parameters = model.graph.parameters(&Scope::Weights).map_err(text)?;
        let dims = dims(network);
        let images = Array4::from_shape_vec(dims, seeded::images(1, dims).to_vec().ok_or("float32")?).map_err(text)?;
        let load = LoadOptions {
            parameters: parameters.clone(),
            task: Some(task(&model, &logits)?),
            precision: Precision::Float64,
            ..LoadOptions::default()
        };
        let mut engine = PluginEngine::from_model(plugin, &model, &load).map_err(text)?;
        let classes = engine.forward(images.view()).map_err(text)?.ncols();
        let labels = Array2::from_shape_fn((IMAGES, classes), |(n, c)| f32::from(u8::from(n % classes == c)));
        let (_, gradient) =
            engine.gradient(images.view(), &Annotations::numbers(CLASS_WEIGHTS, labels)).map_err(text)?;
        // As float32, which is what the graphs are made with.
        let entries = engine.download(&gradient).map_err(text)?;
        let along = engine.upload(&entries).map_err(text)?;
        let (outputs, tangents) = engine.jvp_float64(images.mapv(f64::from).view(), &along).map_err(text)?;
        let exact = influences(outputs.view(), tangents.view());
        let mut direction = Direction::new();
        let mut at = 0;
        for name in &parameters {
            let block = model.graph.initializers[name.as_str()].dims().to_vec();
            let count: usize = block.iter().product();
            direction.insert(name.clone(), Tensor::new(block, &entries[at..at + count]));
            at += count;
        }
        let options = Classes { logits, classes, top_k: 1, per_class: true, embedding: false };
        Ok(Case { library, plugin, model, images, parameters, direction, options, exact })
    }

    /// Influences that ONNX Runtime gives by a graph, with what float32 makes of it.
    fn measure(&self, built: &Model) -> Result<Float32, String> {
        let scratch = tempfile::tempdir().map_err(text)?;
        let path = scratch.path().join("influence.onnx");
        built.write(&path).map_err(text)?;
        let options = SessionOptions { provider: ExecutionProvider::Cpu, threads: 0 };
        let mut session = Session::open(self.library, &path, options).map_err(text)?;
        Float32::measure(|draw| {
            let pixels = self.images.as_slice().ok_or("in order")?;
            let pixels = draw.map_or_else(|| pixels.to_vec(), |draw| moved(pixels, draw));
            let images = Array4::from_shape_vec(self.images.dim(), pixels).map_err(text)?;
            let found = session.run(images.view(), &[INFLUENCE_PER_CLASS]).map_err(text)?.remove(0);
            Ok(found.into_iter().collect())
        })
    }

    fn tangent(&self) -> Result<Model, String> {
        // As a sweep on this machine makes it.
        let how = TangentOptions { target: Target::Cpu, ..TangentOptions::default() };
        self.options.tangent(&self.model, std::slice::from_ref(&self.direction), how).map_err(text)
    }

    /// Largest error of the tangent graph as the plugin runs it in float64, of the largest influence.
    fn in_float64(&self, built: &Model) -> Result<f64, String> {
        let load = LoadOptions {
            parameters: self.parameters.clone(),
            task: Some(task(&self.model, &self.options.logits)?),
            precision: Precision::Float64,
            ..LoadOptions::default()
        };
        let engine = PluginEngine::from_model(self.plugin, built, &load).map_err(text)?;
        let outputs = engine.forward_all(self.images.view()).map_err(text)?;
        let found = &outputs.iter().find(|a| a.name == INFLUENCE_PER_CLASS).ok_or("no influences")?.values;
        if found.len() != self.exact.len() {
            return Err(format!("{} influences instead of {}", found.len(), self.exact.len()));
        }
        let scale = self.exact.iter().fold(f64::MIN_POSITIVE, |a, x| a.max(x.abs()));
        let off = found.iter().zip(&self.exact).map(|(f, e)| (f64::from(*f) - e).abs() / scale);
        Ok(off.fold(0.0, |a, x| if x.is_nan() { x } else { a.max(x) }))
    }

    /// The error of a difference, of what float32 and its step explain; and what these are of the largest influence.
    ///
    /// What a step does wrong grows with it, so a step four times as long is at least as far from the derivative as the
    /// distance between the two shows.
    fn paired(&self, difference: Difference) -> Result<(f64, f64), String> {
        let at = |relative_step: f64| {
            let how = Paired { relative_step, difference };
            let built = self.options.paired(&self.model, std::slice::from_ref(&self.direction), how);
            self.measure(&built.map_err(text)?)
        };
        let [short, long] = STEPS.map(at);
        let (short, long) = (short?, long?);
        let long: Vec<f64> = long.answer.iter().map(|x| f64::from(*x)).collect();
        let explained = short.explained(&self.exact) + short.error(&long);
        let scale = self.exact.iter().fold(f64::MIN_POSITIVE, |a, x| a.max(x.abs()));
        Ok((short.error(&self.exact) / explained, explained / scale))
    }
}

/// What is wrong with a network.
fn examine(network: &Exported, library: &Library, plugin: &Plugin) -> Result<Vec<String>, String> {
    let case = Case::new(network, library, plugin)?;
    let built = case.tangent()?;
    let (wide, tangent) = (case.in_float64(&built)?, case.measure(&built)?);
    drop(built);
    let (free, held) = (case.paired(Difference::OneSided)?, case.paired(Difference::Held)?);
    let off = tangent.off(&case.exact);
    println!(
        "{:36} tangent {wide:.0e}, {off:.2} of {:.0e}   paired {:.2} of {:.0e}   held {:.2} of {:.0e}",
        network.name,
        tangent.allowed(),
        free.0,
        free.1,
        held.0,
        held.1
    );
    let over = |x: f64, bound: f64| x.is_nan() || x > bound;
    let mut wrong = Vec::new();
    for (what, found, bound) in [
        ("error of the tangent graph in float64", wide, EXACT),
        ("error of the tangent graph, of what float32 explains", off, 1.0),
        ("error of the paired graph, of what float32 and the step explain", free.0, KINKS),
        ("error of the held graph, of what float32 and the step explain", held.0, 1.0),
        ("what is explained of the held graph", held.1, EXPLAINED),
    ] {
        if over(found, bound) {
            wrong.push(format!("{}: {what}: {found:.2e}, over {bound:.0e}", network.name));
        }
    }
    Ok(wrong)
}

#[test]
fn both_forms_give_the_influences_of_the_plugin_over_exported_networks() {
    let library = Library::load(None).expect("ONNX Runtime: run `make setup`");
    let plugin = Plugin::find(None).expect("the plugin: run `make plugin`");
    let mut wrong = Vec::new();
    for network in networks::to_test() {
        match examine(&network, &library, &plugin) {
            Ok(found) => wrong.extend(found),
            Err(error) => wrong.push(format!("{}: {error}", network.name)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
