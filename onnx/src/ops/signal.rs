//! Fourier transforms and windows.
//!
//! Meaning changed: the axis of DFT is an attribute in opset 17, input 2 from 20.

use super::Flow::{Nothing, Only};
use super::Tangent::{Refused, Zero};
use super::{Kind, OpSpec, Site};
use crate::Result;
use crate::shape::Expr;
use Kind::Int;

macro_rules! window {
    ($name:literal) => {
        OpSpec {
            name: $name,
            since: 17,
            inputs: 1..=1,
            outputs: 1..=1,
            attributes: &[("output_datatype", Int), ("periodic", Int)],
            flows: Nothing,
            tangent: Zero,
            infer: window,
        }
    };
}

pub(super) const OPS: &[OpSpec] = &[
    window!("BlackmanWindow"),
    window!("HammingWindow"),
    window!("HannWindow"),
    OpSpec {
        name: "DFT",
        since: 17,
        inputs: 1..=3,
        outputs: 1..=1,
        attributes: &[("axis", Int), ("inverse", Int), ("onesided", Int)],
        flows: Only(&[0]),
        tangent: Refused("signal processing, which no vision model uses"),
        infer: dft,
    },
    OpSpec {
        name: "STFT",
        since: 17,
        inputs: 2..=4,
        outputs: 1..=1,
        attributes: &[("onesided", Int)],
        flows: Only(&[0, 2]),
        tangent: Refused("signal processing, which no vision model uses"),
        infer: stft,
    },
    OpSpec {
        name: "MelWeightMatrix",
        since: 17,
        inputs: 5..=5,
        outputs: 1..=1,
        attributes: &[("output_datatype", Int)],
        flows: Nothing,
        tangent: Zero,
        infer: mel_weight_matrix,
    },
];

fn window(site: &mut Site) -> Result<()> {
    let data_type = site.type_number(site.int("output_datatype", 1))?;
    let size = scalar(site, 0);
    site.set(0, Some(data_type), Some(vec![size]));
    Ok(())
}

fn scalar(site: &Site, i: usize) -> Expr {
    site.exprs(i).and_then(|e| e.first().cloned()).unwrap_or(Expr::Unknown)
}

/// Half of the bins and one, when the other half mirrors it.
fn bins(size: &Expr, one_sided: bool) -> Expr {
    if one_sided { size.floor_over(&Expr::Known(2)).plus(&Expr::Known(1)) } else { size.clone() }
}

/// The last axis holds real and imaginary parts.
fn dft(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let Some(shape) = site.shape(0).map(<[Expr]>::to_vec) else {
        site.set(0, data_type, None);
        return Ok(());
    };
    let axis = if site.opset < 20 {
        Some(site.int("axis", 1))
    } else if site.has(2) {
        scalar(site, 2).known()
    } else {
        Some(-2)
    };
    let Some(axis) = axis else {
        site.set(0, data_type, Some(vec![Expr::Unknown; shape.len()]));
        return Ok(());
    };
    let axis = site.axis(axis, shape.len())?;
    let (one_sided, inverse) = (site.int("onesided", 0) != 0, site.int("inverse", 0) != 0);
    let length = if site.has(1) { scalar(site, 1) } else { shape.get(axis).cloned().unwrap_or(Expr::Unknown) };
    let mut output = shape;
    output.splice(axis..=axis, [bins(&length, one_sided && !inverse)]);
    if let Some(parts) = output.last_mut() {
        *parts = if one_sided && inverse { Expr::Known(1) } else { Expr::Known(2) };
    }
    site.set(0, data_type, Some(output));
    Ok(())
}

/// `[batch, signal, 1 or 2]` to `[batch, frames, bins, 2]`.
fn stft(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let (batch, signal) = match site.shape(0) {
        Some([batch, signal, ..]) => (batch.clone(), signal.clone()),
        _ => (Expr::Unknown, Expr::Unknown),
    };
    let step = scalar(site, 1);
    let length = if site.has(3) {
        scalar(site, 3)
    } else {
        site.shape(2).and_then(|w| w.first().cloned()).unwrap_or(Expr::Unknown)
    };
    let frames = signal.minus(&length).floor_over(&step).plus(&Expr::Known(1));
    let one_sided = site.int("onesided", 1) != 0;
    site.set(0, data_type, Some(vec![batch, frames, bins(&length, one_sided), Expr::Known(2)]));
    Ok(())
}

fn mel_weight_matrix(site: &mut Site) -> Result<()> {
    let data_type = site.type_number(site.int("output_datatype", 1))?;
    let (mel, length) = (scalar(site, 0), scalar(site, 1));
    site.set(0, Some(data_type), Some(vec![bins(&length, true), mel]));
    Ok(())
}
