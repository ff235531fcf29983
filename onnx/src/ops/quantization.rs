//! Between floats and scaled integers.

use super::Flow::Nothing;
use super::Tangent::Refused;
use super::{Kind, OpSpec, Site};
use crate::shape::Expr;
use crate::{DataType, Result};
use Kind::Int;

pub(super) const OPS: &[OpSpec] = &[
    OpSpec {
        name: "QuantizeLinear",
        since: 10,
        inputs: 2..=3,
        outputs: 1..=1,
        attributes: &[("axis", Int), ("block_size", Int), ("output_dtype", Int), ("precision", Int), ("saturate", Int)],
        flows: Nothing,
        tangent: Refused("fixed-point arithmetic, a step function without a derivative"),
        infer: quantize,
    },
    OpSpec {
        name: "DequantizeLinear",
        since: 10,
        inputs: 2..=3,
        outputs: 1..=1,
        attributes: &[("axis", Int), ("block_size", Int), ("output_dtype", Int)],
        flows: Nothing,
        tangent: Refused("fixed-point arithmetic, a step function without a derivative"),
        infer: dequantize,
    },
    OpSpec {
        name: "DynamicQuantizeLinear",
        since: 11,
        inputs: 1..=1,
        outputs: 3..=3,
        attributes: &[],
        flows: Nothing,
        tangent: Refused("fixed-point arithmetic, a step function without a derivative"),
        infer: dynamic_quantize,
    },
];

/// The type is that of the zero point, else `output_dtype`, else uint8.
fn quantize(site: &mut Site) -> Result<()> {
    let data_type = match site.node.int("output_dtype").filter(|n| *n != 0) {
        _ if site.has(2) => site.data_type(2),
        Some(number) => Some(site.type_number(number)?),
        None => Some(DataType::Uint8),
    };
    let shape = site.shape(0).map(<[Expr]>::to_vec);
    site.set(0, data_type, shape);
    Ok(())
}

/// The type is that of the scale, unless `output_dtype` says otherwise.
fn dequantize(site: &mut Site) -> Result<()> {
    let data_type = match site.node.int("output_dtype").filter(|n| *n != 0) {
        Some(number) => Some(site.type_number(number)?),
        None => site.data_type(1),
    };
    let shape = site.shape(0).map(<[Expr]>::to_vec);
    site.set(0, data_type, shape);
    Ok(())
}

fn dynamic_quantize(site: &mut Site) -> Result<()> {
    let shape = site.shape(0).map(<[Expr]>::to_vec);
    site.set(0, Some(DataType::Uint8), shape);
    site.set(1, Some(DataType::Float), Some(Vec::new()));
    site.set(2, Some(DataType::Uint8), Some(Vec::new()));
    Ok(())
}
