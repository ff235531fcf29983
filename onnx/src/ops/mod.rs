//! The operators: one row each, with everything this crate knows of it.
//!
//! A family is a file with its rows first, then its rules. A row covers every version of its operator
//! from `since` on; a rule looks at the opset where the meaning changed, and a family's header says
//! where that is. The standard's page of an operator is `https://onnx.ai/onnx/operators/onnx__NAME.html`.
//! Adding an operator is adding a row to a family's `OPS`.

/// A row whose one output has the type and shape of the first input.
macro_rules! like {
    ($name:literal, $flows:expr, $tangent:expr, $since:literal, $inputs:expr, $attributes:expr) => {
        OpSpec {
            name: $name,
            since: $since,
            inputs: $inputs,
            outputs: 1..=1,
            attributes: $attributes,
            flows: $flows,
            tangent: $tangent,
            infer: $crate::ops::site::like_first,
        }
    };
}

mod activation;
mod attention;
mod binary;
mod constant;
mod control;
mod conv;
mod gather;
mod loss;
mod matmul;
mod movement;
mod normalization;
mod pool;
mod quantization;
mod recurrent;
mod reduction;
mod resize;
mod selection;
mod sequence;
mod signal;
mod site;
mod slice;
mod unary;
mod window;

pub(crate) use control::{body_inputs, never_taken};
pub(crate) use site::Site;

use crate::tangent::Tangent;
use crate::{Attribute, Error, Node, Result};
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

/// As many inputs or outputs as one likes.
const ANY: usize = usize::MAX;

/// What is known of one operator of the standard domain.
#[derive(Debug)]
pub struct OpSpec {
    /// Name, as ONNX spells it.
    pub name: &'static str,
    /// First operator set that has it.
    pub since: i64,
    /// How many inputs it may have, those left out at the end not counted.
    pub inputs: RangeInclusive<usize>,
    /// How many outputs it may have.
    pub outputs: RangeInclusive<usize>,
    /// Its attributes in any version from opset 7 on, with their kinds.
    pub attributes: &'static [(&'static str, Kind)],
    /// The inputs that a derivative flows through.
    pub flows: Flow,
    /// How it passes tangents on through them.
    pub tangent: Tangent,
    /// Its shape rule: types and shapes of the outputs from those of the inputs.
    pub(crate) infer: fn(&mut Site) -> Result<()>,
}

/// Inputs of an operator on which its output depends smoothly, so that a derivative flows from them to it.
///
/// Settings are none of these even where a derivative exists on paper: running statistics, bounds of a
/// Clip, positions, masks of a Dropout, the scales of fixed-point numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// None: the output is made of integers or booleans, is a step function, or comes from nowhere.
    Nothing,
    /// Every input.
    All,
    /// The inputs at these positions.
    Only(&'static [usize]),
}

impl Flow {
    /// Whether a derivative flows through input `i`.
    pub fn passes(self, i: usize) -> bool {
        match self {
            Flow::Nothing => false,
            Flow::All => true,
            Flow::Only(inputs) => inputs.contains(&i),
        }
    }
}

/// Kind of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are ONNX's own")]
pub enum Kind {
    Float,
    Int,
    String,
    Tensor,
    Graph,
    Floats,
    Ints,
    Strings,
    SparseTensor,
    Type,
}

impl Kind {
    fn fits(self, value: &Attribute) -> bool {
        use onnx_protobuf::attribute_proto::AttributeType;
        match (self, value) {
            (Kind::Float, Attribute::Float(_))
            | (Kind::Int, Attribute::Int(_))
            | (Kind::String, Attribute::String(_))
            | (Kind::Tensor, Attribute::Tensor(_))
            | (Kind::Graph, Attribute::Graph(_))
            | (Kind::Floats, Attribute::Floats(_))
            | (Kind::Ints, Attribute::Ints(_))
            | (Kind::Strings, Attribute::Strings(_)) => true,
            (kind, Attribute::Other(proto)) => match proto.type_.enum_value() {
                // Within a function an attribute may stand for one of the function's own.
                _ if !proto.ref_attr_name.is_empty() => true,
                Ok(AttributeType::SPARSE_TENSOR) => kind == Kind::SparseTensor,
                Ok(AttributeType::TYPE_PROTO) => kind == Kind::Type,
                _ => false,
            },
            _ => false,
        }
    }
}

const FAMILIES: &[&[OpSpec]] = &[
    unary::OPS,
    activation::OPS,
    binary::OPS,
    conv::OPS,
    pool::OPS,
    matmul::OPS,
    normalization::OPS,
    reduction::OPS,
    movement::OPS,
    slice::OPS,
    gather::OPS,
    selection::OPS,
    constant::OPS,
    resize::OPS,
    attention::OPS,
    recurrent::OPS,
    quantization::OPS,
    loss::OPS,
    signal::OPS,
    control::OPS,
    sequence::OPS,
];

/// Every operator in the table, family by family.
pub fn all() -> impl Iterator<Item = &'static OpSpec> {
    FAMILIES.iter().flat_map(|family| family.iter())
}

/// The operator of this name in the standard domain.
pub fn find(name: &str) -> Option<&'static OpSpec> {
    static BY_NAME: LazyLock<HashMap<&str, &OpSpec>> = LazyLock::new(|| all().map(|op| (op.name, op)).collect());
    BY_NAME.get(name).copied()
}

impl OpSpec {
    /// Whether `node` has inputs, outputs and attributes as this operator takes them.
    ///
    /// # Errors
    /// [`Error::Node`], saying what does not fit.
    pub fn check(&self, node: &Node, label: &str, opset: i64) -> Result<()> {
        let wrong = |reason: String| Error::Node { node: label.to_owned(), op: self.name.to_owned(), opset, reason };
        if opset < self.since {
            return Err(wrong(format!("the operator came with opset {}", self.since)));
        }
        let counts = [("inputs", &node.inputs, &self.inputs), ("outputs", &node.outputs, &self.outputs)];
        for (what, names, range) in counts {
            let count = names.iter().rposition(|n| !n.is_empty()).map_or(0, |last| last + 1);
            if !range.contains(&count) {
                let most = if *range.end() == ANY { "more".to_owned() } else { range.end().to_string() };
                return Err(wrong(format!("{count} {what}, expected {} to {most}", range.start())));
            }
        }
        for (name, value) in &node.attributes {
            let kind = self.attributes.iter().find(|(n, _)| n == name).map(|(_, kind)| *kind);
            if let Some(kind) = kind.filter(|kind| !kind.fits(value)) {
                return Err(wrong(format!("attribute `{name}` is {}, expected {kind:?}", value.kind_name())));
            }
        }
        Ok(())
    }
}
