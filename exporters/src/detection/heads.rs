//! The raw heads that a task reads, and the two graphs that begin with them.

use super::{Anchors, DETECTION_OPSETS, Grid};
use crate::losses::Pair;
use crate::losses::draft::{Draft, Role};
use crate::{Error, Result};
use isal_onnx::{Dim, Model, Value};

/// The heads of a task by name, with their shapes.
pub(super) struct Shapes {
    task: &'static str,
    named: Vec<(&'static str, Vec<Dim>)>,
    opset: i64,
}

impl Shapes {
    /// Of the heads called `names`, in that order.
    ///
    /// # Errors
    /// [`Error::LossOption`] for an opset that the graphs are not built for.
    pub fn of(task: &'static str, names: &[&'static str], heads: &[Vec<Dim>], opset: i64) -> Result<Shapes> {
        let shapes = Shapes { task, named: names.iter().copied().zip(heads.iter().cloned()).collect(), opset };
        if DETECTION_OPSETS.contains(&opset) {
            return Ok(shapes);
        }
        let expected = format!("{} to {}", DETECTION_OPSETS.start(), DETECTION_OPSETS.end());
        Err(shapes.wrong("opset", opset.to_string(), expected))
    }

    /// The error that an option does not suit.
    pub fn wrong(&self, option: &'static str, found: String, expected: impl Into<String>) -> Error {
        Error::LossOption { task: self.task, option, found, expected: expected.into() }
    }

    /// The error that the heads have other shapes.
    pub fn wrong_shapes(&self, expected: &str) -> Error {
        let dims = |dims: &[Dim]| dims.iter().map(Dim::to_string).collect::<Vec<_>>().join(", ");
        let found: Vec<String> = self.named.iter().map(|(name, shape)| format!("{name} [{}]", dims(shape))).collect();
        self.wrong("heads", found.join(", "), expected)
    }

    /// The size of an axis of a head, where it is known.
    pub fn known(&self, head: usize, axis: usize) -> Option<usize> {
        self.named.get(head)?.1.get(axis)?.known()
    }

    /// Where so many locations lie in images of `[height, width]`.
    pub fn grid(&self, image: [usize; 2], locations: usize) -> Result<Grid> {
        let expected = || format!("as many as levels of doubling strides have on images of {image:?}");
        Grid::of(image, locations).ok_or_else(|| self.wrong("locations", locations.to_string(), expected()))
    }

    /// Where the locations are around which there are so many anchors in images of `[height, width]`.
    pub fn anchored(&self, image: [usize; 2], anchors: &Anchors, count: usize) -> Result<Grid> {
        let expected = || {
            let (levels, each) = (anchors.sizes.len(), anchors.per_location());
            format!("as many as {levels} levels of doubling strides have on images of {image:?}, {each} a location")
        };
        anchors.grid(image, count).ok_or_else(|| self.wrong("anchors", count.to_string(), expected()))
    }

    /// The loss and the decode graph, each completed by `add`, which is given the heads.
    pub fn pair(&self, add: impl Fn(&mut Draft, &[Value])) -> Result<Pair> {
        let graph = |role| -> Result<Model> {
            let (mut g, heads) = Draft::of(self.task, role, &self.named, self.opset)?;
            add(&mut g, &heads);
            Ok(g.finish())
        };
        Ok(Pair { loss: graph(Role::Loss)?, decode: graph(Role::Decode)? })
    }
}
