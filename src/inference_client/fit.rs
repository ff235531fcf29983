//! Whether the model that a server describes is the one that a file holds.

use super::{Metadata, Port};
use crate::serve::Datatype;
use std::collections::BTreeMap;

/// What a file says of the model that is to be served.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wanted {
    /// The image input: its name and type.
    pub input: (String, Option<Datatype>),
    /// Its axes, where fixed.
    pub axes: Vec<Option<usize>>,
    /// The outputs that are asked for, with their axes where the file says them.
    pub outputs: Vec<(String, Option<Vec<Option<usize>>>)>,
    /// Properties that the server must not contradict.
    pub properties: BTreeMap<String, String>,
}

impl Wanted {
    /// Holds the description against the file. Gives the rows of every request, where the server takes so many and no other.
    ///
    /// # Errors
    /// What was found and what was expected.
    pub(super) fn check(&self, found: &Metadata) -> Result<Option<usize>, String> {
        let (name, datatype) = &self.input;
        let rows = match found.inputs.as_slice() {
            // A server that does not say: its answers tell.
            [] => None,
            [input] if input.name == *name => {
                same_type(input, *datatype)?;
                same_axes("input", input, &self.axes)?;
                input.shape.first().and_then(|rows| usize::try_from(*rows).ok()).filter(|rows| *rows > 0)
            }
            inputs => return Err(format!("it takes {}, the file `{name}` alone", listed(inputs))),
        };
        for (name, axes) in &self.outputs {
            let Some(output) = found.outputs.iter().find(|output| output.name == *name) else {
                if found.outputs.is_empty() {
                    continue;
                }
                return Err(format!("it has no output `{name}`; it gives {}", listed(&found.outputs)));
            };
            if Datatype::named(&output.datatype).is_none_or(|datatype| datatype == Datatype::Bytes) {
                return Err(format!("its output `{name}` is {}, expected numbers", output.datatype));
            }
            if let Some(axes) = axes {
                same_axes("output", output, axes)?;
            }
        }
        for (key, expected) in &self.properties {
            if let Some(other) = found.properties.get(key).filter(|value| *value != expected) {
                return Err(format!("its `{key}` is {other}, that of the file {expected}"));
            }
        }
        Ok(rows)
    }
}

fn same_type(input: &Port, expected: Option<Datatype>) -> Result<(), String> {
    match expected {
        Some(expected) if input.datatype != expected.name() => {
            Err(format!("its input `{}` is {}, that of the file {expected}", input.name, input.datatype))
        }
        _ => Ok(()),
    }
}

/// Whether axes agree where both are fixed. Axes of one at the end do not count: some servers have no tensors whose only axis is
/// the batch.
fn same_axes(kind: &str, port: &Port, expected: &[Option<usize>]) -> Result<(), String> {
    let ones = port.shape.get(expected.len()..);
    let as_many = ones.is_some_and(|rest| rest.iter().all(|size| *size == 1));
    let agree = |(found, expected): (&i64, &Option<usize>)| {
        *found < 0 || expected.is_none_or(|expected| usize::try_from(*found) == Ok(expected))
    };
    // The batch axis is the server's own affair.
    if as_many && port.shape.iter().zip(expected).skip(1).all(agree) {
        return Ok(());
    }
    let shown: Vec<String> =
        expected.iter().map(|size| size.map_or_else(|| "-1".to_owned(), |size| size.to_string())).collect();
    let (name, found) = (&port.name, &port.shape);
    Err(format!("its {kind} `{name}` has the shape {found:?}, that of the file [{}]", shown.join(", ")))
}

fn listed(ports: &[Port]) -> String {
    let names: Vec<String> = ports.iter().map(|port| format!("`{}`", port.name)).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, datatype: &str, shape: &[i64]) -> Port {
        Port { name: name.into(), datatype: datatype.into(), shape: shape.to_vec() }
    }

    fn wanted() -> Wanted {
        Wanted {
            input: ("images".into(), Some(Datatype::Fp32)),
            axes: vec![None, Some(1), Some(28), Some(28)],
            outputs: vec![("influence".into(), Some(vec![None]))],
            properties: BTreeMap::from([("isal.influence.s sha256".into(), "abc".into())]),
        }
    }

    fn found() -> Metadata {
        Metadata {
            inputs: vec![port("images", "FP32", &[-1, 1, 28, 28])],
            outputs: vec![port("logits", "FP32", &[-1, 10]), port("influence", "FP32", &[-1])],
            ..Metadata::default()
        }
    }

    #[test]
    fn the_same_model_fits_however_the_server_spells_it() {
        assert_eq!(wanted().check(&found()), Ok(None));
        let mut row = found();
        row.outputs[1].shape = vec![-1, 1];
        row.inputs[0].shape[0] = 8;
        assert_eq!(wanted().check(&row), Ok(Some(8)), "as Triton has it");
        assert_eq!(wanted().check(&Metadata::default()), Ok(None), "a server that says nothing");
    }

    #[test]
    fn another_model_is_named_with_what_was_found() {
        type Change<'a> = &'a dyn Fn(&mut Metadata);
        let cases: [(&str, Change); 7] = [
            ("takes `x`", &|m| m.inputs[0].name = "x".into()),
            ("takes `images`, `mask`", &|m| m.inputs.push(port("mask", "FP32", &[-1]))),
            ("`images` is FP16", &|m| m.inputs[0].datatype = "FP16".into()),
            ("[-1, 3, 28, 28]", &|m| m.inputs[0].shape[1] = 3),
            ("no output `influence`; it gives `logits`", &|m| m.outputs.truncate(1)),
            ("`influence` has the shape [-1, 4]", &|m| m.outputs[1].shape = vec![-1, 4]),
            ("is xyz, that of the file abc", &|m| {
                m.properties.insert("isal.influence.s sha256".into(), "xyz".into());
            }),
        ];
        for (says, change) in cases {
            let mut other = found();
            change(&mut other);
            let refused = wanted().check(&other).expect_err(says);
            assert!(refused.contains(says), "{refused} does not say `{says}`");
        }
    }
}
