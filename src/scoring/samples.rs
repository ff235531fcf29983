//! Images as the solvers see them: batches that can be visited again and again.

use crate::data::{Batch, Dataset, Loader, LoaderOptions, Recipe, Skipped};
use crate::families::{self, Family};
use crate::influence::{Annotations, Batches, InMemory, InfluenceError, Visitor};
use crate::sweep::Predictor;
use ndarray::{Array4, Axis};
use std::sync::{Arc, Mutex, PoisonError};

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
    annotated: Annotated,
}

/// Where the annotations come from that the loss of an image is taken under.
#[derive(Clone)]
pub enum Annotated {
    /// What is known of the images.
    Known(Arc<dyn Family>),
    /// What the model believes of them.
    Believed(Arc<Mutex<Predictor>>),
}

impl Annotated {
    /// Those of a batch of `dataset`.
    fn of(&self, dataset: &Dataset, batch: &Batch) -> Result<Annotations, InfluenceError> {
        match self {
            Annotated::Known(family) => families::annotations(family.as_ref(), dataset, &batch.indices, boxed),
            Annotated::Believed(predictor) => {
                let mut predictor = predictor.lock().unwrap_or_else(PoisonError::into_inner);
                predictor.decode(batch.images.view()).map_err(boxed)
            }
        }
    }
}

impl Samples {
    /// Decodes every image once: those that can be used take part from then on, the others are listed.
    ///
    /// # Errors
    /// An image without the annotation that its loss needs, or with another; a bad image where `options.strict`.
    pub fn read(
        dataset: &Dataset,
        recipe: &Recipe,
        annotated: Annotated,
        options: &LoaderOptions,
        mut loaded: impl FnMut(usize) -> bool,
    ) -> Result<Samples, InfluenceError> {
        // Images of sizes of their own make no array together.
        let keep =
            !recipe.free && dataset.len().saturating_mul(recipe.len()).saturating_mul(size_of::<f32>()) <= KEEP_BYTES;
        let mut loader = Loader::new(dataset.clone(), recipe.clone(), options).map_err(boxed)?;
        let (_, c, h, w) = recipe.batch_shape(0);
        let mut images = Array4::zeros((0, c, h, w));
        let (mut annotations, mut usable) = (Vec::new(), Vec::new());
        for batch in &mut loader {
            let batch = batch.map_err(boxed)?;
            // All of them are asked for, so that one that is missing is found before anything is solved.
            let of_batch = annotated.of(dataset, &batch)?;
            usable.extend(&batch.indices);
            if keep {
                annotations.push(of_batch);
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
        let kind = if keep {
            let annotations = Annotations::join(&annotations.iter().collect::<Vec<_>>())?;
            Kind::Memory(InMemory::new(images, annotations, options.batch_size)?)
        } else {
            let dataset = dataset.subset(&usable).map_err(boxed)?;
            // What decoded once must decode again: a set that changes under a solve is an error.
            let options = LoaderOptions { strict: true, ..options.clone() };
            Kind::Disk(OnDisk { dataset, recipe: recipe.clone(), options, annotated })
        };
        Ok(Samples { kind, skipped })
    }
}

fn boxed(error: impl std::error::Error + Send + Sync + 'static) -> InfluenceError {
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
            visitor(batch.images.view(), &self.annotated.of(&self.dataset, &batch)?)?;
        }
        Ok(())
    }

    fn gather(&self, positions: &[usize]) -> Result<(Array4<f32>, Annotations), InfluenceError> {
        let mut batches = Vec::new();
        let mut annotations = Annotations::default();
        self.over(positions.to_vec(), &mut |batch, more| {
            batches.push(batch.to_owned());
            annotations.append(more)
        })?;
        let views: Vec<_> = batches.iter().map(|batch| batch.view()).collect();
        Ok((self.recipe.joined(&views), annotations))
    }
}
