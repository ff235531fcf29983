//! Recognising what lies at a path.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;

use super::decode::Limits;
use super::error::Found;
use super::folder::Folder;
use super::pixel_csv::PixelCsv;
use super::{DataError, Source};

/// How a data set is opened.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// What one image may cost.
    pub limits: Limits,
}

const KNOWN: &str = "a folder of images; a CSV of pixels and a label (`.csv`, `.csv.gz`)";

/// Opens the data set at `path`, whatever its format.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Arc<dyn Source>, DataError> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(unrecognised(path, Found::Nothing)),
        Err(source) => return Err(DataError::Io { path: path.to_path_buf(), source }),
    };
    if metadata.is_dir() {
        let folder = Folder::open(path, options.limits)?;
        if folder.is_empty() {
            return Err(unrecognised(path, Found::Folder(some_names(path)?)));
        }
        return Ok(Arc::new(folder));
    }
    if !metadata.is_file() {
        return Err(unrecognised(path, Found::Special));
    }
    let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    if name.ends_with(".csv") || name.ends_with(".csv.gz") {
        return Ok(Arc::new(PixelCsv::read(path, unpacked(path)?)?));
    }
    let mut start = Vec::new();
    File::open(path).map_err(DataError::io(path))?.take(16).read_to_end(&mut start).map_err(DataError::io(path))?;
    Err(unrecognised(path, Found::File(start)))
}

/// The file's bytes, without gzip if it is so packed.
fn unpacked(path: &Path) -> Result<Box<dyn Read>, DataError> {
    let file = BufReader::new(File::open(path).map_err(DataError::io(path))?);
    Ok(if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gz")) {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    })
}

fn unrecognised(path: &Path, found: Found) -> DataError {
    DataError::Unrecognised { path: path.to_path_buf(), found, known: KNOWN }
}

/// The first few names in a folder, sorted.
fn some_names(path: &Path) -> Result<Vec<String>, DataError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(DataError::io(path))? {
        names.push(entry.map_err(DataError::io(path))?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    names.truncate(5);
    Ok(names)
}
