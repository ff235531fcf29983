//! In what a saved vector does not belong to a model: names, shapes and order of the parameters, and the model's hash.

use super::engine::Parameter;
use std::collections::HashMap;

/// A way in which a saved vector does not belong to a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// The model has a parameter in scope that the vector lacks.
    #[error("the vector lacks parameter `{name}` {shape:?}")]
    Missing {
        /// Its name.
        name: String,
        /// Its shape in the model.
        shape: Vec<usize>,
    },
    /// The vector has a parameter that the model's scope does not.
    #[error("the vector has parameter `{name}` {shape:?}, which is not in the model's scope")]
    Unexpected {
        /// Its name.
        name: String,
        /// Its shape in the file.
        shape: Vec<usize>,
    },
    /// The shapes of a parameter differ.
    #[error("parameter `{name}` is {model:?} in the model and {vector:?} in the vector")]
    Shape {
        /// Its name.
        name: String,
        /// Its shape in the model.
        model: Vec<usize>,
        /// Its shape in the file.
        vector: Vec<usize>,
    },
    /// The same parameters in another order, so that joined entries would not line up.
    #[error("parameter {position} is `{model}` in the model and `{vector}` in the vector")]
    Order {
        /// The first position that differs.
        position: usize,
        /// The model's parameter there.
        model: String,
        /// The vector's.
        vector: String,
    },
    /// The model's bytes are not those the vector was solved for.
    #[error("the model's sha256 is {model}, the vector was solved for {vector}")]
    Model {
        /// The model's.
        model: String,
        /// The one in the file.
        vector: String,
    },
}

/// Every difference of names, shapes and order between the parameters of the model in scope and those of the vector.
pub(super) fn differences(model: &[Parameter], vector: &[Parameter]) -> Vec<Difference> {
    let by_name = |all: &[Parameter]| -> HashMap<String, Vec<usize>> {
        all.iter().map(|p| (p.name.clone(), p.shape.clone())).collect()
    };
    let (in_model, in_vector) = (by_name(model), by_name(vector));
    let mut found = Vec::new();
    for Parameter { name, shape } in model {
        match in_vector.get(name) {
            None => found.push(Difference::Missing { name: name.clone(), shape: shape.clone() }),
            Some(other) if other != shape => {
                found.push(Difference::Shape { name: name.clone(), model: shape.clone(), vector: other.clone() })
            }
            Some(_) => {}
        }
    }
    for Parameter { name, shape } in vector {
        if !in_model.contains_key(name) {
            found.push(Difference::Unexpected { name: name.clone(), shape: shape.clone() });
        }
    }
    if found.is_empty()
        && let Some((position, (a, b))) = model.iter().zip(vector).enumerate().find(|(_, (a, b))| a != b)
    {
        found.push(Difference::Order { position, model: a.name.clone(), vector: b.name.clone() });
    }
    found
}

/// All differences, or the first few and a count: a wrong scope may differ in hundreds.
pub(super) fn list(differences: &[Difference]) -> String {
    const SHOWN: usize = 8;
    let mut text = differences.iter().take(SHOWN).map(Difference::to_string).collect::<Vec<_>>().join("; ");
    if differences.len() > SHOWN {
        text.push_str(&format!("; and {} more", differences.len() - SHOWN));
    }
    text
}
