//! What a selection must keep to whatever the strategy: so many of a class or a source at most, and no near-duplicates.
//!
//! An image that may not be taken is passed over and the strategy's next one is looked at; to a strategy that chooses jointly
//! it is as if that image had not been there.

use super::selection::Selected;
use crate::scores::belief;
use ndarray::{Array2, ArrayView1, Axis};
use std::collections::HashMap;

/// Limits of a selection; none by default.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Filters {
    /// Images of each class at most, by the class that the model believes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_class: Option<usize>,
    /// Images of each source at most: of the folder that an id begins with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_source: Option<usize>,
    /// Least distance of two selected images, and of a selected from a labelled one: one minus the cosine of their features.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apart: Option<f64>,
}

impl Filters {
    /// Images of a strategy's order that are looked at for each that is wanted.
    const LOOKED_AT: usize = 50;

    /// Whether anything is passed over.
    pub fn any(&self) -> bool {
        *self != Filters::default()
    }

    /// How many images in the strategy's order are looked at to find so many.
    pub fn candidates(&self, count: usize) -> usize {
        if self.any() { count.saturating_mul(Self::LOOKED_AT) } else { count }
    }
}

/// Features of candidates and of labelled images.
type Features<'a> = (&'a Array2<f32>, &'a Array2<f32>);

/// Lets images through one by one.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    filters: Filters,
    /// The believed class of each candidate.
    classes: Vec<Option<u64>>,
    sources: Vec<String>,
    of_class: HashMap<u64, usize>,
    of_source: HashMap<String, usize>,
    /// Features of unit length, where distances count.
    candidates: Vec<Vec<f32>>,
    taken: Vec<Vec<f32>>,
    /// Images that were passed over.
    pub passed_over: usize,
}

impl Gate {
    /// One that lets every image through.
    pub fn open() -> Gate {
        Gate::default()
    }

    /// Of these candidates; `features` are needed where distances count.
    pub fn new(filters: Filters, candidates: &[&Selected], features: Option<Features>) -> Gate {
        let class = |image: &&Selected| image.belief(belief::PSEUDO_LABEL).map(|class| class as u64);
        let source = |image: &&Selected| match image.id.split_once('/') {
            Some((folder, _)) => folder.to_owned(),
            None => String::new(),
        };
        let features = features.filter(|_| filters.apart.is_some());
        let (own, labelled) = features.map(|(own, labelled)| (unit(own), unit(labelled))).unwrap_or_default();
        Gate {
            filters,
            classes: candidates.iter().map(class).collect(),
            sources: candidates.iter().map(source).collect(),
            candidates: own,
            taken: labelled,
            ..Gate::default()
        }
    }

    /// Whether the candidate may be taken, which it then counts as.
    pub fn admits(&mut self, place: usize) -> bool {
        let admitted = self.has_room(place);
        if !admitted {
            self.passed_over += 1;
            return false;
        }
        if let Some(Some(class)) = self.classes.get(place) {
            *self.of_class.entry(*class).or_default() += 1;
        }
        if let Some(source) = self.sources.get(place) {
            *self.of_source.entry(source.clone()).or_default() += 1;
        }
        self.taken.extend(self.candidates.get(place).cloned());
        true
    }

    fn has_room(&self, place: usize) -> bool {
        let class = self.classes.get(place).copied().flatten();
        let of_class = class.and_then(|class| self.of_class.get(&class)).copied().unwrap_or(0);
        let of_source = self.sources.get(place).and_then(|source| self.of_source.get(source)).copied().unwrap_or(0);
        let full = |most: Option<usize>, found: usize| most.is_some_and(|most| found >= most);
        if (class.is_some() && full(self.filters.per_class, of_class)) || full(self.filters.per_source, of_source) {
            return false;
        }
        let (Some(apart), Some(own)) = (self.filters.apart, self.candidates.get(place)) else { return true };
        let cosine = |other: &Vec<f32>| -> f64 { own.iter().zip(other).map(|(a, b)| f64::from(a * b)).sum() };
        self.taken.iter().all(|other| 1.0 - cosine(other) >= apart)
    }
}

/// Rows of unit length.
fn unit(features: &Array2<f32>) -> Vec<Vec<f32>> {
    let scaled = |row: ArrayView1<f32>| {
        let length = row.dot(&row).sqrt().max(f32::MIN_POSITIVE);
        row.iter().map(|x| x / length).collect()
    };
    features.axis_iter(Axis(0)).map(scaled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use indexmap::IndexMap;
    use ndarray::array;

    fn image(id: &str, class: u64) -> Selected {
        let beliefs = IndexMap::from([(belief::PSEUDO_LABEL.to_owned(), Some(class.into()))]);
        Selected { rank: 1, id: id.to_owned(), score: 0.0, influence: None, beliefs, copies: None }
    }

    fn admitted(filters: Filters, images: &[Selected], features: Option<Features>) -> Vec<usize> {
        let mut gate = Gate::new(filters, &images.iter().collect::<Vec<_>>(), features);
        let taken: Vec<usize> = (0..images.len()).filter(|place| gate.admits(*place)).collect();
        assert_eq!(gate.passed_over, images.len() - taken.len());
        taken
    }

    #[test]
    fn classes_and_sources_have_room_for_so_many() {
        let images =
            [image("a/1", 7), image("a/2", 7), image("b/1", 7), image("b/2", 3), image("b/3", 4), image("c", 5)];
        let of = |filters| admitted(filters, &images, None);
        assert_eq!(of(Filters::default()), [0, 1, 2, 3, 4, 5]);
        assert_eq!(of(Filters { per_class: Some(2), ..Filters::default() }), [0, 1, 3, 4, 5]);
        assert_eq!(of(Filters { per_source: Some(1), ..Filters::default() }), [0, 2, 5]);
        assert_eq!(of(Filters { per_class: Some(1), per_source: Some(2), ..Filters::default() }), [0, 3, 4, 5]);
    }

    #[test]
    fn near_duplicates_of_taken_and_of_labelled_images_are_passed_over() {
        let images = [image("1", 0), image("2", 0), image("3", 0), image("4", 0)];
        let features = array![[1.0, 0.0], [2.0, 0.02], [0.0, 1.0], [1.0, 1.0]];
        let labelled = array![[0.0, 5.0]];
        let filters = Filters { apart: Some(0.01), ..Filters::default() };
        assert_eq!(admitted(filters, &images, Some((&features, &labelled))), [0, 3]);
    }
}
