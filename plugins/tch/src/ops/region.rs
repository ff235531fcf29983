//! Features of regions of interest.

use super::error::{check_listed, check_size};
use super::{Op, OpError, Site, gather, input};
use std::collections::BTreeMap;
use tch::{Device, Tensor};

pub(super) const OPS: &[Op] = &[Op { name: "RoiAlign", forward: roi_align }];

/// How regions are sampled.
struct Sampling {
    height: i64,
    width: i64,
    /// Bins along each axis.
    bins: [i64; 2],
    /// Samples along each axis of a bin; 0 for as many as the bin has pixels.
    ratio: i64,
    scale: f64,
    half_pixel: bool,
}

/// Samples along one axis of a region.
struct Line {
    /// First place, second place, and the weight of the second; the first has what is missing to 1. `None` outside.
    samples: Vec<Option<(i64, i64, f64)>>,
    /// Samples in each bin.
    each: i64,
}

impl Sampling {
    /// Samples of a region from `start` to `end` along axis `axis` (0 is the height).
    fn line(&self, start: f64, end: f64, axis: usize) -> Result<Line, OpError> {
        let (size, bins) = ([self.height, self.width][axis], self.bins[axis]);
        let offset = if self.half_pixel { 0.5 } else { 0.0 };
        let start = start * self.scale - offset;
        let mut length = end * self.scale - offset - start;
        if !self.half_pixel {
            length = length.max(1.0);
        }
        let bin = length / bins as f64;
        let each = if self.ratio > 0 { self.ratio } else { bin.ceil().clamp(0.0, 9e15) as i64 };
        check_listed(&[bins, each])?;
        let last = size - 1;
        let sample = |i: i64| {
            let at = start + (i / each) as f64 * bin + ((i % each) as f64 + 0.5) * bin / each as f64;
            if !(-1.0..=size as f64).contains(&at) {
                return None;
            }
            let low = (at.max(0.0) as i64).min(last);
            let part = if low == last { 0.0 } else { at.max(0.0) - low as f64 };
            Some((low, (low + 1).min(last), part))
        };
        Ok(Line { samples: (0..bins * each).map(sample).collect(), each })
    }
}

/// [RoiAlign](https://onnx.ai/onnx/operators/onnx__RoiAlign.html): `coordinate_transformation_mode` since 16.
///
/// Regions are taken as they are: no derivative flows through them.
fn roi_align(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "X")?;
    let regions = input::required(inputs, 1, "rois")?;
    let images = input::required(inputs, 2, "batch_indices")?;
    let dims = input::rank(x, "X", 4..=4)?;
    input::check_float(x, "X")?;
    let count = input::rank(regions, "rois", 2..=2)?[0];
    if regions.size() != [count, 4] || images.size() != [count] || dims.contains(&0) {
        return Err(OpError::Input {
            name: "rois",
            expected: "four numbers and an image for every region, and images that have places".into(),
            found: format!("{:?}, {:?} and {dims:?}", regions.size(), images.size()),
        });
    }
    let positive = |name| match site.int(name)?.unwrap_or(1) {
        v if v > 0 => Ok(v),
        v => Err(OpError::Attribute { name, expected: "1 or more".into(), found: v.to_string() }),
    };
    let half_pixel = match site.string("coordinate_transformation_mode")? {
        None => site.opset >= 16,
        Some("half_pixel") => true,
        Some("output_half_pixel") => false,
        Some(found) => {
            return Err(OpError::Attribute {
                name: "coordinate_transformation_mode",
                expected: "`half_pixel` or `output_half_pixel`".into(),
                found: format!("`{found}`"),
            });
        }
    };
    let sampling = Sampling {
        height: dims[2],
        width: dims[3],
        bins: [positive("output_height")?, positive("output_width")?],
        ratio: site.int("sampling_ratio")?.unwrap_or(0),
        scale: site.float("spatial_scale")?.unwrap_or(1.0),
        half_pixel,
    };
    let greatest = match site.string("mode")?.unwrap_or("avg") {
        "avg" => false,
        "max" => true,
        found => {
            let found = format!("`{found}`");
            return Err(OpError::Attribute { name: "mode", expected: "`avg` or `max`".into(), found });
        }
    };
    let [rows, columns] = sampling.bins;
    check_size(&[count, dims[1], rows, columns])?;
    let images = gather::host(&gather::indices(images, dims[0])?)?;
    let corners = Vec::<f64>::try_from(regions.f_detach()?.f_to_device(Device::Cpu)?.f_reshape([-1])?)?;

    // Regions with equally many samples go together.
    let mut groups: BTreeMap<(i64, i64), Vec<Region>> = BTreeMap::new();
    let mut listed = 0i64;
    for (i, (corners, image)) in corners.chunks_exact(4).zip(images).enumerate() {
        if corners.iter().any(|v| !v.is_finite()) {
            let found = format!("{corners:?}");
            return Err(OpError::Input { name: "rois", expected: "finite numbers".into(), found });
        }
        let down = sampling.line(corners[1], corners[3], 0)?;
        let across = sampling.line(corners[0], corners[2], 1)?;
        listed = listed.saturating_add((down.samples.len() + across.samples.len()) as i64);
        check_listed(&[listed])?;
        groups.entry((down.each, across.each)).or_default().push(Region { place: i as i64, image, down, across });
    }
    // Channels first, then everything else in one line.
    let flat = x.f_transpose(0, 1)?.f_reshape([dims[1], -1])?;
    let mut parts = Vec::new();
    let mut order = Vec::new();
    for ((down, across), regions) in &groups {
        order.extend(regions.iter().map(|r| r.place));
        let n = regions.len() as i64;
        let shape = [dims[1], n, rows, *down, columns, *across];
        if *down == 0 || *across == 0 {
            parts.push(Tensor::f_zeros([n, dims[1], rows, columns], (x.f_kind()?, x.device()))?);
            continue;
        }
        check_size(&shape)?;
        check_listed(&shape[1..])?;
        let terms = corners_of(&flat, regions, &dims)?;
        let bins = if greatest {
            // As the definition has it: the greatest of the weighted corners, not of the samples.
            Tensor::f_stack(&terms, -1)?.f_amax(-1, false)?.f_reshape(shape)?.f_amax([3, 5], false)?
        } else {
            let mut sum = terms[0].shallow_clone();
            for term in &terms[1..] {
                sum = sum.f_add(term)?;
            }
            sum.f_reshape(shape)?.f_mean_dim([3i64, 5].as_slice(), false, None)?
        };
        parts.push(bins.f_transpose(0, 1)?);
    }
    if parts.is_empty() {
        return Ok(vec![Tensor::f_zeros([0, dims[1], rows, columns], (x.f_kind()?, x.device()))?]);
    }
    let mut back = vec![0; order.len()];
    for (from, to) in order.iter().enumerate() {
        back[input::at(*to)] = from as i64;
    }
    let back = Tensor::f_from_slice(&back)?.f_to_device(x.device())?;
    Ok(vec![Tensor::f_cat(&parts, 0)?.f_index_select(0, &back)?])
}

/// A region with its samples.
struct Region {
    place: i64,
    image: i64,
    down: Line,
    across: Line,
}

/// The four weighted corners of every sample of these regions, each `[C, samples]`.
fn corners_of(flat: &Tensor, regions: &[Region], dims: &[i64]) -> Result<Vec<Tensor>, OpError> {
    let mut terms = Vec::with_capacity(4);
    for (lower, right) in [(false, false), (false, true), (true, false), (true, true)] {
        let (mut places, mut weights) = (Vec::new(), Vec::new());
        for region in regions {
            for down in &region.down.samples {
                for across in &region.across.samples {
                    let (place, weight) = match (down, across) {
                        (Some(y), Some(x)) => {
                            let (row, by) = if lower { (y.1, y.2) } else { (y.0, 1.0 - y.2) };
                            let (column, bx) = if right { (x.1, x.2) } else { (x.0, 1.0 - x.2) };
                            ((region.image * dims[2] + row) * dims[3] + column, by * bx)
                        }
                        _ => (0, 0.0),
                    };
                    places.push(place);
                    weights.push(weight);
                }
            }
        }
        let places = Tensor::f_from_slice(&places)?.f_to_device(flat.device())?;
        let weights = Tensor::f_from_slice(&weights)?.f_to_kind(flat.f_kind()?)?.f_to_device(flat.device())?;
        terms.push(flat.f_index_select(1, &places)?.f_mul(&weights)?);
    }
    Ok(terms)
}
