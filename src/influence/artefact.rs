//! The solved vector `s` and the reference gradient as a file, with where they come from.
//!
//! A safetensors file: tensors `s/NAME` and `reference_gradient/NAME`, float32, one a parameter in the shape of
//! the model's initializer, and one metadata entry `isal` that holds the provenance as JSON. The bytes depend on
//! nothing but the contents. It is put in place all or nothing.
//!
//! A vector means something only for the weights and the data it was solved with. [`SolvedVector::check`] compares
//! names, shapes and the model's hash, and names every difference; a caller goes no further with one that differs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensorError, SafeTensors};
use sha2::{Digest as _, Sha256};

use super::difference::{Difference, differences, list};
use super::engine::Parameter;
use super::solver::SolveReport;
use crate::durable::{self, DurableError};
use crate::hex::hex;
use crate::scores::SIGN;

/// What the metadata calls the format.
pub const FORMAT: &str = "isal-influence-vector";
/// Version of the format that is written.
pub const VERSION: u32 = 1;

const METADATA_KEY: &str = "isal";
const SOLVED: &str = "s/";
const GRADIENT: &str = "reference_gradient/";

/// Where a solved vector comes from.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Provenance {
    /// SHA-256 of the model, lowercase hexadecimal.
    pub model_sha256: String,
    /// SHA-256 of the labelled data and its targets.
    pub labelled_sha256: String,
    /// SHA-256 of the pool images that took part: those of the curvature, and those whose influences had to settle; empty
    /// where none did.
    #[serde(default)]
    pub pool_sha256: String,
    /// Images drawn for the curvature from the labelled set and from the pool; those that could be used may be fewer.
    #[serde(default)]
    pub curvature_drawn: [usize; 2],
    /// Samples in the labelled set.
    #[serde(default)]
    pub labelled_samples: usize,
    /// How many of the samples of the curvature are of the pool; the others are of the labelled set.
    #[serde(default)]
    pub pool_samples: usize,
    /// SHA-256 of the reference data and its targets.
    pub reference_sha256: String,
    /// Samples in the reference set.
    pub reference_samples: usize,
    /// Mean loss over the reference set.
    pub reference_loss: f64,
    /// Norm of the reference gradient.
    pub reference_gradient_norm: f64,
    /// The scope as the user gave it.
    pub scope: String,
    /// The loss, and the values of the model that it was taken of; empty in files of earlier versions.
    #[serde(default)]
    pub loss: String,
    /// How the solve went: solver, options, lambda, residual.
    pub solve: SolveReport,
    /// Versions of what took part (isal, the plugin, libtorch), by name.
    pub versions: std::collections::BTreeMap<String, String>,
}

/// `s` and the reference gradient over the same parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct SolvedVector {
    /// The parameters, in the order the vectors join them.
    pub parameters: Vec<Parameter>,
    /// `(H + lambda I)^-1 v`.
    pub s: Vec<f32>,
    /// `v`.
    pub reference_gradient: Vec<f32>,
    /// Where they come from.
    pub provenance: Provenance,
}

/// Why a vector could not be saved, loaded or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtefactError {
    /// The file system refused the write.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// The file could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The container is broken, or could not be built.
    #[error("`{name}` is no valid safetensors file")]
    Safetensors {
        /// The file, or `to be written`.
        name: String,
        /// The library's reason.
        source: SafeTensorError,
    },
    /// A sound safetensors file without our metadata.
    #[error("`{}` holds no `{FORMAT}` metadata: it was not written by isal", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A version this program does not read.
    #[error("`{}` has format version {found}, this program reads {VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// Metadata that is not as this version writes it.
    #[error("the metadata of `{name}` cannot be understood")]
    Metadata {
        /// The file, or `to be written`.
        name: String,
        /// The reason.
        source: serde_json::Error,
    },
    /// A tensor whose type or size is not what the metadata says.
    #[error("tensor `{tensor}` of `{}` is {found}, expected float32 {expected:?}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name in the file.
        tensor: String,
        /// The shape the metadata gives.
        expected: Vec<usize>,
        /// What is there.
        found: String,
    },
    /// A vector whose length is not that of its parameters.
    #[error("the vector has {found} entries, its parameters {expected}")]
    Length {
        /// Entries of the parameters.
        expected: usize,
        /// Entries of the vector.
        found: usize,
    },
    /// A NaN or an infinity.
    #[error("parameter `{parameter}` of the vector holds NaN or infinity")]
    NonFinite {
        /// The first parameter with one.
        parameter: String,
    },
    /// The vector belongs to another model or scope.
    #[error("the vector does not belong to this model: {}", list(differences))]
    Mismatch {
        /// Every difference.
        differences: Vec<Difference>,
    },
}

/// The one metadata entry.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Header {
    format: String,
    version: u32,
    sign: String,
    parameters: Vec<Parameter>,
    provenance: Provenance,
}

const TO_BE_WRITTEN: &str = "the file to be written";

impl Provenance {
    /// The images of the curvature, as a sentence names them.
    pub fn curvature_images(&self) -> String {
        let of_labelled = self.solve.curvature_samples.saturating_sub(self.pool_samples);
        match (of_labelled, self.pool_samples) {
            (labelled, 0) => format!("{labelled} labelled images"),
            (0, pool) => format!("{pool} pool images"),
            (labelled, pool) => format!("{labelled} labelled and {pool} pool images"),
        }
    }
}

impl SolvedVector {
    /// The file's bytes.
    ///
    /// # Errors
    /// [`ArtefactError::Length`] and [`ArtefactError::NonFinite`]: a broken vector is never saved.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ArtefactError> {
        let header = Header {
            format: FORMAT.to_owned(),
            version: VERSION,
            sign: SIGN.to_owned(),
            parameters: self.parameters.clone(),
            provenance: self.provenance.clone(),
        };
        let unwritable = |source| ArtefactError::Safetensors { name: TO_BE_WRITTEN.to_owned(), source };
        let json = serde_json::to_string(&header)
            .map_err(|source| ArtefactError::Metadata { name: TO_BE_WRITTEN.to_owned(), source })?;
        let mut blocks = Vec::new();
        for (prefix, entries) in [(SOLVED, &self.s), (GRADIENT, &self.reference_gradient)] {
            for (parameter, block) in self.blocks(entries)? {
                if !block.iter().all(|x| x.is_finite()) {
                    return Err(ArtefactError::NonFinite { parameter: parameter.name.clone() });
                }
                let bytes: Vec<u8> = block.iter().flat_map(|x| x.to_le_bytes()).collect();
                blocks.push((format!("{prefix}{}", parameter.name), parameter.shape.clone(), bytes));
            }
        }
        let views = blocks
            .iter()
            .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
            .collect::<Result<Vec<_>, SafeTensorError>>()
            .map_err(unwritable)?;
        let metadata = HashMap::from([(METADATA_KEY.to_owned(), json)]);
        safetensors::serialize(views, Some(metadata)).map_err(unwritable)
    }

    /// Writes the file, all or nothing.
    ///
    /// # Errors
    /// As [`SolvedVector::to_bytes`], and the file system's.
    pub fn save(&self, path: &Path) -> Result<(), ArtefactError> {
        Ok(durable::write_bytes(path, &self.to_bytes()?)?)
    }

    /// Reads a file back.
    ///
    /// # Errors
    /// Whatever is not a whole, finite vector of this format.
    pub fn load(path: &Path) -> Result<Self, ArtefactError> {
        let bytes = std::fs::read(path).map_err(|source| ArtefactError::Read { path: path.to_owned(), source })?;
        let name = path.display().to_string();
        let broken = |source| ArtefactError::Safetensors { name: name.clone(), source };
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
        let json = metadata.metadata().as_ref().and_then(|m| m.get(METADATA_KEY));
        let json = json.ok_or_else(|| ArtefactError::Foreign { path: path.to_owned() })?;
        let unclear = |source| ArtefactError::Metadata { name: name.clone(), source };
        // The version is looked at before the rest, which another version may write otherwise.
        let value: serde_json::Value = serde_json::from_str(json).map_err(unclear)?;
        if value.get("format").and_then(|f| f.as_str()) != Some(FORMAT) {
            return Err(ArtefactError::Foreign { path: path.to_owned() });
        }
        match value.get("version").and_then(serde_json::Value::as_u64) {
            Some(version) if version == u64::from(VERSION) => {}
            found => return Err(ArtefactError::Version { path: path.to_owned(), found: found.unwrap_or(0) }),
        }
        let header: Header = serde_json::from_value(value).map_err(unclear)?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(broken)?;
        let read = |prefix: &str| -> Result<Vec<f32>, ArtefactError> {
            let mut entries = Vec::new();
            for parameter in &header.parameters {
                let tensor = format!("{prefix}{}", parameter.name);
                let view = tensors.tensor(&tensor).map_err(broken)?;
                if view.dtype() != Dtype::F32 || view.shape() != parameter.shape {
                    let found = format!("{:?} {:?}", view.dtype(), view.shape());
                    let expected = parameter.shape.clone();
                    return Err(ArtefactError::Tensor { path: path.to_owned(), tensor, expected, found });
                }
                let before = entries.len();
                entries.extend(view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
                if !entries.iter().skip(before).all(|x| x.is_finite()) {
                    return Err(ArtefactError::NonFinite { parameter: parameter.name.clone() });
                }
            }
            Ok(entries)
        };
        let (s, reference_gradient) = (read(SOLVED)?, read(GRADIENT)?);
        Ok(SolvedVector { parameters: header.parameters, s, reference_gradient, provenance: header.provenance })
    }

    /// Whether the vector belongs to the model with these `parameters` in scope and this hash.
    ///
    /// # Errors
    /// [`ArtefactError::Mismatch`] with every difference.
    pub fn check(&self, parameters: &[Parameter], model_sha256: &str) -> Result<(), ArtefactError> {
        let mut differences = differences(parameters, &self.parameters);
        if self.provenance.model_sha256 != model_sha256 {
            differences.push(Difference::Model {
                model: model_sha256.to_owned(),
                vector: self.provenance.model_sha256.clone(),
            });
        }
        if differences.is_empty() { Ok(()) } else { Err(ArtefactError::Mismatch { differences }) }
    }

    /// SHA-256 of `s` itself, lowercase hexadecimal: equal for equal vectors, however long the solving took.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        for parameter in &self.parameters {
            hash.update((parameter.name.len() as u64).to_le_bytes());
            hash.update(parameter.name.as_bytes());
        }
        hash.update(bytemuck::cast_slice::<f32, u8>(&self.s));
        hex(hash.finalize())
    }

    /// Each parameter with its entries of `joined`.
    ///
    /// # Errors
    /// [`ArtefactError::Length`].
    pub fn blocks<'a>(&'a self, joined: &'a [f32]) -> Result<Vec<(&'a Parameter, &'a [f32])>, ArtefactError> {
        let expected = self.parameters.iter().map(|p| p.shape.iter().product::<usize>()).sum();
        let wrong = || ArtefactError::Length { expected, found: joined.len() };
        let mut rest = joined;
        let mut blocks = Vec::with_capacity(self.parameters.len());
        for parameter in &self.parameters {
            let (block, after) = rest.split_at_checked(parameter.shape.iter().product()).ok_or_else(wrong)?;
            blocks.push((parameter, block));
            rest = after;
        }
        if rest.is_empty() { Ok(blocks) } else { Err(wrong()) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "an unwrap that fails is the test failing")]
mod tests {
    use super::super::{Curvature, SolverOptions};
    use super::*;

    fn parameter(name: &str, shape: &[usize]) -> Parameter {
        Parameter { name: name.to_owned(), shape: shape.to_vec() }
    }

    fn vector() -> SolvedVector {
        let solve = SolveReport {
            options: SolverOptions::named("cg-gauss-newton").unwrap(),
            curvature: Curvature::GaussNewton,
            lambda: 0.1 + 0.2,
            largest_eigenvalue: Some(30.0),
            spectrum: None,
            iterations: 12,
            converged: true,
            settled: None,
            residual: 1.0 / 3000.0,
            held_out_residual: Some(0.5),
            curvature_samples: 40,
            sample_products: 800,
            seconds: 1.5,
            lissa: None,
        };
        SolvedVector {
            parameters: vec![parameter("conv/w", &[2, 1, 1, 2]), parameter("a.bias", &[1])],
            s: vec![1.0, -2.5, f32::MIN_POSITIVE, 1e30, -0.0],
            reference_gradient: vec![0.1, 0.2, 0.3, 0.4, 0.5],
            provenance: Provenance {
                model_sha256: "ab".repeat(32),
                labelled_sha256: "cd".repeat(32),
                pool_sha256: String::new(),
                curvature_drawn: [40, 0],
                labelled_samples: 40,
                pool_samples: 0,
                reference_sha256: "ef".repeat(32),
                reference_samples: 7,
                reference_loss: 0.25,
                reference_gradient_norm: 0.75,
                scope: "weights".to_owned(),
                solve,
                loss: "logits".to_owned(),
                versions: [("isal".to_owned(), "0.1.0".to_owned())].into(),
            },
        }
    }

    fn saved(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.safetensors");
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    #[test]
    fn a_saved_vector_is_read_back_bit_for_bit_with_its_provenance() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.safetensors");
        vector().save(&path).unwrap();
        let read = SolvedVector::load(&path).unwrap();
        assert_eq!(read, vector());
        let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&read.s), bits(&vector().s));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn the_file_says_how_to_read_the_sign_and_is_the_same_every_time() {
        let bytes = vector().to_bytes().unwrap();
        assert_eq!(bytes, vector().to_bytes().unwrap());
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let json = metadata.metadata().as_ref().unwrap()["isal"].clone();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["sign"], SIGN);
        assert_eq!(value["provenance"]["solve"]["options"]["solver"], "cg-gauss-newton");
        assert_eq!(metadata.info("s/conv/w").unwrap().shape, [2, 1, 1, 2]);
    }

    #[test]
    fn every_difference_from_the_model_is_named() {
        let v = vector();
        assert!(v.check(&v.parameters, &"ab".repeat(32)).is_ok());
        let model = [parameter("conv/w", &[2, 1, 2, 1]), parameter("head.weight", &[10, 4])];
        let error = v.check(&model, &"00".repeat(32)).unwrap_err();
        let ArtefactError::Mismatch { differences } = &error else { panic!("{error}") };
        assert_eq!(differences.len(), 4);
        let text = error.to_string();
        for part in [
            "`conv/w` is [2, 1, 2, 1] in the model and [2, 1, 1, 2]",
            "lacks parameter `head.weight` [10, 4]",
            "has parameter `a.bias` [1]",
            "solved for abab",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn the_same_parameters_in_another_order_are_a_difference() {
        let v = vector();
        let swapped: Vec<Parameter> = v.parameters.iter().rev().cloned().collect();
        let error = v.check(&swapped, &v.provenance.model_sha256).unwrap_err();
        assert!(error.to_string().contains("parameter 0 is `a.bias` in the model"), "{error}");
    }

    #[test]
    fn a_broken_vector_is_never_saved() {
        let mut broken = vector();
        broken.s[4] = f32::NAN;
        assert!(matches!(broken.to_bytes(), Err(ArtefactError::NonFinite { parameter }) if parameter == "a.bias"));
        let mut short = vector();
        short.reference_gradient.pop();
        assert!(matches!(short.to_bytes(), Err(ArtefactError::Length { expected: 5, found: 4 })));
    }

    #[test]
    fn a_file_cut_anywhere_or_with_a_bad_number_is_refused() {
        let bytes = vector().to_bytes().unwrap();
        for length in 0..bytes.len() {
            let (_folder, path) = saved(&bytes[..length]);
            assert!(SolvedVector::load(&path).is_err(), "cut to {length} bytes");
        }
        let mut spoilt = bytes.clone();
        let end = spoilt.len();
        spoilt[end - 4..].copy_from_slice(&f32::INFINITY.to_le_bytes());
        let (_folder, path) = saved(&spoilt);
        assert!(matches!(SolvedVector::load(&path), Err(ArtefactError::NonFinite { .. })));
    }

    #[test]
    fn a_foreign_file_and_a_later_version_are_told_apart() {
        let data = 1.0f32.to_le_bytes();
        let view = TensorView::new(Dtype::F32, vec![1], &data).unwrap();
        let (_folder, path) = saved(&safetensors::serialize([("x", view.clone())], None).unwrap());
        assert!(matches!(SolvedVector::load(&path), Err(ArtefactError::Foreign { .. })));

        let json = format!("{{\"format\":\"{FORMAT}\",\"version\":2,\"new-field\":true}}");
        let metadata = HashMap::from([("isal".to_owned(), json)]);
        let (_folder, path) = saved(&safetensors::serialize([("x", view)], Some(metadata)).unwrap());
        assert!(matches!(SolvedVector::load(&path), Err(ArtefactError::Version { found: 2, .. })));
    }
}
