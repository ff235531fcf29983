//! Sampling of images at given points.
//!
//! Written with gathers: libtorch's own grid sampler can be differentiated once only.

use super::error::check_size;
use super::{Op, OpError, Site, input};
use tch::{Kind, Tensor};

pub(super) const OPS: &[Op] =
    &[Op { name: "AffineGrid", forward: affine_grid }, Op { name: "GridSample", forward: grid_sample }];

/// [AffineGrid](https://onnx.ai/onnx/operators/onnx__AffineGrid.html): where an affine map sends the points of an image
/// over [-1, 1], the last axis of the image first.
fn affine_grid(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let theta = input::required(inputs, 0, "theta")?;
    let size = input::ints(input::required(inputs, 1, "size")?, "size")?;
    let dims = input::rank(theta, "theta", 3..=3)?;
    let axes = size.len().saturating_sub(2);
    input::check_float(theta, "theta")?;
    if !matches!(axes, 2 | 3) || dims != [size[0], axes as i64, axes as i64 + 1] {
        return Err(OpError::Input {
            name: "theta",
            expected: "[N, 2, 3] for a size of four numbers, [N, 3, 4] for five".into(),
            found: format!("the shape {dims:?} and the size {size:?}"),
        });
    }
    let mut out = vec![size[0]];
    out.extend(&size[2..]);
    out.push(axes as i64);
    check_size(&out)?;
    let align = site.flag("align_corners", false)?;
    let options = (theta.f_kind()?, theta.device());
    // Homogeneous coordinates of every point of the image.
    let mut coordinates = Vec::with_capacity(axes + 1);
    for (i, &length) in size[2..].iter().enumerate().rev() {
        let places = Tensor::f_arange(length, options)?;
        let along = if align {
            places.f_mul_scalar(2.0 / (length - 1).max(1) as f64)?.f_sub_scalar(1.0)?
        } else {
            places.f_mul_scalar(2.0)?.f_add_scalar(1.0)?.f_mul_scalar(1.0 / length as f64)?.f_sub_scalar(1.0)?
        };
        let mut shape = vec![1; axes];
        shape[i] = length;
        coordinates.push(along.f_reshape(&shape)?.f_expand(&size[2..], false)?);
    }
    coordinates.push(Tensor::f_ones(&size[2..], options)?);
    let points = Tensor::f_stack(&coordinates, -1)?.f_reshape([-1, axes as i64 + 1])?;
    Ok(vec![points.f_matmul(&theta.f_transpose(1, 2)?)?.f_reshape(&out)?])
}

/// What a point outside the image sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Padding {
    Zeros,
    Border,
    Reflection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

/// [GridSample](https://onnx.ai/onnx/operators/onnx__GridSample.html): two spatial axes before opset 20, one to three
/// since, when `bilinear` and `bicubic` became `linear` and `cubic`.
fn grid_sample(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "X")?;
    let grid = input::required(inputs, 1, "grid")?;
    let dims = input::rank(x, "X", 3..=5)?;
    let grid_dims = input::rank(grid, "grid", dims.len()..=dims.len())?;
    let axes = dims.len() - 2;
    input::check_float(x, "X")?;
    input::same_kind(x, grid, "grid")?;
    if grid_dims[0] != dims[0] || grid_dims[axes + 1] != axes as i64 || dims[2..].contains(&0) {
        return Err(OpError::Input {
            name: "grid",
            expected: format!("{} images' points of {axes} coordinates, in images that have places", dims[0]).into(),
            found: format!("the shape {grid_dims:?} over {dims:?}"),
        });
    }
    let mode = match site.string("mode")?.unwrap_or("linear") {
        "nearest" => Mode::Nearest,
        "linear" | "bilinear" => Mode::Linear,
        "cubic" | "bicubic" => Mode::Cubic,
        found => return unknown("mode", "`nearest`, `linear` or `cubic`", found),
    };
    let padding = match site.string("padding_mode")?.unwrap_or("zeros") {
        "zeros" => Padding::Zeros,
        "border" => Padding::Border,
        "reflection" => Padding::Reflection,
        found => return unknown("padding_mode", "`zeros`, `border` or `reflection`", found),
    };
    let mut out = dims[..2].to_vec();
    out.extend(&grid_dims[1..=axes]);
    check_size(&out)?;
    let align = site.flag("align_corners", false)?;
    let mut along = Vec::with_capacity(axes);
    for (i, &size) in dims[2..].iter().enumerate() {
        // The grid names the last axis first.
        let points = grid.f_select(-1, (axes - 1 - i) as i64)?.f_reshape([dims[0], 1, -1])?;
        along.push(Line { size, align, padding }.taps(&points, mode)?);
    }

    let flat = x.f_reshape([dims[0], dims[1], dims[2..].iter().product()])?;
    let points = grid_dims[1..=axes].iter().product();
    let mut y: Option<Tensor> = None;
    for choice in 0..along.iter().map(Vec::len).product() {
        let mut rest: usize = choice;
        let mut place: Option<Tensor> = None;
        let mut weight: Option<Tensor> = None;
        for (taps, &size) in along.iter().zip(&dims[2..]) {
            let tap = &taps[rest % taps.len()];
            rest /= taps.len();
            place = Some(match place {
                Some(place) => place.f_mul_scalar(size)?.f_add(&tap.place)?,
                None => tap.place.shallow_clone(),
            });
            weight = match (weight, &tap.weight) {
                (Some(a), Some(b)) => Some(a.f_mul(b)?),
                (a, b) => a.or_else(|| b.as_ref().map(Tensor::shallow_clone)),
            };
        }
        let place = place.ok_or(OpError::MissingInput { index: 1, name: "grid" })?;
        let mut term = flat.f_gather(2, &place.f_expand([dims[0], dims[1], points], false)?, false)?;
        if let Some(weight) = weight {
            term = term.f_mul(&weight)?;
        }
        y = Some(match y {
            Some(y) => y.f_add(&term)?,
            None => term,
        });
    }
    Ok(vec![y.ok_or(OpError::MissingInput { index: 0, name: "X" })?.f_reshape(&out)?])
}

fn unknown<T>(name: &'static str, expected: &'static str, found: &str) -> Result<T, OpError> {
    Err(OpError::Attribute { name, expected: expected.into(), found: format!("`{found}`") })
}

/// An axis of the image.
struct Line {
    size: i64,
    align: bool,
    padding: Padding,
}

/// A neighbour along one axis: its place, and how much it counts (all, without a weight), for every point.
struct Tap {
    place: Tensor,
    weight: Option<Tensor>,
}

impl Line {
    /// Where the image ends, in places: at the outer pixels' middles, or half a pixel further.
    fn ends(&self) -> (f64, f64) {
        let last = (self.size - 1) as f64;
        if self.align { (0.0, last) } else { (-0.5, last + 0.5) }
    }

    /// The neighbours of points over [-1, 1].
    fn taps(&self, points: &Tensor, mode: Mode) -> Result<Vec<Tap>, OpError> {
        let size = self.size as f64;
        let unit = points.f_add_scalar(1.0)?;
        let mut at = if self.align {
            unit.f_mul_scalar((size - 1.0) / 2.0)?
        } else {
            unit.f_mul_scalar(size / 2.0)?.f_sub_scalar(0.5)?
        };
        if mode == Mode::Nearest {
            at = at.f_round()?;
        }
        let (low, high) = self.ends();
        let outside = at.f_lt(low)?.f_logical_or(&at.f_gt(high)?)?;
        at = match self.padding {
            Padding::Zeros => at,
            Padding::Border => at.f_clamp(0.0, size - 1.0)?.f_where_self(&outside, &at)?,
            Padding::Reflection => self.reflect(&at)?.f_where_self(&outside, &at)?,
        };
        if mode == Mode::Nearest {
            let (place, inside) = self.place(&at.f_detach()?)?;
            let weight = (self.padding == Padding::Zeros).then_some(inside);
            return Ok(vec![Tap { place, weight: weight.map(|w| w.f_to_kind(at.f_kind()?)).transpose()? }]);
        }
        let floor = at.f_detach()?.f_floor()?;
        let part = at.f_sub(&floor)?;
        let weights: Vec<(f64, Tensor)> = match mode {
            Mode::Cubic => (-1..=2).map(|k| Ok((f64::from(k), cubic(&part, k)?))).collect::<Result<_, OpError>>()?,
            _ => vec![(0.0, part.f_neg()?.f_add_scalar(1.0)?), (1.0, part)],
        };
        let mut taps = Vec::with_capacity(weights.len());
        for (offset, weight) in weights {
            let (place, inside) = self.place(&floor.f_add_scalar(offset)?)?;
            let weight = if self.padding == Padding::Zeros {
                weight.f_masked_fill(&inside.f_logical_not()?, 0.0)?
            } else {
                weight
            };
            taps.push(Tap { place, weight: Some(weight) });
        }
        Ok(taps)
    }

    /// Mirrored at both ends until within them.
    fn reflect(&self, at: &Tensor) -> Result<Tensor, OpError> {
        let (low, high) = self.ends();
        let span = high - low;
        if span <= 0.0 {
            return Ok(at.f_mul_scalar(0.0)?);
        }
        let folded = at.f_sub_scalar(low)?.f_remainder(2.0 * span)?;
        let back = folded.f_neg()?.f_add_scalar(2.0 * span)?;
        Ok(folded.f_minimum(&back)?.f_add_scalar(low)?)
    }

    /// Whole places as indices into the axis, and whether they lay within it.
    fn place(&self, at: &Tensor) -> Result<(Tensor, Tensor), OpError> {
        let last = (self.size - 1) as f64;
        let inside = at.f_ge(0.0)?.f_logical_and(&at.f_le(last)?)?;
        let at = if self.padding == Padding::Reflection { self.reflect(at)?.f_round()? } else { at.shallow_clone() };
        // No number comes out as the first place: its weight is no number either.
        let at = at.f_nan_to_num(0.0, last, 0.0)?.f_clamp(0.0, last)?;
        Ok((at.f_to_kind(Kind::Int64)?, inside))
    }
}

/// Keys' cubic convolution kernel with coefficient -3/4, at the distance of neighbour `k` from a point `part` past
/// neighbour 0.
fn cubic(part: &Tensor, k: i32) -> Result<Tensor, OpError> {
    const A: f64 = -0.75;
    let distance = if k > 0 { part.f_neg()?.f_add_scalar(f64::from(k))? } else { part.f_sub_scalar(f64::from(k))? };
    // Coefficients of the cube, the square, the distance and 1.
    let [c3, c2, c1, c0] =
        if matches!(k, 0 | 1) { [A + 2.0, -(A + 3.0), 0.0, 1.0] } else { [A, -5.0 * A, 8.0 * A, -4.0 * A] };
    let horner = distance.f_mul_scalar(c3)?.f_add_scalar(c2)?.f_mul(&distance)?.f_add_scalar(c1)?;
    Ok(horner.f_mul(&distance)?.f_add_scalar(c0)?)
}
