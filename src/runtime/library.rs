//! Where ONNX Runtime's shared library is, and whether it is one that works.

use super::RuntimeError;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The versions that are known to work, as text for people.
pub const SUPPORTED: &str = "1.23 or newer (tested: 1.31.1, 1.32.0)";
const OLDEST: (u32, u32) = (1, 23);

/// ONNX Runtime, loaded into this process.
#[derive(Debug, Clone)]
pub struct Library {
    path: PathBuf,
    version: String,
    pub(super) environment: ort::environment::Environment,
}

static LOADED: Mutex<Option<Library>> = Mutex::new(None);

impl Library {
    /// Finds the library and loads it; a second call gives the one already loaded.
    ///
    /// Looked at, in order: `explicit`, the variable `ORT_DYLIB_PATH`, and
    /// `.toolchain/site-packages/onnxruntime/capi` (where `make setup` puts it) beside or above the executable and the
    /// working folder.
    ///
    /// # Errors
    /// [`RuntimeError::Missing`] and [`RuntimeError::Library`].
    pub fn load(explicit: Option<&Path>) -> Result<Library, RuntimeError> {
        let mut loaded = LOADED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(library) = loaded.as_ref() {
            return Ok(library.clone());
        }
        let path = find(explicit)?;
        let version = version(&path)?;
        let refused = |reason: String| RuntimeError::Library { path: path.clone(), reason };
        let environment = ort::init_from(&path)
            .map_err(|e| refused(e.to_string()))?
            .with_name("isal")
            .build()
            .map_err(|e| refused(e.to_string()))?;
        // What fails is told by the call that fails; and a cuDNN that lacks one way to convolve, and takes another, logs that
        // as an error, some hundred times a session.
        environment.set_log_level(ort::logging::LogLevel::Fatal);
        let library = Library { path, version, environment };
        *loaded = Some(library.clone());
        Ok(library)
    }

    /// The shared library.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The environment that its sessions live in.
    pub fn environment(&self) -> &ort::environment::Environment {
        &self.environment
    }

    /// Its version, such as `1.32.0`.
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// The first library in the places that [`Library::load`] names.
fn find(explicit: Option<&Path>) -> Result<PathBuf, RuntimeError> {
    let named = explicit
        .map(Path::to_path_buf)
        .or_else(|| std::env::var_os("ORT_DYLIB_PATH").filter(|v| !v.is_empty()).map(PathBuf::from));
    if let Some(path) = named {
        // A path that somebody gave is used or refused, never replaced by another.
        return if path.is_file() { Ok(path) } else { Err(RuntimeError::Missing { searched: vec![path] }) };
    }
    let mut searched = Vec::new();
    let starts = [std::env::current_exe().ok(), std::env::current_dir().ok()];
    for folder in starts.iter().flatten().flat_map(|start| start.ancestors()) {
        let capi = folder.join(".toolchain/site-packages/onnxruntime/capi");
        if let Some(path) = in_folder(&capi) {
            return Ok(path);
        }
        if folder.join("Cargo.toml").is_file() {
            searched.push(capi);
        }
    }
    searched.push(PathBuf::from("ORT_DYLIB_PATH"));
    Err(RuntimeError::Missing { searched })
}

fn in_folder(folder: &Path) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            name.starts_with("libonnxruntime.so") || name.starts_with("libonnxruntime.") && name.ends_with(".dylib")
        })
        .collect();
    found.sort();
    found.pop()
}

/// Reads the version out of the file itself: ONNX Runtime's exports carry the symbol version `VERS_<version>`.
fn version(path: &Path) -> Result<String, RuntimeError> {
    let refused = |reason: String| RuntimeError::Library { path: path.to_path_buf(), reason };
    let bytes = std::fs::read(path).map_err(|e| refused(e.to_string()))?;
    if bytes.get(..4) != Some(b"\x7fELF") {
        return Err(refused("not a shared library for this system".to_owned()));
    }
    let mark = b"VERS_1.";
    let version = bytes
        .windows(mark.len())
        .enumerate()
        .filter(|(_, window)| window == mark)
        .find_map(|(at, _)| {
            let text: String = bytes[at + 5..]
                .iter()
                .take(16)
                .map_while(|b| (b.is_ascii_digit() || *b == b'.').then_some(char::from(*b)))
                .collect();
            (text.split('.').filter(|part| !part.is_empty()).count() == 3).then_some(text)
        })
        .ok_or_else(|| refused("not an ONNX Runtime library (no version in its symbols)".to_owned()))?;
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < OLDEST {
        return Err(refused(format!("ONNX Runtime {version} is too old: expected {SUPPORTED}")));
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library_with(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("libonnxruntime.so");
        std::fs::write(&path, content).expect("a file");
        (folder, path)
    }

    #[test]
    fn version_is_read_from_the_symbol_versions() {
        let (_keep, path) = library_with(b"\x7fELF....VERS_1.x....VERS_1.32.0\0more");
        assert_eq!(version(&path).expect("a version"), "1.32.0");
    }

    #[test]
    fn an_old_library_is_refused_with_the_versions_that_work() {
        let (_keep, path) = library_with(b"\x7fELF....VERS_1.22.1\0");
        let message = version(&path).expect_err("too old").to_string();
        assert!(message.contains("1.22.1") && message.contains(SUPPORTED), "{message}");
    }

    #[test]
    fn other_files_are_refused_without_being_opened() {
        for content in [&b"MZ\0\0VERS_1.32.0\0"[..], b"\x7fELF", b""] {
            let (_keep, path) = library_with(content);
            assert!(matches!(version(&path), Err(RuntimeError::Library { .. })), "{content:?}");
        }
    }

    #[test]
    fn a_given_path_that_is_missing_is_not_replaced_by_another() {
        let missing = Path::new("/nowhere/libonnxruntime.so");
        let error = find(Some(missing)).expect_err("missing");
        assert!(matches!(error, RuntimeError::Missing { searched } if searched == [missing]));
    }
}
