//! What is known of the images of a batch, by the names that the loss graph has for it.

use ndarray::{Array2, ArrayD, ArrayView2, Axis, Ix2, Slice};

use super::InfluenceError;

/// An annotation of some images; the first axis is the images.
#[derive(Debug, Clone, PartialEq)]
pub enum Annotation {
    /// Numbers.
    Float(ArrayD<f32>),
    /// Whole numbers: labels, say.
    Whole(ArrayD<i64>),
}

/// Calls a method on the array, whatever its elements, and puts what it gives where it came from.
macro_rules! each {
    ($annotation:expr, $array:ident => $made:expr) => {
        match $annotation {
            Annotation::Float($array) => Annotation::Float($made),
            Annotation::Whole($array) => Annotation::Whole($made),
        }
    };
}

impl Annotation {
    fn images(&self) -> usize {
        match self {
            Annotation::Float(array) => array.shape().first().copied().unwrap_or(0),
            Annotation::Whole(array) => array.shape().first().copied().unwrap_or(0),
        }
    }

    fn dims(&self) -> &[usize] {
        match self {
            Annotation::Float(array) => array.shape(),
            Annotation::Whole(array) => array.shape(),
        }
    }
}

/// The annotations of some images: an array for each name, all of as many images.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Annotations {
    images: usize,
    arrays: Vec<(String, Annotation)>,
}

impl Annotations {
    /// Of these arrays.
    ///
    /// Errors: arrays of different numbers of images.
    pub fn new(images: usize, arrays: Vec<(String, Annotation)>) -> Result<Self, InfluenceError> {
        match arrays.iter().find(|(_, array)| array.images() != images) {
            Some((_, array)) => {
                Err(InfluenceError::Shape { what: "annotations", expected: vec![images], found: array.dims().to_vec() })
            }
            None => Ok(Annotations { images, arrays }),
        }
    }

    /// One of numbers, `[N, ...]`, under this name.
    pub fn numbers(name: &str, rows: Array2<f32>) -> Self {
        Annotations { images: rows.nrows(), arrays: vec![(name.to_owned(), Annotation::Float(rows.into_dyn()))] }
    }

    /// How many images they are of.
    pub fn images(&self) -> usize {
        self.images
    }

    /// The arrays with their names.
    pub fn arrays(&self) -> &[(String, Annotation)] {
        &self.arrays
    }

    /// The one of this name, if its elements are numbers in rows.
    pub fn rows(&self, name: &str) -> Option<ArrayView2<'_, f32>> {
        match self.arrays.iter().find(|(found, _)| found == name) {
            Some((_, Annotation::Float(array))) => array.view().into_dimensionality::<Ix2>().ok(),
            _ => None,
        }
    }

    /// Those of the images from `start` to before `end`.
    pub fn slice(&self, start: usize, end: usize) -> Self {
        let rows = Slice::from(start..end);
        self.with(end - start, |array| each!(array, a => a.slice_axis(Axis(0), rows).to_owned()))
    }

    /// Those of the images at these positions, in that order.
    pub fn select(&self, positions: &[usize]) -> Self {
        self.with(positions.len(), |array| each!(array, a => a.select(Axis(0), positions)))
    }

    fn with(&self, images: usize, change: impl Fn(&Annotation) -> Annotation) -> Self {
        let arrays = self.arrays.iter().map(|(name, array)| (name.clone(), change(array))).collect();
        Annotations { images, arrays }
    }

    /// Those of more images behind them. Nothing yet takes whatever comes.
    ///
    /// Errors: other names, or rows of other dims.
    pub fn append(&mut self, more: &Annotations) -> Result<(), InfluenceError> {
        if self.images == 0 {
            *self = more.clone();
            return Ok(());
        }
        let wrong = |expected: &Annotation, found: &Annotation| InfluenceError::Shape {
            what: "annotations of a batch",
            expected: expected.dims().to_vec(),
            found: found.dims().to_vec(),
        };
        let same = self.arrays.len() == more.arrays.len()
            && self.arrays.iter().zip(&more.arrays).all(|((own, _), (other, _))| own == other);
        if !same {
            let (expected, found) = (vec![self.arrays.len()], vec![more.arrays.len()]);
            return Err(InfluenceError::Shape { what: "names of annotations", expected, found });
        }
        for ((_, own), (_, other)) in self.arrays.iter_mut().zip(&more.arrays) {
            let failed = wrong(own, other);
            let appended = match (own, other) {
                (Annotation::Float(own), Annotation::Float(other)) => own.append(Axis(0), other.view()).is_ok(),
                (Annotation::Whole(own), Annotation::Whole(other)) => own.append(Axis(0), other.view()).is_ok(),
                _ => false,
            };
            if !appended {
                return Err(failed);
            }
        }
        self.images += more.images;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "an unwrap that fails is the test failing")]
mod tests {
    use super::*;
    use ndarray::array;

    fn both(from: i64) -> Annotations {
        let numbers = array![[from as f32, 0.5], [from as f32 + 1.0, 0.25]].into_dyn();
        let labels = array![from, from + 1].into_dyn();
        let arrays =
            vec![("x".to_owned(), Annotation::Float(numbers)), ("labels".to_owned(), Annotation::Whole(labels))];
        Annotations::new(2, arrays).unwrap()
    }

    #[test]
    fn arrays_of_all_kinds_are_cut_picked_and_joined_alike() {
        let mut all = Annotations::default();
        all.append(&both(0)).unwrap();
        all.append(&both(10)).unwrap();
        assert_eq!(all.images(), 4);
        let picked = all.select(&[3, 0]).append_to(all.slice(1, 2));
        assert_eq!(picked.rows("x").unwrap(), array![[1.0, 0.25], [11.0, 0.25], [0.0, 0.5]]);
        assert_eq!(picked.arrays()[1].1, Annotation::Whole(array![1, 11, 0].into_dyn()));
        assert_eq!(picked.rows("labels"), None, "whole numbers are no rows of numbers");
    }

    impl Annotations {
        fn append_to(&self, mut first: Annotations) -> Annotations {
            first.append(self).unwrap();
            first
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let labels = Annotation::Whole(array![1, 2, 3].into_dyn());
        assert!(Annotations::new(2, vec![("labels".to_owned(), labels)]).is_err());
        let mut first = both(0);
        assert!(first.append(&Annotations::numbers("x", array![[1.0, 2.0]])).is_err(), "another number of arrays");
        let mut first = Annotations::numbers("x", array![[1.0, 2.0]]);
        assert!(first.append(&Annotations::numbers("y", array![[1.0, 2.0]])).is_err(), "another name");
        assert!(first.append(&Annotations::numbers("x", array![[1.0]])).is_err(), "rows of another length");
        assert_eq!(first.images(), 1);
    }
}
