//! The plugin's shared library: where it is, what it says of itself, and how its functions are called.

use super::PluginError;
use isal_plugin_abi::{ENTRY, Entry, ISAL_PLUGIN_ABI_VERSION, Message, Status, Table, texts};
use std::path::{Path, PathBuf};

/// Bytes for a call's explanation; a longer one is cut short.
const MESSAGE: usize = 8192;

/// An opened plugin. It stays open for the life of the process: libtorch starts threads and keeps thread-local state
/// that do not survive unloading.
#[derive(Debug, Clone)]
pub struct Plugin {
    path: PathBuf,
    pub(super) table: &'static Table,
}

/// What a plugin says of itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Description {
    /// Short name (`tch`).
    pub name: String,
    /// Version of the plugin.
    pub version: String,
    /// Library it stands on, with its version (`libtorch 2.13.0`).
    pub backend: String,
    /// Devices it can run on now (`cpu`, `cuda:0`).
    pub devices: Vec<String>,
    /// Operators it has a forward for, sorted: the bare name in the standard domain, else `domain::Name`.
    pub ops: Vec<String>,
    /// Threads an operator uses by default.
    pub threads: usize,
}

/// Lets threads that wait for each other sleep instead of spin, in libtorch's OpenMP; a setting of the user's own stands.
///
/// Spinning gains nothing measurable where cores are free, and where other programs use them it takes the time that the
/// threads waited for need. OpenMP reads the variable when libtorch is loaded, so this is to be called first in `main`, before
/// there is any thread.
pub(crate) fn wait_passively() {
    const POLICY: &str = "OMP_WAIT_POLICY";
    if std::env::var_os(POLICY).is_none() {
        // SAFETY: nothing reads the environment meanwhile: the process has one thread, by the caller's promise.
        unsafe { std::env::set_var(POLICY, "passive") };
    }
}

impl Plugin {
    /// Finds the plugin and opens it.
    ///
    /// A path that somebody named, `explicit` or the variable `ISAL_PLUGIN`, is opened or refused, never replaced by
    /// another. Else it is looked for beside the executable and one folder above it, and in `target/release` of the
    /// working folder and of those above it.
    ///
    /// # Errors
    /// [`PluginError::Missing`], [`PluginError::Load`], [`PluginError::Version`].
    pub fn find(explicit: Option<&Path>) -> Result<Plugin, PluginError> {
        let named = explicit
            .map(Path::to_path_buf)
            .or_else(|| std::env::var_os("ISAL_PLUGIN").filter(|v| !v.is_empty()).map(PathBuf::from));
        let candidates = match named {
            Some(path) => vec![path],
            None => candidates(std::env::current_exe().ok().as_deref(), std::env::current_dir().ok().as_deref()),
        };
        match candidates.iter().find(|path| path.is_file()) {
            Some(path) => Self::open(path),
            None => Err(PluginError::Missing { searched: candidates }),
        }
    }

    fn open(path: &Path) -> Result<Plugin, PluginError> {
        let refused = |reason: String| PluginError::Load { path: path.to_path_buf(), reason };
        // A bare file name would be looked for in the system's folders.
        let absolute = std::path::absolute(path).map_err(|e| refused(e.to_string()))?;
        // SAFETY: opening runs the library's initialisers. The path was named by the user or is the one the build
        // writes, and is as trusted as this program.
        let library = unsafe { libloading::Library::new(&absolute) }.map_err(|e| refused(e.to_string()))?;
        let table = {
            // SAFETY: the ABI gives the symbol this type.
            let entry = unsafe { library.get::<Entry>(ENTRY) }.map_err(|e| refused(e.to_string()))?;
            // SAFETY: the entry takes nothing and returns null or a table that lives as long as the process.
            unsafe { entry().as_ref() }.ok_or_else(|| refused("its table is a null pointer".to_owned()))?
        };
        if table.abi_version != ISAL_PLUGIN_ABI_VERSION {
            return Err(PluginError::Version {
                path: path.to_path_buf(),
                expected: ISAL_PLUGIN_ABI_VERSION,
                found: table.abi_version,
            });
        }
        if table.table_size < size_of::<Table>() {
            return Err(refused(format!("its table has {} bytes, expected {}", table.table_size, size_of::<Table>())));
        }
        std::mem::forget(library);
        Ok(Plugin { path: absolute, table })
    }

    /// The shared library.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the plugin says of itself.
    ///
    /// # Errors
    /// [`PluginError::Call`], [`PluginError::Answer`].
    pub fn describe(&self) -> Result<Description, PluginError> {
        let mut out = std::ptr::null();
        // SAFETY: `out` and the message are valid for the call.
        call("describe", |message| unsafe { (self.table.describe)(&raw mut out, message) })?;
        let wrong = |what: &str| PluginError::Answer { call: "describe", reason: format!("{what} is not valid") };
        // SAFETY: null, or a description that lives as long as the process.
        let description = unsafe { out.as_ref() }.ok_or_else(|| wrong("the description"))?;
        // SAFETY: the ABI promises that what a description points to lives as long as the process.
        let (name, version, backend, devices, ops) = unsafe {
            (
                description.name.as_str(),
                description.version.as_str(),
                description.backend.as_str(),
                texts(description.devices, description.device_count),
                texts(description.ops, description.op_count),
            )
        };
        let all = |list: Option<Vec<&str>>, what| -> Result<Vec<String>, PluginError> {
            Ok(list.ok_or_else(|| wrong(what))?.into_iter().map(str::to_owned).collect())
        };
        Ok(Description {
            name: name.ok_or_else(|| wrong("the name"))?.to_owned(),
            version: version.ok_or_else(|| wrong("the version"))?.to_owned(),
            backend: backend.ok_or_else(|| wrong("the backend"))?.to_owned(),
            devices: all(devices, "the list of devices")?,
            ops: all(ops, "the list of operators")?,
            threads: description.threads,
        })
    }
}

/// The places to look in when nobody named one.
fn candidates(executable: Option<&Path>, working: Option<&Path>) -> Vec<PathBuf> {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    let name = format!("{DLL_PREFIX}isal_plugin_tch{DLL_SUFFIX}");
    let beside = executable.into_iter().flat_map(|e| e.ancestors().skip(1).take(2)).map(|folder| folder.join(&name));
    // Above the working folder only where there is a build.
    let built = working
        .into_iter()
        .flat_map(Path::ancestors)
        .map(|folder| folder.join("target/release"))
        .enumerate()
        .filter(|(i, folder)| *i == 0 || folder.is_dir())
        .map(|(_, folder)| folder.join(&name));
    let mut all: Vec<PathBuf> = Vec::new();
    for path in beside.chain(built) {
        if !all.contains(&path) {
            all.push(path);
        }
    }
    all
}

/// Calls a function of the table and turns its status and message into a result.
pub(super) fn call(name: &'static str, body: impl FnOnce(*mut Message) -> Status) -> Result<(), PluginError> {
    let mut buffer = [0u8; MESSAGE];
    let mut message = Message { data: buffer.as_mut_ptr(), capacity: buffer.len(), len: 0 };
    let status = body(&raw mut message);
    if status == Status::OK {
        return Ok(());
    }
    let len = message.len;
    let text = String::from_utf8_lossy(&buffer[..len.min(MESSAGE)]);
    // A message cut at a character boundary may end before the buffer does.
    let mut text = text.trim_end_matches('\0').to_owned();
    if len > MESSAGE {
        text.push_str("...");
    }
    Err(PluginError::Call { call: name, status: status.0, message: text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_plugin_that_is_missing_is_not_replaced_by_another() {
        let named = Path::new("/nowhere/libisal_plugin_tch.so");
        let error = Plugin::find(Some(named)).expect_err("missing");
        assert!(matches!(&error, PluginError::Missing { searched } if *searched == [named]), "{error}");
        assert!(error.to_string().contains("make plugin"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_library_is_refused_with_the_systems_reason() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("libisal_plugin_tch.so");
        std::fs::write(&path, b"not a library").expect("written");
        let error = Plugin::find(Some(&path)).expect_err("no library");
        assert!(matches!(&error, PluginError::Load { path: p, .. } if *p == path), "{error}");
    }

    #[test]
    fn the_plugin_is_looked_for_beside_the_executable_first() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path();
        std::fs::create_dir_all(root.join("target/release")).expect("a folder");
        std::fs::create_dir_all(root.join("work/deep")).expect("a folder");
        let found = candidates(Some(Path::new("/opt/isal/bin/isal")), Some(&root.join("work/deep")));
        let names: Vec<_> = found.iter().map(|p| p.parent().expect("a folder").to_path_buf()).collect();
        let expected = [
            PathBuf::from("/opt/isal/bin"),
            PathBuf::from("/opt/isal"),
            root.join("work/deep/target/release"),
            root.join("target/release"),
        ];
        assert_eq!(names[..4], expected);
    }

    #[test]
    fn a_failed_calls_message_is_passed_on_and_a_long_one_is_cut() {
        let answer = |text: &'static str| {
            move |message: *mut Message| {
                // SAFETY: `call` passes a valid message.
                let message = unsafe { &mut *message };
                message.len = text.len();
                let n = text.len().min(message.capacity);
                // SAFETY: the buffer holds `capacity` bytes.
                unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), message.data, n) };
                Status::SHAPE
            }
        };
        let error = call("forward", answer("wrong rank")).expect_err("it failed");
        assert_eq!(error.to_string(), "plugin call `forward` failed: wrong rank");
        let long: &'static str = Box::leak("x".repeat(3 * MESSAGE).into_boxed_str());
        let PluginError::Call { message, status: 6, .. } = call("load", answer(long)).expect_err("it failed") else {
            panic!("another error")
        };
        assert_eq!(message.len(), MESSAGE + 3);
    }
}
