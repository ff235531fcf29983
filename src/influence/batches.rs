//! Labelled samples as solvers see them: visited in order, or gathered by index.
//!
//! A solver passes over the labelled set dozens of times, so [`Batches`] can be re-iterated and always in the
//! same order; whether the images come from memory or are decoded anew is the implementor's business.
//! What is known of them are [`Annotations`].

use ndarray::{Array2, Array4, ArrayView4, Axis, Slice};

use super::{Annotations, InfluenceError};

/// What [`Batches::visit`] calls with each batch of images `[N, C, H, W]` and their annotations.
pub type Visitor<'a> = dyn FnMut(ArrayView4<f32>, &Annotations) -> Result<(), InfluenceError> + 'a;

/// A finite, re-iterable set of annotated samples.
pub trait Batches {
    /// Number of samples.
    fn samples(&self) -> usize;

    /// Passes every sample once, in batches, in the same order every time. The first error of `visitor` ends
    /// the visit and is returned.
    fn visit(&mut self, visitor: &mut Visitor) -> Result<(), InfluenceError>;

    /// The samples at these positions of the visiting order, in the order asked for; a position may repeat.
    fn gather(&mut self, positions: &[usize]) -> Result<(Array4<f32>, Annotations), InfluenceError>;
}

/// A set held in memory.
#[derive(Debug, Clone)]
pub struct InMemory {
    images: Array4<f32>,
    annotations: Annotations,
    batch: usize,
}

impl InMemory {
    /// Images `[N, C, H, W]` in the model's layout with their annotations, visited `batch` at a time.
    pub fn new(images: Array4<f32>, annotations: Annotations, batch: usize) -> Result<Self, InfluenceError> {
        if annotations.images() != images.len_of(Axis(0)) {
            return Err(InfluenceError::Shape {
                what: "annotations",
                expected: vec![images.len_of(Axis(0))],
                found: vec![annotations.images()],
            });
        }
        if batch == 0 {
            return Err(InfluenceError::Option { option: "batch", found: 0.0, expected: "at least 1" });
        }
        Ok(InMemory { images, annotations, batch })
    }

    /// As [`InMemory::new`], with one class label a sample: one-hot rows `[N, classes]` under `name`.
    pub fn labelled(
        images: Array4<f32>,
        name: &str,
        labels: &[usize],
        classes: usize,
        batch: usize,
    ) -> Result<Self, InfluenceError> {
        InMemory::new(images, Annotations::numbers(name, one_hot(labels, classes)?), batch)
    }

    /// Reads a whole set into memory, so that many passes decode it once.
    pub fn collect(source: &mut dyn Batches, batch: usize) -> Result<Self, InfluenceError> {
        let mut images: Option<Array4<f32>> = None;
        let mut annotations = Annotations::default();
        let reshape = |what, expected: &[usize], found: &[usize]| InfluenceError::Shape {
            what,
            expected: expected.to_vec(),
            found: found.to_vec(),
        };
        source.visit(&mut |batch_images, batch_annotations| {
            let all = images.get_or_insert_with(|| Array4::zeros(emptied(batch_images.dim())));
            all.append(Axis(0), batch_images)
                .map_err(|_| reshape("images of a batch", all.shape(), batch_images.shape()))?;
            annotations.append(batch_annotations)
        })?;
        match images {
            Some(images) => InMemory::new(images, annotations, batch),
            None => Err(InfluenceError::Empty { set: "collected" }),
        }
    }

    /// All images.
    pub fn images(&self) -> ArrayView4<'_, f32> {
        self.images.view()
    }

    /// All annotations.
    pub fn annotations(&self) -> &Annotations {
        &self.annotations
    }
}

fn emptied((_, c, h, w): (usize, usize, usize, usize)) -> (usize, usize, usize, usize) {
    (0, c, h, w)
}

impl Batches for InMemory {
    fn samples(&self) -> usize {
        self.annotations.images()
    }

    fn visit(&mut self, visitor: &mut Visitor) -> Result<(), InfluenceError> {
        let samples = self.samples();
        for start in (0..samples).step_by(self.batch) {
            let end = samples.min(start + self.batch);
            let images = self.images.slice_axis(Axis(0), Slice::from(start..end));
            visitor(images, &self.annotations.slice(start, end))?;
        }
        Ok(())
    }

    fn gather(&mut self, positions: &[usize]) -> Result<(Array4<f32>, Annotations), InfluenceError> {
        check_positions(positions, self.samples())?;
        Ok((self.images.select(Axis(0), positions), self.annotations.select(positions)))
    }
}

/// Two sets, one after the other.
pub struct Joined<'a> {
    /// Visited first.
    pub first: &'a mut dyn Batches,
    /// Visited second; its positions follow those of the first.
    pub second: &'a mut dyn Batches,
}

impl Batches for Joined<'_> {
    fn samples(&self) -> usize {
        self.first.samples() + self.second.samples()
    }

    fn visit(&mut self, visitor: &mut Visitor) -> Result<(), InfluenceError> {
        self.first.visit(visitor)?;
        self.second.visit(visitor)
    }

    fn gather(&mut self, positions: &[usize]) -> Result<(Array4<f32>, Annotations), InfluenceError> {
        check_positions(positions, self.samples())?;
        let first = self.first.samples();
        let (of_first, of_second): (Vec<usize>, Vec<usize>) = positions.iter().partition(|position| **position < first);
        let of_second: Vec<usize> = of_second.into_iter().map(|position| position - first).collect();
        if of_second.is_empty() {
            return self.first.gather(&of_first);
        }
        if of_first.is_empty() {
            return self.second.gather(&of_second);
        }
        let (mut images, mut annotations) = self.first.gather(&of_first)?;
        let (other_images, other_annotations) = self.second.gather(&of_second)?;
        let shape = |expected: &[usize], found: &[usize]| InfluenceError::Shape {
            what: "images of two sets",
            expected: expected.to_vec(),
            found: found.to_vec(),
        };
        let expected = images.shape().to_vec();
        images.append(Axis(0), other_images.view()).map_err(|_| shape(&expected, other_images.shape()))?;
        annotations.append(&other_annotations)?;
        // Those of the first set lie before those of the second, both in the order asked for.
        let (mut next_of_first, mut next_of_second) = (0.., of_first.len()..);
        let next = |position: &usize| match *position < first {
            true => next_of_first.next(),
            false => next_of_second.next(),
        };
        let rows: Vec<usize> = positions.iter().filter_map(next).collect();
        Ok((images.select(Axis(0), &rows), annotations.select(&rows)))
    }
}

/// Some samples of another set, gathered `batch` at a time: a seeded order, or a part held out.
pub struct Subset<'a> {
    source: &'a mut dyn Batches,
    positions: Vec<usize>,
    batch: usize,
}

impl<'a> Subset<'a> {
    /// The samples of `source` at `positions`, in that order.
    pub fn new(source: &'a mut dyn Batches, positions: Vec<usize>, batch: usize) -> Result<Self, InfluenceError> {
        check_positions(&positions, source.samples())?;
        if batch == 0 {
            return Err(InfluenceError::Option { option: "batch", found: 0.0, expected: "at least 1" });
        }
        Ok(Subset { source, positions, batch })
    }
}

impl Batches for Subset<'_> {
    fn samples(&self) -> usize {
        self.positions.len()
    }

    fn visit(&mut self, visitor: &mut Visitor) -> Result<(), InfluenceError> {
        for positions in self.positions.chunks(self.batch) {
            let (images, annotations) = self.source.gather(positions)?;
            visitor(images.view(), &annotations)?;
        }
        Ok(())
    }

    fn gather(&mut self, positions: &[usize]) -> Result<(Array4<f32>, Annotations), InfluenceError> {
        check_positions(positions, self.samples())?;
        let inner: Vec<usize> = positions.iter().filter_map(|&p| self.positions.get(p).copied()).collect();
        self.source.gather(&inner)
    }
}

fn check_positions(positions: &[usize], samples: usize) -> Result<(), InfluenceError> {
    match positions.iter().find(|&&p| p >= samples) {
        Some(&index) => Err(InfluenceError::Index { index, samples }),
        None => Ok(()),
    }
}

/// Class labels as one-hot rows, `[N, classes]`.
pub fn one_hot(labels: &[usize], classes: usize) -> Result<Array2<f32>, InfluenceError> {
    let mut rows = Array2::zeros((labels.len(), classes));
    for (sample, (mut row, &label)) in rows.rows_mut().into_iter().zip(labels).enumerate() {
        *row.get_mut(label).ok_or(InfluenceError::Label { sample, label, classes })? = 1.0;
    }
    Ok(rows)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "an unwrap that fails is the test failing")]
mod tests {
    use super::*;
    use ndarray::Array;

    fn seven() -> InMemory {
        let images = Array::from_iter((0..7 * 2).map(|x| x as f32)).into_shape_with_order((7, 1, 1, 2)).unwrap();
        InMemory::labelled(images, "weights", &[0, 1, 2, 0, 1, 2, 0], 3, 3).unwrap()
    }

    fn first_pixels(set: &mut dyn Batches) -> Vec<Vec<f32>> {
        let mut seen = Vec::new();
        set.visit(&mut |images, annotations| {
            assert_eq!(images.len_of(Axis(0)), annotations.images());
            seen.push(images.outer_iter().map(|image| image[[0, 0, 0]]).collect());
            Ok(())
        })
        .unwrap();
        seen
    }

    #[test]
    fn a_visit_passes_every_sample_once_and_the_last_batch_is_short() {
        let expected = vec![vec![0.0, 2.0, 4.0], vec![6.0, 8.0, 10.0], vec![12.0]];
        let mut set = seven();
        assert_eq!(first_pixels(&mut set), expected);
        assert_eq!(first_pixels(&mut set), expected, "a second visit passes the same batches");
    }

    #[test]
    fn joined_sets_are_visited_one_after_the_other_and_gathered_in_the_order_asked_for() {
        let (mut first, mut second) = (seven(), seven());
        second.images += 100.0;
        let mut both = Joined { first: &mut first, second: &mut second };
        assert_eq!(both.samples(), 14);
        assert_eq!(first_pixels(&mut both).concat()[5..9], [10.0, 12.0, 100.0, 102.0]);
        for positions in [vec![8, 1, 13, 1, 0], vec![2, 0], vec![9, 7]] {
            let (images, annotations) = both.gather(&positions).unwrap();
            let pixels: Vec<f32> = images.outer_iter().map(|image| image[[0, 0, 0]]).collect();
            let of = |p: usize| if p < 7 { 2.0 * p as f32 } else { 100.0 + 2.0 * (p - 7) as f32 };
            assert_eq!(pixels, positions.iter().map(|p| of(*p)).collect::<Vec<f32>>());
            for (row, p) in annotations.rows("weights").unwrap().outer_iter().zip(&positions) {
                assert_eq!(row[p % 7 % 3], 1.0, "the label of {p}");
            }
        }
        assert!(matches!(both.gather(&[14]), Err(InfluenceError::Index { index: 14, samples: 14 })));
    }

    #[test]
    fn a_subset_visits_its_positions_in_the_order_given_and_gathers_within_itself() {
        let mut set = seven();
        let mut subset = Subset::new(&mut set, vec![6, 0, 3], 2).unwrap();
        assert_eq!(first_pixels(&mut subset), vec![vec![12.0, 0.0], vec![6.0]]);
        let (images, annotations) = subset.gather(&[2, 0, 2]).unwrap();
        assert_eq!(images.outer_iter().map(|image| image[[0, 0, 1]]).collect::<Vec<_>>(), [7.0, 13.0, 7.0]);
        assert_eq!(annotations.rows("weights").unwrap().row(1).to_vec(), [1.0, 0.0, 0.0]);
    }

    #[test]
    fn positions_and_labels_outside_the_set_are_refused_with_their_values() {
        let mut set = seven();
        assert!(matches!(set.gather(&[1, 7]), Err(InfluenceError::Index { index: 7, samples: 7 })));
        assert!(matches!(Subset::new(&mut set, vec![9], 1), Err(InfluenceError::Index { index: 9, .. })));
        let wrong = one_hot(&[0, 3], 3);
        assert!(matches!(wrong, Err(InfluenceError::Label { sample: 1, label: 3, classes: 3 })));
    }

    #[test]
    fn collecting_a_set_keeps_its_samples_and_rebatches_them() {
        let mut source = seven();
        let mut copy = InMemory::collect(&mut source, 5).unwrap();
        assert_eq!(copy.images(), source.images());
        assert_eq!(copy.annotations(), source.annotations());
        assert_eq!(first_pixels(&mut copy).iter().map(Vec::len).collect::<Vec<_>>(), [5, 2]);
    }
}
