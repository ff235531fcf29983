//! The `[task]` table of `model.toml` beside `model.onnx`: a built-in task by its name, or the files of a task's own graphs.

use super::{Bindings, Bound, SINGLE_LABEL, Task, TaskError, built_in, own, read};
use crate::data::Preprocess;
use crate::network::NetworkError;
use isal_onnx::Model;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A task as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A built-in one, by its name.
    BuiltIn(String),
    /// Graphs in files.
    Own {
        /// The loss graph.
        loss: PathBuf,
        /// The decode graph.
        decode: PathBuf,
    },
}

impl Wanted {
    /// One class an image.
    pub fn single_label() -> Wanted {
        Wanted::BuiltIn(SINGLE_LABEL.to_owned())
    }

    /// The task for this model. `given` says which of its values the inputs of the graphs are.
    ///
    /// # Errors
    /// [`TaskError`].
    pub fn bind(&self, model: &Model, given: &[(String, String)]) -> Result<(Task, Vec<Bound>), TaskError> {
        match self {
            Wanted::BuiltIn(name) => built_in(model, name, given),
            Wanted::Own { loss, decode } => own(model, read(loss, decode)?, given),
        }
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: Option<String>,
    loss: Option<PathBuf>,
    decode: Option<PathBuf>,
    #[serde(default)]
    bind: BTreeMap<String, String>,
}

/// What the table beside a model asks for, with its bindings; `None` where there is no such file or table. Paths are relative to
/// the file.
///
/// # Errors
/// [`TaskError::Beside`] for a file that cannot be read, or a table that asks for nothing or for both.
pub fn beside(model: &Path) -> Result<Option<(Wanted, Bindings)>, TaskError> {
    #[derive(serde::Deserialize)]
    struct File {
        task: Option<Table>,
    }
    let path = model.with_extension("toml");
    let refused = |reason: String| TaskError::Beside { path: path.clone(), reason };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused(error.to_string())),
    };
    let Some(table) = toml::from_str::<File>(&text).map_err(|error| refused(error.to_string()))?.task else {
        return Ok(None);
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let wanted = match (table.name, table.loss, table.decode) {
        (Some(name), None, None) => Wanted::BuiltIn(name),
        (None, Some(loss), Some(decode)) => Wanted::Own { loss: folder.join(loss), decode: folder.join(decode) },
        _ => return Err(refused("`[task]` takes a `name`, or `loss` and `decode`".to_owned())),
    };
    Ok(Some((wanted, table.bind.into_iter().collect())))
}

/// The text of the `.toml` beside a model in `folder`: the recipe, and the task where it is named; a task's own graphs are copied into
/// the folder.
///
/// # Errors
/// Graphs that cannot be read or written.
pub(crate) fn text_beside(
    folder: &Path,
    preprocess: &Preprocess,
    task: Option<&(Wanted, Bindings)>,
) -> Result<String, NetworkError> {
    let mut tables = toml::Table::new();
    let preprocess = toml::Value::try_from(preprocess);
    tables.extend(preprocess.ok().map(|table| ("preprocess".to_owned(), table)));
    let Some((wanted, bindings)) = task else { return Ok(toml::to_string(&tables).unwrap_or_default()) };
    let mut task = toml::Table::new();
    match wanted {
        Wanted::BuiltIn(name) => drop(task.insert("name".to_owned(), name.clone().into())),
        Wanted::Own { loss, decode } => {
            for (key, from) in [("loss", loss), ("decode", decode)] {
                let file = format!("{key}.onnx");
                let graph = Model::read(from).map_err(|source| NetworkError::model(from, source))?;
                let to = folder.join(&file);
                graph.write(&to).map_err(|source| NetworkError::model(&to, source))?;
                task.insert(key.to_owned(), file.into());
            }
        }
    }
    if !bindings.is_empty() {
        let bind: toml::Table = bindings.iter().map(|(input, value)| (input.clone(), value.clone().into())).collect();
        task.insert("bind".to_owned(), bind.into());
    }
    tables.insert("task".to_owned(), task.into());
    Ok(toml::to_string(&tables).unwrap_or_default())
}
