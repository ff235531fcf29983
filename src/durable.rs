//! Files that are wholly there or not there at all, and folders with one writer.
//!
//! A file is written under a temporary name in its own folder, synced, and renamed; a killed process or a
//! full disk leaves the old file, or none, and at worst a temporary file that the next run replaces.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::sync::OnceLock;
#[cfg(unix)]
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Why a file could not be put in place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DurableError {
    /// The system refused.
    #[error("cannot {doing} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Another process writes to the folder.
    #[error("`{}` is in use by another isal process", folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
}

fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> DurableError + 'a {
    move |source| DurableError::Io { doing, path: path.to_path_buf(), source }
}

/// Writes `path` through `fill`, all or nothing.
///
/// # Errors
/// Whatever `fill` says, and [`DurableError::Io`] (through `E`) from the file system.
pub fn write<E: From<DurableError>>(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<&File>) -> Result<(), E>,
) -> Result<(), E> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = tempfile::Builder::new()
        .prefix(".isal-")
        .suffix(".tmp")
        .tempfile_in(folder)
        .map_err(io("create a file in", folder))?;
    let mut writer = BufWriter::new(file.as_file());
    fill(&mut writer)?;
    writer.flush().map_err(io("write", path))?;
    drop(writer);
    file.as_file().sync_all().map_err(io("sync", path))?;
    end_here_where_a_test_says_so();
    let file = file.persist(path).map_err(|e| io("rename a file to", path)(e.error))?;
    make_readable(&file).map_err(io("set the permissions of", path))?;
    // The rename itself is durable once the folder is synced.
    File::open(folder).and_then(|f| f.sync_all()).map_err(io("sync", folder))?;
    end_here_where_a_test_says_so();
    Ok(())
}

/// Kills this process at the n-th of its moments around a rename, where `ISAL_TEST_KILL_AT_WRITE=n` asks for it: odd moments
/// are just before a file takes its name, even ones just after. Tests prove with it that a command goes on after any write.
#[cfg(unix)]
fn end_here_where_a_test_says_so() {
    static AT: OnceLock<Option<u64>> = OnceLock::new();
    static MOMENTS: AtomicU64 = AtomicU64::new(0);
    let at = *AT.get_or_init(|| std::env::var("ISAL_TEST_KILL_AT_WRITE").ok()?.parse().ok());
    if at.is_some_and(|at| MOMENTS.fetch_add(1, Ordering::SeqCst) + 1 == at) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

#[cfg(not(unix))]
fn end_here_where_a_test_says_so() {}

/// [`write()`] of bytes that are ready.
///
/// # Errors
/// [`DurableError::Io`].
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), DurableError> {
    write(path, |file| file.write_all(bytes).map_err(io("write", path)))
}

/// Makes a folder and those above it, where they are missing.
///
/// # Errors
/// [`DurableError::Io`].
pub fn make_folder(path: &Path) -> Result<(), DurableError> {
    std::fs::create_dir_all(path).map_err(io("create the folder", path))
}

/// Removes a folder with what is in it, where it is there.
///
/// # Errors
/// [`DurableError::Io`].
pub fn remove_folder(path: &Path) -> Result<(), DurableError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Temporary files are private to their owner; finished ones are as readable as any other.
#[cfg(unix)]
fn make_readable(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn make_readable(_file: &File) -> std::io::Result<()> {
    Ok(())
}

/// How often a lock is tried for.
const TRIES: usize = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// A folder that this process alone writes to, for as long as the value lives.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Makes the folder where it is missing, and locks it. The system drops the lock of a killed process.
    ///
    /// # Errors
    /// [`DurableError::Locked`] when another process has it.
    pub fn take(folder: &Path) -> Result<FolderLock, DurableError> {
        make_folder(folder)?;
        let path = folder.join(".lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(io("open", &path))?;
        // Whoever only looks whether the folder is in use holds the lock for a moment.
        for _ in 0..TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(FolderLock { _file: file }),
                Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(BETWEEN_TRIES),
                Err(std::fs::TryLockError::Error(e)) => return Err(io("lock", &path)(e)),
            }
        }
        Err(DurableError::Locked { folder: folder.to_path_buf() })
    }

    /// Whether a process writes to the folder now.
    pub fn is_taken(folder: &Path) -> bool {
        let file = File::options().write(true).open(folder.join(".lock"));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_litter() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("scores.csv");
        write_bytes(&path, b"old").expect("written");
        let error = write(&path, |file| {
            file.write_all(b"half").map_err(io("write", &path))?;
            Err(DurableError::Locked { folder: path.clone() })
        });
        assert!(error.is_err());
        assert_eq!(std::fs::read(&path).expect("still there"), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 1);
    }

    #[test]
    fn a_locked_folder_is_refused_until_the_lock_is_dropped() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let first = FolderLock::take(folder.path()).expect("free");
        assert!(matches!(FolderLock::take(folder.path()), Err(DurableError::Locked { .. })));
        assert!(FolderLock::is_taken(folder.path()));
        drop(first);
        assert!(!FolderLock::is_taken(folder.path()), "to look does not take it");
        FolderLock::take(folder.path()).expect("free again");
    }
}
