//! How far the pseudo-boxes of a detector stay where they are when the image is noisy.
//!
//! Of an image with boxes `B_j` of scores `p_j`, and of noise at six levels (standard deviations of 8, 16, ..., 48 levels of grey of 255):
//! `S = sum_j p_j mean over levels of IoU(B_j, C_n(B_j)) / sum_j p_j`, `C_n(B)` the box of the noisy image that overlaps `B` most
//! (Kao et al., arXiv 1801.05124, equations 2 and 3). Beside it `max_j (1 - p_j) - S` (section 3.3, with a weight of one). An image
//! without pseudo-boxes is stable, and there is nothing in it to be unsure of: 1 and -1. The noise of a level is the same for all
//! images of a size, so that scores do not depend on batches.

use super::{Predictor, Scored, Scorer, SweepError};
use crate::data::{Layout, Range, Recipe, Seeded};
use crate::influence::{Annotation, Annotations};
use crate::scores::{BeliefColumn, BeliefKind, belief};
use ndarray::{Array3, ArrayView4, Axis};

/// Standard deviations of the noise, in levels of grey of 255.
const LEVELS: [f64; 6] = [8.0, 16.0, 24.0, 32.0, 40.0, 48.0];

/// A pseudo-box: left, top, right and bottom, and its score.
type Believed = ([f64; 4], f64);

/// A predictor whose rows say besides how stable the boxes are.
pub struct Stability<'a> {
    predictor: &'a mut Predictor,
    columns: Vec<BeliefColumn>,
    /// What a level of grey is in the model's input, a number a channel; the last where there are more channels.
    grey: Vec<f32>,
    layout: Layout,
    /// The noise of each level for images of the last size.
    noise: Vec<Array3<f32>>,
}

impl<'a> Stability<'a> {
    /// Whether a belief is computed so.
    pub fn gives(name: &str) -> bool {
        [belief::STABILITY, belief::UNSURE_AND_UNSTABLE].contains(&name)
    }

    /// Around the predictor of a detector that sees images as `recipe` says.
    pub fn new(predictor: &'a mut Predictor, recipe: &Recipe) -> Stability<'a> {
        let mut columns = predictor.columns().to_vec();
        if predictor.finds_boxes() {
            let column = |name: &str| BeliefColumn { name: name.to_owned(), kind: BeliefKind::Number };
            columns.extend([belief::STABILITY, belief::UNSURE_AND_UNSTABLE].map(column));
        }
        let level = match recipe.range {
            Range::Unit => 1.0 / 255.0,
            Range::Byte => 1.0,
        };
        let grey = recipe.std.iter().map(|std| level / std).collect();
        Stability { predictor, columns, grey, layout: recipe.layout, noise: Vec::new() }
    }

    /// The noise of every level for images of this shape.
    fn prepare(&mut self, shape: (usize, usize, usize)) {
        if self.noise.first().is_some_and(|noise| noise.dim() == shape) {
            return;
        }
        let of_level = |(level, deviation): (usize, &f64)| {
            let mut random = Seeded::new("localisation noise", &[level as u64]);
            Array3::from_shape_fn(shape, |at| {
                let channel = match self.layout {
                    Layout::Nchw => at.0,
                    Layout::Nhwc => at.2,
                };
                let grey = self.grey.get(channel).or(self.grey.last()).copied().unwrap_or(1.0);
                (deviation * random.normal()) as f32 * grey
            })
        };
        self.noise = LEVELS.iter().enumerate().map(of_level).collect();
    }
}

impl Scorer for Stability<'_> {
    fn columns(&self) -> &[BeliefColumn] {
        &self.columns
    }

    fn score(&mut self, images: ArrayView4<f32>) -> Result<Scored, SweepError> {
        let mut scored = self.predictor.score(images)?;
        if self.columns.len() == self.predictor.columns().len() {
            return Ok(scored);
        }
        let (_, a, b, c) = images.dim();
        self.prepare((a, b, c));
        let clean = self.predictor.believed(images)?;
        let mut noisy = Vec::new();
        for noise in &self.noise {
            let seen = &images + &noise.view().insert_axis(Axis(0));
            noisy.push(self.predictor.believed(seen.view())?);
        }
        for (image, beliefs) in scored.beliefs.iter_mut().enumerate() {
            let noisy: Vec<Vec<Believed>> = noisy.iter().map(|noisy| believed(noisy, image)).collect();
            beliefs.extend(stability(&believed(&clean, image), &noisy));
        }
        Ok(scored)
    }
}

/// The pseudo-boxes of an image of a batch.
fn believed(annotations: &Annotations, image: usize) -> Vec<Believed> {
    let array = |name: &str| annotations.arrays().iter().find(|(known, _)| known == name).map(|(_, array)| array);
    let (Some(Annotation::Float(boxes)), Some(Annotation::Whole(labels))) = (array("boxes"), array("labels")) else {
        return Vec::new();
    };
    let scores = match array("scores") {
        Some(Annotation::Float(scores)) => Some(scores),
        _ => None,
    };
    let of = |place: usize| {
        let corners = [0, 1, 2, 3].map(|side| boxes.get([image, place, side]).map_or(f64::NAN, |x| f64::from(*x)));
        let score = scores.and_then(|scores| scores.get([image, place])).map_or(1.0, |score| f64::from(*score));
        (labels.get([image, place]).is_some_and(|label| *label >= 0)).then_some((corners, score))
    };
    (0..labels.shape().get(1).copied().unwrap_or(0)).filter_map(of).collect()
}

/// The stability of the boxes, and how unsure the least sure is less it.
fn stability(boxes: &[Believed], noisy: &[Vec<Believed>]) -> [f64; 2] {
    let weights: f64 = boxes.iter().map(|(_, score)| score).sum();
    if weights <= 0.0 {
        return [1.0, -1.0];
    }
    let of_box = |corners: &[f64; 4]| {
        let nearest =
            |found: &Vec<Believed>| found.iter().map(|(other, _)| overlap(corners, other)).fold(0.0, f64::max);
        noisy.iter().map(nearest).sum::<f64>() / noisy.len().max(1) as f64
    };
    let stable = boxes.iter().map(|(corners, score)| score * of_box(corners)).sum::<f64>() / weights;
    let unsure = boxes.iter().map(|(_, score)| 1.0 - score).fold(0.0, f64::max);
    [stable, unsure - stable]
}

/// Intersection over union.
fn overlap(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    let area = |[left, top, right, bottom]: [f64; 4]| (right - left).max(0.0) * (bottom - top).max(0.0);
    let both = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    let either = area(*a) + area(*b) - both;
    if either > 0.0 { both / either } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_that_move_or_vanish_are_unstable_and_count_by_their_scores() {
        let still = ([0.0, 0.0, 10.0, 10.0], 0.9);
        let moving = ([20.0, 0.0, 30.0, 10.0], 0.3);
        // At the first level it has moved by half its width, an overlap of a third; at the second it is gone.
        let noisy = [vec![([25.0, 0.0, 35.0, 10.0], 0.8), still], vec![still]];
        let [stable, both] = stability(&[still, moving], &noisy);
        let expected = (0.9 * 1.0 + 0.3 * (1.0 / 3.0 + 0.0) / 2.0) / 1.2;
        assert!((stable - expected).abs() < 1e-12, "{stable}");
        assert!((both - (0.7 - expected)).abs() < 1e-12, "{both}");
        assert_eq!(stability(&[], &noisy), [1.0, -1.0]);
        assert_eq!(stability(&[still], &[vec![], vec![]])[0], 0.0);
    }
}
