//! From outputs `o` and their derivative `o'` along `s` to influences, pseudo-labels and beliefs.
//!
//! With `p = softmax(o)` and label weights `w`, the loss is `sum_c w_c (-log p_c)` and
//! `t = s . grad l = sum_c (W p_c - w_c) o'_c`, `W = sum_c w_c`. The influence is `I = -t`: the more negative, the
//! more labelling the image is expected to lower the reference loss.
//!
//! * Arg-max pseudo-label: `w` one-hot at the most likely class.
//! * Expected gradient over the K most likely classes: `w_c = p_c` there, held constant, not renormalised. Over all
//!   classes the expected gradient of softmax cross-entropy is exactly zero, so K is capped at C - 1.
//! * Influence of each class `[N, C]`: `w` one-hot at that class.
//!
//! Everything is accumulated in float64, and written so that nothing cancels where a prediction is near one-hot:
//! with `d_c = o'_c - o'_top` and `m = sum_c p_c d_c`, class `j` has `t_j = m - d_j`, the arg-max `t = m`, and, since
//! the expectation over all classes is zero, top-K has `t = -sum over the other classes of p_c (m - d_c)`.
//!
//! A model that ends in Softmax gives `p` itself: `o = log p`, `o'_c = p'_c / p_c`, and the same formulas hold. A
//! class whose probability has underflowed to zero has lost its derivative; its influence is not a number then.

use ndarray::{Array2, ArrayView1, ArrayView2, ArrayView4};

use super::InfluenceError;
use super::engine::GradientEngine;

/// What a classifier's output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputKind {
    /// Scores before the softmax.
    Logits,
    /// Probabilities: the graph ends in Softmax.
    Probabilities,
}

/// Which labels stand in for the unknown one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PseudoLabels {
    /// The most likely class, weight one.
    ArgMax,
    /// The K most likely classes, each weighted by its probability.
    Expected(usize),
}

impl PseudoLabels {
    /// As the command line counts: 1 is the arg-max, the published default; more is the expected gradient.
    pub fn top(k: usize) -> Self {
        if k <= 1 { PseudoLabels::ArgMax } else { PseudoLabels::Expected(k) }
    }

    /// The number of classes that take part for a model of `classes` classes.
    pub fn effective(self, classes: usize) -> usize {
        match self {
            PseudoLabels::ArgMax => 1,
            PseudoLabels::Expected(k) => k.min(classes.saturating_sub(1)).max(1),
        }
    }
}

/// How outputs become influences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Contraction {
    /// What the model's output is.
    pub output: OutputKind,
    /// Which labels the influence is taken for.
    pub pseudo_labels: PseudoLabels,
    /// Whether the influence of every class is wanted as well.
    pub per_class: bool,
}

/// What a batch of images got, one entry an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// Influence; NaN where an output or a derivative was not finite.
    pub influence: Vec<f64>,
    /// Influence under each class as label, `[N, C]`, if it was asked for.
    pub per_class: Option<Array2<f64>>,
    /// What the model believes.
    pub beliefs: Vec<Belief>,
}

/// What a model believes of one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Belief {
    /// The most likely class; of equally likely ones the first.
    pub pseudo_label: usize,
    /// Its probability.
    pub confidence: f64,
    /// Entropy of the prediction in nats.
    pub entropy: f64,
    /// Probability of the most likely class less that of the second.
    pub margin: f64,
}

/// How far from one a row of probabilities may sum: float16 models lose this much over a thousand classes.
const SUM_TOLERANCE: f64 = 1e-2;

impl Contraction {
    /// Influences and beliefs of a batch of `outputs` `[N, C]` and their derivatives along `s`, `tangents` `[N, C]`.
    ///
    /// Errors: shapes that differ, no class at all, or outputs declared probabilities that are none.
    pub fn scores(&self, outputs: ArrayView2<f32>, tangents: ArrayView2<f32>) -> Result<Scores, InfluenceError> {
        if outputs.shape() != tangents.shape() || outputs.ncols() == 0 {
            return Err(InfluenceError::Shape {
                what: "derivatives of the outputs",
                expected: outputs.shape().to_vec(),
                found: tangents.shape().to_vec(),
            });
        }
        let (samples, classes) = outputs.dim();
        let mut influence = Vec::with_capacity(samples);
        let mut beliefs = Vec::with_capacity(samples);
        let mut per_class = self.per_class.then(|| Array2::zeros((samples, classes)));
        for (n, (o, o_dot)) in outputs.outer_iter().zip(tangents.outer_iter()).enumerate() {
            let p = probabilities(self.output, o, n)?;
            let (top, belief) = believe(&p);
            let d = self.relative_derivatives(&p, o_dot, top);
            let m: f64 = p.iter().zip(&d).map(|(p, d)| weighted(*p, *d)).sum();
            beliefs.push(belief);
            influence.push(match self.pseudo_labels {
                PseudoLabels::ArgMax => -m,
                PseudoLabels::Expected(_) => {
                    let order = by_likelihood(&p);
                    let others = order.iter().skip(self.pseudo_labels.effective(classes));
                    // I = -t = sum over the classes left out of p_c t_c.
                    others.filter_map(|&c| Some(weighted(*p.get(c)?, m - d.get(c)?))).sum()
                }
            });
            if let Some(rows) = &mut per_class {
                rows.row_mut(n).iter_mut().zip(&d).for_each(|(entry, d)| *entry = d - m);
            }
        }
        Ok(Scores { influence, per_class, beliefs })
    }

    /// Beliefs alone, for strategies that need no derivative.
    pub fn beliefs(&self, outputs: ArrayView2<f32>) -> Result<Vec<Belief>, InfluenceError> {
        outputs.outer_iter().enumerate().map(|(n, o)| Ok(believe(&probabilities(self.output, o, n)?).1)).collect()
    }

    /// Scores a batch of images `[N, C, H, W]` by the engine's directional derivative along `s`.
    pub fn score_images<E: GradientEngine>(
        &self,
        engine: &mut E,
        images: ArrayView4<f32>,
        s: &E::Vector,
    ) -> Result<Scores, InfluenceError> {
        let jvp = engine.jvp(images, s)?;
        self.scores(jvp.outputs.view(), jvp.tangents.view())
    }

    /// `d_c = o'_c - o'_top` in logits; all NaN where a derivative is not finite, so that no zero weight hides it.
    fn relative_derivatives(&self, p: &[f64], o_dot: ArrayView1<f32>, top: usize) -> Vec<f64> {
        if !o_dot.iter().all(|x| x.is_finite()) {
            return vec![f64::NAN; o_dot.len()];
        }
        let logit = |c: usize, derivative: f64| match self.output {
            OutputKind::Logits => derivative,
            OutputKind::Probabilities => derivative / p.get(c).copied().unwrap_or(f64::NAN),
        };
        let at_top = o_dot.get(top).map_or(f64::NAN, |&derivative| logit(top, f64::from(derivative)));
        o_dot.iter().enumerate().map(|(c, &derivative)| logit(c, f64::from(derivative)) - at_top).collect()
    }
}

/// `p d`, where a class of probability zero weighs nothing even though its derivative is lost.
fn weighted(p: f64, d: f64) -> f64 {
    if p == 0.0 { 0.0 } else { p * d }
}

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

/// The most likely class and the belief.
fn believe(p: &[f64]) -> (usize, Belief) {
    let (mut top, mut first, mut second) = (0, f64::NEG_INFINITY, f64::NEG_INFINITY);
    for (c, &x) in p.iter().enumerate() {
        if x > first {
            (top, second, first) = (c, first, x);
        } else if x > second {
            second = x;
        }
    }
    let finite = p.iter().all(|x| x.is_finite());
    let known = |x: f64| if finite { x } else { f64::NAN };
    let entropy: f64 = p.iter().filter(|&&x| x > 0.0).map(|x| -x * x.ln()).sum();
    let margin = if p.len() > 1 { first - second } else { first };
    let belief = Belief { pseudo_label: top, confidence: known(first), entropy: known(entropy), margin: known(margin) };
    (top, belief)
}

/// Classes from the most likely on; equally likely ones in their own order.
fn by_likelihood(p: &[f64]) -> Vec<usize> {
    let mut order: Vec<(usize, f64)> = p.iter().copied().enumerate().collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    order.into_iter().map(|(c, _)| c).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "an unwrap that fails is the test failing")]
mod tests {
    use super::*;
    use ndarray::{Array2, array};
    use proptest::prelude::*;

    fn contraction(pseudo_labels: PseudoLabels) -> Contraction {
        Contraction { output: OutputKind::Logits, pseudo_labels, per_class: true }
    }

    /// The formula of the header as it stands, without care for cancellation.
    fn plain(o: &[f64], o_dot: &[f64], weights: impl Fn(usize, f64) -> f64) -> f64 {
        let sum: f64 = o.iter().map(|x| x.exp()).sum();
        let p: Vec<f64> = o.iter().map(|x| x.exp() / sum).collect();
        let w: Vec<f64> = p.iter().enumerate().map(|(c, p)| weights(c, *p)).collect();
        let total: f64 = w.iter().sum();
        -p.iter().zip(&w).zip(o_dot).map(|((p, w), d)| (total * p - w) * d).sum::<f64>()
    }

    fn rows(values: &[f32]) -> Array2<f32> {
        Array2::from_shape_vec((1, values.len()), values.to_vec()).unwrap()
    }

    proptest! {
        #[test]
        fn every_form_equals_the_plain_formula(
            pairs in prop::collection::vec((-4.0f32..4.0, -2.0f32..2.0), 2..9),
            k in 2usize..10,
        ) {
            let (o, o_dot): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
            let (o64, d64) = (wide(&o), wide(&o_dot));
            let scale: f64 = d64.iter().map(|d| d.abs()).sum();
            let near = |a: f64, b: f64| (a - b).abs() <= 1e-13 * scale.max(1.0);

            let scores = contraction(PseudoLabels::ArgMax).scores(rows(&o).view(), rows(&o_dot).view()).unwrap();
            let top = scores.beliefs[0].pseudo_label;
            prop_assert!(near(scores.influence[0], plain(&o64, &d64, |c, _| f64::from(u8::from(c == top)))));
            let per_class = scores.per_class.unwrap();
            for class in 0..o.len() {
                let expected = plain(&o64, &d64, |c, _| f64::from(u8::from(c == class)));
                prop_assert!(near(per_class[[0, class]], expected), "class {class}");
            }
            prop_assert_eq!(per_class[[0, top]], scores.influence[0]);

            let expected = contraction(PseudoLabels::Expected(k)).scores(rows(&o).view(), rows(&o_dot).view()).unwrap();
            let mut order: Vec<usize> = (0..o.len()).collect();
            order.sort_by(|&a, &b| o[b].total_cmp(&o[a]));
            let inside = &order[..k.min(o.len() - 1)];
            let truth = plain(&o64, &d64, |c, p| if inside.contains(&c) { p } else { 0.0 });
            prop_assert!(near(expected.influence[0], truth), "{} {truth}", expected.influence[0]);
        }

        #[test]
        fn beliefs_weigh_the_classes_influences_to_zero(pairs in prop::collection::vec((-4.0f32..4.0, -2.0f32..2.0), 2..9)) {
            let (o, o_dot): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let scores = contraction(PseudoLabels::ArgMax).scores(rows(&o).view(), rows(&o_dot).view()).unwrap();
            let sum: f64 = o.iter().map(|&x| f64::from(x).exp()).sum();
            let expectation: f64 =
                o.iter().zip(scores.per_class.unwrap().row(0)).map(|(&x, i)| f64::from(x).exp() / sum * i).sum();
            prop_assert!(expectation.abs() < 1e-13, "{expectation}");
        }

        #[test]
        fn a_model_that_ends_in_softmax_scores_as_its_logits(
            pairs in prop::collection::vec((-3.0f32..3.0, -2.0f32..2.0), 2..9),
            k in 1usize..9,
        ) {
            let (o, o_dot): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let sum: f64 = o.iter().map(|&x| f64::from(x).exp()).sum();
            let p: Vec<f64> = o.iter().map(|&x| f64::from(x).exp() / sum).collect();
            let mean: f64 = p.iter().zip(&o_dot).map(|(p, &d)| p * f64::from(d)).sum();
            let p_dot: Vec<f32> = p.iter().zip(&o_dot).map(|(p, &d)| (p * (f64::from(d) - mean)) as f32).collect();
            let p: Vec<f32> = p.iter().map(|&p| p as f32).collect();
            let logits = contraction(PseudoLabels::top(k));
            let probabilities = Contraction { output: OutputKind::Probabilities, ..logits };
            let a = logits.scores(rows(&o).view(), rows(&o_dot).view()).unwrap();
            let b = probabilities.scores(rows(&p).view(), rows(&p_dot).view()).unwrap();
            // p and p' are rounded to float32: 6e-8 of each, and p >= e^-6 / 9 magnifies no further than that.
            for (a, b) in a.influence.iter().chain(a.per_class.as_ref().unwrap())
                .zip(b.influence.iter().chain(b.per_class.as_ref().unwrap())) {
                prop_assert!((a - b).abs() < 2e-6, "{a} {b}");
            }
            prop_assert_eq!(a.beliefs[0].pseudo_label, b.beliefs[0].pseudo_label);
        }
    }

    #[test]
    fn a_nearly_certain_prediction_keeps_all_its_digits() {
        // p_1 = e^-40 / (1 + e^-40): I = -p_1 (o'_1 - o'_0) exactly, 4e-18, far below the rounding of 1 - p_0.
        let scores = contraction(PseudoLabels::ArgMax).scores(array![[40.0, 0.0]].view(), array![[1.0, 3.0]].view());
        let influence = scores.unwrap().influence[0];
        let exact = -2.0 * (-40.0f64).exp() / (1.0 + (-40.0f64).exp());
        assert!(((influence - exact) / exact).abs() < 1e-14, "{influence} {exact}");
    }

    #[test]
    fn lowering_the_loss_by_moving_along_minus_s_is_a_negative_influence() {
        // The step of a retraining is -s-wards: labelling helps where t = s . grad l > 0. Here moving along s
        // raises the wrong logit, so it raises the loss, so t > 0 and the influence is negative.
        let scores = contraction(PseudoLabels::ArgMax).scores(array![[1.0, 0.0]].view(), array![[0.0, 1.0]].view());
        assert!(scores.unwrap().influence[0] < 0.0);
    }

    #[test]
    fn beliefs_have_their_textbook_values_and_ties_go_to_the_first_class() {
        let half = 0.5f64;
        let logits = array![[0.0, (2.0f32).ln(), (2.0f32).ln(), (3.0f32).ln()], [1.0, 1.0, 1.0, 1.0]];
        let beliefs = contraction(PseudoLabels::ArgMax).beliefs(logits.view()).unwrap();
        assert_eq!((beliefs[0].pseudo_label, beliefs[1].pseudo_label), (3, 0));
        assert!((beliefs[0].confidence - 0.375).abs() < 1e-7 && (beliefs[0].margin - 0.125).abs() < 1e-7);
        let entropy = -(0.125 * 0.125f64.ln() + half * 0.25f64.ln() + 0.375 * 0.375f64.ln());
        assert!((beliefs[0].entropy - entropy).abs() < 1e-7, "{}", beliefs[0].entropy);
        assert!((beliefs[1].entropy - 4.0f64.ln()).abs() < 1e-12 && beliefs[1].margin == 0.0);
    }

    #[test]
    fn an_expectation_over_all_classes_is_capped_at_all_but_one() {
        assert_eq!(PseudoLabels::top(1), PseudoLabels::ArgMax);
        let cases = [(3, 10, 3), (10, 10, 9), (99, 10, 9), (2, 2, 1)];
        for (k, classes, effective) in cases {
            assert_eq!(PseudoLabels::top(k).effective(classes), effective, "k = {k}, {classes} classes");
        }
    }

    #[test]
    fn what_is_not_finite_scores_nan_and_never_a_number() {
        let outputs = array![[f32::NAN, 1.0], [f32::INFINITY, 1.0], [0.0, 1.0]];
        let tangents = array![[1.0, 0.0], [1.0, 0.0], [f32::NAN, 0.0]];
        for pseudo_labels in [PseudoLabels::ArgMax, PseudoLabels::Expected(2)] {
            let scores = contraction(pseudo_labels).scores(outputs.view(), tangents.view()).unwrap();
            assert!(scores.influence.iter().all(|x| x.is_nan()), "{pseudo_labels:?}: {:?}", scores.influence);
            assert!(scores.beliefs[0].confidence.is_nan() && scores.beliefs[1].entropy.is_nan());
        }
    }

    #[test]
    fn a_probability_that_underflowed_spoils_its_own_class_alone() {
        let c = Contraction { output: OutputKind::Probabilities, ..contraction(PseudoLabels::ArgMax) };
        let scores = c.scores(array![[0.75, 0.25, 0.0]].view(), array![[0.3, -0.3, 0.0]].view()).unwrap();
        // d_1 = -0.3/0.25 - 0.3/0.75 = -1.6, I = -p_1 d_1.
        assert!((scores.influence[0] - 0.4).abs() < 1e-6, "{}", scores.influence[0]);
        let per_class = scores.per_class.unwrap();
        assert!(per_class[[0, 2]].is_nan() && per_class[[0, 1]].is_finite());
    }

    #[test]
    fn logits_declared_probabilities_are_refused() {
        let c = Contraction { output: OutputKind::Probabilities, ..contraction(PseudoLabels::ArgMax) };
        for row in [array![[0.9, 0.9]], array![[1.5, -0.5]]] {
            let refused = c.scores(row.view(), row.view());
            assert!(matches!(refused, Err(InfluenceError::NotProbabilities { sample: 0, .. })), "{refused:?}");
        }
    }
}
