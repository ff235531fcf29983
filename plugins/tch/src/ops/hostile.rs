//! Inputs and attributes that no exporter writes: every forward answers with a result or an error, and never with a
//! panic, a trap or an allocation that the host cannot bear.

use super::{OpError, Site, all};
use isal_onnx::{Attribute, Node};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tch::{Device, Kind, Tensor};

/// Tries of each operator.
const TRIES: usize = 300;

const INTEGERS: &[i64] =
    &[i64::MIN, -(1 << 40), -4, -2, -1, 0, 1, 2, 3, 5, 1 << 18, 1 << 33, 1 << 40, 1 << 62, i64::MAX];

const INTEGER_ATTRIBUTES: &[&str] = &[
    "allowzero",
    "antialias",
    "axis",
    "batch_axis",
    "batch_dims",
    "blocksize",
    "ceil_mode",
    "count_include_pad",
    "dtype",
    "exclude_outside",
    "exclusive",
    "fmod",
    "group",
    "ignore_index",
    "k",
    "keepdims",
    "largest",
    "noop_with_empty_axes",
    "output_height",
    "output_width",
    "sampling_ratio",
    "align_corners",
    "num_groups",
    "num_outputs",
    "p",
    "reverse",
    "select_last_index",
    "size",
    "storage_order",
    "time_axis",
    "to",
    "training_mode",
    "transA",
    "value_int",
];

const LIST_ATTRIBUTES: &[&str] = &[
    "axes",
    "dilations",
    "ends",
    "kernel_shape",
    "output_padding",
    "output_shape",
    "pads",
    "perm",
    "split",
    "starts",
    "strides",
];

const STRING_ATTRIBUTES: &[(&str, &[&str])] = &[
    ("approximate", &["tanh", "none", "?"]),
    ("auto_pad", &["SAME_UPPER", "SAME_LOWER", "VALID", "?"]),
    ("coordinate_transformation_mode", &["align_corners", "asymmetric", "tf_crop_and_resize", "half_pixel_symmetric"]),
    ("direction", &["LEFT", "RIGHT"]),
    ("equation", &["ij,jk->ik", "...i->...", "i,j,k", "ii", "", "->", "..", "a->b"]),
    ("keep_aspect_ratio_policy", &["not_larger", "not_smaller"]),
    ("mode", &["linear", "cubic", "nearest", "reflect", "edge", "wrap", "CRD", "?"]),
    ("reduction", &["none", "sum", "mean", "add", "mul", "max", "?"]),
];

fn pick<T: Copy>(random: &mut ChaCha8Rng, from: &[T]) -> T {
    *from.choose(random).expect("a choice")
}

/// A tensor; most have the rank and the float kind that the others of the node have.
fn tensor(random: &mut ChaCha8Rng, usual: usize) -> Tensor {
    let rank = if random.random_bool(0.7) { usual } else { random.random_range(0..6) };
    let sizes: &[i64] = if random.random_bool(0.8) { &[1, 2, 3, 4] } else { &[0, 1, 2] };
    let dims: Vec<i64> = (0..rank).map(|_| pick(random, sizes)).collect();
    let n = dims.iter().product::<i64>() as usize;
    let flat = match random.random_range(0..12) {
        0 => Tensor::from_slice(&(0..n).map(|_| pick(random, INTEGERS)).collect::<Vec<_>>()),
        1 | 2 => Tensor::from_slice(&(0..n).map(|_| random.random_range(-2i64..4)).collect::<Vec<_>>()),
        3 => Tensor::from_slice(&(0..n).map(|_| random.random_bool(0.5)).collect::<Vec<_>>()),
        4 => {
            let odd = [0.0, -1.0, 2.0, 1e30, f32::MIN_POSITIVE, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
            Tensor::from_slice(&(0..n).map(|_| pick(random, &odd)).collect::<Vec<_>>())
        }
        5 => Tensor::from_slice(&(0..n).map(|_| random.random_range(-3i32..4)).collect::<Vec<_>>()),
        _ => Tensor::from_slice(&(0..n).map(|_| random.random_range(-1.0f32..1.0)).collect::<Vec<_>>()),
    };
    flat.reshape(&dims)
}

/// A list of integers as an input.
fn list_tensor(random: &mut ChaCha8Rng) -> Tensor {
    Tensor::from_slice(&list(random))
}

/// A short list of integers, as shapes, axes and pads are given.
fn list(random: &mut ChaCha8Rng) -> Vec<i64> {
    let n = random.random_range(0..6);
    let mild = random.random_bool(0.6);
    (0..n).map(|_| if mild { random.random_range(-2..4) } else { pick(random, INTEGERS) }).collect()
}

fn node(op: &str, random: &mut ChaCha8Rng) -> Node {
    let outputs: Vec<String> = (0..random.random_range(1..4)).map(|i| format!("y{i}")).collect();
    let mut node = Node::new(op, "", [] as [&str; 0], outputs);
    for name in INTEGER_ATTRIBUTES {
        if random.random_bool(0.1) {
            let value = if random.random_bool(0.6) { random.random_range(-2..4) } else { pick(random, INTEGERS) };
            node = node.with(name, value);
        }
    }
    for name in LIST_ATTRIBUTES {
        if random.random_bool(0.15) {
            node = node.with(name, list(random));
        }
    }
    for (name, values) in STRING_ATTRIBUTES {
        if random.random_bool(0.3) {
            node = node.with(name, pick(random, values));
        }
    }
    if random.random_bool(0.1) {
        // A kind that the attribute never has.
        let wrong = pick(random, &["axis", "axes", "pads", "kernel_shape", "mode", "to", "alpha", "value", "epsilon"]);
        let value = pick(random, &["text", ""]);
        node = node.with(
            wrong,
            if random.random_bool(0.5) { Attribute::from(value) } else { Attribute::Other(Box::default()) },
        );
    }
    node
}

#[test]
fn no_forward_panics_on_inputs_that_make_no_sense() {
    let mut panics = Vec::new();
    let (mut results, mut errors) = (0, 0);
    for op in all() {
        let seed = op.name.bytes().fold(11u64, |h, b| h.wrapping_mul(131).wrapping_add(u64::from(b)));
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        for _ in 0..TRIES {
            let node = node(op.name, &mut random);
            let usual = random.random_range(0..6);
            let inputs: Vec<Option<Tensor>> = (0..random.random_range(0..6))
                .map(|i| match random.random_range(0..20) {
                    0 => None,
                    // Past the first, an input is often a list: a shape, axes, pads.
                    1..8 if i > 0 => Some(list_tensor(&mut random)),
                    _ => Some(tensor(&mut random, usual)),
                })
                .collect();
            let opset = random.random_range(7..=24);
            let training = random.random_bool(0.3);
            let site = Site { node: &node, opset, training, kind: Kind::Float, device: Device::Cpu };
            let outcome = catch_unwind(AssertUnwindSafe(|| (op.forward)(&site, &inputs)));
            match outcome {
                Ok(Ok(_)) => results += 1,
                Ok(Err(_)) => errors += 1,
                Err(_) => {
                    let shapes: Vec<_> = inputs.iter().flatten().map(|t| (t.kind(), t.size())).collect();
                    panics.push(format!("{} at opset {opset}: {:?} on {shapes:?}", op.name, node.attributes));
                }
            }
        }
    }
    println!("{results} results, {errors} errors");
    assert!(panics.is_empty(), "{} panics, as with\n{}", panics.len(), panics[..panics.len().min(20)].join("\n"));
    assert!(results > 1000 && errors > 1000, "the inputs are all alike: {results} results, {errors} errors");
}

/// Inputs whose results would not fit any memory, by operator.
#[test]
fn results_too_large_are_refused_before_they_are_made() -> Result<(), OpError> {
    let long = 1i64 << 21;
    let row = Tensor::f_zeros([1, long], (Kind::Float, Device::Cpu))?;
    let column = Tensor::f_zeros([long, 1], (Kind::Float, Device::Cpu))?;
    let image = Tensor::f_zeros([1, 1, 4, 4], (Kind::Float, Device::Cpu))?;
    let ints = |values: &[i64]| Tensor::f_from_slice(values);
    let one = |op: &str| Node::new(op, "", [] as [&str; 0], ["y"]);
    let cases: Vec<(Node, Vec<Tensor>)> = vec![
        (one("Add"), vec![row.shallow_clone(), column.shallow_clone()]),
        (one("Where"), vec![row.f_gt(0.0)?, column.shallow_clone(), column.shallow_clone()]),
        (one("MatMul"), vec![column.shallow_clone(), row.shallow_clone()]),
        (one("Gemm"), vec![column.shallow_clone(), row.shallow_clone()]),
        (one("Einsum").with("equation", "ab,bc->ac"), vec![column.shallow_clone(), row.shallow_clone()]),
        (one("ConstantOfShape"), vec![ints(&[long, long])?]),
        (one("Expand"), vec![row.shallow_clone(), ints(&[long, long])?]),
        (one("Tile"), vec![row.shallow_clone(), ints(&[long, long])?]),
        (one("Range"), vec![ints(&[0])?, ints(&[i64::MAX])?, ints(&[1])?]),
        (one("Pad"), vec![row.shallow_clone(), ints(&[0, 0, 1 << 39, 1 << 39])?]),
        (one("OneHot"), vec![ints(&[0])?, ints(&[i64::MAX])?, ints(&[0, 1])?]),
        (one("Resize"), vec![image.shallow_clone(), ints(&[])?, ints(&[])?, ints(&[1, 1, long, long])?]),
        (
            one("AveragePool").with("kernel_shape", vec![1i64, 1]).with("pads", vec![1i64 << 29; 4]),
            vec![image.shallow_clone()],
        ),
        (one("Conv").with("pads", vec![1i64 << 29; 4]), vec![image.shallow_clone(), image.shallow_clone()]),
        (one("ConvTranspose").with("strides", vec![1i64 << 29; 2]), vec![image.shallow_clone(), image.shallow_clone()]),
        (one("Resize"), vec![image.shallow_clone(), ints(&[])?, ints(&[])?, ints(&[1, 1, 4, 1 << 25])?]),
        (one("Pad").with("mode", "reflect"), vec![image.shallow_clone(), ints(&[0, 0, 0, 0, 0, 0, 0, 1 << 25])?]),
        (
            one("RoiAlign").with("sampling_ratio", 1i64 << 40),
            vec![image.shallow_clone(), Tensor::f_from_slice(&[0.0f32; 4])?.f_reshape([1, 4])?, ints(&[0])?],
        ),
        (
            one("RoiAlign"),
            vec![image.shallow_clone(), Tensor::f_from_slice(&[0f32, 0., 1e20, 1e20])?.f_reshape([1, 4])?, ints(&[0])?],
        ),
        (one("CenterCropPad"), vec![row.shallow_clone(), ints(&[long, long])?]),
        (one("Gather"), vec![column.f_expand([long, 1 << 16], false)?, ints(&vec![0; 1 << 16])?]),
    ];
    for (node, inputs) in cases {
        let op = super::find("", &node.op_type).ok_or(OpError::MissingAttribute { name: "op" })?;
        let site = Site { node: &node, opset: 22, training: false, kind: Kind::Float, device: Device::Cpu };
        let inputs: Vec<Option<Tensor>> = inputs.into_iter().map(Some).collect();
        match (op.forward)(&site, &inputs) {
            Err(OpError::Size { .. }) => {}
            other => panic!("{}: {:?}", node.op_type, other.map(|y| y.len())),
        }
    }
    Ok(())
}
