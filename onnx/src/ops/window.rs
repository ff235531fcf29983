//! Sliding windows, which convolutions and pools share.

use super::Site;
use crate::Result;
use crate::shape::Expr;

/// The window of a convolution or pool, one entry a spatial axis.
pub(super) struct Window {
    kernel: Vec<i64>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    /// Padding before and after each axis; both zero unless `auto_pad` is `NOTSET`.
    pads: Vec<(i64, i64)>,
    /// `SAME_UPPER` or `SAME_LOWER`.
    same: bool,
    ceil: bool,
}

impl Window {
    /// From the attributes of the node, for windows of these sizes.
    pub(super) fn of(site: &Site, kernel: Vec<i64>) -> Result<Window> {
        let axes = kernel.len();
        let list = |name: &str, default: i64, least: i64, count: usize| -> Result<Vec<i64>> {
            let values = site.node.ints(name).map_or_else(|| vec![default; count], <[i64]>::to_vec);
            if values.len() != count {
                return Err(site.fail(format!("`{name}` has {} values, expected {count}", values.len())));
            }
            // 2^31 bounds every product below well within 64 bits.
            if let Some(v) = values.iter().find(|v| **v < least || **v > i64::from(i32::MAX)) {
                return Err(site.fail(format!("`{name}` has the value {v}")));
            }
            Ok(values)
        };
        if let Some(k) = kernel.iter().find(|k| **k < 1 || **k > i64::from(i32::MAX)) {
            return Err(site.fail(format!("a window of size {k}")));
        }
        let auto_pad = site.node.string("auto_pad").unwrap_or("NOTSET");
        let (same, explicit) = match auto_pad {
            "NOTSET" | "" => (false, true),
            "VALID" => (false, false),
            "SAME_UPPER" | "SAME_LOWER" => (true, false),
            other => return Err(site.fail(format!("`auto_pad` is `{other}`"))),
        };
        let pads = list("pads", 0, i64::from(i32::MIN), 2 * axes)?;
        let (before, after) = pads.split_at(axes);
        let pads = before.iter().zip(after).map(|(b, a)| if explicit { (*b, *a) } else { (0, 0) }).collect();
        Ok(Window {
            strides: list("strides", 1, 1, axes)?,
            dilations: list("dilations", 1, 1, axes)?,
            pads,
            kernel,
            same,
            ceil: site.int("ceil_mode", 0) != 0,
        })
    }

    /// Sizes of the output over spatial axes of these sizes.
    pub(super) fn slide(&self, site: &Site, spatial: &[Expr]) -> Result<Vec<Expr>> {
        let mut sizes = Vec::with_capacity(spatial.len());
        for (axis, size) in spatial.iter().enumerate() {
            let (kernel, stride, (before, after)) = self.at(site, axis)?;
            if self.same {
                sizes.push(size.ceil_over(&Expr::Known(stride)));
                continue;
            }
            let room = size.plus(&Expr::Known(before + after)).minus(&Expr::Known(kernel));
            if room.known().is_some_and(|n| n < 0) {
                let reason = format!(
                    "a window of {kernel} does not fit spatial axis {axis}, padded {size} + {}",
                    before + after
                );
                return Err(site.fail(reason));
            }
            let stride_expr = Expr::Known(stride);
            let steps = if self.ceil { room.ceil_over(&stride_expr) } else { room.floor_over(&stride_expr) };
            // With `ceil_mode` a last window that would start beyond the input and the padding before
            // it is left out.
            let steps = match (steps.known(), size.known()) {
                (Some(n), Some(size)) if self.ceil && n.saturating_mul(stride) >= size.saturating_add(before) => {
                    Expr::Known(n - 1)
                }
                (None, _) if self.ceil && after + stride > kernel => Expr::Unknown,
                _ => steps,
            };
            sizes.push(steps.plus(&Expr::Known(1)));
        }
        Ok(sizes)
    }

    /// Sizes of the output of the transposed convolution, `output_padding` and `output_shape` included.
    pub(super) fn unslide(&self, site: &Site, spatial: &[Expr]) -> Result<Vec<Expr>> {
        let given = |name: &str| match site.node.ints(name) {
            Some(v) if v.len() != spatial.len() => {
                Err(site.fail(format!("`{name}` has {} values, expected {}", v.len(), spatial.len())))
            }
            other => Ok(other.map(<[i64]>::to_vec)),
        };
        if let Some(sizes) = given("output_shape")? {
            return Ok(sizes.into_iter().map(Expr::Known).collect());
        }
        let padding = given("output_padding")?.unwrap_or_else(|| vec![0; spatial.len()]);
        let mut sizes = Vec::with_capacity(spatial.len());
        for (axis, size) in spatial.iter().enumerate() {
            let (kernel, stride, (before, after)) = self.at(site, axis)?;
            let stride = Expr::Known(stride);
            if self.same {
                sizes.push(size.times(&stride));
                continue;
            }
            let extra = padding.get(axis).copied().unwrap_or(0).saturating_add(kernel).saturating_sub(before + after);
            let full = size.minus(&Expr::Known(1)).times(&stride).plus(&Expr::Known(extra));
            if full.known().is_some_and(|n| n < 0) {
                return Err(site.fail(format!("axis {axis} of size {size} comes out negative")));
            }
            sizes.push(full);
        }
        Ok(sizes)
    }

    /// Extent of the window with its gaps, stride and padding on an axis.
    fn at(&self, site: &Site, axis: usize) -> Result<(i64, i64, (i64, i64))> {
        match (self.kernel.get(axis), self.strides.get(axis), self.dilations.get(axis), self.pads.get(axis)) {
            (Some(kernel), Some(stride), Some(dilation), Some(pads)) => {
                Ok(((kernel - 1) * dilation + 1, *stride, *pads))
            }
            _ => Err(site.fail(format!("the window has {} axes, the input more", self.kernel.len()))),
        }
    }
}
