//! Features and class scores of a batch, by ONNX Runtime.

use super::SweepError;
use crate::network::Aside;
use crate::runtime::{Library, RuntimeError, Session, SessionOptions};
use isal_onnx::Model;
use ndarray::{Array2, ArrayD, ArrayView4, Axis};
use std::path::Path;

/// Values of a model as a row of numbers an image each.
#[derive(Debug)]
pub struct Embedder {
    session: Session,
    values: Vec<String>,
    /// What the session reads.
    _file: Aside,
}

impl Embedder {
    /// Of these values of `model`, outputs or inner ones, which is the file at `path`.
    ///
    /// # Errors
    /// A temporary file that cannot be written; ONNX Runtime's.
    pub fn open(
        library: &Library,
        model: &Model,
        path: &Path,
        values: &[&str],
        options: SessionOptions,
    ) -> Result<Embedder, SweepError> {
        let file = Aside::write(&model.ending_at(values.iter().copied()), path)?;
        let session = Session::open(library, file.path(), options)?;
        Ok(Embedder { session, values: values.iter().map(|value| (*value).to_owned()).collect(), _file: file })
    }

    /// A row an image of each value, `[N, F]`: of maps `[N, F, H, W]` their means over places, of tokens `[N, T, F]` over tokens.
    ///
    /// # Errors
    /// ONNX Runtime's; a value that has no row an image.
    pub fn embed(&mut self, images: ArrayView4<f32>) -> Result<Vec<Array2<f32>>, SweepError> {
        let count = images.len_of(Axis(0));
        let names: Vec<&str> = self.values.iter().map(String::as_str).collect();
        let arrays = self.session.run(images, &names)?;
        let rows = arrays.into_iter().zip(&names).map(|(array, name)| {
            let shape = array.shape().to_vec();
            rows(array, count).ok_or_else(|| RuntimeError::Signature {
                model: self.session.model().to_owned(),
                reason: format!(
                    "`{name}` has shape {shape:?}, expected [{count}, F], [{count}, F, H, W] or [{count}, T, F]"
                ),
            })
        });
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// Means over what is not the row.
fn rows(array: ArrayD<f32>, images: usize) -> Option<Array2<f32>> {
    let array = match array.ndim() {
        2 => array,
        3 => array.mean_axis(Axis(1))?,
        4 => array.mean_axis(Axis(3))?.mean_axis(Axis(2))?,
        _ => return None,
    };
    array.into_dimensionality().ok().filter(|rows: &Array2<f32>| rows.nrows() == images)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn maps_and_tokens_become_their_means() {
        let numbers = |shape: &[usize]| {
            let place = |at: ndarray::IxDyn| (0..shape.len()).fold(0, |n, axis| 10 * n + at[axis]) as f32;
            ArrayD::from_shape_fn(shape, place)
        };
        assert_eq!(rows(numbers(&[2, 2]), 2), Some(array![[0.0, 1.0], [10.0, 11.0]]));
        assert_eq!(rows(numbers(&[1, 2, 3]), 1), Some(array![[5.0, 6.0, 7.0]]), "tokens 0 and 10");
        assert_eq!(rows(numbers(&[1, 2, 2, 2]), 1), Some(array![[5.5, 105.5]]));
        assert_eq!(rows(numbers(&[3]), 3), None);
        assert_eq!(rows(numbers(&[2, 2]), 3), None);
    }
}
