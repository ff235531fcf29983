//! Pascal VOC's average precision at an overlap of one half, as of its later years (Everingham et al., The Pascal visual object classes
//! challenge, 2015, section 4.2): the area under the curve of precision over recall, precision made to fall.
//!
//! Detections of a class, the surest first, each belong to the known box of their image and class that they overlap most. Where that
//! overlap is over one half, the first to come is right, and every other one is wrong; of a difficult box, and of one around a crowd,
//! none counts either way. There is no limit to the detections of an image.

use super::average::{FoundBox, KnownBox, OfImage};
use std::collections::BTreeSet;

const OVERLAP: f64 = 0.5;

/// Of each class that has boxes to find.
pub(super) fn average_precisions(images: &[OfImage]) -> Vec<(usize, f64)> {
    let counted = |known: &&KnownBox| !known.difficult && !known.crowd;
    let classes: BTreeSet<usize> =
        images.iter().flat_map(|(known, _)| known).filter(counted).map(|known| known.class).collect();
    classes.into_iter().map(|class| (class, average_precision(images, class))).collect()
}

fn average_precision(images: &[OfImage], class: usize) -> f64 {
    let mut to_find = 0_usize;
    // Score, and whether it is right.
    let mut outcomes: Vec<(f64, bool)> = Vec::new();
    for (known, found) in images {
        let known: Vec<&KnownBox> = known.iter().filter(|known| known.class == class).collect();
        to_find += known.iter().filter(|known| !known.difficult && !known.crowd).count();
        let mut found: Vec<&FoundBox> =
            found.iter().filter(|found| found.class == class && found.score.is_finite()).collect();
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut taken = vec![false; known.len()];
        for found in found {
            let overlaps = known.iter().map(|known| overlap(known.corners, found.corners)).enumerate();
            let best = overlaps.fold((0, 0.0), |best, one| if one.1 > best.1 { one } else { best });
            let right = match (known.get(best.0), taken.get_mut(best.0)) {
                (Some(known), _) if best.1 > OVERLAP && (known.difficult || known.crowd) => continue,
                (Some(_), Some(taken)) if best.1 > OVERLAP => !std::mem::replace(taken, true),
                _ => false,
            };
            outcomes.push((found.score, right));
        }
    }
    outcomes.sort_by(|a, b| b.0.total_cmp(&a.0));
    area_under(&outcomes, to_find)
}

/// Each right detection adds a step of recall at the best precision that it or a later one reaches.
fn area_under(outcomes: &[(f64, bool)], to_find: usize) -> f64 {
    let mut right = outcomes.iter().filter(|(_, right)| *right).count();
    let (mut best, mut area) = (0.0_f64, 0.0);
    for (place, (_, is_right)) in outcomes.iter().enumerate().rev() {
        best = best.max(right as f64 / (place + 1) as f64);
        if *is_right {
            area += best;
            right -= 1;
        }
    }
    area / to_find.max(1) as f64
}

/// Intersection over union.
fn overlap(a: [f64; 4], b: [f64; 4]) -> f64 {
    let along = |low: usize, high: usize| (a[high].min(b[high]) - a[low].max(b[low])).max(0.0);
    let area = |[left, top, right, bottom]: [f64; 4]| (right - left) * (bottom - top);
    let both = along(0, 2) * along(1, 3);
    if both > 0.0 { both / (area(a) + area(b) - both) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(left: f64, difficult: bool) -> KnownBox {
        KnownBox { corners: [left, 0.0, left + 10.0, 10.0], class: 3, area: 100.0, crowd: false, difficult }
    }

    fn found(left: f64, score: f64) -> FoundBox {
        FoundBox { corners: [left, 0.0, left + 10.0, 10.0], class: 3, score }
    }

    #[test]
    fn the_area_is_that_of_a_curve_worked_out_by_hand() {
        let images: Vec<OfImage> = vec![
            // Right, then the same box again, then nothing at all.
            (vec![known(0.0, false), known(50.0, true)], vec![found(1.0, 0.9), found(0.0, 0.8), found(90.0, 0.3)]),
            // A difficult one found twice counts for nothing; then one right at 0.5, one that overlaps by a third.
            (
                vec![known(0.0, true), known(30.0, false), known(60.0, false)],
                vec![found(0.0, 0.95), found(1.0, 0.94), found(30.0, 0.5), found(65.0, 0.4)],
            ),
        ];
        // Three to find. In order: right (1/1), wrong, right (2/3), wrong, wrong.
        let expected = (1.0 + 2.0 / 3.0) / 3.0;
        let averages = average_precisions(&images);
        assert_eq!(averages.len(), 1);
        assert!(averages[0].0 == 3 && (averages[0].1 - expected).abs() < 1e-12, "{averages:?}");
    }
}
