//! Images as the solvers see them: batches that can be visited again and again.

use crate::data::{DataError, Dataset, Loader, LoaderOptions, Recipe, Skipped};
use crate::influence::{Annotations, Batches, InMemory, InfluenceError, Visitor, one_hot};
use crate::task::CLASS_WEIGHTS;
use ndarray::{Array2, Array4, Axis};

/// Decoded sets up to this size stay in memory; a solver passes over the labelled set dozens of times.
const KEEP_BYTES: usize = 512 << 20;

/// The usable samples of a data set, preprocessed.
pub struct Samples {
    kind: Kind,
    /// Images that could not be used.
    pub skipped: Vec<Skipped>,
}

enum Kind {
    Memory(InMemory),
    Disk(OnDisk),
}

struct OnDisk {
    dataset: Dataset,
    recipe: Recipe,
    options: LoaderOptions,
    targets: Targets,
}

/// The class weights that the loss of an image is taken under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Targets {
    /// One for its label, of so many classes.
    Labels(usize),
    /// Alike for each of so many classes: what the Gauss-Newton matrix, which needs no label, takes of an image.
    Alike(usize),
}

impl Targets {
    /// Those of these images, `[N, classes]`.
    fn of(self, labels: &[Option<u32>]) -> Result<Annotations, InfluenceError> {
        let weights = match self {
            Targets::Labels(classes) => {
                let labels: Vec<usize> = labels.iter().map(|l| l.map_or(usize::MAX, |l| l as usize)).collect();
                one_hot(&labels, classes)?
            }
            Targets::Alike(classes) => Array2::from_elem((labels.len(), classes), 1.0 / classes.max(1) as f32),
        };
        Ok(Annotations::numbers(CLASS_WEIGHTS, weights))
    }
}

impl Samples {
    /// Decodes every image once: those that can be used take part from then on, the others are listed.
    ///
    /// # Errors
    /// An image without the label that `targets` ask for, or with one past the classes; a bad image where `options.strict`.
    pub fn read(
        dataset: &Dataset,
        recipe: &Recipe,
        targets: Targets,
        options: &LoaderOptions,
        mut loaded: impl FnMut(usize) -> bool,
    ) -> Result<Samples, InfluenceError> {
        let keep = dataset.len().saturating_mul(recipe.len()).saturating_mul(size_of::<f32>()) <= KEEP_BYTES;
        let mut loader = Loader::new(dataset.clone(), recipe.clone(), options).map_err(boxed)?;
        let (_, c, h, w) = recipe.batch_shape(0);
        let mut images = Array4::zeros((0, c, h, w));
        let (mut labels, mut usable) = (Vec::new(), Vec::new());
        for batch in &mut loader {
            let batch = batch.map_err(boxed)?;
            for (index, label) in batch.indices.iter().zip(&batch.labels) {
                if label.is_none() && matches!(targets, Targets::Labels(_)) {
                    return Err(InfluenceError::Data(format!("`{}` has no label", dataset.id(*index)).into()));
                }
                labels.push(*label);
                usable.push(*index);
            }
            if keep {
                let expected = images.shape().to_vec();
                images.append(Axis(0), batch.images.view()).map_err(|_| InfluenceError::Shape {
                    what: "images of a batch",
                    expected,
                    found: batch.images.shape().to_vec(),
                })?;
            }
            if !loaded(batch.indices.len()) {
                return Err(InfluenceError::Cancelled);
            }
        }
        let skipped = loader.into_skipped();
        let weights = targets.of(&labels)?;
        let kind = if keep {
            Kind::Memory(InMemory::new(images, weights, options.batch_size)?)
        } else {
            let dataset = dataset.subset(&usable).map_err(boxed)?;
            // What decoded once must decode again: a set that changes under a solve is an error.
            let options = LoaderOptions { strict: true, ..options.clone() };
            Kind::Disk(OnDisk { dataset, recipe: recipe.clone(), options, targets })
        };
        Ok(Samples { kind, skipped })
    }
}

fn boxed(error: DataError) -> InfluenceError {
    InfluenceError::Data(Box::new(error))
}

impl Batches for Samples {
    fn samples(&self) -> usize {
        match &self.kind {
            Kind::Memory(memory) => memory.samples(),
            Kind::Disk(disk) => disk.dataset.len(),
        }
    }

    fn visit(&mut self, visitor: &mut Visitor) -> Result<(), InfluenceError> {
        match &mut self.kind {
            Kind::Memory(memory) => memory.visit(visitor),
            Kind::Disk(disk) => disk.over((0..disk.dataset.len()).collect(), visitor),
        }
    }

    fn gather(&mut self, positions: &[usize]) -> Result<(Array4<f32>, Annotations), InfluenceError> {
        match &mut self.kind {
            Kind::Memory(memory) => memory.gather(positions),
            Kind::Disk(disk) => disk.gather(positions),
        }
    }
}

impl OnDisk {
    fn over(&self, positions: Vec<usize>, visitor: &mut Visitor) -> Result<(), InfluenceError> {
        let loader =
            Loader::over(self.dataset.clone(), self.recipe.clone(), positions, &self.options).map_err(boxed)?;
        for batch in loader {
            let batch = batch.map_err(boxed)?;
            visitor(batch.images.view(), &self.targets.of(&batch.labels)?)?;
        }
        Ok(())
    }

    fn gather(&self, positions: &[usize]) -> Result<(Array4<f32>, Annotations), InfluenceError> {
        let (_, c, h, w) = self.recipe.batch_shape(0);
        let mut images = Array4::zeros((0, c, h, w));
        let mut annotations = Annotations::default();
        self.over(positions.to_vec(), &mut |batch, more| {
            let shape = |found: &[usize]| InfluenceError::Shape {
                what: "a gathered batch",
                expected: vec![c, h, w],
                found: found.to_vec(),
            };
            images.append(Axis(0), batch).map_err(|_| shape(batch.shape()))?;
            annotations.append(more)
        })?;
        Ok((images, annotations))
    }
}
