//! `isal model`: the zoo, born as ONNX graphs.

use super::{BadRequest, Context, Outcome};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use isal_exporters::ModelOptions;
use std::path::PathBuf;

/// List or build the model zoo.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the models that can be built
    List,
    /// Build a model with freshly drawn weights
    #[command(
        after_help = "Examples:\n  isal model new resnet20 --classes 10 -o resnet20.onnx\n  isal model new lenet --input 1x28x28 --seed 1 -o lenet.onnx"
    )]
    New(NewOptions),
}

/// What to build.
#[derive(Debug, Args)]
pub struct NewOptions {
    /// A name from `isal model list`
    name: String,
    /// Channels, height and width of an image (default: the model's own)
    #[arg(long, value_name = "CxHxW", value_parser = parse_input, help_heading = "Model")]
    input: Option<[usize; 3]>,
    /// Number of classes
    #[arg(long, value_name = "N", help_heading = "Model")]
    classes: Option<usize>,
    /// Seed of the weights
    #[arg(long, default_value_t = 0, help_heading = "Model")]
    seed: u64,
    /// Operator set to write
    #[arg(long, value_name = "VERSION", help_heading = "Model")]
    opset: Option<i64>,
    /// File to write
    #[arg(long, short, value_name = "FILE", help_heading = "Output")]
    output: PathBuf,
}

pub(super) fn parse_input(text: &str) -> Result<[usize; 3], String> {
    let sizes: Vec<usize> = text.split('x').map_while(|part| part.parse().ok()).filter(|n| *n > 0).collect();
    <[usize; 3]>::try_from(sizes)
        .ok()
        .filter(|_| text.split('x').count() == 3)
        .ok_or_else(|| format!("expected channels x height x width, such as 3x32x32, found `{text}`"))
}

pub(super) fn run(command: &Command, context: &Context) -> anyhow::Result<Outcome> {
    match command {
        Command::List => list(context),
        Command::New(options) => new(options, context),
    }
}

fn list(context: &Context) -> anyhow::Result<Outcome> {
    let text: Vec<String> =
        isal_exporters::models().map(|(name, description, _)| format!("{name:<18} {description}")).collect();
    let value: Vec<_> = isal_exporters::models()
        .map(|(name, description, defaults)| {
            serde_json::json!({"name": name, "description": description, "input": defaults.input})
        })
        .collect();
    context.print(&text.join("\n"), &value)?;
    Ok(Outcome::Done)
}

/// The default options of the model of the zoo called `name`.
pub(super) fn defaults(name: &str) -> Result<&'static ModelOptions, BadRequest> {
    isal_exporters::models().find(|(known, ..)| *known == name).map(|(.., defaults)| defaults).ok_or_else(|| {
        let known: Vec<&str> = isal_exporters::models().map(|(name, ..)| name).collect();
        BadRequest(format!("no model is called `{name}`: expected one of {}", known.join(", ")))
    })
}

fn new(options: &NewOptions, context: &Context) -> anyhow::Result<Outcome> {
    let defaults = defaults(&options.name)?;
    let model_options = ModelOptions {
        input: options.input.unwrap_or(defaults.input),
        classes: options.classes.unwrap_or(defaults.classes),
        seed: options.seed,
        opset: options.opset.unwrap_or(defaults.opset),
        ..defaults.clone()
    };
    let model = isal_exporters::build(&options.name, &model_options).map_err(|e| BadRequest(e.to_string()))?;
    model.write(&options.output).with_context(|| format!("cannot write `{}`", options.output.display()))?;
    let parameters = model.metadata.get("isal.zoo.parameters").cloned().unwrap_or_default();
    let text = format!(
        "{}: {} with {parameters} parameters, images {:?}, {} classes",
        options.output.display(),
        options.name,
        model_options.input,
        model_options.classes
    );
    context.print(
        &text,
        &serde_json::json!({"model": options.output, "name": options.name, "parameters": parameters.parse::<u64>().ok()}),
    )?;
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_sizes_are_parsed_or_explained() {
        assert_eq!(parse_input("3x32x64"), Ok([3, 32, 64]));
        for wrong in ["3x32", "3x32x32x1", "0x3x3", "a", "3x32x"] {
            assert!(parse_input(wrong).is_err(), "{wrong}");
        }
    }
}
