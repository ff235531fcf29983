//! What an influence graph says of itself in its metadata properties.

use crate::Model;
use indexmap::IndexMap;

/// How the derivative along `s` is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// The network at two weight settings a small step apart.
    Paired,
    /// Exact forward-mode differentiation.
    Tangent,
    /// The second weight setting of the paired form alone, beside a model that is served already.
    Shadow,
}

impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Form::Paired => "paired",
            Form::Tangent => "tangent",
            Form::Shadow => "shadow",
        })
    }
}

/// Properties under `isal.influence.`, as text: form, step, provenance of `s`, the sign's meaning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InfluenceMetadata(pub IndexMap<String, String>);

const PREFIX: &str = "isal.influence.";

impl InfluenceMetadata {
    /// The properties of an influence graph; `None` for any other model.
    pub fn of(model: &Model) -> Option<InfluenceMetadata> {
        let found: IndexMap<String, String> = model
            .metadata
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?.to_owned(), value.clone())))
            .collect();
        found.contains_key("form").then_some(InfluenceMetadata(found))
    }

    /// Writes the properties into `model`.
    pub fn store(&self, model: &mut Model) {
        for (key, value) in &self.0 {
            model.metadata.insert(format!("{PREFIX}{key}"), value.clone());
        }
    }

    /// One property.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}
