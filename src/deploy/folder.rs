//! A folder that appears whole: it is filled under another name beside its place and renamed.

use super::DeployError;
use crate::durable;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder in the making.
pub(super) struct Unfinished {
    partial: PathBuf,
    place: PathBuf,
    finished: bool,
}

impl Unfinished {
    /// Begins a folder that will lie at `place`, where nothing is.
    ///
    /// # Errors
    /// [`DeployError::Exists`]; the file system's.
    pub(super) fn begin(place: &Path) -> Result<Unfinished, DeployError> {
        if place.symlink_metadata().is_ok() {
            return Err(DeployError::Exists { folder: place.to_path_buf() });
        }
        let name = place.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let partial = place.with_file_name(format!(".{name}.partial"));
        // What a killed export left.
        durable::remove_folder(&partial)?;
        durable::make_folder(&partial)?;
        Ok(Unfinished { partial, place: place.to_path_buf(), finished: false })
    }

    /// A path in it, for as long as it is in the making; the folders above are there afterwards.
    ///
    /// # Errors
    /// The file system's.
    pub(super) fn path(&self, name: &str) -> Result<PathBuf, DeployError> {
        let path = self.partial.join(name);
        let folder = path.parent().unwrap_or(&self.partial);
        durable::make_folder(folder)?;
        Ok(path)
    }

    /// Writes a file into it.
    ///
    /// # Errors
    /// The file system's.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), DeployError> {
        Ok(durable::write_bytes(&self.path(name)?, text.as_bytes())?)
    }

    /// Puts it in its place.
    ///
    /// # Errors
    /// The file system's.
    pub(super) fn finish(mut self) -> Result<PathBuf, DeployError> {
        fs::rename(&self.partial, &self.place).map_err(DeployError::io("rename a folder to", &self.place))?;
        self.finished = true;
        let above = self.place.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // The rename is durable once the folder above is synced.
        fs::File::open(above).and_then(|f| f.sync_all()).map_err(DeployError::io("sync", above))?;
        Ok(std::mem::take(&mut self.place))
    }
}

impl Drop for Unfinished {
    /// What could not be finished leaves nothing behind.
    fn drop(&mut self) {
        if !self.finished {
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "an unwrap that fails is the test failing")]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_absent_until_it_is_whole_and_never_replaces_another() {
        let above = tempfile::tempdir().unwrap();
        let place = above.path().join("model");
        let killed = Unfinished::begin(&place).unwrap();
        killed.write("1/stale", "from a killed export").unwrap();
        std::mem::forget(killed);
        assert!(!place.exists());
        drop(Unfinished::begin(&place).unwrap());
        assert_eq!(fs::read_dir(above.path()).unwrap().count(), 0, "a failed export leaves nothing");
        let folder = Unfinished::begin(&place).unwrap();
        folder.write("config.pbtxt", "new").unwrap();
        assert!(!place.exists());
        folder.finish().unwrap();
        let names: Vec<_> = fs::read_dir(&place).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["config.pbtxt"]);
        assert_eq!(fs::read_dir(above.path()).unwrap().count(), 1, "no litter");
        assert!(matches!(Unfinished::begin(&place), Err(DeployError::Exists { .. })));
    }
}
