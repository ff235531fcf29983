//! Influence from the answers of two served models: the model and its shadow (`isal_onnx::influence::shadow`).

use crate::classifier::{OutputKind, probabilities};
use crate::influence::InfluenceError;
use ndarray::ArrayView2;

/// `-sum_c p_c (d_c - d_top)` for each row of class scores `o` of the model and `shifted` of its shadow, `[N, C]` both,
/// with `d = (shifted - o) / eps` of logits, and of the logarithms where the scores are probabilities. In float64; the
/// more negative, the more labelling is expected to lower the reference loss.
///
/// # Errors
/// [`InfluenceError::Shape`] when the two differ in shape; scores declared probabilities that are none.
pub fn influence_of_pair(
    kind: OutputKind,
    o: ArrayView2<f32>,
    shifted: ArrayView2<f32>,
    eps: f64,
) -> Result<Vec<f64>, InfluenceError> {
    if o.shape() != shifted.shape() {
        return Err(InfluenceError::Shape {
            what: "class scores of the shadow model",
            expected: o.shape().to_vec(),
            found: shifted.shape().to_vec(),
        });
    }
    let logit = |x: f32| match kind {
        OutputKind::Logits => f64::from(x),
        OutputKind::Probabilities => f64::from(x).ln(),
    };
    let rows = o.outer_iter().zip(shifted.outer_iter()).enumerate();
    rows.map(|(n, (row, other))| {
        let p = probabilities(kind, row, n)?;
        let d: Vec<f64> = row.iter().zip(other).map(|(a, b)| (logit(*b) - logit(*a)) / eps).collect();
        let mut top = 0;
        for (c, x) in p.iter().enumerate() {
            if p.get(top).is_some_and(|best| x > best) {
                top = c;
            }
        }
        let at_top = d.get(top).copied().unwrap_or(f64::NAN);
        // A class that underflowed to zero weighs nothing.
        let terms = p.iter().zip(&d).filter(|(p, _)| **p != 0.0);
        Ok(-terms.map(|(p, d)| p * (d - at_top)).sum::<f64>())
    })
    .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "an unwrap that fails is the test failing")]
mod tests {
    use super::*;
    use ndarray::{Array2, array};

    /// Two rows; the second is nearly certain.
    fn answers() -> (Array2<f32>, Array2<f32>, f64) {
        let o = array![[0.5f32, -0.25, 1.0], [9.0, 0.0, -1.0]];
        let derivative = array![[2.0f32, -1.0, 0.5], [1.0, 3.0, -2.0]];
        // A power of two keeps `o + eps d` exact in float32.
        let eps = 2f64.powi(-9);
        (o.clone(), o + derivative * eps as f32, eps)
    }

    #[test]
    fn it_is_minus_the_derivative_of_the_loss_of_the_likeliest_class() {
        let (o, shifted, eps) = answers();
        let found = influence_of_pair(OutputKind::Logits, o.view(), shifted.view(), eps).unwrap();
        // By hand, row 0: top is class 2; p of (0.5, -0.25, 1) against differences (1.5, -1.5, 0).
        let (a, b, c) = (0.5f64.exp(), (-0.25f64).exp(), 1f64.exp());
        let by_hand = -(1.5 * a - 1.5 * b) / (a + b + c);
        assert!((found[0] - by_hand).abs() < 1e-12, "{} {by_hand}", found[0]);
        // Row 1: top is class 0; p of (9, 0, -1) against differences (0, 2, -3).
        let (a, b, c) = (1.0, (-9f64).exp(), (-10f64).exp());
        let by_hand = -(2.0 * b - 3.0 * c) / (a + b + c);
        assert!((found[1] - by_hand).abs() < 1e-12, "{} {by_hand}", found[1]);
    }

    #[test]
    fn probabilities_give_what_their_logits_give() {
        let (o, shifted, eps) = answers();
        let soft = |x: &Array2<f32>| {
            let mut p = x.mapv(|x| f64::from(x).exp());
            p.outer_iter_mut().for_each(|mut row| {
                let sum = row.sum();
                row.mapv_inplace(|x| x / sum);
            });
            p.mapv(|x| x as f32)
        };
        let logits = influence_of_pair(OutputKind::Logits, o.view(), shifted.view(), eps).unwrap();
        let (p, q) = (soft(&o), soft(&shifted));
        let found = influence_of_pair(OutputKind::Probabilities, p.view(), q.view(), eps).unwrap();
        // Rounding of probabilities to float32, 6e-8 of each, over the step: 3e-5 a class.
        for (a, b) in found.iter().zip(&logits) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
        assert!(influence_of_pair(OutputKind::Probabilities, o.view(), q.view(), eps).is_err());
        assert!(influence_of_pair(OutputKind::Logits, o.view(), q.slice(ndarray::s![..1, ..]), eps).is_err());
    }
}
