//! What is known of the images of a batch, by the names that the loss graph has for it.

use ndarray::{Array2, ArrayD, ArrayView2, Axis, Ix2, IxDyn, Slice};

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

    /// Of one image: arrays whose first axis has size 1.
    pub(crate) fn of_one(arrays: Vec<(String, Annotation)>) -> Self {
        Annotations { images: 1, arrays }
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

    /// What `change` makes of each array; it keeps the number of images.
    pub(crate) fn map(self, change: impl Fn(Annotation) -> Annotation) -> Self {
        let arrays = self.arrays.into_iter().map(|(name, array)| (name, change(array))).collect();
        Annotations { images: self.images, arrays }
    }

    fn with(&self, images: usize, change: impl Fn(&Annotation) -> Annotation) -> Self {
        let arrays = self.arrays.iter().map(|(name, array)| (name.clone(), change(array))).collect();
        Annotations { images, arrays }
    }

    /// Those of more images behind them; see [`Annotations::join`]. Nothing yet takes whatever comes.
    ///
    /// Errors: as there.
    pub fn append(&mut self, more: &Annotations) -> Result<(), InfluenceError> {
        *self = match self.images {
            0 => more.clone(),
            _ => Annotations::join(&[&*self, more])?,
        };
        Ok(())
    }

    /// Annotations of different images, one after the other. Where images have lists of different lengths (boxes, say) they
    /// are padded to the longest: numbers with 0, whole numbers with -1.
    ///
    /// Errors: other names, other elements, or another number of axes.
    pub fn join(parts: &[&Annotations]) -> Result<Self, InfluenceError> {
        let Some(first) = parts.first() else { return Ok(Annotations::default()) };
        let mut arrays = Vec::with_capacity(first.arrays.len());
        for (place, (name, _)) in first.arrays.iter().enumerate() {
            let mut of_name = Vec::with_capacity(parts.len());
            for part in parts {
                match part
                    .arrays
                    .get(place)
                    .filter(|(other, _)| other == name && part.arrays.len() == first.arrays.len())
                {
                    Some((_, array)) => of_name.push(array),
                    None => {
                        let (expected, found) = (vec![first.arrays.len()], vec![part.arrays.len()]);
                        return Err(InfluenceError::Shape { what: "names of annotations", expected, found });
                    }
                }
            }
            arrays.push((name.clone(), joined(&of_name)?));
        }
        Ok(Annotations { images: parts.iter().map(|part| part.images).sum(), arrays })
    }
}

/// Arrays of one name, padded and one after the other.
fn joined(parts: &[&Annotation]) -> Result<Annotation, InfluenceError> {
    let wrong = |other: &Annotation| InfluenceError::Shape {
        what: "annotations of a batch",
        expected: parts.first().map(|first| first.dims().to_vec()).unwrap_or_default(),
        found: other.dims().to_vec(),
    };
    let mut dims = parts.first().map(|first| first.dims().to_vec()).unwrap_or_default();
    for part in parts {
        if part.dims().len() != dims.len() || dims.is_empty() {
            return Err(wrong(part));
        }
        dims.iter_mut().zip(part.dims()).for_each(|(size, other)| *size = (*size).max(*other));
    }
    if let Some(images) = dims.first_mut() {
        *images = parts.iter().map(|part| part.images()).sum();
    }
    /// The arrays in one of these dims that is full of `padding`.
    fn filled<T: Clone>(dims: &[usize], padding: T, parts: &[&ArrayD<T>]) -> ArrayD<T> {
        let mut whole = ArrayD::from_elem(IxDyn(dims), padding);
        let mut from = 0;
        for part in parts {
            let to = from + part.len_of(Axis(0));
            let mut place = whole.slice_axis_mut(Axis(0), Slice::from(from..to));
            for axis in 1..dims.len() {
                place.slice_axis_inplace(Axis(axis), Slice::from(..part.len_of(Axis(axis))));
            }
            place.assign(part);
            from = to;
        }
        whole
    }
    let (mut numbers, mut whole) = (Vec::new(), Vec::new());
    for part in parts {
        match part {
            Annotation::Float(array) => numbers.push(array),
            Annotation::Whole(array) => whole.push(array),
        }
    }
    match (numbers.is_empty(), whole.is_empty()) {
        (false, true) => Ok(Annotation::Float(filled(&dims, 0.0, &numbers))),
        (true, false) => Ok(Annotation::Whole(filled(&dims, -1, &whole))),
        _ => Err(parts.last().map_or(InfluenceError::Empty { set: "annotations" }, |last| wrong(last))),
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
        let of_one = |array| Annotations::of_one(vec![("x".to_owned(), array)]);
        assert!(first.append(&of_one(Annotation::Float(array![1.0].into_dyn()))).is_err(), "another number of axes");
        assert!(first.append(&of_one(Annotation::Whole(array![[1, 2]].into_dyn()))).is_err(), "other elements");
        assert_eq!(first.images(), 1);
    }

    #[test]
    fn lists_of_different_lengths_are_padded() {
        let of = |boxes: &[[f32; 2]], labels: &[i64]| {
            let flat = boxes.iter().flatten().copied().collect();
            let boxes = ArrayD::from_shape_vec(IxDyn(&[1, boxes.len(), 2]), flat).unwrap();
            let labels = ArrayD::from_shape_vec(IxDyn(&[1, labels.len()]), labels.to_vec()).unwrap();
            let arrays =
                vec![("boxes".to_owned(), Annotation::Float(boxes)), ("labels".to_owned(), Annotation::Whole(labels))];
            Annotations::of_one(arrays)
        };
        let (one, none, two) = (of(&[[1.0, 2.0]], &[7]), of(&[], &[]), of(&[[3.0, 4.0], [5.0, 6.0]], &[8, 9]));
        let mut all = Annotations::join(&[&one, &none]).unwrap();
        all.append(&two).unwrap();
        let expected = array![[7, -1], [-1, -1], [8, 9]].into_dyn();
        assert_eq!(all.arrays()[1].1, Annotation::Whole(expected));
        let expected = array![[[1.0, 2.0], [0.0, 0.0]], [[0.0; 2]; 2], [[3.0, 4.0], [5.0, 6.0]]].into_dyn();
        assert_eq!(all.arrays()[0].1, Annotation::Float(expected));
        assert_eq!(all.images(), 3);
    }
}
