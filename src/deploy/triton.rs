//! A Triton model repository: a folder a model, with its configuration, its labels, a README and numbered versions.

use super::folder::Unfinished;
use super::given::{Files, Read};
use super::{DeployError, GivenFiles, Part, readme};
use crate::network::NetworkError;
use crate::observe::Observer;
use isal_exporters::serving::{LABELS, TritonConfig, TritonOptions};
use std::fs;
use std::path::{Path, PathBuf};

/// What is written into a repository, and how it is served.
#[derive(Debug, Clone)]
pub struct TritonExport {
    /// The files.
    pub files: GivenFiles,
    /// Name of the model in the repository; `NAME-influence` and `NAME-shadow` are named after it.
    pub name: String,
    /// How it is served.
    pub options: TritonOptions,
    /// Whether models that are there already get a version more.
    pub new_version: bool,
    /// The repository.
    pub repository: PathBuf,
}

/// A model in a repository.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ServedModel {
    /// Its name.
    pub name: String,
    /// What it is.
    pub part: Part,
    /// The version that was written.
    pub version: u64,
    /// Its folder.
    pub folder: PathBuf,
    /// Most images a batch; 0 where Triton does not batch.
    pub max_batch_size: usize,
    /// Why it does not, though it was to.
    pub unbatched: Option<String>,
    /// Whether the names of the classes are with it.
    pub labels: bool,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TritonRepository {
    /// Version of this object.
    pub schema: &'static str,
    /// The repository.
    pub repository: PathBuf,
    /// Its models that were written.
    pub models: Vec<ServedModel>,
    /// How influence follows from the answers of a model and its shadow.
    pub formula: Option<String>,
    /// What `step` stands for in it.
    pub step: Option<String>,
}

/// Writes models into a repository. Each appears whole, with its configuration; what is there already stays as it is.
///
/// # Errors
/// [`DeployError`]; nothing is written where one of the models cannot be.
pub fn triton(export: &TritonExport, observer: &dyn Observer) -> Result<TritonRepository, DeployError> {
    let files = Files::read(&export.files, observer)?;
    let mut planned = Vec::new();
    for read in &files.parts {
        planned.push(Planned::of(read, &files, export)?);
    }
    let mut models = Vec::new();
    for planned in planned {
        models.push(planned.write(&files, export)?);
    }
    let shadow = files.part(Part::Shadow);
    let property = |key: &str| shadow.and_then(|read| read.metadata.get(key)).map(str::to_owned);
    Ok(TritonRepository {
        schema: "isal-export-triton/1",
        repository: export.repository.clone(),
        models,
        formula: property("formula"),
        step: property("step"),
    })
}

/// A model that can be written.
struct Planned<'a> {
    read: &'a Read,
    config: TritonConfig,
    folder: PathBuf,
    /// Above 1 where the folder is there.
    version: u64,
    adds: bool,
}

impl Planned<'_> {
    fn of<'a>(read: &'a Read, files: &Files, export: &TritonExport) -> Result<Planned<'a>, DeployError> {
        let name = format!("{}{}", export.name, read.part.suffix());
        let scores = files.scores.as_ref().filter(|scores| !scores.names.is_empty());
        let class_scores = scores.map(|scores| scores.output.as_str());
        let mut config = TritonConfig::of(&name, &read.model, class_scores, &export.options)?;
        for (key, value) in &read.metadata.0 {
            // What a client needs; the file itself holds the rest.
            if ["form", "sign", "step", "formula"].contains(&key.as_str()) {
                config.parameters.insert(format!("isal.influence.{key}"), value.clone());
            }
        }
        let folder = export.repository.join(&name);
        let adds = folder.symlink_metadata().is_ok();
        let version = match (adds, export.new_version) {
            (false, _) => 1,
            (true, false) => return Err(DeployError::ModelExists { folder }),
            (true, true) => {
                let names = scores.map(|scores| scores.names.as_slice()).unwrap_or_default();
                next_version(&folder, &config, names)?
            }
        };
        Ok(Planned { read, config, folder, version, adds })
    }

    fn write(self, files: &Files, export: &TritonExport) -> Result<ServedModel, DeployError> {
        let scores = files.scores.as_ref();
        let names = scores.map(|scores| scores.names.as_slice()).unwrap_or_default();
        let readme = readme::of_triton(self.read, &self.config, &export.name, files);
        let model =
            |path: PathBuf| self.read.model.write(&path).map_err(|source| NetworkError::model(&self.read.path, source));
        if self.adds {
            // The version last: a server takes it as soon as it is there.
            let version = Unfinished::begin(&self.folder.join(self.version.to_string()))?;
            model(version.path("model.onnx")?)?;
            let readme_path = self.folder.join("README.md");
            crate::durable::write_bytes(&readme_path, readme.as_bytes())?;
            let config = self.folder.join("config.pbtxt");
            crate::durable::write_bytes(&config, self.config.to_string().as_bytes())?;
            version.finish()?;
        } else {
            let folder = Unfinished::begin(&self.folder)?;
            folder.write("config.pbtxt", &self.config.to_string())?;
            folder.write("README.md", &readme)?;
            if !names.is_empty() {
                folder.write(LABELS, &(names.join("\n") + "\n"))?;
            }
            model(folder.path(&format!("{}/model.onnx", self.version))?)?;
            folder.finish()?;
        }
        Ok(ServedModel {
            name: self.config.name.clone(),
            part: self.read.part,
            version: self.version,
            folder: self.folder,
            max_batch_size: self.config.max_batch_size,
            unbatched: self.config.unbatched,
            labels: !names.is_empty(),
        })
    }
}

/// The lines of a configuration that clients depend on: what a model is called, takes and gives.
fn for_clients(config: &str) -> Vec<&str> {
    let own = |line: &&str| !["parameters", "version_policy", "instance_group"].iter().any(|key| line.starts_with(key));
    config.lines().filter(own).collect()
}

/// Refuses a file that says otherwise than it has to.
fn same_lines(path: &Path, found: &[&str], expected: &[&str]) -> Result<(), DeployError> {
    for line in 0..found.len().max(expected.len()) {
        let at = |lines: &[&str]| lines.get(line).copied().unwrap_or("nothing").trim().to_owned();
        let (found, expected) = (at(found), at(expected));
        if found != expected {
            return Err(DeployError::OtherConfig { path: path.to_path_buf(), line: line + 1, found, expected });
        }
    }
    Ok(())
}

/// The version after the newest of a model that is there, which has to be served as the new one will be.
fn next_version(folder: &Path, config: &TritonConfig, names: &[String]) -> Result<u64, DeployError> {
    let path = folder.join("config.pbtxt");
    let there = match fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(DeployError::NoModel { folder: folder.to_path_buf() });
        }
        read => read.map_err(DeployError::io("read", &path))?,
    };
    let needed = config.to_string();
    same_lines(&path, &for_clients(&there), &for_clients(&needed))?;
    if config.outputs.iter().any(|output| output.labelled) {
        let path = folder.join(LABELS);
        let there = fs::read_to_string(&path).map_err(DeployError::io("read", &path))?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        same_lines(&path, &there.lines().collect::<Vec<_>>(), &names)?;
    }
    let entries = fs::read_dir(folder).map_err(DeployError::io("list", folder))?;
    let versions = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
    Ok(versions.max().unwrap_or(0) + 1)
}
