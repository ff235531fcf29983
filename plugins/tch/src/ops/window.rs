//! Sliding windows: the geometry that convolutions and pools share, with `auto_pad` and `ceil_mode` resolved.

use super::{OpError, Site};

/// Largest kernel, stride, dilation or padding that is taken; products of two of them then fit an i64.
pub(super) const MAX_EXTENT: i64 = 1 << 30;

/// Windows over the spatial axes, one entry an axis.
#[derive(Debug, Clone)]
pub(super) struct Windows {
    /// Size of the window.
    pub kernel: Vec<i64>,
    /// Step from one window to the next.
    pub stride: Vec<i64>,
    /// Distance between neighbouring positions in a window.
    pub dilation: Vec<i64>,
    /// Padding before the first position.
    pub begin: Vec<i64>,
    /// Padding after the last position, as the node states it.
    pub end: Vec<i64>,
    /// Size of the input.
    pub input: Vec<i64>,
    /// Number of windows.
    pub output: Vec<i64>,
}

/// A list attribute with one positive entry an axis; all ones when the node has none.
pub(super) fn extents(site: &Site, name: &'static str, axes: usize) -> Result<Vec<i64>, OpError> {
    let values = match site.ints(name)? {
        None => return Ok(vec![1; axes]),
        Some(values) => values.to_vec(),
    };
    if values.len() != axes || values.iter().any(|v| !(1..=MAX_EXTENT).contains(v)) {
        let expected = format!("{axes} integers from 1 to {MAX_EXTENT}").into();
        return Err(OpError::Attribute { name, expected, found: format!("{values:?}") });
    }
    Ok(values)
}

/// The attribute `pads`: beginnings of all axes, then their ends; zeros when the node has none.
pub(super) fn pads(site: &Site, axes: usize) -> Result<(Vec<i64>, Vec<i64>), OpError> {
    let Some(values) = site.ints("pads")? else {
        return Ok((vec![0; axes], vec![0; axes]));
    };
    if values.len() != 2 * axes || values.iter().any(|v| !(0..=MAX_EXTENT).contains(v)) {
        let expected = format!("{} integers from 0 to {MAX_EXTENT}", 2 * axes).into();
        return Err(OpError::Attribute { name: "pads", expected, found: format!("{values:?}") });
    }
    let (begin, end) = values.split_at(axes);
    Ok((begin.to_vec(), end.to_vec()))
}

/// The rule by which padding is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AutoPad {
    /// The attribute `pads`.
    NotSet,
    /// None.
    Valid,
    /// As many outputs as inputs over stride; an odd padding has its larger half at the end.
    SameUpper,
    /// The same, with the larger half at the beginning.
    SameLower,
}

/// The attribute `auto_pad`.
pub(super) fn auto_pad(site: &Site) -> Result<AutoPad, OpError> {
    match site.string("auto_pad")?.unwrap_or("NOTSET") {
        "NOTSET" | "" => Ok(AutoPad::NotSet),
        "VALID" => Ok(AutoPad::Valid),
        "SAME_UPPER" => Ok(AutoPad::SameUpper),
        "SAME_LOWER" => Ok(AutoPad::SameLower),
        found => Err(OpError::Attribute {
            name: "auto_pad",
            expected: "NOTSET, VALID, SAME_UPPER or SAME_LOWER".into(),
            found: format!("`{found}`"),
        }),
    }
}

/// Splits a total padding into beginning and end.
pub(super) fn split_padding(total: i64, rule: AutoPad) -> (i64, i64) {
    let half = total / 2;
    if rule == AutoPad::SameLower { (total - half, half) } else { (half, total - half) }
}

impl Windows {
    /// Reads `strides`, `dilations`, `pads`, `auto_pad` and `ceil_mode` for windows of size `kernel` over an input whose
    /// spatial sizes are `input`.
    pub fn new(site: &Site, input: &[i64], kernel: &[i64]) -> Result<Windows, OpError> {
        let axes = input.len();
        if kernel.len() != axes || kernel.iter().any(|v| !(1..=MAX_EXTENT).contains(v)) {
            let expected = format!("{axes} integers from 1 to {MAX_EXTENT}").into();
            return Err(OpError::Attribute { name: "kernel_shape", expected, found: format!("{kernel:?}") });
        }
        let stride = extents(site, "strides", axes)?;
        let dilation = extents(site, "dilations", axes)?;
        let rule = auto_pad(site)?;
        let (mut begin, mut end) =
            if rule == AutoPad::NotSet { pads(site, axes)? } else { (vec![0; axes], vec![0; axes]) };
        let ceil = site.flag("ceil_mode", false)?;
        let mut output = Vec::with_capacity(axes);
        for (i, &size) in input.iter().enumerate() {
            let span = (kernel[i] - 1) * dilation[i] + 1;
            if matches!(rule, AutoPad::SameUpper | AutoPad::SameLower) {
                let outputs = (size + stride[i] - 1) / stride[i];
                let total = ((outputs - 1) * stride[i] + span - size).max(0);
                (begin[i], end[i]) = split_padding(total, rule);
            }
            let room = size + begin[i] + end[i] - span;
            if room < 0 {
                return Err(OpError::Input {
                    name: "X",
                    expected: format!("at least {span} positions along spatial axis {i}, padding included").into(),
                    found: format!("{}", size + begin[i] + end[i]),
                });
            }
            let mut outputs = room / stride[i] + 1;
            // A further window that is not whole counts, unless all of it lies in the padding at the end.
            if ceil && room % stride[i] != 0 && outputs * stride[i] < size + begin[i] {
                outputs += 1;
            }
            output.push(outputs);
        }
        Ok(Windows { kernel: kernel.to_vec(), stride, dilation, begin, end, input: input.to_vec(), output })
    }

    /// Positions that a window spans along axis `i`, gaps included.
    pub fn span(&self, i: usize) -> i64 {
        (self.kernel[i] - 1) * self.dilation[i] + 1
    }

    /// Padding at the end that makes the last window whole; negative where input is left over.
    pub fn reach(&self, i: usize) -> i64 {
        (self.output[i] - 1) * self.stride[i] + self.span(i) - self.input[i] - self.begin[i]
    }

    /// Whether libtorch's own symmetric padding does: the same at both ends, and no part window at the end.
    pub fn is_symmetric(&self) -> bool {
        (0..self.input.len()).all(|i| self.begin[i] == self.end[i] && self.reach(i) <= self.end[i])
    }

    /// Explicit padding in libtorch's order (last axis first, beginning and end), enough for every window.
    pub fn padding(&self) -> Vec<i64> {
        (0..self.input.len()).rev().flat_map(|i| [self.begin[i], self.end[i].max(self.reach(i))]).collect()
    }

    /// How many positions of each window along axis `i` lie in the input, or, with `padded`, in the input and the
    /// padding that the node states.
    pub fn counts(&self, i: usize, padded: bool) -> Vec<i64> {
        let (low, high) = if padded { (-self.begin[i], self.input[i] + self.end[i]) } else { (0, self.input[i]) };
        let d = self.dilation[i];
        (0..self.output[i])
            .map(|o| {
                let start = o * self.stride[i] - self.begin[i];
                // Positions start + k*d for k in 0..kernel; those below `low` and at or above `high` do not count.
                let first = if start < low { (low - start + d - 1) / d } else { 0 };
                let last = if start < high { ((high - 1 - start) / d).min(self.kernel[i] - 1) } else { -1 };
                (last - first + 1).max(0)
            })
            .collect()
    }
}

/// Where every element of every window lies in the flattened padded input of these sizes: the elements of a window
/// come first, the windows within.
pub(super) fn positions(windows: &Windows, padded: &[i64]) -> Vec<i64> {
    let mut places = vec![0];
    for (sizes, step) in [(&windows.kernel, &windows.dilation), (&windows.output, &windows.stride)] {
        for (i, &size) in sizes.iter().enumerate() {
            let stride: i64 = padded[i + 1..].iter().product::<i64>() * step[i];
            places = places.iter().flat_map(|place| (0..size).map(move |k| place + k * stride)).collect();
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use isal_onnx::Node;

    #[test]
    fn counts_are_those_of_positions_enumerated_one_by_one() -> Result<(), OpError> {
        let node = Node::new("AveragePool", "", ["x"], ["y"])
            .with("strides", vec![3i64])
            .with("dilations", vec![2i64])
            .with("pads", vec![2i64, 1])
            .with("ceil_mode", 1i64);
        let site = Site { node: &node, opset: 19, training: false, kind: tch::Kind::Float, device: tch::Device::Cpu };
        let windows = Windows::new(&site, &[10], &[3])?;
        // 13 positions with padding, a span of 5: starts at 0, 3, 6, and 9 for the part window.
        assert_eq!(windows.output, [4]);
        for (padded, low, high) in [(true, -2, 11), (false, 0, 10)] {
            let expected: Vec<i64> = (0..4)
                .map(|o| (0..3).map(|k| o * 3 - 2 + k * 2).filter(|p| (low..high).contains(p)).count() as i64)
                .collect();
            assert_eq!(windows.counts(0, padded), expected, "padded {padded}");
        }
        Ok(())
    }
}
