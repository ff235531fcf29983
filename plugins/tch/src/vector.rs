//! Vectors over the parameters, on the model's device.

use crate::Failure;
use tch::{Kind, Tensor};

/// Entries widened to float64 at a time: bounds the memory of a dot product.
const CHUNK: i64 = 1 << 22;

/// A vector over the parameters in scope. Its tensor is never handed out to be written elsewhere, so an operation
/// in place changes this vector alone.
pub struct Vector {
    entries: Tensor,
}

impl Vector {
    /// A vector of a tensor with one axis, which nothing else writes to.
    pub(crate) fn new(entries: Tensor) -> Self {
        Vector { entries }
    }

    /// The entries, one axis.
    pub fn entries(&self) -> &Tensor {
        &self.entries
    }

    /// Another handle on the same entries.
    pub(crate) fn shared(&self) -> Vector {
        Vector::new(self.entries.shallow_clone())
    }

    /// A copy.
    ///
    /// # Errors
    /// [`Failure::Backend`] when libtorch refuses.
    pub fn copy(&self) -> Result<Vector, Failure> {
        let mut entries = self.entries.f_empty_like()?;
        entries.f_copy_(&self.entries)?;
        Ok(Vector::new(entries))
    }

    /// Refuses a vector of another length, float kind or device.
    fn check(&self, other: &Vector) -> Result<(), Failure> {
        let (a, b) = (&self.entries, &other.entries);
        if a.size() != b.size() {
            return Err(Failure::Shape { what: "vector".into(), expected: format!("{:?}", a.size()), found: b.size() });
        }
        if a.f_kind()? != b.f_kind()? || a.device() != b.device() {
            return Err(Failure::Argument {
                what: "vector",
                reason: format!(
                    "expected {:?} on {:?}, found {:?} on {:?}",
                    a.f_kind()?,
                    a.device(),
                    b.f_kind()?,
                    b.device()
                ),
            });
        }
        Ok(())
    }

    /// `self . other`, accumulated in float64.
    ///
    /// # Errors
    /// [`Failure::Shape`] or [`Failure::Argument`] for a vector that does not match.
    pub fn dot(&self, other: &Vector) -> Result<f64, Failure> {
        self.check(other)?;
        let len = self.entries.size().iter().product::<i64>();
        let mut total = Tensor::f_zeros([], (Kind::Double, self.entries.device()))?;
        let mut start = 0;
        while start < len {
            let n = CHUNK.min(len - start);
            let wide = |v: &Vector| v.entries.f_narrow(0, start, n)?.f_to_kind(Kind::Double);
            total = total.f_add(&wide(self)?.f_dot(&wide(other)?)?)?;
            start += n;
        }
        Ok(total.f_double_value(&[])?)
    }

    /// `self <- self + alpha x`.
    ///
    /// # Errors
    /// As [`Vector::dot`].
    pub fn axpy(&mut self, alpha: f64, x: &Vector) -> Result<(), Failure> {
        self.check(x)?;
        let _ = self.entries.f_add_(&x.entries.f_mul_scalar(alpha)?)?;
        Ok(())
    }

    /// `self <- alpha self`.
    ///
    /// # Errors
    /// [`Failure::Backend`] when libtorch refuses.
    pub fn scale(&mut self, alpha: f64) -> Result<(), Failure> {
        let _ = self.entries.f_mul_scalar_(alpha)?;
        Ok(())
    }
}
