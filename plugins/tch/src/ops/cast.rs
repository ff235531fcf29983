//! Conversions between element types.
//!
//! Every float type counts as the float kind of the run: a model that casts to float16 and back is run in one precision
//! throughout, without the rounding in between, and a gradient passes.

use super::{Op, OpError, Site, input};
use isal_onnx::DataType;
use tch::{Kind, Tensor};

pub(super) const OPS: &[Op] = &[Op { name: "Cast", forward: cast }, Op { name: "CastLike", forward: cast_like }];

/// The libtorch kind that stands for an ONNX type in a run of float kind `float`.
pub(super) fn kind_of(data_type: DataType, float: Kind) -> Result<Kind, OpError> {
    Ok(match data_type {
        DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16 => float,
        DataType::Int8 => Kind::Int8,
        DataType::Int16 => Kind::Int16,
        DataType::Int32 | DataType::Uint16 => Kind::Int,
        DataType::Int64 | DataType::Uint32 | DataType::Uint64 => Kind::Int64,
        DataType::Uint8 => Kind::Uint8,
        DataType::Bool => Kind::Bool,
        data_type => return Err(OpError::DataType { data_type }),
    })
}

/// An attribute that names an element type by its number.
pub(super) fn type_attribute(site: &Site, name: &'static str) -> Result<Option<Kind>, OpError> {
    let Some(number) = site.int(name)? else { return Ok(None) };
    let data_type = i32::try_from(number).ok().and_then(DataType::from_number).ok_or_else(|| OpError::Attribute {
        name,
        expected: "the number of an element type".into(),
        found: number.to_string(),
    })?;
    kind_of(data_type, site.kind).map(Some)
}

/// [Cast](https://onnx.ai/onnx/operators/onnx__Cast.html): floats lose their fraction on the way to an integer.
fn cast(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let kind = site.required("to", type_attribute(site, "to")?)?;
    Ok(vec![input::required(inputs, 0, "input")?.f_to_kind(kind)?])
}

/// [CastLike](https://onnx.ai/onnx/operators/onnx__CastLike.html).
fn cast_like(_: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let kind = input::required(inputs, 1, "target_type")?.f_kind()?;
    Ok(vec![input::required(inputs, 0, "input")?.f_to_kind(kind)?])
}
