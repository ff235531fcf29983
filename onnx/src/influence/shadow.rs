//! The shadow model: the same network at `theta + eps s`, for a stack that serves the network at `theta` already.
//!
//! Graph, names and everything else are the model's own; only the weights in scope are others, so an engine compiled for
//! the model can be refitted with them. With `o` the served model's logits, `o~` the shadow's and `d = (o~ - o) / eps`,
//! the influence under the arg-max pseudo-label is `-sum_c p_c (d_c - d_top)` (`classes`), that is
//! `d_top - sum_c p_c d_c` with `p = softmax(o)`. Of probabilities the logarithm is taken first: it differs from the
//! logits by the same number in every class, which cancels.

use super::paired::{Difference, ahead_of, step};
use super::{Direction, Form, InfluenceMetadata};
use crate::{Model, Result};

/// How to compute influence from the answers `o` of the served model and `o~` of its shadow, where both give logits.
const OF_LOGITS: &str = "d = (o~ - o) / step; influence = d[argmax(o)] - sum(softmax(o) * d)";
/// The same, where both give probabilities.
const OF_PROBABILITIES: &str = "d = (log(p~) - log(p)) / step; influence = d[argmax(p)] - sum(p * d)";

/// A shadow model and what it is read with.
#[derive(Debug, Clone, PartialEq)]
pub struct Shadow {
    /// The model at the other weights.
    pub model: Model,
    /// `eps`, which the difference of the answers is divided by.
    pub eps: f64,
    /// One line that gives influence from the two answers, `step` standing for `eps`.
    pub formula: &'static str,
}

/// Moves the weights of `model` along `direction`, by `relative_step` of their norm. `probabilities` says what the class
/// scores are.
///
/// The properties of the result hold `step` (that is `eps`, to the last digit) and the formula.
///
/// # Errors
/// A direction that names no float32 initializer, or whose block has other dims, or that is zero.
pub fn shadow(model: &Model, direction: &Direction, relative_step: f64, probabilities: bool) -> Result<Shadow> {
    let eps = step(&model.graph, direction, relative_step)?;
    let mut built = model.clone();
    built.graph.initializers.extend(ahead_of(&model.graph, direction, eps));
    let formula = if probabilities { OF_PROBABILITIES } else { OF_LOGITS };
    let mut metadata = InfluenceMetadata::default();
    for (key, value) in [
        ("form", Form::Shadow.to_string()),
        ("difference", Difference::OneSided.name().to_owned()),
        ("relative step", format!("{relative_step:e}")),
        ("step", format!("{eps:e}")),
        ("formula", formula.to_owned()),
    ] {
        metadata.0.insert(key.to_owned(), value);
    }
    metadata.store(&mut built);
    Ok(Shadow { model: built, eps, formula })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, DataType, Tensor, ValueType};

    fn linear() -> Model {
        let mut b = Builder::new("linear");
        let x = b.input("x", ValueType::new(DataType::Float, [1, 2]));
        let w = b.initializer("w", Tensor::new([2, 2], &[3.0f32, 0.0, 0.0, 4.0]));
        let c = b.initializer("c", Tensor::new([2], &[1.0f32, 1.0]));
        let y = b.node("Gemm", [x, w, c]).outputs(["y"]).value();
        b.output("y", y, None);
        Model::new(17, b.finish().expect("a graph"))
    }

    #[test]
    fn only_the_weights_in_scope_move_and_by_the_step_that_is_told() {
        let s = Direction::from([("w".to_owned(), Tensor::new([2, 2], &[0.0f32, 2.0, 0.0, 0.0]))]);
        let made = shadow(&linear(), &s, 1e-2, false).expect("made");
        // ||theta|| = 5, ||s|| = 2: eps = 0.01 * 5 / 2.
        assert!((made.eps - 0.025).abs() < 1e-15, "{}", made.eps);
        assert_eq!(made.model.graph.initializers["w"].to_vec::<f32>(), Some(vec![3.0, 0.05, 0.0, 4.0]));
        let mut back = made.model.clone();
        back.graph.initializers["w"] = linear().graph.initializers["w"].clone();
        assert_eq!(back.graph, linear().graph, "all else is the model's");
        let said = InfluenceMetadata::of(&made.model).expect("properties");
        assert_eq!(said.get("step").and_then(|s| s.parse().ok()), Some(made.eps));
        assert_eq!((said.get("form"), said.get("formula")), (Some("shadow"), Some(OF_LOGITS)));
    }

    #[test]
    fn a_direction_that_does_not_fit_is_refused() {
        let s = Direction::from([("w".to_owned(), Tensor::new([4], &[1.0f32; 4]))]);
        assert!(shadow(&linear(), &s, 1e-2, true).is_err());
        let zero = Direction::from([("w".to_owned(), Tensor::new([2, 2], &[0.0f32; 4]))]);
        assert!(shadow(&linear(), &zero, 1e-2, true).is_err());
    }
}
