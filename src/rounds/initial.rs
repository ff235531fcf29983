//! The images that are labelled before the first training.

use crate::data::{Dataset, Seeded};
use std::collections::BTreeMap;

/// Positions of `count` images of `pool`, drawn by `seed`: of all alike, or of every class as many as there can be (the last
/// ones of classes that the seed picks).
pub(super) fn initial(pool: &Dataset, count: usize, balanced: bool, seed: u64) -> Vec<usize> {
    let mut all: Vec<usize> = (0..pool.len()).collect();
    Seeded::new("initial images", &[seed]).shuffle(&mut all);
    let mut drawn: Vec<usize> = match balanced {
        false => all.into_iter().take(count).collect(),
        true => {
            let mut classes: BTreeMap<Option<u32>, Vec<usize>> = BTreeMap::new();
            for position in all {
                classes.entry(pool.label(position)).or_default().push(position);
            }
            let mut classes: Vec<Vec<usize>> = classes.into_values().collect();
            Seeded::new("initial classes", &[seed]).shuffle(&mut classes);
            let deepest = classes.iter().map(Vec::len).max().unwrap_or(0);
            let dealt = (0..deepest).flat_map(|turn| classes.iter().filter_map(move |class| class.get(turn).copied()));
            dealt.take(count).collect()
        }
    };
    drawn.sort_unstable();
    drawn
}
