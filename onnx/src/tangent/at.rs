//! A node as its tangent rule sees it.

use super::emitter::Emitter;
use super::{Seed, Target, Term};
use crate::{Attribute, DataType, Dim, Error, Graph, Node, Result, Tensor, Value};
use std::collections::HashMap;

/// Tangents of a node's outputs, by position; `None`, or nothing at the end, is zero.
pub type Tangents<'a> = Vec<Option<Term<'a>>>;

/// A node with its values and their tangents.
pub struct At<'a> {
    pub(super) emitter: &'a Emitter,
    /// The graph with its shapes inferred.
    pub(super) graph: &'a Graph,
    pub(crate) node: &'a Node,
    pub(super) position: usize,
    pub(super) tangents: &'a HashMap<String, Value>,
    pub(super) seeds: &'a HashMap<String, Seed>,
}

impl<'a> At<'a> {
    /// The error that this node has no tangent.
    pub(crate) fn refuse(&self, reason: &str) -> Error {
        Error::Node {
            node: self.node.label(self.position),
            op: self.node.op_type.clone(),
            opset: self.emitter.opset,
            reason: format!("no tangent: {reason}; the paired form needs no rule (`--engine paired`)"),
        }
    }

    pub(crate) fn opset(&self) -> i64 {
        self.emitter.opset
    }

    /// What the graph is to run on.
    pub(super) fn target(&self) -> Target {
        self.emitter.target
    }

    /// Whether any input, or anything its subgraphs read, has a tangent.
    pub(super) fn moves(&self) -> bool {
        let mut read = std::collections::HashSet::new();
        self.node.reads(&mut read);
        read.iter().any(|name| self.tangents.contains_key(name) || self.seeds.contains_key(name))
    }

    /// Whether input `i` has a tangent.
    pub(crate) fn has_tangent(&self, i: usize) -> bool {
        self.node.input(i).is_some_and(|name| self.tangents.contains_key(name) || self.seeds.contains_key(name))
    }

    /// Whether input `i` is there.
    pub(crate) fn has(&self, i: usize) -> bool {
        self.node.input(i).is_some()
    }

    fn type_of(&self, name: &str) -> DataType {
        self.graph.value_type(name).map_or(DataType::Float, |t| t.data_type)
    }

    fn value(&self, name: &str) -> Value {
        let value = self.emitter.with(|b| b.get(name));
        value.unwrap_or_else(|| unreachable!("a sorted graph has every value its nodes read"))
    }

    /// Input `i`, when it is there.
    pub(crate) fn input(&self, i: usize) -> Option<Term<'a>> {
        let name = self.node.input(i)?;
        Some(self.emitter.term(self.value(name), self.type_of(name)))
    }

    /// Input `i`, which the operator always has.
    pub(crate) fn x(&self, i: usize) -> Term<'a> {
        self.input(i).unwrap_or_else(|| unreachable!("shape inference has counted the inputs"))
    }

    /// Output `i`; an output nobody asked for is added to the node.
    pub(crate) fn y(&self, i: usize) -> Term<'a> {
        let value = self.emitter.with(|b| b.output_of(self.position, i));
        let data_type = self.node.outputs.get(i).map_or(DataType::Float, |name| self.type_of(name));
        self.emitter.term(value, data_type)
    }

    /// 1 where output 0, which is never negative, is above 0; elsewhere 0; in its type.
    pub(crate) fn positive(&self) -> Term<'a> {
        let y = self.y(0);
        let channels = match self.output_shape(0).as_deref() {
            Some([_, channels, _, _]) => channels.known(),
            _ => None,
        };
        match (channels, self.target(), y.data_type) {
            (Some(channels), Target::Cpu, DataType::Float) => {
                let vector = |x| self.emitter.term(self.emitter.vector(y.data_type, x, channels), y.data_type);
                // 1 from 1e-29 on. A BatchNormalization, which is taken for a convolution; a product with a number is not.
                let scaled = [vector(1e30), vector(0.0), vector(0.0), vector(1.0)];
                y.with("BatchNormalization", &scaled, vec![]).op("Tanh")
            }
            _ => y.above(0.0).cast(y.data_type),
        }
    }

    /// Tangent of input `i`.
    pub(crate) fn dx(&self, i: usize) -> Option<Term<'a>> {
        let name = self.node.input(i)?;
        let data_type = self.type_of(name);
        if let Some(value) = self.tangents.get(name) {
            return Some(self.emitter.term(*value, data_type));
        }
        match self.seeds.get(name)? {
            Seed::Dense(value) => Some(self.emitter.term(*value, data_type)),
            // Written out for a rule that has no use for the factors.
            Seed::LowRank { left, right } => {
                let (left, right) = (self.emitter.term(*left, data_type), self.emitter.term(*right, data_type));
                let dims = self.dims(i).unwrap_or_default();
                Some(left.with("MatMul", &[right.reshaped(&[0, -1])], vec![]).reshaped(&dims))
            }
        }
    }

    /// The factors of the tangent of input `i`, where it has such.
    pub(crate) fn factors(&self, i: usize) -> Option<(Term<'a>, Term<'a>)> {
        match self.seeds.get(self.node.input(i)?)? {
            Seed::Dense(_) => None,
            Seed::LowRank { left, right } => {
                let data_type = self.type_of(self.node.input(i)?);
                Some((self.emitter.term(*left, data_type), self.emitter.term(*right, data_type)))
            }
        }
    }

    /// Shape of input `i`.
    pub(crate) fn shape(&self, i: usize) -> Option<Vec<Dim>> {
        self.graph.value_type(self.node.input(i)?)?.shape
    }

    /// Shape of output `i`.
    pub(crate) fn output_shape(&self, i: usize) -> Option<Vec<Dim>> {
        self.graph.value_type(self.node.outputs.get(i)?)?.shape
    }

    /// Number of axes of input `i`.
    pub(crate) fn rank(&self, i: usize) -> Option<usize> {
        self.shape(i).map(|s| s.len())
    }

    /// Sizes of input `i`, when all are known.
    pub(crate) fn dims(&self, i: usize) -> Option<Vec<i64>> {
        self.shape(i)?.iter().map(|d| d.known().and_then(|n| i64::try_from(n).ok())).collect()
    }

    /// The constant that input `i` is, when it is one.
    fn constant(&self, i: usize) -> Option<Tensor> {
        let name = self.node.input(i)?;
        if let Some(tensor) = self.graph.initializers.get(name) {
            return Some(tensor.clone());
        }
        let maker = self.graph.nodes.get(self.graph.producer(name)?)?;
        (maker.op_type == "Constant").then(|| maker.tensor("value").cloned())?
    }

    /// Input `i` as integers, when it is constant.
    pub(crate) fn ints(&self, i: usize) -> Option<Vec<i64>> {
        self.constant(i)?.to_ints()
    }

    /// Input `i` as one number, when it is constant.
    pub(crate) fn number(&self, i: usize) -> Option<f64> {
        self.constant(i).filter(|t| t.len() == 1)?.to_float64()?.first().copied()
    }

    /// Input `i` as a truth value, when it is constant.
    pub(crate) fn truth(&self, i: usize) -> Option<bool> {
        self.constant(i)?.bytes().first().map(|byte| *byte != 0)
    }

    /// An integer attribute with its default.
    pub(crate) fn int_attribute(&self, name: &str, default: i64) -> i64 {
        self.node.int(name).unwrap_or(default)
    }

    /// A float attribute with its default.
    pub(crate) fn float(&self, name: &str, default: f64) -> f64 {
        self.node.float(name).map_or(default, f64::from)
    }

    /// An axis attribute, counted from the front.
    pub(crate) fn axis(&self, default: i64) -> Option<i64> {
        let rank = self.rank(0)? as i64;
        let axis = self.int_attribute("axis", default);
        Some(if axis < 0 { axis + rank } else { axis })
    }

    /// The node's attributes, except one of this name.
    pub(crate) fn attributes_but(&self, left_out: &str) -> Vec<(&'a str, Attribute)> {
        let kept = self.node.attributes.iter().filter(|(name, _)| *name != left_out);
        kept.map(|(name, value)| (name.as_str(), value.clone())).collect()
    }

    /// Number of axes of input 0, for a rule that cannot do without it.
    pub(crate) fn first_rank(&self) -> Result<i64> {
        self.rank(0).map(|rank| rank as i64).ok_or_else(|| self.refuse("the number of its axes is not known"))
    }

    /// This node again, with these inputs.
    pub(crate) fn again(&self, inputs: &[Option<Term<'a>>]) -> Vec<Term<'a>> {
        self.emit(inputs, self.attributes_but(""), self.node.outputs.len())
    }

    /// This node again, with these inputs and attributes, and one output.
    pub(crate) fn emit(
        &self,
        inputs: &[Option<Term<'a>>],
        attributes: Vec<(&str, Attribute)>,
        outputs: usize,
    ) -> Vec<Term<'a>> {
        let data_type =
            inputs.iter().flatten().find(|t| t.data_type.is_float()).map_or(DataType::Float, |t| t.data_type);
        let values: Vec<Option<Value>> = inputs.iter().map(|t| t.map(|t| t.value)).collect();
        let made = self.emitter.node(&self.node.op_type, &values, attributes, outputs);
        made.into_iter().map(|value| self.emitter.term(value, data_type)).collect()
    }

    /// Every input, by position.
    pub(crate) fn inputs(&self) -> Vec<Option<Term<'a>>> {
        (0..self.node.inputs.len()).map(|i| self.input(i)).collect()
    }

    /// The node on the tangents of `flowing`, the other inputs as they are.
    pub(crate) fn linear(&self, flowing: &[usize]) -> Tangents<'a> {
        let mut inputs = self.inputs();
        if !flowing.iter().any(|i| self.has_tangent(*i)) {
            return Vec::new();
        }
        for i in flowing {
            if let Some(slot) = inputs.get_mut(*i)
                && slot.is_some()
            {
                *slot = Some(self.dx(*i).unwrap_or_else(|| self.zeros(*i)));
            }
        }
        self.again(&inputs).into_iter().map(Some).collect()
    }

    /// A term for each of `flowing` that has a tangent.
    pub(super) fn each_linear(&self, flowing: &[usize]) -> Option<Term<'a>> {
        let terms = flowing.iter().filter_map(|i| {
            let dx = self.dx(*i)?;
            let mut inputs = self.inputs();
            *inputs.get_mut(*i)? = Some(dx);
            self.again(&inputs).first().copied()
        });
        sum(terms)
    }

    /// Zeros with the type and shape of input `i`.
    pub(crate) fn zeros(&self, i: usize) -> Term<'a> {
        let x = self.x(i);
        let dims: Option<Vec<usize>> = self.shape(i).and_then(|shape| shape.iter().map(Dim::known).collect());
        if let Some(zeros) = dims.and_then(|dims| self.emitter.zeros(x.data_type, &dims)) {
            return self.emitter.term(zeros, x.data_type);
        }
        if self.opset() < 9 {
            return x * 0.0;
        }
        let zero = x.scalar(0.0);
        zero.with("Expand", &[x.dims()], vec![])
    }

    /// `term`, which has the shape that inputs `of` broadcast to, spread over that of the output.
    pub(crate) fn spread(&self, term: Term<'a>, of: &[usize]) -> Term<'a> {
        let output = self.output_shape(0);
        let named = |shape: &[Dim]| !shape.contains(&Dim::Unknown);
        let same = |i: &usize| self.shape(*i).is_some_and(|shape| named(&shape) && Some(&shape) == output.as_ref());
        if of.iter().any(same) {
            return term;
        }
        term.with("Expand", &[self.y(0).dims()], vec![])
    }
}

/// The sum of terms, when there are any.
pub(crate) fn sum<'a>(terms: impl IntoIterator<Item = Term<'a>>) -> Option<Term<'a>> {
    terms.into_iter().reduce(|a, b| a + b)
}
