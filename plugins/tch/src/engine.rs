//! A loaded model: weights on the device, the graph ready to run, batches checked before they reach it.

use crate::batch::Batch;
use crate::layout::Layout;
use crate::loss::{Binding, Loss};
use crate::numerics::finite;
use crate::program::{Feed, Plan, Program, Run};
use crate::{Failure, Numerics, Vector, device, ops, settings};
use isal_onnx::tangent::held_values;
use isal_onnx::{Model, ValueInfo};
use tch::{Kind, Tensor};

/// How to load a model.
#[derive(Debug, Clone)]
pub struct Options {
    /// Initializers that take part, in the order vectors hold them.
    pub parameters: Vec<String>,
    /// The loss graph; without one the first output can be differentiated along a direction, and that is all.
    pub loss: Option<Task>,
    /// `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// `Kind::Float` or `Kind::Double`.
    pub kind: Kind,
    /// Threads to use on the CPU; 0 takes the cores that the process may use.
    pub threads: u32,
}

/// What is minimised.
#[derive(Debug, Clone)]
pub struct Task {
    /// The loss graph.
    pub graph: Model,
    /// Which of its inputs are values of the model.
    pub bindings: Vec<Binding>,
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
    pub(crate) loss: Option<Loss>,
    all: Plan,
    /// What the loss is taken of.
    bound: Plan,
    pub(crate) threads: u32,
    input: ValueInfo,
    outputs: Vec<ValueInfo>,
    /// Positions among them of what the loss is taken of.
    bound_outputs: Vec<usize>,
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
        if graph.outputs.is_empty() {
            return Err(refuse("it has no outputs".to_owned()));
        }
        let mut outputs = graph.outputs.clone();
        let names: Vec<&str> = match &options.loss {
            None => vec![&graph.outputs[0].name],
            Some(task) => task.bindings.iter().map(|binding| binding.value.as_str()).collect(),
        };
        let mut bound_outputs = Vec::with_capacity(names.len());
        for name in names {
            bound_outputs.push(match outputs.iter().position(|o| o.name == *name) {
                Some(position) => position,
                None if graph.producer(name).is_some() => {
                    outputs.push(ValueInfo { name: name.to_owned(), value_type: graph.value_type(name) });
                    outputs.len() - 1
                }
                None => {
                    let reason = format!("the graph has no value `{name}`");
                    return Err(Failure::Argument { what: "bindings", reason });
                }
            });
        }
        let loss = options.loss.as_ref().map(|task| Loss::new(&task.graph, &task.bindings, numerics)).transpose()?;

        let (layout, theta) = parameters(model, &options.parameters, numerics)?;
        let wanted: Vec<&str> = outputs.iter().map(|o| o.name.as_str()).collect();
        let held: Vec<&str> = held_values(model).into_iter().collect();
        let program = Program::new(model, &[&input.name], &options.parameters, &wanted, &held, numerics)?;
        let statistics = program
            .statistic_names()
            .iter()
            .map(|name| initializer(model, name, numerics))
            .collect::<Result<Vec<_>, _>>()?;
        let all = program.plan(&wanted)?;
        let bound_names: Vec<&str> = bound_outputs.iter().map(|place| wanted[*place]).collect();
        let bound = program.plan(&bound_names)?;
        if !program.reached(&bound) {
            let names: Vec<String> = bound_names.iter().map(|name| format!("`{name}`")).collect();
            return Err(Failure::Argument {
                what: "parameters",
                reason: format!("none of them reaches what the loss is taken of: {}", names.join(", ")),
            });
        }
        Ok(Engine {
            program,
            numerics,
            layout,
            theta,
            statistics,
            momentum: None,
            loss,
            all,
            bound,
            threads,
            input: input.clone(),
            outputs,
            bound_outputs,
        })
    }

    /// The input, as the model declares it.
    pub fn input(&self) -> &ValueInfo {
        &self.input
    }

    /// The outputs as the model declares them; behind them the inner values that the loss is taken of.
    pub fn outputs(&self) -> &[ValueInfo] {
        &self.outputs
    }

    /// Positions among the outputs of the values that loss and derivatives are taken of, in the order of the bindings.
    pub fn bound_outputs(&self) -> &[usize] {
        &self.bound_outputs
    }

    /// The loss.
    ///
    /// # Errors
    /// [`Failure::Argument`] for a model that was loaded without one.
    pub fn loss(&self) -> Result<&Loss, Failure> {
        let reason = || "the model was loaded without a loss graph".to_owned();
        self.loss.as_ref().ok_or_else(|| Failure::Argument { what: "loss", reason: reason() })
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
    pub fn forward(&self, batch: &Batch) -> Result<Outputs, Failure> {
        let _no_grad = tch::no_grad_guard();
        let images = self.perhaps_annotated(batch)?.images;
        let run = self.run(&self.all, &images, &self.parameters()?, false)?;
        Ok(self.outputs.iter().map(|o| o.name.clone()).zip(run.outputs).collect())
    }

    /// The loss of each sample, `[N]`, in evaluation mode.
    ///
    /// # Errors
    /// As [`Engine::forward`]; [`Failure::Argument`] for a batch that lacks an annotation.
    pub fn losses(&self, batch: &Batch) -> Result<Tensor, Failure> {
        let _no_grad = tch::no_grad_guard();
        let ready = self.annotated(batch)?;
        let values = self.values(&ready.images, &self.parameters()?, false)?.outputs;
        self.loss()?.per_sample(&values, &ready.annotations)
    }

    /// Views of the parameters in scope.
    pub(crate) fn parameters(&self) -> Result<Vec<Tensor>, Failure> {
        self.layout.split(&self.theta)
    }

    /// Runs what the loss needs: the values that it is taken of, in the order of the bindings.
    pub(crate) fn values(&self, images: &Tensor, parameters: &[Tensor], training: bool) -> Result<Run, Failure> {
        self.run(&self.bound, images, parameters, training)
    }

    fn run(&self, plan: &Plan, images: &Tensor, parameters: &[Tensor], training: bool) -> Result<Run, Failure> {
        let feed = Feed { inputs: std::slice::from_ref(images), parameters, statistics: &self.statistics, training };
        self.program.run(plan, &feed, self.numerics)
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
