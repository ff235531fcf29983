//! Probabilities from class scores.

use super::Embedded;
use ndarray::{Array2, ArrayView1, Axis};

/// `softmax(o / temperature)`, `[N, C]`.
pub(super) fn probabilities(logits: &Array2<f32>, temperature: f64) -> Array2<f64> {
    let mut p = logits.mapv(|o| f64::from(o) / temperature);
    for mut row in p.axis_iter_mut(Axis(0)) {
        let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        row.mapv_inplace(|o| (o - most).exp());
        let sum = row.sum();
        row.mapv_inplace(|e| e / sum);
    }
    p
}

/// The two largest.
fn two_largest(p: ArrayView1<f64>) -> (f64, f64) {
    p.iter().fold((0.0, 0.0), |(first, second), p| match *p {
        p if p > first => (p, first),
        p if p > second => (first, p),
        _ => (first, second),
    })
}

/// One minus the margin of each row: how unsure the model is, in [0, 1].
pub(super) fn unsureness(p: &Array2<f64>) -> Vec<f64> {
    let unsure = |row| {
        let (first, second) = two_largest(row);
        1.0 - (first - second)
    };
    p.axis_iter(Axis(0)).map(unsure).collect()
}

/// Mean cross-entropy of the labelled ones among the images at a temperature; `None` where none is labelled.
fn loss(embedded: &Embedded, temperature: f64) -> Option<f64> {
    let losses: Vec<f64> = losses(embedded, temperature).into_iter().flatten().collect();
    (!losses.is_empty()).then(|| losses.iter().sum::<f64>() / losses.len() as f64)
}

/// Cross-entropy of each image at a temperature, where its label is known.
pub(super) fn losses(embedded: &Embedded, temperature: f64) -> Vec<Option<f64>> {
    let of = |(row, label): (ArrayView1<f32>, &Option<u32>)| {
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|o| (f64::from(o - most) / temperature).exp()).sum();
        let own = row.get((*label)? as usize)?;
        Some(sum.ln() - f64::from(own - most) / temperature)
    };
    embedded.logits.axis_iter(Axis(0)).zip(&embedded.labels).map(of).collect()
}

/// The temperature of least loss on the labelled ones among the images (Guo et al., On calibration of modern neural networks,
/// ICML 2017), by golden sections of its logarithm between 1/20 and 20; 1 where none is labelled.
pub(super) fn temperature(embedded: &Embedded) -> f64 {
    const STEPS: usize = 60;
    let shrink = (5.0_f64.sqrt() - 1.0) / 2.0;
    let of = |log: f64| loss(embedded, log.exp()).unwrap_or(0.0);
    if loss(embedded, 1.0).is_none() {
        return 1.0;
    }
    let (mut low, mut high) = (-20.0_f64.ln(), 20.0_f64.ln());
    let (mut left, mut right) = (high - shrink * (high - low), low + shrink * (high - low));
    let (mut at_left, mut at_right) = (of(left), of(right));
    for _ in 0..STEPS {
        if at_left <= at_right {
            (high, right, at_right) = (right, left, at_left);
            left = high - shrink * (high - low);
            at_left = of(left);
        } else {
            (low, left, at_left) = (left, right, at_right);
            right = low + shrink * (high - low);
            at_right = of(right);
        }
    }
    f64::midpoint(low, high).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn probabilities_are_a_softmax_and_survive_large_scores() {
        let p = probabilities(&array![[0.0, 2.0_f32.ln()], [1000.0, 0.0]], 1.0);
        assert!((p[[0, 0]] - 1.0 / 3.0).abs() < 1e-7 && p[[1, 0]] == 1.0, "{p}");
        let margins = unsureness(&p);
        assert!((margins[0] - 2.0 / 3.0).abs() < 1e-7 && margins[1] == 0.0);
    }

    /// Of two classes with the same odds e^o of being right, the best temperature makes the odds the share that is right:
    /// three of four right at scores of 4 against 0 means 4 / T = ln 3.
    #[test]
    fn the_temperature_makes_the_beliefs_as_sure_as_they_are_right() {
        let embedded = Embedded {
            logits: array![[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [4.0, 0.0]],
            labels: vec![Some(0), Some(0), Some(0), Some(1)],
            ..Embedded::default()
        };
        let expected = 4.0 / 3.0_f64.ln();
        assert!((temperature(&embedded) / expected - 1.0).abs() < 1e-6);
        assert_eq!(temperature(&Embedded { labels: vec![None; 4], ..embedded }), 1.0);
    }
}
