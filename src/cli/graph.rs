//! `isal graph`: what a model holds, and in what two models differ.

use super::{BadRequest, Context, Outcome};
use crate::graphs::{Change, Distance, Entry, Listing, ModelDifference};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use isal_onnx::{Model, Scope};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Look at a model.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show nodes with their shapes, parameters by scope, what the parameters reach, and the metadata
    #[command(
        after_help = "Nodes marked with * are those that a parameter in scope reaches: an influence graph has them twice.\n\nExamples:\n  isal graph show model.onnx\n  isal graph show influence.onnx --scope head --json"
    )]
    Show(ShowOptions),
    /// Show what differs between two models; exit code 1 when something does
    #[command(
        after_help = "Examples:\n  isal graph diff model.onnx influence.onnx\n  isal graph diff round-0/model.onnx round-1/model.onnx --json"
    )]
    Diff(DiffOptions),
}

/// What to show.
#[derive(Debug, Args)]
pub struct ShowOptions {
    /// The model
    #[arg(value_name = "FILE.onnx")]
    model: PathBuf,
    /// Parameters that are followed: weights (two axes or more), head (the last layer), all, or name patterns
    #[arg(long, default_value = "weights", help_heading = "Model")]
    scope: String,
}

/// What to compare.
#[derive(Debug, Args)]
pub struct DiffOptions {
    /// The first model
    #[arg(value_name = "A.onnx")]
    first: PathBuf,
    /// The second model
    #[arg(value_name = "B.onnx")]
    second: PathBuf,
}

pub(super) fn run(command: &Command, context: &Context) -> anyhow::Result<Outcome> {
    match command {
        Command::Show(options) => show(options, context),
        Command::Diff(options) => diff(options, context),
    }
}

fn read(path: &Path) -> anyhow::Result<Model> {
    let mut model = Model::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    model.graph.lift_constants();
    Ok(model)
}

/// Most characters of a name, and of a metadata value, that are printed; `--json` has them whole.
const NAME_CHARS: usize = 120;
const VALUE_CHARS: usize = 400;

/// Text out of an untrusted file, on one line and without anything that would move a terminal's cursor.
fn shown(text: &str, most: usize) -> String {
    if text.is_empty() {
        return "_".to_owned();
    }
    let mut line = String::new();
    for c in text.chars().take(most) {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    let left = text.chars().count().saturating_sub(most);
    if left > 0 {
        line.push_str(&format!("... (and {left} more characters)"));
    }
    line
}

fn name(text: &str) -> String {
    shown(text, NAME_CHARS)
}

/// An object of its own version: what serde makes of `value`, behind `schema`.
fn versioned(
    schema: &str,
    value: &impl serde::Serialize,
) -> anyhow::Result<serde_json::Map<String, serde_json::Value>> {
    let mut object = serde_json::Map::from_iter([("schema".to_owned(), schema.into())]);
    if let serde_json::Value::Object(fields) = serde_json::to_value(value)? {
        object.extend(fields);
    }
    Ok(object)
}

fn show(options: &ShowOptions, context: &Context) -> anyhow::Result<Outcome> {
    let scope: Scope = options.scope.parse().map_err(|e| BadRequest(format!("`--scope {}`: {e}", options.scope)))?;
    let listing = Listing::new(&read(&options.model)?, &scope)
        .with_context(|| format!("cannot list `{}`", options.model.display()))?;
    let text = if context.global.json { String::new() } else { listing_text(&options.model, &listing)? };
    context.print(&text, &versioned("isal-graph/1", &listing)?)?;
    Ok(Outcome::Done)
}

fn listing_text(path: &Path, listing: &Listing) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let opsets: Vec<String> = listing
        .opsets
        .iter()
        .map(|(domain, version)| match domain.as_str() {
            "ai.onnx" => version.to_string(),
            other => format!("{} {version}", name(other)),
        })
        .collect();
    write!(text, "{}: graph `{}`, opset {}", path.display(), name(&listing.name), opsets.join(", "))?;
    write!(text, ", IR version {}", listing.ir_version)?;
    if !listing.producer.is_empty() {
        write!(text, ", made by {}", name(&listing.producer))?;
    }
    writeln!(text, "\nsha256 {}", listing.sha256)?;
    for (what, values) in [("input", &listing.inputs), ("output", &listing.outputs)] {
        for value in values {
            writeln!(text, "{what:<6} {}: {}", name(&value.name), name(&value.value_type))?;
        }
    }
    if let Some(error) = &listing.shape_error {
        writeln!(text, "shapes could not be inferred, what the file declares is shown: {}", shown(error, VALUE_CHARS))?;
    }
    writeln!(
        text,
        "\n{} nodes; * = reached by a parameter of scope `{}`: {} of them, {:.1} %",
        listing.node_count,
        listing.scope,
        listing.reached_count,
        100.0 * listing.reached_share()
    )?;
    let operators = listing.nodes.iter().map(|n| name(&n.op).chars().count() + 2 * n.depth);
    let width = operators.max().unwrap_or(0);
    let names = listing.nodes.iter().map(|n| name(&n.name).chars().count());
    // One long name does not push everything else off the screen.
    let name_width = names.max().unwrap_or(0).min(40);
    for node in &listing.nodes {
        let mark = if node.reached { '*' } else { ' ' };
        let op = format!("{}{}", "  ".repeat(node.depth), name(&node.op));
        let outputs: Vec<String> =
            node.outputs.iter().map(|o| format!("{}: {}", name(&o.name), name(&o.value_type))).collect();
        writeln!(text, "{mark} {op:<width$}  {:<name_width$}  {}", name(&node.name), outputs.join(", "))?;
    }
    parameters_text(&mut text, listing)?;
    if !listing.metadata.is_empty() {
        writeln!(text, "\nmetadata")?;
        for (key, value) in &listing.metadata {
            writeln!(text, "  {}: {}", name(key), shown(value, VALUE_CHARS))?;
        }
    }
    Ok(text)
}

fn parameters_text(text: &mut String, listing: &Listing) -> std::fmt::Result {
    writeln!(text, "\nparameters by scope")?;
    for (scope, counted) in &listing.scopes {
        writeln!(text, "  {scope:<10} {:>12} numbers in {} tensors", counted.elements, counted.tensors)?;
    }
    let initializers = listing.initializers;
    writeln!(text, "  (all initializers: {} numbers in {} tensors)", initializers.elements, initializers.tensors)?;
    writeln!(text, "\nparameters; * = in scope `{}`", listing.scope)?;
    let width = listing.parameters.iter().map(|p| name(&p.name).chars().count()).max().unwrap_or(0).min(60);
    for parameter in &listing.parameters {
        let mark = if parameter.in_scope { '*' } else { ' ' };
        let shape = format!("{} {:?}", parameter.data_type, parameter.shape);
        writeln!(text, "{mark} {:<width$}  {shape:<26} {:>12}", name(&parameter.name), parameter.elements)?;
    }
    let total = listing.scopes.get(&listing.scope).copied().unwrap_or_default();
    writeln!(text, "  total in scope: {} numbers in {} tensors", total.elements, total.tensors)
}

fn diff(options: &DiffOptions, context: &Context) -> anyhow::Result<Outcome> {
    let difference = ModelDifference::between(&read(&options.first)?, &read(&options.second)?);
    let alike = difference.is_alike();
    let mut value = versioned("isal-graph-diff/1", &difference)?;
    value.insert("alike".to_owned(), alike.into());
    let text = if context.global.json { String::new() } else { difference_text(options, &difference)? };
    context.print(&text, &value)?;
    Ok(if alike { Outcome::Done } else { Outcome::No })
}

fn difference_text(options: &DiffOptions, found: &ModelDifference) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let (first, second) = (options.first.display(), options.second.display());
    if found.is_alike() {
        writeln!(text, "`{first}` and `{second}` are alike")?;
        return Ok(text);
    }
    writeln!(text, "- {first}\n+ {second}")?;
    if let Some(change) = &found.ir_version {
        changed(&mut text, "IR version", change)?;
    }
    for (title, entries) in [("opset", &found.opsets), ("input", &found.inputs), ("output", &found.outputs)] {
        for Entry { name, change } in entries {
            changed(&mut text, &format!("{title} {}", shown(name, NAME_CHARS)), change)?;
        }
    }
    if !found.nodes.is_empty() {
        let whole =
            |wanted: fn(&Change) -> bool| found.nodes.iter().filter(|n| n.whole.as_ref().is_some_and(wanted)).count();
        let removed = whole(|c| matches!(c, Change::Removed(_)));
        let added = whole(|c| matches!(c, Change::Added(_)));
        let others = found.nodes.len() - removed - added;
        writeln!(text, "\nnodes: {removed} removed, {added} added, {others} changed")?;
    }
    for node in &found.nodes {
        match &node.whole {
            Some(change) => changed(&mut text, &node.node, change)?,
            None => writeln!(text, "~ {}", name(&node.node))?,
        }
        for Entry { name, change } in &node.parts {
            text.push_str("    ");
            changed(&mut text, name, change)?;
        }
    }
    if !found.initializers.is_empty() {
        let Distance { max_abs, relative, .. } = found.weights;
        writeln!(
            text,
            "\ninitializers: {} differ; the float ones that both have, as one vector: largest difference {max_abs:.3e}, \
             relative {relative:.3e}",
            found.initializers.len()
        )?;
    }
    for initializer in &found.initializers {
        match (&initializer.whole, initializer.distance) {
            (Some(change), _) => changed(&mut text, &initializer.name, change)?,
            (None, Some(Distance { max_abs, relative, .. })) => {
                writeln!(
                    text,
                    "~ {}: largest difference {max_abs:.3e}, relative {relative:.3e}",
                    name(&initializer.name)
                )?;
            }
            (None, None) => writeln!(text, "~ {}: other contents", name(&initializer.name))?,
        }
    }
    if !found.metadata.is_empty() {
        writeln!(text, "\nmetadata")?;
    }
    for Entry { name, change } in &found.metadata {
        changed(&mut text, name, change)?;
    }
    Ok(text)
}

fn changed(text: &mut String, what: &str, change: &Change) -> std::fmt::Result {
    let (what, value) = (name(what), |text: &str| shown(text, VALUE_CHARS));
    match change {
        Change::Removed(from) => writeln!(text, "- {what}: {}", value(from)),
        Change::Added(to) => writeln!(text, "+ {what}: {}", value(to)),
        Change::Changed { from, to } => writeln!(text, "~ {what}: {} -> {}", value(from), value(to)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_neither_move_the_cursor_nor_fill_the_screen() {
        assert_eq!(shown("a\u{1b}[2Jb\nc", 99), "a\\u{1b}[2Jb\\nc");
        assert_eq!(shown("abcdef", 4), "abcd... (and 2 more characters)");
        assert_eq!(shown("", 4), "_");
    }
}
