//! Resampling along axes: each output place is a weighted sum of a few input places, axis by axis.

use super::error::{check_listed, check_size};
use super::{Op, OpError, Site, input};
use tch::Tensor;

pub(super) const OPS: &[Op] = &[Op { name: "Resize", forward: resize }, Op { name: "Upsample", forward: upsample }];

/// How output places are mapped to input places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    TfHalfPixelForNn,
    TfCropAndResize,
}

/// How a place between two input places is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rounding {
    PreferFloor,
    PreferCeil,
    Floor,
    Ceil,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    Nearest(Rounding),
    Linear,
    /// With the coefficient of the cubic.
    Cubic(f64),
}

/// One axis that is resampled.
#[derive(Debug, Clone, Copy)]
struct Axis {
    input: i64,
    output: i64,
    scale: f64,
    /// Start and end of the region of interest, as parts of the axis.
    region: (f64, f64),
}

/// Everything but the sizes.
struct Sampler {
    coordinates: Coordinates,
    mode: Mode,
    antialias: bool,
    exclude_outside: bool,
    extrapolation: f64,
}

fn unknown<T>(name: &'static str, expected: &'static str, found: &str) -> Result<T, OpError> {
    Err(OpError::Attribute { name, expected: expected.into(), found: format!("`{found}`") })
}

/// [Upsample](https://onnx.ai/onnx/operators/onnx__Upsample.html): an attribute `scales` before opset 9, an input in 9.
fn upsample(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "X")?;
    let scales = if site.opset < 9 {
        let scales = site.required("scales", site.floats("scales")?)?;
        scales.iter().copied().map(f64::from).collect()
    } else {
        input::floats(input::required(inputs, 1, "scales")?, "scales")?
    };
    let axes = axes_by_scales(x, &(0..x.dim() as i64).collect::<Vec<_>>(), &scales)?;
    older(site)?.run(x, &axes).map(|y| vec![y])
}

/// The rules of Upsample and of Resize in opset 10.
fn older(site: &Site) -> Result<Sampler, OpError> {
    let mode = match site.string("mode")?.unwrap_or("nearest") {
        "nearest" => Mode::Nearest(Rounding::Floor),
        "linear" | "bilinear" => Mode::Linear,
        found => return unknown("mode", "`nearest` or `linear`", found),
    };
    Ok(Sampler {
        coordinates: Coordinates::Asymmetric,
        mode,
        antialias: false,
        exclude_outside: false,
        extrapolation: 0.0,
    })
}

/// [Resize](https://onnx.ai/onnx/operators/onnx__Resize.html): in opset 10 a second name of Upsample, its own rules since
/// 11, `antialias`, `axes` and `keep_aspect_ratio_policy` since 18.
///
/// Scales, sizes and the region of interest are taken as they are: no derivative flows through them.
fn resize(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "X")?;
    let rank = x.dim();
    let every: Vec<i64> = (0..rank as i64).collect();
    if site.opset < 11 {
        let scales = input::floats(input::required(inputs, 1, "scales")?, "scales")?;
        return older(site)?.run(x, &axes_by_scales(x, &every, &scales)?).map(|y| vec![y]);
    }
    let named = match site.ints("axes")? {
        Some(axes) => input::axes(axes, rank)?,
        None => every,
    };
    // Before opset 13 an input left out is an empty tensor.
    let given = |i| input::optional(inputs, i).filter(|t| t.numel() > 0);
    let scales = given(2).map(|t| input::floats(t, "scales")).transpose()?;
    let sizes = given(3).map(|t| input::ints(t, "sizes")).transpose()?;
    let mut axes = match (scales, sizes) {
        (Some(scales), None) => axes_by_scales(x, &named, &scales)?,
        (None, Some(sizes)) => axes_by_sizes(site, x, &named, &sizes)?,
        (scales, _) => {
            let found = if scales.is_some() { "both" } else { "neither" }.to_owned();
            return Err(OpError::Input { name: "sizes", expected: "either scales or sizes".into(), found });
        }
    };
    let sampler = sampler(site)?;
    if sampler.coordinates == Coordinates::TfCropAndResize {
        let region = input::floats(input::required(inputs, 1, "roi")?, "roi")?;
        if region.len() != 2 * named.len() || region.iter().any(|v| !v.is_finite()) {
            let expected = format!("{} finite numbers", 2 * named.len()).into();
            return Err(OpError::Input { name: "roi", expected, found: format!("{region:?}") });
        }
        for (i, axis) in named.iter().enumerate() {
            axes[input::at(*axis)].region = (region[i], region[i + named.len()]);
        }
    }
    sampler.run(x, &axes).map(|y| vec![y])
}

fn sampler(site: &Site) -> Result<Sampler, OpError> {
    let coordinates = match site.string("coordinate_transformation_mode")?.unwrap_or("half_pixel") {
        "half_pixel" => Coordinates::HalfPixel,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        "tf_half_pixel_for_nn" => Coordinates::TfHalfPixelForNn,
        "tf_crop_and_resize" => Coordinates::TfCropAndResize,
        found => return unknown("coordinate_transformation_mode", "a mode that ONNX defines", found),
    };
    let rounding = match site.string("nearest_mode")?.unwrap_or("round_prefer_floor") {
        "round_prefer_floor" => Rounding::PreferFloor,
        "round_prefer_ceil" => Rounding::PreferCeil,
        "floor" => Rounding::Floor,
        "ceil" => Rounding::Ceil,
        found => return unknown("nearest_mode", "a rounding that ONNX defines", found),
    };
    let mode = match site.string("mode")?.unwrap_or("nearest") {
        "nearest" => Mode::Nearest(rounding),
        "linear" => Mode::Linear,
        "cubic" => Mode::Cubic(site.float("cubic_coeff_a")?.unwrap_or(-0.75)),
        found => return unknown("mode", "`nearest`, `linear` or `cubic`", found),
    };
    Ok(Sampler {
        coordinates,
        mode,
        antialias: site.flag("antialias", false)?,
        exclude_outside: site.flag("exclude_outside", false)?,
        extrapolation: site.float("extrapolation_value")?.unwrap_or(0.0),
    })
}

/// All axes as they are.
fn unchanged(x: &Tensor) -> Vec<Axis> {
    let axis = |size| Axis { input: size, output: size, scale: 1.0, region: (0.0, 1.0) };
    x.size().into_iter().map(axis).collect()
}

fn axes_by_scales(x: &Tensor, named: &[i64], scales: &[f64]) -> Result<Vec<Axis>, OpError> {
    if scales.len() != named.len() || scales.iter().any(|s| !(s.is_finite() && *s > 0.0)) {
        let expected = format!("{} positive numbers", named.len()).into();
        return Err(OpError::Input { name: "scales", expected, found: format!("{scales:?}") });
    }
    let mut axes = unchanged(x);
    for (axis, &scale) in named.iter().zip(scales) {
        let axis = &mut axes[input::at(*axis)];
        // Beyond 2^53 the product is no longer exact, and far too large in any case.
        axis.output = (axis.input as f64 * scale).floor().min(9e15) as i64;
        axis.scale = scale;
    }
    Ok(axes)
}

fn axes_by_sizes(site: &Site, x: &Tensor, named: &[i64], sizes: &[i64]) -> Result<Vec<Axis>, OpError> {
    let mut axes = unchanged(x);
    if sizes.len() != named.len() || sizes.iter().any(|s| *s < 0) {
        let expected = format!("{} sizes, 0 or more", named.len()).into();
        return Err(OpError::Input { name: "sizes", expected, found: format!("{sizes:?}") });
    }
    let ratio = |axis: &Axis, size: i64| size as f64 / axis.input as f64;
    let ratios = named.iter().zip(sizes).map(|(a, s)| ratio(&axes[input::at(*a)], *s));
    let common = match site.string("keep_aspect_ratio_policy")?.unwrap_or("stretch") {
        "stretch" => None,
        "not_larger" => ratios.min_by(f64::total_cmp),
        "not_smaller" => ratios.max_by(f64::total_cmp),
        found => return unknown("keep_aspect_ratio_policy", "`stretch`, `not_larger` or `not_smaller`", found),
    };
    for (axis, &size) in named.iter().zip(sizes) {
        let axis = &mut axes[input::at(*axis)];
        axis.scale = common.unwrap_or_else(|| ratio(axis, size));
        axis.output = match common {
            Some(scale) => (axis.input as f64 * scale).round().min(9e15) as i64,
            None => size,
        };
    }
    Ok(axes)
}

impl Sampler {
    fn run(&self, x: &Tensor, axes: &[Axis]) -> Result<Tensor, OpError> {
        check_size(&axes.iter().map(|a| a.output).collect::<Vec<_>>())?;
        let mut y = x.shallow_clone();
        for (i, axis) in axes.iter().enumerate() {
            let same = axis.scale == 1.0 && axis.input == axis.output && axis.region == (0.0, 1.0);
            if same || axis.output == 0 {
                y = y.f_narrow(i as i64, 0, axis.output.min(axis.input))?;
                continue;
            }
            if axis.input == 0 {
                let found = format!("{:?}", x.size());
                return Err(OpError::Input { name: "X", expected: format!("elements along axis {i}").into(), found });
            }
            check_size(
                &y.size().iter().enumerate().map(|(j, d)| if i == j { axis.output } else { *d }).collect::<Vec<_>>(),
            )?;
            y = self.along(&y, i as i64, axis)?;
        }
        Ok(y)
    }

    /// Resamples one axis.
    fn along(&self, x: &Tensor, dim: i64, axis: &Axis) -> Result<Tensor, OpError> {
        let taps = self.taps(axis);
        check_listed(&[axis.output, taps.end() - taps.start() + 1])?;
        let places: Vec<f64> = (0..axis.output).map(|i| self.place(i, axis)).collect();
        let on_device = |values: &[f64]| -> Result<Tensor, OpError> {
            Ok(Tensor::f_from_slice(values)?.f_to_kind(x.f_kind()?)?.f_to_device(x.device())?)
        };
        let mut shape = vec![1; x.dim()];
        shape[input::at(dim)] = axis.output;
        let rows: Vec<Vec<(i64, f64)>> = places.iter().map(|p| self.weights(*p, axis, &taps)).collect();
        let most = rows.iter().map(Vec::len).max().unwrap_or(1);
        let mut y: Option<Tensor> = None;
        for tap in 0..most {
            let at: Vec<i64> = rows.iter().map(|r| r.get(tap).map_or(0, |t| t.0)).collect();
            let picked = x.f_index_select(dim, &Tensor::f_from_slice(&at)?.f_to_device(x.device())?)?;
            if matches!(self.mode, Mode::Nearest(_)) {
                y = Some(picked);
                break;
            }
            let weights: Vec<f64> = rows.iter().map(|r| r.get(tap).map_or(0.0, |t| t.1)).collect();
            let term = picked.f_mul(&on_device(&weights)?.f_reshape(&shape)?)?;
            y = Some(match y {
                Some(y) => y.f_add(&term)?,
                None => term,
            });
        }
        let y = y.ok_or(OpError::MissingInput { index: 0, name: "X" })?;
        if self.coordinates != Coordinates::TfCropAndResize {
            return Ok(y);
        }
        let outside: Vec<bool> = places.iter().map(|p| *p < 0.0 || *p > (axis.input - 1) as f64).collect();
        let outside = Tensor::f_from_slice(&outside)?.f_to_device(x.device())?.f_reshape(&shape)?;
        Ok(y.f_masked_fill(&outside, self.extrapolation)?)
    }

    /// The input place of output place `i`.
    fn place(&self, i: i64, axis: &Axis) -> f64 {
        let (i, size, output) = (i as f64, axis.input as f64, axis.output as f64);
        let half = (i + 0.5) / axis.scale - 0.5;
        match self.coordinates {
            Coordinates::HalfPixel => half,
            Coordinates::HalfPixelSymmetric => {
                // Keeps the middle in place where the output size was rounded.
                let adjustment = output / (axis.scale * size);
                size / 2.0 * (1.0 - adjustment) + half
            }
            Coordinates::PytorchHalfPixel if axis.output > 1 => half,
            Coordinates::PytorchHalfPixel => 0.0,
            Coordinates::AlignCorners if axis.output > 1 => i * (size - 1.0) / (output - 1.0),
            Coordinates::AlignCorners => 0.0,
            Coordinates::Asymmetric => i / axis.scale,
            Coordinates::TfHalfPixelForNn => (i + 0.5) / axis.scale,
            Coordinates::TfCropAndResize => {
                let (start, end) = axis.region;
                if axis.output > 1 {
                    start * (size - 1.0) + i * (end - start) * (size - 1.0) / (output - 1.0)
                } else {
                    0.5 * (start + end) * (size - 1.0)
                }
            }
        }
    }

    /// Which neighbours count, relative to the floor of the place; more of them where antialiasing widens the filter.
    fn taps(&self, axis: &Axis) -> std::ops::RangeInclusive<i64> {
        let reach = match self.mode {
            Mode::Nearest(_) => return 0..=0,
            Mode::Linear => 1.0,
            Mode::Cubic(_) => 2.0,
        };
        // Neighbours past both ends are all the end itself.
        let reach = (reach / self.squeeze(axis)).ceil().min(2.0 * axis.input as f64 + 4.0) as i64;
        1 - reach..=reach
    }

    /// How far the filter is stretched: by less than 1 for shrinking with antialiasing.
    fn squeeze(&self, axis: &Axis) -> f64 {
        if self.antialias { axis.scale.min(1.0) } else { 1.0 }
    }

    /// Input places and their weights for one output place.
    fn weights(&self, place: f64, axis: &Axis, taps: &std::ops::RangeInclusive<i64>) -> Vec<(i64, f64)> {
        let last = axis.input - 1;
        if let Mode::Nearest(rounding) = self.mode {
            let rounded = match rounding {
                Rounding::Floor => place.floor(),
                Rounding::Ceil => place.ceil(),
                Rounding::PreferFloor => (place - 0.5).ceil(),
                Rounding::PreferCeil => (place + 0.5).floor(),
            };
            return vec![((rounded as i64).clamp(0, last), 1.0)];
        }
        let floor = place.floor();
        let squeeze = self.squeeze(axis);
        let mut row = Vec::with_capacity(taps.clone().count());
        let mut total = 0.0;
        for offset in taps.clone() {
            let at = floor as i64 + offset;
            let inside = (0..=last).contains(&at);
            let weight = match self.mode {
                _ if self.exclude_outside && !inside => 0.0,
                Mode::Cubic(a) => cubic((at as f64 - place) * squeeze, a),
                _ => (1.0 - ((at as f64 - place) * squeeze).abs()).max(0.0),
            };
            total += weight;
            row.push((at.clamp(0, last), weight));
        }
        // Without a stretched filter or excluded neighbours the weights add up to 1 already.
        if self.antialias || self.exclude_outside {
            row.iter_mut().for_each(|(_, w)| *w /= total);
        }
        row
    }
}

/// Keys' cubic convolution kernel, with coefficient `a`.
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((x - 5.0) * x + 8.0) * a * x - 4.0 * a
    } else {
        0.0
    }
}
