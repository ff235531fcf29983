//! What people answered, as a list or as image folders by class, matched with the images that they were asked about.
//!
//! A file is taken whole or refused whole, with everything that is wrong in it.

use super::super::RoundsError;
use super::super::state::Layout;
use super::to_label;
use crate::data::{Dataset, OpenOptions};
use indexmap::IndexMap;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// The images that may be given a label, by all that they are known by.
#[derive(Debug, Default)]
pub(in crate::rounds) struct Wanted {
    ids: HashSet<String>,
    /// Ids by the names of files in the folder to label, without endings.
    names: HashMap<String, String>,
    /// Ids by the files that they are.
    paths: HashMap<PathBuf, String>,
}

impl Wanted {
    /// The images on the list of a round.
    pub(super) fn on_list<'a>(ids: impl Iterator<Item = &'a String>, layout: &Layout, round: usize) -> Wanted {
        let mut wanted = Wanted::default();
        let links = to_label::files(layout, round);
        for (place, id) in ids.enumerate() {
            let name = to_label::name(place, id);
            let file = links.get(&name).and_then(|link| std::fs::canonicalize(link).ok());
            wanted.paths.extend(file.map(|file| (file, id.clone())));
            wanted.names.insert(name, id.clone());
            wanted.ids.insert(id.clone());
        }
        wanted
    }

    /// All images of a pool.
    pub(in crate::rounds) fn in_pool(pool: &Dataset) -> Wanted {
        let ids = (0..pool.len()).map(|place| pool.id(place));
        let file = |place| std::fs::canonicalize(pool.path(place)?).ok();
        let paths = (0..pool.len()).filter_map(|place| Some((file(place)?, pool.id(place))));
        Wanted { ids: ids.collect(), names: HashMap::new(), paths: paths.collect() }
    }

    /// The wanted image that this one is.
    fn find(&self, answered: &Dataset, place: usize) -> Option<String> {
        let id = answered.id(place);
        if self.ids.contains(&id) {
            return Some(id);
        }
        let path = answered.path(place)?;
        let file = path.file_name().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default();
        let stem = file.rsplit_once('.').map_or(file.as_str(), |(stem, _)| stem);
        let named = self.names.get(stem).or_else(|| self.names.get(&file));
        named.or_else(|| self.paths.get(&std::fs::canonicalize(&path).ok()?)).cloned()
    }
}

/// A label that is no class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownLabel {
    /// The image.
    pub id: String,
    /// Its label.
    pub label: String,
}

/// An image with two labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The image.
    pub id: String,
    /// The label that it has, or that comes first in the file.
    pub first: String,
    /// The other.
    pub second: String,
}

/// All that is wrong with given labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refused {
    /// The file or folder.
    pub path: PathBuf,
    /// Images that were not asked about.
    pub unknown: Vec<String>,
    /// Labels that are no classes.
    pub labels: Vec<UnknownLabel>,
    /// Images that the file gives two labels.
    pub twice: Vec<Conflict>,
    /// Images that have another label already.
    pub changed: Vec<Conflict>,
    /// What a label may be.
    pub expected: Vec<String>,
}

impl Refused {
    /// Whether nothing is wrong.
    pub(super) fn is_empty(&self) -> bool {
        self.unknown.is_empty() && self.labels.is_empty() && self.twice.is_empty() && self.changed.is_empty()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T>(items: &[T], show: impl Fn(&T) -> String) -> String {
            items.iter().map(show).collect::<Vec<_>>().join(", ")
        }
        let two = |conflict: &Conflict| format!("`{}`: `{}` and `{}`", conflict.id, conflict.first, conflict.second);
        let mut parts = Vec::new();
        if !self.unknown.is_empty() {
            parts.push(format!("not asked about: {}", list(&self.unknown, |id| format!("`{id}`"))));
        }
        if !self.labels.is_empty() {
            let wrong = list(&self.labels, |wrong| format!("`{}` of `{}`", wrong.label, wrong.id));
            parts.push(format!("no class: {wrong}; expected one of {}", self.expected.join(", ")));
        }
        if !self.twice.is_empty() {
            parts.push(format!("two labels: {}", list(&self.twice, two)));
        }
        if !self.changed.is_empty() {
            let changed = list(&self.changed, two);
            parts.push(format!("labelled otherwise before: {changed}; `--replace` takes the new labels"));
        }
        write!(f, "`{}` is refused, and nothing of it was taken: {}", self.path.display(), parts.join("; "))
    }
}

/// Labels by id, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::rounds) struct Answers(pub(in crate::rounds) IndexMap<String, String>);

impl Answers {
    /// Reads labels of wanted images. Images without a label are passed over.
    ///
    /// # Errors
    /// Data that cannot be read. What is wrong with labels is gathered, for the caller to add to.
    pub(in crate::rounds) fn read(
        path: &Path,
        wanted: &Wanted,
        classes: &[String],
        skip: &str,
    ) -> Result<(Answers, Refused), RoundsError> {
        let opened = Dataset::open(path, &OpenOptions::default());
        let given = opened.map_err(|source| RoundsError::data("the labels", path, source))?;
        let expected = classes.iter().cloned().chain([skip.to_owned()]).collect();
        let mut refused = Refused { path: path.to_path_buf(), expected, ..Refused::default() };
        let mut answers: IndexMap<String, String> = IndexMap::new();
        for place in 0..given.len() {
            let Some(label) = given.label(place) else { continue };
            let label = given.classes().get(label as usize).cloned().unwrap_or_else(|| label.to_string());
            let found = wanted.find(&given, place);
            if label != skip && !classes.contains(&label) {
                let id = found.clone().unwrap_or_else(|| given.id(place));
                refused.labels.push(UnknownLabel { id, label: label.clone() });
            }
            let Some(id) = found else {
                refused.unknown.push(given.id(place));
                continue;
            };
            match answers.get(&id) {
                Some(first) if *first != label => {
                    refused.twice.push(Conflict { id, first: first.clone(), second: label });
                }
                _ => drop(answers.insert(id, label)),
            }
        }
        Ok((Answers(answers), refused))
    }

    /// The answers, where nothing is wrong.
    ///
    /// # Errors
    /// [`RoundsError::Refused`].
    pub(in crate::rounds) fn unless(self, refused: Refused) -> Result<Answers, RoundsError> {
        if refused.is_empty() { Ok(self) } else { Err(RoundsError::Refused(Box::new(refused))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let conflict = |id: &str| Conflict { id: id.into(), first: "cat".into(), second: "dog".into() };
        let refused = Refused {
            path: "answers.csv".into(),
            unknown: vec!["a".into(), "b".into()],
            labels: vec![UnknownLabel { id: "c".into(), label: "cta".into() }],
            twice: vec![conflict("d")],
            changed: vec![conflict("e")],
            expected: vec!["cat".into(), "dog".into(), "skip".into()],
        };
        let said = refused.to_string();
        for part in
            ["`a`, `b`", "`cta` of `c`; expected one of cat, dog, skip", "`d`: `cat` and `dog`", "`e`", "--replace"]
        {
            assert!(said.contains(part), "{said}");
        }
        assert!(!refused.is_empty() && Refused::default().is_empty());
    }
}
