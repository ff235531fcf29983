//! Weights between a graph and a safetensors file, by name.
//!
//! The weights of a model are its floating-point initializers. A file fits when it names exactly those, in their
//! dims, with one exception: PyTorch counts the training steps of each BatchNorm in `num_batches_tracked`, for which
//! ONNX has no place; those of the model's own BatchNorms are passed over. A narrower type in the file is widened,
//! which is exact; nothing is ever rounded.
//!
//! A PyTorch user writes such a file by `safetensors.torch.save_file(model.state_dict(), path)`.

use crate::{Error, Mismatch, Result};
use half::{bf16, f16};
use isal_onnx::{DataType, Model, Tensor};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Reads a safetensors file into a model.
///
/// # Errors
/// [`Error::Io`], [`Error::Safetensors`], and [`Error::Weights`] with everything that does not fit; the model is then
/// as it was.
pub fn load(model: &mut Model, path: &Path) -> Result<()> {
    let bytes = std::fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    from_bytes(model, &bytes)
}

/// Puts the tensors of a safetensors file, given as bytes, into a model.
///
/// # Errors
/// [`Error::Safetensors`], [`Error::Weights`], as for [`load`].
pub fn from_bytes(model: &mut Model, bytes: &[u8]) -> Result<()> {
    let file = SafeTensors::deserialize(bytes)?;
    let mut tensors: HashMap<&str, TensorView> = file.iter().collect();
    let (mut fitting, mut missing, mut mismatched) = (Vec::new(), Vec::new(), Vec::new());
    for (name, weight) in model.graph.initializers.iter().filter(|(_, t)| t.data_type().is_float()) {
        if let Some(prefix) = name.strip_suffix("running_mean") {
            let steps = format!("{prefix}num_batches_tracked");
            if tensors.get(steps.as_str()).is_some_and(|t| t.dtype() == Dtype::I64) {
                tensors.remove(steps.as_str());
            }
        }
        let Some(found) = tensors.remove(name.as_str()) else {
            missing.push(name.clone());
            continue;
        };
        match widened(&found, weight) {
            Some(tensor) => fitting.push((name.clone(), tensor)),
            None => mismatched.push(Mismatch {
                name: name.clone(),
                expected: weight.dims().to_vec(),
                expected_type: weight.data_type(),
                found: found.shape().to_vec(),
                found_type: found.dtype(),
            }),
        }
    }
    if !missing.is_empty() || !tensors.is_empty() || !mismatched.is_empty() {
        let mut unexpected: Vec<String> = tensors.into_keys().map(str::to_owned).collect();
        unexpected.sort();
        return Err(Error::Weights { missing, unexpected, mismatched });
    }
    model.graph.initializers.extend(fitting);
    Ok(())
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

/// The tensor in the type of `weight`, unless its dims differ or its type does not widen to that.
fn widened(found: &TensorView, weight: &Tensor) -> Option<Tensor> {
    if found.shape() != weight.dims() {
        return None;
    }
    let (dims, bytes) = (weight.dims(), found.data());
    // Elements are at no particular alignment in the file, hence the copies by chunks.
    let halves = || bytes.chunks_exact(2).filter_map(|c| c.try_into().ok());
    let singles = || bytes.chunks_exact(4).filter_map(|c| c.try_into().ok()).map(f32::from_le_bytes);
    let to_f32 = |values: Vec<f32>| Some(Tensor::new(dims, &values));
    let to_f64 = |values: Vec<f64>| Some(Tensor::new(dims, &values));
    match (found.dtype(), weight.data_type()) {
        (Dtype::F32, DataType::Float)
        | (Dtype::F64, DataType::Double)
        | (Dtype::F16, DataType::Float16)
        | (Dtype::BF16, DataType::Bfloat16) => Tensor::from_bytes("", dims.to_vec(), weight.data_type(), bytes).ok(),
        (Dtype::F16, DataType::Float) => to_f32(halves().map(|b| f16::from_le_bytes(b).to_f32()).collect()),
        (Dtype::BF16, DataType::Float) => to_f32(halves().map(|b| bf16::from_le_bytes(b).to_f32()).collect()),
        (Dtype::F16, DataType::Double) => to_f64(halves().map(|b| f16::from_le_bytes(b).to_f64()).collect()),
        (Dtype::BF16, DataType::Double) => to_f64(halves().map(|b| bf16::from_le_bytes(b).to_f64()).collect()),
        (Dtype::F32, DataType::Double) => to_f64(singles().map(f64::from).collect()),
        _ => None,
    }
}
