//! The images to label as files of one folder: links to where they lie, or PNG files where they lie in an archive.

use super::AnnotationToolError;
use crate::data::{DataError, Dataset, plain, png, symlink};
use crate::durable;
use crate::families::{FoundBox, Guess};
use crate::scores::belief;
use crate::select::{Selected, Selection};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// An image to label.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// Sample id.
    pub id: String,
    /// Position in the pool.
    pub position: usize,
    /// 1 for the first to label.
    pub rank: usize,
    /// The number it was ordered by, the lowest first, where it was.
    pub score: Option<f64>,
    /// Influence on the reference loss; the more negative, the more labelling it is expected to lower that loss.
    pub influence: Option<f64>,
    /// What the model believes of it.
    pub guess: Guess,
    /// The probability that it gives its class, or the score of its best box.
    pub confidence: Option<f64>,
}

impl Chosen {
    /// The images of a selection, in its order; `guesses` are those by id that are more than a class.
    ///
    /// # Errors
    /// [`AnnotationToolError::Lost`].
    pub fn of(
        selection: &Selection,
        pool: &Dataset,
        guesses: &HashMap<String, Guess>,
    ) -> Result<Vec<Chosen>, AnnotationToolError> {
        let wanted: HashSet<&str> = selection.selected.iter().map(|selected| selected.id.as_str()).collect();
        let named = (0..pool.len()).map(|position| (pool.id(position), position));
        let places: HashMap<String, usize> = named.filter(|(id, _)| wanted.contains(id.as_str())).collect();
        let of = |selected: &Selected| {
            let lost = || AnnotationToolError::Lost { id: selected.id.clone() };
            let position = *places.get(&selected.id).ok_or_else(lost)?;
            Ok(Chosen::selected(selected, position, guesses))
        };
        selection.selected.iter().map(of).collect()
    }

    /// An image that was drawn, of which nothing is known.
    pub fn drawn(id: &str, position: usize, rank: usize) -> Chosen {
        let (score, influence, guess, confidence) = (None, None, Guess::Nothing, None);
        Chosen { id: id.to_owned(), position, rank, score, influence, guess, confidence }
    }

    /// A selected image at its position in the pool; its guess is that of `guesses`, else the class that it was selected with.
    pub fn selected(selected: &Selected, position: usize, guesses: &HashMap<String, Guess>) -> Chosen {
        let class = || selected.belief(belief::PSEUDO_LABEL).map(|label| Guess::Class(label as usize));
        let guess = guesses.get(&selected.id).cloned().or_else(class).unwrap_or_default();
        Chosen {
            id: selected.id.clone(),
            position,
            rank: selected.rank,
            score: Some(selected.score).filter(|score| score.is_finite()),
            influence: selected.influence.filter(|influence| influence.is_finite()),
            guess,
            confidence: selected.belief(belief::CONFIDENCE),
        }
    }

    /// Rank, influence and belief in a line for people.
    pub(super) fn why(&self, classes: &[String]) -> String {
        let mut parts = vec![format!("rank {}", self.rank)];
        parts.extend(self.influence.map(|influence| {
            format!(
                "influence {influence:.4e} (more negative: labelling it is expected to lower the reference loss more)"
            )
        }));
        if self.influence.is_none() {
            parts.extend(self.score.map(|score| format!("score {score:.4e} (the lowest first)")));
        }
        if let Some(believed) = self.believed(classes) {
            let sure = self.confidence.map_or_else(String::new, |sure| format!(", {:.0} %", 100.0 * sure));
            parts.push(format!("the model believes {believed}{sure}"));
        }
        parts.join("; ")
    }

    /// The guess in a few words.
    fn believed(&self, classes: &[String]) -> Option<String> {
        let name = |class: &usize| classes.get(*class).cloned();
        match &self.guess {
            Guess::Nothing => None,
            Guess::Class(class) => name(class),
            Guess::Classes(shown) if shown.is_empty() => Some("none of the classes".to_owned()),
            Guess::Classes(shown) => Some(shown.iter().filter_map(name).collect::<Vec<_>>().join(", ")),
            Guess::Boxes(boxes) if boxes.len() == 1 => Some("1 box".to_owned()),
            Guess::Boxes(boxes) => Some(format!("{} boxes", boxes.len())),
        }
    }

    /// The name of the class that the model believes, of a task of one class an image.
    pub(super) fn class<'a>(&self, classes: &'a [String]) -> Option<&'a String> {
        match self.guess {
            Guess::Class(class) => classes.get(class),
            _ => None,
        }
    }

    /// The names of all classes that the model believes, of a task of one class or any number of them.
    pub(super) fn classes<'a>(&self, classes: &'a [String]) -> Vec<&'a String> {
        match &self.guess {
            Guess::Classes(shown) => shown.iter().filter_map(|class| classes.get(*class)).collect(),
            _ => self.class(classes).into_iter().collect(),
        }
    }

    /// The boxes that the model believes, each with the name of its class.
    pub(super) fn boxes<'a>(&self, classes: &'a [String]) -> Vec<(&'a String, FoundBox)> {
        let Guess::Boxes(boxes) = &self.guess else { return Vec::new() };
        boxes.iter().filter_map(|found| Some((classes.get(found.class)?, *found))).collect()
    }
}

/// A file name for an image, without an ending: its id in characters that every file system takes.
pub(crate) fn file_name(id: &str) -> String {
    let name = plain(id);
    match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() && ending.len() <= 4 => stem.to_owned(),
        _ => name,
    }
}

/// The name of an image to label, without an ending: its place in the list, then its own name.
pub(crate) fn name(place: usize, id: &str) -> String {
    format!("{:04}-{}", place + 1, file_name(id))
}

/// Puts an image of `pool` into `folder`: a link to its file, or a PNG file where it has none. Gives the file's name.
pub(crate) fn put(pool: &Dataset, position: usize, folder: &Path, name: &str) -> Result<String, AnnotationToolError> {
    let Some(path) = pool.path(position) else {
        let file = format!("{name}.png");
        write_png(pool, position, &folder.join(&file))?;
        return Ok(file);
    };
    let ending = path.extension().map_or_else(String::new, |ending| format!(".{}", ending.to_string_lossy()));
    let file = format!("{name}{ending}");
    let link = folder.join(&file);
    if link.symlink_metadata().is_ok() {
        // Of a command that was killed here, or of an earlier selection.
        std::fs::remove_file(&link).map_err(AnnotationToolError::io("remove", &link))?;
    }
    let target = std::path::absolute(&path).map_err(AnnotationToolError::io("find", &path))?;
    symlink(&target, &link).map_err(AnnotationToolError::io("write", &link))?;
    Ok(file)
}

/// Writes an image as PNG.
pub(crate) fn write_png(images: &Dataset, position: usize, path: &Path) -> Result<(), AnnotationToolError> {
    let refused = |source: DataError| AnnotationToolError::Image { id: images.id(position), source: Box::new(source) };
    let image = images.load(position).map_err(refused)?;
    let bytes = png(&image).map_err(|error| AnnotationToolError::Io {
        doing: "encode",
        path: path.to_path_buf(),
        source: std::io::Error::other(error.to_string()),
    })?;
    Ok(durable::write_bytes(path, &bytes)?)
}
