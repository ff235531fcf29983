//! Normalizations: the output has the shape of the input.
//!
//! Meaning changed: BatchNormalization has running statistics as outputs 1 and 2 with `training_mode`
//! from opset 14; before 9 it had `spatial`.

use super::Flow::{All, Only};
use super::site::like_first;
use super::{Kind, OpSpec, Site};
use crate::Result;
use crate::shape::Expr;
use Kind::{Float, Int, Ints};

pub(super) const OPS: &[OpSpec] = &[
    OpSpec {
        name: "BatchNormalization",
        since: 1,
        inputs: 5..=5,
        outputs: 1..=5,
        attributes: &[("epsilon", Float), ("momentum", Float), ("spatial", Int), ("training_mode", Int)],
        flows: Only(&[0, 1, 2]),
        infer: batch_normalization,
    },
    OpSpec {
        name: "InstanceNormalization",
        since: 1,
        inputs: 3..=3,
        outputs: 1..=1,
        attributes: &[("epsilon", Float)],
        flows: All,
        infer: by_channel,
    },
    OpSpec {
        name: "GroupNormalization",
        since: 18,
        inputs: 3..=3,
        outputs: 1..=1,
        attributes: &[("epsilon", Float), ("num_groups", Int), ("stash_type", Int)],
        flows: All,
        infer: like_first,
    },
    OpSpec {
        name: "LayerNormalization",
        since: 17,
        inputs: 2..=3,
        outputs: 1..=3,
        attributes: &[("axis", Int), ("epsilon", Float), ("stash_type", Int)],
        flows: All,
        infer: layer_normalization,
    },
    OpSpec {
        name: "RMSNormalization",
        since: 23,
        inputs: 2..=2,
        outputs: 1..=1,
        attributes: &[("axis", Int), ("epsilon", Float), ("stash_type", Int)],
        flows: All,
        infer: rms_normalization,
    },
    OpSpec {
        name: "LpNormalization",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[("axis", Int), ("p", Int)],
        flows: All,
        infer: like_first,
    },
    OpSpec {
        name: "LRN",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[("alpha", Float), ("beta", Float), ("bias", Float), ("size", Int)],
        flows: All,
        infer: like_first,
    },
    OpSpec {
        name: "MeanVarianceNormalization",
        since: 9,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[("axes", Ints)],
        flows: All,
        infer: like_first,
    },
];

/// The vectors at these inputs have one entry a channel.
fn check_channels(site: &Site, inputs: std::ops::Range<usize>) -> Result<Option<Expr>> {
    let Some(x) = site.shape(0) else { return Ok(None) };
    let channels = match x {
        [_, channels, ..] => channels.clone(),
        // A batch of vectors without a channel axis has one channel.
        _ => Expr::Known(1),
    };
    for i in inputs {
        if let Some([n]) = site.shape(i) {
            site.agree(&format!("channels of input 0 against input {i}"), &channels, n)?;
        }
    }
    Ok(Some(channels))
}

fn by_channel(site: &mut Site) -> Result<()> {
    check_channels(site, 1..3)?;
    like_first(site)
}

fn batch_normalization(site: &mut Site) -> Result<()> {
    let spatial = site.opset >= 9 || site.int("spatial", 1) != 0;
    let channels = if spatial { check_channels(site, 1..5)? } else { None };
    like_first(site)?;
    let statistics = site.data_type(3);
    for i in 1..site.outputs.len() {
        site.set(i, statistics, channels.clone().map(|c| vec![c]));
    }
    Ok(())
}

/// Outputs 1 and 2 are the mean and the inverse deviation, 1 on every axis that is normalized, in the
/// type `stash_type` names.
fn layer_normalization(site: &mut Site) -> Result<()> {
    like_first(site)?;
    let stash = site.type_number(site.int("stash_type", 1))?;
    let reduced = match site.shape(0) {
        Some(x) => {
            let axis = site.axis(site.int("axis", -1), x.len())?;
            check_trailing(site, x, axis)?;
            Some(x.iter().enumerate().map(|(i, d)| if i < axis { d.clone() } else { Expr::Known(1) }).collect())
        }
        None => None,
    };
    site.set(1, Some(stash), reduced.clone());
    site.set(2, Some(stash), reduced);
    Ok(())
}

fn rms_normalization(site: &mut Site) -> Result<()> {
    if let Some(x) = site.shape(0) {
        let axis = site.axis(site.int("axis", -1), x.len())?;
        check_trailing(site, x, axis)?;
    }
    like_first(site)
}

/// Scale and bias broadcast to the axes from `axis` on, and make them no larger.
fn check_trailing(site: &Site, x: &[Expr], axis: usize) -> Result<()> {
    let normalized = x.get(axis..).unwrap_or_default();
    for i in 1..3 {
        if let Some(scale) = site.shape(i) {
            let spread = site.broadcast(normalized, scale)?;
            for (full, own) in spread.iter().rev().zip(normalized.iter().rev()) {
                site.agree(&format!("normalized size against input {i}"), own, full)?;
            }
        }
    }
    Ok(())
}
