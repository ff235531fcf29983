//! The class scores of a graph: which output holds them, what made them, and the logits `[N, C]` behind them.

use super::OutputKind;
use isal_onnx::{Dim, Graph, Model, Node, ValueInfo, ValueType};

/// Operators that leave the scores of an image as they are, or in another shape.
const HARMLESS: [&str; 8] = ["Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Dropout"];

/// Most that a lower bound on probabilities may cut away, as exporters put one before a logarithm.
const CLIPPED: f64 = 1e-3;

/// The class scores of a graph.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) output: String,
    pub(super) classes: usize,
    pub(super) kind: OutputKind,
    /// The value that holds the logits.
    value: String,
    /// The type of `value` without its axes of one, where it has any.
    flat: Option<ValueType>,
}

impl Found {
    /// The logits as a value `[N, C]` of `graph`, which gets a node where there is none yet.
    pub(super) fn logits(&self, graph: &mut Graph) -> String {
        let Some(flat) = &self.flat else { return self.value.clone() };
        let mut name = "isal/class_scores".to_owned();
        while graph.value_type(&name).is_some() || graph.producer(&name).is_some() {
            name.push('_');
        }
        let node = Node::new("Flatten", name.clone(), [self.value.as_str()], [name.as_str()]).with("axis", 1);
        graph.nodes.push(node);
        graph.value_types.insert(name.clone(), flat.clone());
        name
    }
}

/// Finds the class scores: the output asked for, or the first `[N, C]`, or the first that is so but for axes of one.
pub(super) fn find(model: &Model, wanted: Option<&str>) -> Result<Found, String> {
    // Files need not say the shapes of their outputs, and seldom say those of inner values.
    let mut typed = model.clone();
    let inferred = typed.infer_shapes().is_ok();
    let graph = if inferred { &typed.graph } else { &model.graph };
    let output = output(graph, wanted)?;
    let classes = output.value_type.as_ref().and_then(classes_of).unwrap_or_default();
    let walk = Walk { graph, opset: model.opset(), classes };
    walk.back_from(&output.name)
}

fn output<'a>(graph: &'a Graph, wanted: Option<&str>) -> Result<&'a ValueInfo, String> {
    let classes = |output: &&ValueInfo| output.value_type.as_ref().and_then(classes_of);
    let plain =
        |output: &&ValueInfo| output.value_type.as_ref().and_then(|t| t.shape.as_ref()).map(Vec::len) == Some(2);
    let many = |output: &&ValueInfo| classes(output).is_some_and(|n| n >= 2);
    let candidates: Vec<&ValueInfo> =
        graph.outputs.iter().filter(|output| wanted.is_none_or(|name| output.name == name)).collect();
    let among = || graph.outputs.iter().map(described).collect::<Vec<_>>().join(", ");
    if candidates.is_empty() {
        return Err(match wanted {
            Some(name) => format!("no output is called `{name}`; there are {}", among()),
            None => "the model has no output".to_owned(),
        });
    }
    let found = candidates.iter().find(|o| plain(o) && many(o)).or_else(|| candidates.iter().find(|o| many(o)));
    if let Some(found) = found {
        return Ok(found);
    }
    if let Some(one) = candidates.iter().find(|output| classes(output) == Some(1)) {
        return Err(format!(
            "output {} is one score an image: a classifier of two classes with a single output, or a regression. Class \
             scores [N, classes] of at least two classes are needed: export the model with one output for each class",
            described(one)
        ));
    }
    Err(format!("no output of class scores [N, classes], with at least two classes, among {}", among()))
}

fn described(output: &ValueInfo) -> String {
    match &output.value_type {
        Some(value_type) => format!("`{}` {value_type}", output.name),
        None => format!("`{}`", output.name),
    }
}

/// Number of classes of floats `[N, C]`, seen through axes of one.
fn classes_of(value_type: &ValueType) -> Option<usize> {
    let (_, rest) = value_type.shape.as_deref()?.split_first().filter(|(_, rest)| !rest.is_empty())?;
    let sizes: Vec<usize> = rest.iter().map(Dim::known).collect::<Option<_>>()?;
    let mut wide = sizes.into_iter().filter(|size| *size != 1);
    let classes = wide.next().unwrap_or(1);
    (wide.next().is_none() && value_type.data_type.is_float()).then_some(classes)
}

struct Walk<'a> {
    graph: &'a Graph,
    opset: i64,
    classes: usize,
}

impl<'a> Walk<'a> {
    /// Follows the output back to what computes it.
    fn back_from(&self, output: &str) -> Result<Found, String> {
        let (behind, clipped) = self.through(output, true);
        let found =
            |kind, (value, flat)| Ok(Found { output: output.to_owned(), classes: self.classes, kind, value, flat });
        let node = self.producer(&behind);
        match node.map(|node| node.op_type.as_str()) {
            Some("Softmax") => {
                self.check_axis(node, output)?;
                let logits = node.and_then(|node| node.input(0)).unwrap_or(output);
                found(OutputKind::Probabilities, self.flat(logits))
            }
            Some("LogSoftmax") => {
                self.check_axis(node, output)?;
                found(OutputKind::Logits, self.flat(output))
            }
            Some(name @ ("Sigmoid" | "HardSigmoid")) => Err(format!(
                "output `{output}` is a {name} of each class score: a multi-label classifier, whose classes do not \
                 exclude each other. Only classifiers with one label an image are scored: export the model with its \
                 logits or a Softmax, if its classes do exclude each other"
            )),
            // A bound that is no guard of probabilities is a part of the network.
            _ if clipped => found(OutputKind::Logits, (output.to_owned(), self.flattened(output))),
            _ => found(OutputKind::Logits, self.flat(output)),
        }
    }

    fn producer(&self, value: &str) -> Option<&'a Node> {
        self.graph.nodes.get(self.graph.producer(value)?).filter(|node| node.domain.is_empty())
    }

    /// Whether a value holds the scores of every class, and no more.
    fn holds(&self, value: &str) -> bool {
        self.graph.value_type(value).and_then(|t| classes_of(&t)) == Some(self.classes)
    }

    /// Behind the operators that leave the scores as they are; and whether one of them bounds them.
    fn through(&self, value: &str, clips: bool) -> (String, bool) {
        let (mut value, mut clipped) = (value.to_owned(), false);
        while let Some(node) = self.producer(&value) {
            let Some(input) = node.input(0).filter(|input| self.holds(input)) else { break };
            let clip = clips && node.op_type == "Clip" && self.bounds_probabilities(node);
            if !clip && !HARMLESS.contains(&node.op_type.as_str()) {
                break;
            }
            clipped |= clip;
            value = input.to_owned();
        }
        (value, clipped)
    }

    /// The value `[N, C]` nearest behind `value` with the same scores; else `value`, and what it is without axes of one.
    fn flat(&self, value: &str) -> (String, Option<ValueType>) {
        let mut at = value.to_owned();
        loop {
            let Some(flattened) = self.flattened(&at) else { return (at, None) };
            let node = self.producer(&at).filter(|node| HARMLESS.contains(&node.op_type.as_str()));
            match node.and_then(|node| node.input(0)).filter(|input| self.holds(input)) {
                Some(input) => at = input.to_owned(),
                None if at == value => return (at, Some(flattened)),
                None => return (value.to_owned(), self.flattened(value)),
            }
        }
    }

    /// The type `[N, C]` of a value that has more axes.
    fn flattened(&self, value: &str) -> Option<ValueType> {
        let found = self.graph.value_type(value)?;
        let shape = found.shape.filter(|shape| shape.len() > 2)?;
        let shape = vec![shape.into_iter().next()?, Dim::Known(self.classes)];
        Some(ValueType { data_type: found.data_type, shape: Some(shape) })
    }

    /// Whether a Clip leaves probabilities as they are, but for the smallest and largest.
    fn bounds_probabilities(&self, node: &Node) -> bool {
        let bound = |position: usize, attribute: &str| match node.input(position) {
            Some(name) => self.graph.initializers.get(name)?.to_float64()?.first().copied(),
            None => node.float(attribute).map(f64::from),
        };
        let given =
            |position: usize, attribute: &str| node.input(position).is_some() || node.float(attribute).is_some();
        let low = !given(1, "min") || bound(1, "min").is_some_and(|low| low <= CLIPPED);
        let high = !given(2, "max") || bound(2, "max").is_some_and(|high| high >= 1.0 - CLIPPED);
        low && high
    }

    /// Refuses a Softmax over another axis than that of the classes.
    fn check_axis(&self, node: Option<&Node>, output: &str) -> Result<(), String> {
        let Some(node) = node else { return Ok(()) };
        let axis = node.int("axis").unwrap_or(if self.opset >= 13 { -1 } else { 1 });
        let shape = node.input(0).and_then(|input| self.graph.value_type(input)).and_then(|t| t.shape);
        let shape = shape.unwrap_or_else(|| vec![Dim::Unknown, Dim::Known(self.classes)]);
        let rank = shape.len();
        let place = shape.iter().skip(1).position(|dim| dim.known() != Some(1)).map_or(1, |place| place + 1);
        let axis = usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).unwrap_or(rank);
        // Before opset 13 it goes over all axes from this one on.
        let over_classes = if self.opset >= 13 { axis == place } else { (1..=place).contains(&axis) };
        if over_classes {
            return Ok(());
        }
        let (op, name) = (&node.op_type, &node.name);
        Err(format!(
            "output `{output}` comes from a {op} over axis {axis} (node `{name}`), and the classes are axis {place}: it \
             does not make probabilities of classes. Export the model with its {op} over axis {place}, or with its logits"
        ))
    }
}
