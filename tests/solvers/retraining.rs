//! What an influence predicts, done: the pool image is added to the training set, the model retrained to its
//! minimum, and the change of the reference loss measured.

use isal::influence::{ConjugateGradient, Damping, SolverOptions, spearman};

use super::contraction::PseudoLabels;
use super::dense::dot;
use super::setting::Setting;

/// The ridge of the training objective; its curvature is the lambda that makes the prediction exact to first order.
const RIDGE: f64 = 0.01;

#[test]
fn influence_predicts_the_change_that_adding_each_pool_image_makes() {
    let mut setting = Setting::new(RIDGE);
    let options = SolverOptions::CgGaussNewton(ConjugateGradient {
        damping: Damping::Fixed(RIDGE),
        tolerance: 1e-6,
        ..ConjugateGradient::default()
    });
    let s = setting.solved_by_formula(&options).unwrap().s;
    let scores = setting.scored_by_formula(&s, PseudoLabels::ArgMax);
    let per_class = &scores.per_class;
    for (name, labels) in [("pseudo-label", &scores.pseudo_labels), ("true label", &setting.pool.labels)] {
        let predicted: Vec<f64> = labels.iter().enumerate().map(|(i, &label)| per_class[[i, label]] / 400.0).collect();
        let measured = setting.retrained(labels);
        let agreement = spearman(&predicted, &measured).unwrap();
        let slope = dot(&predicted, &measured) / dot(&predicted, &predicted);
        println!("{name}: Spearman {agreement:.4} over {} pool images, slope {slope:.3}", measured.len());
        assert!(agreement >= 0.95, "{name}: Spearman {agreement:.4} over {} pool images", measured.len());
        // First order: the slope is one but for the curvature that the added image itself brings, of order 1/n.
        assert!((slope - 1.0).abs() < 0.25, "{name}: slope {slope:.3}");
    }
}
