//! What a rule knows of the images of a set.

use super::{JointError, Sets};
use ndarray::{Array2, ArrayView1, Axis};

/// Features and class scores, a row an image.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Embedded {
    /// `[N, F]`.
    pub features: Array2<f32>,
    /// Class scores before the softmax, `[N, C]`; no column where they are not known.
    pub logits: Array2<f32>,
    /// Classes, where they are known.
    pub labels: Vec<Option<u32>>,
}

impl Embedded {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.features.nrows()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn not_finite(&self) -> usize {
        let finite = |row: ArrayView1<f32>| row.iter().all(|x| x.is_finite());
        let rows = self.features.axis_iter(Axis(0)).zip(self.logits.axis_iter(Axis(0)));
        rows.filter(|(features, logits)| !finite(*features) || !finite(*logits)).count()
    }
}

impl<'a> Sets<'a> {
    /// The sets, each with the name it has in messages.
    fn named(&self) -> impl Iterator<Item = (&'static str, &'a Embedded)> {
        let target = self.target.map(|target| ("target", target));
        [("candidate", self.candidates), ("labelled", self.labelled)].into_iter().chain(target)
    }

    /// That all that is there goes together and is numbers.
    pub(super) fn check(&self, beliefs: bool) -> Result<(), JointError> {
        if self.candidates.is_empty() {
            return Err(JointError::Empty { set: "candidate" });
        }
        let (width, classes) = (self.candidates.features.ncols(), self.candidates.logits.ncols());
        for (set, embedded) in self.named() {
            let differing =
                [("features", embedded.features.ncols(), width), ("class scores", embedded.logits.ncols(), classes)];
            for (what, found, expected) in differing {
                if found != expected && !embedded.is_empty() {
                    return Err(JointError::Width { set, what, found, expected });
                }
            }
            if beliefs && classes == 0 {
                return Err(JointError::NoBeliefs { set });
            }
            match embedded.not_finite() {
                0 => {}
                images => return Err(JointError::NotFinite { set, images, of: embedded.len() }),
            }
        }
        Ok(())
    }

    /// The target images.
    pub(super) fn the_target(&self) -> Result<&'a Embedded, JointError> {
        self.target.filter(|target| !target.is_empty()).ok_or(JointError::Empty { set: "target" })
    }
}
