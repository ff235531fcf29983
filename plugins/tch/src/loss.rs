//! The task: a graph from values of the model and annotations to the loss of each sample.
//!
//! Everything is said by the graph; how the loss curves in the model's values is found by differentiating it once more
//! (forward over reverse), sample by sample, since no sample's loss depends on another's values.

use crate::batch::{annotation, is_float};
use crate::level::Level;
use crate::program::{Feed, Plan, Program};
use crate::{Failure, Numerics};
use isal_onnx::tangent::held_values;
use isal_onnx::{Model, ValueInfo};
use tch::{Kind, Tensor};

/// An input of the loss graph that is a value of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Input of the loss graph.
    pub input: String,
    /// Value of the model.
    pub value: String,
}

/// What an input of the loss graph is fed.
enum Source {
    /// A value of the model: position among the bindings.
    Value(usize),
    /// An annotation: position among those.
    Annotation(usize),
}

/// A loss graph ready to run.
pub struct Loss {
    program: Program,
    plan: Plan,
    sources: Vec<Source>,
    annotations: Vec<ValueInfo>,
    output: String,
    numerics: Numerics,
}

impl Loss {
    /// Makes a loss graph ready, whose inputs are bound to values of the model in this order.
    ///
    /// # Errors
    /// [`Failure::Graph`] for a graph without exactly one output, or one that depends on no bound input; [`Failure::Argument`]
    /// for a binding to an input that the graph does not have; [`Failure::Unsupported`].
    pub fn new(model: &Model, bindings: &[Binding], numerics: Numerics) -> Result<Loss, Failure> {
        let graph = &model.graph;
        let [output] = graph.outputs.as_slice() else {
            let names: Vec<_> = graph.outputs.iter().map(|o| format!("`{}`", o.name)).collect();
            let reason = format!("a loss has one output, found {}: {}", names.len(), names.join(", "));
            return Err(Failure::Graph { graph: graph.name.clone(), reason });
        };
        let inputs: Vec<&ValueInfo> =
            graph.inputs.iter().filter(|input| !graph.initializers.contains_key(&input.name)).collect();
        for (place, binding) in bindings.iter().enumerate() {
            let reason = if !inputs.iter().any(|input| input.name == binding.input) {
                let names: Vec<_> = inputs.iter().map(|input| format!("`{}`", input.name)).collect();
                format!("the loss has no input `{}`; its inputs are {}", binding.input, names.join(", "))
            } else if bindings.iter().take(place).any(|other| other.input == binding.input) {
                format!("the loss input `{}` is bound twice", binding.input)
            } else {
                continue;
            };
            return Err(Failure::Argument { what: "bindings", reason });
        }
        let (mut sources, mut annotations) = (Vec::new(), Vec::new());
        for input in &inputs {
            sources.push(match bindings.iter().position(|binding| binding.input == input.name) {
                Some(place) => Source::Value(place),
                None => {
                    annotations.push((*input).clone());
                    Source::Annotation(annotations.len() - 1)
                }
            });
        }
        let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        let held: Vec<&str> = held_values(model).into_iter().collect();
        let program = Program::new(model, &names, &[], &[&output.name], &held, numerics)?;
        let plan = program.plan(&[&output.name])?;
        let bound: Vec<&str> = bindings.iter().map(|binding| binding.input.as_str()).collect();
        if !program.reaches(&bound, &plan) {
            let reason = format!("`{}` depends on none of the values of the model ({})", output.name, bound.join(", "));
            return Err(Failure::Graph { graph: graph.name.clone(), reason });
        }
        Ok(Loss { program, plan, sources, annotations, output: output.name.clone(), numerics })
    }

    /// What a batch has to bring.
    pub fn annotations(&self) -> &[ValueInfo] {
        &self.annotations
    }

    /// The name of its output.
    pub fn output(&self) -> &str {
        &self.output
    }

    /// The loss of each sample, `[N]`.
    ///
    /// # Errors
    /// [`Failure::Node`]; [`Failure::Shape`] when it is not one number a sample.
    pub fn per_sample(&self, values: &[Tensor], annotations: &[Tensor]) -> Result<Tensor, Failure> {
        let samples = values.first().and_then(|value| value.size().first().copied()).unwrap_or(0);
        let missing = || Failure::Argument { what: "batch", reason: "annotations are missing".to_owned() };
        let inputs = self.sources.iter().map(|source| match source {
            Source::Value(place) => values.get(*place).map(Tensor::shallow_clone),
            Source::Annotation(place) => annotations.get(*place).map(Tensor::shallow_clone),
        });
        let inputs = inputs.collect::<Option<Vec<_>>>().ok_or_else(missing)?;
        let feed = Feed { inputs: &inputs, parameters: &[], statistics: &[], training: false };
        let mut run = self.program.run(&self.plan, &feed, self.numerics)?;
        let losses = run.outputs.pop().ok_or_else(missing)?;
        if losses.size() != [samples] || losses.f_kind()? != self.numerics.kind {
            return Err(Failure::Shape {
                what: format!("loss output `{}`", self.output),
                expected: format!("[{samples}] of floats, one a sample"),
                found: losses.size(),
            });
        }
        Ok(losses)
    }

    /// The annotations among `arrays`, checked, in the order of the graph's inputs.
    pub(crate) fn chosen(&self, arrays: &[(String, Tensor)], samples: i64) -> Result<Vec<Tensor>, Failure> {
        self.annotations.iter().map(|declared| annotation(arrays, declared, samples, self.numerics)).collect()
    }

    /// What the Hessian of the loss in the model's values makes of their `tangents`, sample by sample.
    ///
    /// # Errors
    /// As [`Loss::per_sample`].
    pub(crate) fn hessian(
        &self,
        level: &Level,
        values: &[Tensor],
        annotations: &[Tensor],
        tangents: &[Tensor],
    ) -> Result<Vec<Tensor>, Failure> {
        let leaves = leaves(values)?;
        let duals: Vec<Tensor> = leaves
            .iter()
            .zip(tangents)
            .map(|(leaf, tangent)| self.dual(level, leaf, tangent))
            .collect::<Result<_, _>>()?;
        let losses = self.per_sample(&duals, annotations)?.f_sum(self.numerics.kind)?;
        let gradients = recorded(&losses, &duals)?;
        let products = gradients.iter().zip(values).map(|(gradient, value)| {
            let tangent = match gradient.defined() {
                true => level.unpack(gradient)?.1,
                false => None,
            };
            Ok(match tangent {
                Some(tangent) => tangent.f_detach()?,
                None => value.f_detach()?.f_zeros_like()?,
            })
        });
        products.collect()
    }

    /// What `g_n g_n^T` makes of the `tangents`, with `g_n` the gradient of sample n's loss in the model's values.
    ///
    /// # Errors
    /// As [`Loss::per_sample`].
    pub(crate) fn fisher(
        &self,
        values: &[Tensor],
        annotations: &[Tensor],
        tangents: &[Tensor],
    ) -> Result<Vec<Tensor>, Failure> {
        let leaves = leaves(values)?;
        let losses = self.per_sample(&leaves, annotations)?;
        let gradients = recorded(&losses.f_sum(self.numerics.kind)?, &leaves)?;
        let _no_grad = tch::no_grad_guard();
        let mut along = losses.f_zeros_like()?;
        for (gradient, tangent) in gradients.iter().zip(tangents).filter(|(gradient, _)| gradient.defined()) {
            let samples = along.size();
            along = along.f_add(&gradient.f_mul(tangent)?.f_reshape([samples[0], -1])?.f_sum_dim_intlist(
                &[1i64][..],
                false,
                None::<Kind>,
            )?)?;
        }
        let scaled = gradients.iter().zip(values).map(|(gradient, value)| {
            if !gradient.defined() {
                return Ok(value.f_detach()?.f_zeros_like()?);
            }
            let mut dims = vec![1; gradient.dim()];
            dims[0] = -1;
            Ok(gradient.f_mul(&along.f_reshape(&dims)?)?)
        });
        scaled.collect()
    }

    /// A float value with its tangent; others have none.
    fn dual(&self, level: &Level, value: &Tensor, tangent: &Tensor) -> Result<Tensor, Failure> {
        if value.f_kind()? == self.numerics.kind { level.dual(value, tangent) } else { Ok(value.shallow_clone()) }
    }
}

/// Values to differentiate by: recorded from here on, those that are floats.
fn leaves(values: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
    let leaf = |value: &Tensor| {
        let value = value.f_detach()?;
        let float = is_float(value.f_kind()?);
        Ok(if float { value.f_set_requires_grad(true)? } else { value })
    };
    values.iter().map(leaf).collect()
}

/// The gradient of `sum` in each of `leaves`; undefined where there is none.
fn recorded(sum: &Tensor, leaves: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
    let places: Vec<usize> = (0..leaves.len()).filter(|i| leaves[*i].requires_grad()).collect();
    let floats: Vec<&Tensor> = places.iter().map(|i| &leaves[*i]).collect();
    let mut gradients: Vec<Tensor> = leaves.iter().map(|_| Tensor::new()).collect();
    if sum.requires_grad() && !floats.is_empty() {
        for (place, gradient) in places.iter().zip(Tensor::f_run_backward(&[sum], &floats, false, false)?) {
            gradients[*place] = gradient;
        }
    }
    Ok(gradients)
}

/// The sum over samples in float64.
///
/// # Errors
/// [`Failure::NotFinite`] when it is NaN or infinite.
pub fn sum(per_sample: &Tensor) -> Result<f64, Failure> {
    let sum = per_sample.f_detach()?.f_sum(Kind::Double)?.f_double_value(&[])?;
    if sum.is_finite() { Ok(sum) } else { Err(Failure::NotFinite { what: "the loss".to_owned() }) }
}
