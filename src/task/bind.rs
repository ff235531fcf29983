//! Which value of the model each input of a task's graphs is, checked before anything runs.

use super::{OWN, Task, TaskError, exported};
use crate::scores::is_taken;
use isal_exporters::detection;
use isal_exporters::losses::{self, LossOptions, OUTPUTS, Pair};
use isal_onnx::tangent::{Target, of_inputs};
use isal_onnx::{Dim, Graph, Model, ValueInfo, ValueType};

/// How an input found its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// The user said it.
    Given,
    /// It has the input's name.
    Name,
    /// It is the model's only output, and the input the only one.
    OnlyOutput,
    /// It is what the operator at the end of the model's output squashes.
    BehindSoftmax,
    /// The same.
    BehindSigmoid,
}

/// An input of the task's graphs with its value.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Bound {
    /// The input.
    pub input: String,
    /// As the graphs declare it.
    pub declared: String,
    /// The model's value.
    pub value: String,
    /// As the model has it.
    pub found: String,
    /// How it was found.
    pub how: Found,
}

/// The built-in task `name`, for this model. `given` says which value an input is, where the model's first output is not it.
///
/// # Errors
/// [`TaskError`]: no such task, a value that is not there or has a shape that the task does not take.
pub fn built_in(model: &Model, name: &str, given: &[(String, String)]) -> Result<(Task, Vec<Bound>), TaskError> {
    if let Some(task) = detection::task(name) {
        return detector(model, task, given);
    }
    let entry = losses::find(name)?;
    let model = typed(model)?;
    let (value, how) = match given {
        [] => match behind(&model.graph, name) {
            Some(found) => found,
            None => (first_output(&model.graph)?.name.clone(), Found::OnlyOutput),
        },
        given => match given.iter().find(|(input, _)| input == OUTPUTS) {
            Some((_, value)) => (value.clone(), Found::Given),
            None => {
                let input = given.first().map(|(input, _)| input.clone()).unwrap_or_default();
                return Err(TaskError::NoInput { input, inputs: format!("`{OUTPUTS}`") });
            }
        },
    };
    let found = type_of(&model.graph, &value).ok_or_else(|| TaskError::NoValue {
        input: OUTPUTS.to_owned(),
        value: value.clone(),
        outputs: listed(&model.graph.outputs),
    })?;
    let mut dims = found.shape.clone().unwrap_or_default();
    if let Some(batch) = dims.first_mut() {
        // A batch size that the file fixes is a habit of exporters.
        *batch = Dim::from("N");
    }
    let graphs = losses::build(&entry.defaults, &LossOptions { outputs: &dims, opset: model.opset() })?;
    let given = [(OUTPUTS.to_owned(), value)];
    let (task, mut bound) = bind(&model, name, graphs, &given)?;
    bound.iter_mut().for_each(|bound| bound.how = how);
    Ok((task, bound))
}

/// The built-in detection task for this model, its heads by name or as `given`.
fn detector(
    model: &Model,
    task: &detection::Task,
    given: &[(String, String)],
) -> Result<(Task, Vec<Bound>), TaskError> {
    let (said, mut model) = (exported::image_size(model), model.clone());
    // A size that the file leaves open is the one that it says it is for.
    let of_images = model.graph.inputs.iter_mut().find_map(|input| input.value_type.as_mut()?.shape.as_mut());
    if let (Some([_, _, height, width]), Some([h, w])) = (of_images.map(|dims| &mut dims[..]), said) {
        for (side, size) in [(height, h), (width, w)] {
            if side.known().is_none() {
                *side = size.into();
            }
        }
    }
    let model = typed(&model)?;
    let unbound = |head: &str| TaskError::Unbound {
        input: head.to_owned(),
        wanted: task.description.to_owned(),
        outputs: listed(&model.graph.outputs),
    };
    let mut heads = Vec::with_capacity(task.heads.len());
    for head in task.heads {
        let value = given.iter().find(|(input, _)| input == head).map_or(*head, |(_, value)| value);
        let found = type_of(&model.graph, value).ok_or_else(|| unbound(head))?;
        let mut dims = found.shape.unwrap_or_default();
        if let Some(batch) = dims.first_mut() {
            *batch = Dim::from("N");
        }
        heads.push(dims);
    }
    let image = model
        .graph
        .inputs
        .iter()
        .find_map(image_size)
        .ok_or_else(|| TaskError::ImageSize { inputs: listed(&model.graph.inputs), task: task.name.to_owned() })?;
    let graphs = detection::pair(task.name, image, &heads, detection::Anchors::of_model(&model)?, model.opset())?;
    bind(&model, task.name, graphs, given)
}

/// Height and width of an input `[N, C, H, W]` that says them.
fn image_size(input: &ValueInfo) -> Option<[usize; 2]> {
    match input.value_type.as_ref()?.shape.as_deref()? {
        [_, _, height, width] => Some([height.known()?, width.known()?]),
        _ => None,
    }
}

/// The value before the Softmax or Sigmoid that makes the first output, where the built-in task takes that itself.
fn behind(graph: &Graph, task: &str) -> Option<(String, Found)> {
    let (op, how) = match task {
        "softmax-cross-entropy" | "pixel-cross-entropy" => ("Softmax", Found::BehindSoftmax),
        "sigmoid-cross-entropy" => ("Sigmoid", Found::BehindSigmoid),
        _ => return None,
    };
    let node = graph.nodes.get(graph.producer(&graph.outputs.first()?.name)?)?;
    let standard = node.domain.is_empty() || node.domain == "ai.onnx";
    (standard && node.op_type == op).then(|| Some((node.input(0)?.to_owned(), how)))?
}

/// A user's own graphs, for this model.
///
/// Every input is an annotation (the decode graph gives it), or a value of the model: the one that `given` names, else the one
/// of the same name, else the model's only output where the graphs read one value alone.
///
/// # Errors
/// [`TaskError`].
pub fn own(model: &Model, graphs: Pair, given: &[(String, String)]) -> Result<(Task, Vec<Bound>), TaskError> {
    let graphs = Pair { loss: typed(&graphs.loss)?, decode: typed(&graphs.decode)? };
    bind(&typed(model)?, OWN, graphs, given)
}

fn typed(model: &Model) -> Result<Model, TaskError> {
    let mut typed = model.clone();
    // What cannot be inferred stays unknown, and fits anything.
    let _ = typed.infer_shapes();
    Ok(typed)
}

fn bind(model: &Model, name: &str, graphs: Pair, given: &[(String, String)]) -> Result<(Task, Vec<Bound>), TaskError> {
    for (graph, name) in [(&graphs.loss, "loss"), (&graphs.decode, "decode")] {
        if graph.opset() != model.opset() {
            return Err(TaskError::Opset { model: model.opset(), graph: name, found: graph.opset() });
        }
    }
    check_loss(&graphs.loss)?;
    check_annotations(&graphs)?;
    let wanted = inputs(&graphs);
    if let Some((input, _)) = given.iter().find(|(input, _)| wanted.iter().all(|wanted| wanted.name != *input)) {
        return Err(TaskError::NoInput { input: input.clone(), inputs: listed(&wanted) });
    }
    let mut bound = Vec::new();
    for input in &wanted {
        let (value, how) = value_of(model, input, &wanted, given)?;
        let found = type_of(&model.graph, &value).ok_or_else(|| TaskError::NoValue {
            input: input.name.clone(),
            value: value.clone(),
            outputs: listed(&model.graph.outputs),
        })?;
        if let Some(declared) = &input.value_type
            && !fits(declared, &found)
        {
            let (wanted, found) = (declared.to_string(), found.to_string());
            return Err(TaskError::Shape { input: input.name.clone(), wanted, value, found });
        }
        bound.push(Bound { input: input.name.clone(), declared: shown(input), value, found: found.to_string(), how });
    }
    let read = |bound: &&Bound| graphs.loss.graph.inputs.iter().any(|input| input.name == bound.input);
    let floats = |bound: &&Bound| type_of(&model.graph, &bound.value).is_none_or(|t| t.data_type.is_float());
    let moving: Vec<&str> = bound.iter().filter(read).filter(floats).map(|bound| bound.input.as_str()).collect();
    of_inputs(&graphs.loss, &moving, Target::Any).map_err(TaskError::NotDifferentiable)?;
    let bindings = bound.iter().map(|bound| (bound.input.clone(), bound.value.clone())).collect();
    let pseudo_labels =
        if name == OWN { "as its decode graph gives them" } else { "what the model believes" }.to_owned();
    let task = Task { name: name.to_owned(), pseudo_labels, graphs, bindings };
    let taken = task.beliefs().find(|belief| is_taken(&belief.name)).map(|belief| belief.name.clone());
    match taken {
        Some(name) => Err(TaskError::Belief { name }),
        None => Ok((task, bound)),
    }
}

/// Inputs of both graphs that are values of the model.
fn inputs(graphs: &Pair) -> Vec<ValueInfo> {
    let mut found: Vec<ValueInfo> = Vec::new();
    let annotation = |name: &str| graphs.decode.graph.outputs.iter().any(|output| output.name == name);
    for (graph, is_loss) in [(&graphs.loss.graph, true), (&graphs.decode.graph, false)] {
        for input in &graph.inputs {
            let known = found.iter().any(|known| known.name == input.name);
            let own = graph.initializers.contains_key(&input.name) || (is_loss && annotation(&input.name));
            if !known && !own {
                found.push(input.clone());
            }
        }
    }
    found
}

fn check_loss(loss: &Model) -> Result<(), TaskError> {
    let row = |t: &ValueType| t.data_type.is_float() && t.shape.as_ref().is_none_or(|dims| dims.len() == 1);
    match loss.graph.outputs.as_slice() {
        [output] if output.value_type.as_ref().is_none_or(row) => Ok(()),
        outputs => Err(TaskError::NoLoss { found: listed(outputs) }),
    }
}

fn check_annotations(graphs: &Pair) -> Result<(), TaskError> {
    for output in &graphs.decode.graph.outputs {
        let Some(input) = graphs.loss.graph.inputs.iter().find(|input| input.name == output.name) else { continue };
        if let (Some(decoded), Some(wanted)) = (&output.value_type, &input.value_type)
            && !fits(wanted, decoded)
        {
            let (decoded, wanted) = (decoded.to_string(), wanted.to_string());
            return Err(TaskError::Annotation { name: output.name.clone(), decoded, wanted });
        }
    }
    Ok(())
}

fn value_of(
    model: &Model,
    input: &ValueInfo,
    all: &[ValueInfo],
    given: &[(String, String)],
) -> Result<(String, Found), TaskError> {
    if let Some((_, value)) = given.iter().find(|(name, _)| *name == input.name) {
        return Ok((value.clone(), Found::Given));
    }
    if model.graph.producer(&input.name).is_some() {
        return Ok((input.name.clone(), Found::Name));
    }
    match (model.graph.outputs.as_slice(), all) {
        ([only], [_]) => Ok((only.name.clone(), Found::OnlyOutput)),
        (outputs, _) => {
            let wanted = input.value_type.as_ref().map(ToString::to_string).unwrap_or_default();
            Err(TaskError::Unbound { input: input.name.clone(), wanted, outputs: listed(outputs) })
        }
    }
}

/// Whether a value can be what was declared: the same type and rank, and sizes that do not contradict each other past the
/// batch. Floats are as good as floats: influences are computed in float32.
fn fits(declared: &ValueType, found: &ValueType) -> bool {
    let floats = declared.data_type.is_float() && found.data_type.is_float();
    if declared.data_type != found.data_type && !floats {
        return false;
    }
    let (Some(declared), Some(found)) = (&declared.shape, &found.shape) else { return true };
    let apart = |(a, b): (&Dim, &Dim)| a.known().zip(b.known()).is_some_and(|(a, b)| a != b);
    declared.len() == found.len() && !declared.iter().zip(found).skip(1).any(apart)
}

/// The type of a value that the graph has; unknown where nothing is known of it.
fn type_of(graph: &Graph, value: &str) -> Option<ValueType> {
    graph.producer(value)?;
    Some(graph.value_type(value).unwrap_or(ValueType { data_type: isal_onnx::DataType::Float, shape: None }))
}

fn first_output(graph: &Graph) -> Result<&ValueInfo, TaskError> {
    let nothing =
        || TaskError::Unbound { input: OUTPUTS.to_owned(), wanted: String::new(), outputs: "none".to_owned() };
    graph.outputs.first().ok_or_else(nothing)
}

/// A value with its type.
pub(crate) fn shown(value: &ValueInfo) -> String {
    value.value_type.as_ref().map_or_else(|| "of unknown type".to_owned(), ToString::to_string)
}

fn listed(values: &[ValueInfo]) -> String {
    match values {
        [] => "none".to_owned(),
        values => values.iter().map(|v| format!("`{}` {}", v.name, shown(v))).collect::<Vec<_>>().join(", "),
    }
}
