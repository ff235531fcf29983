//! KServe's manifest over a model repository.

use super::DeployError;
use crate::durable;
use isal_exporters::serving::{InferenceService, Requests};
use std::path::{Path, PathBuf};

/// What is served, and as what.
#[derive(Debug, Clone)]
pub struct KserveOptions {
    /// The repository, on this machine.
    pub repository: PathBuf,
    /// Where the cluster finds it.
    pub storage: String,
    /// Name of the service.
    pub name: String,
    /// Its namespace, where not the cluster's default.
    pub namespace: Option<String>,
    /// What its pod asks for.
    pub requests: Requests,
    /// The file to write.
    pub out: PathBuf,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Manifest {
    /// Version of this object.
    pub schema: &'static str,
    /// The manifest.
    pub file: PathBuf,
    /// Name of the service.
    pub name: String,
    /// Where the cluster looks for the repository.
    pub storage_uri: String,
    /// The models that it serves.
    pub models: Vec<String>,
}

/// Writes the manifest.
///
/// # Errors
/// [`DeployError`]: a folder that is no repository, names that no cluster takes, a file that is there already.
pub fn kserve(options: &KserveOptions) -> Result<Manifest, DeployError> {
    let KserveOptions { repository, storage, name, namespace, requests, out } = options;
    let models = models(repository)?;
    let service = InferenceService::new(name, namespace.as_deref(), storage, requests.clone())?;
    if out.symlink_metadata().is_ok() {
        return Err(DeployError::Exists { folder: out.clone() });
    }
    durable::write_bytes(out, service.to_string().as_bytes())?;
    let (file, name, storage_uri) = (out.clone(), name.clone(), storage.clone());
    Ok(Manifest { schema: "isal-export-kserve/1", file, name, storage_uri, models })
}

/// Names of the models in a repository.
fn models(repository: &Path) -> Result<Vec<String>, DeployError> {
    let entries = std::fs::read_dir(repository).map_err(DeployError::io("list", repository))?;
    let configured = entries.flatten().filter(|entry| entry.path().join("config.pbtxt").is_file());
    let mut names: Vec<String> = configured.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    if names.is_empty() {
        return Err(DeployError::NoRepository { folder: repository.to_path_buf() });
    }
    Ok(names)
}
