//! What the rows of a score table come to: all that a run says of them, in two passes and without keeping any.

use super::ScoringError;
use crate::report::{Extent, Histogram};
use crate::scores::{Rows, ScoreError};
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

/// Counts and means over a table.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    /// Rows of the table.
    pub(super) images: usize,
    /// Finite influences,
    pub(super) influences: usize,
    /// those of them below zero,
    pub(super) negative: usize,
    /// and their sum in the order of the rows.
    sum: f64,
    /// Over the whole table, and over the selected images.
    pub(super) pool: Right,
    pub(super) selected: Right,
    /// How many of each pseudo-label, in the order in which they first come.
    pub(super) pseudo_labels: IndexMap<u32, usize>,
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
            influences: 0,
            negative: 0,
            // The sum of nothing, as iterators have it.
            sum: -0.0,
            pool: Right::default(),
            selected: Right::default(),
            pseudo_labels: IndexMap::new(),
            histogram: None,
        };
        let (mut extent, mut with_influence) = (Extent::expecting(rows.len()), false);
        rows.each(|row| {
            if let Some(influence) = row.influence {
                with_influence = true;
                extent.add(influence);
                if influence.is_finite() {
                    tally.influences += 1;
                    tally.negative += usize::from(influence < 0.0);
                    tally.sum += influence;
                }
            }
            if let Some(label) = row.label {
                tally.pool.count(label == row.pseudo_label);
                if chosen.contains(row.id.as_str()) {
                    tally.selected.count(label == row.pseudo_label);
                }
            }
            *tally.pseudo_labels.entry(row.pseudo_label).or_default() += 1;
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

    /// The mean of the finite influences; zero where there is none.
    pub(super) fn mean(&self) -> f64 {
        self.sum / self.influences.max(1) as f64
    }
}
