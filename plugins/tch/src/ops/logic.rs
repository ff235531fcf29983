//! Truth values: comparisons, connectives and the choice they govern.

use super::broadcast::{binary, shapes, unary};
use super::{Op, OpError, Site, input};
use tch::{Kind, Tensor};

pub(super) const OPS: &[Op] = &[
    Op { name: "And", forward: |_, x| binary(x, |a, b| Ok(a.f_logical_and(b)?)) },
    Op { name: "BitwiseNot", forward: |_, x| unary(x, |x| Ok(x.f_bitwise_not()?)) },
    Op { name: "Equal", forward: |_, x| binary(x, |a, b| Ok(a.f_eq_tensor(b)?)) },
    Op { name: "Greater", forward: |_, x| binary(x, |a, b| Ok(a.f_gt_tensor(b)?)) },
    Op { name: "GreaterOrEqual", forward: |_, x| binary(x, |a, b| Ok(a.f_ge_tensor(b)?)) },
    Op { name: "Less", forward: |_, x| binary(x, |a, b| Ok(a.f_lt_tensor(b)?)) },
    Op { name: "LessOrEqual", forward: |_, x| binary(x, |a, b| Ok(a.f_le_tensor(b)?)) },
    Op { name: "Not", forward: |_, x| unary(x, |x| Ok(x.f_logical_not()?)) },
    Op { name: "Or", forward: |_, x| binary(x, |a, b| Ok(a.f_logical_or(b)?)) },
    Op { name: "Where", forward: choose },
    Op { name: "Xor", forward: |_, x| binary(x, |a, b| Ok(a.f_logical_xor(b)?)) },
];

/// [Where](https://onnx.ai/onnx/operators/onnx__Where.html).
fn choose(_: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let condition = input::required(inputs, 0, "condition")?;
    let x = input::required(inputs, 1, "X")?;
    let y = input::required(inputs, 2, "Y")?;
    if condition.f_kind()? != Kind::Bool {
        let found = format!("{:?}", condition.f_kind()?);
        return Err(OpError::Input { name: "condition", expected: "truth values".into(), found });
    }
    input::same_kind(x, y, "Y")?;
    shapes(&condition.size(), &shapes(&x.size(), &y.size())?)?;
    Ok(vec![x.f_where_self(condition, y)?])
}
