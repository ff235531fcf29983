//! Convolutions: input `[N, C, ...]`, weight `[M, C/group, ...]` (transposed: `[C, M/group, ...]`).

use super::Flow::{All, Nothing, Only};
use super::Tangent::{Linear, Refused, Rule};
use super::window::Window;
use super::{Kind, OpSpec, Site};
use crate::shape::Expr;
use crate::tangent::{At, Tangents, Term, sum, winograd};
use crate::{DataType, Result};
use Kind::{Int, Ints, String};

pub(super) const OPS: &[OpSpec] = &[
    OpSpec {
        name: "Conv",
        since: 1,
        inputs: 2..=3,
        outputs: 1..=1,
        attributes: &[
            ("auto_pad", String),
            ("dilations", Ints),
            ("group", Int),
            ("kernel_shape", Ints),
            ("pads", Ints),
            ("strides", Ints),
        ],
        flows: All,
        tangent: Rule(conv_tangent),
        infer: conv,
    },
    OpSpec {
        name: "ConvInteger",
        since: 10,
        inputs: 2..=4,
        outputs: 1..=1,
        attributes: &[
            ("auto_pad", String),
            ("dilations", Ints),
            ("group", Int),
            ("kernel_shape", Ints),
            ("pads", Ints),
            ("strides", Ints),
        ],
        flows: Nothing,
        tangent: Refused("fixed-point arithmetic, a step function without a derivative"),
        infer: conv_integer,
    },
    OpSpec {
        name: "QLinearConv",
        since: 10,
        inputs: 8..=9,
        outputs: 1..=1,
        attributes: &[
            ("auto_pad", String),
            ("dilations", Ints),
            ("group", Int),
            ("kernel_shape", Ints),
            ("pads", Ints),
            ("strides", Ints),
        ],
        flows: Nothing,
        tangent: Refused("fixed-point arithmetic, a step function without a derivative"),
        infer: q_linear_conv,
    },
    OpSpec {
        name: "ConvTranspose",
        since: 1,
        inputs: 2..=3,
        outputs: 1..=1,
        attributes: &[
            ("auto_pad", String),
            ("dilations", Ints),
            ("group", Int),
            ("kernel_shape", Ints),
            ("output_padding", Ints),
            ("output_shape", Ints),
            ("pads", Ints),
            ("strides", Ints),
        ],
        flows: All,
        tangent: Rule(conv_tangent),
        infer: conv_transpose,
    },
    OpSpec {
        name: "DeformConv",
        since: 19,
        inputs: 3..=5,
        outputs: 1..=1,
        attributes: &[
            ("dilations", Ints),
            ("group", Int),
            ("kernel_shape", Ints),
            ("offset_group", Int),
            ("pads", Ints),
            ("strides", Ints),
        ],
        flows: All,
        tangent: Refused("its kernel is not differentiated; torchvision and timm classifiers have none"),
        infer: conv,
    },
    OpSpec {
        name: "Col2Im",
        since: 18,
        inputs: 3..=3,
        outputs: 1..=1,
        attributes: &[("dilations", Ints), ("pads", Ints), ("strides", Ints)],
        flows: Only(&[0]),
        tangent: Linear,
        infer: col2im,
    },
];

fn group(site: &Site) -> Result<Expr> {
    match site.int("group", 1) {
        group if group >= 1 => Ok(Expr::Known(group)),
        group => Err(site.fail(format!("`group` is {group}"))),
    }
}

/// Sizes of the window, from the attribute or the weight, which have to agree; `None` when neither says.
fn kernel(site: &Site, weight: Option<&[Expr]>) -> Result<Option<Vec<i64>>> {
    let of_weight = weight.and_then(|w| w.get(2..));
    if let Some(given) = site.node.ints("kernel_shape") {
        if let Some(w) = of_weight {
            let agree = w.len() == given.len() && w.iter().zip(given).all(|(a, b)| a.known().is_none_or(|a| a == *b));
            if !agree {
                let w: Vec<_> = w.iter().map(Expr::to_string).collect();
                return Err(site.fail(format!("`kernel_shape` is {given:?}, the weight's is [{}]", w.join(", "))));
            }
        }
        return Ok(Some(given.to_vec()));
    }
    Ok(of_weight.and_then(|w| w.iter().map(Expr::known).collect()))
}

/// Shape of a convolution of input 0 with the weight at `weight`, its bias at `bias`.
fn convolve(site: &Site, weight: usize, bias: usize) -> Result<Option<Vec<Expr>>> {
    let group = group(site)?;
    let (x, w) = (site.shape(0), site.shape(weight));
    let Some(rank) = x.or(w).map(<[Expr]>::len) else { return Ok(None) };
    if rank < 3 {
        return Err(site.fail(format!("{rank} axes, expected at least 3")));
    }
    if let (Some(x), Some(w)) = (x, w) {
        if x.len() != w.len() {
            return Err(site.fail(format!("input 0 has {} axes, the weight {}", x.len(), w.len())));
        }
        if let ([_, channels, ..], [out, per_group, ..]) = (x, w) {
            let wanted = per_group.times(&group);
            if channels.known().zip(wanted.known()).is_some_and(|(a, b)| a != b) {
                return Err(site.fail(format!("weight expects {wanted} channels, input 0 has {channels}")));
            }
            if out.known().zip(group.known()).is_some_and(|(m, g)| m % g != 0) {
                return Err(site.fail(format!("{out} output channels in {group} groups")));
            }
            if let Some([b]) = site.shape(bias) {
                site.agree("output channels against bias", out, b)?;
            }
        }
    }
    let mut shape = vec![
        x.and_then(|x| x.first().cloned()).unwrap_or(Expr::Unknown),
        w.and_then(|w| w.first().cloned()).unwrap_or(Expr::Unknown),
    ];
    match (kernel(site, w)?, x.and_then(|x| x.get(2..))) {
        (Some(kernel), Some(spatial)) => {
            if kernel.len() != spatial.len() {
                return Err(site.fail(format!("a window of {} axes over {} axes", kernel.len(), spatial.len())));
            }
            shape.extend(Window::of(site, kernel)?.slide(site, spatial)?);
        }
        _ => shape.resize(rank, Expr::Unknown),
    }
    Ok(Some(shape))
}

fn conv(site: &mut Site) -> Result<()> {
    // DeformConv's input 2 holds offsets, and its bias comes after them.
    let bias = if site.node.op_type == "DeformConv" { 3 } else { 2 };
    let shape = convolve(site, 1, bias)?;
    let data_type = site.same_type([0, 1])?;
    site.set(0, data_type, shape);
    Ok(())
}

fn conv_integer(site: &mut Site) -> Result<()> {
    let shape = convolve(site, 1, usize::MAX)?;
    site.set(0, Some(DataType::Int32), shape);
    Ok(())
}

/// The output has the type of its zero point.
fn q_linear_conv(site: &mut Site) -> Result<()> {
    let shape = convolve(site, 3, 8)?;
    let data_type = site.data_type(7);
    site.set(0, data_type, shape);
    Ok(())
}

fn conv_transpose(site: &mut Site) -> Result<()> {
    let group = group(site)?;
    let data_type = site.same_type(0..3)?;
    let (x, w) = (site.shape(0), site.shape(1));
    let shape = match (x, w) {
        (Some(x @ [batch, channels, spatial @ ..]), Some(w @ [from, per_group, ..])) => {
            if x.len() != w.len() || spatial.is_empty() {
                return Err(site.fail(format!("input 0 has {} axes, the weight {}", x.len(), w.len())));
            }
            if channels.known().zip(from.known()).is_some_and(|(a, b)| a != b) {
                return Err(site.fail(format!("weight expects {from} channels, input 0 has {channels}")));
            }
            let mut shape = vec![batch.clone(), per_group.times(&group)];
            match kernel(site, Some(w))? {
                Some(kernel) => shape.extend(Window::of(site, kernel)?.unslide(site, spatial)?),
                None => shape.resize(x.len(), Expr::Unknown),
            }
            Some(shape)
        }
        (Some(x), _) => Some(vec![Expr::Unknown; x.len()]),
        _ => None,
    };
    site.set(0, data_type, shape);
    Ok(())
}

/// `[N, C * product(block), L]` to `[N, C, image...]`.
fn col2im(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let shape = match (site.shape_of_rank(0, 3)?, site.exprs(1)) {
        (Some([batch, columns, _]), Some(image)) => {
            let block = site.exprs(2).map_or(Expr::Unknown, |block| super::site::product(&block));
            let channels = columns.exactly_over(&block).unwrap_or(Expr::Unknown);
            Some([batch.clone(), channels].into_iter().chain(image).collect())
        }
        _ => None,
    };
    site.set(0, data_type, shape);
    Ok(())
}

/// W' * x + b' + W * x'. A direction of low rank r goes through r channels: a convolution to them, then a 1x1 one.
fn conv_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let (x, w) = (at.x(0), at.x(1));
    let db = at.dx(2);
    let narrow = match at.factors(1) {
        Some((left, right)) if at.node.op_type == "Conv" && at.int_attribute("group", 1) == 1 => {
            let inner = at.again(&[Some(x), Some(right)]);
            let rank = at.rank(1).unwrap_or(4);
            let axes: Vec<i64> = (2..rank as i64).collect();
            let widen = left.unsqueezed(&axes);
            inner.first().map(|inner| inner.with("Conv", &[&[widen][..], db.as_slice()].concat(), vec![]))
        }
        _ => None,
    };
    // The factors take the weight's tangent and the bias's with them.
    let (dw, db) = if narrow.is_none() { (at.dx(1), db) } else { (None, None) };
    let by_weight = dw.map(|dw| (x, dw));
    let products: Vec<_> = by_weight.into_iter().chain(at.dx(0).map(|dx| (dx, w))).collect();
    if let Some(moved) = winograd::convolve(at, &products) {
        let by_bias = db.map(|db| db.reshaped(&[-1, 1, 1]));
        return Ok(vec![sum([moved].into_iter().chain(narrow).chain(by_bias))]);
    }
    let with_bias = |(i, (x, w))| at.again(&[Some(x), Some(w), db.filter(|_| i == 0)]).first().copied();
    let moved: Vec<_> = products.into_iter().enumerate().filter_map(with_bias).collect();
    let by_bias = db.filter(|_| moved.is_empty()).map(|db| spread_bias(at, db));
    Ok(vec![sum(narrow.into_iter().chain(by_bias).chain(moved))])
}

/// A number a channel over the whole output.
fn spread_bias<'a>(at: &At<'a>, bias: Term<'a>) -> Term<'a> {
    let rank = at.rank(0).unwrap_or(4);
    let dims: Vec<i64> = (0..rank).map(|axis| if axis == 1 { -1 } else { 1 }).collect();
    bias.reshaped(&dims).with("Expand", &[at.y(0).dims()], vec![])
}
