//! What people answered, as a list, as image folders by class, as a data set of boxes or as the export of an annotation tool, matched with
//! the images that they were asked about.
//!
//! A file is taken whole or refused whole, with everything that is wrong in it.

use super::super::RoundsError;
use super::super::label::{Label, LabelledBoxes};
use super::super::state::Layout;
use super::given::{self, Given};
use super::{boxes, masks, to_label};
use crate::annotation_tools::{self, Answer, Answered, Words};
use crate::data::{Dataset, OpenOptions, Size};
use crate::families::LabelKind;
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
    /// The images, and where among them each id is.
    images: Option<Dataset>,
    places: HashMap<String, usize>,
}

/// What answers may be.
#[derive(Debug, Clone, Copy)]
pub(in crate::rounds) struct Expected<'a> {
    /// What people were asked for.
    pub(in crate::rounds) kind: LabelKind,
    /// Names of the classes.
    pub(in crate::rounds) classes: &'a [String],
    /// Labels that are no class.
    pub(in crate::rounds) words: Words<'a>,
    /// Whether an image that is listed without a mark shows nothing, instead of not being labelled yet.
    pub(in crate::rounds) unmarked_is_empty: bool,
}

impl Wanted {
    /// The images on the list of a round.
    pub(super) fn on_list<'a>(ids: impl Iterator<Item = &'a String>, layout: &Layout, round: usize) -> Wanted {
        let mut wanted = Wanted::default();
        let links = to_label::files(layout, round);
        let images = Dataset::open(&to_label::images(layout, round), &OpenOptions::default()).ok();
        let files = |images: &Dataset| -> HashMap<String, usize> {
            (0..images.len()).map(|place| (stem(Path::new(&images.id(place))), place)).collect()
        };
        let files = images.as_ref().map(files).unwrap_or_default();
        wanted.images = images;
        for (place, id) in ids.enumerate() {
            let name = annotation_tools::name(place, id);
            let file = links.get(&name).and_then(|link| std::fs::canonicalize(link).ok());
            wanted.paths.extend(file.map(|file| (file, id.clone())));
            wanted.places.extend(files.get(&name).map(|place| (id.clone(), *place)));
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
        let places = (0..pool.len()).map(|place| (pool.id(place), place)).collect();
        let images = Some(pool.clone());
        Wanted { ids: ids.collect(), names: HashMap::new(), paths: paths.collect(), images, places }
    }

    /// Rows and columns of an image.
    fn size(&self, id: &str) -> Result<Size, String> {
        let found = self.images.as_ref().zip(self.places.get(id));
        let (images, place) =
            found.ok_or("has no file in the folder to label, which its boxes could be held against")?;
        images.size(*place).map_err(|error| format!("cannot be read: {error}"))
    }

    /// The wanted image that this one is.
    pub(super) fn find(&self, answered: &Dataset, place: usize) -> Option<String> {
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
        self.names.get(&stem(path)).or_else(|| self.names.get(&file))
    }

    /// The wanted image that this one of an annotation tool is: by the id that was sent with it, else by its file's name.
    fn answered(&self, answered: &Answered) -> Option<String> {
        let id = answered.id.as_ref().filter(|id| self.ids.contains(*id));
        id.or_else(|| self.named(Path::new(&answered.file))).cloned()
    }
}

/// The name of a file without its ending.
fn stem(path: &Path) -> String {
    let file = path.file_name().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default();
    file.rsplit_once('.').map_or(file.as_str(), |(stem, _)| stem).to_owned()
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
    /// Images with something that is no label of the kind that was asked for, and what it is.
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
            parts.push(format!("no label: {}", list(&self.unfit, |(id, what)| format!("`{id}` {what}"))));
        }
        if !self.changed.is_empty() {
            let changed = list(&self.changed, two);
            parts.push(format!("labelled otherwise before: {changed}; `--replace` takes the new labels"));
        }
        write!(f, "`{}` is refused, and nothing of it was taken: {}", self.path.display(), parts.join("; "))
    }
}

/// Labels by id, in the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::rounds) struct Answers {
    /// The labels.
    pub(in crate::rounds) labels: IndexMap<String, Label>,
    /// Wanted images that are listed without a mark, and not taken for images that show nothing.
    pub(in crate::rounds) unmarked: usize,
}

impl Answers {
    /// Reads labels of wanted images. Images without a label are passed over.
    ///
    /// # Errors
    /// Data that cannot be read. What is wrong with labels is gathered, for the caller to add to.
    pub(in crate::rounds) fn read(
        path: &Path,
        wanted: &Wanted,
        expected: &Expected,
    ) -> Result<(Answers, Refused), RoundsError> {
        let words = match expected.kind {
            LabelKind::Class => vec![expected.words.skip],
            LabelKind::Mask => Vec::new(),
            LabelKind::Boxes | LabelKind::Classes => vec![expected.words.skip, expected.words.empty],
        };
        let names = expected.classes.iter().cloned().chain(words.into_iter().map(str::to_owned)).collect();
        let mut refused = Refused { path: path.to_path_buf(), expected: names, ..Refused::default() };
        let said = match annotation_tools::read(path, expected.kind, expected.words)? {
            Some(answered) => {
                answered.into_iter().map(|answered| Given { found: wanted.answered(&answered), answered }).collect()
            }
            None => {
                let (said, dropped) = given::read(path, wanted, expected)?;
                refused.unfit.extend(dropped.iter().map(|dropped| (dropped.image.clone(), given::malformed(dropped))));
                said
            }
        };
        let mut answers = Answers { labels: IndexMap::new(), unmarked: 0 };
        for Given { found, answered } in said {
            let shown = answered.id.clone().unwrap_or_else(|| answered.file.clone());
            if answered.answer == Answer::Unmarked && !expected.unmarked_is_empty {
                answers.unmarked += usize::from(found.is_some());
                continue;
            }
            let label = label(&answered, found.as_deref().unwrap_or(&shown), wanted, expected, &mut refused);
            let Some(id) = found else {
                // An image of another set with nothing said of it does no harm.
                if !matches!(answered.answer, Answer::Nothing | Answer::Unmarked) {
                    refused.unknown.push(shown);
                }
                continue;
            };
            let Some(label) = label else { continue };
            match answers.labels.get(&id) {
                Some(first) if *first != label => {
                    refused.twice.push(Conflict { id, first: first.to_string(), second: label.to_string() });
                }
                _ => drop(answers.labels.insert(id, label)),
            }
        }
        Ok((answers, refused))
    }

    /// The answers, where nothing is wrong.
    ///
    /// # Errors
    /// [`RoundsError::Refused`].
    pub(in crate::rounds) fn unless(self, refused: Refused) -> Result<Answers, RoundsError> {
        if refused.is_empty() { Ok(self) } else { Err(RoundsError::Refused(Box::new(refused))) }
    }
}

/// The label that an answer is for the image `id`, where it is one; what is wrong with it is noted.
fn label(answered: &Answered, id: &str, wanted: &Wanted, expected: &Expected, refused: &mut Refused) -> Option<Label> {
    let is_wanted = wanted.ids.contains(id);
    let mut unfit = |what: String| refused.unfit.push((id.to_owned(), what));
    let (label, names): (Label, Vec<&String>) = match &answered.answer {
        Answer::Nothing => return None,
        Answer::Unfit(what) => {
            unfit(what.clone());
            return None;
        }
        Answer::Skip => return Some(Label::Word(expected.words.skip.to_owned())),
        Answer::Label(label) if label == expected.words.skip => return Some(Label::Word(label.clone())),
        Answer::Label(label) => (Label::Word(label.clone()), vec![label]),
        Answer::Classes(classes) => (Label::Classes { classes: classes.clone() }, classes.iter().collect()),
        Answer::Unmarked if expected.kind == LabelKind::Classes => (Label::Classes { classes: Vec::new() }, Vec::new()),
        Answer::Unmarked | Answer::Boxes(_) | Answer::Mask(_) if !is_wanted => return None,
        Answer::Unmarked => (Label::Boxes(LabelledBoxes::default()), Vec::new()),
        Answer::Mask(path) => {
            match wanted.size(id).and_then(|size| masks::look_at(path, size, expected.classes.len())) {
                Ok(mask) => (mask, Vec::new()),
                Err(what) => {
                    unfit(what);
                    return None;
                }
            }
        }
        Answer::Boxes(marked) => match wanted.size(id).and_then(|size| boxes::fitted(marked, answered.size, size)) {
            Ok(fitted) => (Label::Boxes(fitted), marked.iter().map(|marked| &marked.label).collect()),
            Err(what) => {
                unfit(what);
                return None;
            }
        },
    };
    let unknown: std::collections::BTreeSet<&String> =
        names.into_iter().filter(|name| !expected.classes.contains(name)).collect();
    for name in &unknown {
        refused.labels.push(UnknownLabel { id: id.to_owned(), label: (*name).clone() });
    }
    Some(label)
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
