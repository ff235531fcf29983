//! Images that need no label whatever their score, by what they show: labelled, reference and excluded ones.

use crate::data::Content;
use std::collections::HashMap;

/// Which images a pool image is one of, pixel for pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SameAs {
    /// The labelled images.
    Labelled,
    /// The reference images.
    Reference,
    /// Images that the user named as not to be selected.
    Excluded,
}

impl SameAs {
    /// All there are.
    pub const ALL: [SameAs; 3] = [SameAs::Labelled, SameAs::Reference, SameAs::Excluded];

    /// Its name, in score tables and sentences.
    pub fn name(self) -> &'static str {
        match self {
            SameAs::Labelled => "labelled",
            SameAs::Reference => "reference",
            SameAs::Excluded => "excluded",
        }
    }

    /// The one of this name.
    pub(super) fn named(name: &str) -> Option<SameAs> {
        SameAs::ALL.into_iter().find(|set| set.name() == name)
    }
}

/// What these images show.
#[derive(Debug, Clone, Default)]
pub struct KnownImages(HashMap<Content, SameAs>);

impl KnownImages {
    /// Adds an image; one that is there already stays what it was.
    pub fn add(&mut self, content: Content, set: SameAs) {
        self.0.entry(content).or_insert(set);
    }

    /// Which of them an image is.
    pub fn same_as(&self, content: Content) -> Option<SameAs> {
        self.0.get(&content).copied()
    }

    /// Different images of a set, in the order of their contents.
    pub fn contents(&self, of: SameAs) -> Vec<Content> {
        let mut contents: Vec<Content> =
            self.0.iter().filter(|(_, set)| **set == of).map(|(content, _)| *content).collect();
        contents.sort_unstable();
        contents
    }
}
