//! What the class scores of a file are, and the probabilities that they stand for.

use crate::influence::InfluenceError;
use ndarray::ArrayView1;

/// What a classifier's output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputKind {
    /// Scores before the softmax.
    Logits,
    /// Probabilities: the graph ends in Softmax.
    Probabilities,
}

/// How far from one a row of probabilities may sum: float16 models lose this much over a thousand classes.
const SUM_TOLERANCE: f64 = 1e-2;

/// Softmax in float64, or the row itself where it holds probabilities.
pub(crate) fn probabilities(kind: OutputKind, o: ArrayView1<f32>, sample: usize) -> Result<Vec<f64>, InfluenceError> {
    let row = o.iter().map(|&x| f64::from(x));
    match kind {
        OutputKind::Logits => {
            let highest = row.clone().fold(f64::NEG_INFINITY, f64::max);
            let mut p: Vec<f64> = row.map(|x| (x - highest).exp()).collect();
            let sum: f64 = p.iter().sum();
            p.iter_mut().for_each(|x| *x /= sum);
            Ok(p)
        }
        OutputKind::Probabilities => {
            let p: Vec<f64> = row.collect();
            let sum: f64 = p.iter().sum();
            let wrong = p.iter().any(|&x| x < 0.0) || (sum - 1.0).abs() > SUM_TOLERANCE;
            if wrong && sum.is_finite() {
                return Err(InfluenceError::NotProbabilities { sample, sum });
            }
            Ok(p.into_iter().map(|x| x / sum).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn scores_of_either_kind_stand_for_probabilities_and_others_are_refused() {
        let of = |kind, row: ndarray::Array1<f32>| probabilities(kind, row.view(), 3);
        let found = of(OutputKind::Logits, array![1e4, 1e4, -1e4]).expect("a softmax");
        assert_eq!(found, [0.5, 0.5, 0.0]);
        assert_eq!(of(OutputKind::Probabilities, array![0.75, 0.25]).expect("as they are"), [0.75, 0.25]);
        for row in [array![0.9, 0.9], array![1.5, -0.5]] {
            let refused = of(OutputKind::Probabilities, row);
            assert!(matches!(refused, Err(InfluenceError::NotProbabilities { sample: 3, .. })), "{refused:?}");
        }
    }
}
