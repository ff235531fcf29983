//! Label Studio's ML backend: predictions for its tasks, with the influence as their score.
//!
//! The more negative an influence, the more labelling the image is expected to lower the loss on the reference set: ordered by
//! prediction score, ascending, Label Studio shows the most useful image first.
//!
//! What is known of an image comes from a score table where it is in one, and from the model else; tasks are predicted beside each other,
//! and the model's queue makes batches of them. Files are read inside the folder that the user names and nowhere else; addresses on the
//! network are not fetched. A task that gives no prediction has an empty one, and the log says why.

mod interface;
mod scored;

pub(super) use interface::Interface;

use super::Shared;
use super::datatype::Datatype;
use super::infer;
use super::model::Version;
use super::refusal::Refusal;
use super::tensor::{Request, Tensor};
use crate::annotation_tools::percent_decoded;
use crate::runtime::joined;
use crate::scores::ScoreError;
use futures_util::stream::{self, StreamExt as _};
use scored::Scored;
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Tasks of one request that are predicted beside each other.
const AT_A_TIME: usize = 64;
/// Reasons for empty predictions that one request puts into the log.
const SAID: usize = 5;

/// What Label Studio is answered from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelStudioOptions {
    /// The model that predicts; the only one that gives influences if absent.
    pub model: Option<String>,
    /// The folder inside which images of tasks are read; no file is read if absent.
    pub files: Option<PathBuf>,
    /// A score table, or the folder of `isal score pool` that one lies in.
    pub scores: Option<PathBuf>,
}

/// Why Label Studio cannot be answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabelStudioError {
    /// The folder of images is not there.
    #[error("cannot read the folder of Label Studio's files `{}`: {source}", path.display())]
    Files {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The score table cannot be read.
    #[error(transparent)]
    Scores(#[from] ScoreError),
    /// No model, or several, that could predict.
    #[error(
        "which model predicts for Label Studio? name one that gives influences with `--label-studio-model`; there are {known}"
    )]
    Model {
        /// Those that there are.
        known: String,
    },
}

/// What predicts for Label Studio.
#[derive(Debug)]
pub(super) struct LabelStudio {
    model: String,
    files: Option<PathBuf>,
    scored: Option<Scored>,
}

/// What is known of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Known {
    influence: Option<f64>,
    /// The class that the model believes, by its number.
    class: Option<usize>,
}

impl LabelStudio {
    /// Opens what is answered from; `influential` are the names of the models that give influences.
    pub(super) fn open(options: &LabelStudioOptions, influential: &[String]) -> Result<LabelStudio, LabelStudioError> {
        let files = options.files.as_ref().map(|path| {
            let real = path.canonicalize().and_then(|real| std::fs::read_dir(&real).map(|_| real));
            real.map_err(|source| LabelStudioError::Files { path: path.clone(), source })
        });
        let model = match (&options.model, influential) {
            (Some(model), _) => model.clone(),
            (None, [model]) => model.clone(),
            (None, all) => {
                let known = all.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                let known = if known.is_empty() { "none".to_owned() } else { known };
                return Err(LabelStudioError::Model { known });
            }
        };
        let scored = options.scores.as_deref().map(Scored::read).transpose()?;
        Ok(LabelStudio { model, files: files.transpose()?, scored })
    }

    /// The model as Label Studio is told of it: another where another graph or table predicts, so that it asks again.
    pub(super) fn version(&self, shared: &Shared) -> Result<String, Refusal> {
        let version = shared.registry.version(&self.model, "")?;
        Ok(self.named(&version))
    }

    fn named(&self, version: &Version) -> String {
        let short = |sha256: &str| sha256.chars().take(8).collect::<String>();
        let of_graph = version.sha256.as_deref().map(|sha256| format!(" {}", short(sha256))).unwrap_or_default();
        let of_table = self.scored.as_ref().map(|scored| format!(", scores {}", short(&scored.sha256)));
        format!("{}/{}{of_graph}{}", version.name, version.number, of_table.unwrap_or_default())
    }

    /// A prediction for each task, in order.
    pub(super) async fn predict(
        &self,
        shared: &Shared,
        tasks: &[Value],
        interface: &Interface,
    ) -> Result<Vec<Value>, Refusal> {
        let version = shared.registry.version(&self.model, "")?;
        let named = self.named(&version);
        let classes = classes(&version);
        let mut each = Vec::with_capacity(tasks.len());
        for task in tasks {
            each.push(self.known(shared, &version, task, interface));
        }
        let known: Vec<Result<Known, String>> = stream::iter(each).buffered(AT_A_TIME).collect().await;
        let failed: Vec<&String> = known.iter().filter_map(|known| known.as_ref().err()).collect();
        if !failed.is_empty() {
            let first = failed.iter().take(SAID).map(|reason| reason.as_str()).collect::<Vec<_>>().join("; ");
            tracing::warn!(tasks = tasks.len(), without = failed.len(), first, "tasks without a prediction");
        }
        let prediction = |known: Result<Known, String>| {
            let known = known.unwrap_or(Known { influence: None, class: None });
            let name = known.class.and_then(|class| classes.get(class));
            let result: Vec<Value> = name.and_then(|name| interface.choice(name)).into_iter().collect();
            json!({"model_version": named, "score": known.influence, "result": result})
        };
        Ok(known.into_iter().map(prediction).collect())
    }

    async fn known(
        &self,
        shared: &Shared,
        version: &Arc<Version>,
        task: &Value,
        interface: &Interface,
    ) -> Result<Known, String> {
        let data = &task["data"];
        let address = interface.address(data).ok_or_else(|| "a task names no image".to_owned())?;
        let path = path_of(address);
        if let Some(scored) = &self.scored
            && let Some(known) = scored.find(data["id"].as_str(), &path)
        {
            return Ok(known);
        }
        let Some(files) = &self.files else {
            return Err(format!("`{path}` is not in the score table, and no folder of files is named"));
        };
        if address.starts_with("http://") || address.starts_with("https://") {
            return Err(format!("`{address}` lies on the network, from where nothing is fetched"));
        }
        let (root, wanted, limit) = (files.clone(), path.clone(), shared.limits.image_bytes);
        let read = tokio::task::spawn_blocking(move || read_inside(&root, &wanted, limit));
        let file = read.await.map_err(|e| e.to_string())?.map_err(|reason| format!("`{path}` {reason}"))?;
        predicted(shared, version, &file).await.map_err(|refusal| format!("`{path}`: {refusal}"))
    }
}

/// Names of the model's classes.
fn classes(version: &Version) -> &[String] {
    version.labels.iter().find(|labels| !labels.is_empty()).map_or(&[], Vec::as_slice)
}

/// The path in an address of Label Studio's: of a local file, of an uploaded one, or a plain one.
fn path_of(address: &str) -> String {
    let local = address.split_once("?d=").map(|(_, path)| path.split('&').next().unwrap_or(path));
    let path = local.unwrap_or_else(|| address.split(['?', '#']).next().unwrap_or(address));
    percent_decoded(path.strip_prefix("/data/").filter(|_| local.is_none()).unwrap_or(path))
}

/// The file that `path` means inside `root`: relative to it, or to the root of the file system, which Label Studio may call its
/// document root.
fn read_inside(root: &Path, path: &str, limit: u64) -> Result<Vec<u8>, &'static str> {
    let below = path.trim_start_matches('/');
    let candidates = [root.join(below), Path::new("/").join(below)];
    let real = candidates.iter().filter_map(|path| path.canonicalize().ok()).find(|real| real.starts_with(root));
    let real = real.ok_or("is no file inside the folder of files")?;
    let is_file = std::fs::metadata(&real).is_ok_and(|metadata| metadata.is_file());
    if !is_file {
        return Err("is no file");
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(&real).map_err(|_| "cannot be read")?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|_| "cannot be read")?;
    if bytes.len() as u64 > limit { Err("is larger than an image may be") } else { Ok(bytes) }
}

/// What the model says of an image file.
async fn predicted(shared: &Shared, version: &Arc<Version>, file: &[u8]) -> Result<Known, Refusal> {
    let name = version.signature.inputs.first().map(|input| input.name.clone()).unwrap_or_default();
    if version.recipe.is_none() {
        let reason = "the model says nothing of its preprocessing, so it takes no image files".to_owned();
        return Err(Refusal::Data { name, reason });
    }
    let data = joined(std::iter::once(file));
    let inputs = vec![Tensor { name, datatype: Datatype::Bytes, shape: vec![1], data }];
    let (model, number) = (version.name.clone(), version.number.to_string());
    // An image that lies in a labelling tool need not be kept for labelling.
    let request = Request { model, version: number, inputs, not_kept: true, ..Request::default() };
    let answer = infer::infer(shared, request).await?;
    let numbers = |at: usize| answer.outputs.get(at).and_then(super::classification::numbers);
    let influence = version.influence_output().and_then(numbers).and_then(|influence| influence.first().copied());
    let scores = version.labels.iter().position(|labels| !labels.is_empty()).and_then(numbers);
    let class = scores.and_then(|scores| (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])));
    Ok(Known { influence: influence.filter(|influence| influence.is_finite()), class })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_paths() {
        for (address, path) in [
            ("/data/local-files/?d=runs/to-label/0001-a%20b.png", "runs/to-label/0001-a b.png"),
            ("/data/local-files/?d=a.png&x=1", "a.png"),
            ("/data/upload/3/1a2b3c4d-c.png", "upload/3/1a2b3c4d-c.png"),
            ("pool/a.png", "pool/a.png"),
            ("https://host/images/c.png?token=x", "https://host/images/c.png"),
        ] {
            assert_eq!(path_of(address), path);
        }
    }

    #[cfg(unix)]
    #[test]
    fn nothing_outside_the_folder_is_read() {
        let outside = tempfile::tempdir().expect("a folder");
        std::fs::write(outside.path().join("secret"), "x").expect("written");
        let inside = tempfile::tempdir().expect("a folder");
        let root = inside.path().canonicalize().expect("a folder");
        std::fs::create_dir(root.join("a")).expect("made");
        std::fs::write(root.join("a/b.png"), "image").expect("written");
        std::os::unix::fs::symlink(outside.path().join("secret"), root.join("link")).expect("a link");
        let absolute = root.join("a/b.png").display().to_string();
        for path in ["a/b.png", "/a/b.png", "a/../a/b.png", &absolute, absolute.trim_start_matches('/')] {
            assert_eq!(read_inside(&root, path, 100), Ok(b"image".to_vec()), "{path}");
        }
        let climbing = format!("../{}/secret", outside.path().file_name().expect("a name").to_string_lossy());
        let secret = outside.path().join("secret").display().to_string();
        for path in ["link", "absent", "a", "", "/etc/hostname", &climbing, &secret] {
            assert!(read_inside(&root, path, 100).is_err(), "{path}");
        }
        assert_eq!(read_inside(&root, "a/b.png", 4), Err("is larger than an image may be"));
    }
}
