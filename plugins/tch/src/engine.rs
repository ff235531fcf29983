//! A loaded model: weights on the device, the graph ready to run, batches checked before they reach it.

use crate::layout::Layout;
use crate::program::{Feed, Plan, Program, Run};
use crate::{Failure, Numerics, Vector, device, ops, settings};
use isal_onnx::{DataType, Dim, Model, ValueInfo};
use tch::{Kind, Tensor};

/// How to load a model.
#[derive(Debug, Clone)]
pub struct Options {
    /// Initializers that take part, in the order vectors hold them.
    pub parameters: Vec<String>,
    /// Value that the loss is taken of, an output or an inner value; `None` for the first output.
    pub loss_output: Option<String>,
    /// `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// `Kind::Float` or `Kind::Double`.
    pub kind: Kind,
    /// Threads to use on the CPU; 0 takes the cores that the process may use.
    pub threads: u32,
}

/// A model ready to be run and differentiated.
pub struct Engine {
    pub(crate) program: Program,
    pub(crate) numerics: Numerics,
    pub(crate) layout: Layout,
    /// All parameters in scope, one vector; [`Engine::parameters`] are views of it.
    pub(crate) theta: Tensor,
    pub(crate) statistics: Vec<Tensor>,
    pub(crate) momentum: Option<Tensor>,
    all: Plan,
    loss: Plan,
    pub(crate) threads: u32,
    input: ValueInfo,
    outputs: Vec<ValueInfo>,
    loss_output: usize,
}

/// What a batch gives: the model's outputs by name.
pub type Outputs = Vec<(String, Tensor)>;

impl Engine {
    /// Loads a model.
    ///
    /// # Errors
    /// [`Failure::Graph`] for a graph with another number of inputs than one, or without the outputs asked for;
    /// [`Failure::Argument`] for a parameter that is no float initializer or reaches nothing;
    /// [`Failure::NotFinite`] for weights that are not; [`Failure::Unsupported`], [`Failure::Device`].
    pub fn load(model: &Model, options: &Options) -> Result<Engine, Failure> {
        let numerics = Numerics { kind: options.kind, device: device::parse(&options.device)? };
        settings::exact()?;
        let threads = settings::threads(options.threads);
        settings::use_threads(threads);
        settings::keep_memory();
        let graph = &model.graph;
        let refuse = |reason: String| Failure::Graph { graph: graph.name.clone(), reason };

        let [input] = graph.inputs.as_slice() else {
            let names: Vec<_> = graph.inputs.iter().map(|i| format!("`{}`", i.name)).collect();
            return Err(refuse(format!("expected one input, found {}: {}", names.len(), names.join(", "))));
        };
        let mut outputs = graph.outputs.clone();
        let loss_output = match &options.loss_output {
            None if outputs.is_empty() => return Err(refuse("it has no outputs".to_owned())),
            None => 0,
            Some(name) => match outputs.iter().position(|o| o.name == *name) {
                Some(position) => position,
                None if graph.producer(name).is_some() => {
                    outputs.push(ValueInfo { name: name.clone(), value_type: graph.value_type(name) });
                    outputs.len() - 1
                }
                None => {
                    let reason = format!("the graph has no value `{name}`");
                    return Err(Failure::Argument { what: "loss output", reason });
                }
            },
        };

        let (layout, theta) = parameters(model, &options.parameters, numerics)?;
        let wanted: Vec<&str> = outputs.iter().map(|o| o.name.as_str()).collect();
        let program = Program::new(model, &input.name, &options.parameters, &wanted, numerics)?;
        let statistics = program
            .statistic_names()
            .iter()
            .map(|name| initializer(model, name, numerics))
            .collect::<Result<Vec<_>, _>>()?;
        let all = program.plan(&wanted)?;
        let loss = program.plan(&wanted[loss_output..=loss_output])?;
        if !program.reached(&loss) {
            return Err(Failure::Argument {
                what: "parameters",
                reason: format!("none of them reaches the output `{}`", wanted[loss_output]),
            });
        }
        if let Some(node) = program.producer(wanted[loss_output]).filter(|n| n.op_type == "Softmax") {
            return Err(refuse(format!(
                "output `{}` is a Softmax (node `{}`), and the loss takes one itself: name the value before it, `{}`, \
                 as the loss output",
                wanted[loss_output],
                node.name,
                node.input(0).unwrap_or_default()
            )));
        }
        Ok(Engine {
            program,
            numerics,
            layout,
            theta,
            statistics,
            momentum: None,
            all,
            loss,
            threads,
            input: input.clone(),
            outputs,
            loss_output,
        })
    }

    /// The input, as the model declares it.
    pub fn input(&self) -> &ValueInfo {
        &self.input
    }

    /// The outputs as the model declares them; behind them the loss output, when that is an inner value.
    pub fn outputs(&self) -> &[ValueInfo] {
        &self.outputs
    }

    /// Position of the output that loss and derivatives are taken of.
    pub fn loss_output(&self) -> usize {
        self.loss_output
    }

    /// The parameters in scope and their places in a vector.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Float kind and device.
    pub fn numerics(&self) -> Numerics {
        self.numerics
    }

    /// Every output for a batch, in evaluation mode.
    ///
    /// # Errors
    /// [`Failure::Shape`] for a batch of another shape than the model's input; [`Failure::Node`].
    pub fn forward(&self, images: &Tensor) -> Result<Outputs, Failure> {
        let _no_grad = tch::no_grad_guard();
        let images = self.images(images)?;
        let run = self.run(&self.all, &images, &self.parameters()?, false)?;
        Ok(self.outputs.iter().map(|o| o.name.clone()).zip(run.outputs).collect())
    }

    /// Views of the parameters in scope.
    pub(crate) fn parameters(&self) -> Result<Vec<Tensor>, Failure> {
        self.layout.split(&self.theta)
    }

    /// Runs what the loss needs and gives the loss output `[N, C]`.
    pub(crate) fn logits(
        &self,
        images: &Tensor,
        parameters: &[Tensor],
        training: bool,
    ) -> Result<(Tensor, Run), Failure> {
        let mut run = self.run(&self.loss, images, parameters, training)?;
        let output = run
            .outputs
            .pop()
            .ok_or_else(|| Failure::Argument { what: "loss output", reason: "the run gave no output".to_owned() })?;
        let dims = output.size();
        let n = images.size().first().copied().unwrap_or(0);
        let flat = dims.len() >= 2 && dims[0] == n && dims.iter().skip(2).all(|d| *d == 1);
        if !flat || output.f_kind()? != self.numerics.kind {
            return Err(Failure::Shape {
                what: format!("output `{}`", self.outputs[self.loss_output].name),
                expected: format!("[{n}, C] of floats, as the loss takes it"),
                found: dims,
            });
        }
        let output = if dims.len() == 2 { output } else { output.f_reshape([n, dims[1]])? };
        Ok((output, run))
    }

    fn run(&self, plan: &Plan, images: &Tensor, parameters: &[Tensor], training: bool) -> Result<Run, Failure> {
        let feed = Feed { input: images, parameters, statistics: &self.statistics, training };
        self.program.run(plan, &feed, self.numerics)
    }

    /// The batch on the device, in the run's float kind (or the integer kind the model asks for).
    pub(crate) fn images(&self, images: &Tensor) -> Result<Tensor, Failure> {
        settings::use_threads(self.threads);
        let found = images.size();
        let declared = self.input.value_type.as_ref();
        let wrong = |expected: String| Failure::Shape {
            what: format!("input `{}`", self.input.name),
            expected,
            found: found.clone(),
        };
        if let Some(dims) = declared.and_then(|t| t.shape.as_ref()) {
            // A batch size that the file fixes is a habit of exporters; a node that does insist on it fails by name.
            let fits = dims.len() == found.len()
                && dims.iter().zip(&found).skip(1).all(|(d, f)| d.known().is_none_or(|d| i64::try_from(d) == Ok(*f)));
            if !fits {
                let dims: Vec<_> = dims.iter().map(Dim::to_string).collect();
                return Err(wrong(format!("[{}]", dims.join(", "))));
            }
        }
        if found.first().copied().unwrap_or(0) == 0 {
            return Err(wrong("at least one sample".to_owned()));
        }
        let kind = match declared.map(|t| t.data_type) {
            Some(DataType::Uint8) => Kind::Uint8,
            Some(DataType::Int8) => Kind::Int8,
            Some(DataType::Int32) => Kind::Int,
            Some(DataType::Int64) => Kind::Int64,
            _ => self.numerics.kind,
        };
        let images = images.f_to_kind(kind)?.f_to_device(self.numerics.device)?;
        finite(&images, "the input")?;
        Ok(images)
    }

    /// Target weights `[N, C]` on the device, in the run's float kind.
    pub(crate) fn targets(&self, targets: &Tensor, outputs: &Tensor) -> Result<Tensor, Failure> {
        let expected = outputs.size();
        if targets.size() != expected {
            return Err(Failure::Shape {
                what: "targets".to_owned(),
                expected: format!("{expected:?}"),
                found: targets.size(),
            });
        }
        let targets = targets.f_to_kind(self.numerics.kind)?.f_to_device(self.numerics.device)?;
        finite(&targets, "targets")?;
        Ok(targets)
    }

    /// The tensors of a direction, one a parameter.
    pub(crate) fn direction(&self, v: &Vector) -> Result<Vec<Tensor>, Failure> {
        let entries = v.entries();
        if entries.size() != [self.layout.dimension] {
            return Err(Failure::Shape {
                what: "vector".to_owned(),
                expected: format!("[{}]", self.layout.dimension),
                found: entries.size(),
            });
        }
        if entries.f_kind()? != self.numerics.kind || entries.device() != self.numerics.device {
            return Err(Failure::Argument {
                what: "vector",
                reason: format!("it was made for {:?} on {:?}", entries.f_kind()?, entries.device()),
            });
        }
        self.layout.split(entries)
    }

    /// A vector of zeros.
    ///
    /// # Errors
    /// [`Failure::Backend`] when libtorch refuses.
    pub fn zeros(&self) -> Result<Vector, Failure> {
        Ok(Vector::new(Tensor::f_zeros([self.layout.dimension], (self.numerics.kind, self.numerics.device))?))
    }

    /// A vector of these entries.
    ///
    /// # Errors
    /// [`Failure::Shape`] for another number of entries, [`Failure::NotFinite`] for NaN or infinity among them.
    pub fn upload(&self, entries: &Tensor) -> Result<Vector, Failure> {
        if entries.size() != [self.layout.dimension] {
            return Err(Failure::Shape {
                what: "vector".to_owned(),
                expected: format!("[{}]", self.layout.dimension),
                found: entries.size(),
            });
        }
        let mut vector = self.zeros()?;
        vector.axpy(1.0, &Vector::new(entries.f_to_kind(self.numerics.kind)?.f_to_device(self.numerics.device)?))?;
        finite(vector.entries(), "vector")?;
        Ok(vector)
    }
}

/// Refuses NaN and infinity.
pub(crate) fn finite(tensor: &Tensor, what: &str) -> Result<(), Failure> {
    let _no_grad = tch::no_grad_guard();
    if tensor.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
        return Err(Failure::NotFinite { what: what.to_owned() });
    }
    Ok(())
}

fn initializer(model: &Model, name: &str, numerics: Numerics) -> Result<Tensor, Failure> {
    let refuse = |reason: String| Failure::Argument { what: "parameters", reason };
    let Some(tensor) = model.graph.initializers.get(name) else {
        return Err(refuse(format!("`{name}` is no initializer of the graph")));
    };
    if !tensor.data_type().is_float() {
        return Err(refuse(format!("`{name}` has elements of type {:?}", tensor.data_type())));
    }
    let value = ops::constant(tensor, numerics.kind, numerics.device)
        .map_err(|e| refuse(format!("initializer `{name}`: {e}")))?;
    finite(&value, &format!("initializer `{name}`"))?;
    Ok(value)
}

/// The parameters in scope: their places, and their values as one vector.
fn parameters(model: &Model, names: &[String], numerics: Numerics) -> Result<(Layout, Tensor), Failure> {
    let refuse = |reason: String| Failure::Argument { what: "parameters", reason };
    if names.is_empty() {
        return Err(refuse("none are in scope".to_owned()));
    }
    let mut layout = Layout::default();
    let mut values = Vec::with_capacity(names.len());
    for name in names {
        if layout.places.iter().any(|p| p.name == *name) {
            return Err(refuse(format!("`{name}` is there twice")));
        }
        let is_statistic = |n: &&isal_onnx::Node| {
            n.op_type == "BatchNormalization" && [n.input(3), n.input(4)].contains(&Some(name.as_str()))
        };
        if let Some(node) = model.graph.nodes.iter().find(is_statistic) {
            return Err(refuse(format!("`{name}` is a running statistic of node `{}`", node.name)));
        }
        let value = initializer(model, name, numerics)?;
        layout.push(name, value.size());
        values.push(value);
    }
    let theta = layout.join(&values, numerics)?;
    Ok((layout, theta))
}
