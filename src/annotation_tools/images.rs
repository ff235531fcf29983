//! The images to label as files of one folder: links to where they lie, or PNG files where they lie in an archive.

use super::AnnotationToolError;
use crate::data::{DataError, Dataset, plain, png, symlink};
use crate::durable;
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
    /// The class that the model believes, counted from 0.
    pub guess: Option<usize>,
    /// The probability that it gives that class.
    pub confidence: Option<f64>,
}

impl Chosen {
    /// The images of a selection, in its order.
    ///
    /// # Errors
    /// [`AnnotationToolError::Lost`].
    pub fn of(selection: &Selection, pool: &Dataset) -> Result<Vec<Chosen>, AnnotationToolError> {
        let wanted: HashSet<&str> = selection.selected.iter().map(|selected| selected.id.as_str()).collect();
        let named = (0..pool.len()).map(|position| (pool.id(position), position));
        let places: HashMap<String, usize> = named.filter(|(id, _)| wanted.contains(id.as_str())).collect();
        let of = |selected: &Selected| {
            let lost = || AnnotationToolError::Lost { id: selected.id.clone() };
            let position = *places.get(&selected.id).ok_or_else(lost)?;
            Ok(Chosen::selected(selected, position))
        };
        selection.selected.iter().map(of).collect()
    }

    /// An image that was drawn, of which nothing is known.
    pub fn drawn(id: &str, position: usize, rank: usize) -> Chosen {
        let (score, influence, guess, confidence) = (None, None, None, None);
        Chosen { id: id.to_owned(), position, rank, score, influence, guess, confidence }
    }

    /// A selected image at its position in the pool.
    pub fn selected(selected: &Selected, position: usize) -> Chosen {
        Chosen {
            id: selected.id.clone(),
            position,
            rank: selected.rank,
            score: Some(selected.score).filter(|score| score.is_finite()),
            influence: selected.influence.filter(|influence| influence.is_finite()),
            guess: selected.belief(belief::PSEUDO_LABEL).map(|label| label as usize),
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
        if let Some(class) = self.guess.and_then(|guess| classes.get(guess)) {
            let sure = self.confidence.map_or_else(String::new, |sure| format!(", {:.0} %", 100.0 * sure));
            parts.push(format!("the model believes {class}{sure}"));
        }
        parts.join("; ")
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
