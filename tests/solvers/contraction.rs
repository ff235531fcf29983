//! Influences of classifiers by the formula as it stands, in float64: with `p = softmax(o)` and label weights `w`, the derivative of
//! `sum_c w_c (-log p_c)` along `o'` is `sum_c (W p_c - w_c) o'_c`, `W = sum_c w_c`, and the influence is that with the other sign.

use isal::influence::GradientEngine;
use ndarray::{Array2, ArrayView4};

/// Which labels stand in for the unknown one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PseudoLabels {
    /// The most likely class, weight one.
    ArgMax,
    /// The K most likely classes, each weighted by its probability.
    Expected(usize),
}

/// What a batch of images got, one entry an image.
pub struct Scores {
    pub influence: Vec<f64>,
    /// Influence under each class as label, `[N, C]`.
    pub per_class: Array2<f64>,
    /// The most likely class.
    pub pseudo_labels: Vec<usize>,
}

/// Scores of a batch by the engine's derivative along `s`.
pub fn scores<E: GradientEngine>(
    engine: &mut E,
    images: ArrayView4<f32>,
    s: &E::Vector,
    pseudo_labels: PseudoLabels,
) -> Scores {
    let jvp = engine.jvp(images, s).unwrap();
    let (samples, classes) = jvp.outputs.dim();
    let mut found =
        Scores { influence: Vec::new(), per_class: Array2::zeros((samples, classes)), pseudo_labels: Vec::new() };
    for (n, (o, moved)) in jvp.outputs.outer_iter().zip(jvp.tangents.outer_iter()).enumerate() {
        let top = o.iter().fold(f64::NEG_INFINITY, |top, o| top.max(f64::from(*o)));
        let powers: Vec<f64> = o.iter().map(|o| (f64::from(*o) - top).exp()).collect();
        let sum: f64 = powers.iter().sum();
        let p: Vec<f64> = powers.iter().map(|power| power / sum).collect();
        let moved: Vec<f64> = moved.iter().map(|moved| f64::from(*moved)).collect();
        let influence = |w: &dyn Fn(usize) -> f64| -> f64 {
            let whole: f64 = (0..classes).map(w).sum();
            (0..classes).map(|c| (w(c) - whole * p[c]) * moved[c]).sum()
        };
        for class in 0..classes {
            found.per_class[[n, class]] = influence(&|c| f64::from(u8::from(c == class)));
        }
        let mut likely: Vec<usize> = (0..classes).collect();
        likely.sort_by(|a, b| p[*b].total_cmp(&p[*a]));
        found.pseudo_labels.push(likely[0]);
        found.influence.push(match pseudo_labels {
            PseudoLabels::ArgMax => found.per_class[[n, likely[0]]],
            PseudoLabels::Expected(k) => {
                likely.truncate(k.min(classes - 1));
                influence(&|c| if likely.contains(&c) { p[c] } else { 0.0 })
            }
        });
    }
    found
}
