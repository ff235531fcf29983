//! Images drawn by the seed: those that are labelled before the first training, and a part of the reference set.

use crate::data::{Dataset, Seeded};
use std::collections::BTreeMap;

/// What images are drawn for; each purpose has its own random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be labelled before the first training.
    Initial,
    /// To measure influence on.
    Reference,
}

impl Purpose {
    fn streams(self) -> (&'static str, &'static str) {
        match self {
            Purpose::Initial => ("initial images", "initial classes"),
            Purpose::Reference => ("reference images", "reference classes"),
        }
    }
}

/// Positions of `count` images, drawn by `seed` for a purpose: uniformly, or of every class as many as there can be (the last
/// ones of classes that the seed picks).
pub(super) fn draw(images: &Dataset, count: usize, balanced: bool, purpose: Purpose, seed: u64) -> Vec<usize> {
    let (of_images, of_classes) = purpose.streams();
    let mut all: Vec<usize> = (0..images.len()).collect();
    Seeded::new(of_images, &[seed]).shuffle(&mut all);
    let mut drawn: Vec<usize> = match balanced {
        false => all.into_iter().take(count).collect(),
        true => {
            let mut classes: BTreeMap<Option<u32>, Vec<usize>> = BTreeMap::new();
            for position in all {
                classes.entry(images.label(position)).or_default().push(position);
            }
            let mut classes: Vec<Vec<usize>> = classes.into_values().collect();
            Seeded::new(of_classes, &[seed]).shuffle(&mut classes);
            let deepest = classes.iter().map(Vec::len).max().unwrap_or(0);
            let dealt = (0..deepest).flat_map(|turn| classes.iter().filter_map(move |class| class.get(turn).copied()));
            dealt.take(count).collect()
        }
    };
    drawn.sort_unstable();
    drawn
}
