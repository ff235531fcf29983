//! Images of the pool as a browser takes them, no larger than they are shown.

use super::Table;
use crate::data::{Dataset, Decoding, Image, Limits, load_file, packed, rgb, within};
use crate::scoring::{Overlay, ScoringError};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Sides that are served, in pixels.
pub(super) const SIDES: [u32; 3] = [160, 640, 1600];

/// The images, and what draws beliefs over them.
#[derive(Debug)]
pub(super) struct Pictures {
    pub(super) pool: Dataset,
    onnxruntime: Option<PathBuf>,
    /// By the file of its influence graph; `None` where nothing is drawn.
    overlay: Mutex<Option<(PathBuf, Option<Overlay>)>>,
}

impl Pictures {
    /// Of this pool; `onnxruntime` is the library that runs influence graphs, when named.
    pub(super) fn new(pool: Dataset, onnxruntime: Option<PathBuf>) -> Pictures {
        Pictures { pool, onnxruntime, overlay: Mutex::default() }
    }

    /// The image at a position, no side longer than `side`, with its media type.
    pub(super) fn small(&self, position: usize, side: u32) -> Option<(&'static str, Vec<u8>)> {
        packed(&within(rgb(&self.decoded(position, side)?)?, side))
    }

    /// A JPEG file is decoded at a fraction of its size where that is enough; that is many times faster.
    fn decoded(&self, position: usize, side: u32) -> Option<Image> {
        let jpeg = self.pool.path(position).filter(|path| {
            path.extension().is_some_and(|ending| ["jpg", "jpeg"].iter().any(|jpeg| ending.eq_ignore_ascii_case(jpeg)))
        });
        let decoding = Decoding { limits: Limits::default(), jpeg_least_side: Some(side) };
        match jpeg {
            Some(path) => load_file(&path, || self.pool.id(position), &decoding).ok(),
            None => self.pool.load(position).ok(),
        }
    }

    /// The image with what the model believes drawn over it; `None` where that is not drawn.
    ///
    /// # Errors
    /// What stands in the way of running the influence graph.
    pub(super) fn drawn(
        &self,
        table: &Table,
        position: usize,
        side: u32,
    ) -> Result<Option<(&'static str, Vec<u8>)>, ScoringError> {
        let Some(graph) = table.scored.influence_graph().filter(|_| table.family.draws()) else { return Ok(None) };
        let image = self.pool.load(position)?;
        let mut held = self.overlay.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_none_or(|(of, _)| *of != graph) {
            *held = Some((graph.clone(), Overlay::open(&graph, self.onnxruntime.as_deref())?));
        }
        let Some((_, Some(overlay))) = held.as_mut() else { return Ok(None) };
        let drawn = overlay.draw(&image, &self.pool, position)?;
        drop(held);
        Ok(drawn.and_then(|drawn| packed(&within(drawn, side))))
    }
}
