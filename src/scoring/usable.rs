//! Sets of which no image can be used are refused before anything is computed, with the reasons of all of their images.
//!
//! A set with a usable image is looked at up to that image only: mostly one.

use super::{ModelSource, ReferenceSet, ScoreOptions, ScoringError, Source};
use crate::data::{DataError, Dataset, DecodeError, Image, Recipe, Split};
use crate::error_chain::in_one_line;
use crate::influence::InfluenceError;
use crate::observe::Observer;
use crate::report::grouped;
use crate::select::Needs;
use indexmap::IndexMap;
use rayon::prelude::*;
use std::fmt;

/// Images that are tried at a time, at most.
const AT_ONCE: usize = 256;

/// None of the images of a set can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoneUsable {
    /// What the set is for: `labelled`, `reference` or `pool`.
    pub set: &'static str,
    /// Its images.
    pub images: usize,
    /// How many of them have which format that is not read.
    pub formats: IndexMap<String, usize>,
    /// What is wrong with the first of the others.
    pub first: Option<String>,
}

impl NoneUsable {
    fn add(&mut self, error: &DataError) {
        match error {
            DataError::Decode { source: DecodeError::UnsupportedFormat { format }, .. } => {
                *self.formats.entry(format.clone()).or_default() += 1;
            }
            other => {
                self.first.get_or_insert_with(|| in_one_line(other));
            }
        }
    }
}

impl fmt::Display for NoneUsable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "none of the {} images ({}) can be used: ", self.set, grouped(self.images))?;
        let mut formats: Vec<(&String, usize)> = self.formats.iter().map(|(name, images)| (name, *images)).collect();
        formats.sort_by_key(|(_, images)| std::cmp::Reverse(*images));
        for (place, (format, images)) in formats.iter().enumerate() {
            let verb = if *images == 1 { "image is" } else { "images are" };
            let joint = if place > 0 { "; " } else { "" };
            write!(f, "{joint}{} {format} {verb} not read", grouped(*images))?;
        }
        let others = self.images.saturating_sub(self.formats.values().sum());
        match &self.first {
            Some(first) if self.formats.is_empty() => write!(f, "the first: {first}"),
            Some(first) if others == 1 => write!(f, "; 1 other: {first}"),
            Some(first) => write!(f, "; {} others, the first: {first}", grouped(others)),
            None => Ok(()),
        }
    }
}

impl std::error::Error for NoneUsable {}

/// What `take` makes of the first image that can be used; `None` of no images.
///
/// # Errors
/// [`NoneUsable`], or that the observer asked to stop.
pub(super) fn first_usable<T: Send>(
    set: &'static str,
    dataset: &Dataset,
    observer: &dyn Observer,
    take: impl Fn(usize, Image) -> Result<T, DataError> + Sync,
) -> Result<Option<T>, ScoringError> {
    let images = dataset.len();
    let mut none = NoneUsable { set, images, formats: IndexMap::new(), first: None };
    let (mut start, mut at_once) = (0, 1);
    while start < images {
        let end = images.min(start + at_once);
        let tried: Vec<Result<T, DataError>> =
            (start..end).into_par_iter().map(|at| dataset.load(at).and_then(|image| take(at, image))).collect();
        for result in tried {
            match result {
                Ok(found) => return Ok(Some(found)),
                Err(error) => none.add(&error),
            }
        }
        if observer.interrupted() {
            return Err(InfluenceError::Cancelled.into());
        }
        (start, at_once) = (end, AT_ONCE.min(2 * at_once));
    }
    if images == 0 { Ok(None) } else { Err(none.into()) }
}

/// Refuses sets of which no image can be decoded and preprocessed.
pub(super) fn check(options: &ScoreOptions, recipe: &Recipe, observer: &dyn Observer) -> Result<(), ScoringError> {
    for (set, dataset) in sets(options) {
        first_usable(set, dataset, observer, |at, image| {
            let failed = |source| DataError::Preprocess { id: dataset.id(at), source };
            recipe.pixels_of(image).map(drop).map_err(failed)
        })?;
    }
    Ok(())
}

/// The sets without which there are no scores.
fn sets(options: &ScoreOptions) -> Vec<(&'static str, &Dataset)> {
    let mut sets = vec![("pool", options.pool.dataset())];
    let needs_sets = matches!(options.strategy.row().needs, Needs::Influence | Needs::Embedding);
    if let (Source::Model(from), true) = (&options.source, needs_sets) {
        let ModelSource { labelled, reference, .. } = from.as_ref();
        sets.extend(labelled.as_ref().map(|labelled| ("labelled", Split::dataset(labelled))));
        if let ReferenceSet::Given(reference) = reference {
            sets.push(("reference", reference));
        }
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(images: usize, formats: &[(&str, usize)], first: Option<&str>) -> String {
        let formats = formats.iter().map(|(name, images)| ((*name).to_owned(), *images)).collect();
        NoneUsable { set: "pool", images, formats, first: first.map(str::to_owned) }.to_string()
    }

    #[test]
    fn the_formats_are_counted_and_the_first_other_reason_is_given() {
        let start = |images: &str| format!("none of the pool images ({images}) can be used: ");
        let others = text(3000, &[("AVIF", 1), ("HEIC", 2989)], Some("cannot decode `a`: the file is empty"));
        let said = "2,989 HEIC images are not read; 1 AVIF image is not read; 10 others, the first: cannot decode `a`: the file is empty";
        assert_eq!(others, start("3,000") + said);
        assert_eq!(text(1, &[("SVG", 1)], None), start("1") + "1 SVG image is not read");
        assert_eq!(text(2, &[("SVG", 1)], Some("why")), start("2") + "1 SVG image is not read; 1 other: why");
        assert_eq!(text(2, &[], Some("why")), start("2") + "the first: why");
    }
}
