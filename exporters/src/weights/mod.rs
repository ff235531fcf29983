//! Weights between a graph and a file, by name.
//!
//! The weights of a model are its floating-point initializers. A file fits when it names exactly those, in their
//! dims, with one exception: PyTorch counts the training steps of each BatchNorm in `num_batches_tracked`, for which
//! ONNX has no place; those of the model's own BatchNorms are passed over. A narrower type in the file is widened,
//! which is exact; nothing is ever rounded.
//!
//! Read are safetensors, what `torch.save` writes (a state dict, or a checkpoint that has one), TorchScript's archives and
//! libtorch's; nothing in a file is run ([`TorchError`]). [`Tensors::named_for`] puts the names of others into the zoo's.
//! Written are safetensors, which PyTorch loads by `safetensors.torch.load_file(path)`.

mod archive;
mod names;
mod stored;
mod torch;

pub use names::Naming;
pub use stored::Stored;
pub use torch::TorchError;

use crate::{Error, Mismatch, Result};
use indexmap::IndexMap;
use isal_onnx::{DataType, Model};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Tensors of a file by name.
#[derive(Debug, Clone)]
pub struct Tensors<'a> {
    tensors: IndexMap<String, Entry<'a>>,
}

#[derive(Debug, Clone)]
struct Entry<'a> {
    /// Name in the file.
    original: String,
    stored: Stored<'a>,
}

impl<'a> Tensors<'a> {
    /// The tensors of a file of any form that is read, which its first bytes tell.
    ///
    /// # Errors
    /// [`Error::Torch`], [`Error::Safetensors`].
    pub fn read(file: &'a [u8]) -> Result<Self> {
        let stored: Vec<(String, Stored)> = if file.starts_with(b"PK\x03\x04") {
            torch::tensors(file)?
        } else if torch::is_legacy(file) {
            return Err(TorchError::Legacy.into());
        } else {
            let views = SafeTensors::deserialize(file)?.tensors();
            let rows = |view: &TensorView<'a>| Stored::rows(view.dtype(), view.shape().to_vec(), view.data());
            views.iter().map(|(name, view)| (name.clone(), rows(view))).collect()
        };
        // A name that is there twice is the last one's, as in Python.
        let entry = |(name, stored): (String, Stored<'a>)| (name.clone(), Entry { original: name, stored });
        Ok(Tensors { tensors: stored.into_iter().map(entry).collect() })
    }

    /// The tensors under the model's names, and whose names they had. What wrappers put before every name
    /// (`module.`, `_orig_mod.`, `model.`) is left away. A name that is unknown, or whose new name is taken, stays.
    pub fn named_for(self, model: &Model, naming: Naming) -> (Self, Naming) {
        let names: Vec<&str> = self.tensors.keys().map(String::as_str).collect();
        let of_model: HashSet<&str> = weights_of(model).map(|(name, _)| name).collect();
        let (naming, new) = names::renamed(&names, &of_model, naming);
        let mut tensors: IndexMap<String, Entry> = IndexMap::with_capacity(new.len());
        for (name, entry) in new.into_iter().zip(self.tensors.into_values()) {
            let name = if tensors.contains_key(&name) { entry.original.clone() } else { name };
            tensors.insert(name, entry);
        }
        (Tensors { tensors }, naming)
    }

    /// A tensor by its name.
    pub fn get(&self, name: &str) -> Option<&Stored<'a>> {
        self.tensors.get(name).map(|entry| &entry.stored)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Puts the tensors into a model, all of its weights but those of the names in `besides`, whose tensors are passed over.
    /// How many were put there.
    ///
    /// # Errors
    /// [`Error::Weights`] with everything that does not fit, what is unexpected under the names in the file; the model is
    /// then as it was.
    pub fn fill(mut self, model: &mut Model, besides: &[String]) -> Result<usize> {
        let (mut fitting, mut missing, mut mismatched) = (Vec::new(), Vec::new(), Vec::new());
        for (name, weight) in weights_of(model) {
            if let Some(prefix) = name.strip_suffix("running_mean") {
                let steps = format!("{prefix}num_batches_tracked");
                if self.get(&steps).is_some_and(|t| t.dtype() == Dtype::I64) {
                    self.tensors.swap_remove(&steps);
                }
            }
            let found = self.tensors.swap_remove(name);
            if besides.iter().any(|other| other == name) {
                continue;
            }
            let Some(Entry { stored, .. }) = found else {
                missing.push(name.to_owned());
                continue;
            };
            match stored.widened(weight) {
                Some(tensor) => fitting.push((name.to_owned(), tensor)),
                None => mismatched.push(Mismatch {
                    name: name.to_owned(),
                    expected: weight.dims().to_vec(),
                    expected_type: weight.data_type(),
                    found: stored.dims().to_vec(),
                    found_type: stored.dtype(),
                }),
            }
        }
        if !missing.is_empty() || !self.tensors.is_empty() || !mismatched.is_empty() {
            let mut unexpected: Vec<String> = self.tensors.into_values().map(|entry| entry.original).collect();
            unexpected.sort();
            return Err(Error::Weights { missing, unexpected, mismatched });
        }
        let count = fitting.len();
        model.graph.initializers.extend(fitting);
        Ok(count)
    }
}

fn weights_of(model: &Model) -> impl Iterator<Item = (&str, &isal_onnx::Tensor)> {
    model.graph.initializers.iter().filter(|(_, t)| t.data_type().is_float()).map(|(name, t)| (name.as_str(), t))
}

/// Reads a file into a model, whose names it has.
///
/// # Errors
/// [`Error::Io`], [`Error::Safetensors`], [`Error::Torch`], and [`Error::Weights`] with everything that does not fit; the
/// model is then as it was.
pub fn load(model: &mut Model, path: &Path) -> Result<()> {
    let bytes = std::fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    from_bytes(model, &bytes)
}

/// Puts the tensors of a file, given as bytes, into a model, whose names it has.
///
/// # Errors
/// [`Error::Safetensors`], [`Error::Torch`], [`Error::Weights`], as for [`load`].
pub fn from_bytes(model: &mut Model, bytes: &[u8]) -> Result<()> {
    Tensors::read(bytes)?.fill(model, &[]).map(drop)
}

/// The weights of a model as the bytes of a safetensors file that PyTorch loads by name.
///
/// # Errors
/// [`Error::Safetensors`] when there are too many for its header.
pub fn to_bytes(model: &Model) -> Result<Vec<u8>> {
    let mut views = Vec::new();
    for (name, tensor) in &model.graph.initializers {
        let dtype = match tensor.data_type() {
            DataType::Float => Dtype::F32,
            DataType::Double => Dtype::F64,
            DataType::Float16 => Dtype::F16,
            DataType::Bfloat16 => Dtype::BF16,
            _ => continue,
        };
        views.push((name.as_str(), TensorView::new(dtype, tensor.dims().to_vec(), tensor.bytes())?));
    }
    // What PyTorch's own writers put there; some loaders ask for it.
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    Ok(safetensors::serialize(views, Some(format))?)
}

/// Writes the weights of a model to a safetensors file, which appears whole or not at all.
///
/// # Errors
/// [`Error::Safetensors`], [`Error::Io`].
pub fn save(model: &Model, path: &Path) -> Result<()> {
    let bytes = to_bytes(model)?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || {
        // The permissions of any new file; a temporary one would be readable to its owner alone.
        let permissions = std::fs::Permissions::from_mode(0o666);
        let mut file = tempfile::Builder::new().permissions(permissions).tempfile_in(folder)?;
        file.write_all(&bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    write().map_err(|source| Error::Io { path: path.to_owned(), source })
}
