//! `config.pbtxt`: what Triton Inference Server has to know of a model, as a text message of its `model_config.proto`.
//!
//! Triton batches requests where every input and output begins with a batch axis of any size; the axis is then left out of
//! `dims`. A tensor of that axis alone, such as `influence` `[N]`, cannot have empty `dims`: it is declared `[1]` with a reshape,
//! so that clients see `[N, 1]`. Where an axis is fixed or missing, Triton is told not to batch, and `dims` are whole shapes.

use super::{ServingError, check_name};
use indexmap::IndexMap;
use isal_onnx::{DataType, Dim, Model, ValueInfo};
use std::fmt;

/// Name of the file with the names of the classes, one a line, in the order of the class scores.
pub const LABELS: &str = "labels.txt";

/// Where an instance of a model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InstanceKind {
    /// On every GPU, or on the CPU where there is none.
    #[default]
    Auto,
    /// On the CPU.
    Cpu,
    /// On every GPU.
    Gpu,
}

impl InstanceKind {
    fn name(self) -> &'static str {
        match self {
            InstanceKind::Auto => "KIND_AUTO",
            InstanceKind::Cpu => "KIND_CPU",
            InstanceKind::Gpu => "KIND_GPU",
        }
    }
}

/// How a model is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TritonOptions {
    /// Most images a batch; 0: Triton does not batch.
    pub max_batch_size: usize,
    /// Batch sizes that are sent off at once; any where empty.
    pub preferred_batch_sizes: Vec<usize>,
    /// How long a request waits for others to share its batch, in microseconds.
    pub max_queue_delay_us: u64,
    /// Copies of the model that run at the same time, on each device.
    pub instances: usize,
    /// Where they run.
    pub kind: InstanceKind,
    /// The newest versions that are served.
    pub versions: usize,
}

impl Default for TritonOptions {
    fn default() -> Self {
        TritonOptions {
            max_batch_size: 64,
            preferred_batch_sizes: Vec::new(),
            max_queue_delay_us: 1000,
            instances: 1,
            kind: InstanceKind::Auto,
            versions: 1,
        }
    }
}

impl TritonOptions {
    /// Refuses numbers that Triton would refuse when it starts.
    fn check(&self) -> Result<(), ServingError> {
        let option = |option, found: String, expected| Err(ServingError::Option { option, found, expected });
        if self.instances == 0 {
            return option("instances", "0".to_owned(), "at least 1");
        }
        if self.versions == 0 {
            return option("versions", "0".to_owned(), "at least 1");
        }
        if i32::try_from(self.max_batch_size).is_err() {
            return option("max-batch-size", self.max_batch_size.to_string(), "at most 2147483647");
        }
        match self.preferred_batch_sizes.iter().find(|size| !(1..=self.max_batch_size.max(1)).contains(size)) {
            Some(size) => option("preferred-batch-size", size.to_string(), "between 1 and `max-batch-size`"),
            None => Ok(()),
        }
    }
}

/// One input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorConfig {
    /// Its name in the graph.
    pub name: String,
    /// Its type, such as `TYPE_FP32`.
    pub data_type: &'static str,
    /// Its axes, without the batch axis where Triton batches; -1 is any size.
    pub dims: Vec<i64>,
    /// Whether the batch axis is its only one, so that `dims` are `[1]` for clients and nothing for the model.
    pub batch_axis_alone: bool,
    /// Whether its last axis is that of the class names in [`LABELS`].
    pub labelled: bool,
}

/// The configuration of one model. Its `Display` is the text of `config.pbtxt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TritonConfig {
    /// Name of the model, and of its folder.
    pub name: String,
    /// Most images a batch; 0 where Triton does not batch.
    pub max_batch_size: usize,
    /// Why Triton does not batch though it was to.
    pub unbatched: Option<String>,
    /// Inputs, in the order of the graph.
    pub inputs: Vec<TensorConfig>,
    /// Outputs, in the order of the graph.
    pub outputs: Vec<TensorConfig>,
    /// Further things for people and clients to read, by key.
    pub parameters: IndexMap<String, String>,
    options: TritonOptions,
}

impl TritonConfig {
    /// The configuration of `model` under `name`. `class_scores` is the output whose last axis has the class names, where they
    /// are known.
    ///
    /// # Errors
    /// [`ServingError`]: a name, an option or a tensor that Triton would refuse.
    pub fn of(
        name: &str,
        model: &Model,
        class_scores: Option<&str>,
        options: &TritonOptions,
    ) -> Result<TritonConfig, ServingError> {
        check_name(name)?;
        options.check()?;
        let (inputs, outputs) = (&model.graph.inputs, &model.graph.outputs);
        let obstacle = match options.max_batch_size {
            0 => None,
            _ => not_batched(inputs.iter().chain(outputs))?,
        };
        let batched = options.max_batch_size > 0 && obstacle.is_none();
        let tensor = |value: &ValueInfo| tensor(value, batched, class_scores == Some(value.name.as_str()));
        Ok(TritonConfig {
            name: name.to_owned(),
            max_batch_size: if batched { options.max_batch_size } else { 0 },
            unbatched: obstacle,
            inputs: inputs.iter().map(tensor).collect::<Result<_, _>>()?,
            outputs: outputs.iter().map(tensor).collect::<Result<_, _>>()?,
            parameters: IndexMap::new(),
            options: options.clone(),
        })
    }
}

fn shape(value: &ValueInfo) -> Result<&[Dim], ServingError> {
    let missing = |what| ServingError::Untyped { value: value.name.clone(), what };
    let value_type = value.value_type.as_ref().ok_or_else(|| missing("type"))?;
    value_type.shape.as_deref().ok_or_else(|| missing("shape"))
}

/// Why these tensors cannot be batched together: the first without a batch axis that may be of any size.
fn not_batched<'a>(values: impl Iterator<Item = &'a ValueInfo>) -> Result<Option<String>, ServingError> {
    let mut batch: Option<&Dim> = None;
    for value in values {
        let (name, first) = (&value.name, shape(value)?.first());
        match (first, batch) {
            (None, _) => return Ok(Some(format!("`{name}` has no axes"))),
            (Some(Dim::Known(n)), _) => return Ok(Some(format!("the first axis of `{name}` is always {n}"))),
            (Some(Dim::Symbol(found)), Some(Dim::Symbol(expected))) if found != expected => {
                return Ok(Some(format!("the first axis of `{name}` is `{found}`, not the images' `{expected}`")));
            }
            (Some(dim), None) => batch = Some(dim),
            _ => {}
        }
    }
    Ok(None)
}

fn tensor(value: &ValueInfo, batched: bool, labelled: bool) -> Result<TensorConfig, ServingError> {
    let all = shape(value)?;
    let own = all.get(usize::from(batched)..).unwrap_or_default();
    let axis = |dim: &Dim| dim.known().and_then(|n| i64::try_from(n).ok()).unwrap_or(-1);
    // Of a scalar without a batch axis, too: `dims` may not be empty.
    let batch_axis_alone = own.is_empty();
    let dims = if batch_axis_alone { vec![1] } else { own.iter().map(axis).collect() };
    Ok(TensorConfig { name: value.name.clone(), data_type: data_type(value)?, dims, batch_axis_alone, labelled })
}

fn data_type(value: &ValueInfo) -> Result<&'static str, ServingError> {
    let missing = || ServingError::Untyped { value: value.name.clone(), what: "type" };
    let data_type = value.value_type.as_ref().ok_or_else(missing)?.data_type;
    Ok(match data_type {
        DataType::Bool => "TYPE_BOOL",
        DataType::Uint8 => "TYPE_UINT8",
        DataType::Uint16 => "TYPE_UINT16",
        DataType::Uint32 => "TYPE_UINT32",
        DataType::Uint64 => "TYPE_UINT64",
        DataType::Int8 => "TYPE_INT8",
        DataType::Int16 => "TYPE_INT16",
        DataType::Int32 => "TYPE_INT32",
        DataType::Int64 => "TYPE_INT64",
        DataType::Float16 => "TYPE_FP16",
        DataType::Bfloat16 => "TYPE_BF16",
        DataType::Float => "TYPE_FP32",
        DataType::Double => "TYPE_FP64",
        DataType::String => "TYPE_STRING",
        _ => return Err(ServingError::DataType { value: value.name.clone(), data_type }),
    })
}

/// A string as the text format quotes it.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                // Octal, which ends after three digits whatever follows.
                c if c.is_ascii_control() => write!(f, "\\{:03o}", u32::from(c))?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"")
    }
}

fn list(numbers: &[impl fmt::Display]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn tensors(f: &mut fmt::Formatter<'_>, field: &str, tensors: &[TensorConfig]) -> fmt::Result {
    for tensor in tensors {
        writeln!(f, "{field} {{")?;
        writeln!(f, "  name: {}", Quoted(&tensor.name))?;
        writeln!(f, "  data_type: {}", tensor.data_type)?;
        writeln!(f, "  dims: [ {} ]", list(&tensor.dims))?;
        if tensor.batch_axis_alone {
            writeln!(f, "  reshape {{ shape: [ ] }}")?;
        }
        if tensor.labelled {
            writeln!(f, "  label_filename: {}", Quoted(LABELS))?;
        }
        writeln!(f, "}}")?;
    }
    Ok(())
}

impl fmt::Display for TritonConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TritonOptions { preferred_batch_sizes, max_queue_delay_us, instances, kind, versions, .. } = &self.options;
        writeln!(f, "name: {}", Quoted(&self.name))?;
        writeln!(f, "backend: \"onnxruntime\"")?;
        writeln!(f, "default_model_filename: \"model.onnx\"")?;
        writeln!(f, "max_batch_size: {}", self.max_batch_size)?;
        tensors(f, "input", &self.inputs)?;
        tensors(f, "output", &self.outputs)?;
        if self.max_batch_size > 0 {
            writeln!(f, "dynamic_batching {{")?;
            if !preferred_batch_sizes.is_empty() {
                writeln!(f, "  preferred_batch_size: [ {} ]", list(preferred_batch_sizes))?;
            }
            writeln!(f, "  max_queue_delay_microseconds: {max_queue_delay_us}\n}}")?;
        }
        writeln!(f, "instance_group {{ count: {instances} kind: {} }}", kind.name())?;
        writeln!(f, "version_policy {{ latest {{ num_versions: {versions} }} }}")?;
        for (key, value) in &self.parameters {
            let (key, value) = (Quoted(key), Quoted(value));
            writeln!(f, "parameters {{ key: {key} value {{ string_value: {value} }} }}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "an unwrap that fails is the test failing")]
mod tests {
    use super::*;
    use isal_onnx::{Builder, ValueType};

    /// Images `[BATCH, 3, H, 32]` in; `logits` `[N, 10]` and `influence` `[N]` out.
    fn model(batch: Dim, of_influence: Vec<Dim>) -> Model {
        let mut b = Builder::new("m");
        let shape = vec![batch.clone(), 3.into(), Dim::Unknown, 32.into()];
        let x = b.input("images", ValueType { data_type: DataType::Float16, shape: Some(shape) });
        let logits = b.op("Identity", [x]);
        let influence = b.op("Identity", [x]);
        let of_logits = ValueType { data_type: DataType::Float, shape: Some(vec![batch, 10.into()]) };
        b.output("logits", logits, Some(of_logits));
        b.output("influence", influence, Some(ValueType { data_type: DataType::Double, shape: Some(of_influence) }));
        Model::new(17, b.finish().unwrap())
    }

    fn config(model: &Model, options: &TritonOptions) -> Result<TritonConfig, ServingError> {
        TritonConfig::of("digits", model, Some("logits"), options)
    }

    #[test]
    fn a_model_of_any_batch_size_leaves_the_batch_axis_out_of_its_dims() {
        let options = TritonOptions { preferred_batch_sizes: vec![8, 16], ..TritonOptions::default() };
        let mut found = config(&model("N".into(), vec!["N".into()]), &options).unwrap();
        found.parameters.insert("a \"key\"".to_owned(), "two\nlines \\ \u{1}1".to_owned());
        insta::assert_snapshot!(found.to_string(), @r#"
        name: "digits"
        backend: "onnxruntime"
        default_model_filename: "model.onnx"
        max_batch_size: 64
        input {
          name: "images"
          data_type: TYPE_FP16
          dims: [ 3, -1, 32 ]
        }
        output {
          name: "logits"
          data_type: TYPE_FP32
          dims: [ 10 ]
          label_filename: "labels.txt"
        }
        output {
          name: "influence"
          data_type: TYPE_FP64
          dims: [ 1 ]
          reshape { shape: [ ] }
        }
        dynamic_batching {
          preferred_batch_size: [ 8, 16 ]
          max_queue_delay_microseconds: 1000
        }
        instance_group { count: 1 kind: KIND_AUTO }
        version_policy { latest { num_versions: 1 } }
        parameters { key: "a \"key\"" value { string_value: "two\nlines \\ \0011" } }
        "#);
    }

    #[test]
    fn what_has_no_batch_axis_of_any_size_is_not_batched_and_says_which() {
        for (batch, of_influence, why) in [
            (Dim::Known(4), vec![Dim::Known(4)], "the first axis of `images` is always 4"),
            ("N".into(), vec![], "`influence` has no axes"),
            ("N".into(), vec!["boxes".into()], "the first axis of `influence` is `boxes`, not the images' `N`"),
        ] {
            let found = config(&model(batch, of_influence), &TritonOptions::default()).unwrap();
            assert_eq!((found.max_batch_size, found.unbatched.as_deref()), (0, Some(why)));
            assert_eq!(found.inputs[0].dims.len(), 4, "{why}: whole shapes");
            assert!(!found.to_string().contains("dynamic_batching"), "{why}");
        }
        let asked = TritonOptions { max_batch_size: 0, ..TritonOptions::default() };
        let found = config(&model("N".into(), vec!["N".into()]), &asked).unwrap();
        assert_eq!((found.unbatched, &found.outputs[1].dims[..]), (None, &[-1][..]), "it was asked for");
    }

    #[test]
    fn what_triton_would_refuse_is_refused_here() {
        let fine = model("N".into(), vec!["N".into()]);
        let with = |options: TritonOptions| config(&fine, &options).unwrap_err().to_string();
        assert!(with(TritonOptions { instances: 0, ..TritonOptions::default() }).contains("`instances` is 0"));
        assert!(with(TritonOptions { versions: 0, ..TritonOptions::default() }).contains("`versions` is 0"));
        let wrong = TritonOptions { preferred_batch_sizes: vec![65], ..TritonOptions::default() };
        assert!(with(wrong).contains("`preferred-batch-size` is 65"));
        let mut untyped = fine.clone();
        untyped.graph.outputs[1].value_type = None;
        assert!(
            config(&untyped, &TritonOptions::default()).unwrap_err().to_string().contains("`influence` has no type")
        );
        let mut complex = fine;
        complex.graph.outputs[1].value_type.as_mut().unwrap().data_type = DataType::Complex64;
        assert!(config(&complex, &TritonOptions::default()).unwrap_err().to_string().contains("Complex64"));
    }
}
