//! Rows of operators that change shape, cut, join and extend.

use super::case::{Case, case};

pub(super) fn rows() -> Vec<Case> {
    vec![
        case("DepthToSpace").set("blocksize", 2i64).x(&[2, 8, 2, 3]),
        case("DepthToSpace").set("blocksize", 2i64).set("mode", "CRD").x(&[1, 4, 2, 3]),
        case("SpaceToDepth").set("blocksize", 2i64).x(&[2, 3, 4, 2]),
        case("Expand").x(&[3, 1]).list(&[2, 1, 4]),
        case("Flatten").x(&[2, 3, 2]),
        case("Flatten").set("axis", 0i64).x(&[2, 3, 2]),
        case("Reshape").x(&[2, 3, 4]).list(&[0, -1]),
        case("Squeeze").x(&[1, 3, 1]).list(&[0]),
        case("Squeeze").opset(11).set("axes", vec![2i64]).x(&[1, 3, 1]),
        case("Unsqueeze").x(&[3, 2]).list(&[0, -1]),
        case("Unsqueeze").opset(11).set("axes", vec![1i64]).x(&[3, 2]),
        case("Tile").x(&[2, 3]).list(&[2, 3]),
        case("Transpose").x(&[2, 3, 4]),
        case("Transpose").set("perm", vec![1i64, 2, 0]).x(&[2, 3, 4]),
        case("Concat").set("axis", 1i64).x(&[2, 1, 2]).x(&[2, 3, 2]),
        case("Concat").set("axis", -1i64).x(&[2, 2]).x(&[2, 1]).x(&[2, 3]),
        case("Slice").x(&[5, 4]).list(&[1, 0]).list(&[4, 4]),
        case("Slice").x(&[5, 4]).list(&[-1, 3]).list(&[-6, 0]).list(&[0, 1]).list(&[-2, -1]),
        case("Slice").opset(9).set("starts", vec![1i64]).set("ends", vec![-1i64]).set("axes", vec![1i64]).x(&[2, 5]),
        case("Split").names(2).x(&[5, 2]).list(&[2, 3]),
        case("Split").names(3).set("num_outputs", 3i64).set("axis", 1i64).x(&[2, 7]),
        case("Split").opset(11).names(2).set("split", vec![1i64, 3]).x(&[4]),
        case("Pad").x(&[2, 3]).list(&[1, 0, 0, 2]),
        case("Pad").x(&[2, 3]).list(&[1, -1, 0, 2]).x(&[]),
        case("Pad").set("mode", "reflect").x(&[4, 3]).list(&[2, 0, 3, 1]),
        case("Pad").set("mode", "edge").x(&[4, 3]).list(&[2, 0, 3, 1]),
        case("Pad").set("mode", "wrap").x(&[4, 3]).list(&[2, 1, 5, 0]),
        case("Pad").x(&[2, 3, 2]).list(&[1, 1]).x(&[1]).list(&[-1]),
        case("Pad").opset(7).set("pads", vec![0i64, 1, 1, 0]).set("value", 3.0f32).x(&[2, 3]),
        case("CenterCropPad").x(&[5, 4]).list(&[3, 7]),
        case("CenterCropPad").set("axes", vec![1i64]).x(&[5, 4]).list(&[1]),
        case("ReverseSequence").x(&[4, 3, 2]).list(&[1, 4, 2]),
        case("ReverseSequence").set("batch_axis", 0i64).set("time_axis", 1i64).x(&[2, 4]).list(&[3, 2]),
        case("Trilu").x(&[2, 3, 4]).ints(&[], &[1]),
        case("Trilu").set("upper", 0i64).x(&[4, 3]),
    ]
}
