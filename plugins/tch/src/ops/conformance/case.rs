//! Cases of ONNX's backend test suite: a model, its inputs, its expected outputs.

use isal_onnx::{Model, Tensor};
use std::fs;
use std::path::{Path, PathBuf};

/// A model with what it takes and what it must give.
pub struct Case {
    /// Folder and test name, as `node/test_relu`.
    pub name: String,
    /// The model file.
    pub model: PathBuf,
}

/// One set of inputs and outputs, in the graph's order.
pub struct DataSet {
    pub inputs: Vec<Tensor>,
    pub outputs: Vec<Tensor>,
}

/// Every case of the suite's folders, by name.
pub fn all(root: &Path) -> Vec<Case> {
    let entries = |dir: &Path| -> Vec<PathBuf> {
        let read = fs::read_dir(dir).unwrap_or_else(|e| panic!("`{}`: {e}; run `make setup`", dir.display()));
        let mut paths: Vec<PathBuf> = read.map(|entry| entry.expect("a readable folder").path()).collect();
        paths.sort();
        paths
    };
    let mut cases = Vec::new();
    for folder in ["node", "pytorch-converted", "pytorch-operator", "simple"] {
        for dir in entries(&root.join(folder)) {
            let name = dir.file_name().expect("an entry has a name").to_string_lossy();
            cases.push(Case { name: format!("{folder}/{name}"), model: dir.join("model.onnx") });
        }
    }
    for model in entries(&root.join("light")) {
        if model.extension().is_some_and(|e| e == "onnx") {
            let name = model.file_stem().expect("an entry has a name").to_string_lossy();
            cases.push(Case { name: format!("light/{name}"), model: model.clone() });
        }
    }
    cases
}

impl Case {
    /// Reads the model.
    ///
    /// The tests that PyTorch's first exporter left behind are of opset 6, which no reader here takes. It differs from 7
    /// in the attributes `broadcast`, `axis` and `is_test` of some operators, so they are read as opset 7 and those that
    /// have such an attribute are left out.
    pub fn read(&self) -> Result<Model, String> {
        let mut bytes = fs::read(&self.model).map_err(|e| format!("`{}`: {e}", self.model.display()))?;
        let older = raise_opset(&mut bytes).ok_or("not a protobuf message")?;
        let model = Model::from_bytes(&bytes, None).map_err(|e| format!("not read: {e}"))?;
        let changed = |n: &isal_onnx::Node| {
            n.attributes.contains_key("broadcast") || n.attributes.get("is_test").is_some_and(|v| *v == 0i64.into())
        };
        match model.graph.nodes.iter().find(|n| older && changed(n)) {
            Some(node) => Err(format!("{} of opset 6", node.op_type)),
            None => Ok(model),
        }
    }

    /// The data sets, or why they cannot be read (sequences, optional values).
    pub fn data(&self, model: &Model) -> Result<Vec<DataSet>, String> {
        if self.name.starts_with("light/") {
            return self.light(model).map(|set| vec![set]);
        }
        let dir = self.model.parent().ok_or("no folder")?;
        let mut sets = Vec::new();
        for k in 0.. {
            let dir = dir.join(format!("test_data_set_{k}"));
            if !dir.is_dir() {
                break;
            }
            let list = |stem: &str| -> Result<Vec<Tensor>, String> {
                (0..)
                    .map(|i| dir.join(format!("{stem}_{i}.pb")))
                    .take_while(|path| path.exists())
                    .map(|path| read_tensor(&path))
                    .collect()
            };
            sets.push(DataSet { inputs: list("input")?, outputs: list("output")? });
        }
        if sets.is_empty() { Err(format!("`{}` has no data", dir.display())) } else { Ok(sets) }
    }

    /// The light models take a ramp from 0 to 1, and have one expected output beside them.
    fn light(&self, model: &Model) -> Result<DataSet, String> {
        let mut inputs = Vec::new();
        for input in &model.graph.inputs {
            let shape = input.value_type.as_ref().and_then(|t| t.shape.as_ref()).ok_or("an input without shape")?;
            let dims: Vec<usize> = shape.iter().map(|d| d.known().unwrap_or(1)).collect();
            let n: usize = dims.iter().product();
            let ramp: Vec<f32> = (0..n).map(|i| (i as f64 / n as f64) as f32).collect();
            inputs.push(Tensor::new(dims, &ramp));
        }
        let stem = self.model.with_extension("");
        let output = PathBuf::from(format!("{}_output_0.pb", stem.display()));
        Ok(DataSet { inputs, outputs: vec![read_tensor(&output)?] })
    }
}

/// Reads a lone `TensorProto`.
///
/// The reader takes whole models, so the tensor is wrapped as the single initializer of an empty graph.
fn read_tensor(path: &Path) -> Result<Tensor, String> {
    let mut tensor = fs::read(path).map_err(|e| format!("`{}`: {e}", path.display()))?;
    // A second name field wins over the first.
    tensor.extend(field(8, b"t"));
    let graph = [field(5, &tensor), field(2, b"g")].concat();
    // ir_version = 7, and version 13 of the standard operator set.
    let model = [vec![0x08, 7], field(8, &[0x10, 13]), field(7, &graph)].concat();
    let model = Model::from_bytes(&model, None).map_err(|e| format!("`{}`: {e}", path.display()))?;
    model.graph.initializers.get("t").cloned().ok_or_else(|| format!("`{}`: no tensor", path.display()))
}

/// A length-delimited protobuf field.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(0x80 | (length & 0x7f) as u8);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend(bytes);
    out
}

/// Makes an import of opset 6 one of opset 7, in place; whether there was one.
fn raise_opset(bytes: &mut [u8]) -> Option<bool> {
    let mut raised = false;
    let mut at = 0;
    while at < bytes.len() {
        let tag = varint(bytes, &mut at)?;
        match tag & 7 {
            0 => {
                varint(bytes, &mut at)?;
            }
            2 => {
                let length = usize::try_from(varint(bytes, &mut at)?).ok()?;
                let inner = bytes.get_mut(at..at.checked_add(length)?)?;
                // Field 8 is an `OperatorSetIdProto`; its version, field 2, comes last and takes a byte.
                if let (66, [.., 0x10, version @ 6]) = (tag, inner) {
                    *version = 7;
                    raised = true;
                }
                at += length;
            }
            _ => return None,
        }
    }
    Some(raised)
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}
