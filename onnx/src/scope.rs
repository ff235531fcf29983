//! Which parameters take part.

use crate::parameters::{Flat, LINEAR, Parameter};
use crate::{Error, Graph, Result};
use globset::{Glob, GlobSet, GlobSetBuilder};
use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

/// A choice among a graph's parameters.
///
/// As text: `weights`, `head`, `all`, or glob patterns over parameter names, separated by commas
/// (`layer4.*,fc.*`; `*` also crosses dots and slashes).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Scope {
    /// Every parameter of two axes or more: weights of layers, without biases and normalizations.
    #[default]
    Weights,
    /// The final layer before each output, a Gemm, MatMul or convolution, with its bias.
    Head,
    /// Every parameter.
    All,
    /// The parameters whose names match one of these patterns.
    Patterns(Vec<String>),
}

impl Scope {
    /// The parameters of `graph` that take part, in the order of the initializers.
    ///
    /// # Errors
    /// [`Error::Scope`] for a pattern that is none or matches no parameter, and when nothing is chosen.
    pub fn select(&self, graph: &Graph) -> Result<Vec<Parameter>> {
        let parameters = graph.every_parameter();
        let chosen: Vec<Parameter> = match self {
            Scope::All => parameters,
            Scope::Weights => parameters.into_iter().filter(|p| p.dims.len() >= 2).collect(),
            Scope::Head => {
                let head = head(graph, &parameters);
                parameters.into_iter().filter(|p| head.contains(&p.name)).collect()
            }
            Scope::Patterns(patterns) => {
                let set = matcher(patterns, &parameters)?;
                parameters.into_iter().filter(|p| set.is_match(&p.name)).collect()
            }
        };
        if chosen.is_empty() {
            let reason = "the graph has no such parameter".to_owned();
            return Err(Error::Scope { scope: self.to_string(), reason, close: Vec::new() });
        }
        Ok(chosen)
    }
}

impl Graph {
    /// Names of the parameters in `scope`, in the order of the initializers.
    ///
    /// # Errors
    /// Those of [`Scope::select`].
    pub fn parameters(&self, scope: &Scope) -> Result<Vec<String>> {
        Ok(scope.select(self)?.into_iter().map(|p| p.name).collect())
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Weights => f.write_str("weights"),
            Scope::Head => f.write_str("head"),
            Scope::All => f.write_str("all"),
            Scope::Patterns(patterns) => f.write_str(&patterns.join(",")),
        }
    }
}

impl FromStr for Scope {
    type Err = Error;

    fn from_str(text: &str) -> Result<Scope> {
        match text.trim() {
            "weights" => Ok(Scope::Weights),
            "head" => Ok(Scope::Head),
            "all" => Ok(Scope::All),
            list => {
                let patterns: Vec<String> =
                    list.split(',').map(str::trim).filter(|p| !p.is_empty()).map(str::to_owned).collect();
                if patterns.is_empty() {
                    let reason = "it is empty; expected `weights`, `head`, `all` or patterns".to_owned();
                    return Err(Error::Scope { scope: text.to_owned(), reason, close: Vec::new() });
                }
                patterns.iter().try_for_each(|p| glob(p).map(drop))?;
                Ok(Scope::Patterns(patterns))
            }
        }
    }
}

fn glob(pattern: &str) -> Result<Glob> {
    Glob::new(pattern).map_err(|e| Error::Scope {
        scope: pattern.to_owned(),
        reason: e.kind().to_string(),
        close: Vec::new(),
    })
}

/// All patterns as one, each of which has to match something.
fn matcher(patterns: &[String], parameters: &[Parameter]) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = glob(pattern)?;
        let one = glob.compile_matcher();
        if !parameters.iter().any(|p| one.is_match(&p.name)) {
            return Err(Error::Scope {
                scope: pattern.clone(),
                reason: "it matches no parameter".to_owned(),
                close: close(pattern, parameters),
            });
        }
        set.add(glob);
    }
    set.build().map_err(|e| Error::Scope { scope: patterns.join(","), reason: e.kind().to_string(), close: Vec::new() })
}

/// The few parameter names nearest to `pattern`.
fn close(pattern: &str, parameters: &[Parameter]) -> Vec<String> {
    let plain: String = pattern.chars().filter(|c| !matches!(c, '*' | '?' | '[' | ']')).take(200).collect();
    let mut ranked: Vec<(usize, &str)> =
        parameters.iter().map(|p| (distance(&plain, &p.name), p.name.as_str())).collect();
    ranked.sort();
    ranked.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

/// Levenshtein distance: insertions, deletions and substitutions that make one text of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(200).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, above) in b.iter().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(x != *y)).min(above + 1).min(left + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

/// Walks back from each output along the derivative's way. A path ends at its first layer with a
/// parameter as weight; the biases added between it and the output belong to it.
fn head(graph: &Graph, parameters: &[Parameter]) -> HashSet<String> {
    let flat = Flat::new(graph);
    let known: HashSet<&str> = parameters.iter().map(|p| p.name.as_str()).collect();
    let parameter = |value: &str| flat.origin.get(value).copied().filter(|name| known.contains(name));
    let mut head: HashSet<String> = HashSet::new();
    let mut seen: HashSet<usize> = HashSet::new();
    // Each open value with the biases met on the way to it.
    let mut open: Vec<(&str, Vec<&str>)> = graph.outputs.iter().map(|o| (o.name.as_str(), Vec::new())).collect();
    while let Some((value, mut biases)) = open.pop() {
        let Some(at) = flat.producer.get(value).copied().filter(|at| seen.insert(*at)) else { continue };
        let Some(step) = flat.steps.get(at) else { continue };
        let weight = step.inputs.iter().take(2).find_map(|value| parameter(value));
        if LINEAR.contains(&step.op) && weight.is_some() {
            let bias = step.inputs.get(2).and_then(|value| parameter(value));
            head.extend(weight.into_iter().chain(bias).chain(biases).map(str::to_owned));
            continue;
        }
        if step.op == "Add" {
            biases.extend(step.inputs.iter().filter_map(|value| parameter(value)));
        }
        for (i, input) in step.inputs.iter().enumerate() {
            if step.flows.passes(i) && !input.is_empty() {
                open.push((input, biases.clone()));
            }
        }
    }
    head
}
