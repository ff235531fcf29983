//! Batches as they are given, and as they are run: checked, on the device, in the run's float kind.

use crate::numerics::finite;
use crate::{Failure, Numerics};
use isal_onnx::{DataType, Dim, ValueInfo};
use tch::{Kind, Tensor};

/// Named arrays, the first axis of each the samples: the model's input, and annotations.
#[derive(Debug, Default)]
pub struct Batch(pub Vec<(String, Tensor)>);

/// A batch as the graphs take it.
#[derive(Debug)]
pub(crate) struct Ready {
    pub images: Tensor,
    /// In the order of the loss graph's inputs.
    pub annotations: Vec<Tensor>,
    /// Whether it has all that the loss takes.
    pub complete: bool,
}

pub(crate) fn is_float(kind: Kind) -> bool {
    matches!(kind, Kind::Float | Kind::Double)
}

pub(crate) fn find<'a>(arrays: &'a [(String, Tensor)], name: &str) -> Result<&'a Tensor, Failure> {
    let missing = || Failure::Argument { what: "batch", reason: format!("it lacks `{name}`") };
    arrays.iter().find(|(found, _)| found == name).map(|(_, tensor)| tensor).ok_or_else(missing)
}

/// Refuses dims that are not the declared ones. A batch size that a file fixes is a habit of exporters; a node that does
/// insist on it fails by name.
pub(crate) fn fits(tensor: &Tensor, declared: &ValueInfo, what: &str) -> Result<(), Failure> {
    let Some(dims) = declared.value_type.as_ref().and_then(|t| t.shape.as_ref()) else { return Ok(()) };
    let found = tensor.size();
    let fits = dims.len() == found.len()
        && dims.iter().zip(&found).skip(1).all(|(d, f)| d.known().is_none_or(|d| i64::try_from(d) == Ok(*f)));
    if fits {
        return Ok(());
    }
    let dims: Vec<_> = dims.iter().map(Dim::to_string).collect();
    let expected = format!("[{}]", dims.join(", "));
    Err(Failure::Shape { what: format!("{what} `{}`", declared.name), expected, found })
}

/// An annotation among `arrays`: of the declared dims, for as many samples, in the run's float kind where it is declared as
/// floats and in the declared kind otherwise.
pub(crate) fn annotation(
    arrays: &[(String, Tensor)],
    declared: &ValueInfo,
    samples: i64,
    numerics: Numerics,
) -> Result<Tensor, Failure> {
    let given = find(arrays, &declared.name)?;
    fits(given, declared, "annotation")?;
    let what = || format!("annotation `{}`", declared.name);
    if given.size().first() != Some(&samples) {
        return Err(Failure::Shape { what: what(), expected: format!("{samples} samples"), found: given.size() });
    }
    let kind = match declared.value_type.as_ref().map(|t| t.data_type) {
        Some(DataType::Int64) => Kind::Int64,
        Some(DataType::Int32) => Kind::Int,
        Some(DataType::Bool) => Kind::Bool,
        _ => numerics.kind,
    };
    let found = given.f_kind()?;
    if is_float(found) && !is_float(kind) {
        return Err(Failure::Kind { what: what(), expected: "whole numbers", found: format!("{found:?}") });
    }
    let given = given.f_to_kind(kind)?.f_to_device(numerics.device)?;
    finite(&given, &what())?;
    Ok(given)
}
