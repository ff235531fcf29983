//! What an influence predicts, done: the pool image is added to the training set, the model retrained to its
//! minimum, and the change of the reference loss measured.

use isal::influence::{ConjugateGradient, Damping, PseudoLabels, SolverOptions, spearman};
use rayon::prelude::*;

use super::exact::{Setting, of};
use super::logistic::Sample;

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
    let s = setting.solve(&options).unwrap().s;
    let scores = setting.scores(&s, PseudoLabels::ArgMax);

    let (training, reference) = (of(&setting.labelled), of(&setting.reference));
    let n = training.len() as f64;
    let inverse = setting.model.clone().train(&training, RIDGE);
    let mean_loss = |model: &super::logistic::Logistic| {
        reference.iter().map(|r| model.loss(r)).sum::<f64>() / reference.len() as f64
    };
    let before = mean_loss(&setting.model);
    let images: Vec<Vec<f64>> =
        setting.pool.images.outer_iter().map(|image| image.iter().map(|&x| f64::from(x)).collect()).collect();
    let retrained = |labels: &[usize]| -> Vec<f64> {
        let pairs: Vec<(&Vec<f64>, usize)> = images.iter().zip(labels.iter().copied()).collect();
        pairs
            .into_par_iter()
            .map(|(x, label)| {
                let w = (0..setting.model.classes).map(|c| f64::from(u8::from(c == label))).collect();
                let mut model = setting.model.clone();
                model.descend(&training, Some(&Sample { x: x.clone(), w }), RIDGE, &inverse);
                mean_loss(&model) - before
            })
            .collect()
    };

    let pseudo: Vec<usize> = scores.beliefs.iter().map(|b| b.pseudo_label).collect();
    let per_class = scores.per_class.as_ref().unwrap();
    let cases = [("pseudo-label", &pseudo), ("true label", &setting.pool.labels)];
    for (name, labels) in cases {
        let predicted: Vec<f64> = labels.iter().enumerate().map(|(i, &label)| per_class[[i, label]] / n).collect();
        let measured = retrained(labels);
        let agreement = spearman(&predicted, &measured).unwrap();
        let (pp, pm): (f64, f64) = predicted
            .iter()
            .zip(&measured)
            .map(|(p, m)| (p * p, p * m))
            .fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
        println!("{name}: Spearman {agreement:.4} over {} pool images, slope {:.3}", measured.len(), pm / pp);
        assert!(agreement >= 0.95, "{name}: Spearman {agreement:.4} over {} pool images", measured.len());
        // First order: the slope is one but for the curvature that the added image itself brings, of order 1/n.
        assert!((pm / pp - 1.0).abs() < 0.25, "{name}: slope {:.3}", pm / pp);
    }
}
