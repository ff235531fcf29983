//! Sequences, optionals and text: no tensor types, so nothing is inferred beyond element counts.

use super::Flow::{All, Nothing, Only};
use super::Tangent::{Refused, Zero};
use super::site::untyped;
use super::{ANY, Kind, OpSpec, Site};
use crate::shape::Expr;
use crate::{DataType, Result};
use Kind::{Floats, Graph, Int, Ints, String, Strings, Type};

macro_rules! row {
    ($name:literal, $flows:expr, $tangent:expr, $since:literal, $inputs:expr, $outputs:expr, $attributes:expr, $infer:expr) => {
        OpSpec {
            name: $name,
            since: $since,
            inputs: $inputs,
            outputs: $outputs,
            attributes: $attributes,
            flows: $flows,
            tangent: $tangent,
            infer: $infer,
        }
    };
}

pub(super) const OPS: &[OpSpec] = &[
    row!(
        "ConcatFromSequence",
        All,
        Refused("works on sequences or optional values, and a tangent here is a tensor"),
        11,
        1..=1,
        1..=1,
        &[("axis", Int), ("new_axis", Int)],
        untyped
    ),
    row!(
        "Optional",
        All,
        Refused("works on sequences or optional values, and a tangent here is a tensor"),
        15,
        0..=1,
        1..=1,
        &[("type", Type)],
        untyped
    ),
    row!(
        "OptionalGetElement",
        All,
        Refused("works on sequences or optional values, and a tangent here is a tensor"),
        15,
        1..=1,
        1..=1,
        &[],
        untyped
    ),
    row!("OptionalHasElement", Nothing, Zero, 15, 0..=1, 1..=1, &[], has_element),
    row!(
        "SequenceAt",
        Only(&[0]),
        Refused("works on sequences or optional values, and a tangent here is a tensor"),
        11,
        2..=2,
        1..=1,
        &[],
        untyped
    ),
    row!(
        "SequenceConstruct",
        All,
        Refused("works on sequences or optional values, and a tangent here is a tensor"),
        11,
        1..=ANY,
        1..=1,
        &[],
        untyped
    ),
    row!("SequenceEmpty", Nothing, Zero, 11, 0..=0, 1..=1, &[("dtype", Int)], untyped),
    row!(
        "SequenceErase",
        Only(&[0]),
        Refused("works on sequences or optional values, and a tangent here is a tensor"),
        11,
        1..=2,
        1..=1,
        &[],
        untyped
    ),
    row!(
        "SequenceInsert",
        Only(&[0, 1]),
        Refused("works on sequences or optional values, and a tangent here is a tensor"),
        11,
        2..=3,
        1..=1,
        &[],
        untyped
    ),
    row!("SequenceLength", Nothing, Zero, 11, 1..=1, 1..=1, &[], length),
    row!(
        "SequenceMap",
        All,
        Refused("control flow: a body is not differentiated"),
        17,
        1..=ANY,
        1..=ANY,
        &[("body", Graph)],
        untyped
    ),
    row!(
        "SplitToSequence",
        Only(&[0]),
        Refused("works on sequences or optional values, and a tangent here is a tensor"),
        11,
        1..=2,
        1..=1,
        &[("axis", Int), ("keepdims", Int)],
        untyped
    ),
    row!("RegexFullMatch", Nothing, Zero, 20, 1..=1, 1..=1, &[("pattern", String)], matches),
    row!("StringConcat", Nothing, Zero, 20, 2..=2, 1..=1, &[], string_concat),
    row!(
        "StringNormalizer",
        Nothing,
        Zero,
        10,
        1..=1,
        1..=1,
        &[("case_change_action", String), ("is_case_sensitive", Int), ("locale", String), ("stopwords", Strings)],
        untyped
    ),
    row!("StringSplit", Nothing, Zero, 20, 1..=1, 2..=2, &[("delimiter", String), ("maxsplit", Int)], string_split),
    row!(
        "TfIdfVectorizer",
        Nothing,
        Zero,
        9,
        1..=1,
        1..=1,
        &[
            ("max_gram_length", Int),
            ("max_skip_count", Int),
            ("min_gram_length", Int),
            ("mode", String),
            ("ngram_counts", Ints),
            ("ngram_indexes", Ints),
            ("pool_int64s", Ints),
            ("pool_strings", Strings),
            ("weights", Floats),
        ],
        untyped
    ),
];

fn has_element(site: &mut Site) -> Result<()> {
    site.set(0, Some(DataType::Bool), Some(Vec::new()));
    Ok(())
}

fn length(site: &mut Site) -> Result<()> {
    site.set(0, Some(DataType::Int64), Some(Vec::new()));
    Ok(())
}

fn matches(site: &mut Site) -> Result<()> {
    let shape = site.shape(0).map(<[Expr]>::to_vec);
    site.set(0, Some(DataType::Bool), shape);
    Ok(())
}

fn string_concat(site: &mut Site) -> Result<()> {
    let shape = site.broadcast_inputs(0..2)?;
    site.set(0, Some(DataType::String), shape);
    Ok(())
}

/// The parts on a new last axis, and how many there are of each.
fn string_split(site: &mut Site) -> Result<()> {
    let shape = site.shape(0).map(<[Expr]>::to_vec);
    let parts = shape.clone().map(|mut s| {
        s.push(Expr::Unknown);
        s
    });
    site.set(0, Some(DataType::String), parts);
    site.set(1, Some(DataType::Int64), shape);
    Ok(())
}
