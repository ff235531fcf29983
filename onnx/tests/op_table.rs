//! The operator table against what the `onnx` package says (`fixtures/schemas.py`).

use isal_onnx::ops::{self, Kind};
use std::collections::{BTreeMap, BTreeSet};

const SCHEMAS: &str = include_str!("fixtures/schemas.txt");

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Float => "FLOAT",
        Kind::Int => "INT",
        Kind::String => "STRING",
        Kind::Tensor => "TENSOR",
        Kind::Graph => "GRAPH",
        Kind::Floats => "FLOATS",
        Kind::Ints => "INTS",
        Kind::Strings => "STRINGS",
        Kind::SparseTensor => "SPARSE_TENSOR",
        Kind::Type => "TYPE_PROTO",
    }
}

fn range(low: usize, high: usize) -> String {
    if high == usize::MAX { format!("{low}..*") } else { format!("{low}..{high}") }
}

/// The table as `schemas.py` writes its lines.
fn table() -> BTreeMap<&'static str, String> {
    ops::all()
        .map(|op| {
            let attributes: BTreeSet<String> =
                op.attributes.iter().map(|(name, k)| format!("{name}:{}", kind(*k))).collect();
            let attributes: Vec<String> = attributes.into_iter().collect();
            let (inputs, outputs) = (&op.inputs, &op.outputs);
            let line = format!(
                "{} {} {} {} {}",
                op.name,
                op.since,
                range(*inputs.start(), *inputs.end()),
                range(*outputs.start(), *outputs.end()),
                attributes.join(" ")
            );
            (op.name, line.trim_end().to_owned())
        })
        .collect()
}

#[test]
fn rows_say_what_the_standard_says() {
    let table = table();
    let mut differ = Vec::new();
    for schema in SCHEMAS.lines() {
        let name = schema.split(' ').next().expect("a name");
        match table.get(name) {
            Some(row) if row == schema => {}
            Some(row) => differ.push(format!("- {schema}\n+ {row}")),
            None => differ.push(format!("- {schema}")),
        }
    }
    assert!(differ.is_empty(), "{} rows differ:\n{}", differ.len(), differ.join("\n"));
    assert_eq!(table.len(), SCHEMAS.lines().count(), "the table has operators that the standard lacks");
    assert_eq!(ops::all().count(), table.len(), "an operator has two rows");
}
