//! Rows of operators that multiply and add over windows, matrices and samples.

use super::case::{Case, case};

pub(super) fn rows() -> Vec<Case> {
    [convolutions(), transposed(), pools(), matrices(), resampling(), points(), attention()].concat()
}

fn convolutions() -> Vec<Case> {
    vec![
        case("Conv").x(&[2, 3, 5, 6]).x(&[4, 3, 3, 2]).x(&[4]),
        case("Conv").set("strides", vec![2i64, 1]).set("pads", vec![1i64, 1, 1, 1]).x(&[1, 2, 5, 5]).x(&[2, 2, 3, 3]),
        case("Conv").set("pads", vec![0i64, 1, 2, 3]).set("dilations", vec![1i64, 2]).x(&[1, 2, 5, 5]).x(&[2, 2, 3, 3]),
        case("Conv").set("group", 2i64).set("pads", vec![1i64, 1, 1, 1]).x(&[2, 4, 4, 4]).x(&[6, 2, 3, 3]).x(&[6]),
        case("Conv").set("group", 3i64).set("strides", vec![2i64, 2]).x(&[1, 3, 5, 5]).x(&[3, 1, 3, 3]).x(&[3]),
        case("Conv").set("auto_pad", "SAME_UPPER").set("strides", vec![2i64]).x(&[2, 2, 7]).x(&[3, 2, 4]).x(&[3]),
        case("Conv").set("auto_pad", "SAME_LOWER").x(&[2, 2, 6]).x(&[3, 2, 4]),
        case("Conv").set("auto_pad", "VALID").x(&[1, 1, 3, 3]).x(&[2, 1, 1, 1]),
        case("Conv").set("pads", vec![1i64, 0, 1, 1, 0, 1]).x(&[1, 2, 3, 4, 3]).x(&[2, 2, 3, 2, 2]).x(&[2]),
    ]
}

fn transposed() -> Vec<Case> {
    vec![
        case("ConvTranspose").x(&[2, 3, 3, 4]).x(&[3, 2, 3, 2]).x(&[2]),
        case("ConvTranspose")
            .set("strides", vec![2i64, 2])
            .set("pads", vec![1i64, 1, 1, 1])
            .set("output_padding", vec![1i64, 1])
            .x(&[1, 2, 3, 3])
            .x(&[2, 2, 3, 3])
            .x(&[2]),
        case("ConvTranspose")
            .set("strides", vec![3i64, 2])
            .set("output_shape", vec![10i64, 8])
            .x(&[1, 1, 3, 3])
            .x(&[1, 2, 3, 3])
            .x(&[2]),
        case("ConvTranspose").set("pads", vec![0i64, 1, 2, 0]).x(&[1, 2, 4, 4]).x(&[2, 1, 3, 3]).x(&[1]),
        case("ConvTranspose").set("auto_pad", "SAME_UPPER").set("strides", vec![2i64]).x(&[1, 2, 4]).x(&[2, 2, 3]),
        case("ConvTranspose").set("group", 2i64).set("dilations", vec![2i64]).x(&[1, 4, 4]).x(&[4, 1, 3]).x(&[2]),
        case("ConvTranspose").x(&[1, 2, 2, 3, 2]).x(&[2, 2, 2, 2, 2]),
    ]
}

/// Attributes that hold lists, by name.
type Attributes = &'static [(&'static str, &'static [i64])];

fn pools() -> Vec<Case> {
    let mut rows = vec![
        case("Col2Im").x(&[2, 4, 4]).list(&[3, 3]).list(&[2, 2]),
        case("Col2Im").set("strides", vec![2i64]).set("pads", vec![1i64, 0]).x(&[1, 6, 2]).list(&[5]).list(&[3]),
        case("GlobalAveragePool").x(&[2, 3, 2, 4]),
        case("GlobalMaxPool").apart(&[2, 3, 2, 4], 0.1),
        case("GlobalLpPool").opset(17).within(&[2, 3, 4], 0.2, 1.0),
        case("GlobalLpPool").within(&[2, 3, 4], 0.2, 1.0),
        case("GlobalLpPool").set("p", 3i64).apart(&[2, 2, 4], 0.1),
        case("LpPool").set("kernel_shape", vec![2i64, 2]).within(&[1, 2, 4, 4], 0.2, 1.0),
        case("LpPool").set("kernel_shape", vec![3i64]).set("p", 3i64).set("pads", vec![1i64, 1]).apart(&[2, 1, 5], 0.2),
        case("MaxUnpool")
            .set("kernel_shape", vec![2i64, 2])
            .set("strides", vec![2i64, 2])
            .x(&[1, 1, 2, 2])
            .ints(&[1, 1, 2, 2], &[5, 7, 13, 15]),
    ];
    // What both pools are tested at: the input's dims, the window, the rest.
    let settings: &[(&[i64], &[i64], Attributes)] = &[
        (&[2, 2, 5, 6], &[2, 2], &[]),
        (&[1, 2, 6, 6], &[3, 3], &[("strides", &[2, 2]), ("pads", &[1, 1, 1, 1])]),
        (&[1, 2, 5, 7], &[3, 2], &[("strides", &[2, 1]), ("pads", &[0, 1, 2, 0])]),
        (&[1, 2, 6, 5], &[3, 3], &[("dilations", &[2, 1])]),
        (&[2, 2, 7], &[3], &[("strides", &[2]), ("pads", &[1, 1])]),
        (&[2, 2, 7], &[2], &[("dilations", &[2]), ("pads", &[1, 0])]),
        (&[1, 2, 4, 4, 4], &[2, 2, 2], &[("strides", &[2, 2, 2]), ("pads", &[0, 1, 0, 1, 0, 1])]),
        (&[1, 1, 4, 3, 4], &[2, 2, 2], &[("dilations", &[1, 1, 2])]),
    ];
    for &(dims, kernel, attributes) in settings {
        let with = |op| {
            let row = case(op).set("kernel_shape", kernel.to_vec());
            attributes.iter().fold(row, |row, (name, value)| row.set(name, value.to_vec()))
        };
        rows.push(with("MaxPool").apart(dims, 0.05));
        rows.push(with("AveragePool").x(dims));
        rows.push(with("AveragePool").set("count_include_pad", 1i64).x(dims));
    }
    for op in ["MaxPool", "AveragePool"] {
        let ceil = case(op).set("kernel_shape", vec![3i64, 3]).set("strides", vec![2i64, 2]).set("ceil_mode", 1i64);
        rows.push(ceil.apart(&[1, 2, 6, 5], 0.05));
        let same = case(op).set("kernel_shape", vec![2i64, 3]).set("auto_pad", "SAME_LOWER");
        rows.push(same.apart(&[1, 2, 4, 4], 0.05));
    }
    rows
}

fn matrices() -> Vec<Case> {
    vec![
        case("Gemm").x(&[2, 3]).x(&[3, 4]).x(&[4]),
        case("Gemm").set("transA", 1i64).set("transB", 1i64).set("alpha", 0.5f32).x(&[3, 2]).x(&[4, 3]),
        case("Gemm").set("alpha", 0.5f32).set("beta", 2.0f32).x(&[2, 3]).x(&[3, 4]).x(&[2, 1]),
        case("MatMul").x(&[2, 3]).x(&[3, 4]),
        case("MatMul").x(&[3]).x(&[3]),
        case("MatMul").x(&[2, 1, 2, 3]).x(&[4, 3, 2]),
        case("MatMul").x(&[3]).x(&[2, 3, 2]),
        case("Einsum").set("equation", "bij, bjk -> bik").x(&[2, 2, 3]).x(&[2, 3, 2]),
        case("Einsum").set("equation", "...ij->...ji").x(&[2, 2, 3]),
        case("Einsum").set("equation", "ii->i").x(&[3, 3]),
        case("Einsum").set("equation", "i,ij,j").x(&[2]).x(&[2, 3]).x(&[3]),
    ]
}

fn resampling() -> Vec<Case> {
    let mut rows = vec![
        case("Upsample").opset(7).set("scales", vec![1.0f32, 1.0, 2.0, 1.5]).x(&[1, 2, 3, 3]),
        case("Upsample").opset(9).set("mode", "linear").x(&[1, 2, 3, 3]).floats(&[4], &[1.0, 1.0, 2.0, 2.0]),
        case("Resize").opset(10).x(&[1, 2, 4, 4]).floats(&[4], &[1.0, 1.0, 0.5, 2.0]),
        case("Resize")
            .set("antialias", 1i64)
            .set("mode", "linear")
            .x(&[1, 1, 7, 6])
            .skip()
            .floats(&[4], &[1.0, 1.0, 0.4, 0.6]),
        case("Resize").set("antialias", 1i64).set("mode", "cubic").x(&[1, 1, 7, 6]).skip().skip().list(&[1, 1, 3, 4]),
        case("Resize")
            .set("mode", "linear")
            .set("coordinate_transformation_mode", "tf_crop_and_resize")
            .x(&[1, 1, 4, 4])
            .floats(&[8], &[0.0, 0.0, 0.4, 0.6, 1.0, 1.0, 1.2, 1.7])
            .skip()
            .list(&[1, 1, 3, 3]),
    ];
    for mode in ["nearest", "linear", "cubic"] {
        for coordinates in ["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"] {
            let row = case("Resize").set("mode", mode).set("coordinate_transformation_mode", coordinates);
            rows.push(row.x(&[1, 2, 3, 4]).skip().skip().list(&[1, 2, 5, 3]));
        }
    }
    rows
}

fn points() -> Vec<Case> {
    let regions = [0.3, 0.4, 2.9, 3.1, -1.0, 0.2, 2.2, 9.0, 1.1, 1.2, 1.6, 1.7];
    let mut rows = vec![
        case("AffineGrid").x(&[2, 2, 3]).list(&[2, 1, 3, 2]),
        case("AffineGrid").set("align_corners", 1i64).x(&[1, 3, 4]).list(&[1, 1, 2, 3, 2]),
    ];
    for (mode, ratio) in [("avg", 2i64), ("avg", 0), ("max", 2)] {
        let row = case("RoiAlign").opset(16).set("mode", mode).set("sampling_ratio", ratio).set("output_width", 2i64);
        rows.push(row.apart(&[2, 2, 5, 4], 0.05).floats(&[3, 4], &regions).list(&[0, 1, 0]));
    }
    for padding in ["zeros", "border", "reflection"] {
        for align in [0i64, 1] {
            let with = |mode: &str| {
                let row = case("GridSample").set("mode", mode).set("padding_mode", padding);
                row.set("align_corners", align).x(&[2, 2, 3, 4])
            };
            // Points in and out of the image; the grid decides between neighbours, so only a smooth mode carries its
            // derivative.
            let points = [-1.31, -0.63, 0.17, 0.58, 1.27, 0.89, -0.22, 0.41];
            rows.push(with("nearest").floats(&[2, 1, 2, 2], &points));
            rows.push(with("linear").within(&[2, 2, 2, 2], -0.32, -0.12));
            rows.push(with("linear").floats(&[2, 1, 2, 2], &points));
            rows.push(with("cubic").within(&[2, 1, 2, 2], -0.32, -0.12));
            rows.push(with("cubic").floats(&[2, 1, 2, 2], &points));
        }
    }
    rows.push(case("GridSample").x(&[1, 2, 3, 3, 3]).within(&[1, 1, 2, 1, 3], 0.1, 0.3));
    rows
}

fn attention() -> Vec<Case> {
    let causal = || case("Attention").opset(24).set("is_causal", 1i64);
    let rotary = || case("RotaryEmbedding").opset(23);
    vec![
        case("Attention").opset(23).x(&[2, 2, 3, 4]).x(&[2, 2, 5, 4]).x(&[2, 2, 5, 3]).outputs(&[0, 3]),
        case("Attention").opset(23).x(&[1, 4, 2, 3]).x(&[1, 2, 3, 3]).x(&[1, 2, 3, 3]).x(&[2, 3]).outputs(&[0]),
        case("Attention")
            .opset(23)
            .set("q_num_heads", 2i64)
            .set("kv_num_heads", 1i64)
            .set("softcap", 0.5f32)
            .x(&[1, 3, 4])
            .x(&[1, 2, 2])
            .x(&[1, 2, 3])
            .truths(&[3, 1], &[true, true, true])
            .outputs(&[0]),
        causal()
            .x(&[1, 1, 2, 2])
            .x(&[1, 1, 3, 2])
            .x(&[1, 1, 3, 2])
            .skip()
            .x(&[1, 1, 1, 2])
            .x(&[1, 1, 1, 2])
            .outputs(&[0]),
        causal().x(&[2, 1, 3, 2]).x(&[2, 1, 3, 2]).x(&[2, 1, 3, 2]).skip().skip().skip().list(&[3, 1]).outputs(&[0]),
        rotary().x(&[1, 2, 3, 4]).x(&[5, 2]).x(&[5, 2]).ints(&[1, 3], &[0, 4, 2]),
        rotary().set("interleaved", 1i64).set("num_heads", 2i64).x(&[2, 3, 8]).x(&[2, 3, 2]).x(&[2, 3, 2]),
        rotary().set("rotary_embedding_dim", 2i64).x(&[1, 2, 2, 3]).x(&[1, 2, 1]).x(&[1, 2, 1]),
    ]
}
