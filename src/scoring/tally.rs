//! What the rows of a score table come to: all that a run says of them, in two passes and without keeping any.

use super::ScoringError;
use crate::report::{Extent, Histogram};
use crate::scores::{Rows, ScoreError, belief};
use crate::select::Selection;
use indexmap::IndexMap;
use std::collections::HashSet;

/// How often the model is right where an image happens to carry a label.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Right {
    right: usize,
    labelled: usize,
}

impl Right {
    fn count(&mut self, right: bool) {
        self.right += usize::from(right);
        self.labelled += 1;
    }

    /// In percent; `None` without labels.
    pub(super) fn percent(self) -> Option<f64> {
        (self.labelled > 0).then(|| 100.0 * self.right as f64 / self.labelled as f64)
    }
}

/// A mean over the finite numbers that are added, in their order.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mean {
    sum: f64,
    numbers: usize,
}

impl Mean {
    fn add(&mut self, number: f64) {
        if number.is_finite() {
            self.sum += number;
            self.numbers += 1;
        }
    }

    /// How many finite numbers were added.
    pub(super) fn numbers(self) -> usize {
        self.numbers
    }

    /// `None` of no numbers.
    pub(super) fn mean(self) -> Option<f64> {
        (self.numbers > 0).then(|| self.sum / self.numbers as f64)
    }
}

/// Counts and means over a table.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    /// Rows of the table.
    pub(super) images: usize,
    /// Over the influences of the table,
    pub(super) influence: Mean,
    /// and how many of the finite ones are below zero.
    pub(super) negative: usize,
    /// Over how sure the model is of its predictions, where its task says that.
    pub(super) confidence: Mean,
    /// Images in which a detector finds no box; `None` of another task.
    pub(super) without_boxes: Option<usize>,
    /// Over the whole table, and over the selected images.
    pub(super) pool: Right,
    pub(super) selected: Right,
    /// How many of each pseudo-label, in the order in which they first come; none of a task without classes of images.
    pub(super) pseudo_labels: IndexMap<usize, usize>,
    /// Influence over the pool and the selection; `None` where no row has any.
    pub(super) histogram: Option<Histogram>,
}

impl Tally {
    /// Goes through the rows; a slice of a pool has no selection.
    pub(super) fn of(rows: Rows, selection: Option<&Selection>) -> Result<Tally, ScoringError> {
        let chosen: HashSet<&str> =
            selection.into_iter().flat_map(|selection| &selection.selected).map(|s| s.id.as_str()).collect();
        let mut tally = Tally {
            images: rows.len(),
            influence: Mean::default(),
            negative: 0,
            confidence: Mean::default(),
            without_boxes: None,
            pool: Right::default(),
            selected: Right::default(),
            pseudo_labels: IndexMap::new(),
            histogram: None,
        };
        let (label, confidence) = (rows.belief(belief::PSEUDO_LABEL), rows.belief(belief::CONFIDENCE));
        let boxes = belief::BOXES.iter().find_map(|name| rows.belief(name));
        tally.without_boxes = boxes.map(|_| 0);
        let (mut extent, mut with_influence) = (Extent::expecting(rows.len()), false);
        rows.each(|row| {
            if let Some(influence) = row.influence {
                with_influence = true;
                extent.add(influence);
                tally.influence.add(influence);
                tally.negative += usize::from(influence.is_finite() && influence < 0.0);
            }
            let believed = |place: Option<usize>| row.beliefs.get(place?).copied();
            if let Some(images) = &mut tally.without_boxes {
                *images += usize::from(believed(boxes) == Some(0.0));
            }
            believed(confidence).into_iter().for_each(|confidence| tally.confidence.add(confidence));
            if let Some(believed) = believed(label).filter(|label| label.is_finite()).map(|label| label as usize) {
                if let Some(label) = row.label {
                    let right = label as usize == believed;
                    tally.pool.count(right);
                    if chosen.contains(row.id.as_str()) {
                        tally.selected.count(right);
                    }
                }
                *tally.pseudo_labels.entry(believed).or_default() += 1;
            }
            Ok::<(), ScoreError>(())
        })?;
        if with_influence && let Some(selection) = selection {
            let mut bars = extent.bars();
            rows.influences(|influence| bars.add(influence))?;
            selection.selected.iter().filter_map(|s| s.influence).for_each(|influence| bars.select(influence));
            tally.histogram = Some(bars);
        }
        Ok(tally)
    }
}
