//! What an influence graph says of a classifier besides: the influence under each class, and the factors of its gradient
//! embedding.
//!
//! With `p = softmax(o)`, `d_c = o'_c - o'_top` and `m = sum_c p_c d_c`, the derivative of the cross-entropy under label `j` is
//! `m - d_j`, and the influence `d_j - m`. Taking differences to the top class first keeps a near one-hot prediction from
//! cancelling.

use crate::{Builder, Tensor, Value};

/// Outputs for a classifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassOutputs {
    /// Value that holds the logits, `[N, classes]`.
    pub logits: String,
    /// Number of classes.
    pub classes: usize,
    /// Whether [`INFLUENCE_PER_CLASS`](super::INFLUENCE_PER_CLASS) is wanted.
    pub per_class: bool,
    /// Whether [`EMBEDDING_RESIDUAL`](super::EMBEDDING_RESIDUAL) and [`EMBEDDING_FEATURES`](super::EMBEDDING_FEATURES) are wanted.
    pub embedding: bool,
}

/// The pieces shared by every direction.
pub(super) struct Classes {
    opset: i64,
    /// `softmax(o)`, `[N, C]`.
    p: Value,
    /// One-hot of the most likely class, `[N, C]`.
    top: Value,
}

impl Classes {
    pub(super) fn new(b: &mut Builder, opset: i64, logits: Value, classes: usize) -> Self {
        let p = b.node("Softmax", [logits]).attr("axis", 1).value();
        let best = b.node("ArgMax", [logits]).attr("axis", 1).attr("keepdims", 0).value();
        let top = one_hot(b, opset, best, classes);
        Classes { opset, p, top }
    }

    /// The influence of each sample under each class, `[N, C]`, for one direction.
    pub(super) fn influence(&self, b: &mut Builder, tangent: Value) -> Value {
        let at_top = b.op("Mul", [self.top, tangent]);
        let at_top = self.sum(b, at_top);
        let d = b.op("Sub", [tangent, at_top]);
        let weighted = b.op("Mul", [self.p, d]);
        let m = self.sum(b, weighted);
        b.op("Sub", [d, m])
    }

    /// `softmax(o)` minus the one-hot of the most likely class, `[N, C]`.
    pub(super) fn residual(&self, b: &mut Builder) -> Value {
        b.op("Sub", [self.p, self.top])
    }

    /// Sum over the classes, `[N, 1]`. ReduceSum took axes as an attribute before opset 13.
    fn sum(&self, b: &mut Builder, x: Value) -> Value {
        if self.opset >= 13 {
            let axes = b.constant("axes", Tensor::new([1], &[1_i64]));
            return b.node("ReduceSum", [x, axes]).attr("keepdims", 1).value();
        }
        b.node("ReduceSum", [x]).attr("axes", vec![1_i64]).attr("keepdims", 1).value()
    }
}

/// Class numbers as one-hot rows along a new last axis.
fn one_hot(b: &mut Builder, opset: i64, classes: Value, depth: usize) -> Value {
    if opset >= 9 {
        let depth = b.constant("classes", Tensor::new([1], &[depth as i64]));
        let values = b.constant("off_on", Tensor::new([2], &[0.0f32, 1.0]));
        return b.node("OneHot", [classes, depth, values]).attr("axis", -1).value();
    }
    // OneHot came with opset 9; before, rows of the identity do the same.
    let mut identity = vec![0.0f32; depth * depth];
    identity.iter_mut().step_by(depth + 1).for_each(|x| *x = 1.0);
    let identity = b.constant("identity", Tensor::new([depth, depth], &identity));
    b.node("Gather", [identity, classes]).attr("axis", 0).value()
}

/// Several directions' values side by side along a new axis 1.
pub(super) fn stack(b: &mut Builder, opset: i64, values: &[Value]) -> Value {
    let lifted: Vec<Value> = values
        .iter()
        .map(|v| {
            if opset >= 13 {
                let axes = b.constant("axes", Tensor::new([1], &[1i64]));
                b.op("Unsqueeze", [*v, axes])
            } else {
                b.node("Unsqueeze", [*v]).attr("axes", vec![1i64]).value()
            }
        })
        .collect();
    b.node("Concat", lifted).attr("axis", 1).value()
}
