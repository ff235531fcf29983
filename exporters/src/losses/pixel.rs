//! Softmax cross-entropy of every pixel: segmentation.
//!
//! The mean over an image's valid pixels, with class weights w that of PyTorch for the image alone: `sum_i w_(y_i) (-log p_i) /
//! sum_i w_(y_i)`. An image without valid pixels costs 0, where PyTorch has no number.

use super::beliefs::Sureness;
use super::draft::{Draft, Role};
use crate::Result;
use isal_onnx::{DataType, Dim};

pub(super) const NAME: &str = "pixel-cross-entropy";
const LABELS: &str = "labels";

/// Options of `pixel-cross-entropy`: scores `[N, C, H, W]`, annotation `labels` `[N, H, W]`, int64.
///
/// A label that is no class is ignored, as `ignore` is: a reader of labels has to refuse what is neither.
#[derive(Debug, Clone, PartialEq)]
pub struct PixelCrossEntropy {
    /// The label of pixels that do not count; it may be one of the classes.
    pub ignore: i64,
    /// Weight of each class; none: all 1.
    pub class_weights: Option<Vec<f32>>,
}

impl PixelCrossEntropy {
    /// As segmentation masks have it. PyTorch's own default, -100, does not fit into their bytes.
    pub(super) const DEFAULT: PixelCrossEntropy = PixelCrossEntropy { ignore: 255, class_weights: None };

    pub(super) fn add(&self, g: &mut Draft) -> Result<()> {
        let [batch, classes, height, width] = &g.shape[..] else { return Err(g.wrong_shape("[N, C, H, W]")) };
        let Some(classes) = classes.known().filter(|c| *c > 0) else {
            return Err(g.wrong_shape("[N, C, H, W], C a number above 0"));
        };
        let labels: Vec<Dim> = [batch, height, width].into_iter().cloned().collect();
        if let Some(weights) = &self.class_weights {
            g.per_class("class_weights", weights, classes)?;
        }
        match g.role {
            Role::Loss => self.loss(g, labels, classes),
            Role::Decode => {
                let best = g.arg_max(g.outputs, 1);
                g.give_annotation(LABELS, best, DataType::Int64, labels);
                let of_pixels = g.sureness_of_class(classes);
                let of_image = Sureness {
                    confidence: g.mean(of_pixels.confidence, 3),
                    entropy: g.mean(of_pixels.entropy, 3),
                    margin: g.mean(of_pixels.margin, 3),
                };
                g.give_sureness(&of_image);
            }
        }
        Ok(())
    }

    fn loss(&self, g: &mut Draft, shape: Vec<Dim>, classes: usize) {
        let labels = g.annotation(LABELS, DataType::Int64, shape);
        let numbers = g.class_numbers("classes", classes, &[1, classes, 1, 1]);
        let labels = g.unsqueeze(labels, 1);
        let hits = g.op("Equal", [labels, numbers]);
        let mut weights = g.cast(hits, DataType::Float);
        let mut of_classes = self.class_weights.clone().unwrap_or_else(|| vec![1.0; classes]);
        // A class that is ignored weighs nothing. Any other label that is ignored hits no class.
        if let Some(ignored) = usize::try_from(self.ignore).ok().and_then(|i| of_classes.get_mut(i)) {
            *ignored = 0.0;
        }
        if of_classes.iter().any(|w| *w != 1.0) {
            let of_classes = g.classes("class_weights", &of_classes, 4);
            weights = g.op("Mul", [weights, of_classes]);
        }
        let logarithms = g.log_softmax(classes);
        let weighted = g.op("Mul", [weights, logarithms]);
        // One axis at a time: a float32 sum is the more exact the fewer numbers each part of it has.
        let mut whole = |x| [1, 2, 1].into_iter().fold(x, |x, axis| g.sum(x, axis, false));
        let (sum, weight) = (whole(weighted), whole(weights));
        // The sum of none is 0; it is divided by 1.
        let zero = g.number(0.0);
        let some = g.op("Greater", [weight, zero]);
        let none = g.op("Not", [some]);
        let none = g.cast(none, DataType::Float);
        let divisor = g.op("Add", [weight, none]);
        let mean = g.op("Div", [sum, divisor]);
        let loss = g.op("Neg", [mean]);
        g.give_loss(loss);
    }
}

impl Default for PixelCrossEntropy {
    fn default() -> Self {
        Self::DEFAULT
    }
}
