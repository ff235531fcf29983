//! Sums of products by index letters.

use super::broadcast::shapes;
use super::error::check_size;
use super::{Op, OpError, Site, input};
use std::collections::HashMap;
use tch::Tensor;

pub(super) const OPS: &[Op] = &[Op { name: "Einsum", forward: einsum }];

/// [Einsum](https://onnx.ai/onnx/operators/onnx__Einsum.html): letters, `...` and, without `->`, the letters that occur
/// once in alphabetical order.
fn einsum(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let text = site.required("equation", site.string("equation")?)?;
    let equation: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let mut tensors: Vec<&Tensor> = Vec::with_capacity(inputs.len());
    for i in 0..inputs.len() {
        let tensor = input::required(inputs, i, "Inputs")?;
        if let Some(first) = tensors.first() {
            input::same_kind(first, tensor, "Inputs")?;
        }
        tensors.push(tensor);
    }
    let dims: Vec<Vec<i64>> = tensors.iter().map(|t| t.size()).collect();
    check(&equation, &dims)?;
    Ok(vec![Tensor::f_einsum(&equation, &tensors, None::<i64>)?])
}

/// Checks an equation against the shapes it is for, and the size of every result on the way: operands are joined from
/// the left, and a letter is summed over as soon as nothing later has it.
fn check(equation: &str, dims: &[Vec<i64>]) -> Result<(), OpError> {
    let refused = |expected: String| OpError::Attribute {
        name: "equation",
        expected: expected.into(),
        found: format!("`{equation}`"),
    };
    let (left, output) = match equation.split_once("->") {
        Some((left, output)) => (left, Some(output)),
        None => (equation, None),
    };
    let terms: Vec<&str> = left.split(',').collect();
    let known = |c: char| c.is_ascii_alphabetic() || c == '.';
    if terms.len() != dims.len() || !terms.iter().chain(&output).all(|t| t.chars().all(known)) {
        return Err(refused(format!("{} terms of letters and `...`", dims.len())));
    }
    let mut sizes: HashMap<char, i64> = HashMap::new();
    let mut ellipsis: Vec<i64> = Vec::new();
    for (i, (term, dims)) in terms.iter().zip(dims).enumerate() {
        let letters: Vec<char> = term.chars().filter(|c| *c != '.').collect();
        let dotted = term.len() == letters.len() + 3 && term.contains("...");
        let fits = if dotted { letters.len() <= dims.len() } else { [term.len(), letters.len()] == [dims.len(); 2] };
        if !fits {
            return Err(refused(format!("a term for the shape {dims:?} in place {i}")));
        }
        let before = term.find('.').unwrap_or(term.len());
        let extra = dims.len() - letters.len();
        let outside = dims[..before].iter().chain(&dims[before + extra..]);
        for (letter, &size) in letters.iter().zip(outside) {
            let known = sizes.entry(*letter).or_insert(size);
            if *known == 1 {
                *known = size;
            }
            if size != 1 && size != *known {
                return Err(refused(format!("one size for `{letter}`, not {known} and {size}")));
            }
        }
        ellipsis = shapes(&ellipsis, &dims[before..before + extra])?;
    }
    for step in 1..=terms.len() {
        let later = |letter: char| {
            terms[step..].iter().any(|t| t.contains(letter))
                || output.map_or_else(|| left.matches(letter).count() == 1, |o| o.contains(letter))
        };
        let made = sizes.iter().filter(|(c, _)| terms[..step].iter().any(|t| t.contains(**c)) && later(**c));
        check_size(&made.map(|(_, n)| *n).chain(ellipsis.iter().copied()).collect::<Vec<_>>())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_letters_that_stay_count_for_the_size() {
        let long = 1 << 20;
        assert!(check("ij,jk->ik", &[vec![8, long], vec![long, 8]]).is_ok());
        assert!(matches!(check("ij,jk->ik", &[vec![long, 8], vec![8, long]]), Err(OpError::Size { .. })));
        // Without an output only letters that occur once stay.
        assert!(check("i,i", &[vec![long], vec![long]]).is_ok());
        assert!(check("i,j", &[vec![long], vec![long]]).is_err());
    }

    #[test]
    fn an_equation_that_does_not_fit_the_shapes_is_refused() {
        for (equation, dims) in [
            ("ij->i", vec![vec![2]]),
            ("ij->i", vec![vec![2, 3], vec![2, 3]]),
            ("ij,jk->ik", vec![vec![2, 3], vec![4, 5]]),
            ("i..->i", vec![vec![2, 3, 4]]),
            ("i1->i", vec![vec![2, 3]]),
        ] {
            assert!(matches!(check(equation, &dims), Err(OpError::Attribute { .. })), "{equation} {dims:?}");
        }
        assert!(check("...ij->...ji", &[vec![5, 2, 3]]).is_ok());
    }
}
