//! Multidirectional broadcasting, checked before libtorch allocates.

use super::error::check_size;
use super::{OpError, input};
use tch::Tensor;

/// The dims that shapes `a` and `b` broadcast to.
pub(super) fn shapes(a: &[i64], b: &[i64]) -> Result<Vec<i64>, OpError> {
    let rank = a.len().max(b.len());
    let at = |dims: &[i64], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
    let mut out = Vec::with_capacity(rank);
    for i in 0..rank {
        out.push(match (at(a, i), at(b, i)) {
            (1, n) | (n, 1) => n,
            (m, n) if m == n => n,
            _ => {
                return Err(OpError::Input {
                    name: "B",
                    expected: format!("a shape that broadcasts with {a:?}").into(),
                    found: format!("{b:?}"),
                });
            }
        });
    }
    check_size(&out)?;
    Ok(out)
}

/// Checks that shape `b` broadcasts to `a` and leaves it as it is.
pub(super) fn onto(a: &[i64], b: &[i64], name: &'static str) -> Result<(), OpError> {
    if shapes(a, b).is_ok_and(|out| out == a) {
        return Ok(());
    }
    let expected = format!("a shape that broadcasts to {a:?}").into();
    Err(OpError::Input { name, expected, found: format!("{b:?}") })
}

/// A function of one tensor.
pub(super) fn unary(
    inputs: &[Option<Tensor>],
    f: impl Fn(&Tensor) -> Result<Tensor, OpError>,
) -> Result<Vec<Tensor>, OpError> {
    Ok(vec![f(input::required(inputs, 0, "X")?)?])
}

/// A function of two tensors of one kind that broadcast.
pub(super) fn binary(
    inputs: &[Option<Tensor>],
    f: impl Fn(&Tensor, &Tensor) -> Result<Tensor, OpError>,
) -> Result<Vec<Tensor>, OpError> {
    let a = input::required(inputs, 0, "A")?;
    let b = input::required(inputs, 1, "B")?;
    pair(a, b, &f).map(|y| vec![y])
}

/// A function of two tensors, folded over all inputs from the left.
pub(super) fn variadic(
    inputs: &[Option<Tensor>],
    f: impl Fn(&Tensor, &Tensor) -> Result<Tensor, OpError>,
) -> Result<Vec<Tensor>, OpError> {
    let mut out = input::required(inputs, 0, "data_0")?.shallow_clone();
    for i in 1..inputs.len() {
        out = pair(&out, input::required(inputs, i, "data")?, &f)?;
    }
    Ok(vec![out])
}

fn pair(a: &Tensor, b: &Tensor, f: &impl Fn(&Tensor, &Tensor) -> Result<Tensor, OpError>) -> Result<Tensor, OpError> {
    input::same_kind(a, b, "B")?;
    shapes(&a.size(), &b.size())?;
    f(a, b)
}
