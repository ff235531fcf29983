//! Matrix products.
//!
//! Meaning changed: Gemm broadcasts its third input without being told from opset 7, and can do without
//! it from 11.

use super::Flow::{All, Nothing};
use super::Tangent::{EachLinear, Refused, Rule};
use super::{ANY, Kind, OpSpec, Site};
use crate::shape::Expr;
use crate::tangent::{At, Tangents, Term, sum};
use crate::{DataType, Result};
use Kind::{Float, Int, String};
use std::collections::BTreeMap;

pub(super) const OPS: &[OpSpec] = &[
    OpSpec {
        name: "Gemm",
        since: 1,
        inputs: 2..=3,
        outputs: 1..=1,
        attributes: &[("alpha", Float), ("beta", Float), ("transA", Int), ("transB", Int)],
        flows: All,
        tangent: Rule(gemm_tangent),
        infer: gemm,
    },
    OpSpec {
        name: "MatMul",
        since: 1,
        inputs: 2..=2,
        outputs: 1..=1,
        attributes: &[],
        flows: All,
        tangent: Rule(matmul_tangent),
        infer: matmul,
    },
    OpSpec {
        name: "MatMulInteger",
        since: 10,
        inputs: 2..=4,
        outputs: 1..=1,
        attributes: &[],
        flows: Nothing,
        tangent: Refused("fixed-point arithmetic, a step function without a derivative"),
        infer: matmul_integer,
    },
    OpSpec {
        name: "QLinearMatMul",
        since: 10,
        inputs: 8..=8,
        outputs: 1..=1,
        attributes: &[],
        flows: Nothing,
        tangent: Refused("fixed-point arithmetic, a step function without a derivative"),
        infer: q_linear_matmul,
    },
    OpSpec {
        name: "Einsum",
        since: 12,
        inputs: 1..=ANY,
        outputs: 1..=1,
        attributes: &[("equation", String)],
        flows: All,
        tangent: EachLinear,
        infer: einsum,
    },
    OpSpec {
        name: "Det",
        since: 11,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[],
        flows: All,
        tangent: Refused("the derivative of a determinant takes an inverse, which ONNX has no operator for"),
        infer: det,
    },
];

fn gemm(site: &mut Site) -> Result<()> {
    let data_type = site.same_type(0..3)?;
    let (a, b) = (site.shape_of_rank(0, 2)?, site.shape_of_rank(1, 2)?);
    let pair = |shape: Option<&[Expr]>, transposed: bool| match shape {
        Some([rows, columns]) if transposed => (columns.clone(), rows.clone()),
        Some([rows, columns]) => (rows.clone(), columns.clone()),
        _ => (Expr::Unknown, Expr::Unknown),
    };
    let (rows, inner) = pair(a, site.int("transA", 0) != 0);
    let (inner_b, columns) = pair(b, site.int("transB", 0) != 0);
    if inner.known().zip(inner_b.known()).is_some_and(|(a, b)| a != b) {
        return Err(site.fail(format!("weight expects {inner_b} features, input 0 has {inner}")));
    }
    let shape = vec![rows, columns];
    if let Some(c) = site.shape(2) {
        if c.len() > 2 {
            return Err(site.fail(format!("input 2 has {} axes", c.len())));
        }
        let spread = site.broadcast(&shape, c)?;
        for (what, (full, own)) in ["rows", "columns"].iter().zip(spread.iter().zip(&shape)) {
            site.agree(&format!("{what} with and without input 2"), full, own)?;
        }
    }
    site.set(0, data_type, Some(shape));
    Ok(())
}

/// Shape of the product of stacks of matrices; a vector counts as a row on the left, a column on the right.
pub(super) fn product(site: &Site, a: usize, b: usize) -> Result<Option<Vec<Expr>>> {
    let (Some(a), Some(b)) = (site.shape(a), site.shape(b)) else { return Ok(None) };
    let (stack_a, rows, inner_a) = match a {
        [] => return Err(site.fail("a scalar in a matrix product")),
        [inner] => (&[][..], None, inner),
        [stack @ .., rows, inner] => (stack, Some(rows), inner),
    };
    let (stack_b, columns, inner_b) = match b {
        [] => return Err(site.fail("a scalar in a matrix product")),
        [inner] => (&[][..], None, inner),
        [stack @ .., inner, columns] => (stack, Some(columns), inner),
    };
    if inner_a.known().zip(inner_b.known()).is_some_and(|(a, b)| a != b) {
        return Err(site.fail(format!("{inner_a} columns on the left, {inner_b} rows on the right")));
    }
    let mut shape = site.broadcast(stack_a, stack_b)?;
    shape.extend(rows.into_iter().chain(columns).cloned());
    Ok(Some(shape))
}

fn matmul(site: &mut Site) -> Result<()> {
    let data_type = site.same_type(0..2)?;
    let shape = product(site, 0, 1)?;
    site.set(0, data_type, shape);
    Ok(())
}

fn matmul_integer(site: &mut Site) -> Result<()> {
    let shape = product(site, 0, 1)?;
    site.set(0, Some(DataType::Int32), shape);
    Ok(())
}

/// The output has the type of its zero point.
fn q_linear_matmul(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(7);
    let shape = product(site, 0, 3)?;
    site.set(0, data_type, shape);
    Ok(())
}

/// A stack of square matrices to a number each.
fn det(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let shape = match site.shape(0) {
        Some([stack @ .., rows, columns]) => {
            site.agree("rows against columns", rows, columns)?;
            Some(stack.to_vec())
        }
        Some(_) => return Err(site.fail("fewer than 2 axes")),
        None => None,
    };
    site.set(0, data_type, shape);
    Ok(())
}

/// Sizes by letter; the axes of an ellipsis broadcast. Without an arrow the output has the letters that
/// come once, in order, after the ellipsis.
fn einsum(site: &mut Site) -> Result<()> {
    let data_type = site.same_type(0..site.inputs.len())?;
    let shape = einsum_shape(site)?;
    site.set(0, data_type, shape);
    Ok(())
}

fn einsum_shape(site: &Site) -> Result<Option<Vec<Expr>>> {
    let equation = site.node.string("equation").ok_or_else(|| site.fail("attribute `equation` is missing"))?;
    let equation: std::string::String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (equation.as_str(), None),
    };
    let terms: Vec<&str> = left.split(',').collect();
    if terms.len() != site.inputs.len() {
        return Err(site.fail(format!("`{equation}` has {} terms, {} inputs", terms.len(), site.inputs.len())));
    }
    let mut sizes: BTreeMap<char, Expr> = BTreeMap::new();
    let mut counts: BTreeMap<char, usize> = BTreeMap::new();
    let mut stack: Vec<Expr> = Vec::new();
    for (i, term) in terms.iter().enumerate() {
        let Some(shape) = site.shape(i) else { return Ok(None) };
        let (before, after) = term.split_once("...").map_or((*term, ""), |(b, a)| (b, a));
        let letters = before.chars().count() + after.chars().count();
        let spare = shape.len().checked_sub(letters).filter(|n| *n == 0 || term.contains("..."));
        let Some(spare) = spare else {
            return Err(site.fail(format!("term `{term}` of `{equation}` for an input of {} axes", shape.len())));
        };
        let (head, rest) = shape.split_at(before.chars().count());
        let (middle, tail) = rest.split_at(spare);
        stack = site.broadcast(&stack, middle)?;
        for (letter, size) in before.chars().zip(head).chain(after.chars().zip(tail)) {
            *counts.entry(letter).or_insert(0) += 1;
            match sizes.get(&letter) {
                Some(known) if known.known().is_some_and(|n| n != 1) => {
                    if size.known() != Some(1) {
                        site.agree(&format!("size of `{letter}`"), known, size)?;
                    }
                }
                _ => {
                    sizes.insert(letter, size.clone());
                }
            }
        }
    }
    let right = match right {
        Some(right) => right.to_owned(),
        None => {
            let once = counts.iter().filter(|(_, n)| **n == 1).map(|(c, _)| *c);
            let dots = if left.contains("...") { "..." } else { "" };
            dots.chars().chain(once).collect()
        }
    };
    let mut shape = Vec::new();
    let (before, after) = right.split_once("...").unwrap_or((right.as_str(), ""));
    let size = |letter: char| {
        sizes.get(&letter).cloned().ok_or_else(|| site.fail(format!("`{letter}` of `{equation}` is in no term")))
    };
    for letter in before.chars() {
        shape.push(size(letter)?);
    }
    if right.contains("...") {
        shape.extend(stack);
    }
    for letter in after.chars() {
        shape.push(size(letter)?);
    }
    Ok(Some(shape))
}

/// A' B + A B'. A direction B' of low rank goes through its factors one after the other.
fn matmul_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let (a, b) = (at.x(0), at.x(1));
    let times = |a: Term<'a>, b: Term<'a>| a.with("MatMul", &[b], vec![]);
    let by_left = at.dx(0).map(|da| times(da, b));
    let by_right = match at.factors(1) {
        Some((left, right)) => Some(times(times(a, left), right)),
        None => at.dx(1).map(|db| times(a, db)),
    };
    Ok(vec![sum(by_left.into_iter().chain(by_right))])
}

/// alpha (A' B + A B') + beta C'. The terms are chained through the third input, so that no Add is left over.
fn gemm_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let (a, b) = (at.x(0), at.x(1));
    let attribute = |beta: f64| {
        vec![
            ("alpha", (at.float("alpha", 1.0) as f32).into()),
            ("beta", (beta as f32).into()),
            ("transA", at.int_attribute("transA", 0).into()),
            ("transB", at.int_attribute("transB", 0).into()),
        ]
    };
    let product = |a: Term<'a>, b: Term<'a>, last: Option<(Term<'a>, f64)>| {
        // The third input can be left out from opset 11.
        let none = (at.opset() < 11).then(|| (a.scalar(0.0), 0.0));
        let last = last.or(none);
        let beta = last.map_or(1.0, |(_, beta)| beta);
        at.emit(&[Some(a), Some(b), last.map(|(c, _)| c)], attribute(beta), 1).first().copied()
    };
    let mut last = at.dx(2).map(|dc| (dc, at.float("beta", 1.0)));
    let mut complete = false;
    if let Some(da) = at.dx(0) {
        last = product(da, b, last).map(|term| (term, 1.0));
        complete = true;
    }
    // Factors of low rank, as this node reads its second input: the first takes its place, the other comes before.
    let by_rows = at.int_attribute("transB", 0) != 0;
    let narrow = at.factors(1).filter(|_| at.int_attribute("transA", 0) == 0).map(|(left, right)| {
        let (first, second) = if by_rows { (right, left) } else { (left, right) };
        let attributes = vec![("transB", at.int_attribute("transB", 0).into())];
        (a.with("Gemm", &[first][..], attributes), second)
    });
    let moving = match narrow {
        Some(pair) if at.opset() >= 11 => Some(pair),
        _ => at.dx(1).map(|db| (a, db)),
    };
    if let Some((a, db)) = moving {
        last = product(a, db, last).map(|term| (term, 1.0));
        complete = true;
    }
    Ok(vec![match last {
        Some((term, _)) if complete => Some(term),
        Some((bias, beta)) => Some((bias * beta).with("Expand", &[at.y(0).dims()], vec![])),
        None => None,
    }])
}
