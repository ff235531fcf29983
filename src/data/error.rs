//! Why data could not be opened, loaded or divided.

use std::path::{Path, PathBuf};

use super::archive::ArchiveError;
use super::boxes::BoxProblem;
use super::decode::DecodeError;
use super::harvest::HarvestError;
use super::recipe::RecipeError;

/// Whatever can go wrong between a path and a batch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file system said no.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// What was read.
        path: PathBuf,
        /// Its answer.
        #[source]
        source: std::io::Error,
    },
    /// Nothing here that a reader knows.
    #[error("`{}` is no data set that is known: {found}; known are {known}", path.display())]
    Unrecognised {
        /// What was opened.
        path: PathBuf,
        /// What is there instead.
        found: Found,
        /// The formats that were looked for.
        known: &'static str,
    },
    /// An image that cannot be decoded.
    #[error("cannot decode `{id}`")]
    Decode {
        /// Id of the image in its collection.
        id: String,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// An image that the preprocessing recipe cannot take.
    #[error("cannot preprocess `{id}`")]
    Preprocess {
        /// Id of the image in its collection.
        id: String,
        /// Why.
        #[source]
        source: RecipeError,
    },
    /// A list of files of which none is there.
    #[error(
        "none of the {files} files that `{}` names is there; the first was looked for at `{}`: relative paths count from the \
         folder of the list",
        path.display(),
        first.display()
    )]
    Lost {
        /// The list.
        path: PathBuf,
        /// Files it names.
        files: usize,
        /// Where the first should be.
        first: PathBuf,
    },
    /// A position past the end of a collection.
    #[error("position {index} of a collection of {len} images")]
    Position {
        /// The position.
        index: usize,
        /// Images there are.
        len: usize,
    },
    /// A line of a text table that does not hold what it must.
    #[error("`{}` line {line}: {problem}", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// Counted from 1, the header included.
        line: u64,
        /// What is wrong with it.
        problem: TableProblem,
    },
    /// An archive that is damaged, or not what its name says.
    #[error("cannot read the archive `{}`", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<ArchiveError>,
    },
    /// A harvest that cannot be read.
    #[error(transparent)]
    Harvest(#[from] HarvestError),
    /// A data set in parts, and none chosen, or one that it does not have.
    #[error(
        "`{}` holds the parts {parts:?}{}: choose one, for example `{}#{}`",
        path.display(),
        wanted.as_ref().map(|wanted| format!(", none is `{wanted}`")).unwrap_or_default(),
        path.display(),
        parts.first().map_or("train", String::as_str)
    )]
    Part {
        /// The data set.
        path: PathBuf,
        /// Its parts.
        parts: Vec<String>,
        /// The part asked for.
        wanted: Option<String>,
    },
    /// A file of boxes that does not hold what it must.
    #[error("`{}`: {problem}", path.display())]
    Boxes {
        /// The file, or the folder of the data set.
        path: PathBuf,
        /// What is wrong with it.
        problem: BoxProblem,
    },
    /// Two images of one collection share an id.
    #[error("id `{id}` occurs twice")]
    DuplicateId {
        /// The id.
        id: String,
    },
    /// Collections whose classes differ cannot be one.
    #[error("the classes {first:?} and {other:?} differ")]
    ClassesDiffer {
        /// Of the first part that names any.
        first: Vec<String>,
        /// Of a later part.
        other: Vec<String>,
    },
    /// Classes that are not in the list asked for.
    #[error("the classes {} are not among the model's: {}", first(unknown), first(expected))]
    UnknownClasses {
        /// The classes.
        unknown: Vec<String>,
        /// The classes that were expected.
        expected: Vec<String>,
    },
    /// A batch size of zero and the like.
    #[error("{what} must be at least 1")]
    Zero {
        /// The option.
        what: &'static str,
    },
}

/// What a path held where no data set was recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A folder; some of the names in it.
    Folder(Vec<String>),
    /// A file and its first bytes.
    File(Vec<u8>),
    /// Neither file nor folder.
    Special,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Found::Nothing => f.write_str("there is no such file or folder"),
            Found::Special => f.write_str("it is neither a file nor a folder"),
            Found::Folder(names) if names.is_empty() => f.write_str("the folder is empty"),
            Found::Folder(names) => write!(f, "the folder holds `{}`", names.join("`, `")),
            Found::File(bytes) if bytes.is_empty() => f.write_str("the file is empty"),
            Found::File(bytes) => write!(f, "the file begins with the bytes {bytes:02x?}"),
        }
    }
}

/// What is wrong with a line of a text table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableProblem {
    /// A line with another number of columns than the first.
    #[error("{found} columns, expected {expected}")]
    Columns {
        /// Columns of this line.
        found: usize,
        /// Columns expected.
        expected: usize,
    },
    /// Pixel columns that make no square.
    #[error("{pixels} pixel columns make no square image")]
    NotSquare {
        /// Columns of pixels.
        pixels: usize,
    },
    /// A value that is not in its range.
    #[error("column {column} is `{found}`, expected {expected}")]
    Value {
        /// Counted from 1.
        column: usize,
        /// The text of the cell, cut to 40 characters.
        found: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// A line that names no image: a header without such a column, an object without such a key, a first line without a path.
    #[error(
        "nothing names the images: expected a column `path` (or `image`, `file`, `filename`, `image_path` and the like) and \
         perhaps `label`, or without a header a path and perhaps a label; found `{}`",
        found.join("`, `")
    )]
    NoPaths {
        /// Names of the columns or keys, or the cells of the first line.
        found: Vec<String>,
    },
    /// A value of a JSON line that is not what its key says.
    #[error("`{key}` is {found}, expected {expected}")]
    Key {
        /// The key.
        key: String,
        /// The value as JSON, cut to 40 characters.
        found: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// A path of which there is no file here.
    #[error("`{path}` is {kind}: list files of this machine, relative to the folder of the list or absolute")]
    Elsewhere {
        /// The path.
        path: String,
        /// What it is instead.
        kind: &'static str,
    },
    /// Text in another encoding.
    #[error("it is text in UTF-16; save it as UTF-8")]
    Utf16,
    /// A relative path that leads out of the folder of the table.
    #[error("the path `{path}` leaves the folder of the table; write an absolute path if that is meant")]
    Outside {
        /// The path.
        path: String,
    },
    /// A path in a data set that is one file or archive, beside which nothing is looked for.
    #[error(
        "`{path}` names a file, but this data set has no folder that paths count from: name it in a list (`.csv`, `.jsonl`) \
         beside the images"
    )]
    NoFolder {
        /// The path.
        path: String,
    },
    /// A line longer than any that a person or program writes.
    #[error("the line has more than {limit} bytes")]
    LongLine {
        /// The limit.
        limit: u64,
    },
    /// A line that is not of its format at all.
    #[error("{message}")]
    Syntax {
        /// The parser's message.
        message: String,
    },
}

/// The first of many names, for messages.
fn first(names: &[String]) -> String {
    const MOST: usize = 12;
    let shown = names.iter().take(MOST).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > MOST { format!("{shown}, ... ({} in all)", names.len()) } else { shown }
}

impl DataError {
    /// For `map_err` on file operations.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> DataError + '_ {
        move |source| DataError::Io { path: path.to_path_buf(), source }
    }
}
