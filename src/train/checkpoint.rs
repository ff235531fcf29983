//! A training on disk after each epoch: weights, running statistics, momentum, and what was measured.

use super::{Epoch, TrainError};
use crate::durable;
use crate::plugin::{Role, StateArray};
use ndarray::ArrayD;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensorError, SafeTensors};
use std::collections::HashMap;
use std::path::Path;

const METADATA: &str = "isal";
const VERSION: u32 = 1;

/// Everything from which a training goes on as if it had never stopped.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Checkpoint {
    /// All that the course of the training depends on; another key is another training.
    pub key: String,
    /// What the epochs so far measured.
    pub history: Vec<Epoch>,
    /// Parameters, statistics and momentum buffers.
    pub state: Vec<StateArray>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Header {
    version: u32,
    key: String,
    history: Vec<Epoch>,
}

const ROLES: [(Role, &str); 3] =
    [(Role::Parameter, "parameter/"), (Role::Statistic, "statistic/"), (Role::Momentum, "momentum/")];

impl Checkpoint {
    /// Writes the checkpoint, all or nothing.
    pub(super) fn save(&self, path: &Path) -> Result<(), TrainError> {
        let broken = |source| TrainError::Checkpoint { path: path.to_path_buf(), source: Box::new(source) };
        let header = Header { version: VERSION, key: self.key.clone(), history: self.history.clone() };
        let header = serde_json::to_string(&header)
            .map_err(|source| TrainError::Checkpoint { path: path.to_path_buf(), source: Box::new(source) })?;
        let arrays: Vec<(String, Vec<usize>, Vec<f32>)> = self
            .state
            .iter()
            .filter_map(|array| {
                let prefix = ROLES.iter().find(|(role, _)| *role == array.role)?.1;
                let shape = array.values.shape().to_vec();
                Some((format!("{prefix}{}", array.name), shape, array.values.iter().copied().collect()))
            })
            .collect();
        let views = arrays
            .iter()
            .map(|(name, shape, values)| {
                Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(values))?))
            })
            .collect::<Result<Vec<_>, SafeTensorError>>()
            .map_err(broken)?;
        let metadata = Some(HashMap::from([(METADATA.to_owned(), header)]));
        let bytes = safetensors::serialize(views, metadata).map_err(broken)?;
        Ok(durable::write_bytes(path, &bytes)?)
    }

    /// Reads a checkpoint; `None` where there is no file.
    ///
    /// # Errors
    /// A file that is broken or of another version: it is never silently started over.
    pub(super) fn load(path: &Path) -> Result<Option<Checkpoint>, TrainError> {
        let broken = |source: Box<dyn std::error::Error + Send + Sync>| TrainError::Checkpoint {
            path: path.to_path_buf(),
            source,
        };
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(broken(Box::new(e))),
        };
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| broken(Box::new(e)))?;
        let header = metadata
            .metadata()
            .as_ref()
            .and_then(|m| m.get(METADATA))
            .ok_or_else(|| broken("it was not written by isal".into()))?;
        let header: Header = serde_json::from_str(header).map_err(|e| broken(Box::new(e)))?;
        if header.version != VERSION {
            return Err(broken(format!("version {}, expected {VERSION}", header.version).into()));
        }
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| broken(Box::new(e)))?;
        let mut state = Vec::new();
        for (name, view) in tensors.iter() {
            let known = ROLES.iter().find_map(|(role, prefix)| Some((*role, name.strip_prefix(prefix)?)));
            let (role, name) = known.ok_or_else(|| broken(format!("unexpected tensor `{name}`").into()))?;
            let values: Vec<f32> = bytemuck::pod_collect_to_vec(view.data());
            let values = ArrayD::from_shape_vec(view.shape(), values).map_err(|e| broken(Box::new(e)))?;
            state.push(StateArray { name: name.to_owned(), role, values });
        }
        state.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Some(Checkpoint { key: header.key, history: header.history, state }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_gives_back_every_bit() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("checkpoint.safetensors");
        assert_eq!(Checkpoint::load(&path).expect("no file is no error"), None);
        let array =
            |role, value: f32| StateArray { name: "w".into(), role, values: ArrayD::from_elem(vec![2, 1], value) };
        let epoch = Epoch {
            epoch: 1,
            learning_rate: 0.1,
            train_loss: 0.3,
            train_accuracy: Some(0.9),
            test: None,
            seconds: 1.5,
        };
        let mut kept = Checkpoint {
            key: "k".into(),
            history: vec![epoch],
            state: vec![array(Role::Parameter, 0.1), array(Role::Momentum, f32::MIN_POSITIVE)],
        };
        kept.save(&path).expect("saved");
        let mut read = Checkpoint::load(&path).expect("read").expect("there");
        let order = |a: &StateArray| a.role == Role::Momentum;
        kept.state.sort_by_key(order);
        read.state.sort_by_key(order);
        assert_eq!(read, kept);
        std::fs::write(&path, b"broken").expect("written");
        assert!(Checkpoint::load(&path).is_err());
    }
}
