//! What people answered, as a list, as image folders by class or as the export of an annotation tool, matched with the images that they were asked about.
//!
//! A file is taken whole or refused whole, with everything that is wrong in it.

use super::super::RoundsError;
use super::super::state::Layout;
use super::to_label;
use crate::annotation_tools::{self, Answer, Answered};
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
            let name = annotation_tools::name(place, id);
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
        self.named(&path).or_else(|| self.paths.get(&std::fs::canonicalize(&path).ok()?)).cloned()
    }

    /// The wanted image of this file name, whatever the folder.
    fn named(&self, path: &Path) -> Option<&String> {
        let file = path.file_name().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default();
        let stem = file.rsplit_once('.').map_or(file.as_str(), |(stem, _)| stem);
        self.names.get(stem).or_else(|| self.names.get(&file))
    }

    /// The wanted image that this one of an annotation tool is: by the id that was sent with it, else by its file's name.
    fn answered(&self, answered: &Answered) -> Option<String> {
        let id = answered.id.as_ref().filter(|id| self.ids.contains(*id));
        id.or_else(|| self.named(Path::new(&answered.file))).cloned()
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
    /// Images of an annotation tool with something else than one class, and what it is.
    pub unfit: Vec<(String, String)>,
    /// What a label may be.
    pub expected: Vec<String>,
}

impl Refused {
    /// Whether nothing is wrong.
    pub(super) fn is_empty(&self) -> bool {
        let conflicts = self.twice.iter().chain(&self.changed);
        self.unknown.is_empty() && self.labels.is_empty() && conflicts.count() == 0 && self.unfit.is_empty()
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
        if !self.unfit.is_empty() {
            parts.push(format!("no class: {}", list(&self.unfit, |(id, what)| format!("`{id}` {what}"))));
        }
        if !self.changed.is_empty() {
            let changed = list(&self.changed, two);
            parts.push(format!("labelled otherwise before: {changed}; `--replace` takes the new labels"));
        }
        write!(f, "`{}` is refused, and nothing of it was taken: {}", self.path.display(), parts.join("; "))
    }
}

/// A label of a file.
struct Said {
    /// The wanted image that it is for.
    found: Option<String>,
    /// What the file calls the image.
    shown: String,
    label: String,
}

/// The labels of a list or of image folders.
fn of_data(path: &Path, wanted: &Wanted) -> Result<Vec<Said>, RoundsError> {
    let opened = Dataset::open(path, &OpenOptions::default());
    let given = opened.map_err(|source| RoundsError::data("the labels", path, source))?;
    let said = |place: usize| {
        let label = given.label(place)?;
        let label = given.classes().get(label as usize).cloned().unwrap_or_else(|| label.to_string());
        Some(Said { found: wanted.find(&given, place), shown: given.id(place), label })
    };
    Ok((0..given.len()).filter_map(said).collect())
}

/// The labels of a tool's export; what is none of one class is refused.
fn of_tool(answered: Vec<Answered>, wanted: &Wanted, skip: &str, refused: &mut Refused) -> Vec<Said> {
    let mut said = Vec::new();
    for answered in answered {
        let found = wanted.answered(&answered);
        let shown = answered.id.unwrap_or(answered.file);
        let label = match answered.answer {
            Answer::Nothing => continue,
            Answer::Label(label) => label,
            Answer::Skip => skip.to_owned(),
            Answer::Unfit(what) => {
                refused.unfit.push((found.unwrap_or(shown), what));
                continue;
            }
        };
        said.push(Said { found, shown, label });
    }
    said
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
        let expected = classes.iter().cloned().chain([skip.to_owned()]).collect();
        let mut refused = Refused { path: path.to_path_buf(), expected, ..Refused::default() };
        let mut answers: IndexMap<String, String> = IndexMap::new();
        let said = match annotation_tools::read(path)? {
            Some(answered) => of_tool(answered, wanted, skip, &mut refused),
            None => of_data(path, wanted)?,
        };
        for Said { found, shown, label } in said {
            if label != skip && !classes.contains(&label) {
                let id = found.clone().unwrap_or_else(|| shown.clone());
                refused.labels.push(UnknownLabel { id, label: label.clone() });
            }
            let Some(id) = found else {
                refused.unknown.push(shown);
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
            unfit: vec![("f".into(), "has 2 tags: cat, dog".into())],
            expected: vec!["cat".into(), "dog".into(), "skip".into()],
        };
        let said = refused.to_string();
        for part in [
            "`a`, `b`",
            "`cta` of `c`; expected one of cat, dog, skip",
            "`d`: `cat` and `dog`",
            "`f` has 2 tags",
            "`e`",
            "--replace",
        ] {
            assert!(said.contains(part), "{said}");
        }
        assert!(!refused.is_empty() && Refused::default().is_empty());
    }
}
