//! Any data set as a folder of PNG files, divided into parts: what digits in an archive need before people and other tools
//! can look at them.
//!
//! `OUT/train/CLASS/ID.png` where a division keeps its classes apart; `OUT/pool/ID.png` and the labels in `OUT/pool.csv`
//! (a list that [`super::open`] reads) where it does not. Everything is written beside `OUT` first and renamed at the
//! end, so `OUT` is either whole or absent. Which image goes where depends on the seed and the order of the data alone;
//! every division has the classes in the proportions of the data, to rounding.

use std::collections::{BTreeMap, HashSet};
use std::io::Cursor;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::loader::Skipped;
use super::seeded::Seeded;
use super::split::quotas;
use super::{DataError, Dataset, Image};

/// One part of an exported data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Division {
    /// Name of its folder: `train`, `pool`, `test`.
    pub name: String,
    /// Number of images; all that the other divisions leave where `None`.
    pub images: Option<usize>,
    /// One subfolder a class, or all in one folder and the labels in a list beside it.
    pub by_class: bool,
}

/// What was written.
#[derive(Debug)]
pub struct Exported {
    /// Images of every division, in the order asked for; bad ones not counted.
    pub counts: Vec<(String, usize)>,
    /// Images that could not be decoded, in the order of the data set.
    pub skipped: Vec<Skipped>,
}

/// Why a data set was not exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// There is something at the place already.
    #[error("`{}` exists already", path.display())]
    Exists {
        /// The place.
        path: PathBuf,
    },
    /// The divisions want more images than there are.
    #[error("the divisions take {wanted} images, the data set has {available}")]
    TooFew {
        /// Images asked for.
        wanted: usize,
        /// Images there are.
        available: usize,
    },
    /// Divisions that cannot be told apart, or no folder can be called so.
    #[error("`{name}` cannot be the name of a division here")]
    Name {
        /// The name.
        name: String,
    },
    /// More than one division that takes the rest.
    #[error("the divisions {names:?} both take all other images")]
    TwoRests {
        /// Their names.
        names: Vec<String>,
    },
    /// An image without a label cannot go into a class folder.
    #[error("`{id}` has no label, so division `{division}` cannot keep its classes apart")]
    Unlabelled {
        /// Id of the image.
        id: String,
        /// The division.
        division: String,
    },
    /// Two classes would share a folder.
    #[error("the classes `{first}` and `{second}` would share a folder")]
    SameFolder {
        /// One class.
        first: String,
        /// The other.
        second: String,
    },
    /// A file could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An image that the PNG encoder refused.
    #[error("cannot encode `{}`: {message}", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// The encoder's message.
        message: String,
    },
    /// The data themselves.
    #[error(transparent)]
    Data(#[from] DataError),
}

/// Where one image goes.
struct Place {
    index: usize,
    division: usize,
    /// Relative to the folder of the division.
    file: PathBuf,
}

/// Writes `dataset` to the new folder `out`.
pub fn export_folder(
    dataset: &Dataset,
    out: &Path,
    divisions: &[Division],
    seed: u64,
) -> Result<Exported, ExportError> {
    if out.symlink_metadata().is_ok() {
        return Err(ExportError::Exists { path: out.to_path_buf() });
    }
    let places = places(dataset, divisions, seed)?;
    let mut partial = out.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let write = |path: &Path| {
        let path = path.to_path_buf();
        move |source| ExportError::Write { path, source }
    };
    // What an earlier, killed export left.
    match std::fs::remove_dir_all(&partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(write(&partial)(error)),
        _ => {}
    }
    let mut folders: HashSet<PathBuf> = divisions.iter().map(|division| partial.join(&division.name)).collect();
    let target = |place: &Place| {
        let division = divisions.get(place.division).map(|division| division.name.as_str()).unwrap_or_default();
        partial.join(division).join(&place.file)
    };
    folders.extend(places.iter().filter_map(|place| Some(target(place).parent()?.to_path_buf())));
    for folder in folders {
        std::fs::create_dir_all(&folder).map_err(write(&folder))?;
    }
    let results: Vec<Result<(), DataError>> = places
        .par_iter()
        .map(|place| match dataset.load(place.index) {
            Ok(image) => save(&image, &target(place)).map(Ok),
            Err(error) => Ok(Err(error)),
        })
        .collect::<Result<_, ExportError>>()?;
    let mut skipped = Vec::new();
    let mut kept: Vec<Vec<&Place>> = divisions.iter().map(|_| Vec::new()).collect();
    for (place, result) in places.iter().zip(results) {
        match result {
            Ok(()) => kept.get_mut(place.division).into_iter().for_each(|kept| kept.push(place)),
            Err(reason) => skipped.push(Skipped { index: place.index, id: dataset.id(place.index), reason }),
        }
    }
    skipped.sort_by_key(|skipped| skipped.index);
    for (division, kept) in divisions.iter().zip(&kept).filter(|(division, _)| !division.by_class) {
        let path = partial.join(format!("{}.csv", division.name));
        std::fs::write(&path, list(dataset, &division.name, kept)).map_err(write(&path))?;
    }
    std::fs::rename(&partial, out).map_err(write(out))?;
    let counts = divisions.iter().zip(&kept).map(|(division, kept)| (division.name.clone(), kept.len())).collect();
    Ok(Exported { counts, skipped })
}

/// The list of a flat division. Names of files and divisions have no characters that CSV would quote; classes may.
fn list(dataset: &Dataset, division: &str, places: &[&Place]) -> String {
    let mut text = String::from("path,label\n");
    for place in places {
        let label = dataset.label(place.index);
        let name = label.map(|label| class_name(dataset, label)).unwrap_or_default().replace('"', "\"\"");
        text.push_str(&format!("{division}/{},\"{name}\"\n", place.file.display()));
    }
    text
}

fn class_name(dataset: &Dataset, label: u32) -> String {
    dataset.classes().get(label as usize).cloned().unwrap_or_else(|| label.to_string())
}

/// Where every exported image goes, in the order of the data set.
fn places(dataset: &Dataset, divisions: &[Division], seed: u64) -> Result<Vec<Place>, ExportError> {
    let sizes = sizes(divisions, dataset.len())?;
    let mut classes: BTreeMap<Option<u32>, Vec<usize>> = BTreeMap::new();
    for index in 0..dataset.len() {
        classes.entry(dataset.label(index)).or_default().push(index);
    }
    let folders = class_folders(dataset, classes.keys().copied())?;
    for (label, positions) in &mut classes {
        Seeded::new("export", &[seed, label.map_or(u64::MAX, u64::from)]).shuffle(positions);
    }
    let mut places = Vec::new();
    let mut names = HashSet::new();
    for (number, (division, size)) in divisions.iter().zip(sizes).enumerate() {
        let left: Vec<usize> = classes.values().map(Vec::len).collect();
        for ((label, positions), quota) in classes.iter_mut().zip(quotas(&left, size)) {
            for index in positions.drain(..quota.min(positions.len())) {
                let folder = match (division.by_class, label) {
                    (false, _) => PathBuf::new(),
                    (true, Some(label)) => folders.get(label).map(PathBuf::from).unwrap_or_default(),
                    (true, None) => {
                        let (id, division) = (dataset.id(index), division.name.clone());
                        return Err(ExportError::Unlabelled { id, division });
                    }
                };
                let name = file_name(&dataset.id(index));
                let mut file = folder.join(format!("{name}.png"));
                if !names.insert((number, file.clone())) {
                    file = folder.join(format!("{name}-{index}.png"));
                    names.insert((number, file.clone()));
                }
                places.push(Place { index, division: number, file });
            }
        }
    }
    places.sort_by_key(|place| place.index);
    Ok(places)
}

/// Images of every division.
fn sizes(divisions: &[Division], available: usize) -> Result<Vec<usize>, ExportError> {
    let mut names = HashSet::new();
    for Division { name, .. } in divisions {
        if name.is_empty() || *name != plain(name) || name.starts_with('.') || !names.insert(name) {
            return Err(ExportError::Name { name: name.clone() });
        }
    }
    let rests: Vec<&Division> = divisions.iter().filter(|division| division.images.is_none()).collect();
    if rests.len() > 1 {
        return Err(ExportError::TwoRests { names: rests.into_iter().map(|rest| rest.name.clone()).collect() });
    }
    let wanted = divisions.iter().filter_map(|division| division.images).fold(0_usize, usize::saturating_add);
    let rest = available.checked_sub(wanted).ok_or(ExportError::TooFew { wanted, available })?;
    Ok(divisions.iter().map(|division| division.images.unwrap_or(rest)).collect())
}

/// Folder names of the classes; no two alike.
fn class_folders(
    dataset: &Dataset,
    labels: impl Iterator<Item = Option<u32>>,
) -> Result<BTreeMap<u32, String>, ExportError> {
    let mut folders = BTreeMap::new();
    let mut classes: BTreeMap<String, String> = BTreeMap::new();
    for label in labels.flatten() {
        let class = class_name(dataset, label);
        let mut folder: String = class.chars().map(|c| if matches!(c, '/' | '\\' | '\0') { '_' } else { c }).collect();
        // Hidden folders would be passed over when the export is read.
        if folder.is_empty() || folder.starts_with('.') {
            folder.insert(0, '_');
        }
        if let Some(first) = classes.insert(folder.clone(), class.clone()) {
            return Err(ExportError::SameFolder { first, second: class });
        }
        folders.insert(label, folder);
    }
    Ok(folders)
}

/// The id without an image's ending, in characters that every file system and shell takes.
fn file_name(id: &str) -> String {
    let path = Path::new(id);
    let stem = if super::folder::has_image_ending(path) { path.with_extension("") } else { path.to_path_buf() };
    let name = plain(&stem.to_string_lossy());
    if name.starts_with('.') { format!("_{name}") } else { name }
}

/// The text in characters that every file system and shell takes.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' }).collect()
}

fn colour(image: &Image) -> image::ExtendedColorType {
    match image.channels() {
        1 => image::ExtendedColorType::L8,
        2 => image::ExtendedColorType::La8,
        3 => image::ExtendedColorType::Rgb8,
        _ => image::ExtendedColorType::Rgba8,
    }
}

/// The bytes of a PNG file that shows the image.
pub(crate) fn png(image: &Image) -> Result<Vec<u8>, image::ImageError> {
    let mut bytes = Cursor::new(Vec::new());
    let (width, height) = (image.width() as u32, image.height() as u32);
    let format = image::ImageFormat::Png;
    image::write_buffer_with_format(&mut bytes, image.pixels(), width, height, colour(image), format)?;
    Ok(bytes.into_inner())
}

fn save(image: &Image, path: &Path) -> Result<(), ExportError> {
    let (width, height) = (image.width() as u32, image.height() as u32);
    image::save_buffer_with_format(path, image.pixels(), width, height, colour(image), image::ImageFormat::Png).map_err(
        |error| match error {
            image::ImageError::IoError(source) => ExportError::Write { path: path.to_path_buf(), source },
            other => ExportError::Encode { path: path.to_path_buf(), message: other.to_string() },
        },
    )
}

/// A link to a file.
#[cfg(unix)]
pub(crate) fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

/// A copy of a file: links need rights elsewhere that copies do not.
#[cfg(not(unix))]
pub(crate) fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::fs::copy(target, link).map(drop)
}
