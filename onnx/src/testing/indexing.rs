//! Rows of operators that pick by index, put by index, or order.

use super::case::{Case, case};

pub(super) fn rows() -> Vec<Case> {
    let mut rows = vec![
        case("Gather").x(&[4, 3]).ints(&[2, 2], &[0, 3, 3, -1]),
        case("Gather").set("axis", 1i64).x(&[2, 4, 3]).ints(&[], &[2]),
        case("GatherElements").set("axis", 1i64).x(&[3, 4]).ints(&[2, 3], &[0, 0, 3, -1, 2, 1]),
        case("GatherND").x(&[3, 2, 4]).ints(&[2, 2], &[0, 1, 2, -1]),
        case("GatherND").set("batch_dims", 1i64).x(&[2, 3, 4]).ints(&[2, 2, 1], &[0, 2, 1, 1]),
        case("Compress").set("axis", 1i64).x(&[2, 4]).truths(&[3], &[true, false, true]),
        case("Compress").x(&[2, 3]).truths(&[5], &[false, true, true, false, true]),
        case("OneHot").ints(&[2, 2], &[0, 2, -1, 5]).list(&[3]).x(&[2]),
        case("Scatter").opset(10).x(&[4]).ints(&[2], &[3, 1]).x(&[2]),
        case("TopK").names(2).apart(&[3, 5], 0.1).list(&[2]).outputs(&[0]),
        case("TopK").names(2).set("axis", 0i64).set("largest", 0i64).apart(&[5, 2], 0.1).list(&[3]).outputs(&[0]),
        case("TopK").names(2).opset(9).set("k", 2i64).apart(&[5], 0.1).outputs(&[0]),
        case("CumSum").x(&[2, 4]).ints(&[], &[1]),
        case("CumSum").set("exclusive", 1i64).set("reverse", 1i64).x(&[2, 4]).ints(&[], &[-1]),
    ];
    for reduction in ["none", "add", "mul", "max", "min"] {
        // A place comes up twice, unless the order of the updates would then decide.
        let places = if reduction == "none" { [0, 3, 1, 2, 1, 0] } else { [0, 3, 0, -1, 1, 3] };
        rows.push(
            case("ScatterElements")
                .set("axis", 1i64)
                .set("reduction", reduction)
                .apart(&[3, 4], 0.2)
                .ints(&[2, 3], &places)
                .within(&[2, 3], 0.01, 0.02),
        );
        let tuples = if reduction == "none" { [2, 0, 0, 1] } else { [2, 0, 2, 0] };
        rows.push(
            case("ScatterND")
                .set("reduction", reduction)
                .apart(&[3, 2, 2], 0.2)
                .ints(&[2, 2], &tuples)
                .apart(&[2, 2], 0.07),
        );
    }
    rows
}
