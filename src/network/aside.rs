//! Models that are written for a runtime to open, and for nobody else.

use super::NetworkError;
use isal_onnx::Model;
use std::path::{Path, PathBuf};

/// A model in a temporary folder that goes with this. A session may map the file's weights, so it is kept as long.
#[derive(Debug)]
pub struct Aside {
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Aside {
    /// Writes `model` under the file name of `named`.
    ///
    /// # Errors
    /// [`NetworkError`] from the file system.
    pub fn write(model: &Model, named: &Path) -> Result<Aside, NetworkError> {
        let folder = tempfile::tempdir().map_err(|source| NetworkError::Temporary { source })?;
        let file = folder.path().join(named.file_name().unwrap_or_else(|| "model.onnx".as_ref()));
        model.write(&file).map_err(|source| NetworkError::model(&file, source))?;
        Ok(Aside { file, _folder: folder })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.file
    }
}
