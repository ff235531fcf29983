//! Values for the inputs besides the images, which become constants of the graph.

use isal_onnx::{Attribute, DataType, Model, Node, Tensor, ValueType};
use std::str::FromStr;

/// A value for an input: one number for all its elements, or one number each.
#[derive(Debug, Clone, PartialEq)]
pub struct GivenInput {
    /// The input's name.
    pub name: String,
    /// As it was written; provenance shows it.
    pub text: String,
    values: Vec<f64>,
}

/// Why a value does not fit an input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GivenInputError {
    /// No input is called so.
    #[error("the model has no such input; it has {}", inputs.join(", "))]
    Unknown {
        /// The inputs there are.
        inputs: Vec<String>,
    },
    /// Another number of values than elements.
    #[error("{found} values were given, its shape {shape} takes 1 or {expected}")]
    Length {
        /// Values given.
        found: usize,
        /// Elements of the input.
        expected: usize,
        /// The declared shape.
        shape: String,
    },
    /// A type that no number becomes, or a number that the type does not hold.
    #[error("`{value}` is no {data_type:?}")]
    Value {
        /// The number.
        value: String,
        /// The input's type.
        data_type: DataType,
    },
}

impl FromStr for GivenInput {
    type Err = String;

    /// `NAME=VALUE`, the value a number, `true` or `false`, or a list of them: `[0.5, 1]`.
    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected NAME=VALUE with a number or a list such as [0.5, 1], found `{text}`");
        let (name, value) = text.split_once('=').ok_or_else(expected)?;
        let list = value.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(value);
        let number = |part: &str| match part.trim() {
            "true" => Some(1.0),
            "false" => Some(0.0),
            number => number.parse::<f64>().ok().filter(|number| number.is_finite()),
        };
        let values: Option<Vec<f64>> = list.split(',').map(number).collect();
        let values = values.filter(|_| !name.is_empty()).ok_or_else(expected)?;
        Ok(GivenInput { name: name.to_owned(), text: value.trim().to_owned(), values })
    }
}

impl GivenInput {
    /// Turns the input into a constant of the graph. A value that is given for an input with a default takes its place.
    ///
    /// Axes whose size is free get a size of one, which operators broadcast.
    pub(super) fn bake(&self, model: &mut Model) -> Result<(), GivenInputError> {
        let graph = &mut model.graph;
        let position = graph.inputs.iter().position(|input| input.name == self.name);
        let declared = match position.and_then(|position| graph.inputs.get(position)) {
            Some(input) => input.value_type.clone(),
            None => graph
                .initializers
                .get(&self.name)
                .map(|tensor| ValueType::new(tensor.data_type(), tensor.dims().iter().copied())),
        };
        let Some(declared) = declared else {
            let inputs = graph.inputs.iter().map(|input| format!("`{}`", input.name)).collect();
            return Err(GivenInputError::Unknown { inputs });
        };
        let dims: Vec<usize> = declared.shape.iter().flatten().map(|dim| dim.known().unwrap_or(1)).collect();
        let elements = dims.iter().product();
        let values = match self.values.as_slice() {
            [one] => vec![*one; elements],
            several if several.len() == elements => several.to_vec(),
            several => {
                let shape = declared.to_string();
                return Err(GivenInputError::Length { found: several.len(), expected: elements, shape });
            }
        };
        let tensor = constant(dims, declared.data_type, &values)?;
        if let Some(position) = position {
            graph.inputs.remove(position);
        }
        graph.initializers.shift_remove(&self.name);
        // A node, not an initializer: those of floats count as weights.
        let node = Node::new("Constant", format!("isal/given/{}", self.name), [""; 0], [self.name.as_str()]);
        graph.nodes.insert(0, node.with("value", Attribute::Tensor(tensor)));
        Ok(())
    }
}

/// A tensor of this type.
fn constant(dims: Vec<usize>, data_type: DataType, values: &[f64]) -> Result<Tensor, GivenInputError> {
    let refused = |value: f64| GivenInputError::Value { value: value.to_string(), data_type };
    let whole = |low: f64, high: f64| match values.iter().find(|v| v.fract() != 0.0 || **v < low || **v > high) {
        Some(value) => Err(refused(*value)),
        None => Ok(()),
    };
    macro_rules! integers {
        ($t:ty) => {{
            whole(<$t>::MIN as f64, <$t>::MAX as f64)?;
            Tensor::new(dims, &values.iter().map(|v| *v as $t).collect::<Vec<_>>())
        }};
    }
    Ok(match data_type {
        float if float.is_float() => Tensor::floats(float, &dims, values),
        DataType::Int64 => integers!(i64),
        DataType::Int32 => integers!(i32),
        DataType::Int8 => integers!(i8),
        DataType::Uint8 => integers!(u8),
        DataType::Bool => {
            whole(0.0, 1.0)?;
            let bytes: Vec<u8> = values.iter().map(|v| u8::from(*v != 0.0)).collect();
            Tensor::from_bytes("", dims, DataType::Bool, bytes).map_err(|_| refused(f64::NAN))?
        }
        _ => return Err(refused(values.first().copied().unwrap_or(0.0))),
    })
}
