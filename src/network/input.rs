//! The image input of a graph: the one with four axes.

use isal_onnx::{DataType, Dim, Graph, ValueInfo};

/// Element types that images are given in.
const TAKEN: [DataType; 4] = [DataType::Float, DataType::Float16, DataType::Double, DataType::Uint8];

/// Sizes of the image input's axes, where fixed, and its element type. Inputs that have a default are no inputs of a graph
/// that was read.
pub(super) fn of_images(graph: &Graph) -> Result<(Vec<Option<usize>>, DataType), String> {
    let axes = |input: &ValueInfo| input.value_type.as_ref().and_then(|t| t.shape.as_ref()).map_or(0, Vec::len);
    let input = match graph.inputs.as_slice() {
        [] => return Err("the model has no input".to_owned()),
        [input] => input,
        several => {
            let mut images = several.iter().filter(|input| axes(input) == 4);
            match (images.next(), images.next()) {
                (Some(input), None) => input,
                (None, _) => return Err(format!("none of the inputs is images [N, C, H, W]: {}", described(several))),
                (Some(_), Some(_)) => {
                    return Err(format!("more than one input could be the images: {}", described(several)));
                }
            }
        }
    };
    if let Some(other) = graph.inputs.iter().find(|other| other.name != input.name) {
        let (images, name) = (&input.name, &other.name);
        return Err(format!(
            "besides the images (`{images}`) it takes the input {}: give its value with `--input {name}=VALUE`",
            described(std::slice::from_ref(other))
        ));
    }
    let found = input.value_type.as_ref();
    let shape = found.and_then(|t| t.shape.as_ref()).filter(|shape| shape.len() == 4);
    let (Some(found), Some(shape)) = (found, shape) else {
        let text = found.map_or_else(|| "no type".to_owned(), ToString::to_string);
        return Err(format!("input `{}` is {text}, expected images [N, C, H, W] or [N, H, W, C]", input.name));
    };
    if !TAKEN.contains(&found.data_type) {
        let (name, data_type) = (&input.name, found.data_type);
        return Err(format!("input `{name}` is {data_type:?}, expected Float, Float16, Double or Uint8 (raw bytes)"));
    }
    Ok((shape.iter().map(Dim::known).collect(), found.data_type))
}

fn described(inputs: &[ValueInfo]) -> String {
    let one = |input: &ValueInfo| match &input.value_type {
        Some(value_type) => format!("`{}` {value_type}", input.name),
        None => format!("`{}`", input.name),
    };
    inputs.iter().map(one).collect::<Vec<_>>().join(", ")
}
