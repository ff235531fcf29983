//! Rows of normalizations, reductions, softmax and losses.

use super::case::{Case, case};

pub(super) fn rows() -> Vec<Case> {
    [normalizations(), reductions(), softmax()].concat()
}

fn batch(dims: &[i64]) -> Case {
    let c = dims[1];
    case("BatchNormalization").x(dims).x(&[c]).x(&[c]).x(&[c]).within(&[c], 0.5, 1.5)
}

/// A training step: no derivative flows through the running statistics.
fn trained(dims: &[i64]) -> Case {
    let c = dims[1];
    let row = case("BatchNormalization").training().names(3).x(dims).x(&[c]).x(&[c]);
    let ones = vec![1.0; c as usize];
    row.floats(&[c], &ones).floats(&[c], &ones).outputs(&[0])
}

fn normalizations() -> Vec<Case> {
    vec![
        batch(&[2, 3, 2, 2]).opset(9),
        batch(&[4, 3]),
        trained(&[2, 3, 4]),
        trained(&[3, 2, 2, 2]),
        batch(&[3, 2, 2, 2]).set("training_mode", 1i64).set("momentum", 0.3f32),
        batch(&[4, 3]).opset(9).names(5),
        case("LayerNormalization").x(&[2, 3, 4]).x(&[4]).x(&[4]),
        case("LayerNormalization").names(3).x(&[2, 3, 4]).x(&[4]).x(&[4]),
        case("LayerNormalization").set("axis", 1i64).x(&[2, 3, 4]).x(&[3, 4]),
        case("LayerNormalization").set("axis", 1i64).x(&[2, 3, 4]).x(&[4]),
        case("RMSNormalization").opset(23).x(&[2, 3, 4]).x(&[4]),
        case("InstanceNormalization").x(&[2, 3, 4]).x(&[3]).x(&[3]),
        case("GroupNormalization").opset(18).set("num_groups", 2i64).x(&[2, 4, 3]).x(&[2]).x(&[2]),
        case("GroupNormalization").set("num_groups", 2i64).x(&[2, 4, 2, 2]).x(&[4]).x(&[4]),
        case("LRN").set("size", 3i64).set("alpha", 0.5f32).x(&[2, 5, 2, 2]),
        case("LRN").set("size", 4i64).set("alpha", 0.5f32).set("beta", 0.5f32).set("bias", 2.0f32).x(&[1, 4, 3]),
        case("LpNormalization").x(&[3, 4]),
        case("LpNormalization").set("p", 1i64).set("axis", 0i64).apart(&[3, 4], 0.2),
        case("MeanVarianceNormalization").x(&[2, 3, 2, 2]),
    ]
}

fn reductions() -> Vec<Case> {
    let mut rows = Vec::new();
    for op in [
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "ReduceSumSquare",
    ] {
        // Positive, and all apart: fit for logarithms and for extremes.
        let x = |row: Case| {
            if op == "ReduceLogSum" { row.within(&[2, 3, 4], 0.2, 1.0) } else { row.apart(&[2, 3, 4], 0.1) }
        };
        rows.push(x(case(op)));
        rows.push(x(case(op).set("keepdims", 0i64)).list(&[-1, 0]));
        rows.push(x(case(op)).list(&[1]));
        rows.push(x(case(op).set("noop_with_empty_axes", 1i64)));
        rows.push(x(case(op).opset(11).set("axes", vec![1i64, 2]).set("keepdims", 0i64)));
    }
    rows
}

fn softmax() -> Vec<Case> {
    let mut rows = Vec::new();
    for op in ["Softmax", "LogSoftmax"] {
        rows.push(case(op).x(&[2, 3, 4]));
        rows.push(case(op).set("axis", 1i64).x(&[2, 3, 4]));
        rows.push(case(op).opset(11).x(&[2, 3, 4]));
    }
    for reduction in ["mean", "sum", "none"] {
        let with = |op| case(op).set("reduction", reduction);
        rows.push(with("NegativeLogLikelihoodLoss").x(&[3, 4]).ints(&[3], &[0, 3, 1]));
        let weighted = with("NegativeLogLikelihoodLoss").set("ignore_index", 1i64);
        rows.push(weighted.x(&[2, 3, 2]).ints(&[2, 2], &[0, 1, 2, 2]).within(&[3], 0.5, 1.5));
        rows.push(with("SoftmaxCrossEntropyLoss").names(2).x(&[3, 4]).ints(&[3], &[0, 3, 1]));
        let weighted = with("SoftmaxCrossEntropyLoss").set("ignore_index", -1i64);
        rows.push(weighted.x(&[2, 3, 2]).ints(&[2, 2], &[0, 1, -1, 2]).within(&[3], 0.5, 1.5).outputs(&[0]));
    }
    rows
}
