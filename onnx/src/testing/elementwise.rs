//! Rows of elementwise operators.

use super::case::{Case, case};

/// Smooth functions of one number, with the range they are tested in.
const SMOOTH: &[(&str, f64, f64)] = &[
    ("Acos", -0.9, 0.9),
    ("Acosh", 1.2, 3.0),
    ("Asin", -0.9, 0.9),
    ("Asinh", -2.0, 2.0),
    ("Atan", -2.0, 2.0),
    ("Atanh", -0.9, 0.9),
    ("Cos", -2.0, 2.0),
    ("Cosh", -2.0, 2.0),
    ("Erf", -2.0, 2.0),
    ("Exp", -2.0, 2.0),
    ("Gelu", -3.0, 3.0),
    ("Identity", -2.0, 2.0),
    ("Log", 0.2, 3.0),
    ("Mish", -3.0, 3.0),
    ("Neg", -2.0, 2.0),
    ("Reciprocal", 0.3, 2.0),
    ("Sigmoid", -3.0, 3.0),
    ("Sin", -2.0, 2.0),
    ("Sinh", -2.0, 2.0),
    ("Softplus", -3.0, 3.0),
    ("Sqrt", 0.2, 3.0),
    ("Swish", -3.0, 3.0),
    ("Tan", -1.0, 1.0),
    ("Tanh", -2.0, 2.0),
];

/// Piecewise functions: their numbers keep off the kinks at 0.
const KINKED: &[&str] = &["Abs", "Celu", "Elu", "LeakyRelu", "Relu", "Selu", "Softsign"];

pub(super) fn rows() -> Vec<Case> {
    let mut rows = Vec::new();
    for &(op, low, high) in SMOOTH {
        let opset = if op == "Swish" { 24 } else { 22 };
        rows.push(case(op).opset(opset).within(&[2, 3], low, high));
    }
    for &op in KINKED {
        rows.push(case(op).apart(&[2, 5], 0.3));
    }
    rows.extend([
        case("Celu").set("alpha", 0.5f32).apart(&[6], 0.4),
        case("Elu").set("alpha", 0.5f32).apart(&[6], 0.4),
        case("LeakyRelu").set("alpha", 0.3f32).apart(&[6], 0.4),
        // Images, whose masks may be had otherwise.
        case("LeakyRelu").opset(9).apart(&[2, 3, 1, 2], 0.3),
        case("Relu").apart(&[2, 2, 3, 2], 0.3),
        case("Relu").opset(7).apart(&[1, 3, 2, 2], 0.3),
        case("Selu").set("alpha", 1.1f32).set("gamma", 2.0f32).apart(&[6], 0.4),
        case("Gelu").set("approximate", "tanh").within(&[6], -3.0, 3.0),
        case("Swish").opset(24).set("alpha", 1.5f32).within(&[6], -3.0, 3.0),
        case("Softplus").within(&[4], 25.0, 40.0),
        // Kinks at -2.5 and 2.5, and at -3 and 3.
        case("HardSigmoid").apart(&[12], 0.7),
        case("HardSigmoid").set("alpha", 1.0f32).set("beta", 0.25f32).apart(&[9], 0.32),
        case("HardSwish").apart(&[12], 0.7),
        case("PRelu").apart(&[2, 3, 4], 0.1).x(&[3, 1]),
        case("PRelu").apart(&[2, 3], 0.3).x(&[1]),
        case("ThresholdedRelu").set("alpha", 0.5f32).apart(&[9], 0.3),
        case("Shrink").set("lambd", 1.0f32).set("bias", 0.5f32).apart(&[9], 0.3),
        case("Clip").apart(&[9], 0.3).within(&[], -0.8, -0.7).within(&[], 0.7, 0.8),
        case("Clip").apart(&[9], 0.3).skip().within(&[], 0.7, 0.8),
        case("Clip").opset(7).set("min", -0.7f32).set("max", 0.8f32).apart(&[9], 0.3),
        case("Clip").opset(10).set("min", -0.7f32).apart(&[9], 0.3),
        case("Clip").apart(&[4], 0.3),
        case("Cast").set("to", 11i64).x(&[4]),
        case("Cast").set("to", 10i64).x(&[4]),
        case("CastLike").x(&[4]).floats(&[1], &[0.0]),
        case("Add").x(&[2, 3]).x(&[3]),
        case("Add").x(&[]).x(&[2, 1, 3]),
        case("Sub").x(&[2, 3]).x(&[2, 1]),
        case("Mul").x(&[2, 3]).x(&[4, 1, 3]),
        case("Div").x(&[2, 3]).within(&[3], 0.5, 2.0),
        case("Pow").within(&[2, 3], 0.5, 2.0).within(&[3], -1.5, 2.5),
        case("Pow").x(&[5]).floats(&[1], &[2.0]),
        case("Pow").x(&[5]).ints(&[], &[3]),
        case("Mod").set("fmod", 1i64).within(&[4], 0.1, 0.9).floats(&[4], &[0.95, -1.0, 2.0, -3.0]),
        case("Mod").set("fmod", 1i64).within(&[4], 2.2, 2.8).within(&[1], 1.02, 1.05),
        case("Max").apart(&[4], 0.2).floats(&[1], &[-9.0]).within(&[4], -0.02, 0.02),
        case("Max").apart(&[2, 4], 0.2).within(&[4], 0.01, 0.02),
        case("Min").apart(&[3, 4], 0.2).within(&[4], 0.01, 0.02),
        case("Max").x(&[4]),
        case("Mean").x(&[2, 3]).x(&[3]).x(&[1]),
        case("Sum").x(&[2, 3]).x(&[3]).x(&[1]),
        case("Where").truths(&[2, 1], &[true, false]).x(&[3]).x(&[2, 3]),
        case("Dropout").x(&[5]).outputs(&[0]),
        case("Dropout").training().x(&[5]).floats(&[], &[0.0]).outputs(&[0]),
    ]);
    rows
}
