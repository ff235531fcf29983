//! Where models come from: a folder laid out as Triton's repositories are, or single files.
//!
//! `ROOT/MODEL/{config.pbtxt, labels, 1/model.onnx, 2/model.onnx}`. Nothing outside the root is read: every file is looked at
//! where it really lies, links followed, before it is opened.

use super::config::{self, Config, ConfigError};
use super::name::{is_model_name, version_number};
use super::proto::ModelConfig;
use super::proto::model_version_policy::PolicyChoice;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Files of a model that are looked at for changes.
const MAX_FILES: usize = 10_000;
/// Longest file of labels, in bytes.
const MAX_LABELS: u64 = 16 << 20;

/// Why a model cannot be read from where it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoryError {
    /// The system refused.
    #[error("cannot read `{}`: {source}", path.display())]
    Io {
        /// What was read.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A link that leads out of the repository.
    #[error("`{}` lies outside the repository `{}`", path.display(), root.display())]
    Outside {
        /// The file.
        path: PathBuf,
        /// The repository.
        root: PathBuf,
    },
    /// The configuration is not taken.
    #[error("`{}`: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ConfigError,
    },
    /// No version of the model.
    #[error("`{}` has no {wanted}, such as `1/{file}`", path.display())]
    NoVersion {
        /// The model's folder.
        path: PathBuf,
        /// What is asked for.
        wanted: String,
        /// The name of the model file.
        file: String,
    },
    /// A file too large for what it is.
    #[error("`{}` has more than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// No such model.
    #[error("no model `{name}`")]
    Unknown {
        /// The name.
        name: String,
    },
}

/// Where models come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A folder of models, by its real path.
    Repository(PathBuf),
    /// Single files, each as version 1 of a model, by the model's name.
    Files(BTreeMap<String, PathBuf>),
}

/// A model as it lies in its folder.
#[derive(Debug)]
pub struct Found {
    /// What its `config.pbtxt` says, where there is one.
    pub config: Option<ModelConfig>,
    /// Fields of it that were passed over.
    pub passed_over: Vec<String>,
    /// The model file of each version that is to be served.
    pub versions: BTreeMap<u64, PathBuf>,
    /// Names of the elements of outputs, by the output's name.
    pub labels: BTreeMap<String, Vec<String>>,
}

/// What a model's files look like from outside; another when one of them changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stamp(Vec<(PathBuf, u64, Option<SystemTime>)>);

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> RepositoryError + '_ {
    move |source| RepositoryError::Io { path: path.to_path_buf(), source }
}

impl Source {
    /// A repository.
    ///
    /// # Errors
    /// [`RepositoryError::Io`] where there is no such folder.
    pub fn repository(root: &Path) -> Result<Source, RepositoryError> {
        let real = root.canonicalize().map_err(io(root))?;
        fs::read_dir(&real).map_err(io(root))?;
        Ok(Source::Repository(real))
    }

    /// Names of all models, sorted. Folders whose name is no model's are passed over.
    ///
    /// # Errors
    /// [`RepositoryError::Io`].
    pub fn names(&self) -> Result<Vec<String>, RepositoryError> {
        let root = match self {
            Source::Files(files) => return Ok(files.keys().cloned().collect()),
            Source::Repository(root) => root,
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(root).map_err(io(root))? {
            let entry = entry.map_err(io(root))?;
            let name = entry.file_name().into_string().unwrap_or_default();
            if is_model_name(&name) && !name.starts_with('.') && entry.path().is_dir() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// What the files of a model look like now; the same as before where nothing changed.
    pub fn stamp(&self, name: &str) -> Stamp {
        let top = match self {
            Source::Repository(root) if is_model_name(name) => root.join(name),
            Source::Repository(_) => return Stamp::default(),
            Source::Files(files) => match files.get(name) {
                Some(path) => path.clone(),
                None => return Stamp::default(),
            },
        };
        let files = walkdir::WalkDir::new(top).follow_links(true).max_depth(3).sort_by_file_name();
        let seen = files.into_iter().filter_map(Result::ok).take(MAX_FILES).filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            metadata.is_file().then(|| (entry.into_path(), metadata.len(), metadata.modified().ok()))
        });
        Stamp(seen.collect())
    }

    /// Reads what there is of a model, all but the model files.
    ///
    /// # Errors
    /// [`RepositoryError`].
    pub fn read(&self, name: &str) -> Result<Found, RepositoryError> {
        let unknown = || RepositoryError::Unknown { name: name.to_owned() };
        let root = match self {
            Source::Files(files) => {
                let versions = BTreeMap::from([(1, files.get(name).ok_or_else(unknown)?.clone())]);
                return Ok(Found { config: None, passed_over: Vec::new(), versions, labels: BTreeMap::new() });
            }
            Source::Repository(root) if is_model_name(name) => root,
            Source::Repository(_) => return Err(unknown()),
        };
        let folder = inside(root, &root.join(name).canonicalize().map_err(|_| unknown())?)?;
        let path = folder.join("config.pbtxt");
        let config = match path.canonicalize() {
            Ok(real) => {
                let text = text(root, &real, config::MAX_BYTES as u64)?;
                let refused = |source| RepositoryError::Config { path: path.clone(), source };
                Some(config::read(&text, name).map_err(refused)?)
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(io(&path)(e)),
        };
        let Config { message, passed_over } = config.clone().unwrap_or_default();
        let versions = versions(root, &folder, &message)?;
        let mut labels = BTreeMap::new();
        for output in message.output.iter().filter(|output| !output.label_filename.is_empty()) {
            let path = folder.join(&output.label_filename);
            let text = text(root, &path.canonicalize().map_err(io(&path))?, MAX_LABELS)?;
            labels.insert(output.name.clone(), text.lines().map(|line| line.trim_end().to_owned()).collect());
        }
        Ok(Found { config: config.map(|config| config.message), passed_over, versions, labels })
    }
}

/// `path`, which is real, where it lies inside the root.
fn inside(root: &Path, path: &Path) -> Result<PathBuf, RepositoryError> {
    if path.starts_with(root) {
        Ok(path.to_path_buf())
    } else {
        Err(RepositoryError::Outside { path: path.to_path_buf(), root: root.to_path_buf() })
    }
}

/// A text file inside the root.
fn text(root: &Path, real: &Path, limit: u64) -> Result<String, RepositoryError> {
    let path = inside(root, real)?;
    let file = fs::File::open(&path).map_err(io(&path))?;
    if !file.metadata().map_err(io(&path))?.is_file() {
        return Err(io(&path)(std::io::Error::other("not a regular file")));
    }
    let mut text = String::new();
    file.take(limit + 1).read_to_string(&mut text).map_err(io(&path))?;
    if text.len() as u64 > limit {
        return Err(RepositoryError::TooLarge { path, limit });
    }
    Ok(text)
}

/// The model files of the versions that the policy asks for.
fn versions(root: &Path, folder: &Path, config: &ModelConfig) -> Result<BTreeMap<u64, PathBuf>, RepositoryError> {
    let file = if config.default_model_filename.is_empty() { "model.onnx" } else { &config.default_model_filename };
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(io(folder))? {
        let entry = entry.map_err(io(folder))?;
        let Some(number) = entry.file_name().to_str().and_then(version_number) else { continue };
        let path = entry.path().join(file);
        match path.canonicalize() {
            Ok(real) => {
                let real = inside(root, &real)?;
                if !fs::metadata(&real).map_err(io(&real))?.is_file() {
                    return Err(io(&real)(std::io::Error::other("not a regular file")));
                }
                found.insert(number, real);
            }
            // A version that is being put there.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(io(&path)(e)),
        }
    }
    let policy = config.version_policy.as_ref().and_then(|policy| policy.policy_choice.as_ref());
    let wanted = match policy {
        Some(PolicyChoice::All(_)) => found,
        Some(PolicyChoice::Specific(specific)) => {
            let mut chosen = BTreeMap::new();
            for number in &specific.versions {
                let version = u64::try_from(*number).ok().and_then(|number| Some((number, found.remove(&number)?)));
                let Some((number, path)) = version else {
                    let wanted = format!("version {number}, which its `version_policy` asks for");
                    let (path, file) = (folder.to_path_buf(), file.to_owned());
                    return Err(RepositoryError::NoVersion { path, wanted, file });
                };
                chosen.insert(number, path);
            }
            chosen
        }
        Some(PolicyChoice::Latest(latest)) => newest(found, latest.num_versions.max(1) as usize),
        None => newest(found, 1),
    };
    if wanted.is_empty() {
        let wanted = "numbered folder with a model".to_owned();
        return Err(RepositoryError::NoVersion { path: folder.to_path_buf(), wanted, file: file.to_owned() });
    }
    Ok(wanted)
}

fn newest(mut versions: BTreeMap<u64, PathBuf>, count: usize) -> BTreeMap<u64, PathBuf> {
    while versions.len() > count {
        versions.pop_first();
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }

    #[test]
    fn models_versions_and_labels_are_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        for file in ["m/1/model.onnx", "m/3/model.onnx", "m/10/model.onnx", "m/new/model.onnx", "other/1/model.onnx"] {
            write(root, file, "x");
        }
        write(root, "m/4/half.tmp", "not there yet");
        write(root, "m/labels.txt", "cat\ndog\r\n");
        write(root, ".git/1/model.onnx", "x");
        write(root, "a name/1/model.onnx", "x");
        write(root, "readme.txt", "x");
        let source = Source::repository(root).expect("a folder");
        assert_eq!(source.names().expect("listed"), ["m", "other"]);
        let numbers = |config: &str| -> Vec<u64> {
            write(root, "m/config.pbtxt", config);
            source.read("m").expect(config).versions.keys().copied().collect()
        };
        assert_eq!(numbers(""), [10]);
        assert_eq!(numbers("version_policy { latest { num_versions: 2 } }"), [3, 10]);
        assert_eq!(numbers("version_policy { all { } }"), [1, 3, 10]);
        assert_eq!(numbers("version_policy { specific { versions: [ 3, 1 ] } }"), [1, 3]);
        write(root, "m/config.pbtxt", "version_policy { specific { versions: 4 } }");
        assert!(matches!(source.read("m"), Err(RepositoryError::NoVersion { .. })));
        write(root, "m/config.pbtxt", "output { name: \"y\" label_filename: \"labels.txt\" }");
        assert_eq!(source.read("m").expect("sound").labels["y"], ["cat", "dog"]);
        assert!(source.read("other").expect("sound").config.is_none());
        assert!(matches!(source.read("absent"), Err(RepositoryError::Unknown { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn nothing_outside_the_root_is_read() {
        use std::os::unix::fs::symlink;
        let outside = tempfile::tempdir().expect("a folder");
        write(outside.path(), "m/1/model.onnx", "x");
        write(outside.path(), "secret", "x");
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let source = Source::repository(root).expect("a folder");
        symlink(outside.path().join("m"), root.join("folder")).expect("a link");
        fs::create_dir_all(root.join("file/1")).expect("made");
        symlink(outside.path().join("m/1/model.onnx"), root.join("file/1/model.onnx")).expect("a link");
        write(root, "labels/1/model.onnx", "x");
        let labels =
            format!("output {{ name: \"y\" label_filename: \"{}\" }}", outside.path().join("secret").display());
        write(root, "labels/config.pbtxt", &labels);
        write(root, "config/1/model.onnx", "x");
        symlink(outside.path().join("secret"), root.join("config/config.pbtxt")).expect("a link");
        for name in ["folder", "file", "labels", "config"] {
            assert!(
                matches!(source.read(name), Err(RepositoryError::Outside { .. })),
                "{name}: {:?}",
                source.read(name)
            );
        }
        for name in ["..", "../m", "/etc", ""] {
            assert!(matches!(source.read(name), Err(RepositoryError::Unknown { .. })), "{name}");
        }
        // A link that stays inside, as Kubernetes mounts volumes.
        write(root, "real/1/model.onnx", "x");
        symlink(root.join("real"), root.join("linked")).expect("a link");
        assert!(source.read("linked").is_ok());
    }

    #[test]
    fn a_changed_file_changes_the_stamp() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        write(root, "m/1/model.onnx", "x");
        let source = Source::repository(root).expect("a folder");
        let before = source.stamp("m");
        assert_eq!(before, source.stamp("m"));
        write(root, "m/1/model.onnx", "xy");
        let changed = source.stamp("m");
        assert_ne!(before, changed);
        write(root, "m/2/model.onnx", "x");
        assert_ne!(changed, source.stamp("m"));
    }
}
