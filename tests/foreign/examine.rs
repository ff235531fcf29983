//! Both forms of one network against a derivative that comes from elsewhere.

use crate::classes::Classes;
use crate::network::{Network, OUTPUT};
use isal::influence::{GradientEngine as _, spearman};
use isal::plugin::{LoadOptions, Plugin, PluginEngine, Precision};
use isal::runtime::{ExecutionProvider, Library, Session, SessionOptions};
use isal_exporters::seeded;
use isal_onnx::influence::{Difference, Direction, INFLUENCE_PER_CLASS, Paired, TangentOptions, shadow};
use isal_onnx::tangent::{Target, tangents};
use isal_onnx::testing::rounding::{Float32, moved, moved_model};
use isal_onnx::{Model, Tensor};
use ndarray::{Array2, Array4, ArrayView2, Axis, Ix2};

/// Relative steps that the paired form is tried at for the page. Under these float32 weights cannot hold the step.
const STEPS: [f64; 6] = [1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6];
/// What a test takes.
const STEP: f64 = 1e-4;

/// Weights above which the plugin computes in float32: float64 would take several GB.
const FLOAT64_UNTIL: usize = 30_000_000;

/// A truth to seven digits: what the plugin hands out is float32.
const FLOAT64: &str = "the plugin's float64";

/// What was found; a form that does not work says why.
pub struct Found {
    /// Where the truth comes from.
    pub truth: &'static str,
    pub tangent: Result<Form, String>,
    /// Error of the tangent graph itself as the plugin runs it in float64, where that can be.
    pub in_float64: Option<f64>,
    pub paired: Result<Pair, String>,
}

/// A form as ONNX Runtime runs it in float32.
pub struct Form {
    /// Largest error of its derivative and influences, each over the largest of its kind.
    pub error: f64,
    /// The same of what float32 (and a step) explains: at most 1.
    pub off: f64,
}

/// The paired form at one step.
pub struct Pair {
    pub form: Form,
    /// Rank agreement of the influences, of all images under all classes.
    pub spearman: f64,
    pub step: f64,
}

/// Outputs `[N, K]` and their derivative.
struct Truth {
    from: &'static str,
    outputs: Array2<f64>,
    derivative: Array2<f64>,
}

pub struct Bench {
    pub library: Library,
    pub plugin: Plugin,
}

fn text<E: std::fmt::Display>(e: E) -> String {
    e.to_string()
}

impl Bench {
    pub fn examine(&self, network: &Network) -> Result<Found, String> {
        let direction = direction(network);
        let truth = match self.native(network, &direction) {
            Ok(truth) => truth,
            Err(_) => self.central(network, &direction)?,
        };
        let plain = self.measure(network, OUTPUT, |model| Ok(model.clone()))?;
        let forward = plain.off(&flat(&truth.outputs));
        if forward.is_nan() || forward > 1.0 {
            return Err(format!(
                "the plugin's outputs are {forward:.1} times as far off ONNX Runtime's as float32 explains"
            ));
        }
        let tangent = self.tangent(network, &direction, &truth);
        let in_float64 = match tangent {
            Ok(_) if truth.from == FLOAT64 => Some(self.wide(network, &direction, &truth)?),
            _ => None,
        };
        let paired = self.paired(network, &direction, &truth);
        Ok(Found { truth: truth.from, tangent, in_float64, paired })
    }

    /// An output of a graph of the network, and what float32 makes of it: of moved pixels, or of moved weights where the graph
    /// rounds what it is given to whole numbers.
    fn measure(
        &self,
        network: &Network,
        output: &str,
        build: impl Fn(&Model) -> Result<Model, String>,
    ) -> Result<Float32, String> {
        let narrow = |found: Array2<f64>| found.into_iter().map(|x| x as f32).collect();
        if network.takes_whole_numbers() {
            return Float32::measure(|draw| {
                let moved = draw.map(|draw| moved_model(&network.model, &network.parameters, draw));
                let built = build(moved.as_ref().unwrap_or(&network.model))?;
                Ok(narrow(self.run(&built, network, output)?))
            });
        }
        let mut session = self.open(&build(&network.model)?)?;
        Float32::measure(|draw| {
            let pixels = network.images.as_slice().ok_or("in order")?;
            let pixels = draw.map_or_else(|| pixels.to_vec(), |draw| moved(pixels, draw));
            let images = Array4::from_shape_vec(network.images.dim(), pixels).map_err(text)?;
            Ok(narrow(answer(&mut session, &images, output)?))
        })
    }

    fn open(&self, model: &Model) -> Result<Session, String> {
        let scratch = tempfile::tempdir().map_err(text)?;
        let path = scratch.path().join("model.onnx");
        model.write(&path).map_err(text)?;
        let options = SessionOptions { provider: ExecutionProvider::Cpu, threads: 0 };
        Session::open(&self.library, &path, options).map_err(text)
    }

    fn run(&self, model: &Model, network: &Network, output: &str) -> Result<Array2<f64>, String> {
        answer(&mut self.open(model)?, &network.images, output)
    }

    /// The plugin's forward-mode derivative.
    fn native(&self, network: &Network, direction: &Direction) -> Result<Truth, String> {
        let count: usize = direction.values().map(Tensor::len).sum();
        let large = count > FLOAT64_UNTIL;
        let load = LoadOptions {
            parameters: network.parameters.clone(),
            precision: if large { Precision::Float32 } else { Precision::Float64 },
            ..LoadOptions::default()
        };
        let mut engine = PluginEngine::from_model(&self.plugin, &network.model, &load).map_err(text)?;
        let entries: Vec<f32> = direction.values().filter_map(Tensor::to_vec::<f32>).flatten().collect();
        let s = engine.upload(&entries).map_err(text)?;
        let jvp = engine.jvp(network.images.view(), &s).map_err(text)?;
        let from = if large { "the plugin's float32" } else { FLOAT64 };
        Ok(Truth { from, outputs: jvp.outputs.mapv(f64::from), derivative: jvp.tangents.mapv(f64::from) })
    }

    /// ONNX Runtime's own outputs a step ahead and a step back.
    fn central(&self, network: &Network, direction: &Direction) -> Result<Truth, String> {
        let back: Direction = direction
            .iter()
            .filter_map(|(name, t)| {
                let values: Vec<f32> = t.to_vec::<f32>()?.iter().map(|x| -x).collect();
                Some((name.clone(), Tensor::new(t.dims(), &values)))
            })
            .collect();
        let at = |s: &Direction| -> Result<(Array2<f64>, f64), String> {
            let made = shadow(&network.model, s, 1e-4, false).map_err(text)?;
            Ok((self.run(&made.model, network, OUTPUT)?, made.eps))
        };
        let ((ahead, eps), (behind, _)) = (at(direction)?, at(&back)?);
        let outputs = self.run(&network.model, network, OUTPUT)?;
        Ok(Truth { from: "central difference", outputs, derivative: (ahead - behind) / (2.0 * eps) })
    }

    /// The derivative of the output as an output, and the influences that a finished graph gives.
    fn tangent(&self, network: &Network, direction: &Direction, truth: &Truth) -> Result<Form, String> {
        let derivative = self.measure(network, &format!("tangent_of_{OUTPUT}"), |model| {
            tangents(model, direction, &[OUTPUT], Target::Any).map_err(text)
        })?;
        let options = options(truth);
        let influences = self.measure(network, INFLUENCE_PER_CLASS, |model| {
            options.tangent(model, std::slice::from_ref(direction), TangentOptions::default()).map_err(text)
        })?;
        let of = |found: &Float32, truth: &Array2<f64>| {
            let truth = flat(truth);
            Form { error: found.error(&truth) / largest(&truth), off: found.off(&truth) }
        };
        Ok(of(&derivative, &truth.derivative).or_worse(&of(&influences, &truth.influences())))
    }

    /// Error of the tangent graph in the plugin's float64.
    fn wide(&self, network: &Network, direction: &Direction, truth: &Truth) -> Result<f64, String> {
        let built = tangents(&network.model, direction, &[OUTPUT], Target::Any).map_err(text)?;
        let load = LoadOptions {
            parameters: network.parameters.clone(),
            precision: Precision::Float64,
            ..LoadOptions::default()
        };
        let engine = PluginEngine::from_model(&self.plugin, &built, &load).map_err(text)?;
        let outputs = engine.forward_all(network.images.view()).map_err(text)?;
        let name = format!("tangent_of_{OUTPUT}");
        let found = outputs.into_iter().find(|a| a.name == name).ok_or("no tangent")?.values;
        let found = found.into_dimensionality::<Ix2>().map_err(text)?.mapv(f64::from);
        Ok(error(found.view(), truth.derivative.view()))
    }

    fn paired(&self, network: &Network, direction: &Direction, truth: &Truth) -> Result<Pair, String> {
        let plain = self.run(&network.model, network, OUTPUT)?;
        // The step that serves it best, where a page is to be written.
        let step = if std::env::var_os("ISAL_BLESS").is_none() {
            STEP
        } else {
            let mut best = (f64::INFINITY, f64::NAN);
            for step in STEPS {
                let made = shadow(&network.model, direction, step, false).map_err(text)?;
                let derivative = (self.run(&made.model, network, OUTPUT)? - &plain) / made.eps;
                let off = error(derivative.view(), truth.derivative.view());
                if off < best.0 {
                    best = (off, step);
                }
            }
            best.1
        };
        let options = options(truth);
        let at = |relative_step: f64| {
            let how = Paired { relative_step, difference: Difference::OneSided };
            let options = &options;
            move |model: &Model| options.paired(model, std::slice::from_ref(direction), how).map_err(text)
        };
        let found = self.measure(network, INFLUENCE_PER_CLASS, at(step))?;
        // What a step does wrong grows with it: one four times as long is as far off the derivative as the two are apart.
        let long = self.run(&at(4.0 * step)(&network.model)?, network, INFLUENCE_PER_CLASS)?;
        let exact = flat(&truth.influences());
        let explained = found.explained(&exact) + found.error(&flat(&long));
        let influences: Vec<f64> = found.answer.iter().map(|x| f64::from(*x)).collect();
        let error = found.error(&exact);
        Ok(Pair {
            form: Form { error: error / largest(&exact), off: error / explained },
            spearman: spearman(&influences, &exact).unwrap_or(f64::NAN),
            step,
        })
    }
}

impl Form {
    fn or_worse(self, other: &Form) -> Form {
        Form { error: worse(self.error, other.error), off: worse(self.off, other.off) }
    }
}

fn flat(array: &Array2<f64>) -> Vec<f64> {
    array.iter().copied().collect()
}

fn largest(truth: &[f64]) -> f64 {
    truth.iter().fold(f64::MIN_POSITIVE, |a, x| a.max(x.abs()))
}

/// `[N, K]`, and influences `[N, K]`.
fn answer(session: &mut Session, images: &Array4<f32>, output: &str) -> Result<Array2<f64>, String> {
    let found = session.run(images.view(), &[output]).map_err(text)?.remove(0);
    Ok(found.into_dimensionality::<Ix2>().map_err(text)?.mapv(f64::from))
}

impl Truth {
    /// Influence of each sample under each class label: with `p` the softmax and `o'` the derivative,
    /// `o'_j - sum_c p_c o'_c`.
    fn influences(&self) -> Array2<f64> {
        let mut all = self.derivative.clone();
        for (mut row, o) in all.outer_iter_mut().zip(self.outputs.outer_iter()) {
            let top = o.fold(f64::NEG_INFINITY, |a, x| a.max(*x));
            let p = o.mapv(|x| (x - top).exp());
            let mean = (&p * &row).sum() / p.sum();
            row -= mean;
        }
        all
    }
}

fn options(truth: &Truth) -> Classes {
    let classes = truth.outputs.len_of(Axis(1));
    Classes { logits: OUTPUT.to_owned(), classes, top_k: 1, per_class: true, embedding: false }
}

/// Largest difference over the largest number of the truth. Not a number anywhere is not a number here.
fn error(found: ArrayView2<f64>, truth: ArrayView2<f64>) -> f64 {
    if found.shape() != truth.shape() {
        return f64::NAN;
    }
    let scale = truth.fold(f64::MIN_POSITIVE, |a, x| a.max(x.abs()));
    let off = found.iter().zip(truth).map(|(f, t)| (f - t).abs() / scale);
    off.fold(0.0, worse)
}

/// The larger of two errors, where not a number is the largest.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// A direction of each weight's own size.
fn direction(network: &Network) -> Direction {
    let block = |name: &String| {
        let weight = &network.model.graph.initializers[name.as_str()];
        let values = weight.to_vec::<f32>()?;
        let square: f64 = values.iter().map(|x| f64::from(*x).powi(2)).sum();
        let size = (square / values.len().max(1) as f64).sqrt().max(1e-3);
        let along = seeded::uniform(11, &format!("along.{name}"), values.len(), -size..size);
        Some((name.clone(), Tensor::new(weight.dims(), &along)))
    };
    network.parameters.iter().filter_map(block).collect()
}
