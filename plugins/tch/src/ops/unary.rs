//! Functions of one number, element by element: the output has the type of the input, or is a truth value.

use super::broadcast::unary;
use super::{Op, OpError, Site, input};
use tch::{Kind, Tensor};

pub(super) const OPS: &[Op] = &[
    Op { name: "Abs", forward: |_, x| unary(x, |x| Ok(x.f_abs()?)) },
    Op { name: "Acos", forward: |_, x| unary(x, |x| Ok(x.f_acos()?)) },
    Op { name: "Acosh", forward: |_, x| unary(x, |x| Ok(x.f_acosh()?)) },
    Op { name: "Asin", forward: |_, x| unary(x, |x| Ok(x.f_asin()?)) },
    Op { name: "Asinh", forward: |_, x| unary(x, |x| Ok(x.f_asinh()?)) },
    Op { name: "Atan", forward: |_, x| unary(x, |x| Ok(x.f_atan()?)) },
    Op { name: "Atanh", forward: |_, x| unary(x, |x| Ok(x.f_atanh()?)) },
    Op { name: "Ceil", forward: |_, x| unary(x, |x| Ok(x.f_ceil()?)) },
    Op { name: "Cos", forward: |_, x| unary(x, |x| Ok(x.f_cos()?)) },
    Op { name: "Cosh", forward: |_, x| unary(x, |x| Ok(x.f_cosh()?)) },
    Op { name: "Erf", forward: |_, x| unary(x, |x| Ok(x.f_erf()?)) },
    Op { name: "Exp", forward: |_, x| unary(x, |x| Ok(x.f_exp()?)) },
    Op { name: "Floor", forward: |_, x| unary(x, |x| Ok(x.f_floor()?)) },
    Op { name: "Identity", forward: |_, x| unary(x, |x| Ok(x.shallow_clone())) },
    Op { name: "IsInf", forward: is_inf },
    Op { name: "IsNaN", forward: |_, x| unary(x, |x| Ok(x.f_isnan()?)) },
    Op { name: "Log", forward: |_, x| unary(x, |x| Ok(x.f_log()?)) },
    Op { name: "Neg", forward: |_, x| unary(x, |x| Ok(x.f_neg()?)) },
    Op { name: "Reciprocal", forward: |_, x| unary(x, |x| Ok(x.f_reciprocal()?)) },
    Op { name: "Round", forward: |_, x| unary(x, |x| Ok(x.f_round()?)) },
    Op { name: "Sign", forward: |_, x| unary(x, |x| Ok(x.f_sign()?)) },
    Op { name: "Sin", forward: |_, x| unary(x, |x| Ok(x.f_sin()?)) },
    Op { name: "Sinh", forward: |_, x| unary(x, |x| Ok(x.f_sinh()?)) },
    Op { name: "Sqrt", forward: |_, x| unary(x, |x| Ok(x.f_sqrt()?)) },
    Op { name: "Tan", forward: |_, x| unary(x, |x| Ok(x.f_tan()?)) },
    Op { name: "Tanh", forward: |_, x| unary(x, |x| Ok(x.f_tanh()?)) },
];

/// [IsInf](https://onnx.ai/onnx/operators/onnx__IsInf.html), of either sign or of one.
fn is_inf(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "X")?;
    let negative = site.flag("detect_negative", true)?;
    let positive = site.flag("detect_positive", true)?;
    Ok(vec![match (negative, positive) {
        (true, true) => x.f_isinf()?,
        (true, false) => x.f_isneginf()?,
        (false, true) => x.f_isposinf()?,
        (false, false) => Tensor::f_zeros(x.size(), (Kind::Bool, x.device()))?,
    }])
}
