//! Derivatives of a forward against differences of its values, in float64.
//!
//! All outputs are weighed with fixed random numbers c into one: f = sum of c . y. Along random directions u, with w
//! random too, four things are held against central differences of fourth order:
//!
//! - reverse: `grad f . u` and forward: the tangent of f, against differences of f;
//! - reverse over reverse and forward over reverse: the derivative along u of `grad f . w`, against differences of it.
//!
//! In the last two c counts as a variable as well: f is bilinear in it, so they say something even where f is linear in
//! the inputs.

use crate::level::Level;
use crate::ops::{self, Site};
use isal_onnx::testing::{Case, uniform};
use tch::{Device, Kind, Tensor};

/// Step of the differences. With fourth order, truncation is about 1e-12 of the function's scale and rounding 1e-13.
const STEP: f64 = 1e-3;
/// Greatest relative error.
const TOLERANCE: f64 = 1e-6;
/// Random directions a row.
const DIRECTIONS: usize = 2;

pub(super) type Checked<T> = Result<T, String>;

/// The first line: libtorch's messages carry a stack trace.
pub(super) fn text<E: std::fmt::Display>(error: E) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// A tensor of libtorch's with the same numbers, floats in float64.
pub(super) fn native(tensor: &isal_onnx::Tensor) -> Checked<Tensor> {
    ops::constant(tensor, Kind::Double, Device::Cpu).map_err(text)
}

/// A row with its numbers drawn.
pub(super) struct Drawn<'a> {
    pub(super) case: &'a Case,
    pub(super) inputs: Vec<Option<(Tensor, bool)>>,
}

impl Drawn<'_> {
    /// Outputs for these differentiated inputs, with their positions.
    pub(super) fn outputs(&self, xs: &[Tensor]) -> Checked<Vec<(usize, Tensor)>> {
        let mut xs = xs.iter();
        let inputs: Vec<Option<Tensor>> = self
            .inputs
            .iter()
            .map(|input| match input {
                Some((_, true)) => xs.next().map(Tensor::shallow_clone),
                Some((fixed, false)) => Some(fixed.shallow_clone()),
                None => None,
            })
            .collect();
        let op = ops::find("", self.case.op).ok_or("no such operator")?;
        let (node, opset, training) = (self.case.node(), self.case.opset, self.case.training);
        let site = Site { node, opset, training, kind: Kind::Double, device: Device::Cpu };
        let outputs = (op.forward)(&site, &inputs).map_err(text)?;
        let named = &self.case.outputs;
        let kept = outputs.into_iter().enumerate().filter(|(i, y)| match named.as_slice() {
            [] => y.kind() == Kind::Double,
            named => named.contains(i),
        });
        Ok(kept.collect())
    }

    /// f.
    pub(super) fn value(&self, xs: &[Tensor], cs: &[Tensor]) -> Checked<Tensor> {
        let mut sum = Tensor::from(0.0);
        for ((_, y), c) in self.outputs(xs)?.iter().zip(cs) {
            sum = sum.f_add(&y.f_mul(c).map_err(text)?.f_sum(Kind::Double).map_err(text)?).map_err(text)?;
        }
        Ok(sum)
    }
}

/// Sum of products; an undefined tensor is zero.
pub(super) fn dot(a: &[Tensor], b: &[Tensor]) -> Tensor {
    let products = a.iter().zip(b).filter(|(a, _)| a.defined()).map(|(a, b)| (a * b).sum(Kind::Double));
    products.fold(Tensor::from(0.0), |sum, p| sum + p)
}

/// The same without cancellation: the scale that errors are relative to.
pub(super) fn scale(a: &[Tensor], b: &[Tensor]) -> f64 {
    a.iter().zip(b).filter(|(a, _)| a.defined()).map(|(a, b)| (a * b).abs().sum(Kind::Double).double_value(&[])).sum()
}

fn moved(at: &[Tensor], along: &[Tensor], by: f64) -> Vec<Tensor> {
    at.iter().zip(along).map(|(x, u)| x + u * by).collect()
}

/// The derivative along `u` of a function, by central differences of fourth order.
pub(super) fn difference(at: &[Tensor], u: &[Tensor], f: impl Fn(&[Tensor]) -> Checked<f64>) -> Checked<f64> {
    let near = f(&moved(at, u, STEP))? - f(&moved(at, u, -STEP))?;
    let far = f(&moved(at, u, 2.0 * STEP))? - f(&moved(at, u, -2.0 * STEP))?;
    Ok((8.0 * near - far) / (12.0 * STEP))
}

pub(super) fn leaves(of: &[Tensor]) -> Vec<Tensor> {
    of.iter().map(|t| t.detach().copy().set_requires_grad(true)).collect()
}

pub(super) fn hold(what: &str, found: f64, expected: f64, scale: f64) -> Checked<()> {
    if (found - expected).abs() <= TOLERANCE * scale.max(expected.abs()).max(1e-3) {
        return Ok(());
    }
    Err(format!("{what}: {found:e} instead of {expected:e} (scale {scale:e})"))
}

/// Inputs as libtorch has them, each with its mark.
pub(super) fn native_inputs(inputs: &[Option<(isal_onnx::Tensor, bool)>]) -> Checked<Vec<Option<(Tensor, bool)>>> {
    inputs.iter().map(|input| input.as_ref().map(|(t, d)| Ok((native(t)?, *d))).transpose()).collect()
}

/// Runs all four checks of a row.
pub fn check(case: &Case) -> Checked<()> {
    let mut random = case.random();
    let drawn = Drawn { case, inputs: native_inputs(&case.tensors(&mut random))? };
    let mut noise = |like: &Tensor| -> Checked<Tensor> {
        let dims: Vec<usize> = like.size().iter().map(|d| *d as usize).collect();
        native(&uniform(&dims, &mut random))
    };
    let xs: Vec<Tensor> = drawn.inputs.iter().flatten().filter(|(_, d)| *d).map(|(t, _)| t.shallow_clone()).collect();
    let ys: Vec<Tensor> = drawn.outputs(&xs)?.into_iter().map(|(_, y)| y).collect();
    if xs.is_empty() || ys.is_empty() {
        return Err("nothing to differentiate".to_owned());
    }
    let cs: Vec<Tensor> = ys.iter().map(&mut noise).collect::<Checked<_>>()?;
    let ws: Vec<Tensor> = xs.iter().map(&mut noise).collect::<Checked<_>>()?;
    let all: Vec<Tensor> = xs.iter().chain(&cs).map(Tensor::shallow_clone).collect();
    let count = xs.len();
    let value = |v: &[Tensor]| -> Checked<f64> { Ok(drawn.value(&v[..count], &v[count..])?.double_value(&[])) };
    // grad f . w at a point, f recorded.
    let slope = |v: &[Tensor]| -> Checked<f64> {
        let v = leaves(v);
        let f = drawn.value(&v[..count], &v[count..])?;
        let g = Tensor::f_run_backward(&[f], &v[..count], false, false).map_err(text)?;
        Ok(dot(&g, &ws).double_value(&[]))
    };

    let recorded = leaves(&all);
    let f = drawn.value(&recorded[..count], &recorded[count..])?;
    let g =
        Tensor::f_run_backward(&[f], &recorded[..count], true, true).map_err(|e| format!("reverse: {}", text(e)))?;
    if let Some(i) = g.iter().position(|g| !g.defined() || g.abs().max().double_value(&[]) == 0.0) {
        return Err(format!("reverse: no gradient reaches differentiated input {i}"));
    }
    let along = dot(&g, &ws);
    let second = Tensor::f_run_backward(&[along], &recorded, false, false);
    let second = second.map_err(|e| format!("reverse over reverse: {}", text(e)))?;

    for _ in 0..DIRECTIONS {
        let u: Vec<Tensor> = all.iter().map(&mut noise).collect::<Checked<_>>()?;
        let mut first = u.iter().map(Tensor::shallow_clone).collect::<Vec<_>>();
        first[count..].iter_mut().for_each(|c| *c = c.zeros_like());
        let expected = difference(&all, &first, value)?;
        hold("reverse", dot(&g, &u).double_value(&[]), expected, scale(&g, &u))?;

        let forward = {
            let level = Level::enter().map_err(text)?;
            let duals = duals(&level, &xs, &u)?;
            let f = drawn.value(&duals, &cs).map_err(|e| format!("forward: {}", text(e)))?;
            let tangent = level.unpack(&f).map_err(text)?.1.ok_or("forward: no tangent")?;
            tangent.double_value(&[])
        };
        hold("forward", forward, expected, scale(&g, &u))?;

        let expected = difference(&all, &u, slope)?;
        let size = scale(&second, &u);
        hold("reverse over reverse", dot(&second, &u).double_value(&[]), expected, size)?;
        let mixed = {
            let level = Level::enter().map_err(text)?;
            let duals = duals(&level, &leaves(&all), &u)?;
            let f = drawn
                .value(&duals[..count], &duals[count..])
                .map_err(|e| format!("forward over reverse: {}", text(e)))?;
            let g = Tensor::f_run_backward(&[f], &duals[..count], false, false);
            let g = g.map_err(|e| format!("forward over reverse: {}", text(e)))?;
            let mut tangents = Vec::new();
            for g in &g {
                let tangent = if g.defined() { level.unpack(g).map_err(text)?.1 } else { None };
                tangents.push(tangent.unwrap_or_else(Tensor::new));
            }
            dot(&tangents, &ws).double_value(&[])
        };
        hold("forward over reverse", mixed, expected, size)?;
    }
    Ok(())
}

fn duals(level: &Level, at: &[Tensor], along: &[Tensor]) -> Checked<Vec<Tensor>> {
    at.iter().zip(along).map(|(x, u)| level.dual(x, u).map_err(text)).collect()
}
