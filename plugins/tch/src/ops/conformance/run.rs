//! Runs a case node by node with this crate's forwards, and compares.

use super::case::DataSet;
use crate::ops::{self, Site, cast};
use isal_onnx::{DataType, Model, Tensor as OnnxTensor};
use std::collections::HashMap;
use tch::{Device, Kind, Tensor};

/// ONNX's own runner allows this much on floats; integers and truth values are exact.
const RELATIVE: f64 = 1e-3;
const ABSOLUTE: f64 = 1e-7;

fn native(data_type: DataType) -> Kind {
    match data_type {
        DataType::Double => Kind::Double,
        DataType::Float16 => Kind::Half,
        DataType::Bfloat16 => Kind::BFloat16,
        _ => Kind::Float,
    }
}

/// The float kind of a run: that of the first float output, else of the first float input.
fn kind(set: &DataSet) -> Kind {
    let floats = set.outputs.iter().chain(&set.inputs).map(OnnxTensor::data_type).find(|t| t.is_float());
    floats.map_or(Kind::Float, native)
}

/// Runs the model on a set's inputs and holds every output against the expected one.
pub fn check(model: &Model, set: &DataSet) -> Result<(), String> {
    let kind = kind(set);
    let outputs = run(model, &set.inputs, kind)?;
    if outputs.len() != set.outputs.len() {
        return Err(format!("{} outputs instead of {}", outputs.len(), set.outputs.len()));
    }
    for (i, (found, expected)) in outputs.iter().zip(&set.outputs).enumerate() {
        compare(found, expected).map_err(|e| format!("output {i}: {e}"))?;
    }
    Ok(())
}

/// The outputs of a model, run node by node.
pub(crate) fn run(model: &Model, inputs: &[OnnxTensor], kind: Kind) -> Result<Vec<Tensor>, String> {
    let mut values = HashMap::new();
    for (info, tensor) in model.graph.inputs.iter().zip(inputs) {
        let own = native(tensor.data_type());
        values.insert(info.name.as_str(), ops::constant(tensor, own, Device::Cpu).map_err(|e| e.to_string())?);
    }
    run_from(model, values, kind)
}

/// [`run`] with these values, which may stand in for initializers.
pub(crate) fn run_from<'a>(
    model: &'a Model,
    mut values: HashMap<&'a str, Tensor>,
    kind: Kind,
) -> Result<Vec<Tensor>, String> {
    let graph = &model.graph;
    for (name, tensor) in &graph.initializers {
        if !values.contains_key(name.as_str()) {
            values.insert(name, ops::constant(tensor, kind, Device::Cpu).map_err(|e| e.to_string())?);
        }
    }
    for node in &graph.nodes {
        let op = ops::find(&node.domain, &node.op_type).ok_or_else(|| format!("no `{}`", node.op_type))?;
        let opset = model.opset();
        let site = Site { node, opset, training: false, kind, device: Device::Cpu };
        let inputs: Vec<Option<Tensor>> = node
            .inputs
            .iter()
            .map(|name| match name.as_str() {
                "" => Ok(None),
                name => values.get(name).map(|t| Some(t.shallow_clone())).ok_or_else(|| format!("no value `{name}`")),
            })
            .collect::<Result<_, String>>()?;
        let outputs = (op.forward)(&site, &inputs).map_err(|e| format!("`{}`: {e}", node.op_type))?;
        if outputs.len() < node.outputs.iter().rposition(|o| !o.is_empty()).map_or(0, |i| i + 1) {
            return Err(format!("`{}` gave {} of {} outputs", node.op_type, outputs.len(), node.outputs.len()));
        }
        for (name, output) in node.outputs.iter().zip(outputs) {
            values.insert(name, output);
        }
    }
    let outputs = graph.outputs.iter().filter(|o| !o.name.is_empty());
    outputs.map(|o| values.get(o.name.as_str()).map(Tensor::shallow_clone).ok_or(format!("no `{}`", o.name))).collect()
}

fn compare(found: &Tensor, expected: &OnnxTensor) -> Result<(), String> {
    let own = native(expected.data_type());
    let wanted = ops::constant(expected, own, Device::Cpu).map_err(|e| e.to_string())?;
    let type_wanted = cast::kind_of(expected.data_type(), own).map_err(|e| e.to_string())?;
    let (kind, dims) = (found.f_kind().map_err(|e| e.to_string())?, found.size());
    if kind != type_wanted || dims != wanted.size() {
        return Err(format!("{kind:?} {dims:?} instead of {type_wanted:?} {:?}", wanted.size()));
    }
    let numbers = |t: &Tensor| -> Result<Vec<f64>, String> {
        let flat = t.f_detach().and_then(|t| t.f_to_kind(Kind::Double)).and_then(|t| t.f_reshape([-1]));
        flat.and_then(Vec::<f64>::try_from).map_err(|e| e.to_string())
    };
    if !expected.data_type().is_float() {
        return match found.f_equal(&wanted) {
            Ok(true) => Ok(()),
            _ => Err(format!("{:?} instead of {:?}", first(&numbers(found)?), first(&numbers(&wanted)?))),
        };
    }
    for (i, (a, b)) in numbers(found)?.into_iter().zip(numbers(&wanted)?).enumerate() {
        let close = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= ABSOLUTE + RELATIVE * b.abs();
        if !close {
            return Err(format!("element {i}: {a} instead of {b}"));
        }
    }
    Ok(())
}

fn first(values: &[f64]) -> &[f64] {
    &values[..values.len().min(12)]
}
