//! The built-in tasks, each a pair of ONNX graphs: what the loss of an image is, and what the model believes of it.
//!
//! - The *loss graph* takes model values by name (here the one value [`OUTPUTS`], the scores before any squashing) and
//!   annotations by name, and gives [`LOSS`], `[N]`: the training loss of each image, differentiable in the model values alone.
//! - The *decode graph* takes model values by name and gives annotations, under the names and with the types of the loss graph's
//!   inputs: the pseudo-label. Every other output, which the loss graph does not take, is a *belief*: one number an image, `[N]`,
//!   float, or int64 for a class or a count. The built-in ones give the annotation first. Nothing in it is differentiable.
//!
//! So an input of the loss graph that the decode graph gives is an annotation, and every other one is a model value. A user's
//! own pair, exported from training code, keeps the same contract, with beliefs of any names. Those of the built-in ones (entropies in
//! nats):
//!
//! | task | beliefs |
//! |---|---|
//! | softmax cross-entropy | `pseudo_label` (the likeliest class, of equals the first), `confidence` (its probability), `entropy`, `margin` (how much likelier than the next; the confidence where it is the only class) |
//! | sigmoid cross-entropy | `positives` (how many classes are believed there), or of one score `[N]` `pseudo_label` (0 or 1); `confidence`, `entropy`, `margin` of the labelling as a whole, its classes independent |
//! | pixel cross-entropy | `confidence`, `entropy`, `margin`, each the mean over the pixels of the pixel's own |
//! | squared error, Huber | `value`, of a model of one number an image |
//!
//! An output that is not a number makes these floats no numbers; an infinite one makes some of them so.
//!
//! The metadata properties are `isal.graph` (`loss` or `decode`) and `isal.task` (the name of the task). A loss graph may list
//! values without a derivative in [`isal.held`](isal_onnx::tangent::HELD); the built-in ones have none and no such property.
//!
//! The graphs are float32, of the standard domain, without Loop or If, and have the batch axis `N`.

mod beliefs;
pub(crate) mod draft;
mod huber;
mod pixel;
mod sigmoid;
mod softmax;
mod squared;

pub use huber::Huber;
pub use pixel::PixelCrossEntropy;
pub use sigmoid::SigmoidCrossEntropy;
pub use softmax::{SoftmaxCrossEntropy, WEIGHTS};
pub use squared::SquaredError;

use crate::{Error, ModelOptions, Result};
use draft::{Draft, Role};
use isal_onnx::{Dim, Model, ReadOptions};

/// Versions of the standard operator set that losses are built for: those that a model may have.
pub const OPSETS: std::ops::RangeInclusive<i64> = ReadOptions::OPSETS;
/// Name of the model value that the built-in tasks read: an input of both graphs.
pub const OUTPUTS: &str = "outputs";
/// Name of the loss graph's output.
pub const LOSS: &str = "loss";

/// The two graphs of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Model values and annotations to the loss of each image.
    pub loss: Model,
    /// Model values to the annotations that the model believes.
    pub decode: Model,
}

/// A built-in task with its options.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each names its options, which say what it is")]
pub enum Loss {
    SoftmaxCrossEntropy(SoftmaxCrossEntropy),
    SigmoidCrossEntropy(SigmoidCrossEntropy),
    PixelCrossEntropy(PixelCrossEntropy),
    SquaredError(SquaredError),
    Huber(Huber),
}

/// What a pair is built for, beside the options of its loss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LossOptions<'a> {
    /// Shape of the model value, the batch axis first: `[N, C]` and so on. Sizes may be symbols, but for the classes.
    pub outputs: &'a [Dim],
    /// Version of the standard operator set, from [`OPSETS`].
    pub opset: i64,
}

impl<'a> LossOptions<'a> {
    /// For a model value of this shape, at the opset that models of the zoo have by default.
    pub fn new(outputs: &'a [Dim]) -> Self {
        LossOptions { outputs, opset: ModelOptions::DEFAULT_OPSET }
    }
}

/// A built-in task.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// What it is, in a line.
    pub description: &'static str,
    /// It with the options of PyTorch's class of the same name.
    pub defaults: Loss,
}

const LOSSES: &[Entry] = &[
    Entry {
        name: softmax::NAME,
        description: "one class an image, scores [N, C]: CrossEntropyLoss",
        defaults: Loss::SoftmaxCrossEntropy(SoftmaxCrossEntropy::DEFAULT),
    },
    Entry {
        name: sigmoid::NAME,
        description: "any number of classes an image, or one yes or no, scores [N, C] or [N]: BCEWithLogitsLoss",
        defaults: Loss::SigmoidCrossEntropy(SigmoidCrossEntropy::DEFAULT),
    },
    Entry {
        name: pixel::NAME,
        description: "one class a pixel, scores [N, C, H, W]: CrossEntropyLoss over the pixels of each image",
        defaults: Loss::PixelCrossEntropy(PixelCrossEntropy::DEFAULT),
    },
    Entry {
        name: squared::NAME,
        description: "numbers, [N, ...]: MSELoss over those of each image",
        defaults: Loss::SquaredError(SquaredError),
    },
    Entry {
        name: huber::NAME,
        description: "numbers, [N, ...]: HuberLoss over those of each image",
        defaults: Loss::Huber(Huber::DEFAULT),
    },
];

/// Every built-in task.
pub fn all() -> &'static [Entry] {
    LOSSES
}

/// The built-in task of this name.
///
/// # Errors
/// [`Error::UnknownLoss`].
pub fn find(name: &str) -> Result<&'static Entry> {
    let unknown = || Error::UnknownLoss { name: name.to_owned(), known: LOSSES.iter().map(|e| e.name).collect() };
    LOSSES.iter().find(|e| e.name == name).ok_or_else(unknown)
}

/// Builds the two graphs of a task.
///
/// ```
/// use isal_exporters::losses::{self, LossOptions};
///
/// let task = losses::find("softmax-cross-entropy")?;
/// let pair = losses::build(&task.defaults, &LossOptions::new(&["N".into(), 10.into()]))?;
/// assert_eq!(pair.loss.graph.inputs[1].name, pair.decode.graph.outputs[0].name);
/// # Ok::<(), isal_exporters::Error>(())
/// ```
///
/// # Errors
/// [`Error::LossOption`] when the options do not suit the loss, or the loss does not suit the shape.
pub fn build(loss: &Loss, options: &LossOptions) -> Result<Pair> {
    let pair = |role| -> Result<Model> {
        let mut draft = Draft::new(loss.name(), role, options)?;
        match loss {
            Loss::SoftmaxCrossEntropy(own) => own.add(&mut draft),
            Loss::SigmoidCrossEntropy(own) => own.add(&mut draft),
            Loss::PixelCrossEntropy(own) => own.add(&mut draft),
            Loss::SquaredError(own) => own.add(&mut draft),
            Loss::Huber(own) => own.add(&mut draft),
        }?;
        Ok(draft.finish())
    };
    Ok(Pair { loss: pair(Role::Loss)?, decode: pair(Role::Decode)? })
}

impl Loss {
    /// Whether axis 1 of what it reads is one of classes, where there is such an axis.
    pub fn has_classes(&self) -> bool {
        match self {
            Loss::SoftmaxCrossEntropy(_) | Loss::SigmoidCrossEntropy(_) | Loss::PixelCrossEntropy(_) => true,
            Loss::SquaredError(_) | Loss::Huber(_) => false,
        }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Loss::SoftmaxCrossEntropy(_) => softmax::NAME,
            Loss::SigmoidCrossEntropy(_) => sigmoid::NAME,
            Loss::PixelCrossEntropy(_) => pixel::NAME,
            Loss::SquaredError(_) => squared::NAME,
            Loss::Huber(_) => huber::NAME,
        }
    }
}
