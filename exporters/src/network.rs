//! A graph under construction: layers as PyTorch names them, weights drawn as they are added.

use crate::{Error, ModelOptions, Result};
use indexmap::IndexMap;
use isal_onnx::{Builder, DataType, Dim, Graph, Model, Node, Tensor, ValueInfo, ValueType};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, Normal};

/// A value on its way through the network, with its shape but for the batch axis.
#[derive(Debug, Clone)]
pub(crate) struct Feature {
    pub name: String,
    /// `[channels, height, width]`, or `[features]` once flattened.
    pub shape: Vec<usize>,
}

/// What a convolution looks like; square kernels, equal padding on all sides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conv {
    pub channels: usize,
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
    /// Groups of channels that do not see each other; as many as channels for a depthwise convolution.
    pub groups: usize,
    pub bias: bool,
    /// Factor on the standard deviation of He initialisation.
    pub gain: f32,
}

pub(crate) struct Network {
    model: &'static str,
    options: ModelOptions,
    graph: Graph,
    parameters: usize,
    rng: ChaCha8Rng,
    /// Metadata properties besides those that every model has.
    notes: Vec<(&'static str, String)>,
}

impl Network {
    /// An empty network and its input.
    pub fn new(model: &'static str, options: &ModelOptions) -> Result<(Self, Feature)> {
        let wrong = |option, found: String, expected: &str| Error::Option {
            model,
            option,
            found,
            expected: expected.to_owned(),
        };
        let [channels, height, width] = options.input;
        if options.input.contains(&0) {
            return Err(wrong("input", format!("{:?}", options.input), "no zero among channels, height and width"));
        }
        if options.classes < 1 {
            return Err(wrong("classes", options.classes.to_string(), "at least 1"));
        }
        if !ModelOptions::OPSETS.contains(&options.opset) {
            return Err(wrong("opset", options.opset.to_string(), &opsets()));
        }
        let images = [Dim::from("N"), channels.into(), height.into(), width.into()];
        let graph = Graph {
            name: model.to_owned(),
            inputs: vec![ValueInfo::new("images", ValueType::new(DataType::Float, images))],
            ..Graph::default()
        };
        let rng = ChaCha8Rng::seed_from_u64(options.seed);
        let network = Network { model, options: options.clone(), graph, parameters: 0, rng, notes: Vec::new() };
        Ok((network, Feature { name: "images".to_owned(), shape: options.input.to_vec() }))
    }

    /// Whether convolutions are followed by BatchNormalization.
    pub fn batch_norm(&self) -> bool {
        self.options.batch_norm
    }

    pub fn classes(&self) -> usize {
        self.options.classes
    }

    pub fn opset(&self) -> i64 {
        self.options.opset
    }

    /// Has the model say something in its metadata.
    pub fn note(&mut self, key: &'static str, value: String) {
        self.notes.push((key, value));
    }

    /// Refuses opsets in which an operator of the layers does not exist, or means something else.
    pub fn since(&self, opset: i64, because: &str) -> Result<()> {
        if self.options.opset >= opset {
            return Ok(());
        }
        Err(Error::Option {
            model: self.model,
            option: "opset",
            found: self.options.opset.to_string(),
            expected: format!("{opset} to {} ({because})", ModelOptions::OPSETS.end()),
        })
    }

    /// The error that images of this size do not suit the layers.
    pub fn unsuited(&self, expected: impl Into<String>) -> Error {
        Error::Option {
            model: self.model,
            option: "input",
            found: format!("{:?}", self.options.input),
            expected: expected.into(),
        }
    }

    /// Convolution with normal weights of standard deviation `gain * sqrt(2 / (kernel^2 * channels / groups))`: He
    /// initialisation (arXiv 1502.01852) that keeps the scale of gradients, as pycls and torchvision have it.
    pub fn conv(&mut self, x: &Feature, name: &str, conv: Conv) -> Feature {
        self.conv_as(x, name, name, conv)
    }

    /// As [`Network::conv`], the node of another name than its weights, which are drawn where they are not there yet: layers
    /// that share them.
    pub fn conv_as(&mut self, x: &Feature, name: &str, weights: &str, conv: Conv) -> Feature {
        let Conv { channels, kernel, stride, padding, groups, bias, gain } = conv;
        let fan_out = kernel * kernel * channels / groups;
        let weight = format!("{weights}.weight");
        if !self.has(&weight) {
            let dims = [channels, x.shape[0] / groups, kernel, kernel];
            self.normal(&weight, &dims, gain * (2.0 / fan_out as f32).sqrt());
        }
        let mut inputs = vec![x.name.clone(), weight];
        if bias {
            let bias = format!("{weights}.bias");
            if !self.has(&bias) {
                self.constant(&bias, channels, 0.0);
            }
            inputs.push(bias);
        }
        let ints = |v: usize, n| vec![v as i64; n];
        let node = Node::new("Conv", name, inputs, [""])
            .with("kernel_shape", ints(kernel, 2))
            .with("strides", ints(stride, 2))
            .with("pads", ints(padding, 4))
            .with("dilations", ints(1, 2))
            .with("group", groups as i64);
        let size = |n: usize| (n + 2 * padding - kernel) / stride + 1;
        self.add(node, vec![channels, size(x.shape[1]), size(x.shape[2])])
    }

    /// BatchNormalization in evaluation form, as PyTorch starts it: scale 1, shift 0, mean 0, variance 1. The
    /// `momentum` is ONNX's (0.9 of the old statistics kept), which is 0.1 in PyTorch's terms.
    pub fn bn(&mut self, x: &Feature, name: &str) -> Feature {
        let channels = x.shape[0];
        let mut inputs = vec![x.name.clone()];
        for (part, value) in [("weight", 1.0), ("bias", 0.0)] {
            let parameter = format!("{name}.{part}");
            self.constant(&parameter, channels, value);
            inputs.push(parameter);
        }
        for (part, value) in [("running_mean", 0.0f32), ("running_var", 1.0)] {
            let statistic = format!("{name}.{part}");
            self.graph.initializers.insert(statistic.clone(), Tensor::new([channels], &vec![value; channels]));
            inputs.push(statistic);
        }
        let node = Node::new("BatchNormalization", name, inputs, [""]).with("epsilon", 1e-5).with("momentum", 0.9);
        self.add(node, x.shape.clone())
    }

    /// Dense layer; weights normal of standard deviation `std`, biases 0.
    pub fn linear(&mut self, x: &Feature, name: &str, features: usize, std: f32) -> Feature {
        let node = self.dense(x, name, features, std);
        self.add(node, vec![features])
    }

    /// The same of a value whose rows are not the images.
    pub fn linear_of_rows(&mut self, x: &Feature, name: &str, features: usize, std: f32) -> Feature {
        let mut node = self.dense(x, name, features, std);
        let output = format!("{name}.output");
        node.outputs = vec![output.clone()];
        self.push(node);
        Feature { name: output, shape: vec![features] }
    }

    fn dense(&mut self, x: &Feature, name: &str, features: usize, std: f32) -> Node {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        self.normal(&weight, &[features, x.shape[0]], std);
        self.constant(&bias, features, 0.0);
        Node::new("Gemm", name, [x.name.clone(), weight, bias], [""])
            .with("alpha", 1.0)
            .with("beta", 1.0)
            .with("transB", 1)
    }

    /// Adds what `graph` computes from these values, given to its inputs by name; the names of its outputs here, in their order. Its
    /// names get `scope` in front, and what it has for initializers becomes constants: those are no weights.
    pub fn inline(&mut self, scope: &str, mut graph: Graph, values: &[(&str, &Feature)]) -> Vec<String> {
        let tensors = std::mem::take(&mut graph.initializers);
        let constant = |(name, tensor): (String, Tensor)| {
            Node::new("Constant", name.clone(), [""; 0], [name]).with("value", tensor)
        };
        graph.nodes.splice(0..0, tensors.into_iter().map(constant));
        let mut builder = Builder::extend(std::mem::take(&mut self.graph));
        builder.scope(scope);
        let given = values.iter().filter_map(|(input, value)| Some(((*input).to_owned(), builder.get(&value.name)?)));
        let given = given.collect();
        let made = builder.inline(&graph, &given).expect("each input is given a value");
        let names = graph.outputs.iter().filter_map(|output| made.get(&output.name));
        let names = names.map(|value| builder.name(*value).to_owned()).collect();
        self.graph = builder.finish().expect("each value is made before it is read");
        names
    }

    pub fn relu(&mut self, x: &Feature, name: &str) -> Feature {
        self.add(Node::new("Relu", name, [x.name.clone()], [""]), x.shape.clone())
    }

    pub fn sum(&mut self, a: &Feature, b: &Feature, name: &str) -> Feature {
        self.add(Node::new("Add", name, [a.name.clone(), b.name.clone()], [""]), a.shape.clone())
    }

    /// Max-pooling over square windows with stride 2 and equal padding; what no whole window covers is dropped.
    pub fn max_pool(&mut self, x: &Feature, name: &str, kernel: usize, padding: usize) -> Feature {
        let node = Node::new("MaxPool", name, [x.name.clone()], [""])
            .with("kernel_shape", vec![kernel as i64; 2])
            .with("strides", vec![2i64, 2]);
        let node = if padding > 0 { node.with("pads", vec![padding as i64; 4]) } else { node };
        let size = |n: usize| (n + 2 * padding - kernel) / 2 + 1;
        self.add(node, vec![x.shape[0], size(x.shape[1]), size(x.shape[2])])
    }

    /// Mean over height and width.
    pub fn global_average(&mut self, x: &Feature, name: &str) -> Feature {
        self.add(Node::new("GlobalAveragePool", name, [x.name.clone()], [""]), vec![x.shape[0], 1, 1])
    }

    pub fn flatten(&mut self, x: &Feature, name: &str) -> Feature {
        let node = Node::new("Flatten", name, [x.name.clone()], [""]).with("axis", 1);
        self.add(node, vec![x.shape.iter().product()])
    }

    /// The model with these outputs.
    pub fn finish<'a>(mut self, outputs: impl IntoIterator<Item = (&'a str, Feature)>) -> Model {
        for (name, value) in outputs {
            // Whoever makes or reads it does so under its public name.
            for node in &mut self.graph.nodes {
                for known in node.inputs.iter_mut().chain(&mut node.outputs).filter(|known| **known == value.name) {
                    name.clone_into(known);
                }
            }
            let shape = [Dim::from("N")].into_iter().chain(value.shape.iter().copied().map(Dim::from));
            self.graph.value_types.shift_remove(&value.name);
            self.graph.outputs.push(ValueInfo::new(name, ValueType::new(DataType::Float, shape)));
        }
        let metadata = [
            ("isal.zoo".to_owned(), self.model.to_owned()),
            ("isal.zoo.parameters".to_owned(), self.parameters.to_string()),
            ("isal.zoo.seed".to_owned(), self.options.seed.to_string()),
        ];
        let notes = self.notes.into_iter().map(|(key, value)| (key.to_owned(), value));
        let metadata = metadata.into_iter().chain(notes).collect();
        model_of(self.graph, self.options.opset, metadata)
    }

    /// An output that is the first of a node's, of this shape but for the batch axis.
    pub fn node(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[&str],
        attributes: &[(&str, i64)],
        shape: &[usize],
    ) -> Feature {
        let mut node = Node::new(op, name, inputs.iter().copied(), [""]);
        for (attribute, value) in attributes {
            node = node.with(attribute, *value);
        }
        self.add(node, shape.to_vec())
    }

    /// A tensor that training leaves alone, in a Constant node: initializers are the weights of PyTorch's state dict.
    pub fn fixed(&mut self, name: &str, tensor: Tensor) -> String {
        let node = Node::new("Constant", name, [""; 0], [name]).with("value", tensor);
        self.graph.nodes.push(node);
        name.to_owned()
    }

    /// A node that goes its own way: its outputs are named and their types are left to shape inference.
    pub fn push(&mut self, node: Node) {
        self.graph.nodes.push(node);
    }

    /// A node with one output, of this shape but for the batch axis.
    pub fn layer(&mut self, node: Node, shape: Vec<usize>) -> Feature {
        self.add(node, shape)
    }

    fn add(&mut self, mut node: Node, shape: Vec<usize>) -> Feature {
        let name = format!("{}.output", node.name);
        node.outputs = vec![name.clone()];
        let dims = [Dim::from("N")].into_iter().chain(shape.iter().copied().map(Dim::from));
        self.graph.value_types.insert(name.clone(), ValueType::new(DataType::Float, dims));
        self.graph.nodes.push(node);
        Feature { name, shape }
    }

    /// Normalisation over the places of each of `groups` groups of channels (arXiv 1803.08494), the node of another name than its
    /// scale (1 at first) and shift (0), as in [`Network::conv_as`]. In operators of every opset: GroupNormalization came with opset
    /// 18 and meant something else until 21.
    pub fn group_norm_as(&mut self, x: &Feature, name: &str, parameters: &str, groups: usize) -> Feature {
        let channels = x.shape[0];
        let at = |part: &str| format!("{name}.{part}");
        let ints = |values: &[i64]| Tensor::new([values.len()], values);
        let places = x.shape.iter().product::<usize>() / groups;
        let grouped = self.fixed(&at("grouped"), ints(&[0, groups as i64, places as i64]));
        let grouped = self.node("Reshape", &at("group"), &[&x.name, &grouped], &[], &[groups, places]);
        let [one, zero] = [("one", 1.0f32), ("zero", 0.0)]
            .map(|(part, value)| self.fixed(&at(part), Tensor::new([groups], &vec![value; groups])));
        let node = Node::new("InstanceNormalization", at("normalise"), [grouped.name, one, zero], [""]);
        let normal = self.add(node.with("epsilon", 1e-5), grouped.shape);
        let whole: Vec<i64> = [0].into_iter().chain(x.shape.iter().map(|n| *n as i64)).collect();
        let whole = self.fixed(&at("whole"), ints(&whole));
        let mut y = self.node("Reshape", &at("ungroup"), &[&normal.name, &whole], &[], &x.shape);
        for (part, value, op) in [("weight", 1.0, "Mul"), ("bias", 0.0, "Add")] {
            let parameter = format!("{parameters}.{part}");
            if !self.has(&parameter) {
                self.constant(&parameter, channels, value);
            }
            let along = self.fixed(&at(&format!("{part}.dims")), ints(&[channels as i64, 1, 1]));
            let row = at(&format!("{part}.row"));
            self.push(Node::new("Reshape", row.clone(), [parameter, along], [row.clone()]));
            y = self.node(op, &at(part), &[&y.name, &row], &[], &x.shape);
        }
        y
    }

    /// Whether there is a weight of this name.
    pub fn has(&self, name: &str) -> bool {
        self.graph.initializers.contains_key(name)
    }

    /// Draws a weight anew, with this standard deviation.
    pub fn redraw(&mut self, name: &str, std: f32) {
        let Some(old) = self.graph.initializers.shift_remove(name) else { return };
        self.parameters -= old.len();
        self.normal(name, old.dims(), std);
    }

    /// Begins a parameter of one axis with another value.
    pub fn begin_at(&mut self, name: &str, value: f32) {
        if let Some(tensor) = self.graph.initializers.get_mut(name) {
            *tensor = Tensor::new(tensor.dims().to_vec(), &vec![value; tensor.len()]);
        }
    }

    /// A parameter of normal numbers.
    pub fn normal(&mut self, name: &str, dims: &[usize], std: f32) {
        let count = dims.iter().product();
        let normal = Normal::new(0.0f32, std).expect("a standard deviation computed from layer sizes is finite");
        let weights: Vec<f32> = normal.sample_iter(&mut self.rng).take(count).collect();
        self.parameter(name, Tensor::new(dims, &weights));
    }

    /// A parameter of one axis whose entries are all `value`.
    pub fn constant(&mut self, name: &str, count: usize, value: f32) {
        self.parameter(name, Tensor::new([count], &vec![value; count]));
    }

    fn parameter(&mut self, name: &str, tensor: Tensor) {
        self.parameters += tensor.len();
        self.graph.initializers.insert(name.to_owned(), tensor);
    }
}

/// A convolution under the first name, then BatchNormalization under the second (or a bias in its place).
pub(crate) fn conv_bn(network: &mut Network, x: &Feature, names: (&str, &str), conv: Conv) -> Feature {
    let batch_norm = network.batch_norm();
    let y = network.conv(x, names.0, Conv { bias: !batch_norm, ..conv });
    if batch_norm { network.bn(&y, names.1) } else { y }
}

/// A model of ours with these properties.
pub(crate) fn model_of(graph: Graph, opset: i64, metadata: IndexMap<String, String>) -> Model {
    let mut rest = Model::default().rest;
    rest.producer_name = "isal".to_owned();
    rest.producer_version = env!("CARGO_PKG_VERSION").to_owned();
    let opsets = IndexMap::from([(String::new(), opset)]);
    Model { ir_version: ir_version(opset), opsets, graph, metadata, rest }
}

/// The opsets that can be written, in words.
pub(crate) fn opsets() -> String {
    format!("{} to {}", ModelOptions::OPSETS.start(), ModelOptions::OPSETS.end())
}

/// The first version of the file format that came with an opset (onnx/docs/Versioning.md), so that a reader that
/// knows the opset takes the file.
fn ir_version(opset: i64) -> i64 {
    match opset {
        ..=9 => 4,
        10 => 5,
        11 => 6,
        12..=14 => 7,
        15..=18 => 8,
        19..=20 => 9,
        21..=22 => 10,
        23 => 11,
        24 => 12,
        25..=27 => 13,
        _ => 14,
    }
}
