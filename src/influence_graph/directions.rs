//! Solved vectors as directions of a model's initializers, after it is sure that they belong to it.

use super::InfluenceGraphError;
use crate::influence::{ArtefactError, Parameter, SolvedVector};
use crate::network::Network;
use isal_onnx::influence::Direction;
use isal_onnx::{DataType, Scope, Tensor};
use std::path::PathBuf;

/// A solved vector as a direction of the model's initializers.
///
/// # Errors
/// [`InfluenceGraphError::Artefact`] for a vector whose length is not that of its parameters.
pub fn direction(vector: &SolvedVector) -> Result<Direction, InfluenceGraphError> {
    let blocks = vector.blocks(&vector.s).map_err(|e| InfluenceGraphError::Artefact(Box::new(e)))?;
    Ok(blocks.into_iter().map(|(p, block)| (p.name.clone(), Tensor::new(p.shape.clone(), block))).collect())
}

/// Whether every one of these weights is float32; a small step is rounded away in any that is narrower.
pub fn takes_a_step<'a>(network: &Network, mut weights: impl Iterator<Item = &'a str>) -> bool {
    let initializers = &network.model.graph.initializers;
    weights.all(|name| initializers.get(name).is_none_or(|t| t.data_type() == DataType::Float))
}

/// Reads vectors that were solved for this model, all over one scope.
///
/// # Errors
/// [`InfluenceGraphError::Vector`] for a file that is none or of another model; [`InfluenceGraphError::Scopes`].
pub(super) fn read(paths: &[PathBuf], network: &Network) -> Result<Vec<SolvedVector>, InfluenceGraphError> {
    let mut vectors: Vec<SolvedVector> = Vec::with_capacity(paths.len());
    for path in paths {
        let refused =
            |source: ArtefactError| InfluenceGraphError::Vector { path: path.clone(), source: Box::new(source) };
        let vector = SolvedVector::load(path).map_err(refused)?;
        vector.check(&in_scope(&vector, network)?, &network.sha256).map_err(refused)?;
        if let Some(first) = vectors.first().filter(|first| first.parameters != vector.parameters) {
            return Err(InfluenceGraphError::Scopes {
                path: path.clone(),
                found: vector.provenance.scope.clone(),
                expected: first.provenance.scope.clone(),
            });
        }
        vectors.push(vector);
    }
    Ok(vectors)
}

/// The model's parameters in the scope that the vector says it was solved over.
fn in_scope(vector: &SolvedVector, network: &Network) -> Result<Vec<Parameter>, InfluenceGraphError> {
    if vector.provenance.model_sha256 != network.sha256 {
        // The check that follows names the model; a scope of another model may not even exist in this one.
        return Ok(vector.parameters.clone());
    }
    let broken = |source| InfluenceGraphError::model(&network.path, source);
    let scope: Scope = vector.provenance.scope.parse().map_err(broken)?;
    let chosen = scope.select(&network.model.graph).map_err(broken)?;
    Ok(chosen.into_iter().map(|p| Parameter { name: p.name, shape: p.dims }).collect())
}
