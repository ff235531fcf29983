//! What an influence graph believes of single images, drawn over them.

use super::ScoringError;
use super::carried::Contents;
use crate::data::{Dataset, Image, Recipe, rgb};
use crate::families::Family;
use crate::runtime::{ExecutionProvider, Library, SessionOptions};
use crate::sweep::Predictor;
use image::RgbImage;
use ndarray::Array4;
use std::path::Path;
use std::sync::Arc;

/// Draws beliefs of a task that draws them, such as the classes of pixels.
#[derive(Debug)]
pub struct Overlay {
    recipe: Recipe,
    family: Arc<dyn Family>,
    predictor: Predictor,
}

impl Overlay {
    /// By the influence graph at `path`, which holds the model and its decode graph, on one thread of the CPU; `None` of a task
    /// that draws nothing.
    ///
    /// # Errors
    /// [`ScoringError::NotAnInfluenceGraph`]; ONNX Runtime's.
    pub fn open(path: &Path, onnxruntime: Option<&Path>) -> Result<Option<Overlay>, ScoringError> {
        let Contents { network, recipe, family, .. } = Contents::read(path)?;
        if !family.draws() {
            return Ok(None);
        }
        let library = Library::load(onnxruntime)?;
        let options = SessionOptions { provider: ExecutionProvider::Cpu, threads: 1 };
        let predictor = Predictor::of(&library, network.model, path, options)?;
        Ok(Some(Overlay { recipe, family, predictor }))
    }

    /// The image with what is believed of it, and with what `pool` says of the image at `index` where it says something; `None` where
    /// that draws nothing.
    ///
    /// # Errors
    /// An image that the recipe cannot take; ONNX Runtime's.
    pub fn draw(&mut self, image: &Image, pool: &Dataset, index: usize) -> Result<Option<RgbImage>, ScoringError> {
        let mut seen = Array4::zeros(self.recipe.batch_shape(1));
        if let Some(values) = seen.as_slice_mut() {
            self.recipe.apply(image, values)?;
        }
        let believed = self.predictor.decode(seen.view())?;
        let known = match pool.fields(index) {
            // What does not fit the model is not drawn.
            Some(_) => {
                let counted = self.family.as_the_model_counts(pool).ok();
                counted.and_then(|pool| self.family.known(&pool, index).ok())
            }
            None => None,
        };
        Ok(rgb(image).and_then(|image| match &known {
            Some(known) => self.family.overlay_with(&image, &believed, known),
            None => self.family.overlay(&image, &believed),
        }))
    }
}
