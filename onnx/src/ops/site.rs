//! A node as its shape rule sees it.

use crate::shape::{Element, Expr, Fact};
use crate::{DataType, Error, Node, Result, Tensor};

/// A node with what is known of its inputs; the rule fills in its outputs.
pub(crate) struct Site<'a> {
    pub(crate) node: &'a Node,
    pub(crate) label: String,
    pub(crate) opset: i64,
    /// By position; `None` where an input is left out.
    pub(crate) inputs: Vec<Option<Fact>>,
    /// By position; unknown until the rule says something.
    pub(crate) outputs: Vec<Fact>,
    /// Outputs of the graphs in its attributes, by attribute.
    pub(crate) bodies: Vec<(String, Vec<Fact>)>,
}

impl Site<'_> {
    /// The error that this node breaks a rule.
    pub(crate) fn fail(&self, reason: impl Into<String>) -> Error {
        Error::Node {
            node: self.label.clone(),
            op: self.node.op_type.clone(),
            opset: self.opset,
            reason: reason.into(),
        }
    }

    /// Whether an attribute of this name holds a graph.
    pub(crate) fn has_graph(&self, name: &str) -> bool {
        matches!(self.node.attributes.get(name), Some(crate::Attribute::Graph(_)))
    }

    /// Whether input `i` is there.
    pub(crate) fn has(&self, i: usize) -> bool {
        self.inputs.get(i).is_some_and(Option::is_some)
    }

    /// What is known of input `i`.
    pub(crate) fn fact(&self, i: usize) -> Option<&Fact> {
        self.inputs.get(i)?.as_ref()
    }

    /// Element type of input `i`.
    pub(crate) fn data_type(&self, i: usize) -> Option<DataType> {
        self.fact(i)?.data_type
    }

    /// Shape of input `i`.
    pub(crate) fn shape(&self, i: usize) -> Option<&[Expr]> {
        self.fact(i)?.shape.as_deref()
    }

    /// Shape of input `i`, which has to have `rank` axes when it is known.
    pub(crate) fn shape_of_rank(&self, i: usize, rank: usize) -> Result<Option<&[Expr]>> {
        match self.shape(i) {
            Some(shape) if shape.len() != rank => {
                Err(self.fail(format!("input {i} has {} axes, expected {rank}", shape.len())))
            }
            other => Ok(other),
        }
    }

    /// Number of axes of input `i`.
    pub(crate) fn rank(&self, i: usize) -> Option<usize> {
        self.shape(i).map(<[Expr]>::len)
    }

    /// Elements of input `i`, when they are followed.
    pub(crate) fn elements(&self, i: usize) -> Option<&[Element]> {
        self.fact(i)?.elements.as_deref()
    }

    /// Elements of input `i` as integers, known or not, when their number is known.
    pub(crate) fn exprs(&self, i: usize) -> Option<Vec<Expr>> {
        if let Some(elements) = self.elements(i) {
            return Some(elements.iter().map(Element::int).collect());
        }
        let count = match self.shape(i)? {
            [] => 1,
            [n] => n.known().and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= 64)?,
            _ => return None,
        };
        Some(vec![Expr::Unknown; count])
    }

    /// Elements of input `i` when all are known integers.
    pub(crate) fn ints(&self, i: usize) -> Option<Vec<i64>> {
        self.elements(i)?.iter().map(|e| e.int().known()).collect()
    }

    /// Elements of input `i` when all are known numbers.
    pub(crate) fn reals(&self, i: usize) -> Option<Vec<f64>> {
        self.elements(i)?.iter().map(Element::real).collect()
    }

    /// An integer attribute with its default.
    pub(crate) fn int(&self, name: &str, default: i64) -> i64 {
        self.node.int(name).unwrap_or(default)
    }

    /// A list of integers that is an attribute before opset `moved` and input `i` from then on. The
    /// outer `None`: it is there but not known; the inner: it is not given.
    pub(crate) fn ints_by_opset(&self, name: &str, i: usize, moved: i64) -> Option<Option<Vec<i64>>> {
        if self.opset < moved {
            return Some(self.node.ints(name).map(<[i64]>::to_vec));
        }
        if !self.has(i) {
            return Some(None);
        }
        self.ints(i).map(Some)
    }

    /// `axis`, counted from the end when negative, within `rank` axes.
    pub(crate) fn axis(&self, axis: i64, rank: usize) -> Result<usize> {
        let counted = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
        counted
            .and_then(|a| usize::try_from(a).ok())
            .filter(|a| *a < rank)
            .ok_or_else(|| self.fail(format!("axis {axis} of {rank} axes")))
    }

    /// Axes within `rank`, each at most once.
    pub(crate) fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>> {
        let mut found = Vec::with_capacity(axes.len());
        for axis in axes {
            let axis = self.axis(*axis, rank)?;
            if found.contains(&axis) {
                return Err(self.fail(format!("axis {axis} is named twice")));
            }
            found.push(axis);
        }
        Ok(found)
    }

    /// The type with this number, as attributes such as `to` and `dtype` give it.
    pub(crate) fn type_number(&self, number: i64) -> Result<DataType> {
        i32::try_from(number)
            .ok()
            .and_then(DataType::from_number)
            .ok_or_else(|| self.fail(format!("element type {number} is unknown")))
    }

    /// Says what output `i` is.
    pub(crate) fn put(&mut self, i: usize, fact: Fact) {
        if let Some(output) = self.outputs.get_mut(i) {
            *output = fact;
        }
    }

    /// Says type and shape of output `i`.
    pub(crate) fn set(&mut self, i: usize, data_type: Option<DataType>, shape: Option<Vec<Expr>>) {
        self.put(i, Fact::new(data_type, shape));
    }

    /// Whether the two sizes can be equal; they have to be.
    pub(crate) fn agree(&self, what: &str, a: &Expr, b: &Expr) -> Result<()> {
        match (a.known(), b.known()) {
            (Some(x), Some(y)) if x != y => Err(self.fail(format!("{what}: {x} against {y}"))),
            _ => Ok(()),
        }
    }

    /// The element type that all of these inputs share; those of unknown type and left out count not.
    pub(crate) fn same_type(&self, inputs: impl IntoIterator<Item = usize>) -> Result<Option<DataType>> {
        let mut found: Option<(usize, DataType)> = None;
        for i in inputs {
            match (found, self.data_type(i)) {
                (Some((first, a)), Some(b)) if a != b => {
                    return Err(self.fail(format!("input {i} is {b:?}, input {first} is {a:?}")));
                }
                (None, Some(t)) => found = Some((i, t)),
                _ => {}
            }
        }
        Ok(found.map(|(_, t)| t))
    }

    /// The shape both broadcast to.
    pub(crate) fn broadcast(&self, a: &[Expr], b: &[Expr]) -> Result<Vec<Expr>> {
        let rank = a.len().max(b.len());
        let at = |shape: &[Expr], i: usize| match (i + shape.len()).checked_sub(rank) {
            Some(j) => shape.get(j).cloned().unwrap_or(Expr::Known(1)),
            None => Expr::Known(1),
        };
        (0..rank)
            .map(|i| {
                let (x, y) = (at(a, i), at(b, i));
                match (x.known(), y.known()) {
                    (Some(1), _) => Ok(y),
                    (_, Some(1)) => Ok(x),
                    (Some(m), Some(n)) if m != n => {
                        let show = |shape: &[Expr]| shape.iter().map(Expr::to_string).collect::<Vec<_>>().join(", ");
                        Err(self.fail(format!("shapes [{}] and [{}] do not broadcast", show(a), show(b))))
                    }
                    // A size other than 1 decides, whatever the other turns out to be.
                    (Some(_), _) => Ok(x),
                    (_, Some(_)) => Ok(y),
                    _ if x.same(&y) => Ok(x),
                    _ => Ok(Expr::Unknown),
                }
            })
            .collect()
    }

    /// The shape that the shapes of these inputs broadcast to; unknown when one of them is.
    pub(crate) fn broadcast_inputs(&self, inputs: impl IntoIterator<Item = usize>) -> Result<Option<Vec<Expr>>> {
        let mut shape = Vec::new();
        for i in inputs {
            let Some(next) = self.shape(i) else { return Ok(None) };
            shape = self.broadcast(&shape, next)?;
        }
        Ok(Some(shape))
    }

    /// A tensor attribute as a fact.
    pub(crate) fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.node.tensor(name)
    }
}

/// Product of sizes.
pub(crate) fn product<'a>(sizes: impl IntoIterator<Item = &'a Expr>) -> Expr {
    sizes.into_iter().fold(Expr::Known(1), |n, d| n.times(d))
}

/// Output 0 has the type and shape of input 0.
pub(crate) fn like_first(site: &mut Site) -> Result<()> {
    let (data_type, shape) = (site.data_type(0), site.shape(0).map(<[Expr]>::to_vec));
    site.set(0, data_type, shape);
    Ok(())
}

/// Nothing is said of the outputs: they have no tensor type.
pub(crate) fn untyped(_: &mut Site) -> Result<()> {
    Ok(())
}
