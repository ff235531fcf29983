//! From logits `o` and their derivative `o'` along `s` to influences, as ONNX nodes.
//!
//! With `p = softmax(o)`, `d_c = o'_c - o'_top` and `m = sum_c p_c d_c`, the derivative of the cross-entropy under label
//! `j` is `t_j = m - d_j`, and the influence is `-t`:
//! - arg-max pseudo-label: `-m`;
//! - class `j`: `d_j - m`;
//! - expected gradient over the K most likely classes (weights `p_c`, held constant): the expectation over all classes is
//!   zero, so it is `sum over the other classes of p_c (m - d_c)`.
//!
//! Taking differences to the top class first keeps a near one-hot prediction from cancelling.

use super::InfluenceOptions;
use crate::{Builder, Tensor, Value};

/// The pieces shared by every direction.
pub(super) struct Contraction<'a> {
    options: &'a InfluenceOptions,
    opset: i64,
    /// `softmax(o)`, `[N, C]`.
    p: Value,
    /// One-hot of the most likely class, `[N, C]`.
    top: Value,
    /// `p` with the K most likely classes set to zero, `[N, C]`; absent for the arg-max.
    others: Option<Value>,
}

impl<'a> Contraction<'a> {
    pub(super) fn new(b: &mut Builder, opset: i64, logits: Value, options: &'a InfluenceOptions) -> Self {
        let p = b.node("Softmax", [logits]).attr("axis", 1).value();
        let best = b.node("ArgMax", [logits]).attr("axis", 1).attr("keepdims", 0).value();
        let mut this = Contraction { options, opset, p, top: p, others: None };
        this.top = this.one_hot(b, best);
        let k = options.top_k.min(options.classes.saturating_sub(1));
        if options.top_k > 1 && k >= 1 {
            let likely = this.most_likely(b, k);
            let one_hot = this.one_hot(b, likely);
            let mask = this.sum(b, one_hot, 1, false);
            let one = b.constant("one", Tensor::scalar(1.0f32));
            let rest = b.op("Sub", [one, mask]);
            this.others = Some(b.op("Mul", [p, rest]));
        }
        this
    }

    /// The influence of each sample, `[N]`, and under each class, `[N, C]`, for one direction.
    pub(super) fn apply(&self, b: &mut Builder, tangent: Value) -> (Value, Option<Value>) {
        let at_top = b.op("Mul", [self.top, tangent]);
        let at_top = self.sum(b, at_top, 1, true);
        let d = b.op("Sub", [tangent, at_top]);
        let weighted = b.op("Mul", [self.p, d]);
        let m = self.sum(b, weighted, 1, true);
        let influence = match self.others {
            None => {
                let flat = self.sum(b, weighted, 1, false);
                b.op("Neg", [flat])
            }
            Some(others) => {
                let t = b.op("Sub", [m, d]);
                let weighted = b.op("Mul", [others, t]);
                self.sum(b, weighted, 1, false)
            }
        };
        let per_class = self.options.per_class.then(|| b.op("Sub", [d, m]));
        (influence, per_class)
    }

    /// `softmax(o)` minus the one-hot of the most likely class, `[N, C]`.
    pub(super) fn residual(&self, b: &mut Builder) -> Value {
        b.op("Sub", [self.p, self.top])
    }

    /// Class numbers as one-hot rows along a new last axis.
    fn one_hot(&self, b: &mut Builder, classes: Value) -> Value {
        let depth = self.options.classes;
        if self.opset >= 9 {
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

    /// Numbers of the `k` most likely classes, `[N, k]`. TopK took `k` as an attribute before opset 10.
    fn most_likely(&self, b: &mut Builder, k: usize) -> Value {
        let k = k as i64;
        let values = if self.opset >= 10 {
            let k = b.constant("k", Tensor::new([1], &[k]));
            b.node("TopK", [self.p, k]).attr("axis", 1).values(2)
        } else {
            b.node("TopK", [self.p]).attr("axis", 1).attr("k", k).values(2)
        };
        values[1]
    }

    /// Sum over `axis`. ReduceSum took axes as an attribute before opset 13.
    fn sum(&self, b: &mut Builder, x: Value, axis: i64, keep: bool) -> Value {
        let keep = i64::from(keep);
        if self.opset >= 13 {
            let axes = b.constant("axes", Tensor::new([1], &[axis]));
            b.node("ReduceSum", [x, axes]).attr("keepdims", keep).value()
        } else {
            b.node("ReduceSum", [x]).attr("axes", vec![axis]).attr("keepdims", keep).value()
        }
    }
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
