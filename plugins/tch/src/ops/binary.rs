//! Arithmetic on two or more numbers, element by element, with broadcasting.

use super::broadcast::{binary, shapes, variadic};
use super::{Op, OpError, Site, input};
use tch::Tensor;

pub(super) const OPS: &[Op] = &[
    Op { name: "Add", forward: |_, x| binary(x, |a, b| Ok(a.f_add(b)?)) },
    Op { name: "BitShift", forward: bit_shift },
    Op { name: "BitwiseAnd", forward: |_, x| binary(x, |a, b| Ok(a.f_bitwise_and_tensor(b)?)) },
    Op { name: "BitwiseOr", forward: |_, x| binary(x, |a, b| Ok(a.f_bitwise_or_tensor(b)?)) },
    Op { name: "BitwiseXor", forward: |_, x| binary(x, |a, b| Ok(a.f_bitwise_xor_tensor(b)?)) },
    Op { name: "Div", forward: |_, x| binary(x, div) },
    Op { name: "Max", forward: |_, x| variadic(x, |a, b| Ok(a.f_maximum(b)?)) },
    Op { name: "Mean", forward: mean },
    Op { name: "Min", forward: |_, x| variadic(x, |a, b| Ok(a.f_minimum(b)?)) },
    Op { name: "Mod", forward: |s, x| binary(x, |a, b| modulo(s, a, b)) },
    Op { name: "Mul", forward: |_, x| binary(x, |a, b| Ok(a.f_mul(b)?)) },
    Op { name: "Pow", forward: pow },
    Op { name: "Sub", forward: |_, x| binary(x, |a, b| Ok(a.f_sub(b)?)) },
    Op { name: "Sum", forward: |_, x| variadic(x, |a, b| Ok(a.f_add(b)?)) },
];

/// The quotient; of integers, rounded towards zero.
fn div(a: &Tensor, b: &Tensor) -> Result<Tensor, OpError> {
    if input::is_float(a)? {
        return Ok(a.f_div(b)?);
    }
    // The processor traps on the least integer over -1, so such a divisor never reaches it.
    let minus_one = b.f_eq(-1)?;
    let quotient = a.f_div_tensor_mode(&b.f_masked_fill(&minus_one, 1)?, "trunc")?;
    Ok(quotient.f_neg()?.f_where_self(&minus_one, &quotient)?)
}

/// [Mod](https://onnx.ai/onnx/operators/onnx__Mod.html): the sign of the divisor, or with `fmod` that of the dividend.
fn modulo(site: &Site, a: &Tensor, b: &Tensor) -> Result<Tensor, OpError> {
    let fmod = site.flag("fmod", false)?;
    if input::is_float(a)? {
        return Ok(if fmod { a.f_fmod_tensor(b)? } else { a.f_remainder_tensor(b)? });
    }
    // As in `div`; what is left over after a division by 1 is 0 as well.
    let b = b.f_masked_fill(&b.f_eq(-1)?, 1)?;
    Ok(if fmod { a.f_fmod_tensor(&b)? } else { a.f_remainder_tensor(&b)? })
}

fn mean(_: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let sum = variadic(inputs, |a, b| Ok(a.f_add(b)?))?;
    sum.iter().map(|sum| Ok(sum.f_mul_scalar(1.0 / inputs.len() as f64)?)).collect()
}

/// [Pow](https://onnx.ai/onnx/operators/onnx__Pow.html): the type of the base, whatever that of the exponent (since 12).
fn pow(_: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let base = input::required(inputs, 0, "X")?;
    let exponent = input::required(inputs, 1, "Y")?;
    shapes(&base.size(), &exponent.size())?;
    let kind = base.f_kind()?;
    let exponent = if input::is_float(base)? { exponent.f_to_kind(kind)? } else { exponent.shallow_clone() };
    Ok(vec![base.f_pow(&exponent)?.f_to_kind(kind)?])
}

fn bit_shift(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let direction = site.required("direction", site.string("direction")?)?;
    binary(inputs, |a, b| match direction {
        "LEFT" => Ok(a.f_bitwise_left_shift(b)?),
        "RIGHT" => Ok(a.f_bitwise_right_shift(b)?),
        found => {
            let found = format!("`{found}`");
            Err(OpError::Attribute { name: "direction", expected: "`LEFT` or `RIGHT`".into(), found })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    #[test]
    fn the_least_integer_over_minus_one_wraps_instead_of_trapping() -> Result<(), OpError> {
        for kind in [Kind::Int, Kind::Int64] {
            let least = Tensor::f_from_slice(&[if kind == Kind::Int { i64::from(i32::MIN) } else { i64::MIN }])?;
            let least = least.f_to_kind(kind)?;
            let divisor = Tensor::f_from_slice(&[-1i64])?.f_to_kind(kind)?;
            assert!(div(&least, &divisor)?.f_equal(&least)?, "{kind:?}");
            let node = isal_onnx::Node::default();
            let site = Site { node: &node, opset: 13, training: false, kind: Kind::Float, device: tch::Device::Cpu };
            assert_eq!(Vec::<i64>::try_from(modulo(&site, &least, &divisor)?)?, [0], "{kind:?}");
        }
        Ok(())
    }

    #[test]
    fn integer_division_rounds_towards_zero_and_refuses_a_divisor_of_zero() -> Result<(), OpError> {
        let a = Tensor::f_from_slice(&[7i64, -7, 7, -7])?;
        let b = Tensor::f_from_slice(&[2i64, 2, -1, -1])?;
        assert_eq!(Vec::<i64>::try_from(div(&a, &b)?)?, [3, -3, -7, 7]);
        assert!(matches!(div(&a, &b.f_zeros_like()?), Err(OpError::Torch { .. })));
        Ok(())
    }
}
