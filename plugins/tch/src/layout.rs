//! How the parameters in scope lie in a vector: flattened, one after the other.

use crate::{Failure, Numerics};
use tch::Tensor;

/// A parameter and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Initializer name.
    pub name: String,
    /// Its dims.
    pub dims: Vec<i64>,
    /// Its first entry in a vector.
    pub offset: i64,
    /// How many entries it has.
    pub len: i64,
}

/// The parameters in scope, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// One place a parameter.
    pub places: Vec<Place>,
    /// Entries of a vector.
    pub dimension: i64,
}

impl Layout {
    /// Lays one more parameter behind those there are.
    pub fn push(&mut self, name: &str, dims: Vec<i64>) {
        let len = dims.iter().product();
        self.places.push(Place { name: name.to_owned(), dims, offset: self.dimension, len });
        self.dimension += len;
    }

    /// Views of `vector`, one a parameter, in the parameters' shapes. They share its memory.
    ///
    /// # Errors
    /// [`Failure::Backend`] when the vector is too short.
    pub fn split(&self, vector: &Tensor) -> Result<Vec<Tensor>, Failure> {
        self.places.iter().map(|p| Ok(vector.f_narrow(0, p.offset, p.len)?.f_view(p.dims.as_slice())?)).collect()
    }

    /// One vector of a tensor for each parameter; an undefined tensor stands for zeros.
    ///
    /// # Errors
    /// [`Failure::Backend`] when libtorch refuses.
    pub fn join(&self, parts: &[Tensor], numerics: Numerics) -> Result<Tensor, Failure> {
        let flat = self.places.iter().zip(parts).map(|(place, part)| {
            if part.defined() {
                part.f_reshape([place.len])
            } else {
                Tensor::f_zeros([place.len], (numerics.kind, numerics.device))
            }
        });
        Ok(Tensor::f_cat(&flat.collect::<Result<Vec<_>, _>>()?, 0)?)
    }
}
