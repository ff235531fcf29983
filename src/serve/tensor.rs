//! Tensors, and requests for inference and their answers, whichever way they came in.

use super::datatype::Datatype;
use super::refusal::{PortKind, Refusal};
use crate::runtime::Texts;
use bytes::Bytes;
use std::collections::HashSet;
use std::time::Duration;

/// A tensor of a request or an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// The name of the input or output.
    pub name: String,
    /// Its type.
    pub datatype: Datatype,
    /// Sizes of its axes.
    pub shape: Vec<usize>,
    /// Its elements in the protocol's binary form: low byte first, or each text with its length before it.
    pub data: Bytes,
}

/// An output that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// The highest so many as `value:index[:label]`; 0: the values themselves.
    pub classes: usize,
    /// Whether it is to be binary, where the request says so.
    pub binary: Option<bool>,
}

/// A request for inference.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Sent back as it is.
    pub id: String,
    /// The model.
    pub model: String,
    /// Its version; empty for the newest.
    pub version: String,
    /// Values of its inputs.
    pub inputs: Vec<Tensor>,
    /// What is asked for; empty for every output.
    pub outputs: Vec<Wanted>,
    /// How long the client waits, where it says so.
    pub timeout: Option<Duration>,
    /// Whether it is no candidate for a harvest.
    pub not_kept: bool,
}

/// What a request gets.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The request's.
    pub id: String,
    /// The model.
    pub model: String,
    /// The version that answered.
    pub version: u64,
    /// The outputs, in the order asked for, or the model's.
    pub outputs: Vec<Tensor>,
    /// Whether each is asked for as binary, where the request says so.
    pub binary: Vec<Option<bool>>,
}

/// Checks a shape out of a request: no negative size, and no more elements than can be held. Gives their number.
///
/// # Errors
/// [`Refusal::Shape`] and [`Refusal::TooManyElements`].
pub fn checked_shape(name: &str, shape: &[i64], limit: usize) -> Result<(Vec<usize>, usize), Refusal> {
    let mut sizes = Vec::with_capacity(shape.len());
    for size in shape {
        let size = usize::try_from(*size).map_err(|_| Refusal::Shape {
            name: name.to_owned(),
            found: shape.to_vec(),
            expected: "sizes of 0 or more".to_owned(),
        })?;
        sizes.push(size);
    }
    // A product is over the limit even where a 0 would hide it.
    let over = || Refusal::TooManyElements { name: name.to_owned(), shape: shape.to_vec(), limit };
    let at_least = sizes.iter().try_fold(1_usize, |product, size| product.checked_mul((*size).max(1)));
    if at_least.is_none_or(|product| product > limit) {
        return Err(over());
    }
    let elements = sizes.iter().product();
    Ok((sizes, elements))
}

/// Checks that data is as long as its shape says.
///
/// # Errors
/// [`Refusal::Size`] and [`Refusal::Texts`].
pub fn check_data(name: &str, datatype: Datatype, elements: usize, data: &[u8]) -> Result<(), Refusal> {
    let refused = |found, expected, unit| Refusal::Size { name: name.to_owned(), found, expected, unit };
    if let Some(size) = datatype.size() {
        let expected = elements.saturating_mul(size);
        return if data.len() == expected { Ok(()) } else { Err(refused(data.len(), expected, "bytes")) };
    }
    let mut found = 0_usize;
    for text in Texts(data) {
        text.map_err(|source| Refusal::Texts { name: name.to_owned(), source })?;
        found += 1;
    }
    if found == elements { Ok(()) } else { Err(refused(found, elements, "texts")) }
}

/// Refuses a name that stands twice.
///
/// # Errors
/// [`Refusal::Twice`].
pub fn check_names<'a>(port: PortKind, names: impl Iterator<Item = &'a str>) -> Result<(), Refusal> {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Refusal::Twice { port, name: name.to_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_that_cannot_be_held_are_refused() {
        assert_eq!(checked_shape("x", &[2, 3, 4], 100).expect("small"), (vec![2, 3, 4], 24));
        assert_eq!(checked_shape("x", &[], 100).expect("a scalar"), (vec![], 1));
        assert_eq!(checked_shape("x", &[0, 3], 100).expect("no row"), (vec![0, 3], 0));
        for shape in [&[i64::MAX, i64::MAX][..], &[0, i64::MAX, i64::MAX], &[101], &[1 << 32, 1 << 32]] {
            let refused = checked_shape("x", shape, 100);
            assert!(matches!(refused, Err(Refusal::TooManyElements { .. })), "{shape:?}: {refused:?}");
        }
        for shape in [&[-1][..], &[2, i64::MIN]] {
            assert!(matches!(checked_shape("x", shape, 100), Err(Refusal::Shape { .. })), "{shape:?}");
        }
    }

    #[test]
    fn data_is_as_long_as_its_shape_says() {
        assert!(check_data("x", Datatype::Fp32, 2, &[0; 8]).is_ok());
        assert!(matches!(check_data("x", Datatype::Fp32, 2, &[0; 7]), Err(Refusal::Size { expected: 8, .. })));
        assert!(check_data("x", Datatype::Bytes, 2, b"\x01\0\0\0a\0\0\0\0").is_ok());
        assert!(matches!(check_data("x", Datatype::Bytes, 1, b"\x01\0\0\0a\0\0\0\0"), Err(Refusal::Size { .. })));
        assert!(matches!(check_data("x", Datatype::Bytes, 1, b"\x09\0\0\0a"), Err(Refusal::Texts { .. })));
    }

    #[test]
    fn a_name_twice_is_refused() {
        let twice = check_names(PortKind::Output, ["a", "b", "a"].into_iter()).expect_err("twice");
        assert_eq!(twice.to_string(), "output `a` is given twice");
    }
}
