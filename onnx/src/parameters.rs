//! Which initializers are parameters, and which of them a scope takes.
//!
//! A parameter is a float initializer of more than one number whose value an output depends on through positions that
//! training would differentiate. BatchNormalization's running statistics, limits of Clip, fill values of Pad, scales of
//! Resize and single-number factors are none.

use crate::influence::reach;
use crate::{Error, Graph, Node, Result};
use globset::{Glob, GlobSet, GlobSetBuilder};
use std::collections::{BTreeSet, HashSet};

/// Which parameters take part.
#[derive(Debug, Clone)]
pub enum Scope {
    /// Every parameter of two axes or more.
    Weights,
    /// The last layer with parameters before each output, with its bias.
    Head,
    /// Every parameter.
    All,
    /// Those whose names match a glob pattern; separated by commas as text.
    Patterns(Vec<String>, GlobSet),
}

impl PartialEq for Scope {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl std::str::FromStr for Scope {
    type Err = globset::Error;

    fn from_str(text: &str) -> Result<Self, globset::Error> {
        Ok(match text {
            "weights" => Scope::Weights,
            "head" => Scope::Head,
            "all" => Scope::All,
            _ => {
                let patterns: Vec<String> = text.split(',').map(|p| p.trim().to_owned()).collect();
                let mut set = GlobSetBuilder::new();
                for pattern in &patterns {
                    set.add(Glob::new(pattern)?);
                }
                Scope::Patterns(patterns, set.build()?)
            }
        })
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scope::Weights => f.write_str("weights"),
            Scope::Head => f.write_str("head"),
            Scope::All => f.write_str("all"),
            Scope::Patterns(patterns, _) => f.write_str(&patterns.join(",")),
        }
    }
}

impl Graph {
    /// Names of the parameters in `scope`, in the order of the initializers.
    ///
    /// # Errors
    /// [`Error::Graph`] when there is none, listing what there is.
    pub fn parameters(&self, scope: &Scope) -> Result<Vec<String>> {
        let every = self.every_parameter();
        let head = match scope {
            Scope::Head => self.head(&every),
            _ => BTreeSet::new(),
        };
        let axes = |name: &str| self.initializers.get(name).map_or(0, |t| t.dims().len());
        let taken: Vec<String> = every
            .iter()
            .filter(|name| match scope {
                Scope::All => true,
                Scope::Weights => axes(name) >= 2,
                Scope::Head => head.contains(name.as_str()),
                Scope::Patterns(_, set) => set.is_match(name),
            })
            .cloned()
            .collect();
        if let Scope::Patterns(patterns, _) = scope {
            for pattern in patterns {
                let matcher = Glob::new(pattern).map(|g| g.compile_matcher());
                if matcher.is_ok_and(|m| !every.iter().any(|name| m.is_match(name))) {
                    return Err(self.no_parameters(&format!("pattern `{pattern}` matches no parameter"), &every));
                }
            }
        }
        if taken.is_empty() {
            return Err(self.no_parameters(&format!("scope `{scope}` holds no parameter"), &every));
        }
        Ok(taken)
    }

    fn no_parameters(&self, what: &str, every: &[String]) -> Error {
        const SHOWN: usize = 12;
        let mut known = every.iter().take(SHOWN).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
        if every.len() > SHOWN {
            known.push_str(&format!(" and {} more", every.len() - SHOWN));
        }
        let known = if known.is_empty() { "none".to_owned() } else { known };
        Error::Graph { graph: self.name.clone(), reason: format!("{what}; its parameters are {known}") }
    }

    fn every_parameter(&self) -> Vec<String> {
        let outputs: Vec<&str> = self.outputs.iter().map(|o| o.name.as_str()).collect();
        let mut read_as_parameter: HashSet<&str> = HashSet::new();
        for node in &self.nodes {
            let inputs = node.inputs.iter().enumerate().filter(|(place, _)| differentiable(node, *place));
            read_as_parameter.extend(inputs.map(|(_, name)| name.as_str()));
        }
        let reaches = |name: &str| !reach(self, [name], outputs.iter().copied()).nodes.is_empty();
        self.initializers
            .iter()
            .filter(|(name, tensor)| {
                tensor.data_type().is_float()
                    && tensor.len() > 1
                    && read_as_parameter.contains(name.as_str())
                    && reaches(name)
            })
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Parameters of the last layer before each output: walks back to the first Gemm, MatMul or Conv that has any, and
    /// takes those of the nodes passed on the way (a bias that is added).
    fn head(&self, every: &[String]) -> BTreeSet<String> {
        let mut head = BTreeSet::new();
        for output in &self.outputs {
            let mut frontier = vec![output.name.clone()];
            let mut seen = HashSet::new();
            while let Some(value) = frontier.pop() {
                let Some(node) = self.producer(&value).and_then(|p| self.nodes.get(p)) else { continue };
                if !seen.insert(value) {
                    continue;
                }
                let own: Vec<&String> = node.inputs.iter().filter(|i| every.contains(i)).collect();
                let layer = matches!(node.op_type.as_str(), "Gemm" | "MatMul" | "Conv") && !own.is_empty();
                head.extend(own.into_iter().cloned());
                if !layer {
                    frontier.extend(node.inputs.iter().filter(|i| !i.is_empty()).cloned());
                }
            }
        }
        head
    }
}

/// Whether training would differentiate this input of the node.
fn differentiable(node: &Node, place: usize) -> bool {
    match node.op_type.as_str() {
        "BatchNormalization" => place <= 2,
        "Clip" | "Pad" | "Resize" | "Upsample" | "OneHot" | "Dropout" | "Tile" | "Expand" | "Reshape" => place == 0,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, DataType, Tensor, ValueType};

    fn network() -> Graph {
        let mut b = Builder::new("network");
        let shape = vec!["N".into(), 2.into(), 4.into(), 4.into()];
        let x = b.input("x", ValueType { data_type: DataType::Float, shape: Some(shape) });
        let ones = |dims: &[usize]| Tensor::new(dims, &vec![1.0f32; dims.iter().product()]);
        let w = b.initializer("conv.weight", ones(&[3, 2, 3, 3]));
        let c = b.op("Conv", [x, w]);
        let norm: Vec<_> =
            ["bn.weight", "bn.bias", "bn.mean", "bn.var"].iter().map(|n| b.initializer(n, ones(&[3]))).collect();
        let c = b.op("BatchNormalization", [c, norm[0], norm[1], norm[2], norm[3]]);
        let factor = b.initializer("factor", ones(&[1]));
        let c = b.op("Mul", [c, factor]);
        let pooled = b.op("GlobalAveragePool", [c]);
        let flat = b.op("Flatten", [pooled]);
        let fc = b.initializer("fc.weight", ones(&[3, 5]));
        let bias = b.initializer("fc.bias", ones(&[5]));
        let y = b.op("MatMul", [flat, fc]);
        let y = b.op("Add", [y, bias]);
        b.initializer("unread", ones(&[7, 7]));
        b.output("y", y, None);
        b.finish().expect("a graph")
    }

    fn names(scope: &str) -> Vec<String> {
        network().parameters(&scope.parse().expect("a scope")).expect("parameters")
    }

    #[test]
    fn scopes_take_what_they_say() {
        assert_eq!(names("all"), ["conv.weight", "bn.weight", "bn.bias", "fc.weight", "fc.bias"]);
        assert_eq!(names("weights"), ["conv.weight", "fc.weight"]);
        assert_eq!(names("head"), ["fc.weight", "fc.bias"]);
        assert_eq!(names("bn.*,fc.bias"), ["bn.weight", "bn.bias", "fc.bias"]);
    }

    #[test]
    fn a_pattern_that_matches_nothing_lists_what_there_is() {
        let error = network().parameters(&"layer4.*".parse().expect("a scope")).expect_err("refused").to_string();
        assert!(error.contains("`layer4.*`") && error.contains("`fc.weight`"), "{error}");
    }

    #[test]
    fn a_scope_reads_back_as_it_is_shown() {
        for text in ["weights", "head", "all", "a.*,b"] {
            assert_eq!(text.parse::<Scope>().expect("a scope").to_string(), text);
        }
    }
}
